"""One connection: a bare HTTP/1.1 server protocol that reads requests and performs acts to the byte.

Rule: one request at a time (pipelining is cut off), every write is the act's own, and a reader that is too
slow makes the act wait. There is no task per request: waits are timers of the loop, so thousands of slow
streams cost little and nothing has to be cancelled but a timer.
"""

import asyncio
import fcntl
import os
import socket
import struct
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, cast

import httptools

from mockprovider.desk import Request
from mockprovider.staging import NEXT_TICK, Act

_NO_LINGER = struct.pack("ii", 1, 0)
_FLUSH_POLL_S = 0.001
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_NOT_HTTP = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Run(Protocol):
    """One act being performed, as its owner follows it."""

    @property
    def act(self) -> Act:
        """What to perform."""

    def wrote(self, size: int) -> None:
        """So many bytes went to the transport."""

    def done(self) -> None:
        """The act was performed to its end (a stall never is)."""

    def gone(self) -> None:
        """The peer left before the end."""


class Owner(Protocol):
    """Who a connection belongs to."""

    def opened(self, connection: "Connection") -> None:
        """A peer has connected."""

    def closed(self, connection: "Connection") -> None:
        """The connection is gone."""

    def begin(self, request: Request) -> Run:
        """Decide on a request."""


@dataclass(slots=True)
class _Incoming:
    """A request while it is being read."""

    url: bytes
    headers: dict[str, str]
    body: list[bytes]


class Connection(asyncio.Protocol):
    """One accepted connection."""

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop) -> None:
        self._owner = owner
        self._loop = loop
        self._parser: httptools.HttpRequestParser | None = None
        self._transport: asyncio.Transport | None = None
        self._incoming = _Incoming(b"", {}, [])
        self._served = 0
        self._keep_alive = True
        self._run: Run | None = None
        self._next = 0
        self._waited = False
        self._paused = False
        self._timer: asyncio.Handle | None = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A peer has connected."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._parser = httptools.HttpRequestParser(self)
        self._owner.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (asyncio's signature)
        """The connection is gone, by whichever side."""
        self._parser = self._transport = None
        self._cancel_timer()
        run, self._run = self._run, None
        if run is not None:
            run.gone()
        self._owner.closed(self)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""
        if self._parser is None or self._transport is None or self._transport.is_closing():
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            self.abort()
            raise  # a mistake of ours, not the peer's
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if self._run is None:
                self._transport.write(_NOT_HTTP)
            self.shut()

    def pause_writing(self) -> None:
        """The peer reads too slowly: hold the next write back."""
        self._paused = True

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self._paused = False
        if self._run is not None and self._timer is None:
            self._advance(self._run)

    # What the HTTP parser calls.

    def on_message_begin(self) -> None:
        """A request starts."""
        self._incoming = _Incoming(b"", {}, [])

    def on_url(self, url: bytes) -> None:
        """A part of the request target."""
        self._incoming.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._incoming.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """All headers are here."""
        if self._transport is not None and self._incoming.headers.get("expect", "").lower() == "100-continue":
            self._transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._incoming.body.append(body)

    def on_message_complete(self) -> None:
        """The request is whole: decide, and start to perform."""
        assert self._parser is not None
        if self._run is not None:
            self.shut()  # pipelined: no client of a model provider does it
            return
        self._cancel_timer()
        self._keep_alive = self._parser.should_keep_alive()
        incoming = self._incoming
        path, _, query = incoming.url.decode("latin-1").partition("?")
        request = Request(
            method=self._parser.get_method().decode("ascii"),
            path=path,
            query=query,
            headers=incoming.headers,
            body=b"".join(incoming.body),
            reused=self._served > 0,
        )
        self._served += 1
        self._run = self._owner.begin(request)
        self._next = 0
        self._waited = False
        self._advance(self._run)

    # Performing.

    def _advance(self, run: Run) -> None:
        """Write all that is due, up to the next wait, a slow reader, or the end."""
        steps = run.act.steps
        while self._next < len(steps):
            if self._paused or self._transport is None:
                return
            wait, data = steps[self._next]
            if wait and not self._waited:
                self._wait(wait, self._due)
                return
            self._waited = False
            self._next += 1
            self._write(run, data)
        self._end(run)

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        self._timer = (
            self._loop.call_soon(then) if seconds == NEXT_TICK else self._loop.call_later(seconds, then)
        )

    def _due(self) -> None:
        self._timer = None
        self._waited = True
        if self._run is not None:
            self._advance(self._run)

    def _write(self, run: Run, data: bytes) -> None:
        if data and self._transport is not None:
            self._transport.write(data)
            run.wrote(len(data))

    def _end(self, run: Run) -> None:
        ending = run.act.ending
        if ending == "stall":
            return
        if ending == "keep":
            self._finish(run)
            self._keep(run.act)
        elif ending == "half":
            self._flushed(self._half_close)
        elif ending == "rst":
            self._flushed(self._reset)
        else:
            self._finish(run)
            self.shut()

    def _finish(self, run: Run) -> None:
        self._run = None
        run.done()

    def _keep(self, act: Act) -> None:
        if not self._keep_alive:
            self.shut()
        elif act.close_after_s is not None:
            self._timer = self._loop.call_later(act.close_after_s, self.shut)

    def _flushed(self, then: Callable[[], None]) -> None:
        """Go on once the peer's kernel has every byte: an RST drops what has not been delivered."""
        self._timer = None
        if self._transport is None:
            return
        if self._transport.get_write_buffer_size() or self._undelivered():
            self._timer = self._loop.call_later(_FLUSH_POLL_S, self._flushed, then)
        else:
            then()

    def _undelivered(self) -> int:
        """Bytes that the kernel has not had confirmed by the peer; 0 where it does not tell."""
        assert self._transport is not None
        count = bytearray(4)
        with suppress(OSError):
            fcntl.ioctl(self._transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, count)
        return int.from_bytes(count, sys.byteorder)

    def _half_close(self) -> None:
        """Send FIN and go on reading, deaf to what is said, until the peer closes too."""
        assert self._transport is not None
        self._parser = None
        if self._run is not None:
            self._finish(self._run)
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:  # TLS has no half close of its own
            with self._socket() as sock, suppress(OSError):
                sock.shutdown(socket.SHUT_WR)

    def _reset(self) -> None:
        """Close with RST, as a crashed process or a firewall does."""
        if self._run is not None:
            self._finish(self._run)
        with self._socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.abort()

    def _socket(self) -> socket.socket:
        """A second handle of the connection's socket: neither loop hands out one that can be changed."""
        assert self._transport is not None
        return socket.socket(fileno=os.dup(self._transport.get_extra_info("socket").fileno()))

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # What the owner calls.

    def shut(self) -> None:
        """Close after what was written."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()
