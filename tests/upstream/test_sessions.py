"""TLS sessions are resumed, on both loops, and a failed handshake forgets them."""

import asyncio
from collections.abc import Callable

import pytest
from hostile import Peer, serving, sized
from transports import LOOPS, authority, server_context, whole

from proxy.upstream import Call
from proxy.upstream.sessions import verifying_context
from proxy.upstream.transport import PooledUpstream


async def _closes(peer: Peer) -> None:
    reused = peer.transport.get_extra_info("ssl_object").session_reused
    await peer.request()
    peer.say(sized(b"%d" % reused, "connection: close") if peer.number != 1 else sized(b"%d" % reused))


@pytest.mark.parametrize("loop", [loop for _, loop in LOOPS], ids=[name for name, _ in LOOPS])
def test_the_session_of_a_server_is_used_for_the_next_connection(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Once a connection has served, the next one resumes its session."""

    async def main() -> None:
        async with serving(_closes, tls=server_context("127.0.0.1")) as server:
            tls = verifying_context()
            authority().configure_trust(tls)
            upstream = PooledUpstream({}, tls=tls)
            call = Call("POST", server.url(), ())
            assert await whole(await upstream.send(call)) == b"0"
            assert await whole(await upstream.send(call)) == b"0"  # the first one said it would close
            server.peers[1].hang_up()
            await server.peers[1].gone()
            assert await whole(await upstream.send(call)) == b"1"
            assert list(tls.known) == ["127.0.0.1"]
            tls.forget("127.0.0.1")
            tls.forget("127.0.0.1")
            assert await whole(await upstream.send(call)) == b"0"
            await upstream.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
