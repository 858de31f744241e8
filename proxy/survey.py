"""Looks at what the status page shows. Nothing is gathered while nobody watches.

All that is kept meanwhile are the ids of the last requests that needed more than one try, or failed; what
became of them is in the ledger.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec

from metrics.instruments import Instruments
from metrics.record import BROKEN, CRASHED, FAILED, Record
from proxy.allowances import ADMITTED, Allowance
from proxy.circuit import Cause, State
from proxy.explanation import path
from proxy.fleet import Fleet
from proxy.ledger import Ledger
from proxy.overview import Circuit, Standing, standings
from proxy.pieces import pieces
from proxy.replicas import About
from proxy.status import (
    OUT,
    Failover,
    Holder,
    ModelSeen,
    Shape,
    Status,
    Store,
    TargetSeen,
    Traffic,
    differ,
    totals,
)
from proxy.targets import Model
from proxy.vitals import Organs
from ratelimit.quota import Quota, Room
from ratelimit.scope import Kind, Scope

FAILOVERS: Final = 12
"""The last requests that needed more than one try, or failed."""

TARGETS: Final = 120
"""Targets that are shown. A page with more would be no picture, and would take the replica's time."""

LIMITS: Final = 40
MEMBERS: Final = 40

SPAN: Final = 60
"""Looks that are remembered for the rate of requests: a minute's."""

GAP: Final = 5.0
"""Seconds without a look after which the rate begins anew."""

OVER: Final = 10.0
"""Seconds over which a rate is told."""

LEAST: Final = 0.5
"""Seconds between two looks that count for the rate: what two requests make of 20 ms is none."""

PIECE: Final = 50
"""Targets or limits looked at in one go: others have their turn between two."""


class StatusParts(NamedTuple):
    """What is looked at; made by `app`.

    `members` asks who lives.
    """

    organs: Organs
    instruments: Instruments
    ledger: Ledger
    members: Callable[[], Awaitable[Sequence[About]]]


