"""The parser's seam, byte by byte: any split reads the same, and nothing that is broken is used again."""

import asyncio
import itertools
import ssl
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import FaultKind
from proxy.upstream.connection import Connection

_CHUNKED = (
    b"HTTP/1.1 103 Hints\r\nlink: a\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nx-a: 1\r\nX-A: 2 \r\ntransfer-encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n3;a=b\r\nyou\r\n0\r\nx-sum: 1\r\n\r\n"
)
_SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nx-a: 1\r\nx-a: 2\r\n\r\nhelloyou"


class _Socket:
    """A transport that notes what is done to it."""

    def __init__(self) -> None:
        self.aborted = False
        self.paused = False
        self.written: list[bytes] = []
        self.unsent = 0
        self.secured: ssl.SSLObject | None = None

    def get_extra_info(self, name: str) -> ssl.SSLObject | None:
        """Its end of TLS; nothing else is asked for."""
        assert name == "ssl_object"
        return self.secured

    def write(self, data: bytes) -> None:
        """Note it."""
        self.written.append(data)

    def writelines(self, parts: Iterable[bytes]) -> None:
        """Note them."""
        self.written.extend(parts)

    def get_write_buffer_size(self) -> int:
        """What has not left."""
        return self.unsent

    def pause_reading(self) -> None:
        """Note it."""
        self.paused = True

    def resume_reading(self) -> None:
        """Note it."""
        self.paused = False

    def abort(self) -> None:
        """Note it."""
        self.aborted = True


def _socket() -> Any:
    return _Socket()


