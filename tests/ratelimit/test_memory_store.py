import asyncio

import pytest
from limit_stand_ins import StillClock

from ratelimit.gauge import UNIT
from ratelimit.memory_store import MemoryStore
from ratelimit.quota import NOTHING, Demand, Dimension, Quota, Window
from ratelimit.scope import Kind, Limits, Scope


def limits(quota: Quota) -> Limits:
    """The limits of a client."""
    return Scope.of(Kind.CLIENT, "acme", quota).limits()


def admitted(
    store: MemoryStore, clock: StillClock, client: Limits, seconds: int, tokens: int = 0
) -> list[int]:
    """In which of the next `seconds` a request was admitted that asks four times a second."""

    async def ask() -> list[int]:
        found = []
        for quarter in range(seconds * 4):
            if (await store.admit(f"{clock.seconds}", client, Demand(1, tokens))).admitted:
                found.append(quarter // 4)
            clock.advance(0.25)
        return found

    return asyncio.run(ask())


def test_a_share_begins_used_up_and_refills_at_its_part() -> None:
    """6 a minute over 3 replicas: one each 30 s here, and nothing at the switch."""
    clock = StillClock()
    store = MemoryStore(clock)
    client = limits(Quota(requests_per_minute=6, burst=3))
    store.begin(client[0], sharers=3)
    assert admitted(store, clock, client, 100) == [30, 60, 90]


def test_a_strict_share_begins_as_if_used_evenly() -> None:
    """It frees a sixtieth of its part a second; after a window it holds exactly its part in any 60 s."""
    clock = StillClock()
    store = MemoryStore(clock)
    client = limits(Quota(requests_per_minute=60, window=Window.STRICT))
    store.begin(client[0], sharers=2)
    found = admitted(store, clock, client, 200)
    assert found[:3] == [3, 5, 7]
    for begin in range(140):
        assert sum(begin <= second <= begin + 60 for second in found) <= 30


def test_what_is_larger_than_a_share_passes_when_nothing_is_used() -> None:
    """It leaves a debt, so the rate holds; a limit of 1 over 3 replicas is 1 in 3 minutes here."""
    clock = StillClock()
    store = MemoryStore(clock)
    client = limits(Quota(requests_per_minute=1))
    store.begin(client[0], sharers=3)
    assert admitted(store, clock, client, 500) == [60, 240, 420]


def test_a_share_keeps_at_least_one_place() -> None:
    """And the reservations that were open at the switch hold theirs."""
    clock = StillClock()
    store = MemoryStore(clock)
    client = limits(Quota(concurrency=2))
    store.begin(client[0], sharers=5, held=("a",))
    assert asyncio.run(store.admit("b", client, Demand())).refused_by is Dimension.CONCURRENCY
    assert asyncio.run(store.settle("a", client, Demand(), Demand()))
    assert asyncio.run(store.admit("b", client, Demand())).admitted


def test_taken_is_what_was_granted_and_has_not_drained() -> None:
    """In the units of the whole limit: what a bucket shared by all would hold of it at most."""
    clock = StillClock()
    store = MemoryStore(clock)
    client = limits(Quota(tokens_per_minute=60, burst_tokens=30))
    store.begin(client[0], sharers=2)
    assert store.taken(client[0]) == (0, 0)
    clock.advance(60)  # both halves are whole again: 15 tokens here
    asyncio.run(store.admit("a", client, Demand(1, 10)))
    asyncio.run(store.admit("b", client, Demand(1, 5)))
    assert store.taken(client[0]) == (0, 15 * UNIT)
    asyncio.run(store.settle("a", client, Demand(1, 10), Demand(1, 4)))
    assert store.taken(client[0]) == (0, 9 * UNIT)
    clock.advance(8)  # half a token a second
    assert store.taken(client[0]) == (0, 5 * UNIT)
    store.replayed(client[0], 0, 5 * UNIT)
    assert store.taken(client[0]) == (0, 0)  # what had drained before is not charged by a later replay
    store.end(client[0])
    assert repr(store) == "<MemoryStore 0 limits, 0 of them shares>"


@pytest.mark.parametrize("window", Window)
def test_idle_limits_are_forgotten(window: Window) -> None:
    """But not while a reservation is open, nor before all of it has drained."""
    clock = StillClock()
    store = MemoryStore(clock)
    client = limits(Quota(requests_per_minute=60, window=window))
    asyncio.run(store.admit("a", client, Demand()))
    clock.advance(20)
    asyncio.run(store.heartbeat(client[0], ["a"]))
    clock.advance(170)
    asyncio.run(store.upkeep())
    assert repr(store) == "<MemoryStore 0 limits, 0 of them shares>"
    asyncio.run(store.admit("b", client, Demand()))
    clock.advance(100)
    asyncio.run(store.upkeep())
    assert repr(store) == "<MemoryStore 1 limits, 0 of them shares>"


def test_a_lapsed_lease_frees_its_place_when_it_is_needed() -> None:
    """Within 30 s of a crash, without any upkeep."""
    clock = StillClock()
    store = MemoryStore(clock)
    client = limits(Quota(concurrency=1))
    assert asyncio.run(store.admit("a", client, Demand())).admitted
    clock.advance(28.9)
    assert not asyncio.run(store.admit("b", client, Demand())).admitted
    clock.advance(1.1)
    assert asyncio.run(store.admit("b", client, Demand())).admitted
    assert not asyncio.run(store.settle("a", client, Demand(), NOTHING))
