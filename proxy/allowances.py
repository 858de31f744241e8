"""What limits have said on this replica, for operators: how often what, and what was left last. Pure.

A decision is noted in passing, and nothing is asked for it. While nobody asks, what was used of a smooth
limit drains on, by what the last decision said; of a strict one nobody knows when a part of it leaves, only
when all of it has. Other replicas may have used it since, so the least of what all say holds.
"""

import dataclasses
from collections.abc import Iterable, Iterator

from ratelimit.quota import Decision, Dimension, Quota, Room, Window
from ratelimit.scope import Kind

ADMITTED = "admitted"
OUT_OF_REACH = "outage"

FRESH = 60.0
"""Seconds for which the room for more requests at one time is told: nobody knows when those there are end."""

MINUTE = 60.0
"""Seconds in which a limit that is all used up, and may be used up at one moment, drains."""


@dataclasses.dataclass(slots=True)
class Allowance:
    """Of one holder: decisions by what they were, and the last one, `at` a monotonic time in seconds."""

    decisions: dict[str, int] = dataclasses.field(default_factory=dict)
    last: Decision | None = None
    at: float = 0.0

    def left(self, now: float, quotas: Iterable[Quota] = ()) -> Iterator[tuple[str, float]]:
        """The share that is left of each dimension that is limited, by the holder's `quotas`.

        0 for as long as more was used than may be.
        """
        last = self.last
        if last is None:
            return
        since, known = max(now - self.at, 0.0), tuple(quotas)
        for dimension, room in ((Dimension.REQUESTS, last.requests), (Dimension.TOKENS, last.tokens)):
            if room is not None:
                yield dimension.value, _share(room, since, _drained(room.limit, dimension, known))
        places = last.concurrency
        if places is not None and since < FRESH:
            yield Dimension.CONCURRENCY.value, _part(places)


class Allowances:
    """The allowances of all who have met a limit, by whose it is and their configured name."""

    def __init__(self) -> None:
        self.of: dict[tuple[Kind, str], Allowance] = {}

    def note(self, kind: Kind, name: str, decision: Decision, at: float) -> None:
        """A limit of this holder has decided."""
        allowance = self.of.get((kind, name))
        if allowance is None:
            allowance = self.of[kind, name] = Allowance()
        word = ADMITTED if decision.admitted else decision.refused_by or OUT_OF_REACH
        allowance.decisions[word] = allowance.decisions.get(word, 0) + 1
        allowance.last, allowance.at = decision, at


def _share(room: Room, since: float, drained: float | None) -> float:
    """What is left of `room` so many seconds later, if nobody has used it.

    `drained` are the seconds in which all of it drains, None where it leaves as a window moves on.
    """
    full = max(room.reset - since, 0.0)  # the seconds until nothing is used any more
    if drained is None:
        return _part(room) if full else 1.0
    return max(1.0 - full / drained, 0.0)


def _part(room: Room) -> float:
    return min(max(room.remaining / room.limit, 0.0), 1.0)


def _drained(limit: int, dimension: Dimension, quotas: Iterable[Quota]) -> float | None:
    """In how many seconds the limit with this figure drains that is all used up; None for a strict window.

    One that is not among `quotas` any more is taken for a smooth one without a burst of its own.
    """
    for quota in quotas:
        figure, burst = (
            (quota.requests_per_minute, quota.burst)
            if dimension is Dimension.REQUESTS
            else (quota.tokens_per_minute, quota.burst_tokens)
        )
        if figure == limit:
            return None if quota.window is Window.STRICT else MINUTE * (burst or limit) / limit
    return MINUTE
