import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest
from fakes.virtual_loop import passed, run
from limit_stand_ins import ShakyStore, StillClock

from ratelimit.absence import Outage
from ratelimit.limiter import Limiter
from ratelimit.memory_store import MemoryStore
from ratelimit.quota import NOTHING, Decision, Demand, Dimension, OnOutage, Quota
from ratelimit.scope import Kind, Limits, Refusal, Reservation, Scope


class World:
    """One replica of two and the store of the cluster, with a clock that is set."""

    def __init__(self) -> None:
        self.clock = StillClock()
        self.shared = ShakyStore(self.clock)
        self.local = MemoryStore(self.clock)
        self.limiter = Limiter(self.shared, self.local, self.clock, lambda: 2, "me", Outage(min_replicas=1))

    async def reserve(self, limits: Limits, tokens: int = 0) -> Reservation:
        """Reserve what is known to fit."""
        reservation = await self.limiter.reserve(limits, Demand(1, tokens))
        assert isinstance(reservation, Reservation), reservation
        return reservation

    async def refused(self, limits: Limits, tokens: int = 0) -> Refusal:
        """Try to reserve what is known not to fit."""
        refusal = await self.limiter.reserve(limits, Demand(1, tokens))
        assert isinstance(refusal, Refusal), refusal
        return refusal

    async def tick(self, seconds: float = 0.0) -> None:
        """Let time pass, and do what is due."""
        self.clock.advance(seconds)
        await self.limiter.tick()

    async def left(self, limits: Limits) -> tuple[int, int]:
        """The tokens and places the cluster has left."""
        seen = await self.shared.inside.peek(limits, NOTHING)
        assert seen.tokens is not None
        assert seen.concurrency is not None
        return seen.tokens.remaining, seen.concurrency.remaining


def limits(quota: Quota, tag: str = "acme") -> Limits:
    """The limits of a client."""
    return Scope.of(Kind.CLIENT, tag, quota).limits()


ACME = limits(Quota(tokens_per_minute=60, concurrency=4))
ONE = limits(Quota(requests_per_minute=1))


def live(life: Callable[[World], Awaitable[None]]) -> None:
    """Run `life` in a fresh world."""

    async def run() -> None:
        await life(World())

    asyncio.run(run())


def test_what_nothing_limits_costs_no_call() -> None:
    """Neither to reserve nor to settle."""

    async def life(world: World) -> None:
        reservation = await world.reserve(())
        world.limiter.settle(reservation, 5)
        world.limiter.release(reservation)
        await world.tick()
        assert world.shared.calls == []
        assert await world.limiter.peek(()) is None

    live(life)


def test_a_reservation_is_settled_in_the_background_once() -> None:
    """`settle` returns at once; whatever ends the reservation later changes nothing."""

    async def life(world: World) -> None:
        reservation = await world.reserve(ACME, 50)
        assert repr(world.limiter) == "<Limiter [1 held, 0 to settle, 0 scopes away]>"
        world.limiter.settle(reservation, 20)
        world.limiter.settle(reservation, 0)
        world.limiter.release(reservation)
        assert repr(world.limiter) == "<Limiter [0 held, 1 to settle, 0 scopes away]>"
        assert world.shared.calls == ["admit"]
        await world.tick()
        assert world.shared.calls == ["admit", "settle"]
        assert await world.left(ACME) == (40, 4)

    live(life)


def test_a_released_reservation_gives_all_back() -> None:
    """As where a later scope refused the request."""

    async def life(world: World) -> None:
        world.limiter.release(await world.reserve(ONE))
        await world.tick()
        await world.reserve(ONE)

    live(life)


