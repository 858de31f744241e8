"""How targets stand, as one replica sees it: for operators, and for whoever asks whether replicas agree."""

import dataclasses
from collections.abc import Iterator

import msgspec

from proxy import routing
from proxy.circuit import NOTHING, Cause, State
from proxy.fleet import Fleet
from proxy.health import Standing as Health
from proxy.health import names
from proxy.moment import Known
from proxy.targets import Model, Target


class Circuit(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is remembered of one name. Seconds are from now; those that are over are left out."""

    name: str
    state: State
    cause: Cause = Cause.NONE
    open_for: float | None = None
    ejections: int = 0
    failures: int = 0
    probe: str = ""
    back_off_for: float | None = None


class Trouble(msgspec.Struct, frozen=True, omit_defaults=True):
    """Attempts that failed in one way: how many since this replica started, seconds since the last.

    `said` is what the provider, or the way there, said of the last (`hearsay`).
    """

    kind: str
    count: int
    ago: float
    said: str = ""


class Standing(msgspec.Struct, frozen=True, omit_defaults=True):
    """One target of a model. `wait`: seconds until it may be tried; `share`: of its requests, at first.

    `state` is the worst of its circuits, `back_off_for` and `ejections` the most of what is `known`.
    `drained`: until an operator restores it; then there is no `wait`. `first_content` and `whole` are the
    seconds that its answers are expected to take, streams and whole ones. `troubles`: the last first.

    `busy`: nothing is the matter with it, but it, or its key, has as many requests as it may have. `limit`:
    how many requests this replica lets it have in flight. All are left out where they do not apply.
    `known` are the target itself, its origin and its key, where anything is remembered of them.
    """

    model: str
    target: str
    ready: bool
    busy: bool = False
    wait: float | None = None
    share: float | None = None
    in_flight: int = 0
    elsewhere: int = 0
    limit: int | None = None
    known: tuple[Circuit, ...] = ()
    drained: bool = False
    state: State = State.CLOSED
    back_off_for: float | None = None
    ejections: int = 0
    first_content: float | None = None
    whole: float | None = None
    troubles: tuple[Trouble, ...] = ()


def overview(fleet: Fleet) -> list[Standing]:
    """Every target of every model."""
    return list(standings(fleet))


def standings(fleet: Fleet) -> Iterator[Standing]:
    """The same one after the other, for who stops in between: each as it stands when it is asked for."""
    for alias, model in fleet.snapshot.models.items():
        now = fleet.now()
        tried = _well(model, fleet, now)
        healthy = tried if len(tried) == len(model.targets) else _well(model, _Health(fleet, now), now)
        for target in model.targets:
            ready = target.id in tried and not fleet.full(target)
            busy = not ready and target.id in healthy
            yield _standing(fleet, alias, target, ready=ready, busy=busy)


@dataclasses.dataclass(frozen=True, slots=True)
class _Health:
    """What is known of targets without what they have to do."""

    fleet: Fleet
    now: int

    def standing(self, target: Target) -> Health:
        return self.fleet.health.standing(target, self.now)


def _standing(fleet: Fleet, alias: str, target: Target, *, ready: bool, busy: bool) -> Standing:
    now, standing = fleet.now(), fleet.standing(target)
    known = tuple(_circuits(fleet, target, now))
    return Standing(
        model=alias,
        target=target.id,
        ready=ready,
        busy=busy,
        wait=None if standing.drained else _seconds(standing.until, now),
        share=round(standing.share, 3) if standing.share < 1 else None,
        in_flight=fleet.in_flight.get(target.id, 0),
        elsewhere=fleet.others.get(target.id, 0),
        limit=fleet.throttle.limit(target.id),
        known=known,
        drained=standing.drained,
        state=max((circuit.state for circuit in known), key=_BAD.index, default=State.CLOSED),
        back_off_for=max((circuit.back_off_for or 0.0 for circuit in known), default=0.0) or None,
        ejections=max((circuit.ejections for circuit in known), default=0),
        first_content=round(fleet.latency(target, whole=False), 4) or None,
        whole=round(fleet.latency(target, whole=True), 4) or None,
        troubles=tuple(
            Trouble(one.kind, one.count, max(now - one.last, 0) / 1000, one.said)
            for one in fleet.blunders.of(target.id)
        ),
    )


_BAD = (State.CLOSED, State.HALF_OPEN, State.OPEN)


def _well(model: Model, known: Known, now: int) -> frozenset[str]:
    """Which of a model's targets may be tried by what is `known`."""
    found = ((target.id, known.standing(target)) for target in model.targets)
    well = {name for name, standing in found if standing.until <= now and not standing.trial}
    return routing.spared_by_rate(model.targets, known, now, model.most_ejected) | well


def _circuits(fleet: Fleet, target: Target, now: int) -> Iterator[Circuit]:
    for name in names(target):
        record = fleet.health.records.get(name, NOTHING)
        if record != NOTHING:
            yield Circuit(
                name,
                record.state(now),
                record.cause,
                _seconds(record.open_until, now),
                record.ejections,
                record.failures,
                record.probe if record.probing(now) else "",
                _seconds(record.back_off_until, now),
            )


def _seconds(until: int, now: int) -> float | None:
    return (until - now) / 1000 if until > now else None
