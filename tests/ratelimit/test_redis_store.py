import asyncio
from collections.abc import Iterator

import pytest
import redis
import redis.asyncio
from limit_stand_ins import SERVERS, StillClock, fresh_tag, linked, served

from ratelimit.absence import Outage
from ratelimit.bucket import Replay
from ratelimit.gauge import floor
from ratelimit.limiter import Limiter
from ratelimit.memory_store import MemoryStore
from ratelimit.quota import NOTHING, Demand, Dimension, Quota, Window
from ratelimit.redis_store import REMEMBERED, RedisStore
from ratelimit.scope import Kind, Limits, Reservation, Scope
from ratelimit.store import Unavailable, load_scripts


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The socket of a real server."""
    with served(request.param, tmp_path_factory.mktemp("redis")) as path:
        yield path


def limits(quota: Quota, model: Quota | None = None) -> Limits:
    """The limits of a client that no other test uses."""
    return Scope.of(Kind.CLIENT, fresh_tag(), quota, None if model is None else {"m": model}).limits("m")


async def remaining(store: RedisStore, client: Limits) -> int:
    """How many tokens are left."""
    seen = await store.peek(client, NOTHING)
    assert seen.tokens is not None
    return seen.tokens.remaining


async def commands(client: redis.asyncio.Redis) -> dict[str, int]:
    """How often each command ran, those inside scripts too."""
    stats = await client.info("commandstats")
    found = {name.removeprefix("cmdstat_"): count["calls"] for name, count in stats.items()}
    return {name: count for name, count in found.items() if not name.startswith(("info", "config"))}


def test_what_an_operation_costs(server: str) -> None:
    """One call each, of three commands; two more where it overran its estimate or its window is strict."""

    async def case() -> None:
        async with linked(server) as (client, link):
            store = RedisStore(link, load_scripts())
            smooth = limits(Quota(requests_per_minute=60, tokens_per_minute=600, concurrency=5))
            await store.admit("warm", smooth, Demand(1, 1))
            await store.settle("warm", smooth, Demand(1, 1), NOTHING)
            await client.config_resetstat()
            await store.admit("a", smooth, Demand(1, 9))
            assert await commands(client) == {"evalsha": 1, "time": 1, "hget": 1, "hset": 1}
            await client.config_resetstat()
            await store.settle("a", smooth, Demand(1, 9), Demand(1, 3))
            assert await commands(client) == {"evalsha": 1, "hdel": 1, "hget": 1, "hset": 1}

    asyncio.run(case())


def test_every_key_ends_by_itself(server: str) -> None:
    """A key lives two minutes longer than a full bucket takes to drain, and a debt longer still."""

    async def case() -> None:
        async with linked(server) as (client, link):
            store = RedisStore(link, load_scripts())
            one = limits(Quota(tokens_per_minute=100, burst_tokens=200))
            await store.admit("a", one, Demand(1, 200))
            assert 239_000 < await client.pttl(one[0].key) <= 240_000
            await store.settle("a", one, Demand(1, 200), Demand(1, 1_000))
            assert 839_000 < await client.pttl(one[0].key) <= 840_000
            strict = limits(Quota(tokens_per_minute=100, window=Window.STRICT))
            await store.restore(strict[0], Replay("~m", 0, 50))
            assert 180_000 < await client.pttl(strict[0].key) <= 181_000

    asyncio.run(case())


def test_a_server_that_forgot_is_told(server: str) -> None:
    """After a failover the limit is what it was known to be, not whole again."""

    async def case() -> None:
        async with linked(server) as (client, link):
            store = RedisStore(link, load_scripts())
            own = limits(Quota(tokens_per_minute=60), Quota(tokens_per_minute=60, window=Window.STRICT))
            await store.admit("a", own, Demand(1, 50))
            await client.flushall()
            assert await remaining(store, own) == 60
            store.doubt()
            decision = await store.admit("b", own, Demand(1, 11))
            assert decision.refused_by is Dimension.TOKENS
            assert repr(store) == "<RedisStore 2 limits seen, 0 in doubt>"
            # Told once: what another replica gives back afterwards is not taken away again.
            link.calls.clear()
            await store.admit("b", own, Demand(1, 5))
            assert link.calls == ["admit"]

    asyncio.run(case())


@pytest.mark.parametrize("window", Window)
@pytest.mark.parametrize("lost", ["before", "after"])
def test_one_call_that_met_a_stall_takes_back_nothing_that_was_given_back(
    server: str, window: Window, lost: str
) -> None:
    """Redis was only slow: of a large estimate that was settled as small nothing is charged again."""

    async def case() -> None:
        async with linked(server) as (_, link):
            clock = StillClock()
            store = RedisStore(link, load_scripts())
            outage = Outage(regroup=1.0)
            limiter = Limiter(store, MemoryStore(clock), clock, lambda: 1, "me", outage)
            own = limits(Quota(tokens_per_minute=60_000_000, window=window))
            large = await limiter.reserve(own, Demand(1, 50_000_000))
            assert isinstance(large, Reservation)
            limiter.settle(large, 0)
            await limiter.tick()
            link.away = lost
            small = await limiter.reserve(own, Demand(1, 10))
            link.away = ""
            if isinstance(small, Reservation):
                limiter.settle(small, 10)
            for _ in range(12):
                clock.advance(0.25)
                await limiter.tick()
            assert limiter.away == 0
            assert await remaining(store, own) >= 60_000_000 - 10

    asyncio.run(case())


@pytest.mark.parametrize("window", Window)
def test_a_server_that_was_flushed_is_told_on_the_way_back(server: str, window: Window) -> None:
    """No new identity gives that away, but what it has of the limit is gone."""

    async def case() -> None:
        async with linked(server) as (client, link):
            store = RedisStore(link, load_scripts())
            own = limits(Quota(tokens_per_minute=60, window=window))
            await store.admit("a", own, Demand(1, 50))
            await client.flushall()
            unit = own[0].gauge.ask(Demand(1, 1)).tokens
            await store.restore(own[0], Replay("~m", 0, 5 * unit, held=("a",)))
            assert await remaining(store, own) in {5, 6}

    asyncio.run(case())


def test_a_server_that_lags_is_told_on_the_way_back(server: str) -> None:
    """What it has is older than what was seen, and nobody has noticed a failover."""

    async def case() -> None:
        async with linked(server) as (client, link):
            store = RedisStore(link, load_scripts())
            own = limits(Quota(tokens_per_minute=60))
            await store.admit("a", own, Demand(1, 10))
            old = await client.dump(own[0].key)
            assert old is not None
            await store.admit("b", own, Demand(1, 30))
            await client.restore(own[0].key, 60_000, old, replace=True)
            await store.restore(own[0], Replay())
            assert await remaining(store, own) in {20, 21}

    asyncio.run(case())


def test_a_floor_that_is_told_counts(server: str) -> None:
    """It is of now, and not of when the limit was last seen; a server in doubt is told both."""

    async def case() -> None:
        async with linked(server) as (client, link):
            store = RedisStore(link, load_scripts())
            own = limits(Quota(tokens_per_minute=60, requests_per_minute=60))
            await store.admit("a", own, Demand(50, 10))
            await store.restore(own[0], Replay(floor=floor(own[0].gauge, None, 20)))
            assert await remaining(store, own) in {20, 21}
            await client.flushall()
            store.doubt()
            await store.restore(own[0], Replay(floor=floor(own[0].gauge, None, 20)))
            seen = await store.peek(own, NOTHING)
            assert seen.requests is not None
            assert seen.requests.remaining in {10, 11}
            assert await remaining(store, own) in {20, 21}

    asyncio.run(case())


def test_a_providers_word_leaves_no_doubt_untold(server: str) -> None:
    """It says what it knows of one figure; what was used of the other is told first."""

    async def case() -> None:
        async with linked(server) as (client, link):
            store = RedisStore(link, load_scripts())
            own = limits(Quota(requests_per_minute=100, tokens_per_minute=1_000))
            await store.admit("a", own, Demand(90, 0))
            await client.flushall()
            store.doubt()
            await store.lower(own[0], None, 400)
            seen = await store.peek(own, NOTHING)
            assert seen.requests is not None
            assert seen.tokens is not None
            assert seen.requests.remaining in {10, 11, 12}
            assert seen.tokens.remaining < 450

    asyncio.run(case())


def test_a_missing_lease_puts_the_server_in_doubt(server: str) -> None:
    """A heartbeat is often the first to notice that the server lost its memory."""

    async def case() -> None:
        async with linked(server) as (client, link):
            store = RedisStore(link, load_scripts())
            own = limits(Quota(tokens_per_minute=60))
            await store.admit("a", own, Demand(1, 50))
            await client.flushall()
            assert await store.heartbeat(own[0], ["a"]) == ["a"]
            assert not (await store.admit("b", own, Demand(1, 20))).admitted

    asyncio.run(case())


def test_a_lapsed_lease_that_is_registered_again_keeps_its_place(server: str) -> None:
    """After a long outage: its replica lives, only its heartbeats could not be told."""

    async def case() -> None:
        async with linked(server) as (_, link):
            one = limits(Quota(concurrency=1))
            await RedisStore(link, load_scripts(), lease_s=0).admit("a", one, Demand())
            store = RedisStore(link, load_scripts())
            await store.restore(one[0], Replay(held=("a",)))
            decision = await store.admit("b", one, Demand())
            assert decision.refused_by is Dimension.CONCURRENCY
            assert await store.heartbeat(one[0], ["a"]) == []

    asyncio.run(case())


def test_lapsed_leases_are_freed_by_upkeep_and_on_need(server: str) -> None:
    """A crashed replica's places are free after its lease; one call looks only where something is due."""

    async def case() -> None:
        async with linked(server) as (_, link):
            crashing = RedisStore(link, load_scripts(), lease_s=0)
            one, other = limits(Quota(concurrency=1)), limits(Quota(requests_per_minute=9))
            await crashing.admit("a", one, Demand())
            link.calls.clear()
            assert (await crashing.admit("b", one, Demand())).admitted
            assert link.calls == ["admit", "tidy", "admit"]
            await crashing.admit("a", other, Demand())
            await crashing.admit("b", other, Demand())
            link.calls.clear()
            await crashing.upkeep()
            await crashing.upkeep()
            assert link.calls == ["tidy"]
            assert await crashing.heartbeat(other[0], ["a", "b"]) == ["a", "b"]

    asyncio.run(case())


