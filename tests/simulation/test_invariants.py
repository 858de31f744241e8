"""The watches speak up: what a life must not hold is put before each of them."""

import asyncio
import random
from collections.abc import Callable, Iterable

import msgspec
import pytest
from fakes.virtual_loop import LoopClock, run

from proxy.circuit import NOTHING, Cause, Change, Kind, Record
from proxy.fleet import Fleet
from proxy.health import UNTOUCHED, Effect, Report
from simulation.faults import Weather, plan
from simulation.invariants import Flights, ReplicaWatch, StoreWatch
from simulation.ledger import Ledger
from simulation.settings import CALM, HEALTH, SKEWED, snapshot
from simulation.world import World

NOW = 1_800_000_000_000
SOON = NOW + 1_000
LATER = NOW + 2_000
VIEW = snapshot("least_busy")
TARGET = VIEW.models["even"].targets[0]
NAME = TARGET.id
OPEN = Record(open_until=LATER, ejections=1, cause=Cause.CONSECUTIVE, version=1)
HALF = Record(open_until=NOW - 1, ejections=1, cause=Cause.CONSECUTIVE, version=1)
PROBED = msgspec.structs.replace(HALF, probe="r.1", probe_until=LATER)
WAITS = Record(back_off_until=LATER, version=1)


def said(watched: Callable[[Ledger], None]) -> list[str]:
    """What is broken after `watched` has run, in the calm."""

    async def scenario() -> list[str]:
        ledger = Ledger()
        await asyncio.sleep(CALM + SKEWED)
        watched(ledger)
        return ledger.broken

    return run(scenario())


def change(kind: Kind, token: str = "") -> Change:
    """Something happens."""
    return Change(kind, NAME, token)


@pytest.mark.parametrize(
    ("what", "before", "after"),
    [
        (change(Kind.BACK_OFF), WAITS, msgspec.structs.replace(WAITS, back_off_until=SOON)),
        (change(Kind.MERGE), OPEN, msgspec.structs.replace(OPEN, open_until=SOON)),
        (change(Kind.OK), HALF, NOTHING),
        (change(Kind.OK, "r.2"), PROBED, NOTHING),
        (change(Kind.FAIL, "r.1"), PROBED, NOTHING),
        (change(Kind.RENEW, "r.1"), HALF, PROBED),
        (change(Kind.CLAIM, "r.1"), OPEN, msgspec.structs.replace(PROBED, open_until=LATER)),
        (change(Kind.RELEASE, "r.2"), PROBED, HALF),
    ],
)
def test_a_record_changes_only_so(what: Change, before: Record, after: Record) -> None:
    """No deadline comes sooner and no lease goes to another, but by the verdict of its holder."""
    assert said(lambda ledger: StoreWatch(ledger).applied(what, before, after, NOW))


@pytest.mark.parametrize(
    ("what", "before", "after"),
    [
        (change(Kind.BACK_OFF), WAITS, msgspec.structs.replace(WAITS, back_off_until=LATER + 1)),
        (change(Kind.OK, "r.1"), PROBED, NOTHING),
        (change(Kind.CLAIM, "r.1"), HALF, PROBED),
        (change(Kind.RELEASE, "r.1"), PROBED, HALF),
        (change(Kind.REFUSE), PROBED, OPEN),
    ],
)
def test_a_record_may_change_so(what: Change, before: Record, after: Record) -> None:
    """And nothing is said."""
    assert said(lambda ledger: StoreWatch(ledger).applied(what, before, after, NOW)) == []


def test_a_lease_is_held_by_one() -> None:
    """Until it has lapsed."""

    def watched(ledger: Ledger, then: int) -> None:
        watch = StoreWatch(ledger)
        watch.applied(change(Kind.CLAIM, "r.1"), HALF, PROBED, NOW)
        other = msgspec.structs.replace(PROBED, probe="s.1")
        watch.applied(change(Kind.CLAIM, "s.1"), PROBED, other, then)

    assert said(lambda ledger: watched(ledger, LATER - 1))
    assert said(lambda ledger: watched(ledger, LATER)) == []


