"""How long targets take to their first content: a peak-EWMA of each, shared over the replicas. Pure.

A sample above the average replaces it at once, one below moves it slowly, and silence lets it fall, so that
a target that was slow is tried again some day (Finagle's PeakEwma). Streams and whole replies are kept
apart: the time to a whole reply says how long it is.
"""

import dataclasses
import math
from collections.abc import Mapping

DECAY = 10.0
"""Seconds in which an average that hears nothing falls to 1/e."""

ENTRIES = 10_000
"""The most averages kept; those of targets that a reload has taken out are among them."""

DIGITS = 6
"""Averages are told to the microsecond."""

Known = Mapping[str, tuple[float, int]]
"""What several replicas know: by name the sum of their averages, and how many have one."""


@dataclasses.dataclass(slots=True)
class _Average:
    value: float
    at: float

    def seen(self, now: float) -> float:
        return self.value * math.exp(-max(now - self.at, 0.0) / DECAY)


def key(target: str, *, whole: bool) -> str:
    """Under what name a target's average is kept."""
    return f"{target} whole" if whole else target


class Latencies:
    """This replica's averages and what the others told of theirs. All in seconds."""

    def __init__(self) -> None:
        self._own: dict[str, _Average] = {}
        self._others: Mapping[str, _Average] = {}

    def observe(self, name: str, seconds: float, now: float) -> None:
        """A target took so long."""
        found = self._own.get(name)
        if found is None:
            if len(self._own) >= ENTRIES:
                del self._own[next(iter(self._own))]
            self._own[name] = _Average(seconds, now)
            return
        weight = math.exp(-max(now - found.at, 0.0) / DECAY)
        found.value = seconds if seconds > found.value else found.value * weight + seconds * (1.0 - weight)
        found.at = now

    def of(self, name: str, now: float, *, busy: bool = False) -> float:
        """What is to be expected of it, over all replicas that know; 0 where nobody does.

        `busy`: requests are there, and their silence is no good news: the average falls only while none are.
        """
        known = [
            kept.value if busy else kept.seen(now)
            for kept in (self._own.get(name), self._others.get(name))
            if kept is not None
        ]
        return max(known, default=0.0)

    def twin(self) -> "Latencies":
        """A copy as of now."""
        twin = Latencies()
        twin._own = {name: dataclasses.replace(found) for name, found in self._own.items()}
        twin._others = self._others
        return twin

    def told(self, now: float) -> dict[str, float]:
        """This replica's own, for the others. Those that have fallen to nothing say nothing any more."""
        rounded = {name: round(found.seen(now), DIGITS) for name, found in self._own.items()}
        return {name: value for name, value in rounded.items() if value}

    def hear(self, others: Known, then: float) -> None:
        """What the others told `then`: the mean of those that know a target."""
        self._others = {name: _Average(total / count, then) for name, (total, count) in others.items()}
