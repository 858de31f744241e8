"""Tests of `proxy.fleet`: turns, what they teach and where that goes, and what the cluster decided."""

import asyncio
import dataclasses
import math
import random

import msgspec
import pytest
from fakes.configs import CLIENT_KEY, MODEL, config
from fakes.virtual_loop import LoopClock, run

from proxy import fleet, latency
from proxy.circuit import Cause, Change, Kind, Record, Rules, State
from proxy.clock import Clock, ManualClock
from proxy.config.settings import Config
from proxy.fleet import ENTRIES, TEND, Fleet, Turn
from proxy.health import DRAINED, Effect, Report
from proxy.places import YIELDING
from proxy.probes import GRACE
from proxy.routing import Plan
from proxy.targets import Target, models
from proxy.tenants import Tenants

CONFIG = config({"a": 2})
ONE = models(CONFIG)[MODEL]
FIRST, SECOND = ONE.targets
NOW = 1_800_000_000_000
"""Where a `ManualClock` begins, in the cluster's milliseconds."""

RULES = Rules()
FAILED = Report(Effect.FAILURE)
FINE = Report(Effect.SUCCESS)
OPEN = Record(open_until=NOW + 5_000, ejections=1, cause=Cause.CONSECUTIVE, version=7)
WAITING = Record(back_off_until=NOW + 5_000, version=7)
PAST = Record(open_until=NOW - 1, ejections=1, cause=Cause.CONSECUTIVE, version=7)


def made(clock: Clock | None = None, settings: Config = CONFIG) -> Fleet:
    """A fleet in which everything is healthy, and nobody carries what it learns."""
    tenants = Tenants(settings.clients, b"pepper")
    view = fleet.snapshot(settings, tenants, 7)
    return Fleet(view, clock or ManualClock(), random.Random(1), "me")


def shared(clock: Clock | None = None) -> Fleet:
    """A fleet whose outbox somebody carries."""
    replica = made(clock)
    replica.outbox.on_urgent(lambda: None)
    replica.outbox.open = True
    return replica


def teach(replica: Fleet, *reports: Report, target: Target = FIRST) -> None:
    """Attempts at a target that ended so."""
    for report in reports:
        turn = replica.take(target)
        replica.report(turn, report)
        replica.end(turn)


def plan(*targets: Target) -> Plan:
    """A plan over both targets, or over these alone."""
    return Plan(dataclasses.replace(ONE, targets=targets or ONE.targets), random.Random(2))


def known(replica: Fleet, target: Target = FIRST) -> Record | None:
    """What is remembered of a target itself."""
    return replica.health.records.get(target.id)


def kinds(replica: Fleet) -> list[tuple[Kind, str]]:
    """What waits in the outbox, which is empty then."""
    return [(change.kind, change.name) for change in replica.outbox.take()]


# The snapshot.


def test_a_snapshot_holds_everything() -> None:
    """Configuration, tenants and models are one view, healthy at first."""
    view = made().snapshot
    assert (view.config, view.created, set(view.models)) == (CONFIG, 7, {"small"})
    assert view.tenants.of(CLIENT_KEY.encode()) is not None
    assert view.health.records == {}
    assert view.health.rules == RULES


def test_a_report_swaps_the_snapshot() -> None:
    """A request keeps the view it began with; the health of the moment moves on."""
    replica = made()
    before = replica.snapshot
    teach(replica, FINE)
    assert replica.snapshot is before
    teach(replica, Report(Effect.BACK_OFF, 9.0))
    assert before.health.records == {}
    assert replica.standing(FIRST).until == NOW + 9_000
    assert replica.standing(SECOND).until == 0


def test_requests_in_flight_are_counted() -> None:
    """Each turn needs its end; what is idle is not kept."""
    replica = made()
    turns = [replica.take(FIRST), replica.take(FIRST), replica.take(SECOND)]
    replica.end(turns[0])
    assert replica.in_flight == {FIRST.id: 1, SECOND.id: 1}
    replica.end(turns[1])
    replica.end(turns[2])
    assert replica.in_flight == {}


def test_a_turn_knows_its_target_and_its_beginning() -> None:
    """And of what it is the probe: of nothing, mostly."""
    clock = ManualClock()
    replica = made(clock)
    clock.advance(3)
    turn = replica.pick(plan())
    assert turn is not None
    assert turn.target in (FIRST, SECOND)
    assert (turn.began, turn.probe) == (clock.monotonic(), {})


def test_with_nobody_to_pick_nothing_is_taken() -> None:
    """The plan is used up, or everybody is out."""
    replica = made()
    steps = plan()
    assert [replica.pick(steps) is None for _ in range(3)] == [False, False, True]
    teach(replica, Report(Effect.BACK_OFF, 9.0))
    teach(replica, Report(Effect.BACK_OFF, 9.0), target=SECOND)
    busy = dict(replica.in_flight)
    assert replica.pick(plan()) is None
    assert replica.in_flight == busy


