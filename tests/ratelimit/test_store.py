"""What every store promises: the same tests for the process's own and for Redis on a real server."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from limit_stand_ins import SERVERS, StillClock, fresh_tag, linked, served

from ratelimit.bucket import Replay
from ratelimit.gauge import UNIT
from ratelimit.memory_store import MemoryStore
from ratelimit.quota import NOTHING, Demand, Dimension, Quota, Window
from ratelimit.redis_store import RedisStore
from ratelimit.scope import Kind, Limits, Scope
from ratelimit.store import SCRIPTS, Store, load_scripts

Opened = Callable[[], contextlib.AbstractAsyncContextManager[Store]]


@pytest.fixture(scope="module", params=("memory", *SERVERS))
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """How to open a store of each kind."""
    if request.param == "memory":
        yield memory_store
        return
    with served(request.param, tmp_path_factory.mktemp("store")) as path:
        yield lambda: redis_store(path)


@contextlib.asynccontextmanager
async def memory_store() -> AsyncIterator[Store]:
    """The process's own store."""
    yield MemoryStore(StillClock())


@contextlib.asynccontextmanager
async def redis_store(path: str) -> AsyncIterator[Store]:
    """The store of the cluster."""
    async with linked(path) as (_, link):
        yield RedisStore(link, load_scripts())


def limits(quota: Quota, model: Quota | None = None) -> Limits:
    """The limits of a client that no other test uses."""
    return Scope.of(Kind.CLIENT, fresh_tag(), quota, None if model is None else {"m": model}).limits("m")


WINDOWS = pytest.mark.parametrize("window", Window)


@WINDOWS
def test_it_admits_the_burst_and_then_refuses_with_a_time(opened: Opened, window: Window) -> None:
    """The time is exact: a smooth 6 a minute drain one in 10 s, a strict window has to pass."""

    async def case() -> None:
        async with opened() as store:
            client = limits(Quota(requests_per_minute=6, window=window))
            remaining = []
            for number in range(6):
                decision = await store.admit(f"r{number}", client, Demand())
                assert decision.requests is not None
                remaining.append(decision.requests.remaining)
            assert remaining == [5, 4, 3, 2, 1, 0]
            decision = await store.admit("r6", client, Demand())
            assert (decision.admitted, decision.refused_by) == (False, Dimension.REQUESTS)
            low, high = (9, 10) if window is Window.SMOOTH else (59, 61)
            assert low < decision.retry_after <= high

    asyncio.run(case())


@WINDOWS
def test_it_takes_all_or_nothing(opened: Opened, window: Window) -> None:
    """What the client's limit would have given is not taken where the model's limit refuses."""

    async def case() -> None:
        async with opened() as store:
            client = limits(
                Quota(requests_per_minute=60, tokens_per_minute=100, window=window),
                Quota(tokens_per_minute=40, window=window),
            )
            assert (await store.admit("a", client, Demand(1, 30))).admitted
            refused = await store.admit("b", client, Demand(1, 30))
            assert refused.limit.endswith("model m")
            assert not (await store.admit("c", client, Demand(1, 71))).admitted
            seen = await store.peek(client[:1], NOTHING)
            assert seen.requests is not None
            assert seen.tokens is not None
            assert (seen.requests.remaining, seen.tokens.remaining) == (59, 70)

    asyncio.run(case())


@WINDOWS
def test_admitting_twice_charges_once(opened: Opened, window: Window) -> None:
    """A call whose answer was lost may be sent again, even to a limit that is used up now."""

    async def case() -> None:
        async with opened() as store:
            client = limits(Quota(requests_per_minute=2, concurrency=2, window=window))
            for rid in ("a", "a", "b", "a"):
                assert (await store.admit(rid, client, Demand())).admitted
            assert not (await store.admit("c", client, Demand())).admitted

    asyncio.run(case())


@WINDOWS
def test_settling_gives_back_once(opened: Opened, window: Window) -> None:
    """By id, with or without a concurrency limit; an unknown id gives nothing."""

    async def case() -> None:
        async with opened() as store:
            client = limits(Quota(tokens_per_minute=100, window=window))
            await store.admit("a", client, Demand(1, 60))
            await store.admit("b", client, Demand(1, 40))
            assert await store.settle("a", client, Demand(1, 60), Demand(1, 10))
            assert not await store.settle("a", client, Demand(1, 60), Demand(1, 10))
            assert not await store.settle("z", client, Demand(1, 60), Demand(1, 10))
            seen = await store.peek(client, NOTHING)
            assert seen.tokens is not None
            assert seen.tokens.remaining == 50

    asyncio.run(case())


