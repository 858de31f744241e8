import pytest

from proxy.allowances import FRESH, Allowance, Allowances
from ratelimit.quota import Decision, Dimension, Room
from ratelimit.scope import Kind


def test_decisions_are_counted_by_what_they_were() -> None:
    """For each holder of a limit by itself."""
    seen = Allowances()
    seen.note(Kind.CLIENT, "dev", Decision(admitted=True), 1.0)
    seen.note(Kind.CLIENT, "dev", Decision(False, Dimension.TOKENS), 2.0)
    seen.note(Kind.CLIENT, "dev", Decision(False, Dimension.TOKENS), 3.0)
    seen.note(Kind.KEY, "dev", Decision(False, Dimension.OUTAGE), 4.0)
    assert seen.of[Kind.CLIENT, "dev"].decisions == {"admitted": 1, "tokens": 2}
    assert seen.of[Kind.KEY, "dev"].decisions == {"outage": 1}


@pytest.mark.parametrize(
    "blind",
    [
        Decision(False, Dimension.TOKENS, never_fits=True),
        Decision(False, Dimension.OUTAGE, retry_after=1.0),
        Decision(admitted=True),
    ],
)
def test_a_decision_without_a_look_at_the_limit_says_nothing_of_what_is_left(blind: Decision) -> None:
    """A demand that never fits, a limit that denies or allows all while the store is away: counted alone."""
    seen = Allowances()
    seen.note(Kind.CLIENT, "dev", Decision(True, requests=Room(100, 0, 60.0, 60.0)), 10.0)
    seen.note(Kind.CLIENT, "dev", blind, 20.0)
    found = seen.of[Kind.CLIENT, "dev"]
    assert sum(found.decisions.values()) == 2
    assert found.at == 10.0
    assert dict(found.left(40.0)) == {"requests": pytest.approx(0.5)}


@pytest.mark.parametrize(
    "decision",
    [
        Decision(True, requests=Room(9, 1, 1.0, 60.0)),
        Decision(False, Dimension.TOKENS, tokens=Room(9, 1, 1.0, 60.0)),
        Decision(True, concurrency=Room(9, 1, 0.0)),
    ],
)
def test_one_room_of_any_kind_is_a_look_at_the_limit(decision: Decision) -> None:
    """The last one counts, admitted or not."""
    seen = Allowances()
    seen.note(Kind.KEY, "k", Decision(True, requests=Room(9, 9, 0.0, 60.0)), 1.0)
    seen.note(Kind.KEY, "k", decision, 2.0)
    assert (seen.of[Kind.KEY, "k"].last, seen.of[Kind.KEY, "k"].at) == (decision, 2.0)


@pytest.mark.parametrize(
    ("after", "left"), [(0.0, 0.25), (15.0, 0.5), (45.0, 1.0), (300.0, 1.0), (-5.0, 0.25)]
)
def test_what_was_left_fills_up(after: float, left: float) -> None:
    """As fast as the limit drains, and no further."""
    allowance = Allowance(last=Decision(True, requests=Room(100, 25, 45.0, 60.0)), at=10.0)
    assert dict(allowance.left(10.0 + after)) == {"requests": pytest.approx(left)}


@pytest.mark.parametrize(
    ("after", "left"), [(0.0, 0.0), (90.0, 0.0), (510.0, 0.0), (540.0, 0.5), (570.0, 1.0), (900.0, 1.0)]
)
def test_what_was_overdrawn_has_nothing_left_until_the_debt_is_gone(after: float, left: float) -> None:
    """A limit of 300 a minute, 2,550 over it: the debt drains first."""
    refused = Decision(False, Dimension.TOKENS, retry_after=520.0, tokens=Room(300, 0, 570.0, 60.0))
    allowance = Allowance(last=refused, at=0.0)
    assert dict(allowance.left(after)) == {"tokens": pytest.approx(left)}


@pytest.mark.parametrize(
    ("room", "after", "left"),
    [
        (Room(60, 10, 0.0, 10.0), 0.0, 1.0),
        (Room(60, 0, 10.0, 10.0), 0.0, 0.0),
        (Room(60, 0, 10.0, 10.0), 5.0, 0.5),
        (Room(60, 0, 600.0, 600.0), 300.0, 0.5),
        (Room(60, 0, 700.0, 600.0), 50.0, 0.0),
    ],
)
def test_a_burst_of_its_own_is_what_there_is(room: Room, after: float, left: float) -> None:
    """The share is that of the most that may be used at one moment, whatever drains in a minute."""
    allowance = Allowance(last=Decision(True, requests=room), at=0.0)
    assert dict(allowance.left(after)) == {"requests": pytest.approx(left)}


@pytest.mark.parametrize(("after", "left"), [(0.0, 0.2), (60.0, 0.2), (61.0, 1.0)])
def test_of_a_strict_window_what_was_left_holds_until_all_has_left(after: float, left: float) -> None:
    """When parts of it leave was not said."""
    allowance = Allowance(last=Decision(True, requests=Room(10, 2, 61.0)), at=0.0)
    assert dict(allowance.left(after)) == {"requests": left}


def test_room_for_more_at_one_time_is_told_while_it_is_fresh() -> None:
    """Nobody knows when those that are there end."""
    allowance = Allowance(last=Decision(True, concurrency=Room(4, 1, 0.0)), at=0.0)
    assert dict(allowance.left(FRESH - 1)) == {"concurrency": 0.25}
    assert dict(allowance.left(FRESH)) == {}


def test_nothing_is_known_of_who_was_never_asked() -> None:
    """Nor where no decision has looked at the limit yet."""
    assert dict(Allowance().left(0.0)) == {}
    seen = Allowances()
    seen.note(Kind.CLIENT, "dev", Decision(False, Dimension.TOKENS, never_fits=True), 1.0)
    assert dict(seen.of[Kind.CLIENT, "dev"].left(2.0)) == {}