def test_a_refusal_is_remembered_for_a_moment() -> None:
    """Asking again in vain costs no call, until the second is over or something was given back here."""

    async def life(world: World) -> None:
        first = await world.reserve(ONE)
        refusal = await world.refused(ONE)
        assert (refusal.decision.retry_after, refusal.cached) == (60.0, False)
        world.clock.advance(0.5)
        refusal = await world.refused(ONE)
        assert (refusal.decision.retry_after, refusal.cached) == (59.5, True)
        world.clock.advance(0.5)
        assert not (await world.refused(ONE)).cached
        assert world.shared.calls == ["admit"] * 3
        world.limiter.release(first)
        await world.tick()
        await world.reserve(ONE)

    live(life)


def test_what_can_never_fit_costs_no_call() -> None:
    """And is told so: waiting does not help."""

    async def life(world: World) -> None:
        refusal = await world.refused(ACME, 61)
        assert refusal.decision == Decision(False, Dimension.TOKENS, "client acme", never_fits=True)
        assert world.shared.calls == []

    live(life)


def test_only_long_reservations_need_heartbeats() -> None:
    """One call per limit every third of a lease; a lease that is lost is registered again."""

    async def life(world: World) -> None:
        long = await world.reserve(ACME)
        await world.tick(9.9)
        await world.reserve(ACME)
        world.shared.calls.clear()
        await world.tick(0.1)
        assert world.shared.calls == ["heartbeat"]
        world.shared.inside = MemoryStore(world.clock)
        world.shared.calls.clear()
        await world.tick(10)
        assert world.shared.calls == ["heartbeat", "restore"]
        assert (await world.left(ACME))[1] == 2
        for _ in range(5):
            await world.tick(10)
        assert (await world.left(ACME))[1] == 2
        world.limiter.settle(long, 0)
        await world.tick()
        assert (await world.left(ACME))[1] == 3

    live(life)


def test_a_lapsed_replica_frees_its_places() -> None:
    """A crash is a replica that never ticks again."""

    async def life(world: World) -> None:
        await world.reserve(ACME)
        world.clock.advance(30)
        assert await world.left(ACME) == (60, 4)

    live(life)


def test_an_outage_is_lived_through_with_a_share() -> None:
    """No error and no burst: half the rate for one of two replicas, starting from nothing."""

    async def life(world: World) -> None:
        world.shared.away = "before"
        refusal = await world.refused(ACME, 10)
        assert refusal.decision.retry_after == 20.0
        assert world.limiter.away == 1
        world.clock.advance(20)
        reservation = await world.reserve(ACME, 10)
        assert world.shared.calls == ["admit"]  # once away, the store is only asked in the background
        assert await world.limiter.peek(ACME) is None
        world.limiter.settle(reservation, 4)
        await world.tick()
        assert (await world.refused(ACME, 10)).decision.retry_after == 8.0

    live(life)


@pytest.mark.parametrize(("on_outage", "admitted"), [(OnOutage.DENY, False), (OnOutage.ALLOW, True)])
def test_a_limit_may_deny_or_allow_during_an_outage(on_outage: OnOutage, admitted: bool) -> None:
    """For what must never be exceeded, and for what matters less than an answer."""

    async def life(world: World) -> None:
        strict = limits(Quota(requests_per_minute=1, on_outage=on_outage))
        world.shared.away = "before"
        for _ in range(3):
            answer = await world.limiter.reserve(strict, Demand())
            assert isinstance(answer, Reservation) == admitted

    live(life)


def test_coming_back_replays_before_it_trusts() -> None:
    """What was granted during the outage is missing from the shared bucket, and nothing else is."""

    async def life(world: World) -> None:
        world.shared.away = "before"
        await world.refused(ACME, 10)
        world.clock.advance(60)
        reservation = await world.reserve(ACME, 30)
        world.shared.away = ""
        world.shared.calls.clear()
        await world.tick()
        assert world.shared.calls[0] == "restore"
        assert world.limiter.away == 0
        assert await world.left(ACME) == (30, 3)
        await world.reserve(ACME, 30)
        world.limiter.settle(reservation, 10)
        await world.tick()
        assert await world.left(ACME) == (20, 3)

    live(life)


