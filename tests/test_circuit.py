"""Circuits and windows as transcripts of a life, and the bounds they promise for any life."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import pytest
from fakes.published import told
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import circuit
from proxy.circuit import NOTHING, TRANSITIONS, Cause, Change, Kind, Record, Rules, State, apply, idle

BEGIN = 1_800_000_000_000
"""Second 0 of every transcript."""

RULES = Rules()
CLOSED, OPEN, HALF_OPEN = State.CLOSED, State.OPEN, State.HALF_OPEN
CONSECUTIVE, RATE, REFUSED = Cause.CONSECUTIVE, Cause.RATE, Cause.REFUSED


def ms(seconds: float) -> int:
    """A moment of a transcript on the cluster's clock."""
    return BEGIN + round(seconds * 1000)


def change(kind: Kind, token: str = "", *, hint: int = 0, jitter: int = 1000, count: int = 1) -> Change:
    """Something that happens to the one name there is here."""
    return Change(kind, "t", token, count=count, hint=hint, jitter=jitter)


def again(age: int = -1) -> Change:
    """A failure of a request that had failed elsewhere before."""
    return Change(Kind.FAIL, "t", repeat=True, age=age)


def merge(**told: int) -> Change:
    """What a replica found out without Redis. Moments in seconds, `ejections` and `back_offs` counts."""
    counts = ("ejections", "back_offs")
    known = {name: value if name in counts else ms(value) for name, value in told.items()}
    cause = {"cause": CONSECUTIVE} if "open_until" in told else {}
    return Change(Kind.MERGE, "t", record=msgspec.convert(known | cause, Record))


OK, FAIL, REFUSE, BACK_OFF = map(change, (Kind.OK, Kind.FAIL, Kind.REFUSE, Kind.BACK_OFF))
CLAIM, RENEW, RELEASE = (change(kind, "mine") for kind in (Kind.CLAIM, Kind.RENEW, Kind.RELEASE))
DRAIN, RESTORE, RESET = (Change(kind, "t", epoch=1) for kind in (Kind.DRAIN, Kind.RESTORE, Kind.RESET))
PROBE_OK, PROBE_FAIL = change(Kind.OK, "mine"), change(Kind.FAIL, "mine")


class Row(NamedTuple):
    """One moment of a circuit: what happens at `at` seconds, and what is the case then.

    `until` is when it is open to, in seconds, 0 where it is closed; `n` counts ejections.
    """

    at: float
    change: Change
    state: State
    until: float
    n: int = 0


Life = Sequence[tuple[float, Change | None]]
"""Changes and moments; where it is about a transition, that is the last of them."""

TRIPPED: Life = [(0, FAIL)] * 5
RATED: Sequence[tuple[float, Change]] = [(0, OK), (0, FAIL)] * 10


class Name:
    """What is remembered of one name, which is told what happens."""

    def __init__(self, rules: Rules = RULES) -> None:
        self.rules = rules
        self.record = NOTHING

    def tell(self, at: float, *changes: Change) -> Record:
        """Tell it at `at` seconds."""
        for one in changes:
            self.record = apply(self.record, one, self.rules, ms(at))
        return self.record

    def live(self, life: Sequence[Row]) -> Record:
        """Go through `life`, row by row."""
        for row in life:
            found = self.tell(row.at, row.change)
            until = (found.open_until - BEGIN) / 1000 if found.open_until else 0
            assert (found.state(ms(row.at)), until, found.ejections) == row[2:], row
        return self.record


def lived(*steps: tuple[float, Change], rules: Rules = RULES) -> Record:
    """The record after these."""
    name = Name(rules)
    for at, one in steps:
        name.tell(at, one)
    return name.record


def test_the_bounds_are_those_promised() -> None:
    """5 in a row, or half of 20 within 10 s; 5 s a time up to 300 s; 30 s of slow start; 300 s at most."""
    assert (RULES.failures, RULES.rate, RULES.requests, RULES.window) == (5, 500, 20, 10_000)
    assert (RULES.ejection, RULES.ejection_cap, RULES.slow_start) == (5_000, 300_000, 30_000)
    assert (RULES.quarantine, RULES.hint_cap) == (300_000, 300_000)


def test_nothing_is_known_at_first() -> None:
    """A name without a record is healthy, and good news of it is not worth keeping."""
    assert (NOTHING.state(BEGIN), NOTHING.probing(BEGIN)) == (CLOSED, False)
    assert idle(NOTHING, RULES, BEGIN)
    assert idle(apply(NOTHING, OK, RULES, BEGIN), RULES, BEGIN)


FIVE = [Row(0, FAIL, CLOSED, 0)] * 4 + [Row(0, FAIL, OPEN, 5, 1)]


