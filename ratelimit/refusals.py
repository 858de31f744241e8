"""The last refusals, so that asking again in vain costs no store.

An entry answers only demands that would be told the same reason and the same wait, and only for a
moment: another replica may have given something back. What this replica gives back clears it at once.
"""

import msgspec

from ratelimit.quota import Decision, Demand, Dimension, Room
from ratelimit.scope import Limits

LONGEST_S = 1.0
"""How long a refusal is believed at most."""
CONCURRENCY_S = 0.1
"""How long a refusal for concurrency is believed: a place may come free at any moment."""
MOST = 10_000
"""How many refusals are kept."""


class _Entry(msgspec.Struct, frozen=True):
    since: float
    until: float
    demand: Demand
    decision: Decision

    def covers(self, demand: Demand) -> bool:
        """Whether `demand` would be refused for the same reason and as long.

        What ran out has to be asked for alike. Of anything else it asks no more than the entry did, or fits
        there: then it waits no longer.
        """
        by, asked = self.decision.refused_by, self.demand
        return _alike(
            demand.requests, asked.requests, self.decision.requests, ran_out=by is Dimension.REQUESTS
        ) and _alike(demand.tokens, asked.tokens, self.decision.tokens, ran_out=by is Dimension.TOKENS)


def _alike(wanted: int, refused: int, room: Room | None, *, ran_out: bool) -> bool:
    if wanted == refused:
        return True
    return not ran_out and (wanted < refused or room is None or wanted <= room.remaining)


class Refusals:
    """Refusals by the key of the narrowest limit asked for. Times are the caller's, in seconds."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._entries)

    def find(self, limits: Limits, demand: Demand, now: float) -> Decision | None:
        """The refusal of `demand` that still holds, with what is left of its wait."""
        entry = self._entries.get(limits[-1].key)
        if entry is None:
            return None
        if now >= entry.until:
            del self._entries[limits[-1].key]
            return None
        if not entry.covers(demand):
            return None
        return msgspec.structs.replace(
            entry.decision, retry_after=entry.decision.retry_after - (now - entry.since)
        )

    def add(self, limits: Limits, demand: Demand, decision: Decision, now: float) -> None:
        """Remember that `demand` was refused."""
        longest = CONCURRENCY_S if decision.refused_by is Dimension.CONCURRENCY else LONGEST_S
        until = now + min(longest, decision.retry_after)
        self._entries.pop(limits[-1].key, None)
        self._entries[limits[-1].key] = _Entry(now, until, demand, decision)
        if len(self._entries) > MOST:
            del self._entries[next(iter(self._entries))]

    def clear(self, limits: Limits) -> None:
        """Something of `limits` was given back."""
        if self._entries:
            for limit in limits:
                self._entries.pop(limit.key, None)
