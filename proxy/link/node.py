"""One server that calls go to: its connection, its breaker, and the task that mends both.

Calls made within one turn of the event loop leave as one batch, in the next. A call is only taken while
the node is `ready` (connected, breaker closed); otherwise the caller is refused at once, without a
system call. Only the node's own task dials, probes and waits; a request's task never does.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from proxy.clock import Clock
from proxy.config.redis_url import Endpoint
from proxy.link.breaker import STEADY_S, Breaker, Jitter, State
from proxy.link.connection import Batch, Call, Connection, Owner
from proxy.link.counters import Counters
from proxy.link.dialler import Dialler, Settings
from proxy.link.failure import ELSEWHERE, NEUTRAL, Reason, ScriptError, Unavailable, failure_of
from proxy.link.script import Script, pack
from proxy.tasks import Tasks

PROBE_S = 0.1
PROBE_CAP_S = 0.75
"""The longest pause, in seconds, before Redis is looked for again: replicas are to return together."""
DIAL_S = 0.5  # with the immediate first attempt: at most two a second
FIRST_S = 0.1
DOUBT_S = 1.0
"""Seconds without a good probe after which the connection itself is doubted, and replaced."""

_PING = pack("PING")


@dataclass(frozen=True, slots=True)
class Means:
    """What every node of a link works with."""

    settings: Settings
    clock: Clock
    tasks: Tasks
    draw: random.Random
    dialler: Dialler
    counters: Counters
    scripts: Callable[[], Iterable[Script]]
    clustered: bool


class Watcher(Protocol):
    """Who is told of a node's turns."""

    def on_state(self, node: "Node", reason: Reason) -> None:
        """The breaker changed state, or the very first attempt failed."""

    def on_identity(self) -> None:
        """Another server answers than before, or the same one restarted."""

    def on_astray(self) -> None:
        """The server is the wrong one, or gone: the topology may have changed."""

    def redirect(self, batch: Batch, call: Call, text: str) -> bool:
        """Send `call` where a MOVED or ASK reply says; False if it is to fail."""