def test_calm_is_when_nothing_is_known_against_anybody() -> None:
    """Neither a record nor a limit of the throttle."""
    replica = made()
    calm = [replica.calm]
    for report in (FINE, FAILED):
        teach(replica, report)
        calm.append(replica.calm)
    assert calm == [True, True, False]
    replica = made()
    teach(replica, Report(Effect.NEUTRAL, overload=True))
    assert (replica.health.records, replica.calm) == ({}, False)


def test_a_sign_of_overload_limits_what_is_in_flight() -> None:
    """Nine tenths of what was there are full; successes that make use of it let more in."""
    replica = made()
    turns = [replica.take(FIRST) for _ in range(20)]
    assert not replica.full(FIRST)
    replica.report(turns[0], Report(Effect.NEUTRAL, overload=True))
    assert replica.throttle.limit(FIRST.id) == 18
    assert replica.full(FIRST)
    assert not replica.full(SECOND)
    replica.end(turns[0])
    replica.end(turns[1])
    assert replica.full(FIRST)
    replica.report(turns[2], FINE)
    replica.end(turns[2])
    assert replica.throttle.limit(FIRST.id) == 19
    assert not replica.full(FIRST)


def test_what_was_sent_before_a_cut_cuts_no_more() -> None:
    """One overload is one cut, by when the turns began."""
    clock = ManualClock()
    replica = made(clock)
    turns = [replica.take(FIRST) for _ in range(20)]
    clock.advance(1)
    for turn in turns[:5]:
        replica.report(turn, Report(Effect.NEUTRAL, overload=True))
    assert replica.throttle.limit(FIRST.id) == 18
    clock.advance(1)
    teach(replica, Report(Effect.NEUTRAL, overload=True))
    assert replica.throttle.limit(FIRST.id) == 16


def test_latencies_are_kept_by_target_and_sort_of_reply() -> None:
    """What took no time to first content has none; streams and whole replies do not mix."""
    replica = made()
    teach(replica, Report(Effect.SUCCESS, answered=2.0), Report(Effect.SUCCESS, answered=9.0, whole=True))
    teach(replica, FINE, target=SECOND)
    assert (replica.latency(FIRST, whole=False), replica.latency(FIRST, whole=True)) == (2.0, 9.0)
    assert replica.latency(SECOND, whole=False) == 0.0
    assert replica.tell_loads()[1] == {FIRST.id: 2.0, latency.key(FIRST.id, whole=True): 9.0}


def test_loads_of_others_are_heard() -> None:
    """Requests in flight there count like those here, for the target's weight; what is old is replaced."""
    replica = made()
    assert FIRST.weight == 0.5
    replica.take(FIRST)
    replica.hear_loads({FIRST.id: 1}, {FIRST.id: 3}, {FIRST.id: (4.0, 2)})
    assert (replica.load(FIRST), replica.load(SECOND)) == (8.0, 0.0)
    assert replica.latency(FIRST, whole=False) == 2.0
    assert not replica.full(FIRST)
    replica.hear_loads({FIRST.id: 1}, {SECOND.id: 1}, {})
    assert (replica.load(FIRST), replica.load(SECOND)) == (2.0, 2.0)
    assert replica.latency(FIRST, whole=False) == 0.0


def test_the_others_will_have_done_as_this_one_since() -> None:
    """By what it had itself at the moment of which it hears; there are at least its own."""
    view = fleet.snapshot(CONFIG, Tenants(CONFIG.clients, b"pepper"), 7)
    replica = Fleet(view, ManualClock(), random.Random(1), "me", lambda: 4)
    turns = [replica.take(FIRST) for _ in range(3)]
    replica.hear_loads({FIRST.id: 2}, {FIRST.id: 7}, {})
    assert replica.load(FIRST) * FIRST.weight == 3 + 7 + 3
    for turn in turns[:2]:
        replica.end(turn)
    assert replica.load(FIRST) * FIRST.weight == 1 + 7 - 3
    replica.hear_loads({FIRST.id: 9}, {FIRST.id: 7}, {})
    assert replica.load(FIRST) * FIRST.weight == 1


def test_latencies_of_others_have_fallen_since_they_were_told() -> None:
    """They are as old as the sum that they are in."""
    replica = made()
    replica.hear_loads({}, {}, {FIRST.id: (4.0, 2)}, latency.DECAY)
    assert replica.latency(FIRST, whole=False) == pytest.approx(2.0 / math.e)


# Keys with so many places.


NARROW = config({"a": {"base_url": "http://a.test/v1", "api_keys": ["a1"], "limits": {"concurrency": 1}}})


def test_a_key_without_a_free_place_is_left_alone_for_a_moment() -> None:
    """That is a limit and no fault: nothing is remembered against anybody."""
    clock = ManualClock()
    replica = made(clock, NARROW)
    (narrow,) = replica.snapshot.models[MODEL].targets
    holding, refused = replica.take(narrow), replica.take(narrow)
    assert [turn.asking for turn in (holding, refused)] == [False, False]
    replica.end(refused)
    replica.crowded(narrow)
    standing = replica.standing(narrow)
    assert standing.backing_off
    assert 0 < standing.until - replica.now() <= YIELDING
    assert (replica.calm, replica.health.records, replica.full(narrow)) == (False, {}, False)


