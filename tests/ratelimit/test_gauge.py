import struct

import pytest

from ratelimit.gauge import UNIT, Ask, Change, Gauge, Header, Level, floor, granted, judged, too_large
from ratelimit.quota import Decision, Demand, Dimension, Quota, Room, Window
from ratelimit.scope import Limit


def limit(quota: Quota, name: str = "client acme") -> Limit:
    """A limit of its own."""
    return Limit("client:acme", f"rl:{{client:acme}}:{name}", name, quota)


def test_a_smooth_token_is_sixty_million_units_and_the_limit_drains_each_microsecond() -> None:
    """So a minute drains exactly the limit, whatever it is."""
    held = Gauge.of(Quota(tokens_per_minute=700, burst_tokens=50))
    assert held.ask(Demand(tokens=3)) == Ask(0, 1 << 62, 1 << 20, 3 * UNIT, 50 * UNIT, 700, 1 << 62)
    assert held.tokens_drain * 60_000_000 == 700 * held.token


def test_bursts_default_to_the_minute() -> None:
    """An idle holder may use a minute's worth at once."""
    held = Gauge.of(Quota(requests_per_minute=600, tokens_per_minute=9000))
    assert (held.requests_cap, held.tokens_cap) == (600 * UNIT, 9000 * UNIT)


def test_a_strict_window_counts_and_drains_nothing() -> None:
    """Its burst is the limit: the window itself bounds it."""
    held = Gauge.of(Quota(requests_per_minute=9, tokens_per_minute=70, burst=2, window=Window.STRICT))
    assert held.strict
    assert held.ask(Demand(tokens=5)) == Ask(1, 9, 0, 5, 70, 0, 1 << 62)


def test_a_share_costs_as_many_times_as_there_are_sharers() -> None:
    """Nothing is divided but the places, of which everyone keeps one."""
    held = Gauge.of(Quota(requests_per_minute=7, tokens_per_minute=10, concurrency=2), share=3)
    assert held.ask(Demand(tokens=2)) == Ask(3 * UNIT, 7 * UNIT, 7, 6 * UNIT, 10 * UNIT, 10, 1)


def test_settling_adds_the_difference() -> None:
    """Less than reserved gives back, more is charged."""
    held = Gauge.of(Quota(requests_per_minute=7, tokens_per_minute=10))
    assert held.change(Demand(1, 10), Demand(1, 4)) == Change(0, -6 * UNIT, 7, 10)
    assert held.change(Demand(1, 10), Demand(0, 0)) == Change(-UNIT, -10 * UNIT, 7, 10)
    assert held.change(Demand(1, 10), Demand(1, 15)) == Change(0, 5 * UNIT, 7, 10)


@pytest.mark.parametrize("window", list(Window))
def test_what_travels_is_the_same_packed(window: Window) -> None:
    """The scripts read whole numbers of eight bytes, little-endian, in the order of the fields."""
    held = Gauge.of(Quota(requests_per_minute=7, tokens_per_minute=10, concurrency=3, window=window), share=2)
    reserved, actual = Demand(1, 10), Demand(0, 23)
    assert held.packed_ask(reserved) == struct.pack("<7q", *held.ask(reserved))
    assert held.packed_change(reserved, actual) == struct.pack("<4q", *held.change(reserved, actual))


def test_a_key_outlives_the_draining_of_a_full_bucket() -> None:
    """A bucket of 100 at 1 a minute takes 100 minutes to drain, and a strict log 61 s."""
    assert Gauge.of(Quota(requests_per_minute=1, burst=100)).keep_ms == 120_000 + 100 * 60_000
    assert Gauge.of(Quota(requests_per_minute=1, window=Window.STRICT)).keep_ms == 181_000
    assert Gauge.of(Quota(concurrency=1)).keep_ms == 120_000


