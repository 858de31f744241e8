"""What would become of a request, found out without sending it: the real pipeline with its hands tied.

Everything that decides is the real thing: who may ask, what is read, routed and recalled, the plan, the
translation, what an attempt's end means for the next. Only what would have an effect is replaced:

    the fleet      by a twin of this moment, which nobody hears of
    the lots       by a copy: the next request would draw the same
    limits         by questions: what would be admitted now? nothing is taken
    the upstream   by nobody: each attempt is supposed to fail with a 503, so that all candidates are named
    waiting        by none: how long it would be is told
    the store      is read, and nothing is kept

So the first of the plan is where a request of this moment goes, and the others are where it would go if all
before them failed. This is composition: like `app` it makes parts, to be used once.
"""

import copy
import dataclasses
import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from proxy.admission import Admission
from proxy.attempt import Attempts, Means
from proxy.clock import Clock
from proxy.config.settings import Config
from proxy.decision import Decision, decided
from proxy.demand import Estimator
from proxy.ends import Body, Kept
from proxy.errors import Refusal
from proxy.exchange import Exchange, Head
from proxy.fleet import Fleet, Turn
from proxy.overload import Guard
from proxy.pipeline import Parts, Pipeline, Remembering, Trying
from proxy.reception import Reception
from proxy.redaction import Redactor
from proxy.relay import Outward
from proxy.retry import RetryBudget
from proxy.routing import Plan
from proxy.snapshot import Snapshot, snapshot
from proxy.tasks import Tasks
from proxy.tenants import Tenant, Tenants
from proxy.upstream import Call, Reply, Taker
from proxy.waiting import Place
from proxy.wire.dialects import CODECS
from proxy.wire.envelope import encode
from proxy.wire.model import DIALECT_OF, Endpoint
from ratelimit import scope
from ratelimit.gauge import too_large
from ratelimit.limiter import Limiter
from ratelimit.quota import UNLIMITED, Demand, Dimension
from ratelimit.quota import Decision as Allowed

FAILING: Final = 503
"""The status that each attempt is supposed to end with."""

NUMBER: Final = "req_" + "0" * 24
"""The id of a request that is none."""


class Quote(msgspec.Struct, frozen=True):
    """What the limits of one scope would say to a request: None where the store could not be asked."""

    limits: scope.Limits
    demand: Demand
    said: Allowed | None


@dataclasses.dataclass(frozen=True, slots=True)
class Rehearsed:
    """What would become of a request. `waits`: seconds it would wait for a target, None where it would not.

    `answer` is the body of the refusal that it would get if all fails.
    """

    decision: Decision
    snapshot: Snapshot
    quotes: Sequence[Quote]
    waits: float | None
    answer: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Stock:
    """The real parts of a replica, as far as they are looked at; made by `app`."""

    fleet: Fleet
    limiter: Limiter
    estimator: Estimator
    archive: Remembering
    budget: RetryBudget
    redactor: Redactor
    clock: Clock
    lots: random.Random


class Rehearsal:
    """Rehearses requests."""

    def __init__(self, stock: Stock) -> None:
        self._stock = stock

    async def of(self, endpoint: Endpoint, body: bytes, tenant: Tenant, head: Head) -> Rehearsed:
        """What would become of `body`, sent to `endpoint` by `tenant` with `head`."""
        stock, tasks = self._stock, Tasks()
        lots = copy.copy(stock.lots)
        fleet = stock.fleet.twin()
        asking, patient = Asking(stock.limiter), Unhurried(fleet)
        admission = Admission(asking, stock.estimator, stock.clock)
        attempts = Attempts(Means(fleet, Nobody(), admission, stock.redactor, stock.clock))
        config, sink = fleet.snapshot.config, Kept()
        pipeline = Pipeline(
            Parts(
                fleet=fleet,
                waiting=patient,
                admission=admission,
                archive=ReadOnly(stock.archive),
                background=_never,
                guard=Guard(config.overload),
                attempts=Losing(attempts),
                budget=copy.copy(stock.budget),
                clock=stock.clock,
                draw=lots,
                tasks=tasks,
                observe=lambda _: None,
                keep=lambda _: None,
                stopping=lambda: False,
                sleep=_at_once,
            )
        )
        reception = Reception(fleet, stock.clock, random.Random(0), stock.redactor, lambda: NUMBER)  # noqa: S311  (an id that nobody gets)
        voice = CODECS[DIALECT_OF[endpoint]]
        exchange = reception.open(endpoint, voice, head, Body(body), sink)
        exchange.tenant = tenant
        try:
            await pipeline.handle(exchange)
        finally:
            await tasks.close()
        made = decided(exchange, stock.clock.wall(), self.redacted, supposed=True)
        targets = exchange.plan.targets if exchange.plan is not None else ()
        known = msgspec.structs.replace(
            made, config=exchange.snapshot.config_hash, targets=tuple(target.id for target in targets)
        )
        answer = encode(_strings(msgspec.json.decode(sink.body), self.redacted)) if sink.body else b""
        return Rehearsed(known, exchange.snapshot, asking.quotes, patient.waits, answer)

    def redacted(self, text: str) -> str:
        """What was said by whoever asks, without secrets."""
        return self._stock.redactor.text(text)