class Survey:
    """Looks at all of it."""

    def __init__(self, parts: StatusParts) -> None:
        self._parts = parts
        self._troubled: deque[str] = deque(maxlen=FAILOVERS)
        self._looks: deque[tuple[float, float, float]] = deque(maxlen=SPAN + 1)

    def note(self, record: Record) -> None:
        """A request is over: remember it, if it is worth a line."""
        if len(record.attempts) > 1 or record.status >= 500 or record.outcome == BROKEN:
            self._troubled.append(record.request_id)

    async def take(self) -> Status:
        """The moment, now."""
        organs, name = self._parts.organs, self._parts.ledger.name
        members = await self._members(name)
        snapshot, shared = organs.fleet.snapshot, organs.links.get("shared")
        whole = await _models(organs.fleet, organs.waiting.lengths())
        limits, count, reached = await _scarcest(self._limits())
        shown = _fitted(whole)
        total = totals(whole, limits, reached)
        return Status(
            at=organs.clock.wall(),
            replica=name,
            version=self._parts.instruments.version,
            config_hash=snapshot.config_hash,
            ready=organs.ready(),
            store=Store.NONE if shared is None else Store.SHARED if shared.available else Store.AWAY,
            traffic=self._traffic(),
            models=shown,
            members=tuple(members[:MEMBERS]),
            live=organs.live(),
            expected=snapshot.config.redis.expected_replicas,
            reckoned=snapshot.config.redis.min_replicas,
            totals=total,
            limits=tuple(limits),
            failovers=tuple(self._failovers()),
            more_targets=total.targets - sum(len(model.targets) for model in shown),
            more_members=max(len(members) - MEMBERS, 0),
            more_limits=count - len(limits),
            mixed=differ(members),
        )

    async def _members(self, name: str) -> list[About]:
        """Who lives: this one, then who differs from it."""
        found = await self._parts.members()
        mine = {(one.version, one.config_hash) for one in found if one.id == name}
        return sorted(found, key=lambda one: (one.id != name, (one.version, one.config_hash) in mine, one.id))

    def _traffic(self) -> Traffic:
        organs, counted = self._parts.organs, self._parts.instruments.requests.values
        now, in_flight, waiting = organs.clock.monotonic(), organs.guard.in_flight, len(organs.waiting)
        failed = sum(count for (*_, outcome), count in counted.items() if outcome in _FAILED)
        if self._looks and now - self._looks[-1][0] > GAP:
            self._looks.clear()
        if not self._looks or now - self._looks[-1][0] >= LEAST:
            self._looks.append((now, sum(counted.values()), failed))
        looks = tuple(self._looks)
        last = looks[-1]
        then = next(look for look in looks if last[0] - look[0] <= OVER)
        if then is last:
            return Traffic(in_flight, waiting)
        many = last[1] - then[1]
        return Traffic(
            in_flight,
            waiting,
            rate=many / (last[0] - then[0]),
            errors=(last[2] - then[2]) / many if many else 0.0,
            course=tuple((new[1] - old[1]) / (new[0] - old[0]) for old, new in itertools.pairwise(looks)),
        )

    def _limits(self) -> Iterator[Holder]:
        """What is left to all that are limited, asked for or not."""
        organs = self._parts.organs
        now, scopes = organs.clock.monotonic(), organs.fleet.snapshot.scopes
        shown = ((Kind.CLIENT, scopes.clients), (Kind.MODEL, scopes.models), (Kind.KEY, scopes.keys))
        for kind, held in shown:
            for name, scope in held.items():
                asked = organs.allowances.of.get((kind, name), _UNASKED)
                yield from _holders(kind, name, scope, asked, now)

    def _failovers(self) -> Iterator[Failover]:
        """The newest first; those that the ledger does not hold any more are left out."""
        for request_id in reversed(self._troubled):
            kept = self._parts.ledger.find(request_id)
            if kept is not None:
                made = kept.decision
                yield Failover(
                    request_id=request_id,
                    at=made.at,
                    model=made.asked,
                    client=made.client,
                    path=path(made),
                    status=made.status,
                    outcome=made.outcome,
                    took=made.duration,
                    rescued=made.outcome not in _FAILED,
                )


_FAILED: Final = frozenset({FAILED, BROKEN, CRASHED})


async def _models(fleet: Fleet, waiting: Mapping[str, int]) -> list[ModelSeen]:
    """All models with all their targets."""
    known = fleet.snapshot.models
    found: dict[str, list[TargetSeen]] = {alias: [] for alias in known}
    async for piece in pieces(standings(fleet), PIECE):
        for standing in piece:
            found[standing.model].append(_target(standing))
    seen: list[ModelSeen] = []
    async for some in pieces(iter(known.items()), PIECE):
        seen += (_model(model, found[alias], waiting.get(alias, 0)) for alias, model in some)
    return seen


def _fitted(models: Sequence[ModelSeen]) -> tuple[ModelSeen, ...]:
    """As many as fit, as they are where all do. What takes no requests goes first, in all of them."""
    if sum(model.count for model in models) <= TARGETS:
        return tuple(models)
    ranked = sorted(models, key=lambda model: (model.takers == model.count, model.takers > 0))
    left = TARGETS
    kept = [0] * len(ranked)
    for wanted in ([model.count - model.takers for model in ranked], [model.takers for model in ranked]):
        for place, many in enumerate(wanted):
            kept[place] += min(many, left)
            left -= min(many, left)
    return tuple(_cut(model, count) for model, count in zip(ranked, kept, strict=True) if count)


def _cut(model: ModelSeen, count: int) -> ModelSeen:
    """So many of its targets."""
    ranked = sorted(model.targets, key=lambda target: target.takes)
    more = ranked[count:]
    takers = sum(target.takes for target in more)
    return msgspec.structs.replace(model, targets=tuple(ranked[:count]), more=len(more), more_takers=takers)