def test_one_request_asks_whether_a_place_is_free() -> None:
    """The others wait for its answer; whether it was let in or not, they are told."""
    clock = ManualClock()
    replica = made(clock, NARROW)
    (narrow,) = replica.snapshot.models[MODEL].targets
    replica.end(replica.take(narrow))
    replica.crowded(narrow)
    heard: list[int] = []
    replica.on_change(lambda: heard.append(1))
    for admitted in (True, False):
        clock.advance(YIELDING / 1000)
        assert replica.standing(narrow).until <= replica.now()
        asking = replica.take(narrow)
        assert asking.asking
        assert replica.standing(narrow).until > replica.now()
        heard.clear()
        if admitted:
            replica.admitted(asking)
        else:
            replica.end(asking)
        assert heard == [1]
        clock.advance(YIELDING / 1000)
        assert replica.standing(narrow).until <= replica.now()


# What is learned, where nobody carries it.


def test_what_is_learned_is_decided_here() -> None:
    """Without Redis the twin of the script decides; there is nobody to tell it to later."""
    replica = made()
    teach(replica, *[FAILED] * RULES.failures)
    record = known(replica)
    assert record is not None
    assert (record.state(NOW), record.ejections, record.cause) == (State.OPEN, 1, Cause.CONSECUTIVE)
    assert (len(replica.outbox), replica.dirty) == (0, set())


def test_what_is_over_is_forgotten() -> None:
    """A record in which nothing matters any more goes with the next change of it."""
    clock = ManualClock()
    replica = made(clock)
    teach(replica, FAILED)
    assert known(replica) is not None
    clock.advance(RULES.window / 1000 + 1)
    teach(replica, FINE)
    assert replica.health.records == {}


def test_a_success_is_told_only_of_what_is_remembered() -> None:
    """Of a name that nothing stands against there is nothing to mend."""
    replica = made()
    teach(replica, FAILED)
    teach(replica, FINE, target=SECOND)
    assert set(replica.health.records) == {FIRST.id}
    teach(replica, FINE)
    record = known(replica)
    assert record is not None
    assert (record.failures, record.ok_at) == (0, NOW)


@pytest.mark.parametrize(("ago", "counted"), [(None, 1), (5.0, 0), (11.0, 1)])
def test_a_failure_tells_how_long_ago_a_success_was(ago: float | None, counted: int) -> None:
    """One that a request met elsewhere before counts unless others succeed here at the moment."""
    clock = ManualClock()
    replica = made(clock)
    if ago is not None:
        teach(replica, FINE)
        clock.advance(ago)
    teach(replica, Report(Effect.FAILURE, repeat=True))
    record = known(replica)
    assert (record.failures if record else 0) == counted


def test_successes_remembered_are_bounded() -> None:
    """Whoever makes names up makes no room of them."""
    replica = made()
    for number in range(ENTRIES + 5):
        teach(replica, FINE, target=dataclasses.replace(FIRST, id=f"made up {number}"))
    assert len(replica._succeeded) <= ENTRIES


def test_records_are_bounded() -> None:
    """What is over goes first, then what came first."""
    replica = made()
    waiting = {f"a {number}": WAITING for number in range(ENTRIES - 10)}
    over = {f"b {number}": PAST for number in range(11)}
    replica.adopt(over | waiting, 7)
    assert len(replica.health.records) == ENTRIES // 2
    assert set(replica.health.records) < set(waiting)
    assert f"a {ENTRIES - 11}" in replica.health.records


# What is learned, where somebody carries it.


def test_what_somebody_carries_is_not_decided_here() -> None:
    """Failures and successes wait in the outbox for the cluster's decision."""
    replica = shared()
    teach(replica, *[FAILED] * RULES.failures)
    assert known(replica) is None
    assert kinds(replica) == [(Kind.FAIL, FIRST.id)] * RULES.failures


@pytest.mark.parametrize(
    ("report", "name", "until"),
    [
        (Report(Effect.BACK_OFF, 9.0), FIRST.id, 9_000),
        (Report(Effect.FAILURE, 9.0), FIRST.id, 9_000),
        (Report(Effect.QUARANTINE_KEY), FIRST.key_id, RULES.quarantine),
        (Report(Effect.QUARANTINE_MODEL), FIRST.id, RULES.quarantine),
    ],
)
def test_what_keeps_a_target_away_holds_at_once(report: Report, name: str, until: int) -> None:
    """A window and a refusal, before the cluster has heard of it; it is told all the same, and not twice."""
    replica = shared()
    teach(replica, report)
    assert replica.standing(FIRST).until == NOW + until
    assert set(replica.health.records) == {name}
    assert replica.health.records[name].failures == 0
    told = replica.outbox.take()
    assert name in {change.name for change in told if change.kind in (Kind.BACK_OFF, Kind.REFUSE)}
    assert replica.dirty == set()


def test_a_success_of_what_is_remembered_is_told() -> None:
    """Of the target, its origin and its key, as far as something stands against them."""
    replica = shared()
    replica.adopt({FIRST.id: Record(failures=2, version=1), FIRST.origin: Record(failures=1, version=1)}, 1)
    teach(replica, FINE)
    assert kinds(replica) == [(Kind.OK, FIRST.id), (Kind.OK, FIRST.origin)]
    assert known(replica) == Record(failures=2, version=1)


