"""The limits that are held here because the shared store is away, and their way back.

Away: a limit is held as this replica's share of it, begun with next to nothing, or it denies, or it
allows, as its quota says. Back: what the share granted is charged to the shared limit, and the open
reservations are registered there, before the shared limit is asked again. A replay keeps its mark until it is
answered, so a store that is only slow is not charged over and over. Other replicas come back at other
moments, and what they have granted is not charged yet: so the share is kept a while longer, or the first to
return would spend it again.
"""

import dataclasses
import itertools
from collections.abc import Coroutine
from typing import Any

from ratelimit.bucket import MARK, Replay
from ratelimit.held import OpenReservations
from ratelimit.memory_store import MemoryStore
from ratelimit.mishaps import Mishaps
from ratelimit.quota import NOTHING, UNLIMITED, Decision, Demand, Dimension, OnOutage
from ratelimit.rooms import Rooms
from ratelimit.scope import Limit, Limits
from ratelimit.store import Store, StoreError, Unavailable
from ratelimit.together import failures, together

ROUNDS = 3
"""How often what was granted during a replay is replayed in turn before the limit counts as back."""


@dataclasses.dataclass(frozen=True, slots=True)
class Outage:
    """How an outage is lived through.

    A share is 1 of max(live replicas last seen, `min_replicas`). A refusal by `on_outage: deny` says
    `deny_retry` seconds. Every `probe` seconds it is tried whether the store is back. Once it is, shares are
    kept for `regroup` seconds more, but no longer than the outage has lasted.
    """

    min_replicas: int = 1
    deny_retry: float = 1.0
    probe: float = 0.25
    regroup: float = 0.0


OUTAGE = Outage()


HEARD = 1.0
"""Seconds within which what is open is told to the store after it was asked whether it is back."""


@dataclasses.dataclass(slots=True)
class _Away:
    """A limit that is held here, the replay of it that was not answered yet, and the ids last registered."""

    limit: Limit
    replay: Replay | None = None
    registered: tuple[str, ...] = ()


@dataclasses.dataclass(slots=True)
class _Scope:
    """The limits of one tag, since when they are held here, and since when the store is back (seconds).

    `told` is when the store may have heard last of what was open here: what is older may have a lease there.
    """

    since: float
    told: float
    limits: dict[str, _Away] = dataclasses.field(default_factory=dict)
    back: float | None = None

    def regrouping(self, now: float, most: float) -> bool:
        """Whether the store is back but others may not have said yet what they granted."""
        return self.back is not None and now - self.back < min(most, self.back - self.since)