def test_a_life_of_failures_in_a_row() -> None:
    """The fifth in a row opens; what comes from before says nothing; the probe's verdict is the only one."""
    record = Name().live(
        [
            # at change state until n
            *[Row(0, FAIL, CLOSED, 0)] * 4,
            Row(1, OK, CLOSED, 0),  # in a row means in a row
            *[Row(90, FAIL, CLOSED, 0)] * 4,
            *[Row(150, FAIL, CLOSED, 0)] * 4,  # nothing for a minute: a new row
            Row(200, FAIL, OPEN, 205, 1),
            Row(201, FAIL, OPEN, 205, 1),  # stragglers: sent before it opened
            Row(202, OK, OPEN, 205, 1),
            Row(204.999, CLAIM, OPEN, 205, 1),  # too early: nobody is the probe
            Row(204.999, PROBE_OK, OPEN, 205, 1),
            Row(205, OK, HALF_OPEN, 205, 1),  # still stragglers
            Row(205, FAIL, HALF_OPEN, 205, 1),
            Row(206, CLAIM, HALF_OPEN, 205, 1),
            Row(207, change(Kind.OK, "yours"), HALF_OPEN, 205, 1),
            Row(207, change(Kind.FAIL, "yours"), HALF_OPEN, 205, 1),
            Row(208, PROBE_FAIL, OPEN, 218, 2),  # twice as long the second time
            Row(219, PROBE_OK, HALF_OPEN, 218, 2),  # its lease is gone with its verdict
            Row(219, CLAIM, HALF_OPEN, 218, 2),
            Row(230, PROBE_OK, CLOSED, 0, 2),  # its lease has lapsed, but nobody took it over
        ]
    )
    assert record == Record(ok_at=ms(230), closed_at=ms(230), ejections=2)


def test_why_it_is_open_is_remembered() -> None:
    """By what opened it last; a failed probe changes nothing of it, a successful one forgets it."""
    name = Name()
    name.live(FIVE)
    assert name.record.cause is CONSECUTIVE
    assert name.tell(6, CLAIM, PROBE_FAIL).cause is CONSECUTIVE
    assert name.tell(20, REFUSE).cause is REFUSED
    assert name.tell(320, CLAIM, PROBE_OK).cause is Cause.NONE


def test_a_life_of_a_failure_rate() -> None:
    """Half of at least 20 within the window opens it: 1 less of either does not."""
    few = Name()
    for second in range(9):  # 18 requests, 9 of them failed
        few.tell(second, FAIL, OK)
    assert few.tell(8, FAIL).state(ms(8)) is CLOSED  # 10 of 19
    assert few.tell(8, FAIL).state(ms(8)) is OPEN  # 11 of 20
    assert (few.record.cause, few.record.open_until, few.record.window) == (RATE, ms(13), ())

    mild = Name()
    for second in range(9):
        mild.tell(second, FAIL, OK)
    mild.tell(8, OK, OK, FAIL)  # 10 of 21
    assert mild.record.state(ms(8)) is CLOSED
    assert mild.tell(8, FAIL).cause is RATE  # 11 of 22: half is enough


def test_a_rate_is_no_excuse_for_who_has_died() -> None:
    """Failures in a row tell, once nothing has succeeded there for a window: it is spared no more."""
    name = Name()
    for at, one in RATED:
        name.tell(at, one)
    assert name.tell(3, *[FAIL] * 9) is name.tell(10, FAIL)  # sent before it opened, or failed by chance
    name.tell(10.001, *[FAIL] * 4)
    assert name.tell(11, OK).failures == 0  # it was not dead
    name.tell(21.001, *[FAIL] * 4)
    known = name.record
    assert (known.state(ms(22)), known.cause, known.failures) == (HALF_OPEN, RATE, 4)
    assert name.tell(22, FAIL) == msgspec.structs.replace(known, cause=CONSECUTIVE, failures=0)
    before = name.record
    assert name.tell(23, OK, FAIL) is before  # stragglers, as of any other
    assert name.tell(24, CLAIM, PROBE_FAIL).open_until == ms(34)
    assert (name.record.cause, name.record.ejections) == (CONSECUTIVE, 2)


def test_the_probe_is_one_of_the_row() -> None:
    """Whoever asks where a rate has opened: it goes on when it fails, and ends when it succeeds."""
    name = Name()
    for at, one in RATED:
        name.tell(at, one)
    name.tell(11, *[FAIL] * 3)
    known = name.tell(12, CLAIM, PROBE_FAIL)
    assert (known.failures, known.cause, known.open_until) == (4, RATE, ms(22))
    assert name.tell(23, CLAIM, PROBE_FAIL).cause is CONSECUTIVE
    assert (name.record.failures, name.record.open_until) == (0, ms(38))
    assert name.tell(39, CLAIM, PROBE_OK).state(ms(39)) is CLOSED


def test_what_says_nothing_of_a_rate() -> None:
    """Streams that began well, and what fails where this replica has just seen a success."""
    record = lived(*RATED)
    for one in (Change(Kind.FAIL, "t", late=True), again(10_000), Change(Kind.FAIL, "t", age=0)):
        assert apply(record, one, RULES, ms(20)) is record
    assert apply(record, again(), RULES, ms(20)).failures == 1  # in an outage it fails everywhere


