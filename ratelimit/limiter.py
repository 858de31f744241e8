"""The front: reserve before the work, settle after it, and keep both true when the store is away.

    the shared store answers   it decides
    it is unavailable          each limit says: share (a local part of it), deny, or allow
    it answers again           what was granted meanwhile is replayed to it; then it decides again
    it answers with an error   a request is decided as if it were away, other work given up

The limiter starts no task: its owner runs `run()`, which flushes what was settled, renews leases and comes
back from an outage. `settle` and `release` only hand over and return at once; call them in a `finally`.
"""

import asyncio
import collections
import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence

import msgspec

from ratelimit.absence import OUTAGE, Absence, Outage
from ratelimit.bucket import Replay
from ratelimit.gauge import too_large
from ratelimit.held import Held, OpenReservations
from ratelimit.memory_store import MemoryStore
from ratelimit.quota import NOTHING, Decision, Demand
from ratelimit.refusals import Refusals
from ratelimit.scope import Limit, Limits, Refusal, Reservation, unlimited
from ratelimit.store import LEASE_S, Clock, Store, StoreError, Unavailable
from ratelimit.together import MOST, failures, together


class _Ended(msgspec.Struct, frozen=True):
    """A reservation to be settled at what it used; `at` in seconds."""

    held: Held
    actual: Demand
    at: float

    @property
    def limits(self) -> Limits:
        """Of the scope that it is about."""
        return self.held.reservation.limits

    @property
    def told(self) -> tuple[str, Limits, Demand, Demand]:
        """What a store is told."""
        reserved = self.held.reservation
        return reserved.id, reserved.limits, reserved.demand, self.actual


