"""TLS sessions are resumed, on both loops, for as long as their server's proof is young."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable

import pytest
from hostile import Peer, serving, sized
from transports import LOOPS, authority, server_context, whole

from proxy.upstream import Call
from proxy.upstream.sessions import ResumingContext, verifying_context
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


def _shaken(client: ResumingContext, server: ssl.SSLContext) -> ssl.SSLObject:
    """The client's end after a handshake; the server's ticket has come."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    far = server.wrap_bio(to_server, to_client, server_side=True)
    for end in (near, far, near, far):
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    with contextlib.suppress(ssl.SSLWantReadError):
        near.read(1)
    return near


def test_a_server_proves_itself_every_hour() -> None:
    """However often its session is resumed in between, and from then on anew."""
    client, server = verifying_context(), server_context("127.0.0.1")
    authority().configure_trust(client)
    resumed = []
    for now in (100.0, 2_000.0, 3_700.0, 3_701.0, 7_301.0, 7_302.0):
        client.expire("127.0.0.1", now)
        secured = _shaken(client, server)
        client.note(secured, now)
        resumed.append(secured.session_reused)
    assert resumed == [False, True, True, False, True, False]
    assert client.known["127.0.0.1"].proven == 7_302.0


def test_what_was_resumed_is_not_kept_once_its_server_is_forgotten() -> None:
    """Nobody knows any more when it has proven itself."""
    client, server = verifying_context(), server_context("127.0.0.1")
    authority().configure_trust(client)
    client.note(_shaken(client, server), 0.0)
    resumed = _shaken(client, server)
    client.forget("127.0.0.1")
    client.note(resumed, 1.0)
    assert resumed.session_reused
    assert client.known == {}
