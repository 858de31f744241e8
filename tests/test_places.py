import random

import pytest

from proxy.places import CROWDED, EAGER, YIELDING, Places

NOW = 1_000_000
KEY = "a@1"
MOST = 6


def places(live: int = 3, held: int = 0) -> Places:
    """A replica that holds so many places, among `live` replicas."""
    made = Places(random.Random(1), lambda: live)
    for _ in range(held):
        made.take(KEY)
    return made


def test_a_key_with_room_is_asked_by_whoever_wants() -> None:
    """Nothing is remembered while there is room: nobody waits for anybody."""
    made = places(held=3)
    assert not made
    assert (made.crowded(KEY), made.wait(KEY, NOW)) == (False, 0)
    assert not made.take(KEY)
    for _ in range(4):
        made.end(KEY, MOST, NOW)
    assert repr(made) == "<Places {} held, none free at []>"


@pytest.mark.parametrize(("held", "longest"), [(1, EAGER), (2, YIELDING), (5, YIELDING)])
def test_after_a_refusal_there_is_a_pause(held: int, longest: int) -> None:
    """A short one where this replica has less than its part of the places, else one that leaves room."""
    made = places(held=held)
    made.refused(KEY, MOST, NOW)
    assert made
    assert made.crowded(KEY)
    assert NOW + EAGER <= made.wait(KEY, NOW) <= NOW + longest
    assert made.wait(KEY, NOW + YIELDING) == 0


def test_one_asks_while_the_others_wait() -> None:
    """After a refusal a single request asks; the next may when its answer is there."""
    made = places(held=1)
    made.refused(KEY, MOST, NOW)
    then = NOW + EAGER
    assert made.wait(KEY, then) == 0
    assert made.take(KEY)
    assert made.wait(KEY, then) == then + EAGER
    assert not made.take(KEY)  # a probe or a retry may go all the same, and nobody waits for it
    made.answered(KEY, then)
    assert made.wait(KEY, then) == 0


@pytest.mark.parametrize(("held", "latest"), [(1, 0), (3, YIELDING)])
def test_an_end_makes_room(held: int, latest: int) -> None:
    """Who has less than its part asks at once; who has more leaves the place to others for a moment."""
    made = places(held=held + 1)
    made.refused(KEY, MOST, NOW)
    then = NOW + 1
    made.end(KEY, MOST, then)
    assert max(made.wait(KEY, then), then) <= then + latest


def test_a_crowd_is_forgotten() -> None:
    """A second without a refusal ends it; a refusal in between does not let it end."""
    made = places(held=1)
    made.refused(KEY, MOST, NOW)
    made.refused(KEY, MOST, NOW + CROWDED - 1)
    made.answered(KEY, NOW + CROWDED)
    assert made.crowded(KEY)
    made.answered(KEY, NOW + 2 * CROWDED)
    assert not made.crowded(KEY)
    made.answered(KEY, NOW + 2 * CROWDED)


def test_a_twin_goes_its_own_way() -> None:
    """What is taken, ended and refused there is nothing here; and it begins with what is held."""
    places = Places(random.Random(1), lambda: 1)
    places.take("k")
    places.refused("k", 1, 1000)
    twin = places.twin(random.Random(1))
    assert repr(twin) == repr(places)
    before = repr(places), places.wait("k", 1000)
    assert twin.take("k")
    twin.refused("other", 1, 1000)
    twin.end("k", 1, 1000)
    assert (repr(places), places.wait("k", 1000)) == before
    assert places.take("k")
