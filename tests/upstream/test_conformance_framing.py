"""How a body is delimited, and what becomes of one that is not."""

import gzip
from collections.abc import Callable

import pytest
from hostile import Peer, answers, answers_and_leaves, sized, turns
from transports import Bench, Lab, broken_end, conforms, fault_of, whole

from proxy.errors import Fault, FaultKind

_CHUNKED = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    b"6\r\nevent \r\n1\r\n1\r\n0a;name=value\r\n, event 2\n\r\n0\r\n\r\n"
)
_CHUNKED_BODY = b"event 1, event 2\n"
_CUT_LENGTH = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nuntil"
_CUT_CHUNKS = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nuntil\r\n"
_UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nuntil the end"


@conforms
def test_content_length_delimits_a_body(lab: Lab) -> None:
    """A body framed by content-length arrives whole, and reading on stays at the end."""

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers(sized(b"hello")))
        reply = await bench.send(server)
        assert (reply.status, reply.resent) == (200, False)
        assert await reply.read() == b"hello"
        assert await reply.read() == b""
        assert await reply.read() == b""
        reply.close()
        reply.close()

    lab.run(scenario)


@conforms
def test_chunks_are_joined_wherever_the_network_splits_them(lab: Lab) -> None:
    """A chunked response cut in two at any byte reads the same."""

    async def script(peer: Peer) -> None:
        for split in range(1, len(_CHUNKED)):
            await peer.request()
            peer.say(_CHUNKED[:split])
            await turns(2)
            peer.say(_CHUNKED[split:])

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(script)
        for _ in range(1, len(_CHUNKED)):
            assert await whole(await bench.send(server)) == _CHUNKED_BODY
        assert len(server.peers) == 1

    lab.run(scenario)


@conforms
def test_sized_response_arrives_byte_by_byte(lab: Lab) -> None:
    """A response sent one byte at a time reads the same, and no read is empty before the end."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say_slowly(sized(b"slow but sure"))

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(script)
        assert await whole(await bench.send(server)) == b"slow but sure"

    lab.run(scenario)


@conforms
def test_closing_delimits_a_body_without_framing(lab: Lab) -> None:
    """Without content-length and chunks the body is what comes until the server closes."""

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers_and_leaves(_UNTIL_CLOSE))
        assert await whole(await bench.send(server)) == b"until the end"
        server = await bench.serve(answers_and_leaves(b"HTTP/1.0 200 OK\r\n\r\nan old server"))
        assert await whole(await bench.send(server)) == b"an old server"

    lab.run(scenario)


@conforms
@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\ncontent-length: 10\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_empty_bodies_leave_the_connection_usable(lab: Lab, response: bytes) -> None:
    """A response without a body ends at once and its connection carries the next call."""

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers(response, sized(b"next")))
        assert await whole(await bench.send(server)) == b""
        assert await whole(await bench.send(server)) == b"next"
        assert len(server.peers) == 1

    lab.run(scenario)


@conforms
def test_head_request_has_no_body(lab: Lab) -> None:
    """The content-length of a response to HEAD announces nothing to read."""

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n", sized(b"next")))
        assert await whole(await bench.send(server, body=b"", method="HEAD")) == b""
        assert await whole(await bench.send(server)) == b"next"
        assert len(server.peers) == 1

    lab.run(scenario)


@conforms
def test_head_of_a_response_without_a_body_may_come_in_pieces(lab: Lab) -> None:
    """The head of a response to HEAD reads the same wherever the network splits it."""
    response = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"

    async def script(peer: Peer) -> None:
        for split in range(1, len(response)):
            await peer.request()
            peer.say(response[:split])
            await turns(2)
            peer.say(response[split:])

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(script)
        for _ in range(1, len(response)):
            assert await whole(await bench.send(server, body=b"", method="HEAD")) == b""
        assert len(server.peers) == 1

    lab.run(scenario)


@conforms
def test_trailers_are_read_past(lab: Lab) -> None:
    """Fields after the last chunk belong neither to the body nor to the next response."""

    async def scenario(bench: Bench) -> None:
        chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n"
        server = await bench.serve(answers(chunked, sized(b"next")))
        assert await whole(await bench.send(server)) == b"abc"
        assert await whole(await bench.send(server)) == b"next"

    lab.run(scenario)


@conforms
def test_encoded_body_passes_as_it_is(lab: Lab) -> None:
    """A server that compresses although identity was asked for is not decoded."""
    packed = gzip.compress(b"x" * 1000)

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers(sized(packed, "content-encoding: gzip")))
        reply = await bench.send(server)
        assert reply.headers["content-encoding"] == "gzip"
        assert await whole(reply) == packed
        assert b"accept-encoding: identity\r\n" in server.peers[0].received

    lab.run(scenario)


@conforms
@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nonly this",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nonly this\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n20\r\nonly this",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nonly this\r\n0\r\n",
    ],
)
def test_body_that_ends_too_early_is_truncated(lab: Lab, response: bytes) -> None:
    """A close before the framing's end is TRUNCATED, after all that had arrived was read."""

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers_and_leaves(response))
        body, fault = await broken_end(await bench.send(server))
        assert (body, fault.kind, fault.status) == (b"only this", FaultKind.TRUNCATED, 200)

    lab.run(scenario)


