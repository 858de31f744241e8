"""What is particular to the transport: its limits, its own TLS, its close. The rest is conformance."""

import asyncio
import ssl
from collections.abc import Callable

import pytest
from hostile import Peer, answers, serving, sized, turns
from transports import LOOPS, Bench, Lab, authority, fault_of, server_context, whole

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


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("loop", [loop for _, loop in LOOPS], ids=[name for name, _ in LOOPS])
def test_cancelling_at_any_turn_of_the_loop_leaves_nothing_behind(
    loop: Callable[[], asyncio.AbstractEventLoop], secure: bool
) -> None:
    """While it connects, shakes hands, waits or reads: the only place is free again each time."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            for part in (sized(b"hello")[:20], sized(b"hello")[20:]):
                if peer.closed.is_set():
                    return
                peer.say(part)
                await turns()

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(script, secure=secure)
        upstream = PooledUpstream(
            {}, ca_file=bench.ca_file(), tls=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), limit=1
        )
        call = Call("POST", server.url(), ())

        async def once() -> bytes:
            return await whole(await upstream.send(call))

        for count in range(40):
            calling = asyncio.ensure_future(once())
            await turns(count)
            calling.cancel()
            outcome = (await asyncio.gather(calling, return_exceptions=True))[0]
            assert outcome == b"hello" or isinstance(outcome, asyncio.CancelledError)
            if count % 3 == 0:
                assert await once() == b"hello"
        await upstream.close()

    Lab(PooledUpstream, loop).run(scenario)


def test_a_body_is_poured_until_it_has_to_be_read() -> None:
    """Or until whoever takes it wants no more; cancelling closes the connection at once."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        await peer.gone()

    async def main() -> None:
        async with serving(script) as server:
            upstream = PooledUpstream({})
            reply = await upstream.send(Call("POST", server.url(), ()))
            got: list[bytes] = []

            def taker(part: bytes) -> bool:
                got.append(part)
                return False

            pouring = asyncio.ensure_future(reply.pour(taker))
            await turns()
            server.peers[0].say(b"3\r\none\r\n")
            await pouring
            assert got == [b"one"]
            again = asyncio.ensure_future(reply.pour(taker))
            await turns()
            again.cancel()
            await server.peers[0].gone()
            await reply.pour(taker)
            assert got == [b"one"]
            await upstream.close()

    asyncio.run(main())
