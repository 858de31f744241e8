"""Tests of `proxy.vitals`: what a scrape is told of a replica and of the cluster."""

import asyncio
import dataclasses
import random
from collections.abc import Awaitable, Callable, Mapping

import pytest
from fakes.configs import MODEL, config, targets_of
from fakes.exchanges import fleet_of
from fakes.virtual_loop import run

from metrics import catalogue
from metrics.catalogue import Metric
from proxy.allowances import Allowances
from proxy.circuit import Kind as Order
from proxy.clock import ManualClock
from proxy.config import config_hash
from proxy.health import Effect, Report
from proxy.link import Link, parse
from proxy.link.failure import Reason
from proxy.overload import Guard
from proxy.prices import Price, PriceList, Rates
from proxy.routing import Plan
from proxy.tasks import Tasks
from proxy.vitals import Organs, Vitals
from proxy.waiting import Place, WaitingRoom
from ratelimit.limiter import Limiter
from ratelimit.memory_store import MemoryStore
from ratelimit.quota import Decision, Dimension, Room
from ratelimit.scope import Kind

CONFIG = config({"a": 1, "b": 1})
FIRST, SECOND = targets_of(CONFIG)
Told = Mapping[tuple[str, ...], float]


def organs() -> Organs:
    """Those of a replica alone, in which nothing has happened. To be made in a running loop."""
    fleet, clock, store = fleet_of(CONFIG), ManualClock(), MemoryStore(ManualClock())
    return Organs(
        clock=clock,
        fleet=fleet,
        waiting=WaitingRoom(fleet, CONFIG.queue),
        limiter=Limiter(store, store, clock, lambda: 1, "one"),
        allowances=Allowances(),
        guard=Guard(CONFIG.overload),
        prices=PriceList(),
        live=lambda: 3,
        ready=lambda: True,
        dropped=lambda: 2,
        reloads={"taken": 3, "refused": 1},
        links={},
    )


def told(seen: Organs, metric: Metric) -> Told:
    """What is told of one metric, by its labels."""
    readings = [one for one in Vitals(seen).read() if one.metric is metric]
    assert all(len(one.labels) == len(metric.labels) for one in readings)
    assert len({one.labels for one in readings}) == len(readings)
    return {one.labels: one.value for one in readings}


def of(
    metric: Metric, prepare: Callable[[Organs], Awaitable[None] | Organs | None] = lambda _organs: None
) -> Told:
    """The same of a replica to which something has happened."""

    async def scenario() -> Told:
        seen = organs()
        done = prepare(seen)
        if isinstance(done, Organs):
            seen = done
        elif done is not None:
            await done
        return told(seen, metric)

    return run(scenario())


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        (catalogue.REPLICAS, 3),
        (catalogue.READY, 1),
        (catalogue.LAG, 0.25),
        (catalogue.BODY_BYTES, 7),
        (catalogue.LINES_DROPPED, 2),
    ],
)
def test_a_replica_says_how_it_is(metric: Metric, value: float) -> None:
    """Who lives, whether it takes requests, and how much it has to do."""

    def busy(seen: Organs) -> None:
        seen.guard.enter(7)
        seen.guard.lag = 0.25

    assert of(metric, busy) == {(): value}


def test_the_configuration_is_told_by_its_digest() -> None:
    """So that a cluster with two of them is seen."""
    assert of(catalogue.CONFIG_INFO) == {(config_hash(CONFIG),): 1}


def test_how_many_replicas_there_should_be_is_told_where_it_was_said() -> None:
    """One alone expects nobody."""

    def three(seen: Organs) -> Organs:
        return dataclasses.replace(seen, fleet=fleet_of(config({"a": 1}, redis={"min_replicas": 3})))

    def grows(seen: Organs) -> Organs:
        redis = {"min_replicas": 12, "expected_replicas": 2}
        return dataclasses.replace(seen, fleet=fleet_of(config({"a": 1}, redis=redis)))

    assert of(catalogue.EXPECTED) == {}
    assert of(catalogue.EXPECTED, three) == {(): 3}
    assert of(catalogue.EXPECTED, grows) == {(): 2}