class Nobody:
    """An `Upstream` that sends nothing: every answer is a 503 without a word."""

    async def send(self, call: Call) -> Reply:  # noqa: ARG002  (nobody gets it)
        """See `Upstream`."""
        return _Failing()

    async def close(self) -> None:
        """Nothing is open."""


class _Failing:
    status = FAILING
    headers: Mapping[str, str] = {}
    resent = False

    async def read(self) -> bytes:
        """See `Reply`."""
        return b""

    async def pour(self, taker: Taker) -> None:
        """See `Reply`."""

    def close(self) -> None:
        """See `Reply`."""


class Asking:
    """Limits that are asked and not used. `quotes` are their answers, in order.

    What was granted before, in the same rehearsal, is asked for again: it would not be settled yet.
    """

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter
        self._granted: dict[scope.Limits, list[Demand]] = {}
        self.quotes: list[Quote] = []

    async def reserve(self, limits: scope.Limits, demand: Demand) -> scope.Reservation | scope.Refusal:
        """What would be said to `demand`."""
        before = self._granted.setdefault(limits, [])
        requests = demand.requests + sum(one.requests for one in before)
        tokens = demand.tokens + sum(one.tokens for one in before)
        said = too_large(limits, demand) or await self._limiter.peek(limits, Demand(requests, tokens))
        places = said.concurrency if said is not None else None
        if said is not None and places is not None and said.admitted and places.remaining <= len(before):
            said = msgspec.structs.replace(said, admitted=False, refused_by=Dimension.CONCURRENCY)
        self.quotes.append(Quote(limits, demand, said))
        if said is not None and not said.admitted:
            return scope.Refusal(limits, demand, said)
        before.append(demand)
        return scope.Reservation("", limits, demand, said or UNLIMITED)

    def settle(self, reservation: scope.Reservation, tokens: int) -> None:
        """Nothing was taken."""

    def release(self, reservation: scope.Reservation) -> None:
        """Nothing was taken."""

    def lower(self, limits: scope.Limits, requests: int | None, tokens: int | None) -> None:
        """Nobody has said so."""


class Unhurried:
    """Turns without a queue. `waits` says how many seconds a request would have waited, if it would have."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.waits: float | None = None

    def now(self, alias: str, plan: Plan) -> Turn | None:  # noqa: ARG002  (there is no queue)
        """See `Waiting`."""
        return self._fleet.pick(plan)

    async def turn(self, place: Place, plan: Plan, patience: float) -> Turn | None:  # noqa: ARG002  (the same)
        """None: nobody waits here."""
        wait = (plan.ready_at(self._fleet) - self._fleet.now()) / 1000
        if plan.open and 0 <= wait <= patience:
            self.waits = wait
        return None


class ReadOnly:
    """What is stored is read, and nothing is kept. What would run in the background is a stream here too."""

    def __init__(self, archive: Remembering) -> None:
        self._archive = archive

    async def recall(self, exchange: Exchange) -> None:
        """See `Remembering`."""
        await self._archive.recall(exchange)
        if exchange.thread is None or not exchange.thread.background:
            return
        exchange.thread.background = False
        assert exchange.envelope is not None
        assert exchange.plan is not None
        exchange.envelope = msgspec.structs.replace(exchange.envelope, stream=True)
        exchange.record.stream, exchange.plan.whole = True, False

    async def keep(self, exchange: Exchange, kept: bytes | None) -> None:
        """Nothing is."""


class Losing:
    """Attempts that note with each pick what the translation for it has lost."""

    def __init__(self, attempts: Trying) -> None:
        self._attempts = attempts

    async def make(self, exchange: Exchange, turn: Turn, out: Outward) -> bool:
        """See `Trying`."""
        over = await self._attempts.make(exchange, turn, out)
        losses = exchange.way.passage.losses if exchange.way is not None else None
        if losses is not None and exchange.plan is not None:
            exchange.plan.picks[-1].lost = tuple((name, how.value) for name, how in losses.fields.items())
        return over


def _strings(value: object, change: Callable[[str], str]) -> object:
    """A value of JSON with all its texts changed."""
    if isinstance(value, dict):
        return {name: _strings(member, change) for name, member in value.items()}
    if isinstance(value, list):
        return [_strings(item, change) for item in value]
    return change(value) if isinstance(value, str) else value


async def _at_once(_: float) -> None:
    """Nobody waits for what is not done."""


async def _never(_: Exchange) -> None:
    raise Refusal(500, "Nothing runs in the background here.")


def viewed(config: Config) -> Snapshot:
    """A configuration as a replica sees it that has just started: nothing is known against anybody."""
    tenants = Tenants(config.clients, secrets.token_bytes(32), open_to_all=not config.clients)
    return snapshot(config, tenants, 0)
