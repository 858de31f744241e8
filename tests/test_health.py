import random
from collections.abc import Mapping

import msgspec
import pytest
from fakes.configs import config, target, targets_of

from proxy.circuit import Cause, Change, Kind, Record, Rules
from proxy.health import READY, UNTOUCHED, Effect, Health, Report, Standing, lessons, names

NOW = 1_800_000_000_000
SOON, LATER = NOW + 1_000, NOW + 2_000
TARGET = target()
OWN, ORIGIN, KEY = names(TARGET)
DRAW = random.Random(1)
TOKENS = {OWN: "1", ORIGIN: "2", KEY: "3"}
HALF = Record(open_until=NOW, cause=Cause.CONSECUTIVE)
OPEN = Record(open_until=SOON, cause=Cause.CONSECUTIVE)


WHOSE = {"own": OWN, "origin": ORIGIN, "key": KEY}


def standing(**records: Record) -> Standing:
    """How the target stands when these are known of it: `own`, `origin`, `key`."""
    return Health(records={WHOSE[what]: record for what, record in records.items()}).standing(TARGET, NOW)


def test_a_target_is_held_against_three_names() -> None:
    """Itself, its origin and its key: two keys of one provider share the origin, two models also the key."""
    first, second = targets_of(config({"a": 2}))
    model = targets_of(config({"a": 1}, entries={"a": {"model": "other"}}))[0]
    assert names(TARGET) == (TARGET.id, "http://a.test", TARGET.key_id)
    assert [a == b for a, b in zip(names(first), names(second), strict=True)] == [False, True, False]
    assert [a == b for a, b in zip(names(first), names(model), strict=True)] == [False, True, True]
    assert set(names(first)).isdisjoint(names(target("b")))


def test_nothing_known_is_ready() -> None:
    """Nothing at all, nothing of this target, or nothing but what is only counted."""
    assert Health().standing(TARGET, NOW) is READY
    assert Health(records={"other": OPEN}).standing(TARGET, NOW) is READY
    assert standing(own=Record(failures=4, ok_at=NOW, back_offs=2, back_off_until=NOW)) == READY
    assert (READY.until, READY.backing_off, READY.trial, READY.probed_until) == (0, False, (), 0)
    assert (READY.share, READY.rate) == (1.0, False)


@pytest.mark.parametrize("what", ["own", "origin", "key"])
def test_any_open_circuit_keeps_a_target_away(what: str) -> None:
    """Whether it is its own, its origin's or its key's, until it is half open."""
    assert standing(**{what: OPEN}) == Standing(until=SOON)
    assert standing(**{what: HALF}) == Standing(trial=(WHOSE[what],))


@pytest.mark.parametrize("what", ["own", "origin", "key"])
def test_refused_credentials_are_known_while_they_keep_it_away(what: str) -> None:
    """When it may be probed again, nobody knows whether they still are."""
    for until, cause, refused in (
        (SOON, Cause.REFUSED, True),
        (NOW, Cause.REFUSED, False),
        (SOON, Cause.CONSECUTIVE, False),
    ):
        record = Record(open_until=until, cause=cause)
        assert Health(records={WHOSE[what]: record}).standing(TARGET, NOW).refused is refused
    assert Health().standing(TARGET, NOW).refused is False


def test_who_was_refused_is_known_by_what_keeps_it_away_longest() -> None:
    """Of a key that is refused and an origin that fails the later end counts."""
    refused = Record(open_until=LATER, cause=Cause.REFUSED)
    assert standing(key=refused) == Standing(until=LATER, refused=True)
    assert standing(key=refused, origin=OPEN) == Standing(until=LATER, refused=True)
    soon = Record(open_until=SOON, cause=Cause.REFUSED)
    assert standing(key=soon, origin=Record(open_until=LATER)) == Standing(until=LATER)
    assert standing(key=Record(open_until=NOW, cause=Cause.REFUSED)).refused is False
    for records in ({KEY: refused, ORIGIN: OPEN}, {KEY: soon, ORIGIN: Record(open_until=LATER)}):
        found = Health(records=records)
        assert found.standing(TARGET, NOW).refused is (records[KEY] is refused)


def test_the_last_of_several_deadlines_counts() -> None:
    """Of circuits as of windows; it is backing off where a window is what ends last."""
    window, long_window = Record(back_off_until=SOON), Record(back_off_until=LATER)
    assert standing(own=OPEN, key=Record(open_until=LATER)).until == LATER
    assert standing(own=window) == Standing(until=SOON, backing_off=True)
    assert standing(own=window, origin=Record(open_until=LATER)) == Standing(until=LATER)
    assert standing(own=long_window, origin=OPEN) == Standing(until=LATER, backing_off=True)
    both = Record(open_until=SOON, back_off_until=SOON)
    assert standing(own=both) == Standing(until=SOON, backing_off=True)