def test_what_is_decided_without_the_cluster_is_told_later() -> None:
    """While its carrier cannot reach it: decided here, and marked."""
    replica = shared()
    replica.outbox.open = False
    teach(replica, *[FAILED] * RULES.failures)
    record = known(replica)
    assert record is not None
    assert record.state(NOW) is State.OPEN
    assert replica.dirty == {FIRST.id}
    assert len(replica.outbox) == 0
    replica.decide([])
    assert replica.dirty == {FIRST.id}


# What the cluster decided.


def test_adopting_follows_the_versions() -> None:
    """A record replaces one that is older or as old; one that is gone goes if it was no newer."""
    replica = shared()
    replica.adopt({FIRST.id: OPEN}, 7)
    assert known(replica) == OPEN
    older = msgspec.structs.replace(OPEN, ejections=9, version=6)
    replica.adopt({FIRST.id: older}, 6)
    replica.adopt({FIRST.id: None, SECOND.id: None}, 6)
    assert known(replica) == OPEN
    newer = msgspec.structs.replace(OPEN, ejections=2, version=7)
    replica.adopt({FIRST.id: newer}, 7)
    assert known(replica) == newer
    replica.adopt({FIRST.id: None}, 7)
    assert replica.health.records == {}


def test_a_window_known_here_never_shrinks() -> None:
    """What was learned here and is on its way counts although the cluster has not heard of it yet."""
    replica = shared()
    teach(replica, Report(Effect.BACK_OFF, 9.0))
    replica.adopt({FIRST.id: msgspec.structs.replace(OPEN, back_off_until=NOW + 2_000)}, 7)
    record = known(replica)
    assert record is not None
    assert (record.back_off_until, record.open_until) == (NOW + 9_000, OPEN.open_until)
    replica.adopt({FIRST.id: msgspec.structs.replace(WAITING, back_off_until=NOW + 20_000, version=8)}, 8)
    assert known(replica) == msgspec.structs.replace(WAITING, back_off_until=NOW + 20_000, version=8)


def test_all_is_what_the_cluster_knows() -> None:
    """What it does not know any more is forgotten, if it does not keep anybody away."""
    replica = shared()
    replica.adopt({FIRST.id: PAST, SECOND.id: Record(failures=3, version=6)}, 7)
    replica.adopt_all({SECOND.origin: OPEN}, 8, lost=False)
    assert replica.health.records == {SECOND.origin: OPEN}
    assert replica.dirty == set()


def test_what_came_by_message_meanwhile_stays() -> None:
    """It is newer than what is read all at once."""
    replica = shared()
    newer = msgspec.structs.replace(OPEN, version=9)
    over = msgspec.structs.replace(PAST, version=9)
    replica.adopt({FIRST.id: newer, SECOND.id: over}, 9)
    replica.adopt_all({FIRST.id: OPEN}, 8, lost=False)
    assert replica.health.records == {FIRST.id: newer, SECOND.id: over}
    assert replica.dirty == set()


def test_what_was_not_told_yet_stays_and_will_be() -> None:
    """A window learned here that the cluster does not know of."""
    replica = shared()
    teach(replica, Report(Effect.BACK_OFF, 9.0))
    replica.adopt_all({}, 8, lost=False)
    assert deadlines(replica) == {FIRST.id: (0, NOW + 9_000)}
    assert replica.dirty == {FIRST.id}


def deadlines(replica: Fleet) -> dict[str, tuple[int, int]]:
    """Until when each name is kept away: its circuit, its window."""
    known = replica.health.records.items()
    return {name: (record.open_until, record.back_off_until) for name, record in known}


def test_what_the_cluster_has_lost_is_told_again() -> None:
    """As long as it still keeps somebody away; the rest is as the cluster says."""
    replica = shared()
    replica.adopt({FIRST.id: OPEN, SECOND.id: PAST, FIRST.key_id: WAITING, SECOND.key_id: WAITING}, 7)
    told = Record(failures=1, version=2)
    replica.adopt_all({FIRST.key_id: told, SECOND.origin: told}, 2, lost=True)
    until = OPEN.open_until
    assert deadlines(replica) == {
        FIRST.id: (until, 0),
        FIRST.key_id: (0, until),
        SECOND.key_id: (0, until),
        SECOND.origin: (0, 0),
    }
    assert replica.health.records[SECOND.origin] == told
    assert replica.dirty == {FIRST.id, FIRST.key_id, SECOND.key_id}


def test_a_deadline_that_the_cluster_has_lost_is_not_brought_forward() -> None:
    """A circuit that it says is open for less long: it has not heard of what was said before."""
    replica = shared()
    replica.adopt({FIRST.id: OPEN}, 7)
    replica.adopt({FIRST.id: msgspec.structs.replace(OPEN, open_until=NOW + 1_000, version=8)}, 8)
    assert deadlines(replica) == {FIRST.id: (OPEN.open_until, 0)}
    assert replica.dirty == {FIRST.id}
    replica.adopt({SECOND.id: OPEN}, 7)
    replica.adopt({SECOND.id: Record(closed_at=NOW, ejections=1, version=8)}, 8)
    assert deadlines(replica)[SECOND.id] == (0, 0)


