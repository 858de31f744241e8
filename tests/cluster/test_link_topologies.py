import asyncio
import contextlib
import functools
import hashlib
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from stores import ClusterSet, SentinelSet, Store, cluster_set, sentinel_set
from stores import until as stores_until

from proxy.clock import SystemClock
from proxy.link import Link, Reason, Unavailable, parse
from proxy.link.cluster import slot_of
from proxy.tasks import Tasks

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]


@dataclass(frozen=True)
class Echo:
    """Counts a key up and returns what it was given, so a reply shows whose it is."""

    name: str = "echo"
    text: str = "redis.call('INCR', KEYS[1]) return ARGV[1]"

    @property
    def sha(self) -> str:
        """SHA-1 of the text."""
        return hashlib.sha1(self.text.encode()).hexdigest()


ECHO = Echo()


@contextlib.asynccontextmanager
async def linked(url: str, *scripts: Echo) -> AsyncIterator[Link]:
    """A link on real time."""
    tasks = Tasks()
    link = Link(parse(url), clock=SystemClock(), tasks=tasks, draw=random.Random(5), scripts=scripts)
    await link.start(3.0)
    try:
        yield link
    finally:
        await link.close()
        await asyncio.sleep(0)


async def until(holds: Callable[[], Any], seconds: float) -> None:
    """Wait until `holds`."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110  (what is waited for has no event)
            await asyncio.sleep(0.005)


@dataclass
class Load:
    """Calls without a pause from a few callers, and what became of them."""

    link: Link
    keys: list[str]
    running: bool = True
    wrong: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0
    failures: list[float] = field(default_factory=list)

    async def run(self, callers: int = 4) -> None:
        """Call until told to stop."""
        await asyncio.gather(*(self._caller(index) for index in range(callers)))

    async def _caller(self, index: int) -> None:
        count = 0
        while self.running:
            count += 1
            mine = f"{index}-{count}"
            since = time.monotonic()
            try:
                reply = await self.link.call(ECHO, [self.keys[count % len(self.keys)]], [mine])
                self.wrong += reply != mine.encode()
                self.ends["ok"] += 1
            except Unavailable as error:
                self.ends[error.reason] += 1
                self.failures.append(since)
            self.longest = max(self.longest, time.monotonic() - since)
            await asyncio.sleep(0.002)

    async def more(self, calls: int) -> None:
        """Wait until so many more have succeeded."""
        before = self.ends["ok"]
        await until(lambda: self.ends["ok"] > before + calls, 20.0)

    def outage(self) -> float:
        """Seconds from the first failure to the last."""
        return max(self.failures) - min(self.failures) if self.failures else 0.0


async def blocking(work: Callable[[], None]) -> None:
    """Do what blocks beside the load."""
    await asyncio.get_running_loop().run_in_executor(None, work)


def _keys(cluster: ClusterSet, node: Store, count: int) -> list[str]:
    """Keys that live on `node`."""
    names = (f"{{k{number}}}" for number in range(100_000))
    return list(itertools.islice((name for name in names if cluster.owner_of(name) is node), count))


def test_sentinel_failover_by_death_and_by_order() -> None:
    """The primary dies, then a replica takes over in order: each time the new primary is found by itself."""

    async def scenario(group: SentinelSet) -> None:
        async with linked(group.url, ECHO) as link:
            load = Load(link, ["{a}", "{b}"])
            running = asyncio.create_task(load.run())
            await until(lambda: load.ends["ok"] > 100, 5.0)
            group.primary.kill()
            await until(lambda: not link.available, 2.0)
            await until(lambda: link.available, 20.0)
            assert link.generation == 1
            await load.more(100)
            # A second failover, by order, once the sentinels have settled.
            await asyncio.sleep(1.0)
            await blocking(lambda: stores_until(group.failover))
            await until(lambda: link.generation == 2 and link.available, 20.0)
            await load.more(100)
            load.running = False
            await running
            print(f"sentinel: {dict(load.ends)}, longest call {load.longest * 1e3:.0f} ms")
            assert load.wrong == 0
            assert load.longest < 0.3

    with sentinel_set() as group:
        asyncio.run(scenario(group))


def test_a_slot_moves_under_calls() -> None:
    """No wrong answer, hardly an unavailable one, and every call within its time, while slots move."""

    async def scenario(cluster: ClusterSet) -> None:
        source, target = cluster.primaries[0], cluster.primaries[1]
        keys = _keys(cluster, source, 3)
        other = _keys(cluster, cluster.primaries[2], 1)
        async with linked(cluster.url, ECHO) as link:
            load = Load(link, keys + other)
            running = asyncio.create_task(load.run())
            await until(lambda: load.ends["ok"] > 100, 5.0)
            for key in keys:
                slot = slot_of(key)
                for step in (cluster.open_slot, cluster.carry_keys, cluster.close_slot):
                    await blocking(functools.partial(step, slot, source, target))
                    await load.more(50)
            load.running = False
            await running
            print(f"slot move: {dict(load.ends)}, {link.counters.redirects} redirects")
            assert load.wrong == 0
            assert load.ends["ok"] == load.ends.total()
            assert link.counters.redirects > 0
            assert link.generation == 0
            counts = await link.call_many([("GET", [key], []) for key in [*keys, *other]])
            assert sum(map(int, counts)) == load.ends["ok"]

    with cluster_set() as cluster:
        asyncio.run(scenario(cluster))


def test_a_node_of_a_cluster_fails_over() -> None:
    """A primary dies: keys of the others go on, its own come back with its replica."""

    async def scenario(cluster: ClusterSet) -> None:
        victim = cluster.primaries[0]
        lost, kept = _keys(cluster, victim, 1), _keys(cluster, cluster.primaries[1], 1)
        async with linked(cluster.url, ECHO) as link:
            on_lost, on_kept = Load(link, lost), Load(link, kept)
            running = asyncio.gather(on_lost.run(2), on_kept.run(2))
            await until(lambda: on_lost.ends["ok"] > 50, 5.0)
            victim.kill()
            await until(lambda: on_lost.failures, 2.0)
            await on_lost.more(50)
            on_lost.running = on_kept.running = False
            await running
            print(
                f"node lost: {dict(on_lost.ends)} for {on_lost.outage():.1f} s; others {dict(on_kept.ends)}"
            )
            assert on_lost.wrong == on_kept.wrong == 0
            assert on_lost.longest < 0.3
            assert on_lost.outage() < 10.0
            assert link.generation > 0
            assert set(on_kept.ends) <= {"ok", Reason.CLUSTERDOWN, Reason.OPEN}

    with cluster_set(replicas=1) as cluster:
        asyncio.run(scenario(cluster))


def test_messages_cross_a_cluster() -> None:
    """A message published through any node reaches a subscriber on another."""

    async def scenario(cluster: ClusterSet) -> None:
        async with linked(cluster.url) as link:
            got: list[bytes] = []
            subscriptions = [link.subscribe("news", got.append) for _ in range(3)]
            await until(lambda: all(each.subscribed for each in subscriptions), 5.0)
            await link.call("PUBLISH", [], ["news", "x"])
            await until(lambda: got == [b"x"] * 3, 2.0)

    with cluster_set() as cluster:
        asyncio.run(scenario(cluster))
