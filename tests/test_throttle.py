import pytest

from proxy import throttle
from proxy.throttle import Steps, Throttle


def limited(in_flight: int = 100, steps: Steps | None = None) -> Throttle:
    """A throttle whose target `t` was overloaded at 10 s with so many requests in flight."""
    made = Throttle(steps or Steps())
    made.overloaded("t", in_flight, began=5.0, now=10.0)
    return made


def test_nothing_is_limited_at_first() -> None:
    """Whatever is in flight; a success changes nothing of that."""
    one = Throttle(Steps())
    one.succeeded("t", 10_000)
    assert (bool(one), one.limit("t"), one.full("t", 10_000), repr(one)) == (
        False,
        None,
        False,
        "<Throttle {}>",
    )


@pytest.mark.parametrize(("in_flight", "limit"), [(100, 90), (11, 9), (5, 4), (4, 4), (1, 4), (0, 4)])
def test_an_overload_cuts_by_a_tenth(in_flight: int, limit: int) -> None:
    """Of what was in flight, and never below the least."""
    one = limited(in_flight)
    assert one.limit("t") == limit
    assert (one.full("t", limit - 1), one.full("t", limit)) == (False, True)
    assert (bool(one), one.limit("u"), one.full("u", 10_000)) == (True, None, False)
    assert repr(one) == f"<Throttle {{'t': {limit}}}>"


def test_one_overload_is_one_cut() -> None:
    """What was sent before a cut cuts no more, what was sent after it does."""
    one = limited()
    one.overloaded("t", 100, began=9.999, now=11.0)
    assert one.limit("t") == 90
    one.overloaded("t", 90, began=10.0, now=12.0)
    assert one.limit("t") == 81
    one.overloaded("t", 81, began=11.9, now=13.0)
    assert one.limit("t") == 81


def test_a_cut_is_of_what_was_made_use_of() -> None:
    """Where fewer are in flight than may be, the overload says that fewer are too many; never more."""
    one = limited()
    one.overloaded("t", 50, began=11.0, now=12.0)
    assert one.limit("t") == 45
    one.overloaded("t", 200, began=13.0, now=14.0)
    assert one.limit("t") == 40
    for second in range(20, 60):
        one.overloaded("t", 40, began=second, now=second)
    assert one.limit("t") == 4


def test_each_success_adds_one() -> None:
    """While at least half of the limit is made use of."""
    one = limited()
    one.succeeded("t", 44)
    assert one.limit("t") == 90
    one.succeeded("t", 45)
    one.succeeded("t", 46)
    assert one.limit("t") == 92


def test_the_limit_is_lifted_at_the_most() -> None:
    """Then it is as if there had been none."""
    one = limited(steps=Steps(least=2, ratio=0.5, most=52))
    assert one.limit("t") == 50
    one.succeeded("t", 50)
    assert one.limit("t") == 51
    one.succeeded("t", 50)
    assert (bool(one), one.limit("t")) == (False, None)


def test_a_target_that_could_take_more_than_the_most_is_soon_free() -> None:
    """Its first success lifts the limit."""
    one = limited(in_flight=5_000)
    assert one.limit("t") == 4_500
    one.succeeded("t", 4_500)
    assert not one


def test_a_limit_is_forgotten_after_a_minute_without_trouble() -> None:
    """Since the last cut; others stay."""
    one = limited()
    one.overloaded("u", 10, began=30.0, now=31.0)
    assert not one.tend(10.0 + throttle.FORGOTTEN)
    assert one.limit("t") == 90
    assert one.tend(10.1 + throttle.FORGOTTEN)
    assert (one.limit("t"), one.limit("u")) == (None, 9)


def test_it_settles_where_the_target_can_follow() -> None:
    """With room for 40 at a time the limit swings around it, and few requests find too much to do."""
    one, overloads, total = limited(), 0, 0
    limit, now = 90, 10.0
    for _ in range(200):
        now += 1.0
        for place in range(1, limit + 1):
            total += 1
            if place > 40:
                overloads += 1
                one.overloaded("t", limit, began=now, now=now + 0.5)
            else:
                one.succeeded("t", limit)
        assert one.limit("t") is not None
        limit = min(one.limit("t") or 0, limit + 1)
    assert 36 <= limit <= 41
    assert overloads < total / 20


def test_what_is_remembered_is_bounded() -> None:
    """With many targets the one that was limited first is forgotten."""
    one = Throttle(Steps())
    for number in range(throttle.ENTRIES + 1):
        one.overloaded(f"t{number}", 10, began=0.0, now=1.0)
    assert (one.limit("t0"), one.limit("t1"), one.limit(f"t{throttle.ENTRIES}")) == (None, 9, 9)


def test_a_target_can_be_forgotten() -> None:
    """It is not limited any more; one that is not known is none of our business."""
    throttle = Throttle(Steps())
    throttle.overloaded("a", 10, 0.0, 1.0)
    throttle.forget("a")
    throttle.forget("b")
    assert not throttle