def test_what_counts_is_not_forgotten_and_versions_grow() -> None:
    """In the store."""
    assert said(lambda ledger: StoreWatch(ledger).forgotten(NAME, WAITS, 2, NOW))
    assert said(lambda ledger: StoreWatch(ledger).forgotten(NAME, HALF, 2, NOW))
    assert said(lambda ledger: StoreWatch(ledger).versioned(3, 3))

    def watched(ledger: Ledger) -> None:
        watch = StoreWatch(ledger)
        watch.versioned(1, 5)
        watch.versioned(4, 6)

    assert said(watched)


def replica(ledger: Ledger) -> tuple[Fleet, ReplicaWatch]:
    """A fleet that is watched."""
    fleet = Fleet(VIEW, LoopClock(), random.Random(1), "r")
    return fleet, ReplicaWatch(ledger, StoreWatch(ledger), fleet, VIEW.health.rules)


@pytest.mark.parametrize(
    "learn",
    [
        lambda watch: watch.heard({NAME: Record(back_off_until=NOW + 60_000, version=1)}),
        lambda watch: watch.heard({NAME: msgspec.structs.replace(OPEN, open_until=NOW + 60_000)}),
        lambda watch: watch.heard({TARGET.key_id: msgspec.structs.replace(OPEN, open_until=NOW + 60_000)}),
        lambda watch: watch.refused(TARGET, 2.0, UNTOUCHED),
        lambda watch: watch.refused(TARGET, None, UNTOUCHED),
        lambda watch: watch.heard({NAME: Record(drained_at=NOW, version=1)}),
        lambda watch: watch.denied(TARGET, UNTOUCHED),
    ],
)
def test_nobody_calls_who_is_known_to_be_away(learn: Callable[[ReplicaWatch], None]) -> None:
    """Whoever has said so: the provider, a message, or an answer of the store."""

    async def scenario() -> list[str]:
        ledger = Ledger()
        await asyncio.sleep(CALM + 0.1)
        _, watch = replica(ledger)
        watch.calls(TARGET)
        assert ledger.broken == []
        learn(watch)
        await asyncio.sleep(HEALTH["back_off"] / 4)
        watch.calls(TARGET)
        return ledger.broken

    assert run(scenario())


@pytest.mark.parametrize(
    "worse", [{}, {NAME: msgspec.structs.replace(OPEN, open_until=NOW + 59_000, version=2)}]
)
def test_nobody_forgets_what_counts(worse: dict[str, Record]) -> None:
    """What a replica knows."""

    def watched(ledger: Ledger) -> None:
        fleet, _ = replica(ledger)
        fleet._swap(
            {NAME: msgspec.structs.replace(OPEN, open_until=NOW + 60_000, back_off_until=NOW + 60_000)}
        )
        assert ledger.broken == []
        fleet._swap(worse)

    assert len(said(watched)) == 2


class Half:
    """A store in which one target is half open."""

    records = {NAME: HALF}  # noqa: RUF012  (nobody changes it)

    def now(self) -> int:
        """The time."""
        return NOW


def test_one_probe_is_on_its_way() -> None:
    """Of all replicas; the next may follow it."""

    def watched(ledger: Ledger, *, over: bool) -> None:
        nobody: Iterable[Fleet] = ()
        flights = Flights(ledger, Half(), lambda: nobody)
        first = flights.begin("r", TARGET)
        if over:
            flights.end(first)
        flights.begin("s", TARGET)

    assert said(lambda ledger: watched(ledger, over=False))
    assert said(lambda ledger: watched(ledger, over=True)) == []


def test_a_world_in_which_something_is_left_is_not_well() -> None:
    """A request in flight, an open circuit, a replica that knows another thing than the store."""

    async def scenario() -> list[str]:
        world = World(plan(0))
        world._weather = Weather()
        world._born_at(0)
        await asyncio.sleep(3.0)
        world._rest()
        assert world.ledger.broken == []
        fleet = world.replicas[0].fleet
        turn = fleet.take(TARGET)
        fleet.report(turn, Report(Effect.QUARANTINE_KEY))
        await asyncio.sleep(1.0)
        world.store.records[NAME] = WAITS
        world._rest()
        await world.replicas[0].close()
        return world.ledger.broken

    told = "\n".join(run(scenario()))
    for what in ("in flight", "is not well", "is not back", "the store has"):
        assert what in told


