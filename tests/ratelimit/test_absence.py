import asyncio
from collections.abc import Awaitable, Callable

import pytest
from limit_stand_ins import ShakyStore, StillClock

from ratelimit.absence import ROUNDS, Absence
from ratelimit.bucket import Replay
from ratelimit.held import Held, OpenReservations
from ratelimit.memory_store import MemoryStore
from ratelimit.quota import NOTHING, UNLIMITED, Demand, Dimension, OnOutage, Quota, Window
from ratelimit.scope import Kind, Limit, Limits, Reservation, Scope


class World:
    """One replica of two, its store of the cluster, and a clock."""

    def __init__(self) -> None:
        self.clock = StillClock()
        self.shared = ShakyStore(self.clock)
        self.local = MemoryStore(self.clock)
        self.held = OpenReservations()
        self.absence = Absence(self.shared, self.local, self.held, "me")

    def admit(self, rid: str, limits: Limits, tokens: int) -> bool:
        """Whether this replica alone admits a request."""
        decision, _ = asyncio.run(self.absence.admit(rid, limits, Demand(1, tokens), 2.0))
        return decision.admitted

    def come_back(self, regroup: float = 0.0) -> None:
        """See `Absence.come_back`."""
        asyncio.run(self.absence.come_back(self.clock.monotonic(), regroup))

    def remaining(self, limits: Limits) -> int:
        """How many tokens the cluster has left."""
        seen = asyncio.run(self.shared.inside.peek(limits, NOTHING))
        assert seen.tokens is not None
        return seen.tokens.remaining


def limits(quota: Quota, tag: str = "acme") -> Limits:
    """The limits of a client."""
    return Scope.of(Kind.CLIENT, tag, quota).limits()


TOKENS = limits(Quota(tokens_per_minute=60))
BOTH = limits(Quota(requests_per_minute=6_000, tokens_per_minute=60))


def test_what_was_granted_is_charged_before_the_store_is_asked_again() -> None:
    """No second burst: the cluster's bucket drained meanwhile, but what was used of it is not there."""
    world = World()
    world.absence.begin(TOKENS, 2, world.clock.monotonic())
    world.clock.advance(60)
    assert world.admit("a", TOKENS, 30)
    world.come_back()
    assert len(world.absence) == 0
    assert world.remaining(TOKENS) == 30


def test_a_slow_store_is_not_charged_over_and_over() -> None:
    """It does what it is told but answers too late: the replay keeps its mark until it is answered."""
    world = World()
    world.absence.begin(TOKENS, 2, world.clock.monotonic())
    world.clock.advance(60)
    assert world.admit("a", TOKENS, 20)
    world.shared.away = "after"
    for _ in range(4):
        world.come_back()
    assert len(world.absence) == 1
    assert world.remaining(TOKENS) == 40
    assert world.admit("b", TOKENS, 5)
    world.shared.away = ""
    world.come_back()
    assert world.remaining(TOKENS) == 35


class SlowStore(ShakyStore):
    """While it is told of a limit, something happens here."""

    def __init__(self, clock: StillClock) -> None:
        super().__init__(clock)
        self.meanwhile: list[Callable[[], Awaitable[None]]] = []

    async def restore(self, limit: Limit, replay: Replay) -> None:
        """See `Store`."""
        await super().restore(limit, replay)
        if self.meanwhile:
            await self.meanwhile.pop(0)()


class SlowWorld(World):
    """A replica that grants 5 tokens of `PLACES` while the store is told of what it granted before."""

    def __init__(self) -> None:
        super().__init__()
        self.slow = self.shared = SlowStore(self.clock)
        self.absence = Absence(self.slow, self.local, self.held, "me")
        self.absence.begin(PLACES, 1, self.clock.monotonic())
        self.clock.advance(60)

    async def grant(self) -> None:
        """Admit one request here."""
        rid = f"r{len(self.held)}"
        decision, _ = await self.absence.admit(rid, PLACES, Demand(1, 5), 2.0)
        assert decision.admitted
        self.held.add(Held(Reservation(rid, PLACES, Demand(1, 5), decision), 0.0, local=True))

    async def rest(self) -> None:
        """Admit nothing."""

    async def grant_and_go_away(self) -> None:
        """The same, and then the store is away again."""
        await self.grant()
        self.shared.away = "before"

    def left(self) -> tuple[int, int]:
        """Places and tokens that the cluster has left."""
        seen = asyncio.run(self.shared.inside.peek(PLACES, NOTHING))
        assert seen.concurrency is not None
        return seen.concurrency.remaining, self.remaining(PLACES)


PLACES = limits(Quota(tokens_per_minute=60, concurrency=10))


def test_what_is_granted_while_the_last_replay_travels_is_charged_and_registered() -> None:
    """However busy the limit is: it comes back, and the store knows of everything that is open."""
    world = SlowWorld()
    world.slow.meanwhile = [world.grant] * ROUNDS
    world.come_back()
    assert len(world.absence) == 0
    assert world.left() == (10 - ROUNDS, 60 - 5 * ROUNDS)


def test_what_is_granted_while_the_fullness_is_told_is_charged_and_registered() -> None:
    """The same at the end of regrouping: a replay, the fullness, and what came while that travelled."""
    world = SlowWorld()
    asyncio.run(world.grant())
    world.come_back(1.0)
    world.clock.advance(1)
    world.shared.calls.clear()
    world.slow.meanwhile = [world.rest, world.grant]
    world.come_back(1.0)
    assert len(world.absence) == 0
    assert world.left() == (8, 51)
    assert world.shared.calls == ["restore"] * 3


