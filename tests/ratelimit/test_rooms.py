import pytest

from ratelimit.gauge import UNIT
from ratelimit.quota import NOTHING, Decision, Demand, Quota, Room, Window
from ratelimit.rooms import MOST, Rooms
from ratelimit.scope import Kind, Limits, Scope


def limits(quota: Quota, tag: str = "acme") -> Limits:
    """The limits of a client."""
    return Scope.of(Kind.CLIENT, tag, quota).limits()


ACME = limits(Quota(requests_per_minute=600, tokens_per_minute=6_000))


def left(requests: int, tokens: int) -> Decision:
    """A decision that says how much was left."""
    return Decision(True, requests=Room(600, requests, 0.0), tokens=Room(6_000, tokens, 0.0))


@pytest.mark.parametrize(
    ("remaining", "passed", "demand", "free"),
    [
        ((600, 6_000), 0.0, NOTHING, (10, 100)),
        ((4, 30), 0.0, NOTHING, (4, 30)),
        ((4, 30), 0.5, NOTHING, (9, 80)),
        ((600, 6_000), 0.0, Demand(1, 200), (10, 600)),
        ((600, 250), 0.0, Demand(1, 200), (10, 250)),
    ],
)
def test_a_share_begins_with_what_was_left_within_reason(
    remaining: tuple[int, int], passed: float, demand: Demand, free: tuple[int, int]
) -> None:
    """With a second's worth, or what the demand costs one of three replicas, if as much was left."""
    rooms = Rooms()
    rooms.note(ACME, left(*remaining), 5.0)
    found = rooms.free(ACME[0], 3, demand, 5.0 + passed)
    assert found == (free[0] * UNIT, free[1] * UNIT)


def test_a_memory_is_used_once() -> None:
    """The share grants what it does not know of: the next one begins used up."""
    rooms = Rooms()
    assert rooms.free(ACME[0], 1, Demand(), 0.0) == (0, 0)
    rooms.note(ACME, left(9, 9), 0.0)
    assert rooms.free(ACME[0], 1, Demand(), 0.0) != (0, 0)
    assert rooms.free(ACME[0], 1, Demand(), 0.0) == (0, 0)


def test_a_strict_window_grants_nothing_beforehand() -> None:
    """When what it holds will leave is written in its log, and nobody else's memory."""
    strict = limits(Quota(requests_per_minute=600, window=Window.STRICT))
    rooms = Rooms()
    rooms.note(strict, left(600, 0), 0.0)
    assert rooms.free(strict[0], 1, Demand(), 0.0) == (0, 0)


def test_memory_is_bounded() -> None:
    """The limit that was not asked for longest goes first."""
    rooms = Rooms()
    for number in range(MOST + 1):
        rooms.note(limits(Quota(requests_per_minute=1), f"c{number}"), left(1, 0), 0.0)
    assert len(rooms) == MOST