ENDED = Record(drained_at=NOW, restored_at=NOW, reset_at=NOW, version=2)


@pytest.mark.parametrize(
    ("what", "before", "after"),
    [
        (change(Kind.RESET), ENDED, msgspec.structs.replace(ENDED, reset_at=NOW - 1)),
        (change(Kind.MERGE), ENDED, msgspec.structs.replace(ENDED, restored_at=0)),
        (change(Kind.MERGE), ENDED, msgspec.structs.replace(ENDED, drained_at=0)),
        (change(Kind.FAIL), ENDED, msgspec.structs.replace(ENDED, reset_at=NOW + 1)),
        (change(Kind.FAIL), ENDED, msgspec.structs.replace(ENDED, open_until=LATER)),
        (
            change(Kind.CLAIM, "r.1"),
            msgspec.structs.replace(HALF, drained_at=NOW),
            msgspec.structs.replace(PROBED, drained_at=NOW),
        ),
    ],
)
def test_nothing_undoes_an_order(what: Change, before: Record, after: Record) -> None:
    """Nor is anything heard that is from before a reset, nor is anybody probed who is drained."""
    assert said(lambda ledger: StoreWatch(ledger).applied(what, before, after, NOW))


def test_orders_are_remembered() -> None:
    """By the store and by replicas, longer than a life lasts; a reset alone may bring a deadline forward."""
    assert said(lambda ledger: StoreWatch(ledger).forgotten(NAME, ENDED, 2, NOW))
    reset = msgspec.structs.replace(WAITS, back_off_until=0, reset_at=NOW)
    assert said(lambda ledger: StoreWatch(ledger).applied(change(Kind.RESET), WAITS, reset, NOW)) == []

    def heard(after: dict[str, Record]) -> list[str]:
        def watched(ledger: Ledger) -> None:
            fleet, _ = replica(ledger)
            fleet._swap({NAME: msgspec.structs.replace(OPEN, open_until=NOW + 60_000, reset_at=NOW - 9)})
            fleet._swap(after)

        return said(watched)

    assert any("an order" in one for one in heard({}))
    undone = msgspec.structs.replace(OPEN, open_until=NOW + 60_000)
    assert any("an order" in one for one in heard({NAME: undone}))
    assert heard({NAME: ENDED}) == []


def test_a_replica_is_not_held_to_what_it_heard_before_a_reset() -> None:
    """Whether an operator told it or the cluster; nor to an answer to what it had asked before."""

    async def scenario() -> list[str]:
        ledger = Ledger()
        await asyncio.sleep(CALM + 0.1)
        fleet, watch = replica(ledger)
        watch.heard({NAME: msgspec.structs.replace(OPEN, open_until=NOW + 60_000)})
        watch.heard({NAME: Record(back_off_until=NOW + 60_000, version=2)})
        fleet.order(TARGET, Kind.RESET)
        watch.ordered(NAME)
        watch.refused(TARGET, 2.0, UNTOUCHED)
        watch.heard({NAME: Record(back_off_until=NOW + 60_000, version=3)})
        await asyncio.sleep(0.1)
        assert watch.calls(TARGET) == (fleet.health.records[NAME].reset_at, 0, 0)
        return ledger.broken

    assert run(scenario()) == []


def test_a_replica_is_not_held_to_what_it_heard_of_a_key_before_a_reset() -> None:
    """The provider had not accepted it, before or after; what was asked later counts."""

    async def scenario() -> tuple[list[str], list[str]]:
        ledger = Ledger()
        await asyncio.sleep(CALM + 0.1)
        fleet, watch = replica(ledger)
        watch.denied(TARGET, UNTOUCHED)
        watch.heard({TARGET.key_id: msgspec.structs.replace(OPEN, open_until=NOW + 60_000)})
        fleet.reset(TARGET.key_id)
        watch.ordered(TARGET.key_id)
        watch.denied(TARGET, UNTOUCHED)
        epochs = watch.calls(TARGET)
        before = list(ledger.broken)
        watch.denied(TARGET, epochs)
        watch.calls(TARGET)
        return before, ledger.broken

    before, after = run(scenario())
    assert before == []
    assert len(after) == 1