def test_no_second_burst_over_an_outage() -> None:
    """Two replicas and an outage of half a minute: from the first moment at most burst + rate x t."""

    async def run() -> None:
        one = World()
        two = World()
        two.clock = one.clock
        two.shared = one.shared
        two.limiter = Limiter(one.shared, MemoryStore(one.clock), one.clock, lambda: 2, "two")
        admitted = 0
        client = limits(Quota(tokens_per_minute=60, burst_tokens=20))
        for second in range(90):
            one.shared.away = "before" if 30 <= second < 60 else ""
            for world in (one, two):
                answer = await world.limiter.reserve(client, Demand(1, 1))
                if isinstance(answer, Reservation):
                    admitted += 1
                    world.limiter.settle(answer, 1)
                await world.limiter.tick()
            assert admitted <= 20 + second
            one.clock.advance(1)
        assert admitted >= 95

    asyncio.run(run())


def test_an_answer_that_was_lost_is_given_back() -> None:
    """The store granted it too late: nobody holds it, so it is released when the store answers again."""

    async def life(world: World) -> None:
        world.shared.away = "after"
        await world.refused(ACME, 40)
        assert await world.left(ACME) == (20, 3)
        world.shared.away = ""
        await world.tick(0.25)
        await world.tick()
        assert await world.left(ACME) == (60, 4)

    live(life)


def test_a_cancelled_request_holds_nothing() -> None:
    """The call goes on without its caller; what it took is given back."""

    async def life(world: World) -> None:
        gate = asyncio.Event()
        admit = world.shared.admit

        class Slow(ShakyStore):
            """A store that answers when the gate opens."""

            async def admit(self, rid: str, limits: object, demand: Demand) -> Decision:
                decision = await admit(rid, ACME, demand)
                await gate.wait()
                return decision

        slow = Slow(world.clock)
        slow.inside = world.shared.inside
        limiter = Limiter(slow, world.local, world.clock, lambda: 1, "me")
        request = asyncio.ensure_future(limiter.reserve(ACME, Demand(1, 40)))
        await asyncio.sleep(0)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert await world.left(ACME) == (20, 3)
        await limiter.tick()
        assert await world.left(ACME) == (60, 4)

    live(life)


def test_settlements_wait_for_the_store_as_long_as_their_lease() -> None:
    """Then the lease has lapsed anyway, and settling would change nothing."""

    async def life(world: World) -> None:
        early, late = await world.reserve(ACME, 20), await world.reserve(ACME, 20)
        world.shared.away = "before"
        world.limiter.settle(early, 0)
        await world.tick()
        assert world.limiter.away == 1
        world.clock.advance(1)
        world.limiter.settle(late, 0)
        await world.tick(28)
        assert repr(world.limiter) == "<Limiter [0 held, 2 to settle, 1 scopes away]>"
        await world.tick(1)
        assert repr(world.limiter) == "<Limiter [0 held, 1 to settle, 1 scopes away]>"

    live(life)


def test_places_held_before_an_outage_count_during_it() -> None:
    """And come free when their requests end, whether the store hears of it or not."""

    async def life(world: World) -> None:
        two = [await world.reserve(ACME), await world.reserve(ACME)]
        world.shared.away = "before"
        assert (await world.refused(ACME)).decision.refused_by is not None
        world.clock.advance(15)
        await world.tick()
        assert (await world.refused(ACME)).decision.refused_by is Dimension.CONCURRENCY
        world.limiter.settle(two[0], 0)
        await world.tick()
        await world.reserve(ACME)

    live(life)


def test_a_providers_word_is_handed_on() -> None:
    """In the background, and not to a store that is away."""

    async def life(world: World) -> None:
        world.limiter.lower(ACME, None, 7)
        await world.tick()
        assert await world.left(ACME) == (7, 4)
        seen = await world.limiter.peek(ACME)
        assert seen is not None
        assert seen.tokens is not None
        world.shared.away = "before"
        assert await world.limiter.peek(ACME) is None
        world.limiter.lower(ACME, None, 3)
        await world.tick()
        assert world.shared.calls.count("lower") == 2

    live(life)


