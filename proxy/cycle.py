"""One request on a client's connection, and its answer: what an ASGI application sees of both.

Written for answers that are complete: where a length is given, head and body leave in one piece. A stream is
chunked, and leaves as it is said (RFC 9112 6, 7.1); before HTTP/1.1 there are no chunks, and it ends with its
connection.
"""

import asyncio
import http
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from proxy.errors import Refusal
from proxy.intake import Header, Scope
from proxy.wire.chat.voice import ChatVoice

Message = Mapping[str, Any]

HIGH_WATER = 64 * 1024
"""Bytes of a body that wait for the application; beyond it nothing more is read."""

DIRECT = "apex.direct"
"""The extension (of ASGI's `extensions`) that is the cycle, as `Direct`."""

SOON = "apex.soon"
"""In the start of an answer: a part of its body follows at once, so that they leave together."""

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_REFUSAL = (
    b"content-type: application/json\r\nx-request-id: req_%(id)b\r\nrequest-id: req_%(id)b\r\n"
    b"x-apex-attempts: 0\r\nconnection: close\r\ncontent-length: %(length)d\r\n\r\n"
)
_BODILESS = frozenset({204, 304})
_FRAMING = frozenset({b"content-length", b"connection", b"transfer-encoding"})
_DISCONNECT: Final[Message] = {"type": "http.disconnect"}


def refusal(status: int, message: str) -> bytes:
    """A whole answer that is not the application's, and the last of its connection."""
    body = ChatVoice().refusal(Refusal(status, message))
    return (
        status_line(status) + _REFUSAL % {b"id": secrets.token_hex(12).encode(), b"length": len(body)} + body
    )


def status_line(status: int) -> bytes:
    """The first line of an answer."""
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


STATUS_LINES: Final[Mapping[int, bytes]] = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in http.HTTPStatus
}


class Line(Protocol):
    """What a cycle asks of its connection."""

    write_paused: bool

    @property
    def default_headers(self) -> Sequence[Header]:
        """What every answer carries."""

    def write(self, data: bytes) -> None:
        """Send bytes. Never waits."""

    async def drain(self) -> None:
        """Wait until the client has read enough of what was sent."""

    def resume_reading(self) -> None:
        """Read on, where reading was paused."""

    def answered(self, cycle: "Cycle") -> None:
        """The answer is whole."""


class Direct(Protocol):
    """A connection, for what need not wait, and for a body that has to come by some time.

    False (or None) says that it would wait, or cannot be said this way: nothing was said then. What is said
    to a client that is gone is said to nobody.
    """

    def whole(self) -> bytes | None:
        """The whole body of the request, if it is there already."""

    async def receive_by(self, until: float) -> Message:
        """As ASGI's `receive`. Raises `TimeoutError` where nothing comes until then, by the loop's time."""

    def begin(self, status: int, headers: Sequence[Header]) -> bool:
        """Say the head of an answer, which leaves with the begin of its body."""

    def push(self, data: bytes, *, last: bool = False) -> bool:
        """Say more of an answer that has begun."""

    def answer(self, status: int, headers: Sequence[Header], body: bytes) -> bool:
        """Say a whole answer; its length is said for the application."""


class Awaited:
    """A connection that is known by ASGI's two ends alone: nothing is said but by `send`."""

    __slots__ = ("_receive",)

    def __init__(self, receive: Callable[[], Awaitable[Message]]) -> None:
        self._receive = receive

    async def receive_by(self, until: float) -> Message:
        """As said."""
        async with asyncio.timeout_at(until):
            message = await self._receive()
        if asyncio.get_running_loop().time() >= until:
            raise TimeoutError
        return message

    def whole(self) -> bytes | None:
        """Nothing is there."""
        return None

    def begin(self, _status: int, _headers: Sequence[Header]) -> bool:
        """Not so."""
        return False

    def push(self, _data: bytes, *, last: bool = False) -> bool:  # noqa: ARG002  (the seam's signature)
        """Not so."""
        return False

    def answer(self, _status: int, _headers: Sequence[Header], _body: bytes) -> bool:
        """Not so."""
        return False


