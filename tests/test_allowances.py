import pytest

from proxy.allowances import FRESH, Allowance, Allowances
from ratelimit.quota import Decision, Dimension, Quota, Room, Window
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
    assert seen.of[Kind.CLIENT, "dev"].at == 3.0


@pytest.mark.parametrize(
    ("after", "left"), [(0.0, 0.25), (15.0, 0.5), (45.0, 1.0), (300.0, 1.0), (-5.0, 0.25)]
)
def test_what_was_left_fills_up(after: float, left: float) -> None:
    """As fast as the limit drains, and no further."""
    allowance = Allowance(last=Decision(True, requests=Room(100, 25, 45.0)), at=10.0)
    assert dict(allowance.left(10.0 + after)) == {"requests": pytest.approx(left)}


@pytest.mark.parametrize(
    ("after", "left"), [(0.0, 0.0), (90.0, 0.0), (510.0, 0.0), (540.0, 0.5), (570.0, 1.0), (900.0, 1.0)]
)
def test_what_was_overdrawn_has_nothing_left_until_the_debt_is_gone(after: float, left: float) -> None:
    """A limit of 300 a minute, 2,550 over it: the debt drains first."""
    refused = Decision(False, Dimension.TOKENS, retry_after=520.0, tokens=Room(300, 0, 570.0))
    allowance = Allowance(last=refused, at=0.0)
    told = dict(allowance.left(after, [Quota(tokens_per_minute=300)]))
    assert told == {"tokens": pytest.approx(left)}


@pytest.mark.parametrize(
    ("burst", "room", "after", "left"),
    [
        (10, Room(60, 10, 0.0), 0.0, 1.0),
        (10, Room(60, 0, 10.0), 0.0, 0.0),
        (10, Room(60, 0, 10.0), 5.0, 0.5),
        (600, Room(60, 0, 600.0), 300.0, 0.5),
        (600, Room(60, 0, 700.0), 50.0, 0.0),
    ],
)
def test_a_burst_of_its_own_is_what_there_is(burst: int, room: Room, after: float, left: float) -> None:
    """The share is that of the most that may be used at one moment."""
    allowance = Allowance(last=Decision(True, requests=room), at=0.0)
    quotas = [Quota(tokens_per_minute=60), Quota(requests_per_minute=60, burst=burst)]
    assert dict(allowance.left(after, quotas)) == {"requests": pytest.approx(left)}


@pytest.mark.parametrize(("after", "left"), [(0.0, 0.2), (60.0, 0.2), (61.0, 1.0)])
def test_of_a_strict_window_what_was_left_holds_until_all_has_left(after: float, left: float) -> None:
    """When parts of it leave was not said."""
    allowance = Allowance(last=Decision(True, requests=Room(10, 2, 61.0)), at=0.0)
    quota = Quota(requests_per_minute=10, window=Window.STRICT)
    assert dict(allowance.left(after, [quota])) == {"requests": left}


def test_room_for_more_at_one_time_is_told_while_it_is_fresh() -> None:
    """Nobody knows when those that are there end."""
    allowance = Allowance(last=Decision(True, concurrency=Room(4, 1, 0.0)), at=0.0)
    assert dict(allowance.left(FRESH - 1)) == {"concurrency": 0.25}
    assert dict(allowance.left(FRESH)) == {}


def test_nothing_is_known_of_who_was_never_asked() -> None:
    """Nor where a decision told of no room."""
    assert dict(Allowance().left(0.0)) == {}
    assert dict(Allowance(last=Decision(False, Dimension.TOKENS, never_fits=True)).left(0.0)) == {}
