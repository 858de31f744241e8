"""One connection: batches out, replies in, matched by order and by nothing else.

The rule that makes it safe: a call holds its place until its reply has been read, whatever becomes of
the caller. A caller that was cancelled or that timed out only lets go of its future; the late reply is
still consumed, in its turn, and dropped. So no reply can reach another caller (CVE-2023-28859 was that).
Nothing here awaits: writing and reading happen in the loop's callbacks, where no request's task is.

A batch has a deadline. When its timer fires the replies may be in the socket already, unread because
the loop was busy; so the loop gets one more turn to read before the batch is given up.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

import hiredis
import msgspec

from proxy.clock import Clock
from proxy.link.failure import Reason, Unavailable, failure_of
from proxy.link.script import Script

ABANDONED = 1_000
"""The most calls given up on and still unanswered; beyond that the connection is replaced."""

GRACE_S = 0.001
LATE_LOOP_S = 0.005
LATE_GRACE_S = 0.010  # the batch may have left as late as the timer fired

_NOT_YET = object()


class Call(msgspec.Struct, eq=False):
    """One command on its way. `future` is None for a command of ours whose reply nobody needs."""

    payload: bytes
    future: "asyncio.Future[Any] | None"
    script: Script | None = None
    prefix: bytes = b""  # what a resend puts before it: ASKING
    reloaded: bool = False
    redirected: bool = False

    def __repr__(self) -> str:
        """Its size: there may be a password in it, or what a client has said."""
        return f"<Call of {len(self.payload)} bytes>"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """The same: what a `Struct` has of its own tells every field."""
        return [("size", len(self.payload))]

    def fail(self, error: Exception) -> None:
        """Tell the caller, if it still waits."""
        if self.future is not None and not self.future.done():
            self.future.set_exception(error)


class Batch(msgspec.Struct, eq=False):
    """Calls that travel in one write. `due` is when to give up, in monotonic seconds."""

    calls: Sequence[Call]
    due: float
    sent: float = 0.0
    answered: int = 0
    expired: bool = False
    failed: bool = False


class Owner:
    """Who is told what happens on a connection. As it stands it only passes errors on."""

    def on_error(self, batch: Batch, call: Call, text: str) -> None:  # noqa: ARG002  (for those who resend)
        """An error reply came for `call`."""
        call.fail(failure_of(text))

    def on_batch(self, batch: Batch, seconds: float) -> None:
        """All replies came, or the deadline did (`batch.expired`). Told once a batch."""

    def on_late(self, replies: int) -> None:
        """Replies of a batch that had been given up were read and dropped."""

    def on_push(self, connection: "Connection", reply: Any) -> None:
        """The server said what nobody had asked for: the order is lost, so nothing more can be believed."""
        connection.abort(Reason.PROTOCOL, f"nobody asked for this {type(reply).__name__}")

    def on_lost(self, connection: "Connection") -> None:
        """The connection is gone; its callers have been told."""


class Connection(asyncio.Protocol):
    """A connected socket speaking RESP2. Made by a dialler, owned by one `Owner`."""

    def __init__(self, owner: Owner, clock: Clock) -> None:
        self._owner = owner
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(notEnoughData=_NOT_YET)
        self._pending: deque[Batch] = deque()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._abandoned = 0
        self._why = Unavailable(Reason.CONNECTION, "closed by the server")
        self.heard = clock.monotonic()
        self.closed: asyncio.Future[None] = self._loop.create_future()

    @property
    def alive(self) -> bool:
        """Whether it can be written to."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def why(self) -> Unavailable:
        """What it ended of."""
        return self._why

    def send(self, batch: Batch) -> None:
        """Write `batch` now. Its calls are answered, failed or given up on, each once."""
        if self._transport is None or self._transport.is_closing():
            for call in batch.calls:
                call.fail(self._ended(lost=False))
            return
        batch.sent = self._clock.monotonic()
        self._pending.append(batch)
        calls = batch.calls
        self._transport.write(calls[0].payload if len(calls) == 1 else b"".join([c.payload for c in calls]))
        if self._timer is None or batch.due < self._timer_due:
            self._arm(batch.due, batch.sent)

    def write(self, payload: bytes) -> None:
        """Write what is answered by pushes, as SUBSCRIBE is."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(payload)

    async def request(self, *payloads: bytes, due: float) -> list[Any]:
        """Send commands as one batch and wait for all: replies, and exceptions among them.

        For what the link itself asks: handshakes, probes, topology.
        """
        futures = [self._loop.create_future() for _ in payloads]
        self.send(Batch([Call(*each) for each in zip(payloads, futures, strict=True)], due))
        return await asyncio.gather(*futures, return_exceptions=True)

    def abort(self, reason: Reason, detail: str) -> None:
        """Close at once, without waiting for anything to be sent. The first reason is kept."""
        if self._transport is not None and not self._transport.is_closing():
            self._why = Unavailable(reason, detail)
            self._transport.abort()

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Match the replies in `data` to the calls, oldest first."""
        self.heard = now = self._clock.monotonic()
        reader, pending = self._reader, self._pending
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not _NOT_YET:
                if not pending:
                    self._owner.on_push(self, reply)
                    continue
                batch = pending[0]
                call = batch.calls[batch.answered]
                batch.answered += 1
                whole = batch.answered == len(batch.calls)
                if whole:
                    pending.popleft()
                if type(reply) is hiredis.ReplyError:
                    self._owner.on_error(batch, call, str(reply))
                elif call.future is not None and not call.future.done():
                    call.future.set_result(reply)
                if whole:
                    self._answered(batch, now)
        except hiredis.ProtocolError:
            self.abort(Reason.PROTOCOL, "the reply is not RESP")

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone: nobody's reply will come. What was sent may have been done, whoever hung up."""
        if exc is not None:
            self._why = Unavailable(Reason.CONNECTION, type(exc).__name__)
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._pending:
            batch = self._pending.popleft()
            for call in batch.calls[batch.answered :]:  # one that was answered may be on its way elsewhere
                call.fail(self._ended(lost=True))
        self._owner.on_lost(self)
        self.closed.set_result(None)

    def _ended(self, *, lost: bool) -> Unavailable:
        return Unavailable(self._why.reason, self._why.detail, lost=lost)

    def _answered(self, batch: Batch, now: float) -> None:
        if batch.expired:
            self._abandoned -= len(batch.calls)
            self._owner.on_late(len(batch.calls))
        else:
            self._owner.on_batch(batch, now - batch.sent)

    def _arm(self, due: float, now: float) -> None:
        """Wake at `due`, the earliest deadline of what is pending."""
        if self._timer is not None:
            if self._timer_due == 0.0:
                return  # in its grace: `_expire` looks at everything
            self._timer.cancel()
        self._timer_due = due
        self._timer = self._loop.call_later(max(0.0, due - now), self._overdue)

    def _overdue(self) -> None:
        """The deadline has come; let the loop read once more before it counts."""
        now = self._clock.monotonic()
        late = now - self._timer_due > LATE_LOOP_S
        self._timer_due = 0.0
        self._timer = self._loop.call_later(LATE_GRACE_S if late else GRACE_S, self._expire, now)

    def _expire(self, cutoff: float) -> None:
        """Give up on what was due at `cutoff`, and wake again for the rest."""
        self._timer = None
        now = self._clock.monotonic()
        for batch in tuple(self._pending):
            if not batch.expired and batch.due <= cutoff:
                self._give_up(batch, now)
        waiting = [batch.due for batch in self._pending if not batch.expired]
        if waiting and self.alive:
            self._arm(min(waiting), now)

    def _give_up(self, batch: Batch, now: float) -> None:
        batch.expired = batch.failed = True
        self._abandoned += len(batch.calls)
        for call in batch.calls[batch.answered :]:
            call.fail(Unavailable(Reason.TIMEOUT))
        self._owner.on_batch(batch, now - batch.sent)
        if self._abandoned > ABANDONED:
            self.abort(Reason.TIMEOUT, "too many calls without a reply")
