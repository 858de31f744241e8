"""What limits have said on this replica, for operators: how often what, and what was left last. Pure.

A decision is noted in passing, and nothing is asked for it. While nobody asks, what was used of a smooth
limit drains on, by what the last decision said; of a strict one nobody knows when a part of it leaves, only
when all of it has. Other replicas may have used it since, so the least of what all say holds.
"""

import dataclasses
from collections.abc import Iterator

from ratelimit.quota import Decision, Dimension, Room
from ratelimit.scope import Kind

ADMITTED = "admitted"
OUT_OF_REACH = "outage"

FRESH = 60.0
"""Seconds for which the room for more requests at one time is told: nobody knows when those there are end."""


@dataclasses.dataclass(slots=True)
class Allowance:
    """Of one holder: decisions by what they were, and the last one that told what was left.

    `at` is when that was, a monotonic time in seconds.
    """

    decisions: dict[str, int] = dataclasses.field(default_factory=dict)
    last: Decision | None = None
    at: float = 0.0

    def left(self, now: float) -> Iterator[tuple[str, float]]:
        """The share that is left of each dimension that is limited: 0 while more was used than may be."""
        last = self.last
        if last is None:
            return
        since = max(now - self.at, 0.0)
        for dimension, room in ((Dimension.REQUESTS, last.requests), (Dimension.TOKENS, last.tokens)):
            if room is not None:
                yield dimension.value, _share(room, since)
        places = last.concurrency
        if places is not None and since < FRESH:
            yield Dimension.CONCURRENCY.value, _part(places)


class Allowances:
    """The allowances of all who have met a limit, by whose it is and their configured name."""

    def __init__(self) -> None:
        self.of: dict[tuple[Kind, str], Allowance] = {}

    def note(self, kind: Kind, name: str, decision: Decision, at: float) -> None:
        """A limit of this holder has decided, `at` this moment.

        What is refused without a look at the limit (it never fits, or the limit denies while the store is
        away) says nothing of what is left.
        """
        allowance = self.of.get((kind, name))
        if allowance is None:
            allowance = self.of[kind, name] = Allowance()
        word = ADMITTED if decision.admitted else decision.refused_by or OUT_OF_REACH
        allowance.decisions[word] = allowance.decisions.get(word, 0) + 1
        if decision.requests or decision.tokens or decision.concurrency:
            allowance.last, allowance.at = decision, at


def _share(room: Room, since: float) -> float:
    """What is left of `room` so many seconds later, if nobody has used it."""
    full = max(room.reset - since, 0.0)  # the seconds until nothing is used any more
    if not room.drains:  # it leaves as a window moves on
        return _part(room) if full else 1.0
    return max(1.0 - full / room.drains, 0.0)


def _part(room: Room) -> float:
    return min(max(room.remaining / room.limit, 0.0), 1.0)
