"""What a quota means in whole numbers, and what the numbers of a bucket mean to a caller.

One token of a smooth limit is `UNIT` = 60 million units, and a limit of n per minute drains n units a
microsecond: 60 million microseconds drain n tokens, exactly, in integers. So a level is a whole number, it
keeps its meaning when the limit changes, and Lua's doubles hold it exactly up to 2^53 (a burst of 150
million tokens; beyond it is off by less than a millionth of a token). A strict limit counts plain requests
and tokens and drains nothing: its log says when they leave.

A share is the same limit with every cost multiplied by the number of sharers: nothing has to be divided,
so nothing has to be rounded.
"""

import dataclasses
import struct
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ratelimit.quota import Decision, Demand, Dimension, Quota, Room, Window

UNIT = 60_000_000
UNBOUNDED = 1 << 62
"""The capacity of what is not limited."""
INSTANT = 1 << 20
"""The drain of what is not limited: a level left over from an older config is gone at once."""
SECOND_US = 1_000_000
WINDOW_S = 60
SPARE_MS = 120_000
"""How long a key outlives the time in which a full bucket drains: longer than any lease and its tidying."""
CONCURRENCY_RETRY_S = 1.0
"""What a caller refused for concurrency is told. Nobody knows when another request ends."""

_ASK = struct.Struct("<7q")
_CHANGE = struct.Struct("<4q")


class Ask(NamedTuple):
    """What one limit is asked for, in its own units: `<i8 x7` for admit.lua. A drain of 0: strict."""

    requests: int
    requests_cap: int
    requests_drain: int
    tokens: int
    tokens_cap: int
    tokens_drain: int
    most: int


class Header(NamedTuple):
    """The head of a limit's state, as admit.lua stores and answers it."""

    at: int
    requests: int
    tokens: int
    held: int
    due: int


class Level(NamedTuple):
    """How full a limit is, without the demand; the waits are microseconds, and 0 for a smooth window."""

    requests: int
    tokens: int
    held: int
    due: int
    requests_wait: int
    tokens_wait: int


class Change(NamedTuple):
    """What settling adds to a limit (`<i8 x4` for settle.lua); below 0 it gives back."""

    requests: int
    tokens: int
    requests_drain: int
    tokens_drain: int


