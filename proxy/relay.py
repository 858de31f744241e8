"""One reply on its way from an upstream to a sink: held back until it means something, then passed on.

Until the first content nothing is committed: what came is held back, within bounds, and any fault still
leads to the next target. With the first content the status goes out and there is no way back. Reads are
pulled and writes awaited, so a client that does not read holds its provider up, not our memory. Once content
has come, and while the client takes it, events go from the provider's socket to the client's in one call.
"""

import asyncio
import dataclasses
import math
import sys
from collections.abc import Awaitable, Callable

import msgspec

from proxy.config.resilience import Timeouts
from proxy.deadline import Deadline
from proxy.errors import Fault, FaultKind
from proxy.exchange import Exchange, Headers, Sink
from proxy.tasks import Tasks
from proxy.upstream import Reply, read_whole
from proxy.wire.codec import Passage
from proxy.wire.model import Stream, Usage

HOLD_EVENTS = 64
HOLD_BYTES = 256 * 1024
"""How much is held back before content: beyond it the reply counts as having begun."""

AFTER_END = 0.2
"""Seconds a provider has to finish its framing after its own end marker; then the connection is dropped."""


@dataclasses.dataclass(frozen=True, slots=True)
class Patience:
    """How long clients are kept waiting and waited for, in seconds.

    After `pulse` of silence a stream gets a keep-alive. A client may leave what was written to it unread
    for `slow`; then its request is given up.
    """

    pulse: float = 15.0
    slow: float = 60.0


PATIENCE = Patience()


