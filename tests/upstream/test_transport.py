"""What is particular to the transport: its limits, its own TLS, its close. The rest is conformance."""

import asyncio
import ssl

from hostile import Peer, answers, serving, sized, turns
from transports import authority, fault_of, server_context, whole

from proxy.errors import FaultKind
from proxy.upstream import Call
from proxy.upstream.transport import PooledUpstream


def test_full_pool_counts_as_connecting() -> None:
    """With a limit of one, a second call waits for the first one's connection, and not for ever."""

    async def main() -> None:
        async with serving(answers(sized(b"one"), sized(b"two"))) as server:
            upstream = PooledUpstream({}, limit=1)
            call = Call("POST", server.url(), (), connect_timeout=0.05)
            reply = await upstream.send(call)
            assert (await fault_of(upstream.send(call))).kind is FaultKind.CONNECT_TIMEOUT
            waiting = asyncio.ensure_future(upstream.send(call))
            await turns()
            assert await whole(reply) == b"one"
            assert await whole(await waiting) == b"two"
            assert len(server.peers) == 1
            await upstream.close()

    asyncio.run(main())


def test_idle_connection_expires() -> None:
    """A connection idle for longer than `keep_alive` is not used again."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.say(sized(b"%d" % peer.number))

    async def main() -> None:
        async with serving(script) as server:
            upstream = PooledUpstream({}, keep_alive=0.001)
            call = Call("POST", server.url(), ())
            assert await whole(await upstream.send(call)) == b"0"
            await server.peers[0].gone()
            assert await whole(await upstream.send(call)) == b"1"
            await upstream.close()

    asyncio.run(main())


def test_own_tls_context_is_used() -> None:
    """A context given by the caller decides what is trusted."""

    async def main() -> None:
        async with serving(answers(sized(b"ok")), tls=server_context("127.0.0.1")) as server:
            tls = ssl.create_default_context()
            authority().configure_trust(tls)
            upstream = PooledUpstream({}, tls=tls)
            assert await whole(await upstream.send(Call("POST", server.url(), ()))) == b"ok"
            await upstream.close()

    asyncio.run(main())


def test_closed_transport_connects_no_more() -> None:
    """A call after `close` is CONNECT."""

    async def main() -> None:
        async with serving(answers()) as server:
            upstream = PooledUpstream({})
            await upstream.close()
            assert (await fault_of(upstream.send(Call("POST", server.url(), ())))).kind is FaultKind.CONNECT

    asyncio.run(main())
