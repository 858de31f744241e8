"""Microseconds of Redis CPU for each thing that replicas ask for, by the product's own calls over many links.

One program drives many connections, each with one call on its way, so that the server is as busy as with many
replicas and finds several of them each time it looks. What grows with a number (members, subscribers, leases)
is measured at a small and at a large one.
"""

import asyncio
import contextlib
import dataclasses
import random
import socket
import statistics
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec
from capacity_meter import CPU, Meter
from capacity_model import (
    BEAT,
    BYTES_OUT,
    CREATE,
    DELIVERY,
    LEASE,
    LISTING,
    MEMBER,
    READ,
    REPLICA,
    SCOPE,
    TRANSITION,
)

from proxy import __version__, peers, replicas
from proxy.circuit import Change, Kind, Rules
from proxy.clock import SystemClock
from proxy.config.storage import Responses
from proxy.fleet import ENTRIES
from proxy.link import Link, Settings, parse
from proxy.link.script import Argument, pack
from proxy.link.subscription import PING_S
from proxy.responses import keyspace
from proxy.responses.outbox import Letter
from proxy.responses.scripts import load_scripts as load_response_scripts
from proxy.responses.sealing import Sealer
from proxy.responses.store import ResponseStore
from proxy.responses.store import Rules as StoreRules
from proxy.tasks import Tasks
from ratelimit.quota import Demand, Quota
from ratelimit.redis_store import RedisStore
from ratelimit.scope import Kind as ScopeKind
from ratelimit.scope import Limits, Scope
from ratelimit.store import load_scripts

LINKS = 16
ROUNDS = 3
MANY = 500
"""Members of a large cluster."""

SUBSCRIPTIONS = 2
"""Of a replica: health, and stored responses."""

LISTENERS = 64
LEASES = 200
DOCUMENT = 1500
"""Bytes of a stored response."""

_QUOTA = Quota(requests_per_minute=100_000_000, tokens_per_minute=1_000_000_000, concurrency=100_000)
_DEMAND = Demand(1, 100)
Work = Callable[[int, Link, int], Awaitable[object]]
"""Done by the link of this number, for the time of that number."""


@dataclass(frozen=True, slots=True)
class Life:
    """Bytes that a sign of life is answered with in a cluster of so many, and one that asks for the list.

    `delivered` are those that each replica hears of a target that backs off.
    """

    members: int
    bytes_out: float
    listed: float
    delivered: float = 0.0


