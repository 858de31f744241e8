"""What limits have said on this replica, for operators: how often what, and what was left last. Pure.

A decision is noted in passing, and nothing is asked for it. What was left fills up again while nobody asks,
as fast as the last decision said; other replicas may have used it since, so the least of what all say holds.
"""

import dataclasses
from collections.abc import Iterator

from ratelimit.quota import Decision, Room
from ratelimit.scope import Kind

ADMITTED = "admitted"
OUT_OF_REACH = "outage"

FRESH = 60.0
"""Seconds for which the room for more requests at one time is told: nobody knows when those there are end."""


@dataclasses.dataclass(slots=True)
class Allowance:
    """Of one holder: decisions by what they were, and the last one, `at` a monotonic time in seconds."""

    decisions: dict[str, int] = dataclasses.field(default_factory=dict)
    last: Decision | None = None
    at: float = 0.0

    def left(self, now: float) -> Iterator[tuple[str, float]]:
        """The share that is left of each dimension that is limited."""
        last = self.last
        if last is not None:
            since = max(now - self.at, 0.0)
            for dimension, room in (
                ("requests", last.requests),
                ("tokens", last.tokens),
                ("concurrency", last.concurrency),
            ):
                if room is not None and (room.reset > 0 or since < FRESH):
                    yield dimension, _share(room, since)


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


def _share(room: Room, since: float) -> float:
    """What is left of `room` so many seconds later, if nobody has used it."""
    left = min(max(room.remaining / room.limit, 0.0), 1.0)
    if room.reset > 0:  # else nobody knows when it is free
        left += (1.0 - left) * min(since / room.reset, 1.0)
    return left