@conforms
def test_truncation_wakes_a_waiting_reader(lab: Lab) -> None:
    """A reader that waits when the server leaves is told at once, and told again when it asks again."""

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers(b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nonly"))
        reply = await bench.send(server)
        assert await reply.read() == b"only"
        server.peers[0].hang_up()
        assert (await fault_of(reply.read())).kind is FaultKind.TRUNCATED
        assert (await fault_of(reply.read())).kind is FaultKind.TRUNCATED

    lab.run(scenario)


@conforms
@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nonly",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nonly\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nonly",
    ],
)
def test_reset_within_a_body_is_told_from_its_end(lab: Lab, head: bytes) -> None:
    """A TCP reset within a body is RESET, even where only the close delimits the body."""

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers(head))
        reply = await bench.send(server)
        assert await reply.read() == b"only"
        server.peers[0].reset()
        assert (await fault_of(reply.read())).kind is FaultKind.RESET

    lab.run(scenario)


@conforms
@pytest.mark.parametrize("bad", [b"xyz\r\n", b"-1\r\n", b"ffffffffffffffffff\r\n", b"4\r\nabcdEF"])
def test_bad_chunk_is_a_protocol_fault(lab: Lab, bad: bytes) -> None:
    """A chunk that is not one ends the body with PROTOCOL, after what was well framed."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say_slowly(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", split=1000)
        await peer.say_slowly(b"4\r\ngood\r\n" + bad, split=1000)
        await peer.gone()

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(script)
        body, fault = await broken_end(await bench.send(server))
        assert body.startswith(b"good")
        assert fault.kind is FaultKind.PROTOCOL
        await server.peers[0].gone()

    lab.run(scenario)


@conforms
@pytest.mark.parametrize("extra", [b"GARBAGE", b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison"])
def test_bytes_right_after_a_body_never_answer_the_next_call(lab: Lab, extra: bytes) -> None:
    """What follows a body in the same write may spoil its response, never the next one."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.say(sized(b"hello") + extra if peer.number == 0 else sized(b"next"))

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(script)
        try:
            assert await whole(await bench.send(server)) == b"hello"
        except Fault as fault:
            assert fault.kind is FaultKind.PROTOCOL  # noqa: PT017  (either outcome is right)
        assert await whole(await bench.send(server)) == b"next"

    lab.run(scenario)


@conforms
@pytest.mark.parametrize(
    "extra", [b"GARBAGE", b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison", b"HTTP"]
)
def test_bytes_on_an_idle_connection_never_answer_the_next_call(lab: Lab, extra: bytes) -> None:
    """A server that speaks unasked on a pooled connection loses it."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.say(sized(b"hello" if peer.number == 0 else b"next"))

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(script)
        assert await whole(await bench.send(server)) == b"hello"
        server.peers[0].say(extra)
        await server.peers[0].gone()
        reply = await bench.send(server)
        assert (await whole(reply), reply.resent) == (b"next", False)

    lab.run(scenario)


@conforms
@pytest.mark.parametrize("secure", [False, True])
def test_bytes_behind_an_unread_body_never_answer_the_next_call(lab: Lab, secure: bool) -> None:
    """However much of a response lies unread: what the server says behind it belongs to no call."""
    stale = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nSTALE"

    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number:
            peer.say(sized(b"next"))
            return
        peer.say(sized(b"x" * 70_000))
        await turns(20)
        peer.say(stale)

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(script, secure=secure)
        upstream = bench.upstream(ca_file=bench.ca_file())
        reply = await bench.send(server, upstream=upstream)
        await turns(60)
        assert await whole(reply) == b"x" * 70_000
        assert await whole(await bench.send(server, upstream=upstream)) == b"next"

    lab.run(scenario)


@conforms
def test_large_chunks_and_the_close_may_come_at_once_over_tls(lab: Lab) -> None:
    """A body larger than the read buffer, sent in one go with the connection's end, is whole."""
    part = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    response = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + part * 12 + b"0\r\n\r\n"

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers_and_leaves(response), secure=True)
        upstream = bench.upstream(ca_file=bench.ca_file())
        reply = await bench.send(server, upstream=upstream)
        await turns(20)
        assert len(await whole(reply)) == 12 * 0x4000

    lab.run(scenario)


@conforms
@pytest.mark.parametrize(
    ("response", "leave", "ending"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nuntil", Peer.hang_up, None),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil", Peer.drop, FaultKind.TRUNCATED),
        (_CUT_LENGTH, Peer.hang_up, FaultKind.TRUNCATED),
        (_CUT_LENGTH, Peer.drop, FaultKind.TRUNCATED),
        (_CUT_CHUNKS, Peer.hang_up, FaultKind.TRUNCATED),
        (_CUT_CHUNKS, Peer.drop, FaultKind.TRUNCATED),
    ],
)
def test_the_end_of_tls_is_the_end_of_its_connection(
    lab: Lab, response: bytes, leave: Callable[[Peer], None], ending: FaultKind | None
) -> None:
    """A body that only the close delimits ends well where TLS says that it ends (RFC 9112 9.8)."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.say(response)
        await turns()
        leave(peer)

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(script, secure=True)
        reply = await bench.send(server, upstream=bench.upstream(ca_file=bench.ca_file()))
        if ending is None:
            assert await whole(reply) == b"until"
        else:
            body, fault = await broken_end(reply)
            assert (body, fault.kind) == (b"until", ending)

    lab.run(scenario)


@conforms
@pytest.mark.parametrize("framing", [b"content-length: 5120000\r\n", b""])
def test_what_tls_has_decrypted_before_a_pause_is_not_lost(lab: Lab, framing: bytes) -> None:
    """Megabytes that nobody reads for a while, and the end behind them, are all there in the end."""
    body = bytes(range(256)) * 20_000

    async def scenario(bench: Bench) -> None:
        response = b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n" + body
        server = await bench.serve(answers_and_leaves(response), secure=True)
        reply = await bench.send(server, upstream=bench.upstream(ca_file=bench.ca_file()))
        parts = []
        while part := await reply.read():
            parts.append(part)
            await turns(20)
        assert b"".join(parts) == body

    lab.run(scenario)
