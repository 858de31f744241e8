"""Replicas that are restarted one by one, and configurations that change, under requests and streams.

Clients do as a balancer would: they ask `/readyz`, keep connections until they are told to close them, and go
to the next replica where nobody listens; nothing else is ever tried twice.
"""

import asyncio
import contextlib
import itertools
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

import traffic
from ensemble import REPLICAS, Config, configured
from figures import Check
from harness import Mock, Serve, fetch, get, two_free_ports
from stores import standalone
from traffic import CHAT, DOWN, Answer, Begun, Wire, percentile

ASKED = 0.2
"""Seconds between two questions whether a replica is ready."""

CALLERS = 16
"""How many take turns in sending requests."""

PLAIN, STREAMS = "plain", "streams"
_BAD = '{"clients": 7, "retry": {"attempts": 0}}'


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds: of the grace after SIGTERM, of one stream, and between two reloads. `rate` a second."""

    grace: float = 5.0
    stream: float = 8.0
    every: float = 2.0
    reloads: int = 10
    rate: float = 200.0
    streams: int = 100


SHORT = Times(grace=1.0, stream=2.5, every=0.6, reloads=6)


@dataclass(slots=True)
class Opened(Begun):
    """A stream and its time, in monotonic seconds."""

    began: float = field(default_factory=time.monotonic)
    ended: float = 0.0


class Pool:
    """The replicas as a balancer sees them: by their client ports, those in turn that were last ready."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._turns = itertools.cycle(ports)
        self._ports = ports
        self._ready = set(ports)

    async def watch(self) -> None:
        """Ask all of them again and again, until cancelled."""
        while True:
            told = await asyncio.gather(*(asyncio.to_thread(_is_ready, port) for port in self._ports))
            self._ready = {port for port, ready in zip(self._ports, told, strict=True) if ready}
            await asyncio.sleep(ASKED)

    def pick(self) -> list[int]:
        """Whom to ask, in this order."""
        first = next(port for port in self._turns if port in self._ready or not self._ready)
        return [first, *(port for port in self._ports if port != first)]


def _is_ready(port: int) -> bool:
    with contextlib.suppress(OSError):
        return get(port, "/readyz")[0] == 200
    return False


class Crowd:
    """Everybody who calls: so many requests a second, and so many streams at any time, until `over`."""

    def __init__(self, pool: Pool, times: Times) -> None:
        self._pool = pool
        self._times = times
        self.answers: list[Answer] = []
        self.opened: list[Opened] = []
        self._over = False

    @contextlib.asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        """Call meanwhile; what has begun in the end is waited for."""
        watching = asyncio.get_running_loop().create_task(self._pool.watch())
        async with asyncio.TaskGroup() as group:
            for number in range(CALLERS):
                group.create_task(self._caller(number))
            for number in range(self._times.streams):
                group.create_task(self._streams(number))
            yield
            self._over = True
        watching.cancel()

    async def _caller(self, number: int) -> None:
        wires: dict[int, Wire] = {}
        step, payload = CALLERS / self._times.rate, traffic.request(PLAIN)
        due = time.monotonic() + number / self._times.rate
        while not self._over:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            for port in self._pool.pick():
                wire = wires.setdefault(port, Wire(port))
                answer = await traffic.ask(wire, PLAIN, payload, due)
                if answer.headers.get("connection") == "close":
                    wire.close()
                if answer.status != DOWN:
                    break
            self.answers.append(answer)
            due += step
        for wire in wires.values():
            wire.close()

    async def _streams(self, number: int) -> None:
        await asyncio.sleep(number * self._times.stream / self._times.streams)
        while not self._over:
            for port in self._pool.pick():
                opened = Opened(port)
                await traffic.stream(STREAMS, port, CHAT, opened)
                opened.ended = time.monotonic()
                if opened.status != DOWN:
                    break
            self.opened.append(opened)