def test_all_that_is_half_open_is_tried_at_once() -> None:
    """One request is the probe of all of it; a lease that holds says how long to leave it alone."""
    probed = Record(open_until=NOW, probe="x", probe_until=SOON)
    lapsed = Record(open_until=NOW, probe="x", probe_until=NOW)
    assert standing(own=HALF, origin=HALF, key=HALF).trial == (OWN, ORIGIN, KEY)
    assert standing(own=probed, key=lapsed) == Standing(trial=(OWN, KEY), probed_until=SOON)
    assert standing(own=lapsed).probed_until == 0
    assert standing(own=HALF, key=OPEN) == Standing(until=SOON, trial=(OWN,))


@pytest.mark.parametrize(
    ("since", "share"),
    [(-5_000, 0.1), (0, 0.1), (15_000, 0.55), (29_999, 0.99997), (30_000, 1.0), (60_000, 1.0)],
)
def test_a_slow_start(since: int, share: float) -> None:
    """A tenth at first, all of it after 30 s, evenly in between; also where the clock was set back."""
    found = standing(own=Record(closed_at=NOW - since))
    assert found.share == pytest.approx(share)
    assert found == Standing(share=found.share)


def test_the_slowest_start_counts() -> None:
    """A target starts as slowly as the slowest of its names, by the configuration's time."""
    young, old = Record(closed_at=NOW), Record(closed_at=NOW - 15_000)
    assert standing(own=old, origin=young).share == 0.1
    assert Health(Rules(slow_start=1), {OWN: old}).standing(TARGET, NOW).share == 1.0
    assert Health(Rules(slow_from=400), {OWN: old}).standing(TARGET, NOW).share == 0.7


@pytest.mark.parametrize(
    ("record", "tripped"), [(OPEN, True), (HALF, True), (Record(failures=4, back_off_until=SOON), False)]
)
def test_whether_anything_is_tripped(record: Record, tripped: bool) -> None:
    """Any circuit that is not closed, whosever it is."""
    assert not Health().tripped
    assert Health(records={"calm": Record(closed_at=NOW), "other": record}).tripped is tripped


RATE = Record(open_until=SOON, cause=Cause.RATE)
RATE_HALF = Record(open_until=NOW, cause=Cause.RATE)


@pytest.mark.parametrize(
    ("records", "rate"),
    [
        ({"own": RATE}, True),
        ({"own": RATE_HALF}, True),
        ({"own": RATE, "key": Record(failures=2)}, True),
        ({"own": RATE, "origin": OPEN}, False),
        ({"own": RATE, "origin": HALF}, False),
        ({"own": RATE, "key": Record(open_until=SOON, cause=Cause.REFUSED)}, False),
        ({"own": RATE, "key": Record(back_off_until=SOON)}, False),
        ({"own": Record(closed_at=NOW)}, False),
    ],
)
def test_when_only_a_rate_keeps_a_target_away(records: Mapping[str, Record], rate: bool) -> None:
    """Where nothing else is in the way: only then may it be tried all the same."""
    assert standing(**records).rate is rate


def test_what_was_reset_since() -> None:
    """Each name has epochs of its own: that of another one, or an earlier one, says nothing of it."""
    nobody, some = Health(), Health(records={OWN: Record(reset_at=5), KEY: Record(reset_at=7)})
    assert (nobody.epochs(TARGET), some.epochs(TARGET)) == (UNTOUCHED, (5, 0, 7))
    assert nobody.begun_anew(TARGET, UNTOUCHED) == ()
    assert nobody.begun_anew(TARGET, (5, 0, 7)) == []
    assert some.begun_anew(TARGET, (5, 0, 7)) == ()
    assert some.begun_anew(TARGET, (9, 9, 6)) == [KEY]
    assert some.begun_anew(TARGET, UNTOUCHED) == [OWN, KEY]


def taught(report: Report, tokens: Mapping[str, str] | None = None) -> list[tuple[Kind, str, str]]:
    """What an attempt teaches: kinds, names and tokens."""
    found = lessons(TARGET, report, tokens or {}, DRAW)
    return [(one.kind, one.name, one.token) for one in found]


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (Report(Effect.SUCCESS), [(Kind.OK, OWN), (Kind.OK, ORIGIN), (Kind.OK, KEY)]),
        (Report(Effect.SUCCESS, hint=3), [(Kind.OK, OWN), (Kind.OK, ORIGIN), (Kind.OK, KEY)]),
        (Report(Effect.SUCCESS, late=True), [(Kind.OK, OWN)]),
        (Report(Effect.NEUTRAL), []),
        (Report(Effect.NEUTRAL, reached=True), [(Kind.OK, ORIGIN)]),
        (Report(Effect.FAILURE), [(Kind.OK, ORIGIN), (Kind.FAIL, OWN)]),
        (Report(Effect.FAILURE, hint=3), [(Kind.OK, ORIGIN), (Kind.FAIL, OWN), (Kind.BACK_OFF, OWN)]),
        (Report(Effect.FAILURE, way=True), [(Kind.FAIL, ORIGIN)]),
        (Report(Effect.BACK_OFF), [(Kind.OK, ORIGIN), (Kind.OK, KEY), (Kind.BACK_OFF, OWN)]),
        (Report(Effect.BACK_OFF, hint=3), [(Kind.OK, ORIGIN), (Kind.OK, KEY), (Kind.BACK_OFF, OWN)]),
        (Report(Effect.QUARANTINE_KEY), [(Kind.OK, ORIGIN), (Kind.REFUSE, KEY)]),
        (
            Report(Effect.QUARANTINE_KEY, hint=3),
            [(Kind.OK, ORIGIN), (Kind.REFUSE, KEY), (Kind.BACK_OFF, OWN)],
        ),
        (Report(Effect.QUARANTINE_MODEL), [(Kind.OK, ORIGIN), (Kind.REFUSE, OWN)]),
        (
            Report(Effect.QUARANTINE_MODEL, hint=3),
            [(Kind.OK, ORIGIN), (Kind.REFUSE, OWN), (Kind.BACK_OFF, OWN)],
        ),
    ],
)
def test_what_an_attempt_teaches(report: Report, expected: list[tuple[Kind, str]]) -> None:
    """Any answer says that the way is open; a fault on the way says nothing of what is behind it."""
    assert taught(report) == [(kind, name, "") for kind, name in expected]


