"""One connection to an origin: a request is written to it, and the response is parsed off it by llhttp.

llhttp (under `httptools`) judges the framing, and none of its leniencies is switched on. What it does not
judge is bounded here: the size of a head, of trailers and of chunk extensions, the transfer coding, the
version, and bytes that answer no request. Whatever breaks a response closes the connection at once; what had
arrived of the body before stays there to be read.

Header text is latin-1 both ways, so bytes that are not ASCII pass unchanged through a str.
"""

import asyncio
import functools
import ssl
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from proxy.errors import FaultKind
from proxy.upstream.writing import Writing

_HEAD_LIMIT = 64 * 1024  # a head, or whatever else comes without a byte of body, in bytes
_NAMES = 512  # names of header fields that need not be decoded again
_READ_BUFFER = 64 * 1024  # reading pauses when so much lies unread, in bytes


class Home(Protocol):
    """Where connections come from and go back to."""

    def give_back(self, connection: "Connection") -> None:
        """It can carry another request."""

    def proven(self, connection: "Connection") -> None:
        """It has served for the first time."""

    def lost(self, connection: "Connection") -> None:
        """It is closed. Told once."""


class Malformed(ValueError):
    """A response that llhttp lets pass and we do not."""


class Connection(asyncio.Protocol):
    """One response after another, each parsed into `status`, `headers` and what `take` returns."""

    __slots__ = (
        "_bare",
        "_fields",
        "_head_only",
        "_keep",
        "_large",
        "_loop",
        "_parser",
        "_parts",
        "_paused",
        "_size",
        "_tail",
        "_taker",
        "_transport",
        "_waiter",
        "_writing",
        "ended",
        "fault",
        "headed",
        "headers",
        "heard",
        "home",
        "open",
        "reused",
        "since",
        "spoke",
        "status",
    )

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser: HttpResponseParser | None = None
        self._transport: asyncio.Transport
        self._waiter: asyncio.Future[None] | None = None
        self._taker: Callable[[bytes], bool] | None = None  # gets what comes while `_waiter` waits
        self._fields: dict[str, str] = {}
        self._parts: list[bytes] = []
        self._size = 0  # bytes in them
        self._bare = 0  # bytes received since the last one of a body
        self._keep = False  # the server lets the connection be used again
        self._head_only = False  # the response is one to HEAD
        self._tail = b""  # the last bytes of it, then
        self._large = False  # the request is written in pieces
        self._paused = False
        self.home: Home | None = None
        self.open = False
        """Whether the socket is, as far as is known."""
        self.reused = False
        """Whether it has carried a response before."""
        self.since = 0.0
        """When it was given back, by the loop's clock."""
        self.spoke = 0.0
        """When its last request was written, by the loop's clock."""
        self.status = 0
        self.headers: dict[str, str] = {}
        self.heard = False
        """Whether a byte of the response has come."""
        self.headed = False
        """Whether its head has come whole, and is fit to be shown."""
        self.ended = True
        """Whether nothing more will come of it, for better or for worse."""
        self.fault: FaultKind | None = None
        """What broke it."""

    # What the transport does with it.

    def speak(self, request: Sequence[bytes], *, head_only: bool) -> None:
        """Write `request` and make ready for its response. On a lost connection that ends it."""
        self.heard = self.headed = self.ended = False
        self.fault = None
        self.spoke = self._loop.time()
        self._bare = 0
        if not self.open:
            self._break(FaultKind.RESET)
            return
        if self._parser is None or self._head_only:  # llhttp would still wait for the body of a HEAD
            self._parser = HttpResponseParser(self)
        self._head_only = head_only
        self._large = len(request) > 1
        if not self._large:
            self._transport.write(request[0])
        else:
            self._writing.begin(*request)

    def news(self) -> asyncio.Future[None]:
        """Done when the head has come, more of the body, or the end."""
        waiter = self._waiter = self._loop.create_future()
        return waiter

    def pour(self, taker: Callable[[bytes], bool]) -> asyncio.Future[None]:
        """Done when `taker`, which gets what comes of the body, wants no more of it, or at the end.

        What comes along with the end is left to be taken.
        """
        self._taker = taker
        return self.news()

    @property
    def readable(self) -> bool:
        """Whether `take` has something."""
        return self._size > 0

    def take(self) -> bytes:
        """What has come of the body."""
        parts = self._parts
        self._parts = []
        self._size = 0
        if self._paused and not self.ended:
            self._resume()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def leave(self) -> FaultKind | None:
        """Go home where the response has ended well, else close at once; what broke the response."""
        if (
            self._keep
            and self.ended
            and self.open
            and not self._paused  # what was left unread behind the end would answer the next request
            and self.home is not None
            and not self._half_written
        ):
            if self._parts:
                self.take()
            self._keep = False
            if not self.reused:
                self.reused = True
                self.home.proven(self)
            self.home.give_back(self)
            return None
        self.abort()
        return self.fault

    @property
    def _half_written(self) -> bool:
        """Whether a part of the request may not have left: then the connection can carry no other one.

        TLS does not count what waits in the transport below it, so a large request that was refused over it
        may have been answered early.
        """
        if self._transport.get_write_buffer_size():
            return True
        return self._large and (not self._writing.done or (self.status >= 300 and self.tls is not None))

    def abort(self) -> None:
        """Close the socket now, with whatever is still to be written; a pending read ends with RESET."""
        self._break(FaultKind.RESET)
        if self.open:
            self._transport.abort()
            self._retire()

    @property
    def tls(self) -> ssl.SSLObject | None:
        """Its end of TLS, where it has one."""
        secured = self._transport.get_extra_info("ssl_object")
        return secured if isinstance(secured, ssl.SSLObject) else None

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class is not a subclass of it
        self._writing = Writing(self._loop, self._transport)
        self.open = True

    def pause_writing(self) -> None:
        """The server does not read what was written to it."""
        self._writing.paused = True

    def resume_writing(self) -> None:
        """It has read most of it."""
        self._writing.paused = False
        self._writing.go_on()

    def data_received(self, data: bytes) -> None:
        """Parse `data`; bytes that answer no request make the connection unfit for the next one."""
        if self.ended or self._parser is None:
            self.abort()
            return
        self.heard = True
        self._bare += len(data)
        try:
            if self._bare > _HEAD_LIMIT and not self.headed:
                data = self._behind_head(data)
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade, Malformed):
            self._spoil()
            return
        if self._bare > _HEAD_LIMIT or (self._head_only and not self._ends_with_head(data)):
            self._spoil()
        elif self._taker is not None:
            if self._size and not self._taker(self.take()):
                self._wake()
        elif self._size > _READ_BUFFER:
            self._pause()

    def _behind_head(self, data: bytes) -> bytes:
        """Parse `data` as far as a head may reach; the rest. Raises `Malformed` if no head ends there."""
        assert self._parser is not None
        within = len(data) - (self._bare - _HEAD_LIMIT)
        self._parser.feed_data(data[:within])
        if not self.headed:
            raise Malformed
        return data[within:]

    def _ends_with_head(self, data: bytes) -> bool:
        """Whether nothing follows the head of a response to HEAD, or it has not come whole."""
        self._tail = (self._tail + data[-4:])[-4:]
        return not self.headed or self._tail == b"\r\n\r\n"

    def eof_received(self) -> None:
        """The peer closed its side: so do we, without waiting until all is written."""
        self._over(None)
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed."""
        self._over(exc)
        self._retire()
        self._parser = None  # they refer to each other

    # What the parser finds.

    def on_message_begin(self) -> None:
        """A response begins: the one that is waited for, or what follows an interim one."""
        if self.ended:
            raise Malformed
        self._fields = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of a head, or of the trailers. The values of a repeated one are joined."""
        fields, key = self._fields, _key(name)
        text = value.decode("latin-1").rstrip(" \t")
        fields[key] = f"{fields[key]}, {text}" if key in fields else text

    def on_headers_complete(self) -> None:
        """A head is there. An interim one is passed over."""
        assert self._parser is not None
        self.status = status = self._parser.get_status_code()
        if not 200 <= status <= 599:
            if 100 <= status < 200 and status != 101:
                return
            raise Malformed
        self.headers = headers = self._fields
        self._fields = {}  # trailers go there
        coding = headers.get("transfer-encoding")
        if coding is not None and coding.lower() != "chunked":
            raise Malformed  # no other was asked for, and none would be undone
        self._keep = self._parser.should_keep_alive()
        if not self._keep or "connection" in headers or "proxy-connection" in headers:  # else it is 1.1
            self._judge_version(self._parser.get_http_version(), chunked=coding is not None)
        self.headed = True
        if self._head_only:
            self.ended = True
        self._wake()

    def _judge_version(self, version: str, *, chunked: bool) -> None:
        if version == "1.0":
            # Whoever passed chunks on may not have read them (RFC 9112 6.1).
            self._keep = self._keep and not chunked
        elif version != "1.1":
            raise Malformed

    def on_body(self, part: bytes) -> None:
        """More of the body."""
        if self.ended:
            raise Malformed
        self._bare = 0
        self._parts.append(part)
        self._size += len(part)
        if self._taker is None:
            self._wake()

    def on_message_complete(self) -> None:
        """The body has come to its end, as its framing says."""
        if self.headed:
            self.ended = True
            self._wake()

    # How it ends.

    def _wake(self) -> None:
        self._taker = None
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def _break(self, fault: FaultKind) -> None:
        """The response ends here, unless it has."""
        if not self.ended:
            self.ended = True
            self.fault = fault
            self._keep = False
            self._wake()

    def _spoil(self) -> None:
        """What has come is no HTTP. A response with bytes behind its end was framed wrongly as well."""
        self.ended = False
        self._break(FaultKind.PROTOCOL)
        self.abort()

    def _over(self, error: Exception | None) -> None:
        """The peer is gone. That ends a body which only the close delimits."""
        if self.ended:
            return
        if error is not None or not self.headed:
            self._break(FaultKind.RESET)
        elif "content-length" in self.headers or "transfer-encoding" in self.headers or self._is_cut:
            self._break(FaultKind.TRUNCATED)
        else:
            self._keep = False
            self.ended = True
            self._wake()

    @property
    def _is_cut(self) -> bool:
        """Whether TLS has not said its end: anybody on the way could have closed the connection.

        The event loops end both alike, but behind that word a read finds the end and not a want of more.
        """
        secured = self.tls
        if secured is None:
            return False
        try:
            return secured.read(1) != b""
        except ssl.SSLError:
            return True

    def _retire(self) -> None:
        if self.open:
            self.open = False
            self._writing.stop()
            if self.home is not None:
                self.home.lost(self)

    def _pause(self) -> None:
        """Read no more for now. Behind the end reading goes on: a stray byte has to be seen."""
        if self.open and not self.ended and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        self._paused = False
        if self.open:
            self._transport.resume_reading()


@functools.lru_cache(_NAMES)
def _key(name: bytes) -> str:
    """A field's name as it is looked up."""
    return name.decode("latin-1").lower()