@dataclass(frozen=True, slots=True)
class Change:
    """What came of all requests and streams while something changed.

    `outlived` are the streams that had begun before a SIGTERM and were still there after its grace.
    """

    statuses: dict[int, int]
    waits: Sequence[float]
    streams: int
    cut: int
    restarts: int
    exits: Sequence[int]
    outlived: int
    reloads: int
    taken: int
    refused: int
    hashes: int

    def checks(self) -> list[Check]:
        """See `Figures`."""
        failed = sum(count for status, count in self.statuses.items() if status != 200)
        asked = sum(self.statuses.values())
        found = [
            Check("requests that failed", f"{failed} {self._others()}", f"= 0 of {asked}", failed == 0),
            Check("streams that were cut", str(self.cut), f"= 0 of {self.streams}", self.cut == 0),
            Check("reloads taken", str(self.taken), f"= {self.reloads}", self.taken == self.reloads),
            Check("bad files refused", str(self.refused), "> 0", self.refused > 0),
            Check("configurations in the end", str(self.hashes), "= 1", self.hashes == 1),
            Check(
                "slowest of 1000",
                f"{percentile(self.waits, 0.999):.2f} s",
                "< 0.5 s",
                self._quick(),
                soft=True,
            ),
        ]
        if self.restarts:
            found += [
                Check("exit statuses", str(sorted(set(self.exits))), "= [0]", set(self.exits) == {0}),
                Check("streams that outlived a grace", str(self.outlived), "> 0", self.outlived > 0),
            ]
        return found

    def _others(self) -> str:
        others = {status: count for status, count in self.statuses.items() if status != 200}
        return str(others) if others else ""

    def _quick(self) -> bool:
        return percentile(self.waits, 0.999) < 0.5


class Cluster:
    """Replicas with ports of their own, which their successors take over."""

    def __init__(self, places: Sequence[tuple[int, int]], variants: Sequence[Config], times: Times) -> None:
        self.ports = [client for client, _ in places]
        self._places = places
        self._variants = itertools.cycle(variants)
        self._times = times
        self.config = next(self._variants)
        self.running: list[Serve] = []
        self.exits: list[int] = []
        self.stopped: list[tuple[int, float]] = []
        self.taken = self.refused = self.reloads = 0

    def at(self, number: int) -> Config:
        """The configuration of one replica, on its ports."""
        client, operations = self._places[number]
        return {**self.config, "listen": {"port": client}, "operations": {"port": operations}}

    @contextlib.contextmanager
    def started(self) -> Iterator[None]:
        """All of them, until the block ends."""
        try:
            for number in range(len(self._places)):
                self.running.append(Serve(self.at(number)))
            yield
        finally:
            for replica in self.running:
                replica.__exit__()

    async def restart(self, number: int) -> None:
        """One ends, however long that takes, and another takes its place."""
        old = self.running[number]
        self.stopped.append((self.ports[number], time.monotonic()))
        old.signal(signal.SIGTERM)
        self.exits.append(await asyncio.to_thread(old.ended, 60.0))
        self._count(old)
        old.__exit__()
        self.running[number] = await asyncio.to_thread(Serve, self.at(number))

    async def reload(self) -> None:
        """A file that is no good, then the next one, for all that run."""
        self.config = next(self._variants)
        for number, replica in enumerate(self.running):
            replica.file.write_text(_BAD, "utf-8")
            refused = len(replica.events("reload_refused")) + 1
            replica.signal(signal.SIGHUP)
            await asyncio.to_thread(replica.event, "reload_refused", refused)
            replica.rewrite(self.at(number))
            taken = len(replica.events("reloaded")) + 1
            replica.signal(signal.SIGHUP)
            await asyncio.to_thread(replica.event, "reloaded", taken)
            self.reloads += 1

    def count(self) -> None:
        """What those have logged that still run."""
        for replica in self.running:
            self._count(replica)

    def _count(self, replica: Serve) -> None:
        self.taken += len(replica.events("reloaded"))
        self.refused += len(replica.events("reload_refused"))

    def hashes(self) -> int:
        """How many configurations there are."""
        told = fetch(self._places[0][1], "/admin/replicas")["replicas"]
        assert len(told) == len(self._places)
        return len({one["config_hash"] for one in told})