class Limited(Protocol):
    """What is needed of a limit to decide on it (`scope.Limit`)."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def quota(self) -> Quota:
        """What is allowed."""

    @property
    def gauge(self) -> "Gauge":
        """The same in units."""


@dataclasses.dataclass(frozen=True, slots=True)
class Gauge:
    """A quota in units. `request` and `token` are the units of one; 0 where they are not limited."""

    request: int
    requests_cap: int
    requests_drain: int
    token: int
    tokens_cap: int
    tokens_drain: int
    most: int
    keep_ms: int

    @classmethod
    def of(cls, quota: Quota, share: int = 1) -> "Gauge":
        """`quota` in units, where `share` replicas divide it between them."""
        most = UNBOUNDED if quota.concurrency is None else max(1, quota.concurrency // share)
        requests, tokens = quota.requests_per_minute, quota.tokens_per_minute
        if quota.window is Window.STRICT:
            keep_ms = SPARE_MS + (WINDOW_S + 1) * 1000
            return cls(*_counted(requests, share), *_counted(tokens, share), most, keep_ms)
        of_requests, of_tokens = (
            _drained(requests, quota.burst, share),
            _drained(tokens, quota.burst_tokens, share),
        )
        keep_ms = SPARE_MS + max(_drain_ms(*of_requests), _drain_ms(*of_tokens))
        return cls(*of_requests, *of_tokens, most, keep_ms)

    @property
    def strict(self) -> bool:
        """Whether the window is strict."""
        return self.requests_drain == 0

    @property
    def full(self) -> tuple[int, int]:
        """The requests and tokens of a limit that is all used up."""
        return self.requests_cap if self.request else 0, self.tokens_cap if self.token else 0

    def ask(self, demand: Demand) -> Ask:
        """What `demand` costs, and what is allowed."""
        return Ask._make(self._asked(demand))

    def packed_ask(self, demand: Demand) -> bytes:
        """`ask` as it travels: a plain tuple is packed, for there is one in every request."""
        return _ASK.pack(*self._asked(demand))

    def change(self, reserved: Demand, actual: Demand) -> Change:
        """What settling `reserved` at `actual` adds."""
        return Change._make(self._changed(reserved, actual))

    def packed_change(self, reserved: Demand, actual: Demand) -> bytes:
        """`change` as it travels."""
        return _CHANGE.pack(*self._changed(reserved, actual))

    def _asked(self, demand: Demand) -> tuple[int, ...]:
        return (
            self.request * demand.requests,
            self.requests_cap,
            self.requests_drain,
            self.token * demand.tokens,
            self.tokens_cap,
            self.tokens_drain,
            self.most,
        )

    def _changed(self, reserved: Demand, actual: Demand) -> tuple[int, ...]:
        return (
            self.request * (actual.requests - reserved.requests),
            self.token * (actual.tokens - reserved.tokens),
            self.requests_drain,
            self.tokens_drain,
        )


def _counted(limit: int | None, share: int) -> tuple[int, int, int]:
    return (0, UNBOUNDED, 0) if limit is None else (share, limit, 0)


def _drained(limit: int | None, burst: int | None, share: int) -> tuple[int, int, int]:
    if limit is None:
        return 0, UNBOUNDED, INSTANT
    return UNIT * share, UNIT * (limit if burst is None else burst), limit


def _drain_ms(cost: int, cap: int, drain: int) -> int:
    return -(-cap // (drain * 1000)) if cost else 0


def floor(held: Gauge, requests: int | None, tokens: int | None) -> tuple[int, int]:
    """How full a limit is at least, where no more than these requests and tokens remain (None: unknown)."""
    full = held.full
    return (
        0 if requests is None else max(0, full[0] - requests * held.request),
        0 if tokens is None else max(0, full[1] - tokens * held.token),
    )


def too_large(limits: Sequence[Limited], demand: Demand) -> Decision | None:
    """The refusal of a demand that no waiting makes fit, or None."""
    for limit in limits:
        held = limit.gauge
        if held.request * demand.requests > held.requests_cap:
            return Decision(False, Dimension.REQUESTS, limit.name, never_fits=True)
        if held.token * demand.tokens > held.tokens_cap:
            return Decision(False, Dimension.TOKENS, limit.name, never_fits=True)
    return None


def granted(limits: Sequence[Limited], gauges: Sequence[Gauge], headers: Sequence[Header]) -> Decision:
    """The decision on a demand that was charged."""
    return _decision(limits, gauges, headers, (None, "", 0))


def judged(
    limits: Sequence[Limited], gauges: Sequence[Gauge], asks: Sequence[Ask], levels: Sequence[Level]
) -> Decision:
    """The decision on a demand that was refused, or only asked about."""
    worst: tuple[Dimension | None, str, int] = (None, "", 0)
    for limit, ask, level in zip(limits, asks, levels, strict=True):
        for dimension, wait in _waits(ask, level):
            if wait > worst[2]:
                worst = dimension, limit.name, wait
    return _decision(limits, gauges, levels, worst)


def _waits(ask: Ask, level: Level) -> tuple[tuple[Dimension, int], ...]:
    requests, tokens = level.requests_wait, level.tokens_wait
    if ask.requests_drain:
        requests = -(-(level.requests + ask.requests - ask.requests_cap) // ask.requests_drain)
        tokens = -(-(level.tokens + ask.tokens - ask.tokens_cap) // ask.tokens_drain)
    held = int(CONCURRENCY_RETRY_S * SECOND_US) if level.held >= ask.most else 0
    return (Dimension.CONCURRENCY, held), (Dimension.REQUESTS, requests), (Dimension.TOKENS, tokens)


def _decision(
    limits: Sequence[Limited],
    gauges: Sequence[Gauge],
    levels: Sequence[Level | Header],
    worst: tuple[Dimension | None, str, int],
) -> Decision:
    requests: Room | None = None
    tokens: Room | None = None
    concurrency: Room | None = None
    for limit, held, level in zip(limits, gauges, levels, strict=True):
        quota = limit.quota
        if (figure := quota.requests_per_minute) is not None:
            left = (held.requests_cap - level.requests) // held.request
            requests = _tightest(
                requests, figure, left, level.requests, held.requests_cap, held.requests_drain
            )
        if (figure := quota.tokens_per_minute) is not None:
            left = (held.tokens_cap - level.tokens) // held.token
            tokens = _tightest(tokens, figure, left, level.tokens, held.tokens_cap, held.tokens_drain)
        if (figure := quota.concurrency) is not None:
            concurrency = _tightest(concurrency, figure, held.most - level.held, 0, 0, 0)
    dimension, name, wait = worst
    return Decision(
        dimension is None,
        dimension,
        name,
        wait / SECOND_US,
        requests=requests,
        tokens=tokens,
        concurrency=concurrency,
    )


def _tightest(room: Room | None, limit: int, left: int, level: int, cap: int, drain: int) -> Room:
    """`room`, or the one with `left` (below 0: nothing) where that is less."""
    left = max(left, 0)
    if room is not None and room.remaining <= left:
        return room
    if drain:
        return Room(limit, left, level / drain / SECOND_US, cap / drain / SECOND_US)
    return Room(limit, left, float(WINDOW_S + 1) if level else 0.0)