class Cycle:
    """One request and its answer; `receive` and `send` are the application's two ends of it.

    `gone` is set when the client is. After the end of the answer nothing is taken in any more.
    """

    __slots__ = (
        "_chunked",
        "_counted",
        "_expects",
        "_head",
        "_left",
        "_line",
        "_method",
        "_news",
        "_parts",
        "_scope",
        "_version",
        "_waiter",
        "complete",
        "gone",
        "keep_alive",
        "more",
        "size",
        "started",
    )

    def __init__(self, line: Line, scope: Scope, *, keep_alive: bool, expects: bool) -> None:
        self._line = line
        self._scope = scope
        self._method: str = scope["method"]
        self._version: str = scope["http_version"]
        self.keep_alive = keep_alive
        self._expects = expects
        self._parts: list[bytes] = []
        self.size = 0
        self.more = True
        self.gone = False
        self.started = False
        self.complete = False
        self._news = False
        self._waiter: asyncio.Future[None] | None = None
        self._head = b""
        self._left = 0
        self._counted = False
        self._chunked = False

    def take_scope(self) -> Scope:
        """The scope, once: it refers back to the cycle, and neither should wait for a collector."""
        scope, self._scope = self._scope, {}
        return scope

    def feed(self, part: bytes) -> bool:
        """A part of the body came. Returns whether that is enough for now."""
        self._parts.append(part)
        self.size += len(part)
        self.wake()
        return self.size > HIGH_WATER

    def wake(self) -> None:
        """There is news for whoever waits: bytes, the end of them, or that the client is gone."""
        self._news = True
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def whole(self) -> bytes | None:
        """The whole body, if it is there and nothing of it was received; else None, and `receive` has it."""
        if self.more or self.gone or self.complete:
            return None
        self._news = False
        parts, self._parts = self._parts, []
        self.size = 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def receive(self) -> Message:
        """What came of the body since the last time; waits for it."""
        return await self.receive_by(None)

    async def receive_by(self, until: float | None) -> Message:
        """The same. Raises `TimeoutError` where nothing comes until then, by the loop's time."""
        if self._expects:
            self._expects = False
            if self.more and not (self._parts or self.gone):
                self._line.write(_CONTINUE)
        if not (self._news or self.gone or self.complete):
            self._line.resume_reading()
            loop = asyncio.get_running_loop()
            waiter = self._waiter = loop.create_future()
            timer = loop.call_at(until, _late, waiter) if until is not None else None
            try:
                await waiter
            finally:
                if timer is not None:
                    timer.cancel()
        self._news = False
        if self.gone or self.complete:
            return _DISCONNECT
        if until is not None and asyncio.get_running_loop().time() >= until:
            raise TimeoutError  # be there news or not: of a body that drips there always is
        parts, self._parts = self._parts, []
        self.size = 0
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        return {"type": "http.request", "body": body, "more_body": self.more}

    async def send(self, message: Message) -> None:
        """Say a part of the answer; waits while the client does not read. One that is gone is told nothing.

        Raises `RuntimeError` for an answer that cannot be framed: that is a bug.
        """
        if self._line.write_paused and not self.gone:
            await self._line.drain()
        if self.gone:
            return
        kind = message["type"]
        if kind == "http.response.start" and not self.started:
            self._start(message["status"], message.get("headers", ()), soon=message.get(SOON, False))
        elif kind == "http.response.body" and self.started and not self.complete:
            self._say(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise RuntimeError(f"{kind} at the wrong time")

    def begin(self, status: int, headers: Sequence[Header]) -> bool:
        """Say the head of an answer, which leaves with the begin of its body. False where that would wait."""
        if self.gone:
            return True
        if self._line.write_paused or self.started:
            return False
        self._start(status, headers, soon=True)
        return True

    def push(self, data: bytes, *, last: bool = False) -> bool:
        """Say more of an answer that has begun. False where that would wait: nothing was said then."""
        if self.gone:
            return True
        if self._line.write_paused or self.complete or not (self.started and (data or last)):
            return False
        if self._chunked and not (self._head or last):
            self._line.write(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            self._say(data, more=not last)
        return True

    def answer(self, status: int, headers: Sequence[Header], body: bytes) -> bool:
        """Say a whole answer; its length is said for the application.

        False where that would wait, or is not as plain as most: nothing was said then. Raises
        `RuntimeError` as `send` does.
        """
        if self.gone:
            return True
        line = self._line
        plain = not (self.started or self._expects or self._method == "HEAD" or status in _BODILESS)
        if line.write_paused or not plain or not _FRAMING.isdisjoint([name for name, _ in headers]):
            return False
        self.started = True
        fields = [*line.default_headers, *headers, (b"content-length", b"%d" % len(body))]
        if not self.keep_alive:
            fields.append((b"connection", b"close"))
        line.write(_head_of(status, fields) + body)
        self._end()
        return True

    def _start(self, status: int, headers: Iterable[Header], *, soon: bool) -> None:
        self.started = True
        if self._expects and self.more and not self._parts:
            self.keep_alive = False  # the body may never come, or what comes next be taken for it
        self._expects = False
        fields = [*self._line.default_headers, *headers]
        closing = framed = False
        for name, value in fields:
            if name == b"content-length":
                self._left = int(value)
                framed = True
            elif name == b"connection":
                closing = closing or b"close" in value.lower()
            elif name == b"transfer-encoding":
                raise RuntimeError("framing is not the application's")
        self.keep_alive = self.keep_alive and not closing
        if not self.keep_alive and not closing:
            fields.append((b"connection", b"close"))
        bodiless = self._method == "HEAD" or status in _BODILESS
        if not framed and not bodiless and self._version == "1.1":
            self._chunked = True
            fields.append((b"transfer-encoding", b"chunked"))
        self._counted = framed or bodiless
        if bodiless:
            self._left = 0
        head = _head_of(status, fields)
        if (framed or soon) and not bodiless:
            self._head = head  # it leaves with the begin of its body
        else:
            self._line.write(head)

    def _say(self, body: bytes, *, more: bool) -> None:
        if self._chunked:
            last = b"" if more else b"0\r\n\r\n"
            data = b"%b%x\r\n%b\r\n%b" % (self._head, len(body), body, last) if body else self._head + last
            self._head = b""
        elif self._method == "HEAD":
            data = b""
        else:
            if self._counted:
                self._left -= len(body)
                if self._left < 0 or (self._left and not more):
                    raise RuntimeError("another length than was said")
            data = self._head + body if self._head else body
            self._head = b""
        if data:
            self._line.write(data)
        if not more:
            self._end()

    def _end(self) -> None:
        self.complete = True
        self._parts.clear()
        self.wake()
        self._line.answered(self)


def _late(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)  # an error would hold the frame that waits, and all that came of the body


def _head_of(status: int, fields: Sequence[Header]) -> bytes:
    """The head of an answer. Raises `RuntimeError` where a field would not be one line."""
    head = status_line(status) + b"\r\n".join([*map(b": ".join, fields), b"\r\n"])
    if len(head.splitlines()) != len(fields) + 2 or 0 in head:  # \r and \n are ends of lines too
        raise RuntimeError("a line break in a header")
    return head
