import random

import pytest
from fakes.configs import config, target, targets_of

from proxy import health as healths
from proxy.health import (
    BACK_OFF_CAP,
    EJECTION_CAP,
    ENTRIES,
    HINT_CAP,
    QUARANTINE,
    TRIP_AFTER,
    Effect,
    Health,
    Report,
    Trouble,
)
from proxy.targets import Target

NOW = 1_000.0
TARGET = target()
DRAW = random.Random(1)
FAILURE = Report(Effect.FAILURE)
SUCCESS = Report(Effect.SUCCESS)


def after(*reports: Report, health: Health | None = None, now: float = NOW) -> Health:
    """Health after these reports, all at one moment."""
    health = health or Health()
    for report in reports:
        health = healths.apply(health, TARGET, report, now, DRAW)
    return health


def ejected() -> Health:
    """Health with the target's circuit open."""
    return after(*[FAILURE] * TRIP_AFTER)


def test_nothing_known_is_healthy() -> None:
    """A target without an entry may be tried, and good news changes nothing, not even the object."""
    empty = Health()
    assert empty.ready_at(TARGET) == 0.0
    assert empty.of(TARGET) == Trouble()
    for report in (SUCCESS, Report(Effect.NEUTRAL), Report(Effect.NEUTRAL, probe=True)):
        assert after(report, health=empty) is empty
    assert healths.claim(empty, TARGET, NOW, 10) is empty


def test_consecutive_failures_open_the_circuit() -> None:
    """Four failures do nothing; the fifth ejects for about five seconds."""
    assert after(*[FAILURE] * (TRIP_AFTER - 1)).ready_at(TARGET) == 0.0
    assert NOW + 4.5 <= ejected().ready_at(TARGET) <= NOW + 5.5


def test_a_success_in_between_starts_the_count_anew() -> None:
    """Only failures in a row count."""
    nearly = [FAILURE] * (TRIP_AFTER - 1)
    assert after(*nearly, SUCCESS, *nearly).ready_at(TARGET) == 0.0
    assert after(*nearly, SUCCESS).records == {}


def test_stragglers_do_not_trip_again() -> None:
    """Failures of requests that were on their way when the circuit opened count as the same trip."""
    health = ejected()
    later = after(FAILURE, FAILURE, health=health, now=NOW + 1)
    assert later.of(TARGET).ejections == 1
    assert later.ready_at(TARGET) == health.ready_at(TARGET)


def test_an_open_circuit_is_not_closed_by_a_straggler() -> None:
    """A success from before the ejection says nothing of now."""
    health = ejected()
    assert after(SUCCESS, health=health, now=NOW + 1) is health


def test_the_probe_decides() -> None:
    """After the ejection one request is the probe: success forgets all, failure ejects for longer."""
    health = ejected()
    then = NOW + 6
    claimed = healths.claim(health, TARGET, then, 62.0)
    assert claimed.ready_at(TARGET) == then + 62.0
    assert healths.claim(claimed, TARGET, then, 62.0) is claimed
    assert after(Report(Effect.SUCCESS, probe=True), health=claimed, now=then + 1) == Health()
    worse = after(Report(Effect.FAILURE, probe=True), health=claimed, now=then + 1)
    assert then + 1 + 9 <= worse.ready_at(TARGET) <= then + 1 + 11


@pytest.mark.parametrize(
    "effect", [Effect.NEUTRAL, Effect.BACK_OFF, Effect.QUARANTINE_KEY, Effect.QUARANTINE_MODEL]
)
def test_a_probe_gives_its_lease_up(effect: Effect) -> None:
    """However it ends: what keeps others away then is what it learned."""
    then = NOW + 6
    claimed = healths.claim(ejected(), TARGET, then, 62.0)
    health = after(Report(effect, probe=True), health=claimed, now=then + 1)
    assert health.of(TARGET).open_until == then + 1
    assert health.of(TARGET).ejections == 1


def test_a_probe_that_finds_no_way_gives_its_lease_up() -> None:
    """A refused connection is against the origin; the target it was to try is half open as before."""
    then = NOW + 6
    claimed = healths.claim(ejected(), TARGET, then, 62.0)
    health = after(Report(Effect.FAILURE, way=True, probe=True), health=claimed, now=then + 1)
    assert health.ready_at(TARGET) == then + 1
    assert (health.of(TARGET).ejections, health.records[TARGET.origin].failures) == (1, 1)


@pytest.mark.parametrize("effect", [Effect.FAILURE, Effect.QUARANTINE_MODEL])
def test_a_hint_is_heeded_whatever_the_fault(effect: Effect) -> None:
    """A provider that says when to come back is not asked before."""
    health = after(Report(effect, 7.5))
    assert health.of(TARGET).back_off_until == NOW + 7.5
    assert health.of(TARGET).back_offs == 0


WAY = Report(Effect.FAILURE, way=True)


def cut_off() -> tuple[Health, Target, Target]:
    """Health in which an origin was not reached so often that it is out, and two targets behind it."""
    one, two = targets_of(config({"a": 2}))
    health = Health()
    for number in range(TRIP_AFTER):
        health = healths.apply(health, (one, two)[number % 2], WAY, NOW, DRAW)
    return health, one, two


def test_faults_on_the_way_count_per_origin() -> None:
    """Whichever key or model they befell, five of them put all of the origin aside, and no other."""
    health, one, two = cut_off()
    model = targets_of(config({"a": 1}, entries={"a": {"model": "other"}}))[0]
    assert set(health.records) == {"http://a.test"}
    assert NOW + 4.5 <= health.ready_at(one) == health.ready_at(two) == health.ready_at(model) <= NOW + 5.5
    assert health.ready_at(target("b")) == 0.0
    assert health.of(one) == Trouble()