class Limiter:
    """Limits over the cluster, seen from one replica.

    `shared` is the store of the cluster and `local` stands in for it. `replicas` says how many replicas were
    last seen alive. `name` is this process's own: reservation ids begin with it, so no other process, and no
    earlier one, may have it.
    """

    def __init__(
        self,
        shared: Store,
        local: MemoryStore,
        clock: Clock,
        replicas: Callable[[], int],
        name: str,
        outage: Outage = OUTAGE,
    ) -> None:
        self._shared = shared
        self._local = local
        self._clock = clock
        self._replicas = replicas
        self._name = name
        self._outage = outage
        self._held = OpenReservations()
        self._absence = Absence(shared, local, self._held, name)
        self._refusals = Refusals()
        self._serials = itertools.count()
        self._ended: collections.deque[_Ended] = collections.deque()
        self._deferred: list[_Ended] = []
        self._lowered: dict[str, tuple[Limit, int | None, int | None]] = {}
        self._wake = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None
        self._next_beat = clock.monotonic() + LEASE_S / 3
        self._next_probe = clock.monotonic()

    def __repr__(self) -> str:
        """What is open, and whether the store is there."""
        to_settle = len(self._ended) + len(self._deferred)
        return f"<Limiter [{len(self._held)} held, {to_settle} to settle, {len(self._absence)} scopes away]>"

    @property
    def away(self) -> int:
        """How many scopes are limited by this replica alone because the store is away."""
        return len(self._absence)

    @property
    def errors(self) -> int:
        """How often the store failed for a reason that waiting does not mend (`StoreError`)."""
        return self._absence.mishaps.count

    async def reserve(self, limits: Limits, demand: Demand) -> Reservation | Refusal:
        """Take `demand` and a lease from every limit of one scope, or nothing.

        Never raises for the store's sake. A demand that nothing limits, that can never fit, or that was just
        refused costs no call. Cancelled, it takes nothing.
        """
        if not limits:
            return unlimited(demand)
        now = self._clock.monotonic()
        known = too_large(limits, demand) or self._refusals.find(limits, demand, now)
        if known is not None:
            return Refusal(limits, demand, known, cached=True)
        rid = f"{self._name}.{next(self._serials):x}"
        decision = None if self._absence.covers(limits) else await self._ask(rid, limits, demand)
        local = decision is None
        if decision is None:
            self._begin(limits, demand)
            rid += "l"  # the shared store may have granted the first id after all
            decision, limits = await self._absence.admit(rid, limits, demand, self._outage.deny_retry)
        else:
            if not self._absence.covers(limits):  # else its share has begun, and grants what is not noted
                self._absence.rooms.note(limits, decision, now)
            if not decision.admitted:
                self._refusals.add(limits, demand, decision, now)
        if not decision.admitted:
            return Refusal(limits, demand, decision)
        reservation = Reservation(rid, limits, demand, decision)
        if limits:
            self._held.add(Held(reservation, now, local))
        return reservation

    async def peek(self, limits: Limits, demand: Demand = NOTHING) -> Decision | None:
        """What is left of the limits of one scope; None where nothing limits, or the store is away."""
        if not limits or self._absence.covers(limits):
            return None
        try:
            return await self._shared.peek(limits, demand)
        except Unavailable:
            return None
        except StoreError as error:
            self._absence.mishaps.note("peek", error)
            return None

    def settle(self, reservation: Reservation, tokens: int) -> None:
        """End a reservation: it used its requests and `tokens`. Only the first end counts."""
        self._end(reservation, Demand(reservation.demand.requests, tokens))

    def release(self, reservation: Reservation) -> None:
        """End a reservation that came to nothing: all of it is given back."""
        self._end(reservation, NOTHING)

    def lower(self, limits: Limits, requests: int | None, tokens: int | None) -> None:
        """A provider says that no more than this many requests and tokens remain (None: it did not say).

        It only ever lowers our own view, and only where that was noticeably higher.
        """
        for limit in limits:
            self._lowered[limit.key] = limit, requests, tokens
        self._wake.set()

    def forget(self) -> None:
        """Limits may have changed: what was refused by the old ones is asked anew."""
        self._refusals = Refusals()

    async def run(self) -> None:
        """Work in the background until cancelled. Cancel it, then `flush` once, to end in order."""
        self._set_alarm()
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                await self.tick()
                if self._alarm is None:
                    self._set_alarm()
        finally:
            if self._alarm is not None:
                self._alarm.cancel()

    def _set_alarm(self) -> None:
        """Wake in a probe, whatever else does: a timer for each settlement would cost more than that.

        It is set when a round is over, so that slow ones are not made one right after the other.
        """
        self._alarm = asyncio.get_running_loop().call_later(self._outage.probe, self._ring)

    def _ring(self) -> None:
        self._next_probe = self._clock.monotonic()  # its time has come, however the clocks are rounded
        self._alarm = None
        self._wake.set()

    async def tick(self) -> None:
        """What is due now: settlements at once, leases every third of a lease, the rest every probe."""
        now = self._clock.monotonic()
        await self.flush()
        if now >= self._next_probe:
            await self._absence.come_back(now, self._outage.regroup)
            self._ended.extend(self._deferred)
            self._deferred.clear()
            with self._giving_up("upkeep"):
                await self._shared.upkeep()
            self._next_probe = self._clock.monotonic() + self._outage.probe
        if now >= self._next_beat:
            self._next_beat = now + LEASE_S / 3
            await together(self._beat(*one) for one in self._held.by_limit(now - LEASE_S / 3))

    async def flush(self) -> None:
        """Settle what was handed over. What cannot be settled now is kept as long as its lease."""
        batch = tuple(self._ended)
        self._ended.clear()
        done = False
        try:
            for first in range(0, len(batch), MOST):
                await self._settle(batch[first : first + MOST])
            if self._lowered:
                await self._lower()
            done = True
        finally:
            if not done:  # cancelled: settling twice is harmless, settling never is not
                self._ended.extendleft(reversed(batch))

    async def _ask(self, rid: str, limits: Limits, demand: Demand) -> Decision | None:
        """The shared store's decision, or None where it is away."""
        answered = False
        try:
            decision = await self._shared.admit(rid, limits, demand)
            answered = True
            return decision
        except Unavailable:
            return None
        except StoreError as error:
            self._absence.mishaps.note("admit", error)
            return None
        finally:
            if not answered:  # unavailable or cancelled: it may have been granted, and nobody holds it
                now = self._clock.monotonic()
                self._hand_over(_Ended(Held(Reservation(rid, limits, demand, _LOST), now), NOTHING, now))

    def _begin(self, limits: Limits, demand: Demand = NOTHING) -> None:
        sharers = max(self._replicas(), self._outage.min_replicas)
        self._absence.begin(limits, sharers, self._clock.monotonic(), demand)

    @contextlib.contextmanager
    def _giving_up(self, operation: str) -> Iterator[None]:
        """Give `operation` up where the store cannot do it, be it for now or for good."""
        try:
            yield
        except Unavailable:
            pass
        except StoreError as error:
            self._absence.mishaps.note(operation, error)

    def _end(self, reservation: Reservation, actual: Demand) -> None:
        held = self._held.take(reservation.id)
        if held is not None:
            self._hand_over(_Ended(held, actual, self._clock.monotonic()))
            self._refusals.clear(reservation.limits)

    def _hand_over(self, ended: _Ended) -> None:
        self._ended.append(ended)
        self._wake.set()

    async def _settle(self, batch: Sequence[_Ended]) -> None:
        """Settle all of `batch` at once: with the shared store, or here where that is away."""
        asked: list[_Ended] = []
        here: list[_Ended] = []
        for ended in batch:
            (here if self._absence.covers(ended.limits) else asked).append(ended)
        pending = [self._shared.settle(*ended.told) for ended in asked]
        for ended, error in zip(asked, await failures(pending, StoreError, Unavailable), strict=True):
            if isinstance(error, StoreError):  # dropped: the next attempt would fail as well
                self._absence.mishaps.note("settle", error)
            elif error is not None:
                self._begin(ended.limits, ended.held.reservation.demand)
                self._defer(ended)
        for ended in here:
            rid, limits, demand, actual = ended.told
            if ended.held.local:
                await self._local.settle(rid, limits, demand, actual)
                if self._absence.told(limits, ended.held.since):  # else its place stays taken there
                    self._defer(_Ended(ended.held, demand, ended.at))
            else:
                await self._local.settle(rid, limits, demand, demand)  # its place is free here already
                self._defer(ended)

    def _defer(self, ended: _Ended) -> None:
        """Settle it when the store is back, if that is within its lease."""
        if self._clock.monotonic() - ended.at < LEASE_S:
            self._deferred.append(ended)

    async def _lower(self) -> None:
        lowered, self._lowered = self._lowered, {}
        for limit, requests, tokens in lowered.values():
            if not self._absence.covers((limit,)):
                with self._giving_up("lower"):
                    await self._shared.lower(limit, requests, tokens)

    async def _beat(self, limit: Limit, rids: Sequence[str]) -> None:
        if self._absence.covers((limit,)):
            await self._local.heartbeat(limit, rids)
            return
        with self._giving_up("heartbeat"):
            missing = await self._shared.heartbeat(limit, rids)
            open_still = tuple(rid for rid in missing if rid in self._held)
            if open_still:
                await self._shared.restore(limit, Replay(held=open_still))


_LOST = Decision(admitted=True)
"""The decision of a reservation whose answer was lost."""
