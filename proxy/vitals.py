"""How this replica stands, read off for a scrape: nothing here is worked out on a request's way."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from metrics import catalogue
from metrics.catalogue import Metric
from metrics.readings import Reading
from proxy.allowances import Allowances
from proxy.circuit import State
from proxy.clock import Clock
from proxy.fleet import Fleet
from proxy.link import Link
from proxy.overload import Guard
from proxy.overview import Standing, overview
from proxy.prices import PriceList
from proxy.responses.census import Census
from proxy.responses.store import ResponseStore
from proxy.waiting import WaitingRoom
from ratelimit.limiter import Limiter

OTHER = "other"

_STATES: Final[Mapping[str, int]] = MappingProxyType({"closed": 0, "half_open": 1, "open": 2})


@dataclasses.dataclass(frozen=True, slots=True)
class Organs:
    """What a replica is made of, as far as it is looked at; made by `app`.

    `live` is how many replicas there are, `links` are the links to Redis by what they are for, `dropped` says
    how many lines the request log has dropped, `reloads` how reloads ended.
    """

    clock: Clock
    fleet: Fleet
    waiting: WaitingRoom
    limiter: Limiter
    allowances: Allowances
    guard: Guard
    prices: PriceList
    live: Callable[[], int]
    ready: Callable[[], bool]
    dropped: Callable[[], int]
    reloads: Mapping[str, int]
    links: Mapping[str, Link]
    store: ResponseStore | None = None
    census: Census | None = None


class Vitals:
    """Reads them."""

    def __init__(self, organs: Organs) -> None:
        self._organs = organs

    async def prepare(self) -> None:
        """Ask for what is not known here, before a scrape."""
        if self._organs.census is not None:
            clients = self._organs.fleet.snapshot.config.clients
            await self._organs.census.take([client.name for client in clients])

    def read(self) -> Iterator[Reading]:
        """All of it, now."""
        yield from self._replica()
        yield from self._targets()
        yield from self._limits()
        yield from self._queues()
        for name, link in self._organs.links.items():
            yield from _link(name, link)
        yield from self._stored()

    def _replica(self) -> Iterator[Reading]:
        organs = self._organs
        yield Reading(catalogue.REPLICAS, organs.live())
        redis = organs.fleet.snapshot.config.redis
        expected = redis.expected_replicas or redis.min_replicas
        if expected > 1:
            yield Reading(catalogue.EXPECTED, expected)
        yield Reading(catalogue.READY, organs.ready())
        yield Reading(catalogue.LAG, organs.guard.lag)
        yield Reading(catalogue.BODY_BYTES, organs.guard.bytes)
        yield Reading(catalogue.LINES_DROPPED, organs.dropped())
        for outcome, count in organs.reloads.items():
            yield Reading(catalogue.RELOADS, count, (outcome,))
        yield Reading(catalogue.CONFIG_INFO, 1, (organs.fleet.snapshot.config_hash,))

    def _targets(self) -> Iterator[Reading]:
        """Each target once, whichever models it serves."""
        fleet = self._organs.fleet
        models = fleet.snapshot.models
        providers = {target.id: target.provider for model in models.values() for target in model.targets}
        labels = {target.label for model in models.values() for target in model.targets}
        yield Reading(catalogue.UNPRICED, sum(label not in self._organs.prices for label in labels))
        standings = overview(fleet)
        for standing in {standing.target: standing for standing in standings}.values():
            yield from _target(standing, (standing.target, providers[standing.target]))
        for alias, some in itertools.groupby(standings, key=lambda standing: standing.model):
            ready = [standing.ready or standing.busy for standing in some]
            yield Reading(catalogue.MODEL_TARGETS, len(ready), (alias,))
            yield Reading(catalogue.MODEL_READY, sum(ready), (alias,))

    def _limits(self) -> Iterator[Reading]:
        limiter, now = self._organs.limiter, self._organs.clock.monotonic()
        yield Reading(catalogue.LIMITED_ALONE, limiter.away)
        yield Reading(catalogue.LIMIT_ERRORS, limiter.errors)
        for (kind, name), allowance in self._organs.allowances.of.items():
            for word, count in allowance.decisions.items():
                yield Reading(catalogue.LIMIT_DECISIONS, count, (kind, name, word))
            for dimension, share in allowance.left(now):
                yield Reading(catalogue.LIMIT_REMAINING, share, (kind, name, dimension))

    def _queues(self) -> Iterator[Reading]:
        """The queue of every model, empty or not; requests that address a target directly are `other`."""
        lengths = self._organs.waiting.lengths()
        for alias in self._organs.fleet.snapshot.models:
            yield Reading(catalogue.QUEUE_DEPTH, lengths.pop(alias, 0), (alias,))
        yield Reading(catalogue.QUEUE_DEPTH, sum(lengths.values()), (OTHER,))

    def _stored(self) -> Iterator[Reading]:
        store, census = self._organs.store, self._organs.census
        if store is not None:
            yield Reading(catalogue.STORE_WAITING, len(store.outbox))
            yield Reading(catalogue.STORE_WAITING_BYTES, store.outbox.bytes)
        if census is not None and census.count is not None and census.bytes is not None:
            yield Reading(catalogue.STORED, census.count)
            yield Reading(catalogue.STORED_BYTES, census.bytes)


def _target(standing: Standing, labels: tuple[str, str]) -> Iterator[Reading]:
    known = standing.known
    back_off = max((circuit.back_off_for or 0.0 for circuit in known), default=0.0)
    ejected = max((circuit.open_for or 0.0 for circuit in known), default=0.0)
    yield Reading(catalogue.TARGET_STATE, _state(standing, back_off), labels)
    yield Reading(catalogue.TARGET_BACK_OFF, back_off, labels)
    yield Reading(catalogue.TARGET_OPEN, ejected, labels)
    yield Reading(catalogue.TARGET_IN_FLIGHT, standing.in_flight, labels)
    if standing.limit is not None:
        yield Reading(catalogue.TARGET_BOUND, standing.limit, labels)


def _state(standing: Standing, back_off: float) -> int:
    """The number of its state. What an operator has drained is that, whatever else is known of it."""
    states = {circuit.state for circuit in standing.known}
    if standing.drained:
        return 4
    if State.OPEN in states:
        return 3
    if State.HALF_OPEN in states:
        return 2
    return 1 if back_off else 0


def _link(name: str, link: Link) -> Iterable[Reading]:
    counters, labels = link.counters, (name,)
    counts: tuple[tuple[Metric, int], ...] = (
        (catalogue.REDIS_CALLS, counters.calls),
        (catalogue.REDIS_BATCHES, counters.batches),
        (catalogue.REDIS_REFUSED, counters.refused),
        (catalogue.REDIS_LATE, counters.late),
        (catalogue.REDIS_CONNECTS, counters.connects),
        (catalogue.REDIS_BREAKER, _STATES[link.state.value]),
        (catalogue.REDIS_AWAY, not link.available),
    )
    for metric, count in counts:
        yield Reading(metric, count, labels)
    for reason, count in counters.errors.items():
        yield Reading(catalogue.REDIS_ERRORS, count, (name, reason.value))