@pytest.mark.parametrize(
    ("quota", "demand", "dimension"),
    [
        (Quota(requests_per_minute=60, burst=2), Demand(3), Dimension.REQUESTS),
        (Quota(tokens_per_minute=60), Demand(1, 61), Dimension.TOKENS),
        (Quota(tokens_per_minute=60, window=Window.STRICT), Demand(1, 61), Dimension.TOKENS),
        (Quota(tokens_per_minute=60), Demand(1, 60), None),
        (Quota(concurrency=1), Demand(1, 60), None),
    ],
)
def test_what_is_larger_than_the_burst_never_fits(
    quota: Quota, demand: Demand, dimension: Dimension | None
) -> None:
    """Such a demand is known without asking anybody, and gets no time to come back at."""
    expected = None if dimension is None else Decision(False, dimension, "client acme", never_fits=True)
    assert too_large([limit(quota)], demand) == expected


def test_the_longest_wait_of_all_limits_decides() -> None:
    """Coming back earlier would only be refused by another limit."""
    wide, narrow = (
        limit(Quota(requests_per_minute=60)),
        limit(Quota(requests_per_minute=6, tokens_per_minute=60), "b"),
    )
    limits = [wide, narrow]
    demand = Demand(1, 30)
    levels = [Level(60 * UNIT, 0, 1, 0, 0, 0), Level(6 * UNIT, 45 * UNIT, 1, 0, 0, 0)]
    gauges = [one.gauge for one in limits]
    decision = judged(limits, gauges, [one.ask(demand) for one in gauges], levels)
    # 1 s for the wide limit, 10 s for a request of the narrow one, 15 s for its tokens.
    assert (decision.refused_by, decision.limit, decision.retry_after) == (Dimension.TOKENS, "b", 15.0)
    assert decision.requests == Room(60, 0, 60.0, 60.0)
    assert decision.tokens == Room(60, 15, 45.0, 60.0)


def test_a_full_house_says_to_come_back_in_a_second() -> None:
    """Nobody knows when another request ends."""
    one = limit(Quota(concurrency=2))
    decision = judged([one], [one.gauge], [one.gauge.ask(Demand())], [Level(0, 0, 2, 0, 0, 0)])
    assert decision == Decision(False, Dimension.CONCURRENCY, "client acme", 1.0, concurrency=Room(2, 0, 0.0))


def test_what_fits_is_admitted_with_the_tightest_room_of_each_dimension() -> None:
    """A caller sees what it can still use, not what one of its limits would allow."""
    one, other = (
        limit(Quota(requests_per_minute=60)),
        limit(Quota(requests_per_minute=10, concurrency=4), "b"),
    )
    headers = [Header(0, 3 * UNIT, 0, 1, 9), Header(0, UNIT // 2, 0, 1, 9)]
    decision = granted([one, other], [one.gauge, other.gauge], headers)
    assert decision == Decision(True, requests=Room(10, 9, 3.0, 60.0), concurrency=Room(4, 3, 0.0))


def test_a_strict_room_is_whole_again_after_its_window_at_most() -> None:
    """Its log would tell when, but nobody waits for all of it."""
    one = limit(Quota(requests_per_minute=10, window=Window.STRICT))
    assert granted([one], [one.gauge], [Header(0, 4, 0, 0, 0)]).requests == Room(10, 6, 61.0)
    assert granted([one], [one.gauge], [Header(0, 0, 0, 0, 0)]).requests == Room(10, 10, 0.0)


def test_a_debt_shows_as_nothing_left() -> None:
    """Remaining is never below 0."""
    one = limit(Quota(tokens_per_minute=10))
    assert granted([one], [one.gauge], [Header(0, 0, 25 * UNIT, 0, 0)]).tokens == Room(10, 0, 150.0, 60.0)


def test_a_floor_is_what_remains_turned_over() -> None:
    """What is unknown, unlimited, or more than the capacity, lowers nothing."""
    held = Gauge.of(Quota(requests_per_minute=10))
    assert floor(held, 4, 0) == (6 * UNIT, 0)
    assert floor(held, None, None) == (0, 0)
    assert floor(held, 11, None) == (0, 0)
