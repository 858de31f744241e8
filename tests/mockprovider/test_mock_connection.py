import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from raw_peer import CHAT, LOOPS, Peer, connected, run, until, with_mock

from mockprovider import MockProvider

Loop = Callable[[], asyncio.AbstractEventLoop]
loops = pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])


@loops
def test_a_connection_serves_many_requests(loop: Loop) -> None:
    """Keep-alive: plain replies, streams and errors follow each other on one connection."""

    async def test(mock: MockProvider, peer: Peer) -> None:
        for _ in range(3):
            peer.ask()
            status, body = await peer.reply()
            assert (status, json.loads(body)["object"]) == (200, "chat.completion")
            peer.ask(stream=True)
            assert (await peer.reply())[1].endswith(b"data: [DONE]\n\n")
            peer.ask(status=503)
            assert (await peer.reply())[0] == 503
        assert mock.stats()["connections"] == 1

    run(with_mock(test), loop)


def test_a_request_may_come_in_pieces() -> None:
    """A request is read whatever the writes it comes in, chunked bodies and `Expect` included."""

    async def test(mock: MockProvider, peer: Peer) -> None:
        body = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
        peer.writer.write(b"POST " + CHAT.encode() + b" HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n")
        peer.writer.write(b"transfer-encoding: chunked\r\n\r\n")
        assert (await peer.head())[0] == 100
        for byte in body:
            peer.writer.write(b"1\r\n%c\r\n" % byte)
            await peer.writer.drain()
        peer.writer.write(b"0\r\n\r\n")
        assert (await peer.reply())[0] == 200
        assert mock.requests[0].body == body

    run(with_mock(test))


@pytest.mark.parametrize("request_", [b"NOT HTTP AT ALL\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"])
def test_what_is_not_http_is_refused(request_: bytes) -> None:
    """Bytes that are no request get a 400 and the end of the connection."""

    async def test(_mock: MockProvider, peer: Peer) -> None:
        peer.writer.write(request_)
        assert (await peer.head())[0] == 400
        assert await peer.rest() == (b"", "fin")

    run(with_mock(test))


def test_connection_close_is_obeyed_and_pipelining_cut_off() -> None:
    """A client that asks for the end gets it; a second request before the reply is not served."""

    async def test(mock: MockProvider, peer: Peer) -> None:
        peer.send(path="/v1/models", method="GET", connection="close")
        assert (await peer.reply())[0] == 200
        assert await peer.rest() == (b"", "fin")
        async with connected(mock) as other:
            other.ask(delay_headers_s=30)
            other.ask()
            assert (await other.rest())[0] == b""
        await until(mock, lambda: mock.requests[-1].gone_at is not None)

    run(with_mock(test))


@loops
@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_stream_is_cut_after_n_events(loop: Loop, how: str) -> None:
    """Exactly n events arrive, then the connection ends without the last chunk."""

    async def test(mock: MockProvider, peer: Peer) -> None:
        peer.ask(stream=True, cut_after_events=3, cut_with=how)
        assert (await peer.head())[1]["transfer-encoding"] == "chunked"
        data, ended = await peer.rest()
        assert (data.count(b"data: "), data[-4:], ended) == (3, b"\n\n\r\n", how)
        await until(mock, lambda: mock.connections_open == 1)
        assert mock.requests[0].outcome == "cut"

    run(with_mock(test), loop)


@loops
def test_a_reset_overtakes_nothing(loop: Loop) -> None:
    """However much was sent before an RST, a peer that reads slowly gets all of it."""

    async def test(_mock: MockProvider, peer: Peer) -> None:
        peer.ask(huge_bytes=3_000_000, cut_after_bytes=2_900_000, cut_with="rst")
        await peer.head()
        data, ended = await peer.rest()
        assert (len(data), ended) == (2_900_000, "rst")

    run(with_mock(test), loop)


@loops
@pytest.mark.parametrize("how", ["fin", "rst", "half"])
def test_a_connection_is_cut_before_the_headers(loop: Loop, how: str) -> None:
    """Not one byte comes back."""

    async def test(_mock: MockProvider, peer: Peer) -> None:
        peer.ask(cut_before_headers=True, cut_with=how)
        assert await peer.rest() == (b"", how.replace("half", "fin"))

    run(with_mock(test), loop)


@loops
def test_a_half_closed_connection_still_takes_bytes(loop: Loop) -> None:
    """After a half close the peer sees the end, and the mock goes on reading until the peer closes."""

    async def test(mock: MockProvider, peer: Peer) -> None:
        peer.ask(stream=True, cut_after_bytes=7, cut_with="half")
        await peer.head()
        data, ended = await peer.rest()
        assert (data.partition(b"\r\n")[2], ended) == (b"data: {", "fin")
        peer.ask()
        await peer.writer.drain()
        assert mock.connections_open == 1
        peer.writer.close()
        await until(mock, lambda: mock.connections_open == 1)

    run(with_mock(test), loop)


