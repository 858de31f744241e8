"""Tests of `proxy.replicas`: who lives, over a real store, and what is remembered without one."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest
from fakes.virtual_loop import run
from private_store import PrivateStore

from proxy.clock import SystemClock
from proxy.link import Link, Reason, ScriptError, Unavailable, parse
from proxy.replicas import EVERY, KEYS, RELIST, SILENCE, STEADY, About, Replicas, load_script
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
    return Replicas(link, SCRIPT, lambda: about(name), random.Random(name))


async def names(of: Replicas) -> list[str]:
    """Whom it names when an operator asks."""
    return sorted(member.id for member in await of.ask())


@pytest.mark.process
def test_replicas_hear_of_each_other(url: str) -> None:
    """Whoever has spoken is counted by who speaks next; one that leaves is gone at once."""

    async def scenario() -> None:
        async with linked(url) as link:
            first, second, third = (replica(link, name) for name in ("one", "two", "three"))
            assert (first.live, first.members) == (1, ())
            await first.beat()
            assert (first.live, first.members) == (1, (about("one"),))
            await second.beat()
            await third.beat()
            assert third.live == 3
            assert await names(third) == ["one", "three", "two"]
            await first.beat()
            assert first.live == 3
            await second.leave()
            await second.leave()
            assert await names(first) == ["one", "three"]

    asyncio.run(scenario())


@pytest.mark.process
def test_each_sign_of_life_is_news(url: str) -> None:
    """What is in flight is asked anew every time; the replica counts once."""

    async def scenario() -> None:
        async with linked(url) as link:
            load = iter(range(1, 9))
            busy = Replicas(link, SCRIPT, lambda: about("one", next(load)), random.Random(1))
            await busy.beat()
            await busy.beat()
            assert [member.in_flight for member in await replica(link, "two").ask()] == [2, 0]
            assert busy.live == 1

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
            assert here.live == 2
            assert await names(here) == ["here", "quiet"]
            assert await link.call("HLEN", [KEYS[1]], []) == 2
            for key in KEYS:
                assert 0 < await link.call("PTTL", [key], []) <= SILENCE * 10_000

    asyncio.run(scenario())


class Line(Link):
    """A link that answers as it is told, or is away. `said` are the arguments of each call."""

    def __init__(self, answer: Callable[[], Sequence[Any]]) -> None:
        self._answer = answer
        self._generation = 0
        self.said: list[list[Any]] = []

    async def call(self, what: object, keys: Sequence[object] = (), args: Sequence[object] = ()) -> Any:
        """Answer."""
        assert isinstance(what, Script)
        assert tuple(keys) == KEYS
        self.said.append(list(args))
        return self._answer()

    @property
    def listings(self) -> list[int]:
        """Which calls, by number, wanted the list of the members."""
        return [number for number, (*_, listed) in enumerate(self.said) if listed]

    @property
    def news(self) -> list[int]:
        """Which calls had news for the others."""
        return [number for number, (_, _, _, news, _) in enumerate(self.said) if news]


def test_without_the_store_the_last_count_holds() -> None:
    """Limits are divided by whoever was last seen, and nobody is forgotten for the store's sake."""
    words = [
        *(b"one", b'{"id":"one","version":"1","config_hash":"x","started":5,"of_version_2":true}'),
        *(b"two", b'{"id":"two","version":"1","config_hash":"x","started":5,"in_flight":3}'),
        *(b"odd", b'{"id":3}'),
    ]
    away = False

    def answer() -> Sequence[Any]:
        if away:
            raise Unavailable(Reason.OPEN)
        return 3, b"7", words

    async def scenario() -> None:
        nonlocal away
        line = Line(answer)
        here = replica(line, "one")
        await here.beat()
        assert here.live == 3  # what one says of itself may be unreadable here; it lives all the same
        away = True
        await here.beat()
        await here.leave()
        assert (here.live, await names(here)) == (3, ["one", "two"])
        assert here.members[1].in_flight == 3

    asyncio.run(scenario())


def test_what_a_replica_says_of_itself_is_never_old() -> None:
    """The others are shown as they were last told; in its place is what holds now."""
    away = False
    now = [about("two", in_flight=1)]
    words = [
        word
        for each in (about("one", 4), now[0], about("zoe", 5))
        for word in (b"", msgspec.json.encode(each))
    ]

    def answer() -> Sequence[Any]:
        if away:
            raise Unavailable(Reason.OPEN)
        return 3, b"7", words

    async def scenario() -> None:
        nonlocal away
        here = Replicas(Line(answer), SCRIPT, lambda: now[0], random.Random(1))
        await here.beat()
        away = True
        now[0] = msgspec.structs.replace(now[0], config_hash="new", in_flight=9)
        assert await here.ask() == (about("one", 4), now[0], about("zoe", 5))

    asyncio.run(scenario())


def test_who_is_not_in_the_list_that_was_last_told_is_in_it() -> None:
    """Its own words got lost, but it is there to be asked."""
    words = [b"one", msgspec.json.encode(about("one"))]
    here = replica(Line(lambda: (1, b"7", words)), "two")
    assert asyncio.run(here.ask()) == (about("two"), about("one"))