class Node(Owner):
    """Calls to one server. `locate` names the endpoint to connect to, anew for each attempt."""

    def __init__(self, locate: Callable[[], Awaitable[Endpoint]], means: Means, watcher: Watcher) -> None:
        self._locate = locate
        self._means = means
        self._watcher = watcher
        self._loop = asyncio.get_running_loop()
        self._breaker = Breaker()
        self._probes = Jitter(means.draw, PROBE_S, PROBE_CAP_S)
        self._dials = Jitter(means.draw, DIAL_S, PROBE_CAP_S)
        self._connection: Connection | None = None
        self._queue: list[Call] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._steady_since = 0.0
        self._good_at = 0.0
        self._told = State.OPEN
        self._new = True
        self._run_id: str | None = None
        self.attempted = asyncio.Event()
        self.ready = False
        self.why = Reason.STARTING
        self.detail = ""
        self.endpoint: Endpoint | None = None

    @property
    def state(self) -> State:
        """The breaker's."""
        return self._breaker.state

    def start(self) -> None:
        """Begin to connect, in the background."""
        self._task = self._means.tasks.spawn(self._run(), "redis-node")

    async def close(self) -> None:
        """End the task and the connection; whoever still waits is told. Final."""
        self.ready = False
        self.why = Reason.CLOSED
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort(Reason.CLOSED, "the link is closed")
            await connection.closed
        self._fail_queue()

    # The hot path.

    def submit(self, call: Call) -> None:
        """Send `call` with all others of this turn of the loop. Only while `ready`."""
        self._queue.append(call)
        if len(self._queue) == 1:
            self._loop.call_soon(self._flush)

    def refusal(self) -> Unavailable:
        """Why a call is not taken now."""
        self._means.counters.refused += 1
        return Unavailable(Reason.OPEN if self.why is not Reason.CLOSED else self.why, self.why.value)

    def resend(self, call: Call, due: float, load: bytes = b"") -> bool:
        """Send `call` once more in what is left of its time, after `load` and its own prefix."""
        if not self.ready or self._connection is None:
            return False
        before = [Call(payload, None) for payload in (load, call.prefix) if payload]
        self._connection.send(Batch([*before, call], due))
        return True

    def _flush(self) -> None:
        if self._connection is None or not self.ready:
            self._fail_queue()
            return
        calls, self._queue = self._queue, []
        self._means.counters.calls += len(calls)
        now = self._means.clock.monotonic()
        self._connection.send(Batch(calls, now + self._means.settings.deadline_s))

    def _fail_queue(self) -> None:
        queue, self._queue = self._queue, []
        for call in queue:
            call.fail(self.refusal())

    # What the connection tells.

    def on_error(self, batch: Batch, call: Call, text: str) -> None:
        """Mend what can be mended within the call's time; else fail it with what the reply means."""
        if self._connection is None:  # a greeting: the attempt is counted as a whole
            super().on_error(batch, call, text)
            return
        word = text.partition(" ")[0]
        if call.future is not None and not batch.expired and self._mended(word, batch, call, text):
            return
        failure = failure_of(text)
        call.fail(failure)
        if isinstance(failure, ScriptError):
            self._means.counters.script_errors += 1
            return
        self._means.counters.errors[failure.reason] += 1
        if failure.reason is Reason.MOVED and self._means.clustered:
            return  # a matter of the map, which is being renewed
        batch.failed |= failure.reason not in NEUTRAL
        if failure.reason in ELSEWHERE:
            self.leave(failure.reason)

    def _mended(self, word: str, batch: Batch, call: Call, text: str) -> bool:
        if word == "NOSCRIPT" and call.script is not None and not call.reloaded:
            call.reloaded = True
            self._means.counters.reloads += 1
            return self.resend(call, batch.due, pack("SCRIPT", "LOAD", call.script.text))
        if word in ("MOVED", "ASK") and not call.redirected:
            return self._watcher.redirect(batch, call, text)
        return False

    def on_batch(self, batch: Batch, seconds: float) -> None:
        """Count it, and open the breaker if it was one failure too many."""
        if self._breaker.state is not State.CLOSED:
            return
        counters = self._means.counters
        counters.batches += 1
        if batch.expired:
            counters.errors[Reason.TIMEOUT] += len(batch.calls) - batch.answered
        else:
            counters.measured(seconds)
        if self._breaker.record(self._means.clock.monotonic(), good=not batch.failed):
            self._settle(Reason.TIMEOUT if batch.expired else Reason.REFUSED)

    def on_late(self, replies: int) -> None:
        """Count what came too late."""
        self._means.counters.late += replies

    def on_lost(self, connection: Connection) -> None:
        """Open at once: there is nothing to call through."""
        if connection is not self._connection:
            return
        self._connection = None
        self._means.counters.errors[connection.why.reason] += 1
        self._trip(connection.why.reason, connection.why.detail)
        self._watcher.on_astray()

    def leave(self, reason: Reason) -> None:
        """Give up the connection: another server is the right one."""
        if self._connection is not None:
            self._trip(reason, "")
            self._connection.abort(reason, "the wrong server")

    def _trip(self, reason: Reason, detail: str) -> None:
        self.detail = detail
        self._breaker.trip()
        self._settle(reason)

    # The task.

    async def _run(self) -> None:
        """Connect, probe until the breaker closes, then sleep until something breaks."""
        while True:
            if self._connection is None:
                await self._connect()
            elif self._breaker.state is not State.CLOSED:
                await self._probe(self._connection)
            else:
                self._wake.clear()
                await self._wake.wait()
                await asyncio.sleep(self._means.draw.uniform(0.0, FIRST_S))

    async def _connect(self) -> None:
        try:
            endpoint = await self._locate()
            scripts = self._means.scripts()
            connection, greeting = await self._means.dialler.dial(endpoint, self, scripts)
        except Unavailable as error:
            await self._missed(error)
            return
        self.endpoint = endpoint
        if greeting.role != "master":
            connection.abort(Reason.READONLY, f"{endpoint} is a {greeting.role}")
        if not connection.alive:
            await self._missed(connection.why)
            return
        self._connection = connection
        self._good_at = self._means.clock.monotonic()
        self._recognise(greeting.run_id)
        self._dials.reset()
        if self._new:
            self._breaker.close()
        else:
            self._breaker.probed(good=True)
        self._new = False
        self._settle(self.why)
        self.attempted.set()

    async def _missed(self, error: Unavailable) -> None:
        self._means.counters.errors[error.reason] += 1
        self.detail = error.detail
        self._breaker.probed(good=False)
        if not self.attempted.is_set():
            self.why = error.reason
            self._new = False
            self._watcher.on_state(self, error.reason)
        self._settle(error.reason)
        self.attempted.set()
        self._watcher.on_astray()
        await asyncio.sleep(self._dials.next())

    async def _probe(self, connection: Connection) -> None:
        now = self._means.clock.monotonic()
        (reply,) = await connection.request(_PING, due=now + self._means.settings.deadline_s)
        good = reply == b"PONG"
        self._breaker.probed(good=good)
        self._settle(reply.reason if isinstance(reply, Unavailable) else Reason.REFUSED)
        if self._breaker.state is State.CLOSED:
            return
        now = self._means.clock.monotonic()
        if good:
            self._good_at = now
        elif now - self._good_at > DOUBT_S:
            connection.abort(Reason.TIMEOUT, "no probe was answered in time")
            await connection.closed
            return
        await asyncio.sleep(PROBE_S if good else self._probes.next())

    def _recognise(self, run_id: str) -> None:
        """A server that we may not ask for its identity is taken for another one each time."""
        if self._run_id is not None and (run_id != self._run_id or not run_id):
            self._watcher.on_identity()
        self._run_id = run_id

    def _settle(self, reason: Reason) -> None:
        """Make everything follow from the breaker's state."""
        state = self._breaker.state
        self.ready = state is State.CLOSED and self._connection is not None
        if state is self._told:
            return
        if state is State.OPEN:
            self.why = reason
        now = self._means.clock.monotonic()
        if self._told is State.CLOSED:
            self._good_at = now
            if now - self._steady_since > STEADY_S:
                self._probes.reset()
            self._wake.set()
        if state is State.CLOSED:
            self._steady_since = now
        self._told = state
        self._watcher.on_state(self, self.why)