class _Home:
    """A pool that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def give_back(self, connection: Connection) -> None:
        """Note it."""
        assert connection.open
        self.told.append("back")

    def proven(self, connection: Connection) -> None:
        """Note it."""
        self.told.append("proven")

    def lost(self, connection: Connection) -> None:
        """Note it."""
        self.told.append("lost")


class _Rig:
    """A connection that has sent a request, between a socket and a pool that are not real."""

    def __init__(self, *, head_only: bool = False) -> None:
        self.loop = asyncio.new_event_loop()
        self.home = _Home()
        self.connection = self.loop.run_until_complete(self._made())
        self.connection.home = self.home
        self.socket = _socket()
        self.connection.connection_made(self.socket)
        self.connection.speak((b"request",), head_only=head_only)
        self.loop.close()

    async def _made(self) -> Connection:
        return Connection()

    def hear(self, *parts: bytes) -> None:
        """Bytes arrive, until the connection is closed."""
        for part in parts:
            if not self.socket.aborted:
                self.connection.data_received(part)

    def left(self, body: bytes) -> FaultKind | None:
        """Read `body`, and leave."""
        assert (self.connection.take() if self.connection.readable else b"") == body
        return self.connection.leave()


@given(st.lists(st.integers(0, len(_CHUNKED))), st.sampled_from([_CHUNKED, _SIZED]))
@settings(max_examples=150, deadline=None)
def test_a_response_reads_the_same_however_it_is_split(cuts: list[int], response: bytes) -> None:
    """Head and body do not depend on where the network cuts, and the connection is used again."""
    rig = _Rig()
    edges = [0, *sorted(cut for cut in cuts if cut < len(response)), len(response)]
    rig.hear(*[response[a:b] for a, b in itertools.pairwise(edges) if a < b])
    assert rig.connection.status == 200
    assert rig.connection.headers["x-a"] == "1, 2"
    assert "link" not in rig.connection.headers
    assert "x-sum" not in rig.connection.headers
    assert rig.left(b"helloyou") is None
    assert rig.home.told == ["proven", "back"]


@given(
    st.sampled_from([_CHUNKED, _SIZED]),
    st.lists(st.tuples(st.integers(0, len(_CHUNKED)), st.binary(max_size=4), st.integers(0, 3)), max_size=4),
    st.integers(1, 60),
    st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_a_damaged_response_never_does_damage(
    response: bytes, edits: list[tuple[int, bytes, int]], step: int, reset: bool
) -> None:
    """Whatever arrives: nothing is raised, all ends with the connection, and what broke is not given back."""
    for at, new, gone in edits:
        response = response[:at] + new + response[at + gone :]
    rig = _Rig()
    rig.hear(*[response[at : at + step] for at in range(0, len(response), step)])
    connection = rig.connection
    broken = connection.fault
    if not connection.ended:
        connection.connection_lost(ConnectionResetError() if reset else None)
    assert connection.ended
    if connection.readable:
        connection.take()
    connection.leave()
    if broken is not None:
        assert broken is FaultKind.PROTOCOL
        assert rig.home.told == ["lost"]
    assert len({"back", "lost"} & set(rig.home.told)) == 1
    assert rig.socket.aborted or not connection.open or rig.home.told == ["proven", "back"]


@pytest.mark.parametrize(
    "fields",
    [
        b"transfer-encoding: gzip",
        b"transfer-encoding: chunked, gzip",
        b"transfer-encoding: gzip, chunked",
        b"transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        b"transfer-encoding: identity",
        b"x: a\r\n folded: b\r\ncontent-length: 0",
        b"content-length: 0\nx: a",
        b"x: a\rb\r\ncontent-length: 0",
        b"content-length : 0",
        b" content-length: 0",
        b"content-length: +0",
        b"content-length: 0, 0",
        b"content-length: 0\r\ncontent-length: 0",
        b"content-length:",
        b": 0",
    ],
)
def test_framing_that_can_be_read_in_two_ways_is_refused(fields: bytes) -> None:
    """What another server on the way might read differently is no response."""
    rig = _Rig()
    rig.hear(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\n0\r\n\r\n")
    assert not rig.connection.headed
    assert rig.left(b"") is FaultKind.PROTOCOL
    assert rig.home.told == ["lost"]


@pytest.mark.parametrize("version", [b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.2", b"HTTP/11.1"])
@pytest.mark.parametrize(
    "fields",
    [b"", b"connection: keep-alive\r\n", b"Proxy-Connection: Keep-Alive\r\n", b"connection: close\r\n"],
)
def test_other_versions_are_refused(version: bytes, fields: bytes) -> None:
    """Only HTTP/1.0 and 1.1 are understood, whatever becomes of the connection."""
    rig = _Rig()
    rig.hear(version + b" 200 OK\r\n" + fields + b"content-length: 0\r\n\r\n")
    assert rig.left(b"") is FaultKind.PROTOCOL


@pytest.mark.parametrize("size", [1, 100, 65_536, 300_000])
def test_a_head_ends_at_its_limit_wherever_it_is_split(size: int) -> None:
    """A body that comes along does not make a head fit, and does not count as a part of it."""
    large = b"HTTP/1.1 200 OK\r\nx-a: " + b"a" * 65_536 + b"\r\ncontent-length: 10\r\n\r\n0123456789"
    fine = b"HTTP/1.1 200 OK\r\nx-a: " + b"a" * 60_000 + b"\r\ncontent-length: 90000\r\n\r\n" + b"b" * 90_000
    for response, fault in ((large, FaultKind.PROTOCOL), (fine, None)):
        rig = _Rig()
        rig.hear(*[response[at : at + size] for at in range(0, len(response), size)])
        assert rig.connection.fault is fault
        assert rig.connection.headed is (fault is None)


@pytest.mark.parametrize(
    "endless", [b"1;" + b"a" * 100_000, b"0\r\n" + b"x-a: b\r\n" * 20_000, b"0\r\nx: " + b"a" * 80_000]
)
def test_what_carries_no_body_is_bounded(endless: bytes) -> None:
    """Chunk extensions and trailers end at 64 KiB; what had arrived of the body is there."""
    rig = _Rig()
    rig.hear(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
    rig.hear(*[endless[at : at + 1000] for at in range(0, len(endless), 1000)])
    assert rig.left(b"hello") is FaultKind.PROTOCOL


def test_reading_pauses_and_goes_on() -> None:
    """Beyond the buffer the socket is not read, until what came is taken; what TLS delivers still is kept."""
    rig = _Rig()
    rig.hear(b"HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n", b"a" * 65_536)
    assert not rig.socket.paused
    rig.hear(b"b")
    assert rig.socket.paused
    rig.hear(b"c")
    assert rig.connection.take() == b"a" * 65_536 + b"bc"
    assert not rig.socket.paused


@pytest.mark.parametrize("reads", [True, False])
def test_reading_never_pauses_behind_the_end(reads: bool) -> None:
    """A connection whose response came whole goes home, and hears whatever comes unasked before that."""
    for stray in (False, True):
        rig = _Rig()
        rig.hear(b"HTTP/1.1 200 OK\r\ncontent-length: 70000\r\n\r\n" + b"a" * 70_000)
        assert not rig.socket.paused
        if stray:
            rig.hear(b"HTTP/1.1 200 OK\r\n")
        if reads:
            assert len(rig.connection.take()) == 70_000
        assert rig.connection.leave() is None
        assert rig.home.told == (["lost"] if stray else ["proven", "back"])


@pytest.mark.parametrize("reads", [True, False])
def test_what_ended_while_reading_was_paused_is_not_used_again(reads: bool) -> None:
    """What the socket holds behind the end is not known, and there is no time to look."""
    rig = _Rig()
    rig.hear(b"HTTP/1.1 200 OK\r\ncontent-length: 70000\r\n\r\n" + b"a" * 69_999)
    assert rig.socket.paused
    rig.hear(b"a")
    if reads:
        assert len(rig.connection.take()) == 70_000
    assert rig.connection.leave() is None
    assert rig.home.told == ["lost"]


def test_a_request_that_has_not_left_keeps_its_connection_from_the_pool() -> None:
    """What is half written can carry no other request."""
    rig = _Rig()
    rig.socket.unsent = 1
    rig.hear(_SIZED)
    assert rig.left(b"helloyou") is None
    assert rig.home.told == ["lost"]


@pytest.mark.parametrize("status", [b"200 OK", b"413 Too Large"])
@pytest.mark.parametrize("request_", [(b"small",), (b"head", b"body")])
def test_over_tls_a_large_request_that_is_refused_may_not_have_left(
    status: bytes, request_: tuple[bytes, ...]
) -> None:
    """TLS does not tell; where the answer is none of a refusal, the request was read."""
    rig = _Rig()
    rig.hear(_SIZED)
    rig.left(b"helloyou")
    rig.socket.secured = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(
        ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="a"
    )
    rig.connection.speak(request_, head_only=False)
    rig.hear(_SIZED.replace(b"200 OK", status))
    assert rig.left(b"helloyou") is None
    refused = status != b"200 OK" and len(request_) > 1
    assert rig.home.told == ["proven", "back", "lost" if refused else "back"]


@pytest.mark.parametrize("stray", [b"5\r\nstray\r\n", b"x", b"HTTP/1.1 200 OK\r\n\r\n"])
@pytest.mark.parametrize("split", [0, 20, -4, -3, -2, -1])
def test_bytes_behind_a_head_without_a_body_spoil_it(stray: bytes, split: int) -> None:
    """A body in answer to HEAD is none, and the connection is not used again."""
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    rig = _Rig(head_only=True)
    rig.hear(head[:split], head[split:] + stray)
    rig.left(b"")
    assert rig.home.told == ["lost"]
    rig = _Rig(head_only=True)
    rig.hear(head[:split], head[split:])
    rig.left(b"")
    assert rig.home.told == ["proven", "back"]


def test_the_next_response_after_head_is_parsed_anew() -> None:
    """A connection that has answered HEAD with a length answers the next request."""
    rig = _Rig(head_only=True)
    rig.hear(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
    assert rig.left(b"") is None
    rig.connection.speak((b"request",), head_only=False)
    rig.hear(_SIZED)
    assert rig.left(b"helloyou") is None


def test_a_connection_that_died_before_it_was_used_says_so() -> None:
    """Speaking on it ends with RESET, before a byte was heard."""
    rig = _Rig()
    rig.hear(_SIZED)
    rig.left(b"helloyou")
    rig.connection.connection_lost(None)
    rig.connection.speak((b"request",), head_only=False)
    assert rig.connection.fault is FaultKind.RESET
    assert not rig.connection.heard


def test_parts_of_a_large_request_are_handed_over_as_they_are() -> None:
    """A large body is not copied."""
    rig = _Rig()
    rig.hear(_SIZED)
    rig.left(b"helloyou")
    rig.connection.speak((b"head", b"body"), head_only=False)
    assert rig.socket.written == [b"request", b"head", b"body"]


_LARGE = bytes(range(256)) * 4096  # four pieces


def _speaking() -> tuple[Connection, Any]:
    """A connection that has begun to write a large request, in a running loop."""
    connection, socket = Connection(), _socket()
    connection.connection_made(socket)
    connection.home = _Home()
    connection.speak((b"head", _LARGE), head_only=False)
    return connection, socket


def test_a_large_request_leaves_in_pieces_between_which_others_have_a_turn() -> None:
    """All of it in order; it stops where the socket is full, and goes on when there is room."""

    async def scene() -> None:
        connection, socket = _speaking()
        assert len(socket.written) == 2
        await asyncio.sleep(0)
        assert len(socket.written) == 3
        connection.pause_writing()
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(socket.written) == 3
        connection.resume_writing()
        for _ in range(5):
            await asyncio.sleep(0)
        assert b"".join(socket.written) == b"head" + _LARGE

    asyncio.run(scene())


@pytest.mark.parametrize("turns", [0, 9])
def test_an_answer_before_the_end_of_a_large_request_is_the_last(turns: int) -> None:
    """What has not been written will not be, so the connection can carry no other request."""

    async def scene() -> list[str]:
        connection, socket = _speaking()
        for _ in range(turns):
            await asyncio.sleep(0)
        connection.data_received(_SIZED)
        assert connection.take() == b"helloyou"
        connection.leave()
        count = len(socket.written)
        await asyncio.sleep(0)
        assert len(socket.written) == count
        assert isinstance(connection.home, _Home)
        return connection.home.told

    assert asyncio.run(scene()) == (["proven", "back"] if turns else ["lost"])


def _poured(*reads: bytes, wants: int = 99) -> tuple[Connection, list[bytes], bool]:
    """A connection whose body is poured, what was handed on of `reads`, and whether it is over with that."""

    async def main() -> tuple[Connection, list[bytes], bool]:
        connection = Connection()
        connection.connection_made(_socket())
        connection.speak((b"GET / HTTP/1.1\r\n\r\n",), head_only=False)
        connection.data_received(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        handed: list[bytes] = []

        def taker(part: bytes) -> bool:
            handed.append(part)
            return len(handed) < wants

        waiter = connection.pour(taker)
        for data in reads:
            connection.data_received(data)
        return connection, handed, waiter.done()

    return asyncio.run(main())


def test_what_is_poured_is_handed_on_read_by_read() -> None:
    """The chunks of one read together, and nothing is left to be taken."""
    connection, handed, over = _poured(b"1\r\na\r\n1\r\nb\r\n", b"2\r\nc", b"d\r\n")
    assert (handed, over, connection.readable) == ([b"ab", b"c", b"d"], False, False)


def test_whoever_wants_no_more_is_handed_no_more() -> None:
    """What comes after that is to be taken."""
    connection, handed, over = _poured(b"1\r\na\r\n", b"1\r\nb\r\n", b"1\r\nc\r\n", wants=2)
    assert (handed, over, connection.take()) == ([b"a", b"b"], True, b"c")


def test_the_end_and_what_comes_with_it_is_not_poured() -> None:
    """It is to be taken by who sees that it is the last; a fault leaves what came before it as well."""
    for end, fault in ((b"0\r\n\r\n", None), (b"no chunk", FaultKind.PROTOCOL)):
        connection, handed, over = _poured(b"1\r\na\r\n", b"1\r\nb\r\n" + end)
        assert (handed, over, connection.ended, connection.fault) == ([b"a"], True, True, fault)
        assert connection.take() == b"b"
