"""What a client sends, read as HTTP/1.1: requests one after another, with bounds on all that is no body.

Bytes are counted before they are parsed, so nothing endless is ever kept. Trailers are dropped, since a
header must not change after it was looked at. A request to upgrade is read as if it did not ask, body and
all, except for a WebSocket: that is opened where there is one, and refused elsewhere.
"""

from collections.abc import Sequence
from typing import Any, Final, Protocol
from urllib.parse import unquote

import httptools

Scope = dict[str, Any]
Header = tuple[bytes, bytes]

_AFTER_ANSWER = 64 * 1024 * 1024
"""Bytes that are read and dropped after an answer that did not wait for the whole body, so that the client
can finish sending and read it; a connection closed at once would be reset before that."""

_STAND_IN = b"POST / HTTP/1.1\r\n%b\r\n\r\n"
"""The head that tells a new parser how the body behind it is framed. Nothing in it is the client's text."""

_ASGI: Final = {"version": "3.0", "spec_version": "2.3"}


class Reader(Protocol):
    """Whoever takes what was read. Once it is `closing` it is told nothing more."""

    @property
    def closing(self) -> bool:
        """Whether nothing is answered any more."""

    @property
    def idle(self) -> bool:
        """Whether the last request has been answered, or there was none."""

    def on_request(self, scope: Scope, *, keep_alive: bool, expects: bool) -> None:
        """The head of a request; `expects`: its body comes after a 100 (Continue)."""

    def on_part(self, part: bytes) -> None:
        """A part of its body."""

    def on_whole(self) -> None:
        """The end of its body."""

    def has_socket(self, path: str) -> bool:
        """Whether a WebSocket may be opened there, now."""

    def on_socket(self, head: bytes, rest: bytes) -> None:
        """A WebSocket is opened: `rest` came behind the `head` that asks for it."""

    def refuse(self, status: int, message: str) -> None:
        """This cannot be read; the connection ends with an answer that says so."""


