"""Tests of `proxy.replicas`: who lives, over a real store, and what is remembered without one."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import pytest
from fakes.virtual_loop import run
from private_store import PrivateStore

from proxy.clock import SystemClock
from proxy.link import Link, Reason, ScriptError, Unavailable, parse
from proxy.replicas import EVERY, KEYS, SILENCE, STEADY, About, Replicas, load_script
from proxy.tasks import Tasks
from ratelimit.store import Script

SCRIPT = load_script()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of a server of this module's own."""
    with PrivateStore() as store:
        yield store.url


@contextlib.asynccontextmanager
async def linked(url: str) -> AsyncIterator[Link]:
    """A link to a store that holds nothing."""
    link = Link(parse(url), clock=SystemClock(), tasks=Tasks(), draw=random.Random(1), scripts=[SCRIPT])
    await link.start()
    try:
        await link.call("FLUSHALL", [], [])
        yield link
    finally:
        await link.close()


def about(name: str, in_flight: int = 0) -> About:
    """What a replica says."""
    return About(name, "0.1.0", "abc", 1_800_000_000, in_flight)


def replica(link: Link, name: str) -> Replicas:
    """A replica that always says the same."""
    return Replicas(link, SCRIPT, lambda: about(name))


def names(of: Replicas) -> list[str]:
    """Whom it has heard."""
    return sorted(member.id for member in of.members)


@pytest.mark.process
def test_replicas_hear_of_each_other(url: str) -> None:
    """Whoever has spoken is known to who speaks next, with all it said; one that leaves is gone at once."""

    async def scenario() -> None:
        async with linked(url) as link:
            first, second, third = (replica(link, name) for name in ("one", "two", "three"))
            assert (first.live, first.members) == (1, ())
            await first.beat()
            assert (first.live, first.members) == (1, (about("one"),))
            await second.beat()
            await third.beat()
            assert names(third) == ["one", "three", "two"]
            await first.beat()
            assert first.live == 3
            await second.leave()
            await second.leave()
            await first.beat()
            assert names(first) == ["one", "three"]

    asyncio.run(scenario())


@pytest.mark.process
def test_each_sign_of_life_is_news(url: str) -> None:
    """What is in flight is asked anew every time; the replica counts once."""

    async def scenario() -> None:
        async with linked(url) as link:
            load = iter(range(1, 9))
            busy = Replicas(link, SCRIPT, lambda: about("one", next(load)))
            await busy.beat()
            await busy.beat()
            assert [member.in_flight for member in busy.members] == [2]

    asyncio.run(scenario())


@pytest.mark.process
def test_silence_means_gone(url: str) -> None:
    """A replica that has not spoken for longer than it may is forgotten by the store, with all it said."""

    async def scenario() -> None:
        async with linked(url) as link:
            await replica(link, "gone").beat()
            seconds, _ = await link.call("TIME", [], [])
            long_ago = int(seconds) * 1000 - round(SILENCE * 1000) - 1
            await link.call("ZADD", [KEYS[0]], [long_ago, "gone"])
            await link.call("ZADD", [KEYS[0]], [long_ago + 5000, "quiet"])
            await link.call(
                "HSET", [KEYS[1]], ["quiet", b'{"id":"quiet","version":"","config_hash":"","started":1}']
            )
            here = replica(link, "here")
            await here.beat()
            assert names(here) == ["here", "quiet"]
            assert await link.call("HLEN", [KEYS[1]], []) == 2
            for key in KEYS:
                assert 0 < await link.call("PTTL", [key], []) <= SILENCE * 10_000

    asyncio.run(scenario())


class Line(Link):
    """A link that answers as it is told, or is away."""

    def __init__(self, answer: Callable[[], Sequence[bytes]]) -> None:
        self._answer = answer
        self._generation = 0
        self.said: list[Any] = []

    async def call(self, what: object, keys: Sequence[object] = (), args: Sequence[object] = ()) -> Any:
        """Answer."""
        assert isinstance(what, Script)
        assert tuple(keys) == KEYS
        self.said.append(args[0])
        return self._answer()


def test_without_the_store_the_last_count_holds() -> None:
    """Limits are divided by whoever was last seen, and nobody is forgotten for the store's sake."""
    words = [
        *(b"one", b'{"id":"one","version":"1","config_hash":"x","started":5,"of_version_2":true}'),
        *(b"two", b'{"id":"two","version":"1","config_hash":"x","started":5,"in_flight":3}'),
        *(b"odd", b'{"id":3}'),
    ]
    away = False

    def answer() -> Sequence[bytes]:
        if away:
            raise Unavailable(Reason.OPEN)
        return words

    async def scenario() -> None:
        nonlocal away
        line = Line(answer)
        here = replica(line, "one")
        await here.beat()
        assert here.live == 3  # what one says of itself may be unreadable here; it lives all the same
        away = True
        await here.beat()
        await here.leave()
        assert (here.live, names(here)) == (3, ["one", "two"])
        assert here.members[1].in_flight == 3

    asyncio.run(scenario())


def alive(count: int) -> Sequence[bytes]:
    """What the store says where so many live."""
    return [word for number in range(count) for word in (b"r%d" % number, b"{}")]


@pytest.mark.parametrize("error", [Unavailable(Reason.TIMEOUT), ScriptError("WRONGTYPE"), None])
def test_the_number_grows_at_once_and_shrinks_late(error: Exception | None) -> None:
    """A store that was away, or is another, has not heard from everybody before silence would be noticed."""
    seen = 5
    failing: Exception | None = None

    def answer() -> Sequence[bytes]:
        if failing is not None:
            raise failing
        return alive(seen)

    async def scenario() -> list[int]:
        nonlocal seen, failing
        line = Line(answer)
        here = replica(line, "one")
        for _ in range(STEADY + 1):
            await here.beat()
        failing = error
        if error is None:
            line._generation += 1
        else:
            await here.beat()
            await here.leave()
        failing = None
        counts = []
        for spoken in (1, 2, 6, 3, 3, 2):
            seen = spoken
            await here.beat()
            counts.append(here.live)
        return counts

    assert STEADY * EVERY >= SILENCE + EVERY
    assert asyncio.run(scenario()) == [5, 5, 6, 6, 3, 2]


def test_a_store_that_answers_with_errors_does_not_end_it() -> None:
    """What a foreign value under our key has broken is mended by whoever deletes it, without a restart."""
    broken = True

    def answer() -> Sequence[bytes]:
        if broken:
            raise ScriptError("WRONGTYPE Operation against a key holding the wrong kind of value")
        return alive(2)

    async def scenario() -> int:
        nonlocal broken
        here = replica(Line(answer), "one")
        task = asyncio.create_task(here.run())
        await asyncio.sleep(5 * EVERY)
        broken = False
        await asyncio.sleep(EVERY)
        task.cancel()
        return here.live

    assert run(scenario()) == 2


def test_it_is_said_again_and_again() -> None:
    """Well more often than silence would end it."""

    async def scenario() -> int:
        line = Line(lambda: ())
        here = replica(line, "one")
        task = asyncio.create_task(here.run())
        await asyncio.sleep(60.5)
        task.cancel()
        assert here.live == 1
        return len(line.said)

    assert run(scenario()) == 60 // EVERY + 1
    assert EVERY * 2 < SILENCE
