"""One replica's request path without its edges: the real pipeline and fleet between scripted ends."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence

from metrics.record import Record
from proxy import circuit, fleet
from proxy.admission import Admission
from proxy.archive import Archive
from proxy.attempt import Attempts, Means
from proxy.config.settings import Config
from proxy.demand import Estimator
from proxy.exchange import Exchange, Head
from proxy.fleet import Fleet
from proxy.health import Report
from proxy.ledger import Ledger
from proxy.overload import Guard
from proxy.pipeline import Parts, Pipeline
from proxy.redaction import Redactor, secrets_of
from proxy.retry import RetryBudget
from proxy.targets import Target
from proxy.tasks import Tasks
from proxy.tenants import Tenants
from proxy.waiting import WaitingRoom
from proxy.wire.codec import Stamp
from proxy.wire.dialects import CODECS
from proxy.wire.model import DIALECT_OF, Endpoint
from ratelimit.limiter import Limiter
from ratelimit.memory_store import MemoryStore
from ratelimit.quota import NOTHING, Decision
from ratelimit.scope import Limits

from .clients import BodySource, RecordingSink
from .configs import CLIENT_KEY, MODEL
from .providers import Answer, ScriptedUpstream
from .stores import CountingStore
from .virtual_loop import LoopClock

HEAD = Head(credential=CLIENT_KEY.encode(), content_type=b"application/json")


class Scene:
    """A pipeline over scripted providers, and all that went through it. Make it inside a running loop.

    Nothing runs in the background: what is to be settled is settled when `settled` is called. `background`
    begins a response that nobody waits for; it only writes it down.
    """

    def __init__(
        self, made: Config, answers: Mapping[str, Sequence[Answer]], archive: Archive | None = None
    ) -> None:
        clock, draw = LoopClock(), random.Random(7)
        self.lots = random.Random(7)
        tenants = Tenants(made.clients, b"pepper")
        self.clock = clock
        self.stopping = False
        self.fleet = Fleet(fleet.snapshot(made, tenants, 1_800_000_000), clock, draw)
        self.waiting = WaitingRoom(self.fleet, made.queue)
        self.upstream = ScriptedUpstream(answers)
        self.records: list[Record] = []
        self.tasks = Tasks()
        self.budget = RetryBudget(made.retry.budget)
        self.store = CountingStore(MemoryStore(clock))
        self.limiter = Limiter(self.store, MemoryStore(clock), clock, lambda: 1, "scene")
        self.estimator = Estimator()
        self.admission = Admission(self.limiter, self.estimator, clock)
        self.guard = Guard(made.overload)
        self.redactor = Redactor(secrets_of(made))
        self.attempts = Attempts(Means(self.fleet, self.upstream, self.admission, self.redactor, clock))
        self.backgrounds: list[Exchange] = []
        self.archive = archive or Archive(None)
        self.background: Callable[[Exchange], Awaitable[None]] = self._run_later
        self.ledger = Ledger("0123456789ab", clock, random.Random(11), slots=1000, size=1_000_000)
        self.pipeline = Pipeline(
            Parts(
                fleet=self.fleet,
                waiting=self.waiting,
                admission=self.admission,
                archive=self.archive,
                background=lambda exchange: self.background(exchange),  # noqa: PLW0108  (tests may set it)
                guard=self.guard,
                attempts=self.attempts,
                budget=self.budget,
                clock=clock,
                draw=self.lots,
                tasks=self.tasks,
                observe=self.records.append,
                keep=self.ledger.keep,
                stopping=lambda: self.stopping,
            )
        )

    async def _run_later(self, exchange: Exchange) -> None:
        self.backgrounds.append(exchange)

    def exchange(
        self,
        body: bytes | BodySource,
        *,
        head: Head = HEAD,
        sink: RecordingSink | None = None,
        endpoint: Endpoint = Endpoint.CHAT,
    ) -> Exchange:
        """A new request."""
        source = body if isinstance(body, BodySource) else BodySource(body)
        record = Record(self.ledger.number(), endpoint.value, self.clock.monotonic())
        voice = CODECS[DIALECT_OF[endpoint]]
        stamp = Stamp("1", 1_800_000_000)
        return Exchange(
            endpoint, voice, head, source, sink or RecordingSink(), self.fleet.snapshot, record, stamp
        )

    async def ask(
        self,
        body: bytes | BodySource,
        *,
        head: Head = HEAD,
        sink: RecordingSink | None = None,
        endpoint: Endpoint = Endpoint.CHAT,
    ) -> RecordingSink:
        """Put one request through to its end; the sink with what the client got."""
        sink = sink or RecordingSink()
        await self.pipeline.handle(self.exchange(body, head=head, sink=sink, endpoint=endpoint))
        return sink

    async def leave(self, body: bytes, after: float, sink: RecordingSink | None = None) -> RecordingSink:
        """Put one request through whose client leaves after so many seconds."""
        sink = sink or RecordingSink()
        task = self.tasks.spawn(self.pipeline.handle(self.exchange(body, sink=sink)), "request")
        await asyncio.sleep(after)
        assert not task.done(), "the request was over before the client left"
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        return sink

    async def settled(self, limits: Limits) -> Decision:
        """What is left of `limits` when all that was handed over is settled."""
        await self.limiter.flush()
        return await self.store.peek(limits, NOTHING)

    @property
    def last(self) -> Record:
        """The record of the latest request."""
        return self.records[-1]

    @property
    def targets(self) -> tuple[Target, ...]:
        """The targets of the one model."""
        return self.fleet.snapshot.models[MODEL].targets

    def health(self, number: int = 0) -> circuit.Record:
        """What is known of one target."""
        return self._known(self.targets[number].id)

    def way(self, number: int = 0) -> circuit.Record:
        """What is known of the way to one target's origin."""
        return self._known(self.targets[number].origin)

    def key(self, number: int = 0) -> circuit.Record:
        """What is known of one target's key."""
        return self._known(self.targets[number].key_id)

    def _known(self, name: str) -> circuit.Record:
        return self.fleet.health.records.get(name, circuit.NOTHING)

    def wait(self, number: int = 0) -> float:
        """Seconds until one target may be tried; 0 where nothing but the want of a probe is in the way."""
        until = self.fleet.standing(self.targets[number]).until
        return max(until - self.fleet.now(), 0) / 1000

    def teach(self, *reports: Report, number: int = 0) -> None:
        """Let one target have had attempts that ended so."""
        for report in reports:
            turn = self.fleet.take(self.targets[number])
            self.fleet.report(turn, report)
            self.fleet.end(turn)

    @property
    def outcomes(self) -> list[str]:
        """How the attempts of the latest request ended."""
        return [attempt.outcome for attempt in self.last.attempts]