def test_a_very_large_hash_is_tidied_piece_by_piece(server: str) -> None:
    """No call looks at more than some 500 leases, and the held ones are counted right in the end."""

    async def case() -> None:
        async with linked(server) as (client, link):
            store = RedisStore(link, load_scripts())
            one = limits(Quota(concurrency=5_000))
            await store.restore(one[0], Replay(held=tuple(f"r{number}" for number in range(3_000))))
            await client.hset(one[0].key, mapping={f"r{number}": bytes(8) for number in range(2_900)})
            value = await client.hget(one[0].key, "@")
            assert isinstance(value, bytes)
            await client.hset(one[0].key, "@", value[:32] + bytes(8) + value[40:])
            calls = 0
            while await client.hlen(one[0].key) != 101:
                await store.admit("", one, Demand())
                await store._tidy(one[0])
                calls += 1
                assert calls < 50
            assert calls > 3
            seen = await store.peek(one, NOTHING)
            assert seen.concurrency is not None
            assert seen.concurrency.remaining == 4_900
            assert not await client.hexists(one[0].key, "@scan")

    asyncio.run(case())


def test_many_heartbeats_are_split(server: str) -> None:
    """A script call stays short however much a replica holds."""

    async def case() -> None:
        async with linked(server) as (_, link):
            store = RedisStore(link, load_scripts())
            one = limits(Quota(concurrency=2_000))
            held = tuple(f"r{number}" for number in range(1_200))
            await store.restore(one[0], Replay("~m", held=held))
            assert await store.heartbeat(one[0], [*held, "gone"]) == ["gone"]
            assert link.calls == ["restore"] * 3 + ["heartbeat"] * 3

    asyncio.run(case())


