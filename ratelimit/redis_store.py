"""The store shared by the cluster: one script call for each operation, through a link that is handed in.

It also keeps what Redis may lose. Of each limit it remembers the last head it saw; after `doubt` (another
server answers, or the old one forgot) the first call for a limit begins by raising it to that memory, which
only ever lowers what is left. In normal operation it does not: tokens may have been given back since. Neither
does the way back from an absence, for a server that was only slow lost nothing: there the memory counts where
the server's own is older, or gone, as after a flush that no new identity gave away.
"""

import struct
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from ratelimit.bucket import Replay
from ratelimit.gauge import SECOND_US, Header, Level, floor, granted, judged
from ratelimit.quota import Decision, Demand, Dimension
from ratelimit.scope import Limit
from ratelimit.store import LEASE_S, Link, Script
from ratelimit.together import together

REMEMBERED = 10_000
"""Of how many limits the last head is kept."""
BATCH = 500
"""Ids in one heartbeat call."""
NOTICEABLE = 20
"""`lower` asks Redis only where it takes away more than a 20th of the capacity, or all."""

_HEADER = struct.Struct("<5q")
_DRAINS = struct.Struct("<2q")
_REPLAY = struct.Struct("<8q")
_LEVEL_SIZE = len(Level._fields)
_UNSEEN = Header(0, 0, 0, 0, 0)