class Costs:
    """Measures one thing after another on a server that nobody else uses."""

    def __init__(self, url: str, meter: Meter, links: Sequence[Link]) -> None:
        self._port = urlsplit(url).port or 0
        self._meter = meter
        self._links = links
        self.life = Life(0, 0.0, 0.0)

    async def all(self) -> dict[str, float]:
        """Microseconds for each of what the model counts. Whatever was there is gone before and after."""
        await self._links[0].call("FLUSHALL")
        beat, listing, member = await self._signs()
        poll, ping = await self._poll(), await self._ping()
        background = beat / replicas.EVERY + poll / peers.EVERY + SUBSCRIPTIONS * ping / PING_S
        renewal, lease = await self._renewals()
        transition, delivery = await self._transitions()
        create, read = await self._responses()
        scope = await self._scopes()
        await self._links[0].call("FLUSHALL")
        return {
            REPLICA: background,
            SCOPE: scope,
            CREATE: create,
            READ: read,
            TRANSITION: transition,
            DELIVERY: delivery,
            BEAT: renewal,
            LEASE: lease,
            LISTING: listing,
            MEMBER: member,
        }

    async def _spent(self, times: int, work: Work, links: int = LINKS) -> dict[str, float]:
        """What one piece of `work` costs, when each of so many links does it so many times."""
        before = self._meter.read()

        async def one(number: int, link: Link) -> None:
            for turn in range(times):
                await work(number, link, turn)

        await asyncio.gather(*(one(number, link) for number, link in enumerate(self._links[:links])))
        passed = self._meter.read().since(before)
        return {name: cost / (times * links) for name, cost in passed.items()}

    async def _signs(self) -> tuple[float, float, float]:
        """Of a sign of life in a large cluster; of one that asks for the list, and of each member in that."""
        script = replicas.load_script()
        keys = list(replicas.KEYS)

        async def say(name: str, link: Link, *, listed: bool = False) -> None:
            about = msgspec.json.encode(replicas.About(name, __version__, "0123456789ab", 1_800_000_000))
            await link.call(script, keys, [name, about, round(replicas.SILENCE * 1000), 0, int(listed)])

        few = await self._spent(200, lambda _number, link, _turn: say(_name(0), link, listed=True))
        for number in range(1, MANY):
            await say(_name(number), self._links[number % LINKS])
        beat = await self._spent(200, lambda number, link, _turn: say(_name(number), link))
        many = await self._spent(30, lambda number, link, _turn: say(_name(number), link, listed=True))
        self.life = Life(MANY, beat[BYTES_OUT], many[BYTES_OUT])
        return beat[CPU], *two_points((1, few[CPU]), (MANY, many[CPU]))

    async def _poll(self) -> float:
        script = peers.load_scripts()["poll"]

        def work(number: int, link: Link, _: int) -> Awaitable[object]:
            return link.call(script, [peers.HASH, peers.LOADS], [0, _name(number), b"", peers.OLD])

        return (await self._spent(200, work))[CPU]

    async def _ping(self) -> float:
        return (await self._spent(200, lambda _number, link, _turn: link.call("PING")))[CPU]

    async def _scopes(self) -> float:
        """As requests do it: the client, then model and key together, then all three are settled together."""
        scripts = load_scripts()
        stores = [RedisStore(link, scripts) for link in self._links]
        limits = [_limits(kind) for kind in ScopeKind]

        async def work(number: int, _: Link, turn: int) -> None:
            store, rid = stores[number], f"{_name(number)}.{turn:x}"
            await store.admit(rid, limits[0], _DEMAND)
            await asyncio.gather(*(store.admit(rid, each, _DEMAND) for each in limits[1:]))
            await asyncio.gather(*(store.settle(rid, each, _DEMAND, Demand(1, 90)) for each in limits))

        return (await self._spent(200, work))[CPU] / len(limits)

    async def _renewals(self) -> tuple[float, float]:
        """Of a heartbeat, and of each lease in it."""
        store = RedisStore(self._links[0], load_scripts())
        limits = _limits(ScopeKind.CLIENT)
        rids = [f"{_name(0)}.{number:x}" for number in range(LEASES)]
        for rid in rids:
            await store.admit(rid, limits, _DEMAND)
        stores = [RedisStore(link, load_scripts()) for link in self._links]
        one = await self._spent(
            100, lambda number, _link, _turn: stores[number].heartbeat(limits[0], rids[:1])
        )
        all_ = await self._spent(30, lambda number, _link, _turn: stores[number].heartbeat(limits[0], rids))
        for rid in rids:
            await store.settle(rid, limits, _DEMAND, _DEMAND)
        return two_points((1, one[CPU]), (LEASES, all_[CPU]))

    async def _transitions(self) -> tuple[float, float]:
        """Of a target that backs off, and of each replica that hears of it.

        One at a time, as they come: several at once would share what it takes to write to a socket.
        """
        script = peers.load_scripts()["health"]
        rules = msgspec.json.encode(Rules())

        def change(part: str) -> Work:
            def work(number: int, link: Link, turn: int) -> Awaitable[object]:
                one = Change(Kind.BACK_OFF, f"{part}/model-{number}@{turn:010}", hint=30_000)
                args: list[Argument] = [peers.CHANNEL, rules, ENTRIES, msgspec.json.encode([one])]
                return link.call(script, [peers.HASH], args)

            return work

        alone = await self._spent(300, change("alone"), links=1)
        with _listeners(self._port, LISTENERS):
            heard = await self._spent(300, change("heard"), links=1)
        _, told = two_points((0, alone[BYTES_OUT]), (LISTENERS, heard[BYTES_OUT]))
        self.life = dataclasses.replace(self.life, delivered=told)
        return two_points((0, alone[CPU]), (LISTENERS, heard[CPU]))

    async def _responses(self) -> tuple[float, float]:
        """Of one that is stored, and of one that is read."""
        scripts, sealer = load_response_scripts(), Sealer([], random.randbytes)
        stores = [
            ResponseStore(link, scripts, sealer, StoreRules(Responses(), _name(number)))
            for number, link in enumerate(self._links)
        ]
        document = random.Random(0).randbytes(DOCUMENT)

        def store(number: int, _: Link, turn: int) -> Awaitable[object]:
            return stores[number].send(Letter("capacity", f"resp_{number}_{turn}", document))

        def read(number: int, link: Link, turn: int) -> Awaitable[object]:
            return link.call("MGET", [keyspace.document("capacity", f"resp_{number}_{turn}")])

        return (await self._spent(60, store))[CPU], (await self._spent(60, read))[CPU]


def two_points(low: tuple[float, float], high: tuple[float, float]) -> tuple[float, float]:
    """What is there without any, and what each adds: the line through two measurements, neither below 0."""
    each = max(0.0, (high[1] - low[1]) / (high[0] - low[0]))
    return max(0.0, low[1] - each * low[0]), each


async def measure(url: str, meter: Meter) -> tuple[dict[str, float], Life]:
    """Microseconds for each of what the model counts, and a sign of life in a large cluster.

    The medians of a few rounds.
    """
    tasks = Tasks()
    links = [
        Link(
            parse(url),
            clock=SystemClock(),
            tasks=tasks,
            draw=random.Random(number),
            settings=Settings(deadline_s=10.0),
        )
        for number in range(LINKS)
    ]
    try:
        await asyncio.gather(*(link.start() for link in links))
        costs = Costs(url, meter, links)
        rounds = [await costs.all() for _ in range(ROUNDS)]
        return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}, costs.life
    finally:
        await asyncio.gather(*(link.close() for link in links))
        await tasks.close()


def _name(number: int) -> str:
    """As long as a replica's own."""
    return f"{number:012x}"


def _limits(kind: ScopeKind) -> Limits:
    return Scope.of(kind, "0123456789abcdef", _QUOTA).limits()


@contextlib.contextmanager
def _listeners(port: int, count: int) -> Iterator[None]:
    """Subscribers that hear, and read nothing: what they are sent fits into their sockets."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", port), 5.0))
            one.sendall(pack("SUBSCRIBE", peers.CHANNEL))
            one.recv(4096)
        yield
