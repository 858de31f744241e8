"""Looks at what the status page shows. Nothing is gathered while nobody watches.

All that is kept meanwhile are the ids of the last requests that needed more than one try, or failed; what
became of them is in the ledger.
"""

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
from proxy.overview import Circuit, Standing, overview
from proxy.replicas import About
from proxy.status import OUT, Failover, Holder, ModelSeen, Shape, Status, Store, TargetSeen, Traffic
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
        organs, snapshot = self._parts.organs, self._parts.organs.fleet.snapshot
        name, expected = self._parts.ledger.name, snapshot.config.redis.min_replicas
        members = sorted(await self._parts.members(), key=lambda one: (one.id != name, one.id))
        models, more = _models(organs.fleet, organs.waiting.lengths())
        limits = sorted(self._limits(), key=lambda one: (not one.reached, one.left, one.kind, one.name))
        shared = organs.links.get("shared")
        return Status(
            at=organs.clock.wall(),
            replica=name,
            version=self._parts.instruments.version,
            config_hash=snapshot.config_hash,
            ready=organs.ready(),
            store=Store.NONE if shared is None else Store.SHARED if shared.available else Store.AWAY,
            traffic=self._traffic(),
            models=models,
            members=tuple(members[:MEMBERS]),
            live=organs.live(),
            expected=expected if expected > 1 else None,
            limits=tuple(limits[:LIMITS]),
            failovers=tuple(self._failovers()),
            more_targets=more,
            more_members=max(len(members) - MEMBERS, 0),
            more_limits=max(len(limits) - LIMITS, 0),
        )

    def _traffic(self) -> Traffic:
        organs, counted = self._parts.organs, self._parts.instruments.requests.values
        now, in_flight, waiting = organs.clock.monotonic(), organs.guard.in_flight, len(organs.waiting)
        failed = sum(count for (*_, outcome), count in counted.items() if outcome in _FAILED)
        if self._looks and now - self._looks[-1][0] > GAP:
            self._looks.clear()
        self._looks.append((now, sum(counted.values()), failed))
        looks = tuple(self._looks)
        then = next((look for look in looks if now - look[0] <= OVER), looks[0])
        if now <= then[0]:
            return Traffic(in_flight, waiting)
        many = looks[-1][1] - then[1]
        return Traffic(
            in_flight,
            waiting,
            rate=many / (now - then[0]),
            errors=(failed - then[2]) / many if many else 0.0,
            course=tuple(
                (new[1] - old[1]) / (new[0] - old[0])
                for old, new in itertools.pairwise(looks)
                if new[0] > old[0]
            ),
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


def _models(fleet: Fleet, waiting: Mapping[str, int]) -> tuple[tuple[ModelSeen, ...], int]:
    """The models with their targets, and how many targets did not fit: those in trouble go first."""
    known = fleet.snapshot.models
    standings: dict[str, list[Standing]] = {alias: [] for alias in known}
    for standing in overview(fleet):
        standings[standing.model].append(standing)
    seen = [_model(model, standings[alias], waiting.get(alias, 0)) for alias, model in known.items()]
    count = sum(len(model.targets) for model in seen)
    if count > TARGETS:
        seen.sort(key=lambda model: (model.takers == len(model.targets), model.takers > 0))
    room, shown = TARGETS, []
    for model in seen:
        if room > 0:
            shown.append(msgspec.structs.replace(model, targets=model.targets[:room]))
        room -= len(model.targets)
    return tuple(shown), max(count - TARGETS, 0)


def _model(model: Model, standings: Iterable[Standing], waiting: int) -> ModelSeen:
    seen = [_target(standing) for standing in standings]
    placed = [
        msgspec.structs.replace(one, priority=target.priority)
        for one, target in zip(seen, model.targets, strict=True)
    ]
    takers = [one.priority for one in placed if one.takes]
    weights = [
        target.weight if one.takes and one.priority == min(takers) else 0.0
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
        return _opened([circuit for circuit in standing.known if circuit.state is State.OPEN])
    if standing.back_off_for:
        return Shape.BACKING_OFF, standing.back_off_for
    if standing.state is State.HALF_OPEN:
        return Shape.HALF_OPEN, None
    if not standing.ready:
        return Shape.BUSY, None
    return (Shape.SLOW_START if standing.share is not None else Shape.READY), None


def _opened(circuits: Sequence[Circuit]) -> tuple[Shape, float]:
    refused = any(circuit.cause is Cause.REFUSED for circuit in circuits)
    lasts = max((circuit.open_for or 0.0 for circuit in circuits), default=0.0)
    return (Shape.REFUSED if refused else Shape.EJECTED), lasts


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
    lefts, figures = dict(asked.left(now)), _figures(scope.own[0].quota) if scope.own else {}
    for dimension, unit in _UNITS.items():
        room: Room | None = getattr(last, dimension, None)
        limit = room.limit if room is not None else figures.get(dimension)
        if limit is not None:
            reached = last is not None and holds and last.refused_by == dimension
            left = lefts.get(dimension, 0.0 if reached else 1.0)
            yield Holder(kind, name, unit, limit, left, reached, refused)


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
