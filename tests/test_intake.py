"""Tests of `proxy.intake`: what a client sent, as a reader hears of it."""

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.intake import Intake, Scope

_MOST = 512


@dataclasses.dataclass
class Heard:
    """One request."""

    scope: Scope
    keep_alive: bool
    expects: bool
    body: bytes = b""
    whole: bool = False

    @property
    def line(self) -> tuple[str, str, bytes, bytes]:
        """What was asked for."""
        scope = self.scope
        return scope["method"], scope["path"], scope["raw_path"], scope["query_string"]

    @property
    def told(self) -> tuple[object, ...]:
        """All that was heard."""
        head = self.scope["http_version"], self.scope["headers"], self.keep_alive, self.expects
        return *self.line, *head, self.body, self.whole


class Recorder:
    """A reader that keeps what it hears, and answers each request when it is whole, or at once."""

    def __init__(self, *, sockets: frozenset[str] = frozenset(), early: bool = False) -> None:
        self.closing = False
        self.idle = True
        self.requests: list[Heard] = []
        self.refusals: list[int] = []
        self.socket: tuple[bytes, bytes] | None = None
        self._sockets = sockets
        self._early = early

    def on_request(self, scope: Scope, *, keep_alive: bool, expects: bool) -> None:
        """A head."""
        assert not self.closing
        self.idle = self._early
        self.requests.append(Heard(scope, keep_alive, expects))

    def on_part(self, part: bytes) -> None:
        """A part of a body."""
        assert not self.closing
        assert not self.requests[-1].whole
        self.requests[-1].body += part

    def on_whole(self) -> None:
        """The end of a body."""
        assert not self.closing
        self.idle = self.requests[-1].whole = True

    def has_socket(self, path: str) -> bool:
        """Whether there is one."""
        return path in self._sockets

    def on_socket(self, head: bytes, rest: bytes) -> None:
        """A WebSocket."""
        assert not self.closing
        self.socket = head, rest

    def refuse(self, status: int, message: str) -> None:
        """The end."""
        self.refusals.append(status)
        self.closing = True


def read(data: bytes, *cuts: int, most: int = _MOST, reader: Recorder | None = None) -> Recorder:
    """What is heard of `data` that comes in pieces. As long as anything is read, it is within bounds."""
    reader = reader or Recorder()
    intake = Intake(reader)
    edges = [0, *sorted(cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        if not reader.closing and not intake.opened:
            assert intake.feed(data[start:end], most)
    return reader


def heard(data: bytes) -> Heard:
    """The only request in `data`."""
    (request,) = read(data).requests
    return request


GET = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"
SIZED = b"POST /a HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /b?c=d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nauthorization: no\r\nexpect: 100-continue\r\n\r\n"
)
UPGRADES = b"connection: upgrade\r\nupgrade: h2c\r\n"
UPGRADED = b"POST /u HTTP/1.1\r\n" + UPGRADES + b"content-length: 27\r\n\r\n" + GET
PARTED = (
    b"POST /p HTTP/1.1\r\n" + UPGRADES + b"transfer-encoding: chunked\r\n\r\n1b\r\n" + GET + b"\r\n0\r\n\r\n"
)
HANDSHAKE = b"GET /s?q HTTP/1.1\r\nHost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"


def test_a_head_is_an_asgi_scope() -> None:
    """Names are in lower case, values as they came."""
    request = heard(b"GET /a%20b?c=%20 HTTP/1.1\r\nHost: h\r\nX-Y:  Z\r\nempty:\r\n\r\n")
    assert request.scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/a b",
        "raw_path": b"/a%20b",
        "query_string": b"c=%20",
        "root_path": "",
        "headers": [(b"host", b"h"), (b"x-y", b"Z"), (b"empty", b"")],
    }
    assert (request.keep_alive, request.expects, request.body, request.whole) == (True, False, b"", True)


def test_bodies_come_with_a_length_or_in_chunks() -> None:
    """Trailers are dropped: neither headers nor wishes are changed by them."""
    sized, chunked, after = read(SIZED + CHUNKED + GET).requests
    assert (sized.body, chunked.body, after.body) == (b"hello", b"hello", b"")
    assert chunked.scope["headers"] == [(b"transfer-encoding", b"chunked")]
    assert not after.expects