def test_a_refusal_holds_until_the_cluster_has_heard_of_it() -> None:
    """What comes from it meanwhile cannot know; what comes afterwards does."""
    replica = shared()
    teach(replica, Report(Effect.QUARANTINE_KEY))
    (*_, refusal) = replica.outbox.take()
    until = NOW + RULES.quarantine
    replica.adopt({FIRST.key_id: Record(failures=1, version=2)}, 2)
    assert deadlines(replica) == {FIRST.key_id: (until, 0)}
    replica.answered([refusal])
    replica.adopt({FIRST.key_id: Record(closed_at=NOW, ejections=1, version=3)}, 3)
    assert deadlines(replica) == {FIRST.key_id: (0, 0)}


def test_merges_are_what_was_decided_without_the_cluster() -> None:
    """Told once, in the order of their names; until that is answered it holds here."""
    replica = shared()
    replica.outbox.open = False
    teach(replica, *[FAILED] * RULES.failures, target=SECOND)
    teach(replica, Report(Effect.BACK_OFF, 9.0))
    before = dict(replica.health.records)
    merges = replica.merges()
    assert [(change.kind, change.name, change.record) for change in merges] == [
        (Kind.MERGE, name, before[name]) for name in sorted((FIRST.id, SECOND.id))
    ]
    assert (replica.dirty, replica.merges()) == (set(), [])
    replica.adopt({SECOND.id: Record(failures=1, version=2)}, 2)
    assert deadlines(replica)[SECOND.id] == (before[SECOND.id].open_until, 0)
    replica.answered(merges)
    replica.adopt({SECOND.id: Record(failures=1, version=3)}, 3)
    assert deadlines(replica)[SECOND.id] == (0, 0)


def test_a_lost_record_that_is_over_is_the_clusters() -> None:
    """A version from before the loss is no reason to believe it."""
    replica = shared()
    replica.adopt({FIRST.id: PAST}, 7)
    told = Record(failures=1, version=2)
    replica.adopt_all({FIRST.id: told}, 2, lost=True)
    assert replica.health.records == {FIRST.id: told}
    assert replica.dirty == set()


# Orders.


def order(replica: Fleet, kind: Kind, version: int = 0) -> None:
    """An operator's, and the answer of the cluster where it has one of that version."""
    replica.order(FIRST, kind)
    if version:
        changes = replica.outbox.take()
        assert [(one.kind, one.name, one.epoch) for one in changes] == [(kind, FIRST.id, NOW)]
        record = msgspec.structs.replace(replica.health.records[FIRST.id], version=version)
        replica.adopt({FIRST.id: record}, version)
        replica.answered(changes)


def test_a_drained_target_is_not_picked_until_it_is_restored() -> None:
    """It holds here at once; what is in flight goes on, and counts."""
    replica = shared()
    turn = replica.take(FIRST)
    order(replica, Kind.DRAIN, 8)
    assert replica.standing(FIRST) is DRAINED
    picked = [replica.pick(plan()), replica.pick(plan(FIRST))]
    assert [one and one.target for one in picked] == [SECOND, None]
    replica.report(turn, Report(Effect.BACK_OFF, 9.0))
    replica.end(turn)
    assert known(replica) == Record(back_offs=1, back_off_until=NOW + 9_000, drained_at=NOW, version=8)
    order(replica, Kind.RESTORE)
    assert (replica.standing(FIRST).until, replica.standing(FIRST).backing_off) == (NOW + 9_000, True)
    assert replica.dirty == set()


def test_a_drained_target_is_not_probed() -> None:
    """Nobody asks for the lease, and a grant from before is given up."""
    clock = ManualClock()
    replica = made(clock)
    half_open(replica, clock)
    asked = Plan(dataclasses.replace(ONE, targets=(FIRST,)), random.Random(2))
    replica._tell(replica._probes.ask(replica.standing(FIRST).trial))
    assert replica.granted(FIRST)
    order(replica, Kind.DRAIN)
    assert (replica.granted(FIRST), replica.pick(asked)) == (False, None)
    clock.advance(GRACE / 1000)
    replica.tend()
    record = known(replica)
    assert record is not None
    assert (record.probe, record.drained) == ("", True)


def test_a_reset_forgets_what_is_held_against_a_target() -> None:
    """Its circuit, its window, how it was held back here; on every replica that hears of it."""
    replica, other = shared(), made()
    for each in (replica, other):
        each.adopt({FIRST.id: msgspec.structs.replace(OPEN, back_off_until=NOW + 90_000)}, 7)
        each.throttle.overloaded(FIRST.id, 9, 0.0, 1.0)
        assert each.throttle.limit(FIRST.id)
    order(replica, Kind.RESET, 8)
    reset = Record(reset_at=NOW, version=8)
    other.adopt({FIRST.id: reset}, 8)
    for each in (replica, other):
        assert known(each) == reset
        assert each.throttle.limit(FIRST.id) is None
        assert each.standing(FIRST).until == 0
        assert each.dirty == set()