@WINDOWS
def test_using_more_is_a_debt(opened: Opened, window: Window) -> None:
    """It is charged beyond the capacity, and nothing passes until it is repaid."""

    async def case() -> None:
        async with opened() as store:
            client = limits(Quota(tokens_per_minute=60, window=window))
            await store.admit("a", client, Demand(1, 50))
            assert await store.settle("a", client, Demand(1, 50), Demand(1, 90))
            decision = await store.admit("b", client, Demand(1, 0))
            assert decision.refused_by is Dimension.TOKENS
            low, high = (29, 30) if window is Window.SMOOTH else (59, 61)
            assert low < decision.retry_after <= high

    asyncio.run(case())


@WINDOWS
def test_releasing_leaves_no_trace(opened: Opened, window: Window) -> None:
    """Request, tokens and place are all given back."""

    async def case() -> None:
        async with opened() as store:
            client = limits(Quota(requests_per_minute=1, tokens_per_minute=9, concurrency=1, window=window))
            for _ in range(5):
                assert (await store.admit("a", client, Demand(1, 9))).admitted
                assert await store.settle("a", client, Demand(1, 9), NOTHING)

    asyncio.run(case())


def test_a_place_is_free_when_its_holder_ends(opened: Opened) -> None:
    """No more than the limit at once."""

    async def case() -> None:
        async with opened() as store:
            client = limits(Quota(concurrency=2))
            assert (await store.admit("a", client, Demand())).admitted
            assert (await store.admit("b", client, Demand())).admitted
            assert (await store.admit("c", client, Demand())).refused_by is Dimension.CONCURRENCY
            await store.settle("a", client, Demand(), Demand())
            assert (await store.admit("c", client, Demand())).admitted

    asyncio.run(case())


def test_a_heartbeat_tells_what_is_gone(opened: Opened) -> None:
    """And brings nothing back."""

    async def case() -> None:
        async with opened() as store:
            client = limits(Quota(concurrency=1))
            await store.admit("a", client, Demand())
            assert list(await store.heartbeat(client[0], ["x", "a", "y"])) == ["x", "y"]
            await store.settle("a", client, Demand(), Demand())
            assert list(await store.heartbeat(client[0], ["a"])) == ["a"]
            assert (await store.admit("b", client, Demand())).admitted

    asyncio.run(case())


@WINDOWS
def test_a_replay_is_charged_once_by_its_mark(opened: Opened, window: Window) -> None:
    """And its reservations are open afterwards, each once."""

    async def case() -> None:
        async with opened() as store:
            client = limits(Quota(tokens_per_minute=100, concurrency=3, window=window))
            unit = UNIT if window is Window.SMOOTH else 1
            for _ in range(2):
                await store.restore(client[0], Replay("~m", 0, 30 * unit, held=("a", "b")))
            await store.restore(client[0], Replay("~n", 0, 5 * unit))
            seen = await store.peek(client, NOTHING)
            assert seen.tokens is not None
            assert seen.concurrency is not None
            assert (seen.tokens.remaining, seen.concurrency.remaining) == (65, 1)
            assert await store.settle("a", client, Demand(1, 20), NOTHING)

    asyncio.run(case())


@WINDOWS
def test_a_providers_word_only_lowers(opened: Opened, window: Window) -> None:
    """What it says remains is believed where it is less than we thought."""

    async def case() -> None:
        async with opened() as store:
            client = limits(Quota(requests_per_minute=100, tokens_per_minute=1000, window=window))
            await store.admit("a", client, Demand(1, 500))
            await store.lower(client[0], 40, 900)
            await store.lower(client[0], 80, None)
            seen = await store.peek(client, NOTHING)
            assert seen.requests is not None
            assert seen.tokens is not None
            assert (seen.requests.remaining, seen.tokens.remaining) == (40, 500)

    asyncio.run(case())


def test_asking_takes_nothing(opened: Opened) -> None:
    """A peek tells whether a demand would fit."""

    async def case() -> None:
        async with opened() as store:
            client = limits(Quota(requests_per_minute=1))
            assert (await store.peek(client, Demand(1))).admitted
            assert not (await store.peek(client, Demand(2))).admitted
            assert (await store.admit("a", client, Demand(1))).admitted

    asyncio.run(case())


def test_scripts_know_their_digest() -> None:
    """Redis finds a script by the SHA-1 of its text; the text stays out of the repr."""
    scripts = load_scripts()
    assert tuple(scripts) == SCRIPTS
    for name, script in scripts.items():
        assert script.sha == hashlib.sha1(script.text.encode()).hexdigest()
        assert repr(script) == f"<Script {name} {script.sha[:10]}>"


def test_every_script_says_what_it_is() -> None:
    """Its head names it, its version, what it stores, takes and returns, and what a repetition does."""
    for name, script in load_scripts().items():
        assert script.text.startswith(f"-- {name}.lua, version ")
        for part in ("-- Stored: ", "-- KEYS: ", "-- ARGV: ", "-- Returns: ", "-- Idempotent"):
            assert part in script.text, (name, part)
