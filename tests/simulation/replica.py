"""One replica: the real fleet, peers, waiting room and pipeline, between a simulated link and providers."""

import asyncio
import random
from typing import Any

from fakes.clients import BodySource, RecordingSink
from fakes.virtual_loop import START

from metrics.record import CLIENT_GONE, COMPLETED, CRASHED, Record
from proxy import peers
from proxy.admission import Admission
from proxy.archive import Archive
from proxy.attempt import Attempts, Means
from proxy.circuit import Kind
from proxy.demand import Estimator
from proxy.exchange import Exchange, Head
from proxy.fleet import Fleet, Snapshot
from proxy.overload import Guard
from proxy.peers import Peers
from proxy.pipeline import Parts, Pipeline
from proxy.redaction import Redactor, secrets_of
from proxy.retry import RetryBudget
from proxy.tasks import Tasks
from proxy.waiting import WaitingRoom
from proxy.wire.chat.voice import ChatVoice
from proxy.wire.codec import Stamp
from proxy.wire.model import Endpoint
from ratelimit.limiter import Limiter
from ratelimit.memory_store import MemoryStore
from simulation.invariants import ReplicaWatch
from simulation.ledger import Ledger
from simulation.link import SimLink
from simulation.providers import SimUpstream
from simulation.settings import MAX_WAIT
from simulation.store import WALL

SCRIPTS = peers.load_scripts()
SLACK = 0.002
"""Seconds that a request may wait longer than the longest: until its timer is looked at."""

LEAVING = 0.2
"""How often a client that waits leaves when something changes."""


async def unreachable(exchange: Exchange) -> None:
    """Nothing runs in the background here."""
    raise AssertionError(exchange)


class SimClock:
    """A `Clock` with the loop's time, and a wall clock of its own that somebody may set."""

    def __init__(self, off: float) -> None:
        self._loop = asyncio.get_running_loop()
        self.off = off

    def monotonic(self) -> float:
        """The loop's time, in seconds."""
        return self._loop.time()

    def wall(self) -> float:
        """What this machine believes that the time is."""
        return WALL + self._loop.time() - START + self.off