def test_reloads_are_told_by_how_they_ended() -> None:
    """Both from the start on, so that the first one that is refused is a rise."""
    assert of(catalogue.RELOADS) == {("taken",): 3, ("refused",): 1}


FIRST_IS = (FIRST.id, "a")


@pytest.mark.parametrize(
    ("report", "times", "later", "state", "back_off", "ejected"),
    [
        (Report(Effect.SUCCESS, answered=0.1), 1, 0, 0, 0, 0),
        (Report(Effect.BACK_OFF, 7.0), 1, 2, 1, 5, 0),
        (Report(Effect.FAILURE), 5, 0, 3, 0, 5),
        (Report(Effect.FAILURE), 5, 6, 2, 0, 0),
        (Report(Effect.FAILURE), 1, 0, 0, 0, 0),
        (Report(Effect.QUARANTINE_KEY), 1, 0, 3, 0, 300),
    ],
)
def test_how_a_target_stands(
    report: Report, times: int, later: float, state: int, back_off: float, ejected: float
) -> None:
    """One number for all that is known of the target, its origin and its key; seconds are those left."""

    async def scenario() -> tuple[Told, ...]:
        seen, clock = organs(), ManualClock()
        seen = dataclasses.replace(seen, fleet=fleet_of(CONFIG))
        seen.fleet.cluster_clock._clock = clock
        for _ in range(times):
            turn = seen.fleet.take(FIRST)
            seen.fleet.report(turn, report)
            seen.fleet.end(turn)
        clock.advance(later)
        metrics = (catalogue.TARGET_STATE, catalogue.TARGET_BACK_OFF, catalogue.TARGET_OPEN)
        return tuple(told(seen, metric) for metric in metrics)

    states, windows, ejections = run(scenario())
    assert states == {FIRST_IS: state, (SECOND.id, "b"): 0}
    assert windows[FIRST_IS] == pytest.approx(back_off)
    assert ejections[FIRST_IS] == pytest.approx(ejected, rel=0.2)


def test_a_drained_target_is_that_whatever_else_is_known_of_it() -> None:
    """It is not ready, and no failure of its own."""

    async def scenario() -> list[Told]:
        seen = organs()
        turn = seen.fleet.take(FIRST)
        seen.fleet.report(turn, Report(Effect.QUARANTINE_KEY))
        for target in (FIRST, SECOND):
            seen.fleet.order(target, Order.DRAIN)
        return [told(seen, metric) for metric in (catalogue.TARGET_STATE, catalogue.MODEL_READY)]

    assert run(scenario()) == [{FIRST_IS: 4, (SECOND.id, "b"): 4}, {(MODEL,): 0}]


def test_what_targets_have_to_do_and_how_many_are_ready() -> None:
    """A bound is told only where there is one."""

    async def scenario() -> list[Told]:
        seen = organs()
        turn = seen.fleet.take(FIRST)
        seen.fleet.report(turn, Report(Effect.BACK_OFF, 7.0, overload=True))
        metrics = (
            catalogue.TARGET_IN_FLIGHT,
            catalogue.TARGET_BOUND,
            catalogue.MODEL_TARGETS,
            catalogue.MODEL_READY,
        )
        return [told(seen, metric) for metric in metrics]

    busy, bounds, targets, ready = run(scenario())
    assert busy == {FIRST_IS: 1, (SECOND.id, "b"): 0}
    assert bounds == {FIRST_IS: 4}
    assert (targets, ready) == ({(MODEL,): 2}, {(MODEL,): 1})


def test_a_model_whose_targets_are_full_is_not_out() -> None:
    """Requests wait for a place then; nobody has to be woken."""

    async def scenario() -> list[Told]:
        seen, clock = organs(), ManualClock()
        seen.fleet.cluster_clock._clock = clock
        turn = seen.fleet.take(FIRST)
        seen.fleet.report(turn, Report(Effect.BACK_OFF, 7.0, overload=True))
        clock.advance(8)
        for _ in range(3):
            seen.fleet.take(FIRST)
        assert seen.fleet.full(FIRST)
        return [told(seen, catalogue.MODEL_READY)]

    assert run(scenario()) == [{(MODEL,): 2}]


