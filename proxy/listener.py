"""A listening port: uvicorn with the bounds it lacks, and a client's leaving told at once.

uvicorn's httptools protocol has no cap on the header block, no deadline for it, and tells an application
of a lost connection only if that waits for it. The protocol here adds the cap (431) and the deadline, an
absolute one that a byte now and then does not move, and cancels the request's task when its connection
is lost, which costs nothing per request. What the parser itself refuses is answered in JSON.

What follows an early answer has bounds too: so many bytes, so much time, then the connection goes. Trailers
are dropped, since a header must not change after it was looked at. A request to upgrade is served as plain
HTTP/1.1, body and all, except for a WebSocket: it is opened where there is one, and refused elsewhere.
"""

import asyncio
import contextlib
import math
import secrets
import socket
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from proxy.config.settings import Bounds, Config
from proxy.errors import Refusal
from proxy.relay import PATIENCE
from proxy.websocket import SocketProtocol
from proxy.wire.chat.voice import ChatVoice

BACKLOG = 2048
LAST_WORDS = 1.0
"""Seconds a request that is cut has to tell its client so."""

_AFTER_ANSWER = 64 * 1024 * 1024
"""Bytes that are read and dropped after an answer that did not wait for the whole body, so that the client
can finish sending and read it; a connection closed at once would be reset before that."""