def test_a_store_that_goes_away_with_the_last_replay_breaks_nothing() -> None:
    """The next call finds it away, and the next return registers what is open."""
    world = SlowWorld()
    world.slow.meanwhile = [world.grant, world.grant, world.grant_and_go_away]
    world.come_back()
    assert len(world.absence) == 0
    assert world.left() == (8, 50)
    world.absence.begin(PLACES, 1, world.clock.monotonic())
    world.shared.away = ""
    world.come_back()
    assert world.left()[0] == 7


def test_open_reservations_are_registered_again() -> None:
    """Those of before the outage and those of during it: the cluster knows who holds a place."""
    world = World()
    places = limits(Quota(concurrency=4))
    world.held.add(Held(Reservation("old", places, Demand(), UNLIMITED), 0.0))
    world.absence.begin(places, 2, world.clock.monotonic())
    assert world.admit("new", places, 0)
    assert not world.admit("third", places, 0)
    world.held.add(Held(Reservation("new", places, Demand(), UNLIMITED), 0.0))
    world.come_back()
    seen = asyncio.run(world.shared.peek(places, NOTHING))
    assert seen.concurrency is not None
    assert seen.concurrency.remaining == 2


def test_a_limit_says_what_holds_during_an_outage() -> None:
    """Deny refuses, allow lets pass unlimited, share divides."""
    world = World()
    deny = limits(Quota(requests_per_minute=9, on_outage=OnOutage.DENY))
    allow = limits(Quota(requests_per_minute=9, on_outage=OnOutage.ALLOW))
    decision, _ = asyncio.run(world.absence.admit("a", deny, Demand(), 2.0))
    assert (decision.refused_by, decision.retry_after) == (Dimension.OUTAGE, 2.0)
    assert asyncio.run(world.absence.admit("a", allow, Demand(), 2.0)) == (UNLIMITED, ())


def test_one_scope_tries_the_way_back_for_all() -> None:
    """While the store is away an attempt costs one call, and each time another scope tries."""
    world = World()
    scopes = [limits(Quota(requests_per_minute=9), f"c{number}") for number in range(3)]
    for one in scopes:
        world.absence.begin(one, 1, world.clock.monotonic())
        assert world.absence.covers(one)
    world.shared.away = "before"
    world.come_back()
    world.come_back()
    assert world.shared.calls == ["restore", "restore"]
    assert len(world.absence) == 3
    world.shared.away = ""
    world.come_back()
    assert len(world.absence) == 0
    world.come_back()
    assert world.shared.calls == ["restore"] * 5


@pytest.mark.parametrize("window", list(Window))
@pytest.mark.parametrize(("before", "after"), [(600, 60), (60, 600)])
def test_a_figure_that_changes_meanwhile_holds_at_once_and_is_no_burst(
    window: Window, before: int, after: int
) -> None:
    """Reloaded while Redis is away: what was free stays free, and it refills at the new rate."""
    world = World()
    old, new = (limits(Quota(requests_per_minute=figure, window=window)) for figure in (before, after))
    world.absence.begin(old, 2, world.clock.monotonic())
    assert not world.admit("a", new, 1)
    admitted = 0
    for second in range(120):
        world.clock.advance(1)
        admitted += sum(world.admit(f"{second} {number}", new, 1) for number in range(20))
    assert 0.5 * after <= admitted <= after


@pytest.mark.parametrize("window", list(Window))
def test_what_is_limited_only_since_a_reload_begins_used_up(window: Window) -> None:
    """And the end of a reservation that was made without such a limit gives nothing of it back."""
    world = World()
    old = limits(Quota(requests_per_minute=6_000, window=window))
    new = limits(Quota(requests_per_minute=6_000, tokens_per_minute=600, window=window))
    world.absence.begin(old, 2, world.clock.monotonic())
    world.clock.advance(5)
    assert world.admit("before", old, 300)
    assert not world.admit("a", new, 300)
    asyncio.run(world.local.settle("before", old, Demand(1, 300), Demand(1, 0)))
    assert not world.admit("b", new, 30)
    world.clock.advance(30)
    assert world.admit("c", new, 100)
    world.come_back()
    assert len(world.absence) == 0


def test_what_is_limited_no_more_is_granted_at_once() -> None:
    """By whoever asks next; one that was still reading the old configuration changes little."""
    world = World()
    free = limits(Quota(requests_per_minute=6_000))
    world.absence.begin(BOTH, 2, world.clock.monotonic())
    world.clock.advance(1)
    assert not world.admit("a", BOTH, 60)
    assert world.admit("b", free, 60)
    assert not world.admit("c", BOTH, 60)


def test_what_one_replica_missed_for_a_moment_is_no_outage_of_all() -> None:
    """Of 20 replicas one met a stall: the others were there all the time, and have granted nothing unseen."""
    world = World()
    wanted = limits(Quota(requests_per_minute=60))
    seen = asyncio.run(world.shared.inside.peek(wanted, NOTHING))
    world.absence.rooms.note(wanted, seen, world.clock.monotonic())
    world.absence.begin(wanted, 20, world.clock.monotonic(), Demand(1, 0))
    assert world.admit("a", wanted, 0)
    for _ in range(2):
        world.clock.advance(0.5)
        world.come_back(regroup=1.0)
    assert len(world.absence) == 0
    left = asyncio.run(world.shared.inside.peek(wanted, NOTHING)).requests
    assert left is not None
    assert left.remaining >= 57
