"""A caller that leaves, or reads slowly: what becomes of the connection, and what the server sees of it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hostile import Peer, answers, sized, turns
from transports import Bench, Lab, conforms, fault_of, leaves_promptly, whole

from proxy.errors import FaultKind
from proxy.upstream import Reply

_OPEN_BODY = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"


@conforms
@pytest.mark.parametrize("secure", [False, True])
def test_cancelling_before_the_head_closes_the_connection(lab: Lab, secure: bool) -> None:
    """A caller that stops waiting for a head is gone for the server at once."""

    async def waits(peer: Peer) -> None:
        await peer.request()

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(waits, secure=secure)
        upstream = bench.upstream(ca_file=bench.ca_file())
        sending = asyncio.ensure_future(bench.send(server, body=b"long prompt", upstream=upstream))
        peer = await server.peer()
        await peer.request()
        sending.cancel()
        await leaves_promptly(peer)
        with pytest.raises(asyncio.CancelledError):
            await sending

    lab.run(scenario)


@conforms
def test_cancelling_within_an_upload_sends_no_more_of_it(lab: Lab) -> None:
    """What of a large body has not left when its caller goes is never sent."""
    body = b"x" * 20_000_000

    async def deaf(peer: Peer) -> None:
        peer.deafen()

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(deaf)
        sending = asyncio.ensure_future(bench.send(server, body=body))
        peer = await server.peer()
        await turns(20)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        peer.listen()
        await peer.gone()
        assert len(peer.received) < len(body)

    lab.run(scenario)


async def _cancelled_read(reply: Reply) -> None:
    reading = asyncio.ensure_future(reply.read())
    await turns()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def _closed(reply: Reply) -> None:
    reply.close()
    reply.close()


@conforms
@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("leave", [_cancelled_read, _closed])
def test_leaving_within_a_body_closes_the_connection(
    lab: Lab, leave: Callable[[Reply], Awaitable[None]], secure: bool
) -> None:
    """A cancelled read, or `close` before the end, is seen by the server at once; the reply is broken."""

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers(_OPEN_BODY), secure=secure)
        reply = await bench.send(server, upstream=bench.upstream(ca_file=bench.ca_file()))
        assert await reply.read() == b"hello"
        await leave(reply)
        await leaves_promptly(server.peers[0])
        assert (await fault_of(reply.read())).kind is FaultKind.RESET

    lab.run(scenario)


@conforms
def test_closing_under_a_waiting_reader_ends_its_wait(lab: Lab) -> None:
    """A read that waits while its reply is closed ends with RESET."""

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers(_OPEN_BODY))
        reply = await bench.send(server)
        assert await reply.read() == b"hello"
        reading = asyncio.ensure_future(fault_of(reply.read()))
        await turns()
        reply.close()
        assert (await reading).kind is FaultKind.RESET

    lab.run(scenario)


@conforms
def test_closing_an_unread_but_complete_body_gives_the_connection_back(lab: Lab) -> None:
    """A body that has arrived to its end need not be read for its connection to be used again."""

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers(sized(b"unread"), sized(b"next")))
        (await bench.send(server)).close()
        assert await whole(await bench.send(server)) == b"next"
        assert len(server.peers) == 1

    lab.run(scenario)


@conforms
@pytest.mark.parametrize("secure", [False, True])
def test_early_answer_to_an_upload_frees_no_busy_connection(lab: Lab, secure: bool) -> None:
    """A server may answer before it has read the request; the half-written connection is not used again."""

    async def script(peer: Peer) -> None:
        if peer.number == 0:
            await peer.hear(1)
            peer.deafen()
            peer.say(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
        else:
            await peer.request()
            peer.say(sized(b"next"))

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(script, secure=secure)
        upstream = bench.upstream(ca_file=bench.ca_file())
        reply = await bench.send(server, body=b"x" * 20_000_000, upstream=upstream)
        assert (reply.status, await whole(reply)) == (413, b"big")
        assert await whole(await bench.send(server, upstream=upstream)) == b"next"
        assert len(server.peers) == 2

    lab.run(scenario)


@conforms
def test_unread_body_stays_with_the_server(lab: Lab) -> None:
    """Of 100 MB that nobody reads the server gets rid of less than 8 MiB; then reading takes it all."""
    size, part = 100_000_000, b"x" * 100_000
    stalled = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        for _ in range(size // len(part)):
            try:
                async with asyncio.timeout(0.2):
                    await peer.writable()
            except TimeoutError:
                stalled.set()
                await peer.writable()
            peer.say(part)

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(script, send_buffer=65_536)
        reply = await bench.send(server)
        await stalled.wait()
        assert server.peers[0].accepted < 8 * 1024 * 1024
        total = 0
        while received := await reply.read():
            assert len(received) < 1024 * 1024
            total += len(received)
        assert total == size
        reply.close()

    lab.run(scenario)


@conforms
def test_closing_the_transport_ends_everything(lab: Lab) -> None:
    """After `close` pooled and busy connections are gone, and an open reply ends with RESET."""

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers(sized(b"ok")))
        streaming = await bench.serve(answers(_OPEN_BODY))
        upstream = bench.upstream()
        await whole(await bench.send(server, upstream=upstream))
        reply = await bench.send(streaming, upstream=upstream)
        assert await reply.read() == b"hello"
        reading = asyncio.ensure_future(fault_of(reply.read()))
        await turns()
        await upstream.close()
        assert (await reading).kind is FaultKind.RESET
        await server.peers[0].gone()
        await streaming.peers[0].gone()
        await upstream.close()

    lab.run(scenario)
