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
    assert seen.of[Kind.CLIENT, "dev"].at == 3.0


@pytest.mark.parametrize(
    ("after", "left"), [(0.0, 0.25), (15.0, 0.625), (30.0, 1.0), (300.0, 1.0), (-5.0, 0.25)]
)
def test_what_was_left_fills_up(after: float, left: float) -> None:
    """As fast as the limit said when it last decided, and no further."""
    allowance = Allowance(last=Decision(True, requests=Room(100, 25, 30.0)), at=10.0)
    assert dict(allowance.left(10.0 + after)) == {"requests": pytest.approx(left)}


def test_room_for_more_at_one_time_is_told_while_it_is_fresh() -> None:
    """Nobody knows when those that are there end."""
    allowance = Allowance(last=Decision(True, concurrency=Room(4, 1, 0.0)), at=0.0)
    assert dict(allowance.left(FRESH - 1)) == {"concurrency": 0.25}
    assert dict(allowance.left(FRESH)) == {}


def test_debt_is_nothing_left() -> None:
    """A limit may be overrun; and nothing is known of who was never asked."""
    allowance = Allowance(last=Decision(False, tokens=Room(100, -50, 90.0)), at=0.0)
    assert dict(allowance.left(0.0)) == {"tokens": 0.0}
    assert dict(Allowance().left(0.0)) == {}
