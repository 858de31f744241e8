"""A Cluster: which node holds which of the 16384 slots, and what to do when that changes.

The map comes from CLUSTER SLOTS and is replaced whole. MOVED corrects one slot at once and asks for a
new map; ASK sends one call to the slot's next owner without believing more than that. Either resends a
call once, within its own time (https://valkey.io/topics/cluster-spec/).
"""

import asyncio
from binascii import crc_hqx
from collections.abc import Sequence

from proxy.config.redis_url import Endpoint
from proxy.link.breaker import State
from proxy.link.connection import Call
from proxy.link.failure import Reason, Unavailable
from proxy.link.node import Means, Node, Watcher
from proxy.link.script import Argument, pack

SLOTS = 16384
REFRESH_S = 0.25
"""Seconds between two looks at the map while a node is away."""

IDLE_S = 30.0

_ASKING = pack("ASKING")


def slot_of(key: Argument) -> int:
    """The slot of a key: of its hash tag, the first non-empty {...}, if it has one."""
    raw = key if isinstance(key, bytes) else str(key).encode()
    _, brace, rest = raw.partition(b"{")
    tag, closed, _ = rest.partition(b"}")
    return crc_hqx(tag if brace and closed and tag else raw, 0) % SLOTS


class Cluster:
    """The nodes of one cluster. One node per primary, known by its endpoint."""

    def __init__(self, seeds: tuple[Endpoint, ...], means: Means, watcher: Watcher) -> None:
        self._seeds = seeds
        self._means = means
        self._watcher = watcher
        self._owners: list[Node | None] = [None] * SLOTS
        self._nodes: dict[Endpoint, Node] = {}
        self._stale = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._turn = 0
        self.mapped = asyncio.Event()

    @property
    def nodes(self) -> Sequence[Node]:
        """The nodes that hold slots."""
        return tuple(self._nodes.values())

    def start(self) -> None:
        """Begin to learn the map, in the background."""
        self._task = self._means.tasks.spawn(self._run(), "redis-cluster")

    async def close(self) -> None:
        """End everything."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        for node in self.nodes:
            await node.close()

    def route(self, keys: Sequence[Argument]) -> Node:
        """The node of a call over `keys`, which share a slot; without keys any node will do.

        Raises:
            Unavailable: no node is known to hold the slot.
        """
        node = self._owners[slot_of(keys[0])] if keys else self._any()
        if node is None:
            raise Unavailable(Reason.CLUSTERDOWN, "nobody is known to hold the slot")
        return node

    async def locate(self) -> Endpoint:
        """Some node's endpoint, each time the next: for Pub/Sub, which is the same on all."""
        known = [node.endpoint for node in self.nodes if node.ready and node.endpoint] or self._seeds
        self._turn += 1
        return known[self._turn % len(known)]

    def suspect(self) -> None:
        """The map may be out of date."""
        self._stale.set()

    def redirect(self, call: Call, text: str, due: float) -> bool:
        """Send `call` where `text`, a MOVED or ASK reply, says; False if that node is not at hand."""
        word, slot, where = text.split(" ")[:3]
        host, _, port = where.rpartition(":")
        node = self._nodes.get(Endpoint(host.strip("[]"), int(port)))
        if word == "MOVED":
            self._stale.set()
        if node is None or not node.ready:
            return False
        self._means.counters.redirects += 1
        call.redirected, call.reloaded = True, False
        if word == "MOVED":
            self._owners[int(slot)] = node
        else:
            call.prefix = _ASKING
        return node.resend(call, due)

    def _any(self) -> Node | None:
        ready = (node for node in self._nodes.values() if node.ready)
        return next(ready, next(iter(self._nodes.values()), None))

    async def _run(self) -> None:
        while True:
            self._stale.clear()
            await self._refresh()
            whole = self.mapped.is_set() and all(node.state is State.CLOSED for node in self.nodes)
            try:
                async with asyncio.timeout(IDLE_S if whole else REFRESH_S):
                    await self._stale.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(self._means.draw.uniform(0.0, 0.05))

    async def _refresh(self) -> None:
        """Ask one node for the map, first those that answer."""
        ready = [node.endpoint for node in self.nodes if node.ready and node.endpoint]
        others = [seed for seed in (*self._nodes, *self._seeds) if seed not in ready]
        self._turn += 1
        turn = self._turn % max(1, len(ready))
        for endpoint in dict.fromkeys([*ready[turn:], *ready[:turn], *others]):
            try:
                slots = await self._means.dialler.ask_node(endpoint, "CLUSTER", "SLOTS")
            except Unavailable as error:
                self._means.counters.errors[error.reason] += 1
                continue
            if slots:
                self._apply(read_slots(slots, endpoint.host))
                return

    def _apply(self, ranges: Sequence[tuple[int, int, Endpoint]]) -> None:
        """Take over a map.

        A primary that is none any more was failed over, and its last writes may be lost: the generation
        moves on. A slot that only moved kept its keys.
        """
        owners: list[Node | None] = [None] * SLOTS
        nodes: dict[Endpoint, Node] = {}
        for first, last, endpoint in ranges:
            node = nodes.get(endpoint) or self._nodes.get(endpoint) or self._add(endpoint)
            nodes[endpoint] = node
            owners[first : last + 1] = [node] * (last + 1 - first)
        gone = [node for endpoint, node in self._nodes.items() if endpoint not in nodes]
        self._owners, self._nodes = owners, nodes
        for node in gone:
            self._means.tasks.spawn(node.close(), "redis-node-close")
        self.mapped.set()
        if gone:
            self._watcher.on_identity()

    def _add(self, endpoint: Endpoint) -> Node:
        async def locate() -> Endpoint:
            return endpoint

        node = Node(locate, self._means, self._watcher)
        node.start()
        return node


def read_slots(reply: list[list[object]], asked: str) -> list[tuple[int, int, Endpoint]]:
    """CLUSTER SLOTS as (first, last, primary). A node that does not know its own name is the one asked."""
    ranges = []
    for first, last, primary, *_ in reply:
        assert isinstance(first, int)
        assert isinstance(last, int)
        assert isinstance(primary, list)
        host, port = primary[:2]
        ranges.append((first, last, Endpoint(host.decode() if host else asked, port)))
    return ranges