def test_a_life_of_streams_that_break() -> None:
    """They are counted in a row of their own: a first content is no proof that a stream will end well."""
    broken, ended = Change(Kind.FAIL, "t", late=True), Change(Kind.OK, "t", late=True)
    record = Name().live(
        [
            # at change state until n
            *[Row(0, one, CLOSED, 0) for one in (OK, broken) * 4],
            Row(1, ended, CLOSED, 0),  # in a row means in a row
            *[Row(1, one, CLOSED, 0) for one in (OK, broken) * 4],
            Row(61, OK, CLOSED, 0),  # nothing for a minute
            *[Row(61, broken, CLOSED, 0)] * 4,
            *[Row(121, FAIL, CLOSED, 0)] * 4,
            Row(121, broken, CLOSED, 0),
            Row(121, OK, CLOSED, 0),
            *[Row(122, broken, CLOSED, 0)] * 3,
            Row(123, broken, OPEN, 128, 1),
            Row(123, ended, OPEN, 128, 1),
            Row(128, CLAIM, HALF_OPEN, 128, 1),
            Row(128, ended, HALF_OPEN, 128, 1),
            Row(129, PROBE_OK, CLOSED, 0, 1),
            *[Row(129, broken, CLOSED, 0, 1)] * 4,
            Row(129, REFUSE, OPEN, 429, 1),
        ]
    )
    assert record.broken == 0
    assert apply(NOTHING, ended, RULES, BEGIN) is NOTHING
    assert lived((0, broken)).window == (BEGIN // 1000, 0, 1)  # for the rate it is one like any other


def test_successes_are_counted_in_bulk() -> None:
    """A change may tell of many at once."""
    name = Name()
    name.tell(0, FAIL, change(Kind.OK, count=190))
    for _ in range(50):
        name.tell(1, FAIL, OK)
    assert name.record.state(ms(1)) is CLOSED
    assert name.record.window == (BEGIN // 1000, 190, 1, BEGIN // 1000 + 1, 50, 50)


def test_what_left_the_window_counts_no_more() -> None:
    """It has ten parts; one leaves as a whole when the tenth after it begins."""
    name = Name()
    for second in (0.999, 1, 5):
        name.tell(second, FAIL, OK)
    first = BEGIN // 1000
    assert name.tell(9.999, OK).window == (first, 1, 1, first + 1, 1, 1, first + 5, 1, 1, first + 9, 1, 0)
    assert name.tell(10, FAIL).window[:3] == (first + 1, 1, 1)
    assert name.tell(21, FAIL).window == (first + 21, 0, 1)
    assert name.tell(20, FAIL).window == (first + 20, 0, 1)  # the clock was set back: what is to come is not


def test_a_short_window_has_parts_of_a_millisecond() -> None:
    """However short it is, something can be counted in it."""
    rules = Rules(failures=9, requests=2, window=3)
    assert lived((0, FAIL), (0.02, FAIL), rules=rules).state(ms(1)) is CLOSED
    assert lived((0, FAIL), (0.002, FAIL), rules=rules).cause is RATE


@pytest.mark.parametrize(
    ("times", "jitter", "seconds"),
    [
        *((1, 900, 4.5), (1, 1100, 5.5), (2, 1000, 10), (59, 1000, 295)),
        *((60, 900, 270), (60, 1100, 300), (99, 900, 300)),
    ],
)
def test_ejections_grow_up_to_a_cap(times: int, jitter: int, seconds: float) -> None:
    """The n-th lasts n times as long and a tenth more or less, up to the cap."""
    known = Record(open_until=BEGIN, ejections=times - 1, probe="mine", probe_until=BEGIN + 9)
    record = apply(known, change(Kind.FAIL, "mine", jitter=jitter), RULES, BEGIN)
    assert record.ejections == times
    assert record.open_until == ms(seconds)


@pytest.mark.parametrize(
    ("held", "left"), [(0, 3), (59.999, 3), (60, 2), (119, 2), (120, 1), (999, 1), (-5, 3)]
)
def test_an_ejection_is_forgotten_for_each_minute_that_it_held(held: float, left: int) -> None:
    """Of two; then the next is counted. A clock that was set back forgets nothing."""
    name = Name()
    name.live(FIVE)
    name.tell(6, CLAIM, PROBE_FAIL)
    name.tell(20, CLAIM, PROBE_OK)
    name.tell(20 + held, *[FAIL] * 5)
    assert name.record.ejections == left
    refused = Name()
    refused.live(FIVE)
    refused.tell(6, CLAIM, PROBE_FAIL)
    refused.tell(20, CLAIM, PROBE_OK)
    assert refused.tell(20 + held, REFUSE).ejections == left - 1  # a quarantine is no ejection


@pytest.mark.parametrize(
    ("ok_at", "age", "counts"),
    [
        (None, -1, True),  # nobody succeeded here
        (10, -1, False),  # somebody did, at the other end of the window
        (9.999, -1, True),
        (20.5, -1, False),  # in what is the future, for the clock was set back
        (None, 0, False),  # this replica has just seen one
        (None, 10_000, False),
        (None, 10_001, True),
        (9, 10_001, True),
        (9, 5, False),
    ],
)
def test_what_fails_everywhere_is_the_requests_own_fault(ok_at: float | None, age: int, counts: bool) -> None:
    """As long as others succeeded here within the last 10 s; else it is a failure like any other."""
    name = Name()
    name.tell(9, FAIL)
    if ok_at is not None:
        name.record = msgspec.structs.replace(name.record, ok_at=ms(ok_at))
    before = name.record
    after = name.tell(20, again(age))
    assert (after is not before) is counts
    assert after.failures == before.failures + counts


def test_a_probe_is_not_excused() -> None:
    """Whoever tries a half-open circuit and fails opens it, whether the request failed elsewhere or not."""
    record = Name().live([*FIVE, Row(6, CLAIM, HALF_OPEN, 5, 1)])
    failed = Change(Kind.FAIL, "t", "mine", repeat=True, age=0)
    assert apply(record, failed, RULES, ms(6)).open_until == ms(16)


def test_a_life_of_a_lease() -> None:
    """One probe in the whole cluster: the first who asks; another when it lapsed or was given up."""
    yours = change(Kind.CLAIM, "yours")
    name = Name()
    name.live(FIVE)
    assert name.tell(5, change(Kind.CLAIM)).probe == ""  # without a token nobody could give it back
    assert name.tell(5, CLAIM) == msgspec.structs.replace(name.record, probe="mine", probe_until=ms(15))
    assert name.tell(6, yours).probe == "mine"
    assert name.tell(14, RENEW).probe_until == ms(24)
    assert (
        name.tell(23.999, yours, change(Kind.RENEW, "yours"), change(Kind.RELEASE, "yours")).probe == "mine"
    )
    assert name.record.probing(ms(23.999))
    assert not name.record.probing(ms(24))
    assert (name.tell(24, yours).probe, name.record.probe_until) == ("yours", ms(34))
    before = name.record
    assert name.tell(25, RENEW, PROBE_OK, PROBE_FAIL, RELEASE) is before  # it came too late
    assert name.tell(26, change(Kind.RELEASE, "yours")).probe == ""
    assert name.tell(26, CLAIM).probing(ms(26))
    assert (name.record.ejections, name.record.open_until) == (1, ms(5))


def test_who_probes_and_is_told_to_wait_gives_the_lease_up() -> None:
    """A 429 is no verdict on the circuit; while its window lasts nobody may probe."""
    name = Name()
    name.live(FIVE)
    name.tell(5, CLAIM, change(Kind.BACK_OFF, "mine", hint=2_000))
    assert (name.record.probe, name.record.back_off_until) == ("", ms(7))
    assert name.tell(6.999, CLAIM).probe == ""
    assert name.tell(7, CLAIM).probe == "mine"
    name.record = msgspec.structs.replace(name.record, back_off_until=ms(9))
    assert name.tell(8, change(Kind.BACK_OFF, "mine")).probe == ""  # also inside a window
    assert name.record.back_off_until == ms(9)


def test_a_clock_that_was_set_back_shortens_no_ejection() -> None:
    """A deadline only grows, but for a circuit that its probe closes."""
    record = Name().live([*FIVE, Row(6, CLAIM, HALF_OPEN, 5, 1), Row(-60, PROBE_FAIL, OPEN, 5, 2)])
    assert record.probe == ""


class Told(NamedTuple):
    """A 429 at `at` seconds, and until when its target is left alone then; `row`: how many in a row."""

    at: float
    change: Change
    until: float
    row: int


def hint(seconds: float) -> Change:
    """A 429 that says how long."""
    return change(Kind.BACK_OFF, hint=round(seconds * 1000))


def test_a_life_of_back_offs() -> None:
    """Doubled for each in a row up to a minute, by what the provider says where it says something."""
    name = Name()
    for one in [
        # at change until row
        Told(0, change(Kind.BACK_OFF, jitter=500), 0.5, 1),
        Told(0.4, BACK_OFF, 0.5, 1),  # several in one window are one
        Told(0.5, BACK_OFF, 2.5, 2),
        Told(2, hint(0.1), 2.5, 2),  # never shortened
        Told(2, hint(3), 5, 2),  # only ever extended; still the same window
        Told(5, change(Kind.BACK_OFF, jitter=750), 8, 3),
        Told(10, BACK_OFF, 18, 4),
        Told(18, BACK_OFF, 34, 5),
        Told(34, BACK_OFF, 66, 6),
        Told(66, BACK_OFF, 126, 7),  # a minute, not 64 s
        Told(126, change(Kind.BACK_OFF, jitter=500), 156, 8),
        Told(156, hint(9_999), 456, 9),  # a hint is heeded within reason
        Told(515.999, BACK_OFF, 575.999, 10),
        Told(636, BACK_OFF, 637, 1),  # a minute of peace: a new row
        Told(637, hint(0.001), 637.001, 2),
    ]:
        found = name.tell(one.at, one.change)
        assert ((found.back_off_until - BEGIN) / 1000, found.back_offs) == one[2:], one
    assert name.record.state(ms(637)) is CLOSED


def test_a_success_ends_the_row_of_back_offs_but_no_window() -> None:
    """One that comes while a window lasts was sent before it."""
    name = Name()
    name.tell(0, hint(10))
    assert name.tell(9.999, OK).back_offs == 1
    assert name.record.back_off_until == ms(10)
    assert name.tell(10, OK).back_offs == 0
    assert name.record.back_off_until == ms(10)


def test_the_exponent_is_bounded() -> None:
    """However many in a row: the numbers stay small enough for the script."""
    rules = Rules(back_off_cap=10**9)
    record = Record(back_offs=500, back_off_until=BEGIN)
    assert apply(record, BACK_OFF, rules, BEGIN).back_off_until == BEGIN + 1_024_000


@pytest.mark.parametrize(
    ("life", "until"),
    [
        ([], 400),
        ([(0, FAIL)] * 4, 400),
        ([(100, FAIL)] * 5, 400),  # open: the later deadline counts
        ([(99, merge(open_until=450))], 450),
        ([(0, FAIL)] * 5 + [(6, CLAIM)], 400),  # half open: its probe's lease is gone
        ([(90, REFUSE)], 400),
    ],
)
def test_credentials_refused(life: list[tuple[float, Change]], until: float) -> None:
    """It is out for the quarantine, whatever else is known."""
    record = apply(lived(*life), REFUSE, RULES, ms(100))
    assert (record.state(ms(100)), record.open_until, record.cause) == (OPEN, ms(until), REFUSED)
    assert (record.failures, record.window, record.probe, record.closed_at) == (0, (), "", 0)


class Merge(NamedTuple):
    """What the cluster knows at 100 s, what a replica adds, and what is known then."""

    life: list[tuple[float, Change]]
    told: Change
    until: float
    cause: Cause
    n: int


RETURNED = [*[(0.0, FAIL)] * 5, (6.0, CLAIM), (6.5, PROBE_OK)]
FAILING = [*RETURNED, (99.0, FAIL)]


@pytest.mark.parametrize(
    "row",
    [
        Merge([], merge(open_until=110, ejections=2), 110, CONSECUTIVE, 2),
        Merge([], merge(open_until=100, ejections=2), 100, CONSECUTIVE, 2),  # over, but nobody has probed
        Merge([], merge(open_until=900), 460, CONSECUTIVE, 0),  # longer than any clock but a wrong one says
        Merge([(50, REFUSE)], merge(open_until=110, ejections=2), 350, REFUSED, 2),
        Merge([(99, FAIL)] * 5, merge(open_until=110, ejections=2), 110, CONSECUTIVE, 2),
        Merge([(99, FAIL)] * 5, merge(open_until=98), 104, CONSECUTIVE, 1),
        Merge([(9, FAIL)] * 5, merge(open_until=98, ejections=4), 98, CONSECUTIVE, 4),
        Merge([(9, FAIL)] * 5, merge(closed_at=98, ejections=4), 14, CONSECUTIVE, 1),
        Merge(FAILING, merge(closed_at=98, ejections=4), 0, Cause.NONE, 4),
        Merge(FAILING, merge(closed_at=6, ejections=4), 0, Cause.NONE, 1),
        Merge(FAILING, merge(open_until=110), 110, CONSECUTIVE, 0),  # its one ejection was forgotten at 66
        Merge(FAILING, Change(Kind.MERGE, "t"), 0, Cause.NONE, 1),
    ],
)
def test_what_was_learned_without_redis(row: Merge) -> None:
    """The later deadline counts; what a circuit was opened for goes with it."""
    before = lived(*row.life)
    record = apply(before, row.told, RULES, ms(100))
    until = (record.open_until - BEGIN) / 1000 if record.open_until else 0
    assert (until, record.cause, record.ejections) == row[2:]
    assert bool(record.closed_at) is (record.open_until == 0 and record.ejections > 0)
    failures = 0 if record.open_until and not before.open_until else before.failures
    assert (record.failures, record.window) == (failures, before.window)


def test_a_merge_takes_the_lease_of_a_circuit_that_it_opens() -> None:
    """And leaves it where the deadline was known."""
    record = lived(*[(0.0, FAIL)] * 5, (6.0, CLAIM))
    assert apply(record, merge(open_until=5), RULES, ms(7)).probe == "mine"
    opened = apply(record, merge(open_until=9), RULES, ms(7))
    assert (opened.probe, opened.probe_until) == ("", 0)


def test_a_slow_start_goes_on_after_redis_came_back() -> None:
    """A circuit that was closed meanwhile is told as such."""
    assert apply(NOTHING, merge(closed_at=9, ejections=1), RULES, ms(10)).closed_at == ms(9)


@pytest.mark.parametrize(
    ("known", "until", "row"),
    [
        (NOTHING, 130, 3),
        (Record(back_offs=1, back_off_until=ms(110)), 130, 3),
        (Record(back_offs=4, back_off_until=ms(150)), 150, 4),
        (Record(back_offs=4, back_off_until=ms(40)), 130, 3),  # that row was over
    ],
)
def test_windows_learned_without_redis(known: Record, until: float, row: int) -> None:
    """The later end and the longer row count."""
    record = apply(known, merge(back_off_until=130, back_offs=3), RULES, ms(100))
    assert (record.back_off_until, record.back_offs) == (ms(until), row)


def test_what_the_cluster_tells_shortens_no_window() -> None:
    """All of it holds for a replica, but for a window that is known there to last longer."""
    kept = Record(open_until=ms(300), ejections=9, back_off_until=ms(150), version=4)
    cluster = Record(open_until=ms(120), back_off_until=ms(150), version=7)
    assert circuit.joined(kept, cluster, RULES, ms(100), untold=False) is cluster
    shorter = msgspec.structs.replace(cluster, back_off_until=ms(149))
    assert circuit.joined(kept, shorter, RULES, ms(100), untold=False) == cluster


def test_what_the_cluster_has_not_heard_still_holds() -> None:
    """What a replica decided without Redis is joined with what it hears, as the script will do it."""
    kept = Record(open_until=ms(300), ejections=9, cause=RATE, back_off_until=ms(99), version=4)
    cluster = Record(open_until=ms(120), back_off_until=ms(149), version=7, probe="x", probe_until=ms(110))
    joined = circuit.joined(kept, cluster, RULES, ms(100), untold=True)
    assert joined == Record(open_until=ms(300), ejections=9, cause=RATE, back_off_until=ms(149), version=7)


@pytest.mark.parametrize(
    ("record", "from_second"),
    [
        (Record(failures=1, window=(BEGIN // 1000, 0, 1)), 60),
        (Record(broken=1, window=(BEGIN // 1000, 1, 1)), 60),
        (Record(open_until=ms(5)), None),
        (Record(back_off_until=ms(20)), 20),
        (Record(back_offs=1, back_off_until=ms(20)), 80),
        (Record(window=(BEGIN // 1000, 3, 1, BEGIN // 1000 + 5, 3, 0)), 10),
        (Record(window=(BEGIN // 1000, 3, 0), ok_at=BEGIN), 0),
        (Record(closed_at=BEGIN), 30),
        (Record(closed_at=BEGIN, ejections=1), 60),
        (Record(closed_at=BEGIN, ejections=2), 120),
        (Record(drained_at=BEGIN), None),
        (Record(drained_at=BEGIN, restored_at=BEGIN), 86_400),
        (Record(reset_at=BEGIN), 86_400),
    ],
)
def test_when_a_record_is_idle(record: Record, from_second: float | None) -> None:
    """When windows, slow start, back-offs, ejections and rows of failures are all over."""
    if from_second is None:
        assert not idle(record, RULES, ms(10**6))
        return
    assert idle(record, RULES, ms(from_second))
    assert from_second == 0 or not idle(record, RULES, ms(from_second) - 1)


@pytest.mark.parametrize(
    ("record", "until"),
    [
        (NOTHING, 0),
        (Record(failures=4, closed_at=BEGIN, back_offs=2), 0),
        (Record(open_until=ms(5)), 5),
        (Record(back_off_until=ms(6)), 6),
        (Record(open_until=ms(5), back_off_until=ms(6)), 6),
    ],
)
def test_when_a_record_keeps_anybody_away(record: Record, until: float) -> None:
    """Until its circuit is half open and its window over."""
    assert record.matters(ms(until) - 1) is (until > 0)
    assert not record.matters(ms(until))


@pytest.mark.parametrize(
    ("field", "value", "public"),
    [
        ("failures", 3, False),
        ("broken", 3, False),
        ("window", (1, 2, 3), False),
        ("ok_at", 7, False),
        ("back_offs", 2, False),
        ("version", 8, False),
        ("open_until", 9, True),
        ("ejections", 2, True),
        ("cause", RATE, True),
        ("closed_at", 3, True),
        ("probe", "other", True),
        ("probe_until", 4, True),
        ("back_off_until", 5, True),
        ("drained_at", 5, True),
        ("restored_at", 5, True),
        ("reset_at", 5, True),
    ],
)
def test_what_others_must_know_of(field: str, value: object, public: bool) -> None:
    """What a pick is decided by, and not what is only counted; and that there is a record at all."""
    before = Record(probe="mine")
    assert told(before, msgspec.structs.replace(before, **{field: value})) is public
    assert told(None, before)
    assert told(before, None)
    assert not told(None, None)
    assert set(Record.__struct_fields__) == {
        *("failures", "broken", "window", "ok_at", "back_offs", "version", "open_until", "ejections"),
        *("cause", "closed_at", "probe", "probe_until", "back_off_until"),
        *("drained_at", "restored_at", "reset_at"),
    }


def order(kind: Kind, at: float) -> Change:
    """An operator's, given at so many seconds."""
    return Change(kind, "t", epoch=ms(at))


def test_of_orders_the_last_counts() -> None:
    """As they are heard of, whatever clocks say; between replicas by when they were given."""
    record = lived((1, order(Kind.DRAIN, 1)))
    assert record == Record(drained_at=ms(1))
    assert (record.drained, record.matters(ms(10**6))) == (True, True)
    restored = apply(record, order(Kind.RESTORE, 0), RULES, ms(2))
    assert restored == Record(drained_at=ms(1), restored_at=ms(1))
    assert (restored.drained, restored.matters(ms(2))) == (False, False)
    again = apply(restored, order(Kind.DRAIN, 0), RULES, ms(3))
    assert (again.drained, again.drained_at) == (True, ms(1) + 1)
    assert apply(again, Change(Kind.MERGE, "t", record=restored), RULES, ms(4)) == again
    assert apply(restored, Change(Kind.MERGE, "t", record=again), RULES, ms(4)) == again
    later = Record(restored_at=ms(9))
    assert not apply(again, Change(Kind.MERGE, "t", record=later), RULES, ms(10)).drained


def test_a_drained_name_lives_on_but_is_not_probed() -> None:
    """What is in flight is judged as ever; nobody gets the lease until it is restored."""
    name = Name()
    name.tell(0, DRAIN)
    name.live(FIVE)
    assert name.tell(6, CLAIM).probe == ""
    assert name.tell(7, RESTORE, CLAIM).probe == "mine"


def test_a_reset_begins_a_new_epoch() -> None:
    """Nothing is held against the name, and what is told of the time before says nothing any more."""
    known = Record(open_until=ms(300), cause=REFUSED, ejections=3, back_off_until=ms(200), back_offs=2)
    known = msgspec.structs.replace(known, drained_at=5, failures=2, ok_at=7, version=9)
    record = apply(known, order(Kind.RESET, 10), RULES, ms(10))
    assert record == Record(drained_at=5, reset_at=ms(10), version=9)
    for kind in set(Kind) - {*circuit.ORDERS, Kind.MERGE}:
        assert apply(record, Change(kind, "t", "x", epoch=ms(10) - 1), RULES, ms(11)) is record
    assert apply(record, Change(Kind.MERGE, "t", record=known), RULES, ms(11)) == record
    heard = apply(known, Change(Kind.MERGE, "t", record=record), RULES, ms(11))
    assert heard == msgspec.structs.replace(record, back_offs=0)
    failed = Change(Kind.REFUSE, "t", epoch=ms(10))
    assert apply(record, failed, RULES, ms(11)).state(ms(11)) is OPEN
    assert apply(record, order(Kind.RESET, 9), RULES, ms(12)).reset_at == ms(10) + 1


def test_a_reset_shortens_what_a_replica_knows() -> None:
    """The one thing that the cluster tells and that does."""
    kept = Record(open_until=ms(300), back_off_until=ms(150), version=4)
    told_ = Record(reset_at=ms(100), version=7)
    for untold in (False, True):
        assert circuit.joined(kept, told_, RULES, ms(101), untold=untold) == told_
    assert circuit.unheard(told_, kept, ms(101))
    assert not circuit.unheard(kept, told_, ms(101))
    assert not circuit.unheard(told_, kept, ms(100 + 86_400) - 60_000)  # it may have been forgotten there
    assert circuit.unheard(Record(drained_at=1), NOTHING, ms(10**9))


SCENES: Sequence[Sequence[Life]] = [
    [TRIPPED, RATED],  # failures in a row, or the rate
    [[(0, REFUSE)], [(0, FAIL), (1, REFUSE)]],  # refused
    [[*TRIPPED, (5, None)], [(0, REFUSE), (300, None)]],  # over
    [[*TRIPPED, (1, REFUSE)], [(0, REFUSE), (1, REFUSE)]],  # refused by a request from before
    [[*TRIPPED, (5, CLAIM), (6, PROBE_OK)]],  # the probe succeeds
    [[*TRIPPED, (5, CLAIM), (6, PROBE_FAIL)]],  # the probe fails
    [[*TRIPPED, (5, CLAIM), (6, REFUSE)]],  # the probe is refused
    [[*TRIPPED, (5, CLAIM), (6, RELEASE)], [*TRIPPED, (5, CLAIM), (15, None)]],  # no verdict
    [[(0, merge(open_until=9))]],  # another opened it
    [[*TRIPPED, (1, merge(open_until=9))]],  # for longer
    [[*TRIPPED, (6, merge(open_until=9))]],  # a half-open one
    [[(0, change(Kind.FAIL)), (3, merge(open_until=2))]],  # and is over already
    [[*TRIPPED, (1, RESET)], [(0, REFUSE), (1, merge(reset_at=1))]],  # reset, here or elsewhere
    [[*TRIPPED, (6, RESET)]],  # a half-open one
]
"""How each of TRANSITIONS comes about, in their order."""


@pytest.mark.parametrize(
    ("row", "life"),
    [(row, life) for row, lives in zip(TRANSITIONS, SCENES, strict=True) for life in lives],
)
def test_every_transition_is_seen(row: tuple[State, str, State], life: Life) -> None:
    """Each row of the table is what happens in the last moment of some life."""
    before = NOTHING
    moment = life[0][0]
    for at, one in life[:-1]:
        moment = at
        before = apply(before, one, RULES, ms(at)) if one is not None else before
    at, last = life[-1]
    after = apply(before, last, RULES, ms(at)) if last is not None else before
    state = before.state(ms(moment if last is None else at))
    assert (state, after.state(ms(at))) == (row[0], row[2])
    assert after.open_until != before.open_until or last in (None, RELEASE)
    assert not after.probing(ms(at))


class Event(NamedTuple):
    """Something in a random life, `gap` ms later. HOLDER as token: whoever holds the lease then."""

    gap: int
    change: Change
    told: tuple[int, int, int, int]
    """Of a merge: open until, closed at, backing off until (from now; 0: never), and how often."""
    epochs: tuple[int, int, int]
    """How far its epoch is from the one that is known; of a merge, when it was drained and restored."""


HOLDER = "holder"
GAPS = st.sampled_from([0, 0, 1, 7, 40, 99, 100, 101, 450, 1_000, 20_000])
EVENTS = st.builds(
    Event,
    GAPS,
    st.builds(
        Change,
        st.sampled_from([*Kind, *Kind, *[Kind.OK] * 7, *[Kind.FAIL] * 9, Kind.CLAIM]),
        st.just("t"),
        token=st.sampled_from(["", "a", "b", HOLDER, HOLDER]),
        count=st.sampled_from([1, 1, 5]),
        hint=st.sampled_from([0, 0, 30, 5_000]),
        jitter=st.integers(500, 1100),
        repeat=st.sampled_from([False, False, True]),
        age=st.sampled_from([-1, -1, 0, 10_000]),
        late=st.sampled_from([False, False, True]),
    ),
    st.tuples(
        st.sampled_from([0, -4, 200]),
        st.sampled_from([0, -5, -1]),
        st.sampled_from([0, -10, 60]),
        st.integers(0, 3),
    ),
    st.tuples(st.sampled_from([0, 0, 0, -1, 5]), st.integers(0, 2), st.integers(0, 2)),
)
SPANS = st.sampled_from([10, 50, 100, 400])
BOUNDS = st.builds(
    Rules,
    failures=st.integers(1, 5),
    rate=st.sampled_from([300, 500, 1000]),
    requests=st.integers(1, 8),
    window=st.sampled_from([3, 100, 1_000]),
    ejection=SPANS,
    ejection_cap=SPANS,
    lease=SPANS,
    slow_start=SPANS,
    forgive=SPANS,
    back_off=SPANS,
    back_off_cap=SPANS,
    hint_cap=SPANS,
    quarantine=SPANS,
)


def cast(event: Event, record: Record, now: int) -> Change:
    """The change of `event` as it happens to `record`."""
    token = record.probe if event.change.token == HOLDER else event.change.token
    epoch = max(record.reset_at + event.epochs[0], 0)
    if event.change.kind is not Kind.MERGE:
        return msgspec.structs.replace(event.change, token=token or "c", epoch=epoch)
    till, closed, waiting, times = event.told
    found = Record(
        open_until=now + till if till else 0,
        cause=CONSECUTIVE if till else Cause.NONE,
        closed_at=now + closed if closed and not till else 0,
        ejections=times if till or closed else 0,
        back_offs=times if waiting else 0,
        back_off_until=now + waiting if waiting else 0,
        drained_at=event.epochs[1],
        restored_at=event.epochs[2],
        reset_at=epoch,
    )
    return Change(Kind.MERGE, "t", record=found)


PAIRS = {(before, after) for before, _, after in TRANSITIONS}


def check(before: Record, after: Record, one: Change, now: int) -> None:
    """What holds of every single change."""
    moved = before.state(now), after.state(now)
    assert moved[0] is moved[1] or moved in PAIRS
    assert after.drained_at >= before.drained_at
    assert after.restored_at >= before.restored_at
    if one.kind not in (*circuit.ORDERS, Kind.MERGE) and one.epoch < before.reset_at:
        assert after is before
    if after.reset_at != before.reset_at:
        assert one.kind in (Kind.RESET, Kind.MERGE)
        assert after.reset_at > before.reset_at
        before = Record(reset_at=after.reset_at)
    assert after.back_off_until >= before.back_off_until
    held = one.token and one.token == before.probe
    if after.open_until < before.open_until:
        assert held
        assert (one.kind, after.open_until, after.closed_at) == (Kind.OK, 0, now)
    if after.probe != before.probe and after.probe:
        assert one.kind is Kind.CLAIM
        assert not before.drained
        assert not before.probing(now)
        assert before.state(now) is HALF_OPEN
    if before.open_until and not held and one.kind in (Kind.OK, Kind.FAIL, Kind.RENEW, Kind.RELEASE):
        assert after is before or (before.cause is RATE and after == _asked_on(before, after))
    if one.kind is Kind.FAIL and after.open_until > before.open_until:
        assert held or before.state(now) is CLOSED
    assert not after.probe or after.state(now) is HALF_OPEN
    assert after.open_until or not after.ejections or after.closed_at


def _asked_on(before: Record, after: Record) -> Record:
    """`before` with all that others than the probe may change of what a rate has opened."""
    assert after.cause in (RATE, CONSECUTIVE)
    counted = {"cause": after.cause, "failures": after.failures, "ok_at": after.ok_at}
    return msgspec.structs.replace(before, **counted)


@pytest.mark.timeout(240)
@settings(max_examples=80, deadline=None, database=None)
@given(rules=BOUNDS, life=st.lists(EVENTS, max_size=30))
def test_any_life_keeps_what_is_promised(rules: Rules, life: list[Event]) -> None:
    """Deadlines only grow but by a probe's success, one holds the lease, and nothing else ever happens."""
    record, now = NOTHING, BEGIN
    for event in life:
        then, now = now, now + event.gap
        moved = record.state(then), record.state(now)
        assert moved in ((moved[0], moved[0]), (OPEN, HALF_OPEN))
        one = cast(event, record, now)
        before, record = record, apply(record, one, rules, now)
        check(before, record, one, now)


def matter(record: Record, rules: Rules, now: int) -> tuple[object, ...]:
    """All of it that has consequences."""
    over = circuit._stale(record, rules, now) and not record.open_until
    row = (0, 0) if over else (record.failures, record.broken)
    return (
        (record.state(now), record.open_until, record.cause, row, record.window),
        (record.probe, record.probe_until, circuit._ejections(record, rules, now)),
        (max(record.back_off_until, now), circuit._back_offs(record, rules, now)),
        record.closed_at if now < record.closed_at + rules.slow_start else 0,
        idle(record, rules, now),
    )


@pytest.mark.timeout(240)
@settings(max_examples=80, deadline=None, database=None)
@given(rules=BOUNDS, life=st.lists(EVENTS, max_size=30))
def test_an_idle_record_may_be_forgotten(rules: Rules, life: list[Event]) -> None:
    """Who forgets it all and who forgets but the successes and the orders of long ago come to the same."""
    kept = lean = NOTHING
    now = BEGIN
    for event in life:
        now += event.gap
        one = cast(event, kept, now)
        kept, lean = apply(kept, one, rules, now), apply(lean, one, rules, now)
        assert matter(kept, rules, now) == matter(lean, rules, now)
        if idle(kept, rules, now):
            orders = {"drained_at": 0, "restored_at": 0, "reset_at": 0}
            kept, lean = msgspec.structs.replace(kept, window=(), ok_at=0, **orders), NOTHING


def test_successes_before_the_first_failure_are_not_counted() -> None:
    """The price of forgetting: a failure rate is one of what came since a name's first trouble."""
    name = Name()
    name.tell(0, change(Kind.OK, count=1_000))
    assert idle(name.record, RULES, ms(0))
    name.record = NOTHING
    for _ in range(10):
        name.tell(1, OK, FAIL)
    assert name.record.cause is RATE