def test_a_target_of_two_models_is_told_once() -> None:
    """It stands as it stands."""
    models = {name: {"providers": [{"provider": "a", "model": "m"}]} for name in ("one", "two")}

    def both(seen: Organs) -> Organs:
        return dataclasses.replace(seen, fleet=fleet_of(config({"a": 1}, models=models)))

    assert len(of(catalogue.TARGET_STATE, both)) == 1
    assert of(catalogue.MODEL_TARGETS, both) == {("one",): 1, ("two",): 1}


def test_targets_without_a_price_are_counted() -> None:
    """What they cost is in no sum."""

    def one_known(seen: Organs) -> None:
        seen.prices.renew({FIRST.label: Price(Rates(1.0, 1.0))})

    assert of(catalogue.UNPRICED) == {(): 2}
    assert of(catalogue.UNPRICED, one_known) == {(): 1}


def test_limits_are_told_by_whose_they_are() -> None:
    """What they have said, and what is left."""

    def limited(seen: Organs) -> None:
        now = seen.clock.monotonic()
        seen.allowances.note(Kind.CLIENT, "dev", Decision(True, requests=Room(10, 5, 30.0, 60.0)), now)
        seen.allowances.note(Kind.CLIENT, "dev", Decision(False, Dimension.REQUESTS, never_fits=True), now)
        seen.allowances.note(Kind.MODEL, MODEL, Decision(True, tokens=Room(10, 5, 30.0, 120.0)), now)

    assert of(catalogue.LIMIT_DECISIONS, limited) == {
        ("client", "dev", "admitted"): 1,
        ("client", "dev", "requests"): 1,
        ("model", MODEL, "admitted"): 1,
    }
    assert of(catalogue.LIMIT_REMAINING, limited) == {
        ("client", "dev", "requests"): 0.5,
        ("model", MODEL, "tokens"): 0.75,
    }
    assert of(catalogue.LIMITED_ALONE) == of(catalogue.LIMIT_ERRORS) == {(): 0}


def test_queues_are_told_by_model() -> None:
    """Empty ones as well; what a client addresses directly is no label."""

    async def waiting(seen: Organs) -> None:
        for target in (FIRST, SECOND):
            turn = seen.fleet.take(target)
            seen.fleet.report(turn, Report(Effect.BACK_OFF, 1.0))
            seen.fleet.end(turn)
        draw = random.Random(1)
        places = [Place(name, "dev", lambda: 1) for name in (MODEL, MODEL, "b/made-up")]
        plans = [Plan(seen.fleet.snapshot.models[MODEL], draw) for _ in places]
        tasks = Tasks()
        for place, plan in zip(places, plans, strict=True):
            tasks.spawn(seen.waiting.turn(place, plan, 5.0), "waiter")
        await asyncio.sleep(0)
        depths.update(told(seen, catalogue.QUEUE_DEPTH))
        await tasks.close()

    depths: dict[tuple[str, ...], float] = {}
    of(catalogue.QUEUE_DEPTH, waiting)
    assert depths == {(MODEL,): 2, ("other",): 1}
    assert of(catalogue.QUEUE_DEPTH) == {(MODEL,): 0, ("other",): 0}


def test_links_are_told_by_what_they_are_for() -> None:
    """One that never came up is open, and this replica decides alone."""

    def linked(seen: Organs) -> Organs:
        link = Link(parse("redis://nowhere.test"), clock=seen.clock, tasks=Tasks(), draw=random.Random(1))
        link.counters.calls, link.counters.batches, link.counters.connects = 5, 3, 1
        link.counters.errors[Reason.TIMEOUT] += 2
        return dataclasses.replace(seen, links={"shared": link})

    one = ("shared",)
    assert of(catalogue.REDIS_CALLS, linked) == {one: 5}
    assert of(catalogue.REDIS_BATCHES, linked) == {one: 3}
    assert of(catalogue.REDIS_CONNECTS, linked) == {one: 1}
    assert of(catalogue.REDIS_ERRORS, linked) == {("shared", "timeout"): 2}
    assert of(catalogue.REDIS_BREAKER, linked) == {one: 2}
    assert of(catalogue.REDIS_AWAY, linked) == {one: 1}
    assert of(catalogue.REDIS_CALLS) == {}