def test_a_providers_word_costs_a_call_only_where_it_says_something_new(server: str) -> None:
    """Remaining figures that lag a little behind ours are no news."""

    async def case() -> None:
        async with linked(server) as (_, link):
            store = RedisStore(link, load_scripts())
            own = limits(Quota(tokens_per_minute=100))
            await store.admit("a", own, Demand(1, 50))
            link.calls.clear()
            for tokens in (90, 50, 46):
                await store.lower(own[0], None, tokens)
            assert link.calls == []
            await store.lower(own[0], None, 20)
            assert link.calls == ["restore"]
            assert await remaining(store, own) == 20

    asyncio.run(case())


def test_memory_is_bounded() -> None:
    """The head that was not seen for longest is forgotten first."""

    class Yes:
        """A link whose server admits everything."""

        async def send(self, *_: object) -> bytes:
            return bytes(32) + b"\xff" * 4 + bytes(4)

    store = RedisStore(Yes(), load_scripts())

    async def case() -> None:
        for number in range(REMEMBERED + 5):
            await store.admit(
                "a", Scope.of(Kind.CLIENT, f"c{number}", Quota(concurrency=1)).limits(), Demand()
            )

    asyncio.run(case())
    assert repr(store) == f"<RedisStore {REMEMBERED} limits seen, 0 in doubt>"


def test_unavailability_is_the_callers_to_handle(server: str) -> None:
    """The store neither hides it nor retries."""

    async def case() -> None:
        async with linked(server) as (_, link):
            store = RedisStore(link, load_scripts())
            link.away = "before"
            with pytest.raises(Unavailable):
                await store.admit("a", limits(Quota(concurrency=1)), Demand())
            assert link.calls == ["admit"]

    asyncio.run(case())