@pytest.mark.parametrize(
    ("report", "verdicts"),
    [
        (Report(Effect.SUCCESS), {OWN: Kind.OK, ORIGIN: Kind.OK, KEY: Kind.OK}),
        (Report(Effect.NEUTRAL), {OWN: Kind.RELEASE, ORIGIN: Kind.RELEASE, KEY: Kind.RELEASE}),
        (Report(Effect.NEUTRAL, reached=True), {OWN: Kind.RELEASE, ORIGIN: Kind.OK, KEY: Kind.RELEASE}),
        (Report(Effect.FAILURE), {OWN: Kind.FAIL, ORIGIN: Kind.OK, KEY: Kind.RELEASE}),
        (Report(Effect.FAILURE, way=True), {OWN: Kind.RELEASE, ORIGIN: Kind.FAIL, KEY: Kind.RELEASE}),
        (Report(Effect.BACK_OFF), {OWN: Kind.BACK_OFF, ORIGIN: Kind.OK, KEY: Kind.OK}),
        (Report(Effect.QUARANTINE_KEY), {OWN: Kind.RELEASE, ORIGIN: Kind.OK, KEY: Kind.REFUSE}),
        (Report(Effect.QUARANTINE_MODEL), {OWN: Kind.REFUSE, ORIGIN: Kind.OK, KEY: Kind.RELEASE}),
    ],
)
def test_every_lease_of_a_probe_is_given_back(report: Report, verdicts: Mapping[str, Kind]) -> None:
    """However it ends: by a verdict on the name, or without one; and a hint besides takes none away."""
    for hint in (None, 3.0):
        told = taught(msgspec.structs.replace(report, hint=hint), TOKENS)
        with_token = {name: (kind, token) for kind, name, token in told if token}
        assert with_token == {name: (kind, TOKENS[name]) for name, kind in verdicts.items()}
    only_own = taught(report, {OWN: "1"})
    assert [(kind, name) for kind, name, token in only_own if token] == [(verdicts[OWN], OWN)]


def test_faults_carry_what_they_are_judged_by() -> None:
    """Whether the request had failed elsewhere, and a tenth more or less by lot."""
    for way, name in ((False, OWN), (True, ORIGIN)):
        report = Report(Effect.FAILURE, way=way, repeat=True)
        found = [
            one for _ in range(300) for one in lessons(TARGET, report, {}, DRAW) if one.kind is Kind.FAIL
        ]
        assert {(one.name, one.repeat) for one in found} == {(name, True)}
        assert 900 <= min(one.jitter for one in found) < 920
        assert 1080 < max(one.jitter for one in found) <= 1100
    assert not any(one.repeat for one in lessons(TARGET, Report(Effect.FAILURE), {}, DRAW))


@pytest.mark.parametrize("effect", [Effect.SUCCESS, Effect.FAILURE])
def test_what_is_said_of_the_end_of_a_stream_is_marked(effect: Effect) -> None:
    """Its first content was told as a success before."""
    (own,) = [one for one in lessons(TARGET, Report(effect, late=True), {}, DRAW) if one.name == OWN]
    assert own.late
    assert not any(one.late for one in lessons(TARGET, Report(effect), {}, DRAW))


@pytest.mark.parametrize(("hint", "ms"), [(None, 0), (2.5, 2_500), (0.0004, 0), (0.0006, 1), (-1.0, 0)])
def test_a_hint_is_told_in_milliseconds(hint: float | None, ms: int) -> None:
    """And half of an exponential wait is drawn, for where there is none."""
    found: list[Change] = []
    for _ in range(300):
        found += [
            one
            for one in lessons(TARGET, Report(Effect.BACK_OFF, hint=hint), {}, DRAW)
            if one.kind is Kind.BACK_OFF
        ]
    assert {one.hint for one in found} == {ms}
    assert 500 <= min(one.jitter for one in found) < 520
    assert 980 < max(one.jitter for one in found) <= 1000
