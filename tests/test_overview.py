import random

import msgspec
import pytest
from fakes.configs import MODEL, config, targets_of

from proxy import fleet
from proxy.circuit import Kind
from proxy.clock import ManualClock
from proxy.fleet import Fleet
from proxy.health import Effect, Report
from proxy.health import Standing as Health
from proxy.overview import Trouble, overview
from proxy.routing import Plan
from proxy.targets import Target
from proxy.tenants import Tenants

CONFIG = config({"a": 1, "b": 1})
FIRST, SECOND = targets_of(CONFIG)


def made(clock: ManualClock) -> Fleet:
    """A fleet in which everything is healthy."""
    return Fleet(fleet.snapshot(CONFIG, Tenants(CONFIG.clients, b"pepper"), 7), clock, random.Random(1))


def fail(replica: Fleet, effect: Effect, hint: float | None = None, times: int = 1) -> None:
    """So many attempts on the first target that end so."""
    for _ in range(times):
        turn = replica.take(FIRST)
        replica.report(turn, Report(effect, hint, overload=effect is Effect.BACK_OFF))
        replica.end(turn)


def test_healthy_targets_are_ready() -> None:
    """Every target of every model is there, and nothing is said of what nothing is remembered of."""
    replica = made(ManualClock())
    replica.take(SECOND)
    told = msgspec.to_builtins(overview(replica))
    assert told == [
        {"model": "small", "target": FIRST.id, "ready": True},
        {"model": "small", "target": SECOND.id, "ready": True, "in_flight": 1},
    ]


def test_a_back_off_window_is_told_from_now() -> None:
    """Seconds are those that are left; a target with too much to do shows its limit."""
    clock = ManualClock()
    replica = made(clock)
    fail(replica, Effect.BACK_OFF, 7.0)
    clock.advance(2)
    first, second = overview(replica)
    assert (first.ready, first.wait, first.limit) == (False, 5.0, 4)
    (known,) = first.known
    assert (known.name, known.state, known.back_off_for) == (FIRST.id, "closed", 5.0)
    assert (second.ready, second.known) == (True, ())


def test_an_open_circuit_and_its_way_back() -> None:
    """Open with what is left of it, half open when that is over, and the share of a slow start."""
    clock = ManualClock()
    replica = made(clock)
    fail(replica, Effect.FAILURE, times=5)
    (known,) = overview(replica)[0].known
    assert (known.state, known.cause, known.ejections) == ("open", "consecutive", 1)
    assert known.open_for is not None
    assert 4.0 < known.open_for < 6.0
    clock.advance(6)
    told = overview(replica)[0]
    assert (told.ready, told.wait, told.known[0].state) == (False, None, "half_open")
    turn = replica.pick(Plan(replica.snapshot.models[MODEL], random.Random(1)))
    assert turn is not None
    assert overview(replica)[0].known[0].probe.startswith("replica.")
    replica.report(turn, Report(Effect.SUCCESS))
    replica.end(turn)
    told = overview(replica)[0]
    assert (told.ready, told.share, told.known[0].state) == (True, 0.1, "closed")


def test_what_operators_want_to_know_at_a_glance() -> None:
    """The worst of what is known of a target, what its answers take, and what went wrong there."""
    clock = ManualClock()
    replica = made(clock)
    turn = replica.take(FIRST)
    replica.report(turn, Report(Effect.SUCCESS, answered=0.25))
    replica.end(turn)
    fail(replica, Effect.FAILURE, times=5)
    fail(replica, Effect.BACK_OFF, 7.0)
    replica.blunders.note(FIRST.id, "status_500", replica.now())
    clock.advance(1)
    replica.blunders.note(FIRST.id, "reset", replica.now(), "lost")
    first, second = overview(replica)
    assert (first.state, first.back_off_for, first.ejections) == ("open", 6.0, 1)
    assert first.first_content is not None
    assert (first.first_content < 0.25, first.whole) == (True, None)
    assert first.troubles == (Trouble("reset", 1, 0.0, "lost"), Trouble("status_500", 1, 1.0))
    assert (second.state, second.back_off_for, second.ejections, second.troubles) == ("closed", None, 0, ())


