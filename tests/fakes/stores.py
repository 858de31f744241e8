"""A store of limits that writes down who called, and may be slow or away."""

import asyncio
from collections.abc import Sequence

from ratelimit.bucket import Replay
from ratelimit.memory_store import MemoryStore
from ratelimit.quota import Decision, Demand
from ratelimit.scope import Limit
from ratelimit.store import Unavailable


class CountingStore:
    """A `Store` before a real one in memory.

    `calls` are those that change something, as `admit client` and `settle key`. An admission takes `before`
    seconds until it is decided and `after` until the decision is told; `away` says that nobody answers.
    """

    def __init__(self, inner: MemoryStore) -> None:
        self.calls: list[str] = []
        self.admitted: list[Demand] = []
        self.ended: list[Demand] = []
        self.before = self.after = 0.0
        self.away = False
        self._inner = inner

    def _note(self, what: str, limits: Sequence[Limit]) -> None:
        if self.away:
            raise Unavailable
        self.calls.append(f"{what} {limits[0].tag.partition(':')[0]}")

    async def admit(self, rid: str, limits: Sequence[Limit], demand: Demand) -> Decision:
        """Decide, slowly if so told."""
        if self.before:
            await asyncio.sleep(self.before)
        self._note("admit", limits)
        self.admitted.append(demand)
        decision = await self._inner.admit(rid, limits, demand)
        if self.after:
            await asyncio.sleep(self.after)
        return decision

    async def peek(self, limits: Sequence[Limit], demand: Demand) -> Decision:
        """Not noted: only tests look."""
        return await self._inner.peek(limits, demand)

    async def settle(self, rid: str, limits: Sequence[Limit], reserved: Demand, actual: Demand) -> bool:
        """End a reservation."""
        self._note("settle", limits)
        ended = await self._inner.settle(rid, limits, reserved, actual)
        if ended:
            self.ended.append(actual)
        return ended

    async def heartbeat(self, limit: Limit, rids: Sequence[str]) -> Sequence[str]:
        """Renew."""
        self._note("heartbeat", (limit,))
        return await self._inner.heartbeat(limit, rids)

    async def restore(self, limit: Limit, replay: Replay) -> None:
        """Tell what was missed."""
        self._note("restore", (limit,))
        await self._inner.restore(limit, replay)

    async def lower(self, limit: Limit, requests: int | None, tokens: int | None) -> None:
        """Lower."""
        self._note("lower", (limit,))
        await self._inner.lower(limit, requests, tokens)

    async def upkeep(self) -> None:
        """Not noted: it has nothing to do with requests."""
        await self._inner.upkeep()
