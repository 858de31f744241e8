"""Three replicas lose the shared store and come back at different moments: arithmetic alone, no process.

What `outages.py` sees from outside with real servers, here on a clock that is moved by hand.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from fakes.stores import CountingStore
from fakes.twins import TwinLink, TwinServer

from proxy.clock import ManualClock
from ratelimit.absence import Outage
from ratelimit.limiter import Limiter
from ratelimit.memory_store import MemoryStore
from ratelimit.quota import Demand, Quota
from ratelimit.redis_store import RedisStore
from ratelimit.scope import Kind, Refusal, Scope
from ratelimit.store import Store, load_scripts

BURST = 60
RATE = 20
STEP = 0.01
LIMITS = Scope.of(Kind.CLIENT, "tight", Quota(requests_per_minute=60 * RATE, burst=BURST)).limits()


@dataclass(frozen=True)
class Replica:
    """One of three, with a way of its own to the shared store."""

    way: CountingStore | TwinLink
    limiter: Limiter

    async def pressed(self) -> int:
        """Ask for one request and end it at once; how many were admitted."""
        taken = await self.limiter.reserve(LIMITS, Demand())
        if isinstance(taken, Refusal):
            return 0
        self.limiter.settle(taken, 0)
        return 1


Way = tuple[CountingStore | TwinLink, Store]
"""What a replica is cut off by, and the store that it asks."""


def in_memory(clock: ManualClock) -> Callable[[], Way]:
    """A shared store that is only the arithmetic."""
    shared = MemoryStore(clock)

    def way() -> Way:
        store = CountingStore(shared)
        return store, store

    return way


def in_redis(clock: ManualClock) -> Callable[[], Way]:
    """A server, and a store of each replica that remembers what it saw there."""
    server, scripts = TwinServer(clock), load_scripts()

    def way() -> Way:
        link = TwinLink(server)
        return link, RedisStore(link, scripts)

    return way


Sharing = Callable[[ManualClock], Callable[[], Way]]
both = pytest.mark.parametrize("sharing", [in_memory, in_redis])


def _replicas(clock: ManualClock, regroup: float, sharing: Sharing) -> list[Replica]:
    made = []
    shared = sharing(clock)
    for number in range(3):
        way, store = shared()
        outage = Outage(regroup=regroup)
        limiter = Limiter(store, MemoryStore(clock), clock, lambda: 3, f"replica{number}", outage)
        made.append(Replica(way, limiter))
    return made


async def _live(
    sharing: Sharing, away: float, spread: float, regroup: float = 1.0, after: float = 10.0
) -> tuple[float, float]:
    """An outage of `away` seconds that ends for each replica `spread` seconds after the one before.

    Returns the most that was admitted beyond rate x t since the beginning, and the share of all that was
    allowed in the end. Every replica always asks for more than there is.
    """
    clock = ManualClock()
    replicas = _replicas(clock, regroup, sharing)
    admitted = 0
    worst = 0.0
    now = 0.0
    while now < 2.0 + away + after:
        for number, replica in enumerate(replicas):
            replica.way.away = 2.0 <= now < 2.0 + away + number * spread
            admitted += await replica.pressed()
            await replica.limiter.tick()
        worst = max(worst, admitted - RATE * now)
        clock.advance(STEP)
        now += STEP
    return worst, admitted / (BURST + RATE * now)


@both
@pytest.mark.parametrize("away", [0.5, 2.0, 10.0, 60.0])
@pytest.mark.parametrize("spread", [0.0, 0.2, 0.5])
def test_the_first_to_return_does_not_spend_what_the_others_have_granted(
    sharing: Sharing, away: float, spread: float
) -> None:
    """Beyond burst + rate x t no more than a second's worth, and none where all return together."""
    worst, _ = asyncio.run(_live(sharing, away, spread))
    assert worst <= BURST + (RATE if spread else 0.0)


@both
@pytest.mark.parametrize("away", [2.0, 10.0, 60.0])
def test_what_was_granted_is_charged_once(sharing: Sharing, away: float) -> None:
    """A long outage leaves no debt behind: what it granted has mostly drained when it ends."""
    _, share = asyncio.run(_live(sharing, away, 0.2))
    assert share >= 0.92


@both
@pytest.mark.parametrize("away", [0.1, 1.0])
def test_a_client_that_was_idle_keeps_its_burst(sharing: Sharing, away: float) -> None:
    """A share begins used up, but what nobody has granted is not held against the client afterwards."""

    async def scenario() -> int:
        clock = ManualClock()
        replicas = _replicas(clock, 1.0, sharing)
        for replica in replicas:
            replica.way.away = True
            await replica.pressed()
        for replica in replicas:
            clock.advance(away / 3)
            await replica.pressed()
            await replica.limiter.tick()
        for replica in replicas:
            replica.way.away = False
        for _ in range(20):
            clock.advance(0.25)
            for replica in replicas:
                await replica.limiter.tick()
        assert not any(replica.limiter.away for replica in replicas)
        return sum([await replicas[0].pressed() for _ in range(2 * BURST)])

    assert asyncio.run(scenario()) == BURST


@both
def test_without_regrouping_the_first_would_spend_it_again(sharing: Sharing) -> None:
    """The trap this is for, seen by leaving it out."""
    worst, _ = asyncio.run(_live(sharing, 10.0, 0.4, regroup=0.0))
    assert worst > BURST + RATE