class Pulse:
    """Keeps a quiet stream alive: after `every` seconds without a write, a status if need be and a ping."""

    def __init__(
        self, sink: Sink, ping: bytes, headers: Callable[[], Headers], tasks: Tasks, every: float
    ) -> None:
        self._sink = sink
        self._ping = ping
        self._headers = headers
        self._tasks = tasks
        self._every = every
        self._loop = asyncio.get_running_loop()
        self.written = self._loop.time()
        """When something was last written, by the loop's time; whoever writes says so."""
        self._timer: asyncio.TimerHandle | None = self._loop.call_at(self.written + every, self._ring)
        self._beat: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """The stream is over: nothing more is written."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._beat is not None:
            self._beat.cancel()
            self._beat = None  # what has cancelled it holds its frame, and that holds this

    def _ring(self) -> None:
        now = self._loop.time()
        if now >= self.written + self._every:  # the very sum of the timer: another may round it out of reach
            if self._beat is None or self._beat.done():
                self._beat = self._tasks.spawn(self._send(), "pulse")
            self.written = now
        self._timer = self._loop.call_at(self.written + self._every, self._ring)

    async def _send(self) -> None:
        if not self._sink.started:
            await self._sink.start(200, self._headers())
        await self._sink.write(self._ping)


class Outward(msgspec.Struct, frozen=True):
    """How a relay faces outward: its clock, the headers it answers with, its pulse.

    `slow` is how long a client may leave unread what was written, in seconds. `keep` stores what is to be
    stored of a reply; it is done before the reply's last words go out, so that who hears them finds it.
    """

    now: Callable[[], float]
    headers: Callable[[Exchange, Reply], Headers]
    pulse: Pulse | None
    slow: float = PATIENCE.slow
    keep: Callable[[Exchange, bytes | None], Awaitable[None]] | None = None


class Relay:
    """One attempt's reply, the sink it goes to, and the deadline over both.

    `begun` is called when the first content of a stream has come.
    """

    __slots__ = (
        "_begun",
        "_deadline",
        "_exchange",
        "_headers",
        "_held",
        "_idle",
        "_keep",
        "_latest",
        "_long",
        "_now",
        "_pulse",
        "_reply",
        "_since",
        "_sink",
        "_slow",
        "_stalled",
    )

    def __init__(
        self, exchange: Exchange, reply: Reply, deadline: Deadline, out: Outward, begun: Callable[[], None]
    ) -> None:
        self._exchange = exchange
        self._sink = exchange.sink
        self._reply = reply
        self._deadline = deadline
        self._now = out.now
        self._headers = out.headers
        self._pulse = out.pulse
        self._slow = out.slow
        self._keep = out.keep
        self._begun = begun
        self._held = b""
        self._stalled = 0.0
        self._since = 0.0  # the time from which on the provider is waited for
        self._idle = self._latest = math.inf  # how long at most for the next event, until when for the last
        self._long = math.inf  # how long a silence at the end of that time is one to be held against it

    async def whole(self, passage: Passage, limit: int, used: Callable[[Usage | None], None]) -> None:
        """Pass a reply that is no stream. Raises `Fault` while nothing has been sent.

        `used` is told what it has cost before anything is sent: the head of the answer may say it, and a
        client that leaves while it is told has used it too.
        """
        began = self._now()
        try:
            body = await read_whole(self._reply, limit)
        finally:
            self._exchange.record.waited += self._now() - began
        if body is None:
            raise Fault(FaultKind.TOO_LARGE, "the reply is larger than the proxy takes", status=200)
        body, usage = passage.reply(body)
        used(usage)
        self._exchange.committed = True
        self._deadline.move(self._now() + self._slow, FaultKind.SLOW_CLIENT)
        if self._keep is not None:
            await self._keep(self._exchange, passage.kept)
        await self._sink.answer(200, self._headers(self._exchange, self._reply), body)

    async def stream(self, stream: Stream, timeouts: Timeouts) -> None:
        """Pass a stream. Raises `Fault`; another target may follow unless `exchange.committed`."""
        self._idle, self._latest = timeouts.idle, self._now() + timeouts.max_stream
        self._long = min(timeouts.idle, timeouts.max_stream / 2)
        over = False
        while not over:
            out, over = await self._next(stream)
            if over and stream.error is None:
                out += stream.finish()
            if self._exchange.committed or self._worth_it(stream, out):
                await self._pass(out, last=over)
            if stream.error is not None:
                raise Fault(
                    FaultKind.ERROR_IN_REPLY, "the stream held an error", status=200, said=stream.error
                )
            if self._exchange.committed:
                self._since = self._now()
                self._deadline.move(*self._patience())
        self._exchange.record.stalled = self._stalled
        await self._finish()

    async def _next(self, stream: Stream) -> tuple[bytes, bool]:
        """The events that came next and are still to be passed on; whether they are the last."""
        if self._exchange.committed:
            left = await self._flow(stream)
            if left is not None:
                return left, stream.ended
        data = await self._read()
        return stream.feed(data) if data else b"", not data or stream.ended

    async def _flow(self, stream: Stream) -> bytes | None:
        """Pass on what comes while that is all there is to do: no task is woken for it, nothing is awaited.

        What came last then, and is still to be passed on; None where the next piece has to be read.
        """
        clock, push, pulse, record = self._now, self._sink.push, self._pulse, self._exchange.record
        left: bytes | None = None
        failed: list[BaseException] = []

        def take(data: bytes) -> bool:
            nonlocal left
            out: bytes | None = None
            now = clock()
            waited = now - self._since
            record.waited += waited
            if waited > self._stalled:  # noqa: PLR1730  (a call costs three times as much)
                self._stalled = waited
            try:
                out = stream.feed(data)
            except Fault as fault:
                failed.append(fault.with_traceback(None))
                self._since = clock()
                return False
            finally:
                bug = sys.exception() if out is None and not failed else None
                if bug is not None:  # it ends the connection that it came up from, which is not to blame
                    failed.append(bug)
            if stream.ended or stream.error is not None or (out and not push(out)):
                left, self._since = out, clock()
                return False
            self._since = now = clock()
            if out and pulse is not None:
                pulse.written = now
            return True

        self._since = clock()
        self._deadline.follow(self._patience)
        try:
            await self._reply.pour(take)
        finally:
            self._deadline.stay()
            if left is None and not failed:  # else it was not waited for the provider at the end
                self._heard()
        if failed:  # a client that has left goes before it
            raise failed.pop()
        return left

    async def _read(self) -> bytes:
        self._since = self._now()
        try:
            return await self._reply.read()
        finally:
            self._heard()

    def _heard(self) -> None:
        """The provider was waited for until now."""
        now = self._now()
        waited = now - self._since
        self._since = now
        self._exchange.record.waited += waited
        self._stalled = max(self._stalled, waited)

    def _worth_it(self, stream: Stream, out: bytes) -> bool:
        """Hold `out` back; whether what is held is reason enough to commit."""
        self._held += out
        if stream.error is not None:
            return False
        return stream.content or stream.events > HOLD_EVENTS or len(self._held) > HOLD_BYTES

    async def _pass(self, out: bytes, *, last: bool) -> None:
        """Hand events on. While the client does not read, the provider is not to blame for the silence."""
        self._deadline.move(self._now() + self._slow, FaultKind.SLOW_CLIENT)
        fresh = not self._exchange.committed
        if fresh:
            await self._commit()
            out, self._held = self._held, b""
        if last and self._pulse is not None:
            self._pulse.stop()
        if last and self._keep is not None and self._exchange.reply is not None:
            await self._keep(self._exchange, self._exchange.reply.kept)
        if last:
            await self._sink.end(out)
        elif out or fresh:  # a head leaves with what is written first, be it nothing
            await self._sink.write(out)
            if self._pulse is not None:
                self._pulse.written = self._now()

    async def _commit(self) -> None:
        exchange = self._exchange
        exchange.committed = True
        exchange.record.ttft = self._now() - exchange.record.began
        self._stalled = 0.0  # what was waited for content is not a gap in it
        self._begun()
        if not self._sink.started:
            await self._sink.start(200, self._headers(exchange, self._reply))
        elif exchange.target is not None:  # the head went out early and could not say who answers
            note = f": x-apex-target: {exchange.target.label}; x-apex-attempts: {len(exchange.attempts)}"
            losses = exchange.way.passage.losses if exchange.way is not None else None
            if losses is not None and losses.fields:
                note += f"; x-apex-warnings: {losses.header()}"
            await self._sink.write(note.encode() + b"\n\n")

    def _patience(self) -> tuple[float, FaultKind]:
        """Until when the next event may come: it is waited for from `_since` on."""
        when = self._since + self._idle
        if when < self._latest:
            return when, FaultKind.IDLE_TIMEOUT
        # A provider that has said nothing for long is not cut off within what it says: it hangs.
        silent = self._latest - self._since >= self._long
        return self._latest, FaultKind.IDLE_TIMEOUT if silent else FaultKind.TOTAL_TIMEOUT

    async def _finish(self) -> None:
        """Let the provider end its framing, so that the connection can be used again."""
        began = self._now()
        try:
            async with asyncio.timeout(AFTER_END):
                while await self._reply.read():
                    pass
        except (Fault, TimeoutError):
            self._reply.close()  # the reply was whole by its own words: how its framing ends is no fault
        finally:
            self._exchange.record.waited += self._now() - began