def test_it_runs_in_the_background_until_cancelled() -> None:
    """A settlement wakes it."""

    async def life(world: World) -> None:
        running = asyncio.ensure_future(world.limiter.run())
        world.limiter.settle(await world.reserve(ACME, 50), 0)
        for _ in range(20):
            await asyncio.sleep(0)
        assert await world.left(ACME) == (60, 4)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    live(life)


def test_the_background_wakes_by_itself_too() -> None:
    """Every probe, though nothing is settled: else nobody would find that the store is back."""

    async def life(world: World) -> None:
        world.shared.away = "before"
        limiter = Limiter(world.shared, world.local, world.clock, lambda: 1, "me", Outage(probe=0.0))
        await limiter.reserve(ACME, Demand())
        await limiter.tick()
        assert limiter.away == 1
        world.shared.away = ""
        running = asyncio.ensure_future(limiter.run())
        for _ in range(50):
            await asyncio.sleep(0)
        assert limiter.away == 0
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    live(life)


def test_slow_rounds_are_not_made_one_right_after_the_other() -> None:
    """However long one takes, and whatever wakes it: there is a probe's time in between."""
    rounds: list[tuple[float, float]] = []

    class Clock(StillClock):
        def monotonic(self) -> float:
            return passed()

    class Slow(ShakyStore):
        async def upkeep(self) -> None:
            began = passed()
            await asyncio.sleep(1.0)
            rounds.append((began, passed()))

    async def life() -> None:
        clock = Clock()
        limiter = Limiter(Slow(clock), MemoryStore(clock), clock, lambda: 1, "me", Outage(probe=0.25))
        running = asyncio.ensure_future(limiter.run())
        while len(rounds) < 5:
            await asyncio.sleep(0.01)
            limiter.lower(ACME, None, 50)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    run(life())
    assert all(0.24 < began - ended < 0.27 for (_, ended), (began, _) in itertools.pairwise(rounds))


def test_a_flush_that_is_cancelled_loses_nothing() -> None:
    """What was being settled is settled again: harmless twice, but never lost."""

    async def life(world: World) -> None:
        world.limiter.settle(await world.reserve(ACME, 50), 0)
        ticking = asyncio.ensure_future(world.limiter.flush())
        await asyncio.sleep(0)
        ticking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ticking
        assert repr(world.limiter) == "<Limiter [0 held, 1 to settle, 0 scopes away]>"
        await world.limiter.flush()
        assert await world.left(ACME) == (60, 4)

    live(life)


def test_a_larger_demand_is_told_its_own_wait() -> None:
    """The cached refusal of a smaller one would send it back too early."""

    async def life(world: World) -> None:
        await world.reserve(ACME, 60)
        assert (await world.refused(ACME, 10)).decision.retry_after == 10.0
        larger = await world.refused(ACME, 30)
        assert (larger.decision.retry_after, larger.cached) == (30.0, False)

    live(life)


def test_a_poisoned_settlement_is_dropped_and_stops_no_other() -> None:
    """One key in foreign hands: everything else is settled, lowered, renewed and tidied as ever."""

    async def life(world: World) -> None:
        poisoned = limits(Quota(tokens_per_minute=60, concurrency=4), "poisoned")
        ended, held = await world.reserve(poisoned, 50), await world.reserve(poisoned)
        others = await world.reserve(ACME, 50)
        world.shared.poisoned.add(poisoned[0].tag)
        world.limiter.settle(ended, 0)
        world.limiter.settle(others, 20)
        world.limiter.lower((*poisoned, *ACME), None, 30)
        await world.limiter.flush()
        assert await world.left(ACME) == (30, 4)
        assert repr(world.limiter) == "<Limiter [1 held, 0 to settle, 0 scopes away]>"
        assert world.limiter.errors == 2
        await world.tick(10)
        assert world.limiter.errors == 4
        assert await world.limiter.peek(poisoned) is None
        world.shared.poisoned.clear()
        world.limiter.settle(held, 0)
        await world.tick()
        assert await world.left(poisoned) == (20, 3)  # the place of the dropped one lapses with its lease

    live(life)