class Replica:
    """One process."""

    def __init__(
        self,
        name: str,
        view: Snapshot,
        link: SimLink,
        upstream: SimUpstream,
        draw: random.Random,
        ledger: Ledger,
    ) -> None:
        config = view.config
        self.name = name
        self.clock = SimClock(draw.uniform(-2.0, 2.0))
        self.link = link
        self.upstream = upstream
        self.fleet = Fleet(view, self.clock, draw, name)
        self.targets = tuple(
            {target.id: target for m in view.models.values() for target in m.targets}.values()
        )
        self.peers = Peers(link, SCRIPTS, self.fleet, draw)
        self.waiting = WaitingRoom(self.fleet, config.queue)
        self.guard = Guard(config.overload)
        self.tasks = Tasks()
        self.background: list[asyncio.Task[Any]] = []
        self._draw = draw
        self._ledger = ledger
        self._count = 0
        self._running: dict[asyncio.Task[None], None] = {}
        self._hasty: dict[asyncio.Task[None], None] = {}
        self._leaves = random.Random(f"leaves {name}")
        self.fleet.on_change(self._leave)
        limits = Limiter(MemoryStore(self.clock), MemoryStore(self.clock), self.clock, lambda: 1, name)
        admission = Admission(limits, Estimator(), self.clock)
        redactor = Redactor(secrets_of(config))
        self.pipeline = Pipeline(
            Parts(
                fleet=self.fleet,
                waiting=self.waiting,
                archive=Archive(None),
                background=unreachable,
                admission=admission,
                guard=self.guard,
                attempts=Attempts(Means(self.fleet, upstream, admission, redactor, self.clock)),
                budget=RetryBudget(config.retry.budget),
                clock=self.clock,
                draw=draw,
                tasks=self.tasks,
                observe=lambda record: None,
                keep=lambda exchange: None,
                stopping=lambda: False,
            )
        )

    def watched(self, watch: ReplicaWatch) -> None:
        """Let `watch` see what is heard and whom it calls."""
        self.link.watch = self.upstream.watch = watch
        self.upstream.name = self.name

    def start(self) -> None:
        """Begin to share and to tend, as `app` does."""
        self._spawn(self._share(), "share")
        self._spawn(self.fleet.run(), "fleet")

    async def _share(self) -> None:
        await self.peers.poll()
        self.link.subscribe(self.peers.hear, self.peers.missed)
        self._spawn(self.peers.tell(), "tell")
        self._spawn(self.peers.listen(), "listen")
        await asyncio.Event().wait()

    def _spawn(self, work: Any, name: str) -> None:
        self.background.append(self.tasks.spawn(work, name))

    @property
    def busy(self) -> int:
        """Requests on their way."""
        return len(self._running)

    @property
    def telling(self) -> bool:
        """Whether it knows something that the store may not have heard yet."""
        return bool(self.fleet.outbox) or bool(self.fleet.dirty) or self.link.calling

    def ask(self, key: str, body: bytes, leaves: float | None, *, firm: bool) -> None:
        """A request comes, whose client leaves after so many seconds. `firm`: it has to succeed."""
        self._count += 1
        record = Record(f"{self.name}/{self._count}", Endpoint.CHAT.value, self.clock.monotonic())
        sink = RecordingSink()
        head = Head(credential=key.encode(), content_type=b"application/json")
        exchange = Exchange(
            Endpoint.CHAT,
            ChatVoice(),
            head,
            BodySource(body),
            sink,
            self.fleet.snapshot,
            record,
            Stamp("1", 1_800_000_000),
        )
        task = self.tasks.spawn(self.pipeline.handle(exchange), record.request_id)
        self._running[task] = None
        task.add_done_callback(lambda task: self._ended(task, record, sink, firm=firm))
        if leaves is not None:
            self._hasty[task] = None
            asyncio.get_running_loop().call_later(leaves, task.cancel)

    def order(self, number: int, kind: Kind, shared: tuple[str, ...] = ()) -> None:
        """An operator says something of a target, and of what it shares with others."""
        target = self.targets[number]
        self._ledger.note(self.name, f"is told to {kind} {target.id} with {' '.join(shared) or 'nothing'}")
        self.fleet.order(target, kind)
        assert self.upstream.watch is not None
        self.upstream.watch.ordered(target.id)
        for what in shared:
            name: str = getattr(target, what)
            self.fleet.reset(name)
            self.upstream.watch.ordered(name)

    def _drained(self, alias: str) -> bool:
        """Whether all targets of a model are drained: nobody can say until when."""
        targets = self.fleet.snapshot.models[alias].targets
        return all(self.fleet.standing(target).drained for target in targets)

    def _leave(self) -> None:
        """A client leaves in the very moment in which somebody who waits may get his turn."""
        if self._hasty and len(self.waiting) and self._leaves.random() < LEAVING:
            asyncio.get_running_loop().call_soon(next(iter(self._hasty)).cancel)

    def _ended(self, task: "asyncio.Task[None]", record: Record, sink: RecordingSink, *, firm: bool) -> None:
        """A request is over: answered, told when to come back, or left by its client."""
        del self._running[task]
        self._hasty.pop(task, None)
        tried = ", ".join(f"{attempt.target} {attempt.outcome}" for attempt in record.attempts)
        self._ledger.note(
            self.name,
            f"{record.request_id} of {record.client} for {record.model}: {record.outcome} [{tried}]",
        )
        if not task.cancelled() and task.exception() is not None:
            self._ledger.broke(self.name, f"a request ended with {task.exception()!r}")
        elif record.outcome == CRASHED or (record.outcome != CLIENT_GONE and not sink.ended):
            self._ledger.broke(self.name, f"{record.request_id} was not answered: {record}")
        elif (
            sink.status in (429, 503)
            and sink.header(b"retry-after") is None
            and not (sink.status == 503 and self._drained(record.model))
        ):
            self._ledger.broke(
                self.name, f"{record.request_id} was not told when to come back: {sink.body!r}"
            )
        elif firm and record.outcome not in (COMPLETED, CLIENT_GONE):
            self._ledger.broke(self.name, f"{record.request_id} failed after all faults: {record}")
        if record.queued > MAX_WAIT + SLACK:
            self._ledger.broke(self.name, f"{record.request_id} has waited for {record.queued:.3f} s")

    async def crash(self) -> None:
        """It is gone at once, and says nothing to anybody."""
        self.link.kill()
        await self.close()

    async def close(self) -> None:
        """End all that runs, in one order."""
        for task in (*self._running, *self.background):
            task.cancel()
        await self.tasks.close()
