"""A client's connection: requests in, answers out, with bounds on whatever a client can do to it.

The headers of a request have a deadline (408) that a byte now and then does not move, and so has the rest of
a body that was answered before its end. A client that leaves ends its request: the task is cancelled. One
that closes only its own direction cannot be told from it.

A socket that is closed while its client still sends is reset, and the answer may be lost. So where something
may still come, the connection says its own end, drops what comes, and closes after the client.

There is one timer, armed as seldom as possible: at most one thing is awaited at any time, its deadline is an
attribute, and the timer, when it fires, looks whether that has moved on.
"""

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Sequence

import structlog

from proxy.cycle import DIRECT, Cycle, refusal
from proxy.house import House
from proxy.intake import Header, Intake, Scope

_PIPELINED = 8
"""Requests that may wait for the answer to an earlier one; then reading is paused."""

_FLOOD = 64
"""Requests that may wait because they came in one read; then the last is the connection's last."""

_LINGER = 5.0
"""Seconds in which a client that was refused may end what it says, and read why."""

_log = structlog.get_logger("client_connection")


class Connection(asyncio.Protocol):
    """One client connection."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._loop = asyncio.get_running_loop()
        self._intake = Intake(self)
        self._transport: asyncio.Transport
        self._ends: dict[str, tuple[str, int] | None] = {}
        self._cycle: Cycle | None = None  # of the request that came last
        self._queue: deque[Cycle] = deque()  # of those that came before an earlier one was answered
        self._answering: Cycle | None = None  # the one whose turn it is, or was last
        self._request: asyncio.Task[None] | None = None  # that answers it
        self._deaf = False  # nothing more is read, whatever comes is dropped
        self._read_paused = False
        self._ample = False  # enough of a body has come for now
        self.write_paused = False
        self._drained: asyncio.Future[None] | None = None
        self._unread = 0
        self._rest_until: float | None = None
        self._until: float | None = None
        self._late: Callable[[], None] = self._idle_for_long
        self._timer: asyncio.TimerHandle | None = None

    # What the event loop tells.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as it is
        """A client connected. Until it says anything it is an idle one, which is closed without a word."""
        self._transport = transport
        self._ends = {
            "server": _address(transport.get_extra_info("sockname")),
            "client": _address(transport.get_extra_info("peername")),
        }
        self._house.shared.connections.add(self)
        self._await(max(self._house.keep_alive, self._house.bounds.header_read), self._idle_for_long)

    def connection_lost(self, _exc: Exception | None) -> None:
        """The client is gone: whatever is being done for it ends."""
        self._house.shared.connections.discard(self)
        self._forget()
        if self._request is not None and self._answering is not None and not self._answering.complete:
            self._request.cancel()
        for cycle in (self._answering, *self._queue):
            if cycle is not None and not cycle.complete:
                cycle.gone = True
                cycle.wake()
        self.resume_writing()
        self._let_go()

    def _let_go(self) -> None:
        """Of what refers back: nothing should wait for the garbage collector."""
        self._cycle = self._answering = None
        self._queue.clear()
        self._intake.release()
        del self._intake, self._late

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._deaf:
            return
        intake = self._intake
        bounded = intake.feed(data, self._house.bounds.header_block)
        if self._ample:
            self._ample = False
            if not self.closing:
                self._pause_reading()
        if intake.opened:
            self._forget()  # the connection is a WebSocket's now: no timer of ours may end it
            self._let_go()
        elif not bounded:
            self._transport.abort()
        elif (intake.in_headers or intake.in_body) and self.idle and not self.closing:
            self._keep()

    def eof_received(self) -> None:
        """The client says no more. With its request it leaves at once: it may never read what was written."""
        if not self.idle:
            self._transport.abort()

    def pause_writing(self) -> None:
        """The client does not read what was written to it."""
        self.write_paused = True
        if not self.idle:
            self._await(self._house.keep_alive, self._unread_for_long)

    def resume_writing(self) -> None:
        """It has read most of it, or is gone."""
        self.write_paused = False
        if self._late == self._unread_for_long:
            self._until = None
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    # What was read; see `intake.Reader`.

    @property
    def closing(self) -> bool:
        """Whether nothing more is read: there may be requests that still have to be answered."""
        return self._deaf or self._transport.is_closing()

    @property
    def idle(self) -> bool:
        """Whether the last request has been answered, or there was none."""
        return self._cycle is None or self._cycle.complete

    def on_request(self, scope: Scope, *, keep_alive: bool, expects: bool) -> None:
        """Answer a request now, or when those before it have been answered."""
        scope.update(self._ends)
        free = self.idle
        cycle = self._cycle = Cycle(self, scope, keep_alive=keep_alive, expects=expects)
        scope["extensions"] = {DIRECT: cycle}
        if free:
            self._until = self._rest_until = None
            if self.write_paused:
                self._await(self._house.keep_alive, self._unread_for_long)
            self._begin(cycle)
        else:
            self._queue.append(cycle)
            if len(self._queue) >= _PIPELINED:
                self._pause_reading()  # nothing else bounds how many come
            if len(self._queue) >= _FLOOD:
                cycle.keep_alive = False

    def on_part(self, part: bytes) -> None:
        """A part of the body. After the answer it is dropped."""
        cycle = self._cycle
        if cycle is not None and not cycle.complete:
            self._ample = cycle.feed(part)

    def on_whole(self) -> None:
        """The request is whole. Behind one that says `connection: close` nothing is read (RFC 9112 9.6)."""
        if (cycle := self._cycle) is None:
            return
        self._deaf = not cycle.keep_alive
        self._ample = False
        if not cycle.complete:
            cycle.more = False
            cycle.wake()
        elif self._deaf:
            self._transport.close()
        elif self._rest_until is not None:
            self._rest_until = None
            self._keep()
        # A body may have paused reading, and a paused socket does not tell that its client has left.
        self.resume_reading()

    def has_socket(self, path: str) -> bool:
        """Whether a WebSocket may be opened: nothing else may be writing here."""
        return path in self._house.sockets and self.idle

    def on_socket(self, head: bytes, rest: bytes) -> None:
        """The connection belongs to a WebSocket from here on."""
        self._house.shared.connections.discard(self)
        opened = self._house.upgrade(head, self._transport)
        self._transport.set_protocol(opened)
        if rest:
            opened.data_received(rest)

    def refuse(self, status: int, message: str) -> None:
        """Say that this cannot be read, and close."""
        if self.closing:
            return
        if (answering := self._answering) is None or (answering.complete and answering.keep_alive):
            self._end(status, message)
        else:
            self._transport.abort()  # an answer is on its way, or was the last: nothing may be written there

    def _end(self, status: int, message: str) -> None:
        """Answer for the application, and close; what may still come is dropped for a moment."""
        self._deaf = True
        self._queue.clear()
        self._cycle = None
        self._transport.write(refusal(status, message))
        (self._transport.close if self._house.cut else self._transport.write_eof)()
        self.resume_reading()
        self._await(_LINGER, self._transport.abort)

    # What a cycle asks; see `cycle.Line`.

    @property
    def default_headers(self) -> Sequence[Header]:
        """What every answer carries: the date."""
        return self._house.shared.default_headers

    def write(self, data: bytes) -> None:
        """Send bytes; a connection that is closing takes none."""
        if not self._transport.is_closing():
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the client has read enough of what was sent, or is gone."""
        if self.write_paused:
            if self._drained is None:
                self._drained = self._loop.create_future()
            await asyncio.shield(self._drained)

    def _pause_reading(self) -> None:
        if not self._read_paused:
            self._read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on, where reading was paused, unless enough is waiting."""
        if self._read_paused and len(self._queue) < _PIPELINED:
            self._read_paused = False
            self._transport.resume_reading()

    def answered(self, cycle: Cycle) -> None:
        """The answer is whole: the next one, or a wait for it."""
        self._house.shared.total_requests += 1
        cycle.keep_alive = cycle.keep_alive and not self._house.cut
        if not cycle.keep_alive:
            self._queue.clear()
            self._cycle = cycle
        if self._queue and not self._transport.is_closing():
            self._begin(self._queue.popleft())
            self.resume_reading()
            return
        if self._intake.in_body and not self.closing:
            self._rest_until = self._loop.time() + self._house.bounds.body_read
            if not cycle.keep_alive:
                self._transport.write_eof()
        elif not cycle.keep_alive:
            self._transport.close()
        self.resume_reading()
        self._keep()

    # Answers.

    def _begin(self, cycle: Cycle) -> None:
        house = self._house
        cycle.keep_alive = cycle.keep_alive and not house.leaving
        self._answering = cycle
        task = self._loop.create_task(house.application(cycle.take_scope(), cycle.receive, cycle.send))
        self._request = task
        house.shared.tasks.add(task)
        task.add_done_callback(functools.partial(self._over, cycle))

    def _over(self, cycle: Cycle, task: asyncio.Task[None]) -> None:
        """The application has returned. What it left unfinished is cut at once: its client may not read."""
        self._house.shared.tasks.discard(task)
        if self._request is task:
            self._request = None
        crash = None if task.cancelled() else task.exception()
        if crash is not None:
            _log.error("application_crashed", exc_info=crash)
        if cycle.complete or cycle.gone:
            return
        cycle.gone = True  # for whatever else may still want to say something
        if cycle.started or self._transport.is_closing():
            self._transport.abort()
        elif crash is not None:
            self._end(500, "The proxy has made a mistake.")
        else:
            self._end(503, "The request was given up; send it again.")

    def leave(self) -> None:
        """The answer that is being made is the last of this connection, if it can still say so."""
        if self._cycle is not None and not self._cycle.started:
            self._cycle.keep_alive = False

    def shutdown(self) -> None:
        """The server stops. A request whose head has begun to come is still answered."""
        if self._intake.in_headers and not self.closing:
            return
        if self._cycle is None or self._cycle.complete:
            self._transport.close()
        else:
            self._cycle.keep_alive = False

    # Deadlines.

    def _await(self, seconds: float, late: Callable[[], None]) -> None:
        """In so many seconds `late` is called, unless something else is awaited by then."""
        until = self._until = self._loop.time() + seconds
        self._late = late
        if self._timer is None or self._timer.when() > until:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(until, self._ring)

    def _ring(self) -> None:
        until, self._timer = self._until, None
        if until is None:
            return
        if until > self._loop.time():
            self._timer = self._loop.call_at(until, self._ring)
        else:
            self._until = None
            self._late()

    def _forget(self) -> None:
        """Nothing is awaited any more."""
        self._until = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _keep(self) -> None:
        """Wait for the next request or its head, or for the rest of a body that was answered already."""
        if self._intake.in_headers and not self.closing:
            if self._until is None or self._late != self._slow_headers:
                self._await(self._house.bounds.header_read, self._slow_headers)
            return
        left = self._house.keep_alive
        if self._rest_until is not None:
            left = min(left, self._rest_until - self._loop.time())
        self._await(left, self._idle_for_long)

    def _idle_for_long(self) -> None:
        """Nothing came for a while. A client that does not read its answer either is dropped."""
        if self._rest_until is not None and self._loop.time() >= self._rest_until:
            self._transport.abort()
        elif self._transport.get_write_buffer_size():
            self._unread_for_long()
        else:
            self._transport.close()

    def _unread_for_long(self) -> None:
        """What was written has been waiting for a while: with less of it than before it may go on."""
        unread = self._transport.get_write_buffer_size()
        if unread == self._unread:
            self._transport.abort()
        else:
            self._unread = unread
            self._await(self._house.keep_alive, self._late)

    def _slow_headers(self) -> None:
        self.refuse(408, "The request headers did not arrive in time.")


def _address(name: object) -> tuple[str, int] | None:
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None