@pytest.mark.parametrize(
    ("target", "path", "raw", "query"),
    [
        (b"//x", "//x", b"//x", b""),
        (b"//x?y", "//x", b"//x", b"y"),
        (b"/?", "/", b"/", b""),
        (b"/a?b?c", "/a", b"/a", b"b?c"),
        (b"/a#b?c", "/a#b", b"/a%23b", b"c"),
        (b"/%C3%A9%2f", "/é/", b"/%C3%A9%2f", b""),
        (b"/%ff%", "/\ufffd%", b"/%ff%", b""),
        (b"/..//.", "/..//.", b"/..//.", b""),
        (b"*", "*", b"*", b""),
        (b"http://host/a?b", "/a", b"/a", b"b"),
        (b"http://u:p@host:80/", "/", b"/", b""),
        (b"http://host", "/", b"/", b""),
        (b"http://host?q", "/", b"/", b"q"),
    ],
)
def test_targets(target: bytes, path: str, raw: bytes, query: bytes) -> None:
    """Every form that a request's target may have (RFC 9112 3.2), and some that it has anyway."""
    request = heard(b"OPTIONS %b HTTP/1.1\r\n\r\n" % target)
    assert request.line == ("OPTIONS", path, raw, query)


@pytest.mark.parametrize(
    "data",
    [
        b"GET /\xc3\xa9 HTTP/1.1\r\n\r\n",
        b"GET x HTTP/1.1\r\n\r\n",
        b"GET http:// HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02",
        b"GET / HTTP/1.1\r\na: b\r\n c\r\n\r\n",
        b"GET / HTTP/1.1\r\na : b\r\n\r\n",
        b"GET / HTTP/1.1\r\na: b\n\n",
        b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: +1\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked, gzip\r\n\r\n",
        b"CONNECT h:1 HTTP/1.1\r\n\r\n",
        HANDSHAKE,
        b"POST / HTTP/1.1\r\n" + UPGRADES + b"transfer-encoding: gzip, chunked\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused(data: bytes) -> None:
    """Once, and nothing behind it is read: the two ends might not agree where it begins."""
    reader = read(data + GET)
    assert (reader.refusals, reader.requests) == ([400], [])


@pytest.mark.parametrize("rest", [b"chunked\r\n\r\nx\r\n", b"identity\r\n\r\n"])
def test_a_body_whose_end_cannot_be_known_is_refused(rest: bytes) -> None:
    """The request has begun by then, and never ends."""
    reader = read(b"POST / HTTP/1.1\r\ntransfer-encoding: " + rest + GET)
    assert reader.refusals == [400]
    assert [request.whole for request in reader.requests] == [False]


def test_empty_lines_before_a_request_are_read_over() -> None:
    """Some clients send them behind a body (RFC 9112 2.2)."""
    assert len(read(b"\r\n\r\n" + SIZED + b"\r\n" + GET).requests) == 2


@pytest.mark.parametrize(
    ("head", "lasts", "expects"),
    [
        (b"HTTP/1.1\r\nexpect: 100-Continue\r\n", True, True),
        (b"HTTP/1.1\r\nexpect: something\r\n", True, False),
        (b"HTTP/1.1\r\nconnection: Close\r\n", False, False),
        (b"HTTP/1.0\r\nexpect: 100-continue\r\n", False, False),
        (b"HTTP/1.0\r\nconnection: keep-alive\r\n", False, False),
    ],
)
def test_what_a_client_can_do(head: bytes, lasts: bool, expects: bool) -> None:
    """Of HTTP/1.0 nothing is known but that it reads to the end."""
    request = heard(b"POST / %bcontent-length: 1\r\n\r\nx" % head)
    assert (request.keep_alive, request.expects, request.body) == (lasts, expects, b"x")


@pytest.mark.parametrize("behind", [GET, b"garbage", b"\r\n"])
def test_nothing_is_read_behind_a_request_that_closes(behind: bytes) -> None:
    """It is no error of that request, whatever it is."""
    reader = read(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n" + behind)
    assert (len(reader.requests), reader.refusals) == (1, [])


def test_a_request_to_upgrade_is_read_as_it_is() -> None:
    """Its body does not become a request of its own."""
    data = UPGRADED + PARTED + b"GET /n HTTP/1.1\r\n" + UPGRADES + b"\r\n" + GET
    requests = read(data).requests
    assert [request.scope["path"] for request in requests] == ["/u", "/p", "/n", "/"]
    assert [request.body for request in requests] == [GET, GET, b"", b""]
    assert all(request.whole for request in requests)


@given(cut=st.integers(0, len(HANDSHAKE) + 5))
def test_a_socket_takes_all_that_follows(cut: int) -> None:
    """Its head is said again for whoever speaks the protocol."""
    reader = Recorder(sockets=frozenset({"/s"}))
    intake = Intake(reader)
    data = GET + HANDSHAKE + b"\x81\x00rest"
    rest = b""
    for piece in (data[: len(GET) + cut], data[len(GET) + cut :]):
        if intake.opened:
            rest += piece
        else:
            assert intake.feed(piece, _MOST)
    assert reader.socket is not None
    head, behind = reader.socket
    assert head == HANDSHAKE.replace(b"Host", b"host")
    assert behind + rest == b"\x81\x00rest"
    assert len(reader.requests) == 1


# Bounds.


@given(st.lists(st.integers(0, 600), max_size=4), st.booleans())
def test_a_head_beyond_the_bound_is_refused_at_any_split(cuts: list[int], behind: bool) -> None:
    """Also one that came in the same read as another request; one at the bound never is."""
    large = b"GET /l HTTP/1.1\r\nx: " + b"y" * (_MOST + 20) + b"\r\n\r\n"
    reader = read((SIZED if behind else b"") + large, *cuts)
    assert reader.refusals == [431]
    assert len(reader.requests) == behind
    fits = b"GET /l HTTP/1.1\r\nx: " + b"y" * (_MOST - 30) + b"\r\n\r\n"
    assert len(read(fits + SIZED + fits, *cuts).requests) == 3


def test_a_head_without_end_is_refused_before_it_ends() -> None:
    """Nothing endless is kept."""
    assert read(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * _MOST).refusals == [431]
    assert read(b"GET /" + b"a" * _MOST).refusals == [431]


def test_a_refusal_of_a_head_stands_though_a_body_follows() -> None:
    """What comes behind it is none of the reader's business any more."""
    reader = Recorder()
    intake = Intake(reader)
    assert intake.feed(b"POST / HTTP/1.1\r\ncontent-length: 9999\r\nx: %b\r\n\r\n" % (b"y" * _MOST), _MOST)
    assert reader.refusals == [431]
    assert intake.feed(b"x" * 2 * _MOST, _MOST)


def test_a_body_has_no_bound_here() -> None:
    """The application has one."""
    big = b"x" * 100_000
    sized = b"POST / HTTP/1.1\r\ncontent-length: 100000\r\n\r\n" + big
    chunked = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n186a0\r\n" + big + b"\r\n0\r\n\r\n"
    requests = read(sized + chunked + sized, 1000, 50_000, 130_000, 250_000).requests
    assert [len(request.body) for request in requests] == [100_000] * 3


def endless(intake: Intake, piece: bytes) -> bool:
    """Whether it comes to an end by itself."""
    return all(intake.feed(piece, _MOST) for _ in range(_MOST))


@pytest.mark.parametrize("early", [True, False])
def test_what_is_no_body_has_a_bound(early: bool) -> None:
    """Trailers and chunk extensions without end."""
    for start, piece in ((b"0\r\n", b"a: b\r\n"), (b"0\r\nx: ", b"aaaa"), (b"1;x=", b"aaaa")):
        intake = Intake(Recorder(early=early))
        assert intake.feed(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n", _MOST)
        assert intake.feed(start, _MOST)
        assert not endless(intake, piece)


def test_what_comes_after_an_answer_has_a_bound() -> None:
    """A body of any size that waits for its answer has none."""
    head = b"POST / HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n"
    piece = bytes(4 * 1024 * 1024)
    answered = Intake(Recorder(early=True))
    assert answered.feed(head, _MOST)
    assert [answered.feed(piece, _MOST) for _ in range(17)] == [True] * 16 + [False]
    assert Intake(Recorder()).feed(head + piece * 17, _MOST)


# Whatever comes.

REQUESTS = st.sampled_from([GET, SIZED, CHUNKED, UPGRADED, PARTED, b"\r\n" + GET])


@given(st.lists(REQUESTS, max_size=6), st.lists(st.integers(0, 800), max_size=12))
def test_a_stream_is_read_the_same_however_it_is_split(requests: list[bytes], cuts: list[int]) -> None:
    """The network may deliver it in any pieces."""
    data = b"".join(requests)
    whole = read(data)
    pieces = read(data, *cuts)
    assert whole.refusals == pieces.refusals == []
    assert [request.told for request in pieces.requests] == [request.told for request in whole.requests]
    assert len(whole.requests) == len(requests)


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """A stream of requests in which some bytes were changed, left out or put in."""
    data = bytearray(b"".join(draw(st.lists(REQUESTS | st.just(HANDSHAKE), min_size=1, max_size=5))))
    interesting = st.sampled_from(
        [b"\r", b"\n", b"\r\n", b"\0", b" ", b":", b",", b"chunked", b"0", b"9", b"#"]
    )
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(interesting | st.binary(max_size=3))
    return bytes(data)


@given(mutations(), st.lists(st.integers(0, 800), max_size=6), st.booleans(), st.booleans())
def test_nothing_breaks_it(data: bytes, cuts: list[int], early: bool, socket: bool) -> None:
    """It never raises, refuses once, and then says nothing more; no header holds a line break."""
    reader = Recorder(sockets=frozenset({"/s"} if socket else ()), early=early)
    intake = Intake(reader)
    edges = [0, *sorted(cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        if not intake.opened:
            intake.feed(data[start:end], _MOST)
    assert len(reader.refusals) <= 1
    for request in reader.requests:
        for name, value in request.scope["headers"]:
            assert not {0, 10, 13} & {*name, *value}
            assert name == name.lower()