def test_who_asks_does_not_bring_back_a_replica_that_has_left() -> None:
    """It is told what was last known, and the store is told nothing."""
    words = [b"one", msgspec.json.encode(about("one"))]

    async def scenario() -> list[list[Any]]:
        line = Line(lambda: (1, b"7", words))
        here = replica(line, "one")
        asking = asyncio.ensure_future(here.ask())
        await asyncio.sleep(0)
        await here.leave()
        assert await asking == await here.ask() == (about("one"),)
        return line.said

    asked, goodbye = asyncio.run(scenario())
    assert (bool(asked[1]), goodbye[1]) == (True, b"")


def test_who_has_never_heard_of_anybody_names_itself() -> None:
    """The store was away from the beginning."""

    def away() -> Sequence[Any]:
        raise Unavailable(Reason.OPEN)

    assert asyncio.run(names(replica(Line(away), "one"))) == ["one"]


def alive(count: int, version: int = 1) -> Sequence[Any]:
    """What the store says where so many live."""
    return count, b"%d" % version, []


def test_signs_of_life_are_not_answered_with_who_lives() -> None:
    """The first is, for what is to be shown while the store is away, and others do not change that."""

    async def scenario() -> Line:
        line = Line(lambda: alive(1000))
        here = replica(line, "one")
        for _ in range(10 * RELIST):
            await here.beat()
        return line

    assert asyncio.run(scenario()).listings == [0]


@pytest.mark.parametrize("changed", [(1000, 2), (1001, 1)])
def test_a_list_that_is_another_is_asked_for_within_two_minutes(changed: tuple[int, int]) -> None:
    """Once. Its version says so; or the number alone, where a replica of the last version came or went.

    Replicas do not do so together: each has its own moment.
    """
    told = alive(1000)

    async def asks(name: str) -> int:
        nonlocal told
        told = alive(1000)
        line = Line(lambda: told)
        here = replica(line, name)
        for number in range(10 * RELIST):
            if number == 3 * RELIST:
                told = alive(*changed)
            await here.beat()
        first, second = line.listings
        assert first == 0
        return second - 3 * RELIST

    async def scenario() -> list[int]:
        return [await asks(f"replica {number}") for number in range(200)]

    when = asyncio.run(scenario())
    assert 0 < min(when) <= max(when) <= 2 * RELIST
    assert sum(when) / len(when) > RELIST / 2
    assert max(when.count(beat) for beat in when) <= 20


def test_a_cluster_that_changes_all_the_time_is_listed_once_a_minute() -> None:
    """A rollout: every sign of life says another version."""

    async def scenario() -> Line:
        versions = itertools.count()
        line = Line(lambda: alive(1000, next(versions)))
        here = replica(line, "one")
        for _ in range(100 * RELIST):
            await here.beat()
        return line

    assert 80 < len(asyncio.run(scenario()).listings) < 120
    assert RELIST * EVERY == 60


def test_an_operator_who_asks_is_told_at_once_and_changes_no_count() -> None:
    """However often: what the store has heard since it is back is told by time, and not by answers."""
    seen = 5

    async def scenario() -> None:
        nonlocal seen
        line = Line(lambda: alive(seen))
        here = replica(line, "one")
        for _ in range(STEADY):
            await here.ask()
        assert here.live == 1
        await here.beat()
        seen = 2
        for _ in range(STEADY):
            await here.ask()
        await here.beat()
        assert here.live == 5
        assert line.listings == [*range(STEADY), *range(STEADY + 1, 2 * STEADY + 1)]

    asyncio.run(scenario())


def test_how_busy_a_replica_is_is_no_news() -> None:
    """Another configuration is; what the store may not have heard is said again."""
    now, away = about("one"), False

    def answer() -> Sequence[Any]:
        if away:
            raise Unavailable(Reason.TIMEOUT)
        return alive(1)

    async def scenario() -> list[int]:
        nonlocal now, away
        line = Line(answer)
        here = Replicas(line, SCRIPT, lambda: now, random.Random(1))
        for turn in range(8):
            now = About("one", "0.1.0", "abc" if turn < 4 else "new", 1_800_000_000, in_flight=turn)
            away = turn == 4
            await here.beat()
        return line.news

    assert asyncio.run(scenario()) == [0, 4, 5]


@pytest.mark.parametrize("error", [Unavailable(Reason.TIMEOUT), ScriptError("WRONGTYPE"), None])
def test_the_number_grows_at_once_and_shrinks_late(error: Exception | None) -> None:
    """A store that was away, or is another, has not heard from everybody before silence would be noticed."""
    seen = 5
    failing: Exception | None = None

    def answer() -> Sequence[Any]:
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

    def answer() -> Sequence[Any]:
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
        line = Line(lambda: alive(0))
        here = replica(line, "one")
        task = asyncio.create_task(here.run())
        await asyncio.sleep(60.5)
        task.cancel()
        assert here.live == 1
        return len(line.said)

    assert run(scenario()) == 60 // EVERY + 1
    assert EVERY * 2 < SILENCE