_REFUSAL = (
    b"content-type: application/json\r\nx-request-id: req_%(id)b\r\nrequest-id: req_%(id)b\r\n"
    b"x-apex-attempts: 0\r\nconnection: close\r\ncontent-length: %(length)d\r\n\r\n"
)
_STAND_IN = b"POST / HTTP/1.1\r\n%b\r\n\r\n"
"""The head that tells a new parser how the body behind it is framed. Nothing in it is the client's text."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with bounds; see the module. A listener uses a subclass that holds its own."""

    bounds: ClassVar[Bounds]
    sockets: ClassVar[frozenset[str]]
    leaving: ClassVar[bool] = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._opens_socket = False
        self._header_bytes = 0
        self._dropped_bytes = 0
        self._bodiless_bytes = 0
        self._in_headers = False
        self._in_body = False
        self._framing: bytes | None = None
        self._unread = 0
        self._header_timer: asyncio.TimerHandle | None = None
        self._rest_timer: asyncio.TimerHandle | None = None
        self._request: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connected: its first headers are awaited."""
        super().connection_made(transport)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone: whatever is being done for it ends."""
        self._stop_header_timer()
        self._stop_rest_timer()
        unfinished = not self._idle
        super().connection_lost(exc)
        if unfinished and self._request is not None:
            self._request.cancel()

    @property
    def _idle(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def data_received(self, data: bytes) -> None:
        """Bytes came. They are counted before they are parsed, so nothing endless is ever kept."""
        self._unset_keepalive_if_required()
        if self._idle:
            if self._in_body:
                self._dropped_bytes += len(data)
            elif self._header_timer is None:
                self._await_headers()
        self._header_bytes += len(data)
        self._bodiless_bytes += len(data)
        self._parse(data)
        if self._opens_socket:
            return  # the connection is a WebSocket's now: no timer of ours may end it
        if self._in_headers and self._header_bytes > self.bounds.header_block:
            self._refuse(431, "The request headers are too large.")
        elif self._in_body and self._is_endless:
            self.transport.abort()
        elif self._idle and self._header_timer is None and self.timeout_keep_alive_task is None:
            self._keep()  # the rest of a body that was answered before its end: the timer was stopped

    @property
    def _is_endless(self) -> bool:
        """Whether too much came after the answer, or too much that is no body: trailers, chunk extensions."""
        return self._dropped_bytes > _AFTER_ANSWER or self._bodiless_bytes > self.bounds.header_block

    def _parse(self, data: bytes) -> None:
        left: bytes | memoryview = data
        try:
            while left and not self.transport.is_closing():
                left = self._feed(left)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    def _feed(self, data: bytes | memoryview) -> bytes | memoryview:
        """Parse. Returns what follows a head that asks for an upgrade, where httptools stops."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as stopped:
            if self._opens_socket:
                self._open_socket(bytes(data[stopped.args[0] :]))
                return b""
            if self._framing is not None:
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
                self.parser.feed_data(_STAND_IN % self._framing)
            return memoryview(data)[stopped.args[0] :]
        return b""

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_headers = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The headers are whole; a block that came in one read is checked here."""
        self._in_headers = False
        if self._framing is not None:
            self._framing = None  # that was the stand-in: the request has begun already
            return
        self._stop_header_timer()
        if self.transport.is_closing():
            return
        self._in_body = True
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.bounds.header_block:
            self._refuse(431, "The request headers are too large.")
            return
        self._header_bytes = self._dropped_bytes = self._bodiless_bytes = 0
        if self.parser.should_upgrade() and not self._ignores_upgrade():
            if self._opens_socket:
                super().on_headers_complete()  # it notes the method, and starts nothing
            return
        if b"#" in self.url:  # a request target has no fragment (RFC 9112 3.2), a model's name may hold one
            self.url = self.url.replace(b"#", b"%23")
        super().on_headers_complete()
        self.headers = []  # for trailers: the head was acted on and gets none of them (RFC 9110 6.5.1)

    def _ignores_upgrade(self) -> bool:
        """Whether the request is served as if it asked for no upgrade (RFC 9110 7.8), and not refused.

        A body is left to a new parser: this one takes all that follows for another protocol.
        """
        if self.parser.get_method() == b"CONNECT":
            self._refuse(400, "There is no tunnel here: CONNECT is not supported.")
        elif any(b"websocket" in value.lower() for value in self._values(b"upgrade")):
            path = self.url.partition(b"?")[0].decode("latin-1")
            self._opens_socket = path in self.sockets and self._idle  # nothing else may write there
            if not self._opens_socket:
                self._refuse(400, "WebSocket is not supported here; send a plain HTTP request.")
            return False
        elif codings := self._values(b"transfer-encoding"):
            if [coding.lower() for coding in codings] != [b"chunked"]:
                self._refuse(400, "The transfer-encoding is not supported; send chunked.")
            self._framing = b"transfer-encoding: chunked"
        elif length := sum(map(int, self._values(b"content-length"))):  # the parser has refused a second one
            self._framing = b"content-length: %d" % length
        return not self.transport.is_closing()

    def _open_socket(self, rest: bytes) -> None:
        """The connection belongs to a WebSocket from here on. `rest` came behind its head."""
        self._stop_header_timer()
        self.handle_websocket_upgrade()
        opened = self.transport.get_protocol()
        if rest and isinstance(opened, asyncio.Protocol):
            opened.data_received(rest)

    def _values(self, wanted: bytes) -> list[bytes]:
        return [value.strip() for name, value in self.headers if name == wanted]

    def on_body(self, body: bytes) -> None:
        """A part of the body. After the answer uvicorn drops it."""
        if self.transport.is_closing():
            return
        self._bodiless_bytes = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        """The answer is whole. Where the body is not, its rest has one deadline."""
        if self._in_body and not self.pipeline:
            self._rest_timer = self.loop.call_later(self.bounds.body_read, self.transport.abort)
        super().on_response_complete()

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._framing is not None:
            return  # only its head is, and the body comes through a new parser
        self._in_body = False
        self._header_bytes = 0
        self._stop_rest_timer()
        if self.transport.is_closing():
            return
        super().on_message_complete()
        # A body beyond uvicorn's high-water mark leaves reading paused, and a paused socket does not tell
        # that its client has left. Requests in a queue stay paused: nothing else bounds how many come.
        if not self.pipeline:
            self.flow.resume_reading()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came for a while. A client that does not read its answer either is dropped."""
        unread = self.transport.get_write_buffer_size()
        if not unread:
            super().timeout_keep_alive_handler()
        elif unread != self._unread:
            self._unread = unread
            self._keep()
        else:
            self.transport.abort()

    def _keep(self) -> None:
        if not self.transport.is_closing():
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def leave(self) -> None:
        """The answer that is being made is the last of its connection, if it can still say so."""
        if not self._idle and not self.cycle.response_started:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """The server stops. A request whose head has begun to come is still answered."""
        if not self._in_headers:
            super().shutdown()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self.leaving:
            cycle.keep_alive = False
        task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)
        self._request = task

        def over(_task: asyncio.Task[None]) -> None:
            # Left unfinished on purpose: a graceful close would wait for a client that does not read.
            if not cycle.response_complete:
                self.transport.abort()

        task.add_done_callback(over)

    def send_400_response(self, msg: str) -> None:
        """What the parser refuses is answered like everything else."""
        self._refuse(400, msg)

    def _await_headers(self) -> None:
        self._header_bytes = 0
        self._header_timer = self.loop.call_later(self.bounds.header_read, self._late)

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _stop_rest_timer(self) -> None:
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None

    def _late(self) -> None:
        self._header_timer = None
        self._refuse(408, "The request headers did not arrive in time.")

    def _refuse(self, status: int, message: str) -> None:
        if self.transport.is_closing():
            return
        if self._request is not None and not self._request.done():
            self.transport.abort()  # an answer is on its way: nothing may be written into it
            return
        body = ChatVoice().refusal(Refusal(status, message))
        head = _REFUSAL % {b"id": secrets.token_hex(12).encode(), b"length": len(body)}
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()


class Listener(uvicorn.Server):
    """One port and what answers on it. Signals are the owner's business, not the server's.

    `keep_alive` is how long an idle connection is kept, in seconds; `sockets` are the paths that may be
    opened as WebSockets.
    """

    def __init__(
        self,
        app: Callable[..., Any],
        keep_alive: float,
        bounds: Bounds,
        sockets: frozenset[str] = frozenset(),
    ) -> None:
        own = {"bounds": bounds, "sockets": sockets}
        self._protocol: type[BoundedProtocol] = type("Protocol", (BoundedProtocol,), own)
        super().__init__(
            uvicorn.Config(
                app,
                http=self._protocol,
                ws=SocketProtocol if sockets else "none",
                ws_max_size=bounds.body,
                ws_ping_timeout=PATIENCE.slow,
                lifespan="off",
                log_config=None,
                log_level="critical",  # requests have their own line, and what fails is answered
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=math.ceil(keep_alive),
            )
        )
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start accepting; `up` is set once it does."""
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signal handlers alone."""
        yield

    def renew(self, config: Config) -> None:
        """The bounds of another configuration hold from now on; for WebSockets from the next one on."""
        self._protocol.bounds = config.bounds
        self.config.ws_max_size = config.bounds.body

    def leave(self) -> None:
        """Answer on, but say `connection: close`: clients that come again go elsewhere."""
        self._protocol.leaving = True
        for connection in self.server_state.connections:
            if isinstance(connection, BoundedProtocol):
                connection.leave()

    def stop(self) -> None:
        """Stop accepting and let what is in flight finish; then `serve` ends."""
        self.should_exit = True

    async def cut(self) -> None:
        """Cancel what is still being answered, and wait a moment for its last words."""
        running = set(self.server_state.tasks)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=LAST_WORDS)


def bind(host: str, port: int, *, shared: bool) -> socket.socket:
    """A listening socket. `shared` lets other workers bind the same port. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock
