import random

from fakes.configs import CLIENT_KEY, config, targets_of

from proxy import fleet
from proxy.clock import ManualClock
from proxy.fleet import Fleet
from proxy.health import TRIP_AFTER, Effect, Report
from proxy.tenants import Tenants

CONFIG = config({"a": 2})
FIRST, SECOND = targets_of(CONFIG)


def made(clock: ManualClock) -> Fleet:
    """A fleet in which everything is healthy."""
    tenants = Tenants(CONFIG.clients, b"pepper")
    return Fleet(fleet.snapshot(CONFIG, tenants, 7), clock, random.Random(1))


def test_a_snapshot_holds_everything() -> None:
    """Configuration, tenants and models are one view, healthy at first."""
    view = made(ManualClock()).snapshot
    assert (view.config, view.created, set(view.models)) == (CONFIG, 7, {"small"})
    assert view.tenants.of(CLIENT_KEY.encode()) is not None
    assert view.health.ready_at(FIRST) == 0.0


def test_requests_in_flight_are_counted() -> None:
    """Each begin needs its end; what is idle is not kept."""
    replica = made(ManualClock())
    replica.begin(FIRST)
    replica.begin(FIRST)
    replica.begin(SECOND)
    replica.end(FIRST)
    assert replica.in_flight == {FIRST.id: 1, SECOND.id: 1}
    replica.end(FIRST)
    replica.end(SECOND)
    assert replica.in_flight == {}


def test_a_report_swaps_the_snapshot() -> None:
    """A request keeps the view it began with; the health of the moment moves on."""
    replica = made(ManualClock())
    before = replica.snapshot
    replica.report(FIRST, Report(Effect.SUCCESS))
    assert replica.snapshot is before
    replica.report(FIRST, Report(Effect.BACK_OFF, 9.0))
    assert before.health.ready_at(FIRST) == 0.0
    assert replica.health.ready_at(FIRST) == 1_009.0


def test_one_probe_at_a_time() -> None:
    """Of the requests after an ejection the first is the probe, and the others stay away."""
    clock = ManualClock()
    replica = made(clock)
    for _ in range(TRIP_AFTER):
        assert not replica.begin(FIRST)
        replica.report(FIRST, Report(Effect.FAILURE))
    clock.advance(10)
    assert replica.begin(FIRST)
    assert replica.health.ready_at(FIRST) == clock.monotonic() + FIRST.timeouts.first_token + 2
    assert not replica.begin(FIRST)