def test_a_poisoned_request_is_decided_here() -> None:
    """It and its scope, until the store can be asked again; the way back of others is not held up."""

    async def life(world: World) -> None:
        poisoned = limits(Quota(tokens_per_minute=60, concurrency=4), "poisoned")
        world.limiter.settle(await world.reserve(poisoned), 0)
        await world.tick()
        world.shared.poisoned.add(poisoned[0].tag)
        world.limiter.settle(await world.reserve(poisoned, 20), 20)
        world.shared.away = "before"
        await world.refused(ACME, 10)
        assert world.limiter.away == 2
        world.shared.away = ""
        for _ in range(3):
            await world.tick(0.25)
        assert world.limiter.away == 1
        assert await world.left(ACME) == (60, 4)
        world.shared.poisoned.clear()
        await world.tick(0.25)
        assert world.limiter.away == 0
        assert (await world.left(poisoned))[0] in range(40, 43)

    live(life)


def test_a_background_that_meets_errors_goes_on() -> None:
    """`run` ends only when it is cancelled."""

    async def life(world: World) -> None:
        world.shared.poisoned.add(ACME[0].tag)
        running = asyncio.ensure_future(world.limiter.run())
        await world.refused(ACME, 10)
        for _ in range(20):
            await asyncio.sleep(0)
        assert world.limiter.errors > 1
        assert not running.done()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    live(life)


def test_one_late_answer_refuses_no_idle_client() -> None:
    """The request that met it is admitted, and a second's worth of the limit with it, once."""

    async def life(world: World) -> None:
        client = limits(Quota(requests_per_minute=600))
        small = limits(Quota(requests_per_minute=2), "small")
        for one in (client, small):
            world.limiter.settle(await world.reserve(one), 0)
        await world.tick(30)
        world.shared.away = "after"
        for _ in range(5):
            world.limiter.settle(await world.reserve(client), 0)
        await world.refused(client)
        await world.reserve(small)
        await world.refused(small)

    live(life)


def test_a_settlement_that_meets_a_late_answer_refuses_no_idle_client() -> None:
    """One more request like it is admitted, as if that had met it; once, and only where there was room."""

    async def life(world: World) -> None:
        client = limits(Quota(requests_per_minute=6, tokens_per_minute=600, burst=3))
        full = limits(Quota(requests_per_minute=6, burst=1), "full")
        ended = [await world.reserve(one, 100) for one in (client, full)]
        world.shared.away = "before"
        for one in ended:
            world.limiter.settle(one, 100)
        await world.tick()
        assert world.limiter.away == 2
        await world.refused(client, 200)
        await world.reserve(client, 100)
        await world.refused(client, 100)
        await world.refused(full)

    live(life)


def test_a_store_that_comes_and_goes_lends_nothing_twice() -> None:
    """What a share granted beforehand is known to the next one only once the store has decided again."""

    async def life(world: World) -> None:
        client = limits(Quota(requests_per_minute=60))
        await world.reserve(client)
        for admitted in (True, False):
            world.limiter._begin(client, Demand())
            answer = await world.limiter.reserve(client, Demand())
            assert isinstance(answer, Reservation) == admitted
            await world.tick(0.25)
            assert world.limiter.away == 0

    live(life)