def test_one_probe_asks_for_a_whole_origin() -> None:
    """While it is on its way nothing else of the origin is picked; its failure puts all aside for longer."""
    health, one, two = cut_off()
    then = NOW + 6
    claimed = healths.claim(health, one, then, 62.0)
    assert claimed.ready_at(two) == then + 62.0
    worse = healths.apply(claimed, one, Report(Effect.FAILURE, way=True, probe=True), then, DRAW)
    assert then + 9 <= worse.ready_at(two) <= then + 11
    left = healths.apply(claimed, one, Report(Effect.NEUTRAL, probe=True), then + 1, DRAW)
    assert left.ready_at(two) == then + 1


@pytest.mark.parametrize("effect", [Effect.SUCCESS, Effect.FAILURE, Effect.BACK_OFF, Effect.QUARANTINE_MODEL])
def test_any_answer_to_the_probe_opens_the_way(effect: Effect) -> None:
    """Whatever the target said of itself, its origin was reached."""
    health, one, two = cut_off()
    claimed = healths.claim(health, one, NOW + 6, 62.0)
    health = healths.apply(claimed, one, Report(effect, probe=True), NOW + 7, DRAW)
    assert "http://a.test" not in health.records
    assert health.ready_at(two) == 0.0


def test_any_success_opens_the_way() -> None:
    """Also of a request that was on its way before: its answer has just come from there."""
    health, one, two = cut_off()
    assert healths.apply(health, two, SUCCESS, NOW + 1, DRAW) == Health()
    nearly = healths.apply(Health(), one, WAY, NOW, DRAW)
    assert healths.apply(nearly, two, SUCCESS, NOW, DRAW) == Health()


def test_a_probe_without_a_verdict_frees_the_place() -> None:
    """If the probe's client leaves, the next request is the probe."""
    claimed = healths.claim(ejected(), TARGET, NOW + 6, 62.0)
    freed = after(Report(Effect.NEUTRAL, probe=True), health=claimed, now=NOW + 7)
    assert freed.ready_at(TARGET) == NOW + 7
    assert freed.of(TARGET).ejections == 1
    assert healths.release(freed, TARGET, NOW + 8) is freed


def test_ejections_grow_up_to_a_cap() -> None:
    """The n-th ejection in a row lasts n times as long, five minutes and a little at most."""
    health, now = ejected(), NOW
    for _ in range(200):
        now = health.ready_at(TARGET)
        health = healths.claim(health, TARGET, now, 62.0)
        health = after(Report(Effect.FAILURE, probe=True), health=health, now=now)
    assert 0.9 * EJECTION_CAP <= health.ready_at(TARGET) - now <= 1.1 * EJECTION_CAP


@pytest.mark.parametrize(
    ("hint", "low", "high"), [(None, 0.5, 1.0), (7.5, 7.5, 7.5), (9_999.0, HINT_CAP, HINT_CAP)]
)
def test_back_off(hint: float | None, low: float, high: float) -> None:
    """A window is as long as the provider says, within reason, else about a second."""
    health = after(Report(Effect.BACK_OFF, hint))
    assert NOW + low <= health.ready_at(TARGET) <= NOW + high


def test_back_offs_grow_up_to_a_cap() -> None:
    """Without a hint each window doubles, with jitter, up to a minute."""
    health = after(*[Report(Effect.BACK_OFF)] * 50)
    assert NOW + BACK_OFF_CAP / 2 <= health.ready_at(TARGET) <= NOW + BACK_OFF_CAP


def test_a_window_only_grows() -> None:
    """A later, shorter hint does not shorten it; a reply that was on its way neither."""
    health = after(Report(Effect.BACK_OFF, 60.0), Report(Effect.BACK_OFF, 1.0), SUCCESS)
    assert health.ready_at(TARGET) == NOW + 60
    assert after(SUCCESS, health=health, now=NOW + 61) == Health()


def test_a_success_inside_a_window_forgets_failures() -> None:
    """The failures before it no longer count, the window stays."""
    health = after(*[FAILURE] * 4, Report(Effect.BACK_OFF, 60.0), SUCCESS)
    assert health.of(TARGET).failures == 0
    assert health.ready_at(TARGET) == NOW + 60


def test_quarantine_of_a_key() -> None:
    """A refused key is out for all its models; other keys are not; old entries go."""
    first, second = targets_of(config({"a": 2}))
    other_model = targets_of(config({"a": 1}, entries={"a": {"model": "other"}}))[0]
    health = healths.apply(Health(), first, Report(Effect.QUARANTINE_KEY), NOW, DRAW)
    assert health.ready_at(first) == health.ready_at(other_model) == NOW + QUARANTINE
    assert health.ready_at(second) == 0.0
    later = healths.apply(health, second, Report(Effect.QUARANTINE_KEY), NOW + 999, DRAW)
    assert set(later.keys) == {second.key_id}


def test_quarantine_of_a_key_for_a_model() -> None:
    """A key that may not use one model may use the others."""
    other_model = targets_of(config({"a": 1}, entries={"a": {"model": "other"}}))[0]
    health = after(Report(Effect.QUARANTINE_MODEL))
    assert health.ready_at(TARGET) == NOW + QUARANTINE
    assert health.ready_at(other_model) == 0.0


def test_what_is_remembered_is_bounded() -> None:
    """With many entries those that no longer keep anybody waiting are forgotten."""
    many = {f"m{number}": Trouble(failures=1) for number in range(ENTRIES)}
    many["out"] = Trouble(open_until=NOW + 9)
    health = after(FAILURE, health=Health(records=many))
    assert set(health.records) == {"out", TARGET.id}