def test_a_drained_target_has_no_time() -> None:
    """It comes back when an operator says so; a reset target is ready at once, though its key may not be."""
    replica = made(ManualClock())
    fail(replica, Effect.FAILURE, times=5)
    replica.order(FIRST, Kind.DRAIN)
    told = overview(replica)[0]
    assert (told.ready, told.busy, told.drained, told.wait, told.state) == (False, False, True, None, "open")
    replica.order(FIRST, Kind.RESET)
    assert (overview(replica)[0].ready, overview(replica)[0].state) == (False, "closed")
    replica.order(FIRST, Kind.RESTORE)
    assert (overview(replica)[0].ready, overview(replica)[0].drained) == (True, False)


def test_a_target_with_enough_to_do_is_well() -> None:
    """It is not tried now, and nothing is the matter with it; nor with one whose key has no free place."""
    clock = ManualClock()
    replica = made(clock)
    fail(replica, Effect.BACK_OFF, 7.0)
    assert (overview(replica)[0].ready, overview(replica)[0].busy) == (False, False)
    clock.advance(8)
    turns = [replica.take(FIRST) for _ in range(4)]
    assert (overview(replica)[0].ready, overview(replica)[0].busy) == (False, True)
    replica.end(turns.pop())
    assert (overview(replica)[0].ready, overview(replica)[0].busy) == (True, False)


def test_a_key_without_a_free_place_is_well() -> None:
    """Until its circuit opens, which is another matter."""
    limited = config(
        {"a": {"base_url": "http://a.test/v1", "api_keys": [{"key": "a1", "limits": {"concurrency": 1}}]}}
    )
    replica = Fleet(
        fleet.snapshot(limited, Tenants(limited.clients, b"pepper"), 7), ManualClock(), random.Random(1)
    )
    (target,) = targets_of(limited)
    first, second = replica.take(target), replica.take(target)
    replica.admitted(first)
    replica.crowded(target)
    replica.end(second)
    replica.crowded(target)
    assert (overview(replica)[0].ready, overview(replica)[0].busy) == (False, True)
    for _ in range(5):
        replica.report(first, Report(Effect.FAILURE))
    assert (overview(replica)[0].ready, overview(replica)[0].busy) == (False, False)


@pytest.mark.parametrize(("most", "ready"), [(0.0, True), (0.5, False)])
def test_a_failure_rate_keeps_no_more_away_than_the_configuration_says(most: float, ready: bool) -> None:
    """Whoever stays in use is ready, as it is for requests."""
    bounded = config({"a": 1, "b": 1}, health={"max_ejected": most})
    replica = Fleet(
        fleet.snapshot(bounded, Tenants(bounded.clients, b"pepper"), 7), ManualClock(), random.Random(1)
    )
    for _ in range(15):
        turn = replica.take(FIRST)
        replica.report(turn, Report(Effect.SUCCESS, answered=0.1))
        replica.report(turn, Report(Effect.FAILURE))
        replica.end(turn)
    assert [told.ready for told in overview(replica)] == [ready, True]


class Counted(Fleet):
    """Counts how often it is asked how a target stands."""

    asked = 0

    def standing(self, target: Target) -> Health:
        """As the fleet says."""
        self.asked += 1
        return super().standing(target)


def test_the_cost_grows_with_the_targets_and_not_with_their_square() -> None:
    """Who is spared is asked once for a model."""

    def cost(count: int) -> int:
        made = config({"a": count})
        replica = Counted(
            fleet.snapshot(made, Tenants(made.clients, b"pepper"), 7), ManualClock(), random.Random(1)
        )
        for target in targets_of(made)[:9]:
            replica.order(target, Kind.DRAIN)
        assert sum(not standing.ready for standing in overview(replica)) == 9
        return replica.asked

    assert cost(200) == 10 * cost(20)