class Absence:
    """Which scopes are held here, by hash tag: what shares one tag goes away and comes back together."""

    def __init__(self, shared: Store, local: MemoryStore, held: OpenReservations, name: str) -> None:
        self._shared = shared
        self._local = local
        self._held = held
        self._away: dict[str, _Scope] = {}
        self.rooms = Rooms()
        self.mishaps = Mishaps()
        self._marks = (f"{MARK}{name}.{serial:x}" for serial in itertools.count())

    def __len__(self) -> int:
        """How many scopes are held here."""
        return len(self._away)

    def covers(self, limits: Limits) -> bool:
        """Whether the scope of `limits` is held here."""
        return limits[0].tag in self._away

    def told(self, limits: Limits, since: float) -> bool:
        """Whether the store may hold a lease of what was granted here then: it must hear of its end."""
        return since <= self._away[limits[0].tag].told

    def begin(self, limits: Limits, sharers: int, now: float, demand: Demand = NOTHING) -> None:
        """Hold 1 of `sharers` parts of every limit of a scope that is not held here yet.

        `demand` is what found the store away; a share in which it was known to fit begins with room for it.
        """
        scope = self._away.setdefault(limits[0].tag, _Scope(now, now)).limits
        for limit in limits:
            if limit.key not in scope:
                scope[limit.key] = _Away(limit)
                free = self.rooms.free(limit, sharers, demand, now)
                self._local.begin(limit, sharers, self._held.of(limit), free)

    async def admit(
        self, rid: str, limits: Limits, demand: Demand, deny_retry: float
    ) -> tuple[Decision, Limits]:
        """The decision of this replica alone, and the limits that were charged."""
        for limit in limits:
            if limit.quota.on_outage is OnOutage.DENY:
                return Decision(False, Dimension.OUTAGE, limit.name, deny_retry), limits
        shared = tuple(limit for limit in limits if limit.quota.on_outage is OnOutage.SHARE)
        if not shared:
            return UNLIMITED, ()
        for limit in shared:
            self._follow(limit)
        return await self._local.admit(rid, shared, demand), shared

    def _follow(self, limit: Limit) -> None:
        """The configuration may have changed since the share of `limit` began."""
        away = self._away[limit.tag].limits[limit.key]
        if away.limit is not limit:
            if away.limit.quota != limit.quota:
                self._local.change(limit)
            away.limit = limit

    async def come_back(self, now: float, regroup: float) -> None:
        """Try one scope, and where it is back all the others."""
        first = next(iter(self._away), None)
        if first is None:
            return
        if await self._return(first, now, regroup):
            await together(self._return(tag, now, regroup) for tag in tuple(self._away))
        else:
            self._away[first] = self._away.pop(first)

    async def _return(self, tag: str, now: float, regroup: float) -> bool:
        """Whether the store answers. A scope it answers with an error stays here, and holds up no other."""
        try:
            return await self._returned(tag, now, regroup)
        except StoreError as error:
            self.mishaps.note("restore", error)
            return True

    async def _returned(self, tag: str, now: float, regroup: float) -> bool:
        scope = self._away[tag]
        if scope.regrouping(now, regroup):
            return True
        for _ in range(ROUNDS):
            for away in tuple(scope.limits.values()):
                if not await self._replayed(scope, away, now):
                    scope.back = None
                    return False
            if all(self._local.taken(away.limit) == (0, 0) for away in scope.limits.values()):
                break
        if scope.back is None:
            scope.back = now
            if scope.regrouping(now, regroup):
                return True
        elif not await self._levelled(scope, now):
            return False
        await self._ended(tag)
        return True

    async def _ended(self, tag: str) -> None:
        """Ask the store again; what was granted here while it took the last replay is sent at once.

        And only once: should that fail the store is away again, and the next return registers what is open.
        """
        rest: list[Coroutine[Any, Any, None]] = []
        for away in self._away.pop(tag).limits.values():
            late = self._due(away)
            registered = set(away.registered)
            held = tuple(rid for rid in self._held.of(away.limit) if rid not in registered)
            if late.mark or held:
                rest.append(self._shared.restore(away.limit, late._replace(held=held)))
            self._local.end(away.limit)
        await failures(rest, Unavailable)

    def _due(self, away: _Away) -> Replay:
        """What was granted here and is not charged to the shared limit."""
        requests, tokens = self._local.taken(away.limit)
        return Replay(next(self._marks) if requests or tokens else "", requests, tokens)

    async def _levelled(self, scope: _Scope, now: float) -> bool:
        """Whether the store knows how full the shares were: it has drained while not all had charged it."""
        for away in tuple(scope.limits.values()):
            floor = self._local.fullness(away.limit, now - scope.since)
            try:
                await self._shared.restore(away.limit, Replay(floor=floor))
            except Unavailable:
                scope.back = None
                return False
        return True

    async def _replayed(self, scope: _Scope, away: _Away, now: float) -> bool:
        """Whether the shared store has taken what was granted here, and the open reservations."""
        held = self._held.of(away.limit)
        if away.replay is None:
            away.replay = self._due(away)
        replay = away.replay
        try:
            await self._shared.restore(away.limit, replay._replace(held=held))
        except Unavailable as error:
            if error.lost:
                scope.told = now + HEARD
            return False
        scope.told = now + HEARD
        self._local.replayed(away.limit, replay.requests, replay.tokens)
        away.replay = None
        away.registered = held
        return True