def test_what_began_before_a_reset_teaches_nothing_of_the_target() -> None:
    """Of its origin and its key it does."""
    replica = made()
    before = [replica.take(FIRST) for _ in range(6)]
    order(replica, Kind.RESET)
    for turn in before[:5]:
        replica.report(turn, Report(Effect.FAILURE, overload=True))
    assert known(replica) == Record(reset_at=NOW)
    assert replica.throttle.limit(FIRST.id) is None
    replica.report(before[5], Report(Effect.QUARANTINE_KEY))
    assert replica.standing(FIRST).until == NOW + RULES.quarantine


SHARES = {"key": FIRST.key_id, "origin": FIRST.origin}
BLAMED = {"key": Report(Effect.QUARANTINE_KEY), "origin": Report(Effect.FAILURE, way=True)}
OFTEN = RULES.failures


@pytest.mark.parametrize("what", SHARES)
def test_a_reset_of_what_targets_share(what: str) -> None:
    """A key or an origin is forgotten for all of its targets, on every replica; the targets' own is not."""
    name, replica, other = SHARES[what], shared(), made()
    sibling = dataclasses.replace(FIRST, id="a/other")
    for each in (replica, other):
        each.adopt({name: OPEN, FIRST.id: WAITING}, 7)
        assert each.standing(sibling).until
    replica.reset(name)
    (change,) = changes = replica.outbox.take()
    assert change == Change(Kind.RESET, name, epoch=NOW)
    other.adopt({name: Record(reset_at=NOW, version=8)}, 8)
    for each in (replica, other):
        assert (each.standing(sibling).until, each.standing(FIRST).until) == (0, WAITING.back_off_until)
    replica.adopt({name: Record(open_until=NOW + 9_000, version=9)}, 9)
    assert replica.health.records[name].open_until == 0
    replica.answered(changes)


@pytest.mark.parametrize("what", SHARES)
def test_what_began_before_a_reset_teaches_nothing_of_what_was_reset(what: str) -> None:
    """Whichever target it went to; what begins later does."""
    name, replica = SHARES[what], made()
    before = [replica.take(FIRST) for _ in range(OFTEN + 1)]
    replica.reset(name)
    for turn in before[:OFTEN]:
        replica.report(turn, BLAMED[what])
    assert replica.health.records[name] == Record(reset_at=NOW)
    replica.report(before[OFTEN], Report(Effect.BACK_OFF, 9.0))
    assert replica.standing(FIRST).until == NOW + 9_000
    teach(replica, *[BLAMED[what]] * OFTEN)
    assert replica.health.records[name].open_until > NOW


@pytest.mark.parametrize("what", SHARES)
def test_a_reset_without_the_cluster_is_told_later(what: str) -> None:
    """It holds meanwhile, and nothing from before undoes it."""
    name, alone = SHARES[what], made()
    alone.outbox.on_urgent(lambda: None)
    alone.adopt({name: OPEN}, 7)
    alone.reset(name)
    assert alone.dirty == {name}
    alone.adopt_all({name: OPEN}, 7, lost=False)
    assert alone.standing(FIRST).until == 0
    assert alone.merges() == [Change(Kind.MERGE, name, record=Record(reset_at=NOW, version=7))]


def test_what_is_told_says_of_which_epoch_it_is() -> None:
    """So that the cluster may know better."""
    replica = shared()
    replica.adopt({FIRST.id: Record(reset_at=NOW - 5, version=7)}, 7)
    teach(replica, Report(Effect.BACK_OFF, 9.0))
    told = {change.kind: change.epoch for change in replica.outbox.take() if change.name == FIRST.id}
    assert told == {Kind.BACK_OFF: NOW - 5}


def test_an_order_that_the_cluster_does_not_know_is_told_again() -> None:
    """It was given without it, or lost by it: in either case it holds, and nothing from before undoes it."""
    alone = made()
    alone.outbox.on_urgent(lambda: None)
    alone.adopt({FIRST.id: OPEN}, 7)
    order(alone, Kind.RESET)
    order(alone, Kind.DRAIN)
    assert alone.dirty == {FIRST.id}
    alone.adopt_all({FIRST.id: OPEN}, 7, lost=False)
    record = Record(drained_at=NOW, reset_at=NOW, version=7)
    assert alone.merges() == [Change(Kind.MERGE, FIRST.id, record=record)]
    loses = made()
    loses.adopt({FIRST.id: Record(restored_at=NOW - 9, reset_at=NOW - 9, version=7)}, 7)
    loses.adopt_all({FIRST.id: msgspec.structs.replace(OPEN, version=6)}, 6, lost=True)
    assert loses.dirty == {FIRST.id}
    assert loses.standing(FIRST).until == 0
    loses.adopt_all({}, 0, lost=True)
    assert known(loses) == Record(restored_at=NOW - 9, reset_at=NOW - 9)