class RedisStore:
    """Limits in Redis. `scripts` come from `load_scripts`; `lease_s` is the lease in whole seconds."""

    def __init__(self, link: Link, scripts: Mapping[str, Script], lease_s: int = LEASE_S) -> None:
        self._link = link
        self._scripts = scripts
        self._lease = lease_s
        self._seen: dict[str, Header] = {}
        self._doubted: dict[str, Header] = {}
        self._untidy: dict[str, Limit] = {}
        self._latest = 0

    def __repr__(self) -> str:
        """What it keeps besides Redis."""
        return f"<RedisStore {len(self._seen)} limits seen, {len(self._doubted)} in doubt>"

    def doubt(self) -> None:
        """Redis may have forgotten: tell each limit what it had before it is asked again."""
        self._doubted.update(self._seen)

    async def admit(self, rid: str, limits: Sequence[Limit], demand: Demand) -> Decision:
        """See `Store.admit`: one call, and a second one where lapsed leases stood in the way."""
        if self._doubted:
            await self._reassure(limits)
        decision, late = self._judge(limits, demand, await self._ask(rid, limits, demand))
        if late:
            if decision.refused_by is Dimension.CONCURRENCY:
                for limit in late:
                    await self._tidy(limit)
                return self._judge(limits, demand, await self._ask(rid, limits, demand))[0]
            self._untidy.update((limit.key, limit) for limit in late)
        return decision

    async def peek(self, limits: Sequence[Limit], demand: Demand) -> Decision:
        """See `Store.peek`."""
        return self._judge(limits, demand, await self._ask("", limits, demand))[0]

    def settle(self, rid: str, limits: Sequence[Limit], reserved: Demand, actual: Demand) -> Awaitable[bool]:
        """See `Store.settle`. Sent at once, and no task for it: every request ends with one."""
        args: list[str | int | bytes] = [rid, _keep_ms(limits)]
        args += [limit.gauge.packed_change(reserved, actual) for limit in limits]
        return self._call("settle", limits, args)

    async def heartbeat(self, limit: Limit, rids: Sequence[str]) -> Sequence[str]:
        """See `Store.heartbeat`. Leases that are missing put the server in doubt."""
        missing: list[str] = []
        for at in range(0, len(rids), BATCH):
            batch = rids[at : at + BATCH]
            answer = await self._call("heartbeat", (limit,), [self._lease, limit.gauge.keep_ms, *batch])
            missing += (batch[position - 1] for position in answer[1:])
        if missing:
            self.doubt()
        return missing

    async def restore(self, limit: Limit, replay: Replay) -> None:
        """See `Store.restore`. Without a floor it tells what was last seen, should the server lack that."""
        await self._reassure((limit,))
        seen = self._seen.get(limit.key)
        if seen is not None and replay.floor == (0, 0):
            replay = replay._replace(seen=seen.at, floor=(seen.requests, seen.tokens), if_older=True)
        await self._restore(limit, replay)

    async def lower(self, limit: Limit, requests: int | None, tokens: int | None) -> None:
        """See `Store.lower`. Spares the call where it would change little of what was last seen."""
        least = floor(limit.gauge, requests, tokens)
        for cap, want, have in zip(limit.gauge.full, least, self._level(limit), strict=True):
            if want - have > cap // NOTICEABLE or have < want == cap:
                await self.restore(limit, Replay(floor=least))
                return

    async def upkeep(self) -> None:
        """Free the lapsed leases of the limits that were seen to be due."""
        await together(self._tidy(limit) for limit in tuple(self._untidy.values()))

    def _ask(self, rid: str, limits: Sequence[Limit], demand: Demand) -> Awaitable[Any]:
        args: list[str | int | bytes] = [rid, self._lease, _keep_ms(limits)]
        args += [limit.gauge.packed_ask(demand) for limit in limits]
        return self._call("admit", limits, args)

    def _judge(
        self, limits: Sequence[Limit], demand: Demand, answer: bytes | Sequence[int]
    ) -> tuple[Decision, list[Limit]]:
        """What admit.lua answered: the decision, and the limits whose tidying is due."""
        gauges = [limit.gauge for limit in limits]
        if isinstance(answer, bytes):
            headers = list(map(Header._make, _HEADER.iter_unpack(answer)))
            for limit, header in zip(limits, headers, strict=True):
                self._remember(limit.key, header)
            return granted(limits, gauges, headers), self._late(limits, headers, headers[0].at)
        asks = [gauge.ask(demand) for gauge in gauges]
        levels = [Level(*answer[at : at + _LEVEL_SIZE]) for at in range(1, len(answer), _LEVEL_SIZE)]
        return judged(limits, gauges, asks, levels), self._late(limits, levels, answer[0])

    def _late(self, limits: Sequence[Limit], levels: Sequence[Header | Level], now: int) -> list[Limit]:
        """The limits whose tidying is due. Due later than a lease from now: by a clock that stepped back."""
        second = now // SECOND_US
        later = second + self._lease
        return [limit for limit, level in zip(limits, levels, strict=True) if not second < level.due <= later]

    async def _tidy(self, limit: Limit) -> None:
        self._untidy.pop(limit.key, None)
        drains = _DRAINS.pack(limit.gauge.requests_drain, limit.gauge.tokens_drain)
        await self._call("tidy", (limit,), [self._lease, limit.gauge.keep_ms, drains])

    async def _restore(self, limit: Limit, replay: Replay) -> None:
        held = limit.gauge
        drains = held.requests_drain, held.tokens_drain
        missed = replay.requests, replay.tokens
        packed = _REPLAY.pack(*drains, replay.seen, *replay.floor, *missed, replay.if_older)
        batches = [replay.held[at : at + BATCH] for at in range(0, len(replay.held), BATCH)] or [()]
        for batch in batches:
            await self._call("restore", (limit,), [replay.mark, self._lease, held.keep_ms, packed, *batch])

    async def _reassure(self, limits: Sequence[Limit]) -> None:
        for limit in limits:
            seen = self._doubted.get(limit.key)
            if seen is not None:
                await self._restore(limit, Replay(seen=seen.at, floor=(seen.requests, seen.tokens)))
                self._doubted.pop(limit.key, None)

    def _call(self, name: str, limits: Sequence[Limit], args: list[str | int | bytes]) -> Awaitable[Any]:
        return self._link.send(self._scripts[name], [limit.key for limit in limits], args)

    def _level(self, limit: Limit) -> tuple[int, int]:
        """How full the limit was when last seen, drained up to the latest time Redis told us."""
        seen = self._seen.get(limit.key, _UNSEEN)
        passed = self._latest - seen.at
        return (
            max(0, seen.requests - passed * limit.gauge.requests_drain),
            max(0, seen.tokens - passed * limit.gauge.tokens_drain),
        )

    def _remember(self, key: str, header: Header) -> None:
        self._latest = header.at
        self._seen.pop(key, None)
        self._seen[key] = header
        if len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]


def _keep_ms(limits: Sequence[Limit]) -> int:
    return max([limit.gauge.keep_ms for limit in limits])