@pytest.mark.parametrize("idle", [1, 60])
@pytest.mark.parametrize("flap", [0, 40, 200])
def test_an_old_memory_of_a_free_limit_is_no_second_burst(idle: int, flap: int) -> None:
    """Three replicas, two that saw the bucket full of room before the third used it all: a second's worth.

    With `flap` the store comes and goes every so many hundredths of a second.
    """

    async def run() -> None:
        clock = StillClock()
        shared = ShakyStore(clock)
        three = [
            Limiter(shared, MemoryStore(clock), clock, lambda: 3, f"r{number}", Outage(regroup=1.0))
            for number in range(3)
        ]
        client = limits(Quota(requests_per_minute=1_200, burst=60))
        admitted = 0

        async def press(limiter: Limiter) -> None:
            nonlocal admitted
            answer = await limiter.reserve(client, Demand())
            if isinstance(answer, Reservation):
                admitted += 1
                limiter.settle(answer, 0)
            await limiter.tick()

        for limiter in three:
            await press(limiter)
        clock.advance(idle)
        admitted, began = 0, clock.monotonic()
        for _ in range(60):
            await press(three[0])
        for step in range(1_500):
            shared.away = "before" if step < 1_000 and not (flap and step // flap % 2) else ""
            for limiter in three:
                await press(limiter)
            assert admitted <= 60 + 20 * (clock.monotonic() - began) + 20
            clock.advance(0.01)
        assert admitted >= 0.9 * (60 + 20 * 15) or flap

    asyncio.run(run())


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("regroup", [0.0, 1.0])
def test_what_a_share_granted_gives_its_place_back(regroup: float, again: bool) -> None:
    """Where the store has heard of it, and it ends while replicas regroup or in the next outage."""

    async def run() -> None:
        clock = StillClock()
        shared = ShakyStore(clock)
        limiter = Limiter(
            shared, MemoryStore(clock), clock, lambda: 1, "me", Outage(probe=0.25, regroup=regroup)
        )
        client = limits(Quota(concurrency=4))
        shared.away = "before"
        taken = await limiter.reserve(client, Demand())
        assert isinstance(taken, Reservation)
        clock.advance(2.0)
        shared.away = ""
        await limiter.tick()
        clock.advance(0.3)
        if again:
            await _pass(limiter, clock, 5.0)
            shared.away = "before"
            assert isinstance(await limiter.reserve(client, Demand()), Reservation)
        limiter.settle(taken, 0)
        await limiter.tick()
        shared.away = ""
        await _pass(limiter, clock, 5.0)
        seen = await shared.peek(client, NOTHING)
        assert limiter.away == 0
        assert seen.concurrency is not None
        assert seen.concurrency.remaining == 4 - again

    asyncio.run(run())


@pytest.mark.parametrize("heard", [True, False])
def test_what_the_store_may_have_heard_of_gives_its_place_back(heard: bool) -> None:
    """It was told what is open and answered too late; where it was not told, nothing has to be given back."""

    async def life(world: World) -> None:
        world.shared.away = "before"
        client = limits(Quota(concurrency=8))
        await world.reserve(client)
        world.clock.advance(1.0)
        taken = await world.reserve(client)
        world.shared.away = "after" if heard else "before"
        await world.tick(1.0)
        world.limiter.settle(taken, 0)
        await world.tick()
        world.shared.away = ""
        await world.tick(1.0)
        await world.tick(1.0)
        assert world.limiter.away == 0
        seen = await world.shared.inside.peek(client, NOTHING)
        assert seen.concurrency is not None
        assert seen.concurrency.remaining == 7
        assert world.shared.calls.count("settle") == (2 if heard else 1)  # the one: the lost admission's

    live(life)


async def _pass(limiter: Limiter, clock: StillClock, seconds: float) -> None:
    """Time passes, and the limiter has its turns."""
    for _ in range(int(seconds / 0.25)):
        await limiter.tick()
        clock.advance(0.25)


def test_what_was_refused_is_asked_anew_once_limits_may_have_changed() -> None:
    """A client whose limit was raised does not wait for what the old one said."""

    async def life(world: World) -> None:
        await world.reserve(ONE)
        assert not (await world.refused(ONE)).cached
        assert (await world.refused(ONE)).cached
        world.limiter.forget()
        await world.reserve(limits(Quota(requests_per_minute=2)))

    live(life)