def test_an_order_whose_answer_is_lost_is_not_given_twice() -> None:
    """Another one may have come since."""
    replica = shared()
    order(replica, Kind.DRAIN)
    changes = replica.outbox.take()
    replica.adopt({FIRST.id: Record(drained_at=NOW, restored_at=NOW + 1, version=9)}, 9)
    replica.outbox.open = False
    replica.decide(changes)
    assert not replica.standing(FIRST).drained
    assert replica.dirty == {FIRST.id}


# Probes.


def half_open(replica: Fleet, clock: ManualClock, target: Target = FIRST) -> None:
    """Let a target be ejected, and that be over."""
    teach(replica, *[FAILED] * RULES.failures, target=target)
    clock.advance(RULES.ejection / 1000 * 1.2)


def probing() -> tuple[Fleet, ManualClock, Turn]:
    """A probe on its way."""
    clock = ManualClock()
    replica = made(clock)
    half_open(replica, clock)
    turn = replica.pick(plan(FIRST))
    assert turn is not None
    return replica, clock, turn


def test_one_probe_at_a_time() -> None:
    """Where nobody else decides, it is granted in the same pick; then the others stay away."""
    replica, _, turn = probing()
    assert set(turn.probe) == {FIRST.id}
    assert replica.pick(plan(FIRST)) is None
    assert [replica.pick(plan()) is not None for _ in range(3)] == [True, True, True]
    assert replica.in_flight == {FIRST.id: 1, SECOND.id: 3}


def test_a_probes_success_closes_the_circuit() -> None:
    """All may come again, slowly at first; who is not the probe cannot do that."""
    replica, _, turn = probing()
    teach(replica, FINE)
    assert replica.standing(FIRST).trial
    replica.report(turn, FINE)
    replica.end(turn)
    assert (replica.standing(FIRST).trial, replica.standing(FIRST).share) == ((), 0.1)
    assert turn.probe == {}
    assert replica.pick(plan(FIRST)) is not None


def test_a_probes_failure_ejects_for_longer() -> None:
    """Twice as long the second time, give or take a tenth."""
    replica, _, turn = probing()
    replica.report(turn, FAILED)
    replica.end(turn)
    record, wait = known(replica), replica.standing(FIRST).until - replica.now()
    assert record is not None
    assert (record.ejections, record.probe) == (2, "")
    assert 2 * RULES.ejection * 0.9 <= wait <= 2 * RULES.ejection * 1.1


def test_a_probe_without_a_verdict_frees_its_place() -> None:
    """Its client has left: the next request is the probe, at once."""
    replica, _, turn = probing()
    replica.end(turn)
    record = known(replica)
    assert record is not None
    assert (record.probe, record.ejections) == ("", 1)
    following = replica.pick(plan(FIRST))
    assert following is not None
    assert following.probe not in ({}, turn.probe)


def test_a_probe_of_two_names_needs_both() -> None:
    """Target and origin are half open: one request tries both, and closes both."""
    clock = ManualClock()
    replica = made(clock)
    way = msgspec.structs.replace(FAILED, way=True)
    teach(replica, *[FAILED] * RULES.failures, *[way] * RULES.failures)
    clock.advance(10)
    turn = replica.pick(plan(FIRST))
    assert turn is not None
    assert set(turn.probe) == {FIRST.id, FIRST.origin}
    assert len(set(turn.probe.values())) == 2
    replica.report(turn, FINE)
    assert replica.standing(FIRST).trial == ()


def test_a_probe_is_asked_of_the_cluster_once() -> None:
    """Until it has answered the target stays away; then the next pick is the probe."""
    replica = shared()
    replica.adopt({FIRST.id: PAST}, 7)
    woken: list[int] = []
    replica.on_change(lambda: woken.append(1))
    assert replica.pick(plan(FIRST)) is None
    assert replica.pick(plan(FIRST)) is None
    (claim,) = replica.outbox.take()
    assert (claim.kind, claim.name, claim.token != "") == (Kind.CLAIM, FIRST.id, True)
    assert not replica.granted(FIRST)
    granted = msgspec.structs.replace(PAST, probe=claim.token, probe_until=NOW + 10_000, version=8)
    replica.adopt({FIRST.id: granted}, 8)
    woken.clear()
    replica.answered([claim])
    assert woken == [1]
    assert replica.granted(FIRST)
    turn = replica.pick(plan(FIRST))
    assert turn is not None
    assert turn.probe == {FIRST.id: claim.token}


def test_a_probe_that_another_was_granted_is_not_ours() -> None:
    """Nothing is woken, and nothing asked, while theirs is on its way."""
    replica = shared()
    replica.adopt({FIRST.id: PAST}, 7)
    assert replica.pick(plan(FIRST)) is None
    claims = replica.outbox.take()
    theirs = msgspec.structs.replace(PAST, probe="other.1", probe_until=NOW + 10_000, version=8)
    replica.adopt({FIRST.id: theirs}, 8)
    woken: list[int] = []
    replica.on_change(lambda: woken.append(1))
    replica.answered(claims)
    assert (woken, replica.granted(FIRST)) == ([], False)
    assert replica.pick(plan(FIRST)) is None
    assert len(replica.outbox) == 0