@loops
@pytest.mark.parametrize(
    ("fault", "events"),
    [({"stall_before_headers": True}, None), ({"stall_after_events": 0}, 0), ({"stall_after_events": 2}, 2)],
)
def test_a_stall_lasts_until_the_peer_leaves(loop: Loop, fault: dict[str, Any], events: int | None) -> None:
    """Nothing more comes; when the peer leaves, the time is noted and the stream counts as aborted."""

    async def test(mock: MockProvider, peer: Peer) -> None:
        peer.ask(stream=True, **fault)
        if events is not None:
            await peer.head()
        for _ in range(events or 0):
            assert b"data: " in await peer.reader.readuntil(b"\n\n\r\n")
        assert await peer.is_silent()
        assert mock.streams_open == 1
        left_at = mock.now()
        peer.writer.transport.abort()
        await until(mock, lambda: mock.streams_open == 0)
        entry = mock.requests[0]
        assert entry.outcome == "client_gone"
        assert entry.gone_at is not None
        assert 0 <= entry.gone_at - left_at < 0.5
        assert (mock.stats()["streams_aborted"], mock.stats()["aborted"]) == (1, 1)

    run(with_mock(test), loop)


@loops
def test_delays_are_kept(loop: Loop) -> None:
    """Each wait takes at least its time, and events come one by one."""

    async def test(mock: MockProvider, peer: Peer) -> None:
        began = mock.now()
        peer.ask(stream=True, delay_headers_s=0.03, delay_first_event_s=0.03, delay_events_s=0.01, text="a b")
        await peer.head()
        assert mock.now() - began >= 0.029
        times = [mock.now() async for _ in peer.chunks()]
        assert times[0] - began >= 0.058
        assert times[-1] - began >= 0.058 + (len(times) - 1) * 0.009

    run(with_mock(test), loop)


@loops
def test_events_are_split_to_the_byte(loop: Loop) -> None:
    """Sizes of writes are exact, also inside a character, and the text is still whole."""

    async def test(_mock: MockProvider, peer: Peer) -> None:
        peer.ask(stream=True, text="é€😀", write_bytes=[1, 2])
        await peer.head()
        chunks = [chunk async for chunk in peer.chunks()]
        assert {len(chunk) for chunk in chunks} == {1, 2}
        assert "é€😀" in b"".join(chunks).decode()

    run(with_mock(test), loop)


@pytest.mark.parametrize(
    ("fault", "length", "body"),
    [
        ({"body": "12345", "content_length_delta": 3}, "8", b"12345"),
        ({"body": "12345", "cut_after_bytes": 2}, "5", b"12"),
        ({"body": "12345", "framing": "until_close"}, None, b"12345"),
        ({"body": "12345", "framing": "bad_chunk"}, None, b"5\r\n12345\r\nxyz\r\n"),
    ],
)
def test_bad_framing_reaches_the_wire(fault: dict[str, Any], length: str | None, body: bytes) -> None:
    """Lengths that lie and chunks that are broken arrive as they were scripted, and end the connection."""

    async def test(_mock: MockProvider, peer: Peer) -> None:
        peer.ask(**fault)
        assert (await peer.head())[1].get("content-length") == length
        assert await peer.rest() == (body, "fin")

    run(with_mock(test))


def test_a_body_may_be_longer_than_its_length() -> None:
    """A content-length that is too short leaves bytes on a connection that stays open."""

    async def test(mock: MockProvider, peer: Peer) -> None:
        peer.ask(body="12345", content_length_delta=-2)
        assert (await peer.head())[1]["content-length"] == "3"
        assert await peer.reader.readexactly(5) == b"12345"
        assert mock.connections_open == 1

    run(with_mock(test))


def test_another_protocol_is_no_http() -> None:
    """The reply may be something else entirely."""

    async def test(_mock: MockProvider, peer: Peer) -> None:
        peer.ask(framing="not_http")
        assert await peer.rest() == (b"SSH-2.0-mock\r\n", "fin")

    run(with_mock(test))


@loops
def test_an_idle_connection_is_closed_when_told(loop: Loop) -> None:
    """Keep-alive ends without notice after the reply; a request in time prevents it."""

    async def test(_mock: MockProvider, peer: Peer) -> None:
        peer.ask(close_after_reply_s=30)
        assert (await peer.reply())[0] == 200
        peer.ask(close_after_reply_s=0)
        assert (await peer.reply())[0] == 200
        assert await peer.rest() == (b"", "fin")

    run(with_mock(test), loop)


@loops
def test_a_slow_reader_makes_the_mock_wait(loop: Loop) -> None:
    """A stream that nobody reads stops being written; when it is read again, all of it arrives."""

    async def test(mock: MockProvider, peer: Peer) -> None:
        whole = 1500 * 10_000
        peer.transport.pause_reading()
        peer.ask(stream=True, tokens=1500, piece_bytes=10_000)
        await until(mock, lambda: bool(mock.requests) and mock.requests[0].bytes_written > 0)
        written = -1
        while written != mock.requests[0].bytes_written:
            written = mock.requests[0].bytes_written
            assert await peer.is_silent()
        assert written < whole
        assert (mock.requests[0].outcome, mock.streams_open) == ("open", 1)
        peer.transport.resume_reading()
        assert len((await peer.reply())[1]) > whole
        assert mock.requests[0].outcome == "ok"
        assert mock.requests[0].bytes_written > whole

    run(with_mock(test), loop)