async def _scarcest(limits: Iterator[Holder]) -> tuple[list[Holder], int, int]:
    """Those with the least left, the reached ones first; of how many, and how many are reached."""
    kept: list[Holder] = []
    count = reached = 0
    async for piece in pieces(limits, PIECE):
        count += len(piece)
        reached += sum(one.reached for one in piece)
        kept = heapq.nsmallest(
            LIMITS, [*kept, *piece], key=lambda one: (not one.reached, one.left, one.kind, one.name)
        )
    return kept, count, reached


def _model(model: Model, seen: Iterable[TargetSeen], waiting: int) -> ModelSeen:
    placed = [
        msgspec.structs.replace(one, priority=target.priority)
        for one, target in zip(seen, model.targets, strict=True)
    ]
    first = min((one.priority for one in placed if one.takes), default=0)
    weights = [
        target.weight if one.takes and one.priority == first else 0.0
        for one, target in zip(placed, model.targets, strict=True)
    ]
    whole = sum(weights)
    if model.strategy == "weighted" and whole:
        placed = [
            msgspec.structs.replace(one, share=weight / whole)
            for one, weight in zip(placed, weights, strict=True)
        ]
    return ModelSeen(model.alias, model.strategy, tuple(placed), waiting)


def _target(standing: Standing) -> TargetSeen:
    shape, lasts = _shape(standing)
    trouble = standing.troubles[0] if standing.troubles else None
    return TargetSeen(
        id=standing.target,
        shape=shape,
        lasts=lasts,
        spared=standing.ready and shape in OUT,
        here=standing.in_flight,
        elsewhere=standing.elsewhere,
        limit=standing.limit,
        first_content=standing.first_content,
        whole=standing.whole,
        trouble=f"{trouble.kind}, {_ago(trouble.ago)} ago" if trouble is not None else "",
    )


def _shape(standing: Standing) -> tuple[Shape, float | None]:
    """The worst that can be said of it, and for how long it holds."""
    if standing.drained:
        return Shape.DRAINED, None
    if standing.state is State.OPEN:
        return _opened(circuit for circuit in standing.known if circuit.state is State.OPEN)
    if standing.back_off_for:
        return Shape.BACKING_OFF, standing.back_off_for
    if standing.state is State.HALF_OPEN:
        return Shape.HALF_OPEN, None
    if not standing.ready:
        return Shape.BUSY, None
    return (Shape.SLOW_START if standing.share is not None else Shape.READY), None


def _opened(circuits: Iterable[Circuit]) -> tuple[Shape, float]:
    """By the circuit that stays open longest, as `health.Standing.refused`: its cause and its time."""
    last = max(circuits, key=lambda circuit: circuit.open_for or 0.0)
    return (Shape.REFUSED if last.cause is Cause.REFUSED else Shape.EJECTED), last.open_for or 0.0


def _ago(seconds: float) -> str:
    """In the largest unit that fits."""
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _holders(kind: Kind, name: str, scope: Scope, asked: Allowance, now: float) -> Iterator[Holder]:
    """As the last decision had it; what nobody has asked for is all there."""
    last = asked.last
    refused = sum(count for word, count in asked.decisions.items() if word != ADMITTED)
    holds = last is not None and not last.admitted and now < asked.at + last.retry_after
    lefts = dict(asked.left(now))
    figures = _figures(scope.own[0].quota) if scope.own else {}
    for dimension, unit in _UNITS.items():
        room: Room | None = getattr(last, dimension, None)
        limit = room.limit if room is not None else figures.get(dimension)
        if limit is not None:
            reached = last is not None and holds and last.refused_by == dimension
            yield Holder(kind, name, unit, limit, lefts.get(dimension, 1.0), reached, refused)


def _figures(quota: Quota) -> Mapping[str, int | None]:
    return {
        "requests": quota.requests_per_minute,
        "tokens": quota.tokens_per_minute,
        "concurrency": quota.concurrency,
    }


_UNASKED: Final = Allowance()

_UNITS: Final[Mapping[str, str]] = MappingProxyType(
    {"requests": "requests/min", "tokens": "tokens/min", "concurrency": "at one time"}
)