def test_the_verdict_of_a_probe_is_told_with_its_token() -> None:
    """So that the cluster knows it from a straggler's; a place given up likewise."""
    replica = shared()
    replica.adopt({FIRST.id: PAST}, 7)
    tokens: list[tuple[Kind, bool]] = []
    for _ in range(2):
        replica.pick(plan(FIRST))
        (claim,) = replica.outbox.take()
        record = msgspec.structs.replace(PAST, probe=claim.token, probe_until=NOW + 10_000)
        replica.adopt({FIRST.id: record}, 7)
        replica.answered([claim])
        turn = replica.pick(plan(FIRST))
        assert turn is not None
        if not tokens:
            replica.report(turn, FINE)
        replica.end(turn)
        (told,) = replica.outbox.take()
        tokens.append((told.kind, told.token == claim.token))
        replica.adopt({FIRST.id: PAST}, 7)
    assert tokens == [(Kind.OK, True), (Kind.RELEASE, True)]


def test_a_lease_is_renewed_while_its_probe_is_on_its_way() -> None:
    """A long probe outlives it; when it is over, the next request is the probe."""
    replica, clock, turn = probing()
    for _ in range(6):
        clock.advance(RULES.lease / 4000)
        replica.tend()
    assert replica.pick(plan(FIRST)) is None
    replica.end(turn)
    following = replica.pick(plan())
    assert following is not None
    assert following.target is FIRST


def test_a_granted_probe_that_nobody_uses_lapses() -> None:
    """Within a second: another replica may have a request for it."""
    replica = shared(clock := ManualClock())
    replica.adopt({FIRST.id: PAST}, 7)
    replica.pick(plan(FIRST))
    (claim,) = replica.outbox.take()
    record = msgspec.structs.replace(PAST, probe=claim.token, probe_until=NOW + 10_000)
    replica.adopt({FIRST.id: record}, 7)
    replica.answered([claim])
    clock.advance(GRACE / 1000 - 0.001)
    replica.tend()
    assert replica.granted(FIRST)
    clock.advance(0.001)
    replica.tend()
    assert not replica.granted(FIRST)
    assert replica.outbox.take() == [Change(Kind.RELEASE, FIRST.id, claim.token)]


def test_probes_are_tended_until_the_end() -> None:
    """By the loop, several times a second: a probe of a minute keeps its place."""

    async def scenario() -> None:
        replica = made(LoopClock())
        tending = asyncio.create_task(replica.run())
        teach(replica, *[FAILED] * RULES.failures)
        await asyncio.sleep(6)
        turn = replica.pick(plan(FIRST))
        assert turn is not None
        await asyncio.sleep(60)
        assert replica.pick(plan(FIRST)) is None
        tending.cancel()
        await asyncio.wait([tending])
        await asyncio.sleep(RULES.lease / 1000 + TEND)
        assert replica.pick(plan(FIRST)) is not None

    run(scenario())


# Who is told.


def test_listeners_hear_what_may_let_somebody_be_picked() -> None:
    """A place that gets free, a record that changes; not a report that changes nothing."""
    replica = made()
    heard: list[int] = []
    replica.on_change(lambda: heard.append(1))
    replica.on_change(lambda: heard.append(2))
    turn = replica.take(FIRST)
    replica.report(turn, FINE)
    assert heard == []
    replica.end(turn)
    assert heard == [1, 2]
    replica.adopt({FIRST.id: OPEN}, 7)
    assert heard == [1, 2] * 2
    replica.adopt({FIRST.id: OPEN}, 7)
    replica.adopt_all({FIRST.id: OPEN}, 7, lost=False)
    assert heard == [1, 2] * 2


def test_another_configuration_keeps_what_is_known() -> None:
    """Health, what is in flight and what holds a target back; bounds and models are the new ones."""
    replica = made()
    turn = replica.take(FIRST)
    teach(replica, *[FAILED] * CONFIG.health.failures)
    teach(replica, Report(Effect.BACK_OFF, overload=True), target=SECOND)
    before, changes = replica.snapshot, []
    replica.on_change(lambda: changes.append(1))
    other = config({"a": 2, "b": 1}, health={"failures": 9, "max_ejected": 0.25})
    replica.renew(fleet.snapshot(other, Tenants(other.clients, b"pepper"), 7))
    assert changes
    assert before.config is CONFIG
    assert (replica.snapshot.config, replica.snapshot.models[MODEL].most_ejected) == (other, 0.25)
    assert replica.health.records == before.health.records
    assert replica.health.rules.failures == 9
    assert len(replica.snapshot.models[MODEL].targets) == 3
    assert replica.in_flight == {FIRST.id: 1}
    assert replica.throttle.limit(SECOND.id) is not None
    replica.end(turn)
    assert replica.in_flight == {}


def test_new_bounds_count_from_the_next_report_on() -> None:
    """One failure more is enough where two were not."""
    replica = made()
    teach(replica, FAILED, FAILED)
    other = config({"a": 2}, health={"failures": 3})
    replica.renew(fleet.snapshot(other, Tenants(other.clients, b"pepper"), 7))
    assert replica.standing(FIRST).until == 0
    teach(replica, FAILED)
    assert replica.standing(FIRST).until > NOW