def _variants(mocks: Sequence[Mock], redis_url: str, times: Times) -> list[Config]:
    """Configurations that differ in providers, keys, models, limits, clients and bounds."""
    limits = {"requests_per_minute": 1_000_000, "concurrency": 10_000}
    clients: dict[str, dict[str, object]] = {PLAIN: {"limits": limits}, STREAMS: {"limits": limits}}
    common = {"drain_grace": times.grace, "drain_timeout": 60}
    one = configured(mocks[0], redis_url, clients, **common)
    wider = {"requests_per_minute": 2_000_000, "tokens_per_minute": 1_000_000_000, "concurrency": 20_000}
    more = {PLAIN: {"limits": wider}, STREAMS: {}, "new": {}}
    provider = {"base_url": f"http://127.0.0.1:{mocks[1].port}/v1", "api_keys": ["sk-new-1", "sk-new-2"]}
    two = configured(mocks[1], redis_url, more, CHAT, "another", **common) | {
        "providers": {"other": provider},
        "models": {
            alias: {"strategy": "least_busy", "providers": [{"provider": "other"}]}
            for alias in (CHAT, "another")
        },
        "bounds": {"body": "1MiB", "header_block": "16KiB"},
        "queue": {"max_wait": "5s"},
        "health": {"failures": 7},
        "overload": {"max_in_flight": 1_000},
        "cors": {"origins": ["*"]},
    }
    return [one, two]


def _ports() -> tuple[int, int]:
    first = two_free_ports()
    return first, first + 1


def _script(times: Times) -> dict[str, object]:
    tokens = round(times.stream / 0.1)
    return {
        "rules": [{"match": {"stream": True}, "then": {"tokens": tokens, "delay_events_s": 0.1}}],
        "default": {"delay_headers_s": 0.02, "tokens": 5},
    }


def rolling(times: Times) -> Change:
    """All replicas restarted one after another, and a reload of all before each."""

    async def change(cluster: Cluster) -> None:
        for number in range(REPLICAS):
            await cluster.reload()
            await cluster.restart(number)

    return _run(times, change)


def reload(times: Times) -> Change:
    """So many reloads of all replicas, one after another."""

    async def change(cluster: Cluster) -> None:
        for _ in range(times.reloads):
            await cluster.reload()
            await asyncio.sleep(times.every)

    return _run(times, change)


def _run(times: Times, change: Callable[[Cluster], Awaitable[None]]) -> Change:
    with standalone() as store, Mock(_script(times), "one") as one, Mock(_script(times), "two") as two:
        variants = _variants((one, two), f"redis://127.0.0.1:{store.port}", times)
        cluster = Cluster([_ports() for _ in range(REPLICAS)], variants, times)
        with cluster.started():
            return asyncio.run(_changed(cluster, times, change))


async def _changed(cluster: Cluster, times: Times, change: Callable[[Cluster], Awaitable[None]]) -> Change:
    crowd = Crowd(Pool(cluster.ports), times)
    async with crowd.calling():
        await asyncio.sleep(times.stream)
        await change(cluster)
        await asyncio.sleep(times.stream)
    await asyncio.sleep(2.5)  # each has said once more who it is
    cluster.count()
    outlived = [
        opened
        for port, at in cluster.stopped
        for opened in crowd.opened
        if opened.port == port and opened.began < at and opened.ended > at + times.grace
    ]
    return Change(
        statuses=traffic.statuses(crowd.answers),
        waits=[answer.waited for answer in crowd.answers],
        streams=len(crowd.opened),
        cut=sum(not opened.whole for opened in crowd.opened),
        restarts=len(cluster.stopped),
        exits=cluster.exits,
        outlived=len(outlived),
        reloads=cluster.reloads,
        taken=cluster.taken,
        refused=cluster.refused,
        hashes=await asyncio.to_thread(cluster.hashes),
    )
