"""A store in this process: the pure twin behind the same protocol as Redis.

It is the local share while Redis is away (`begin`, `taken`, `end`): then each of N replicas holds limit / N,
written as the full limit at N times the cost. A share begins used up but for what its holder says is free,
so that the switch grants no second burst, and what it grants meanwhile is replayed to Redis afterwards. A
demand larger than the whole share is admitted when the share is untouched, and leaves a debt.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import msgspec

from ratelimit import bucket
from ratelimit.bucket import Admitted, Entry, Replay, State, Ticket
from ratelimit.gauge import SECOND_US, WINDOW_S, Ask, Change, Gauge, floor, granted, judged
from ratelimit.quota import Decision, Demand, Quota
from ratelimit.scope import Limit
from ratelimit.store import LEASE_S, Clock


@dataclasses.dataclass(slots=True)
class _Share:
    """A limit held locally: its quota, scaled for the sharers, and in its units what was granted.

    `requests` and `tokens` are still to be charged to Redis; `all_requests` and `all_tokens` only grow.
    """

    quota: Quota
    gauge: Gauge
    sharers: int
    requests: int = 0
    tokens: int = 0
    all_requests: int = 0
    all_tokens: int = 0


class MemoryStore:
    """States in a dictionary. `lease_s` is the lease of a reservation in whole seconds."""

    def __init__(self, clock: Clock, lease_s: int = LEASE_S) -> None:
        self._clock = clock
        self._lease = lease_s
        self._states: dict[str, State | None] = {}
        self._gauges: dict[str, Gauge] = {}
        self._shares: dict[str, _Share] = {}

    def __repr__(self) -> str:
        """How much it holds."""
        return f"<MemoryStore {len(self._states)} limits, {len(self._shares)} of them shares>"

    def _now(self) -> int:
        return int(self._clock.monotonic() * SECOND_US)

    def _gauge(self, limit: Limit) -> Gauge:
        share = self._shares.get(limit.key)
        return limit.gauge if share is None else share.gauge

    def _change(self, limit: Limit, reserved: Demand, actual: Demand) -> Change:
        """What the end of a reservation adds; it may have been made by an earlier configuration's figures."""
        share = self._shares.get(limit.key)
        if share is None or share.quota == limit.quota:
            return self._gauge(limit).change(reserved, actual)
        made, held = Gauge.of(limit.quota, share.sharers), share.gauge
        return made.change(reserved, actual)._replace(
            requests_drain=held.requests_drain, tokens_drain=held.tokens_drain
        )

    def _ask(self, limit: Limit, demand: Demand) -> Ask:
        ask = self._gauge(limit).ask(demand)
        if limit.key not in self._shares:
            return ask
        requests_cap, tokens_cap = max(ask.requests, ask.requests_cap), max(ask.tokens, ask.tokens_cap)
        return ask._replace(requests_cap=requests_cap, tokens_cap=tokens_cap)

    async def admit(self, rid: str, limits: Sequence[Limit], demand: Demand) -> Decision:
        """See `Store.admit`. Never waits."""
        now = self._now()
        states = [bucket.tidy(self._states.get(limit.key), self._lease, now)[0] for limit in limits]
        asks = [self._ask(limit, demand) for limit in limits]
        gauges = [self._gauge(limit) for limit in limits]
        after, answer = bucket.admit(states, asks, Ticket(rid, self._lease), now)
        for limit, held, ask, old, new in zip(limits, gauges, asks, states, after, strict=True):
            self._states[limit.key] = new
            self._gauges[limit.key] = held
            if new is not None and rid in new.leases and (old is None or rid not in old.leases):
                self._grant(limit, ask.requests, ask.tokens)
        if isinstance(answer, Admitted):
            return granted(limits, gauges, answer.headers)
        return judged(limits, gauges, asks, answer.levels)

    async def peek(self, limits: Sequence[Limit], demand: Demand) -> Decision:
        """See `Store.peek`."""
        return await self.admit("", limits, demand)

    async def settle(self, rid: str, limits: Sequence[Limit], reserved: Demand, actual: Demand) -> bool:
        """See `Store.settle`."""
        ended = False
        for limit in limits:
            change = self._change(limit, reserved, actual)
            state, there = bucket.settle(self._states.get(limit.key), rid, change, self._now())
            self._states[limit.key] = state
            if there:
                ended = True
                self._grant(limit, change.requests, change.tokens)
        return ended

    async def heartbeat(self, limit: Limit, rids: Sequence[str]) -> Sequence[str]:
        """See `Store.heartbeat`."""
        state, missing = bucket.heartbeat(self._states.get(limit.key), rids, self._lease, self._now())
        self._states[limit.key] = state
        return missing

    async def restore(self, limit: Limit, replay: Replay) -> None:
        """See `Store.restore`."""
        self._states[limit.key] = self._restored(limit, self._states.get(limit.key), replay)
        self._gauges[limit.key] = self._gauge(limit)

    async def lower(self, limit: Limit, requests: int | None, tokens: int | None) -> None:
        """See `Store.lower`."""
        await self.restore(limit, Replay(floor=floor(self._gauge(limit), requests, tokens)))

    async def upkeep(self) -> None:
        """Free lapsed leases, and forget the limits of which nothing is used any more."""
        now = self._now()
        for key, state in tuple(self._states.items()):
            tidied = self._states[key] = bucket.tidy(state, self._lease, now)[0]
            held = self._gauges.get(key)
            idle = tidied is None or held is None or now - tidied.at > held.keep_ms * 1000
            if idle and key not in self._shares and not (tidied and tidied.leases):
                del self._states[key]
                self._gauges.pop(key, None)

    def begin(
        self, limit: Limit, sharers: int, held: Sequence[str] = (), free: tuple[int, int] = (0, 0)
    ) -> None:
        """Hold 1 of `sharers` parts of `limit` from now on: the reservations `held` open, all used up.

        But for the `free` units of requests and tokens, which have no meaning in a strict window.
        """
        part = Gauge.of(limit.quota, sharers)
        now = self._now()
        second = now // SECOND_US
        requests, tokens = (max(0, full - spare) for full, spare in zip(part.full, free, strict=True))
        used = State(now, second + self._lease, requests, tokens)
        if part.strict:
            used = State(now, used.due, *part.full, log=_spread(*part.full, second))
        self._shares[limit.key] = _Share(limit.quota, part, sharers)
        self._states[limit.key] = self._restored(limit, used, Replay(held=tuple(held)))

    def change(self, limit: Limit) -> None:
        """Hold the same part of `limit` as it is now configured.

        What was free of the share stays free, as far as it fits: a larger figure is no burst, and what was
        not limited before begins used up. A strict window drops what is beyond a smaller one in a minute.
        """
        share, state = self._shares[limit.key], self._restored(limit, self._states.get(limit.key), Replay())
        part = Gauge.of(limit.quota, share.sharers)
        requests, tokens = (new - old for new, old in zip(part.full, share.gauge.full, strict=True))
        if part.strict:
            requests, tokens = max(0, requests), max(0, tokens)
            log = _merged(state.log, _spread(requests, tokens, self._now() // SECOND_US))
            state = msgspec.structs.replace(state, log=log)
        share.quota, share.gauge = limit.quota, part
        self._states[limit.key] = msgspec.structs.replace(
            state, requests=max(0, state.requests + requests), tokens=max(0, state.tokens + tokens)
        )

    def taken(self, limit: Limit) -> tuple[int, int]:
        """What Redis has to be charged for this share, in the units of the whole limit.

        What was granted, but no more than is not drained yet: counted from a share that began used up, that
        is never less than what one bucket shared by all would still hold. What has drained is forgotten, so
        that it is not charged by a later replay.
        """
        share = self._shares[limit.key]
        level = self._restored(limit, self._states.get(limit.key), Replay())
        share.requests, share.tokens = min(share.requests, level.requests), min(share.tokens, level.tokens)
        return max(0, -(-share.requests // share.sharers)), max(0, -(-share.tokens // share.sharers))

    def replayed(self, limit: Limit, requests: int, tokens: int) -> None:
        """Redis has been charged this much, in the units of the whole limit."""
        share = self._shares[limit.key]
        share.requests -= requests * share.sharers
        share.tokens -= tokens * share.sharers

    def fullness(self, limit: Limit, away: float) -> tuple[int, int]:
        """How full the whole limit is at least if all sharers have granted as much; 0 for a strict window.

        Redis has drained for the `away` seconds at most while they had not charged it: who was there all the
        time has granted nothing unseen. A strict window is charged at the second of its replay, which is
        late enough by itself.
        """
        share = self._shares[limit.key]
        if share.gauge.strict:
            return 0, 0
        level = self._restored(limit, self._states.get(limit.key), Replay())
        requests, tokens = limit.gauge.full
        passed, own = int(away * SECOND_US), share.sharers
        of_requests = share.all_requests // own + passed * limit.gauge.requests_drain
        of_tokens = share.all_tokens // own + passed * limit.gauge.tokens_drain
        return (
            max(0, min(share.all_requests, level.requests, requests, of_requests)),
            max(0, min(share.all_tokens, level.tokens, tokens, of_tokens)),
        )

    def end(self, limit: Limit) -> None:
        """Forget the share of `limit`: Redis is asked again."""
        del self._shares[limit.key], self._states[limit.key]

    def _restored(self, limit: Limit, state: State | None, replay: Replay) -> State:
        held = self._gauge(limit)
        drains = held.requests_drain, held.tokens_drain
        return bucket.restore(state, replay, drains, self._lease, self._now())[0]

    def _grant(self, limit: Limit, requests: int, tokens: int) -> None:
        share = self._shares.get(limit.key)
        if share is not None:
            share.requests += requests
            share.tokens += tokens
            share.all_requests += requests
            share.all_tokens += tokens


def _spread(requests: int, tokens: int, second: int) -> tuple[Entry, ...]:
    """A strict log that is used up evenly, so that it frees a sixtieth every second."""
    parts = range(WINDOW_S + 1)
    return tuple(
        Entry(
            second - WINDOW_S + part,
            requests * part // WINDOW_S - requests * (part - 1) // WINDOW_S,
            tokens * part // WINDOW_S - tokens * (part - 1) // WINDOW_S,
        )
        for part in parts[1:]
    )


def _merged(*logs: Sequence[Entry]) -> tuple[Entry, ...]:
    """One strict log of several, oldest first."""
    found: dict[int, Entry] = {}
    for second, requests, tokens in itertools.chain(*logs):
        was = found.get(second, Entry(second, 0, 0))
        found[second] = Entry(second, was.requests + requests, was.tokens + tokens)
    return tuple(found[second] for second in sorted(found))