class Intake:
    """Reads for one connection. `in_headers` and `in_body` say what is to come next.

    `opened`: what comes next belongs to a WebSocket, and nothing may be fed any more.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._parser = self._fresh()
        self.in_headers = False
        self.in_body = False
        self.opened = False
        self._url = b""
        self._headers: list[Header] = []
        self._expects = False
        self._framing: bytes | None = None
        self._header_bytes = 0
        self._dropped_bytes = 0
        self._bodiless_bytes = 0
        self._most = 0
        self._came = 0
        self._before = 0

    def feed(self, data: bytes, most: int) -> bool:
        """Read on. A header block has at most `most` bytes.

        Returns False where too much came after the answer, or too much that is no body: trailers, chunk
        extensions.
        """
        self._most = most
        self._came = len(data)
        if not self.in_headers:
            self._before = 0
        reader = self._reader
        if self.in_body and reader.idle:
            self._dropped_bytes += len(data)
        self._header_bytes += len(data)
        self._bodiless_bytes += len(data)
        left: bytes | memoryview = data
        try:
            while left and not reader.closing:
                left = self._parse(left)
        except httptools.HttpParserError:
            reader.refuse(400, "Invalid HTTP request received.")
        if self.opened or reader.closing:
            return True
        if self.in_headers and self._header_bytes > most:
            reader.refuse(431, "The request headers are too large.")
        return not self.in_body or (self._dropped_bytes <= _AFTER_ANSWER and self._bodiless_bytes <= most)

    def release(self) -> None:
        """Nothing more is fed. Parser and reader refer to each other, and need no garbage collector to go."""
        del self._parser

    def _parse(self, data: bytes | memoryview) -> bytes | memoryview:
        """Parse. Returns what follows a head that asks for an upgrade, where httptools stops."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as stopped:
            rest = memoryview(data)[stopped.args[0] :]
            if self.opened:
                self._reader.on_socket(self._head(), bytes(rest))
                return b""
            if self._framing is not None:
                self._parser = self._fresh()
                self._parser.feed_data(_STAND_IN % self._framing)
            return rest
        return b""

    def _fresh(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        # What follows a request that says `connection: close` is read over: it is no error of that request.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    # What the parser calls.

    def on_message_begin(self) -> None:
        """A request begins."""
        self.in_headers = True
        self._url = b""
        self._headers = []
        self._expects = False

    def on_url(self, url: bytes) -> None:
        """A part of the request's target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer."""
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self._expects = True
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The headers are whole; a block that came in one read is checked here."""
        self.in_headers = False
        if self._framing is not None:
            self._framing = None  # that was the stand-in: the request has begun already
            return
        reader, parser = self._reader, self._parser
        if reader.closing:
            return
        self.in_body = True
        if self._header_bytes + self._before > self._most and _size(self._url, self._headers) > self._most:
            reader.refuse(431, "The request headers are too large.")
            return
        self._header_bytes = self._dropped_bytes = self._bodiless_bytes = 0
        if parser.should_upgrade() and not self._ignores_upgrade():
            return
        scope = self._scope()
        self._headers = []  # for trailers: the head was acted on and gets none of them (RFC 9110 6.5.1)
        modern = scope["http_version"] == "1.1"
        lasts = modern and parser.should_keep_alive()
        reader.on_request(scope, keep_alive=lasts, expects=self._expects and modern)

    def on_body(self, part: bytes) -> None:
        """A part of the body."""
        self._bodiless_bytes = 0
        if not self._reader.closing:
            self._reader.on_part(part)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._framing is not None:
            return  # only its head is, and the body comes through a new parser
        self.in_body = False
        self._header_bytes = 0
        self._before = self._came  # of a head that begins in this read nobody knows how much of it is there
        if not self._reader.closing:
            self._reader.on_whole()

    def _scope(self) -> Scope:
        """What ASGI tells of a request (https://asgi.readthedocs.io/en/latest/specs/www.html)."""
        raw, query = self._url, b""
        if b"#" in raw:  # a request target has no fragment (RFC 9112 3.2), a model's name may hold one
            raw = raw.replace(b"#", b"%23")
        if b"?" in raw or not raw.startswith(b"/"):
            parsed = httptools.parse_url(raw)
            raw, query = parsed.path or b"/", parsed.query or b""  # `http://host` alone has no path
        path = raw.decode("ascii")
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": self._parser.get_http_version(),
            "method": self._parser.get_method().decode("ascii"),
            "scheme": "http",
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw,
            "query_string": query,
            "root_path": "",
            "headers": self._headers,
        }

    # Upgrades.

    def _ignores_upgrade(self) -> bool:
        """Whether the request is served as if it asked for no upgrade (RFC 9110 7.8), and not refused.

        A body is left to a new parser: this one takes all that follows for another protocol.
        """
        reader = self._reader
        if self._parser.get_method() == b"CONNECT":
            reader.refuse(400, "There is no tunnel here: CONNECT is not supported.")
        elif any(b"websocket" in value.lower() for value in self._values(b"upgrade")):
            self.opened = reader.has_socket(self._url.partition(b"?")[0].decode("latin-1"))
            if not self.opened:
                reader.refuse(400, "WebSocket is not supported here; send a plain HTTP request.")
            return False
        elif codings := self._values(b"transfer-encoding"):
            if [coding.lower() for coding in codings] != [b"chunked"]:
                reader.refuse(400, "The transfer-encoding is not supported; send chunked.")
            self._framing = b"transfer-encoding: chunked"
        elif length := sum(map(int, self._values(b"content-length"))):  # the parser has refused a second one
            self._framing = b"content-length: %d" % length
        return not reader.closing

    def _values(self, wanted: bytes) -> list[bytes]:
        return [value.strip() for name, value in self._headers if name == wanted]

    def _head(self) -> bytes:
        lines = b"".join([b"%b: %b\r\n" % header for header in self._headers])
        return b"%b %b HTTP/1.1\r\n%b\r\n" % (self._parser.get_method(), self._url, lines)


def _size(url: bytes, headers: Sequence[Header]) -> int:
    return len(url) + sum(len(name) + len(value) + 4 for name, value in headers)
