"""How many requests a target in trouble may have in flight on this replica: AIMD on signs of overload. Pure.

A target is not limited until it says that it has too much to do (429, 503, 529, no first token in time).
Then it may have nine tenths of what it had, and one more for each success while that is made use of; at
`most`, or after a minute without such a sign, the limit is lifted. One overload is one cut: what was sent
before a cut cuts no more. Netflix' concurrency-limits cuts by the same tenth; its start at 20 would hold
back targets that have no trouble.
"""

import dataclasses

FORGOTTEN = 60.0
"""Seconds without a sign of overload after which a target is not limited any more."""

ENTRIES = 10_000
"""The most targets limited at once; those that reloads have taken out are among them."""


@dataclasses.dataclass(frozen=True, slots=True)
class Steps:
    """`least` is never cut below, `ratio` is what a cut leaves, at `most` there is no limit any more."""

    least: int = 4
    ratio: float = 0.9
    most: int = 1000


@dataclasses.dataclass(slots=True)
class _Limit:
    size: float
    cut_at: float


class Throttle:
    """The limits of one replica by target id. Times are monotonic seconds. `steps` may be changed."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self._limits: dict[str, _Limit] = {}

    def __bool__(self) -> bool:
        """Whether any target is limited."""
        return bool(self._limits)

    def __repr__(self) -> str:
        """Who is limited to what."""
        return f"<Throttle { ({name: int(limit.size) for name, limit in self._limits.items()}) }>"

    def limit(self, target: str) -> int | None:
        """How many it may have in flight; None without a limit."""
        found = self._limits.get(target)
        return int(found.size) if found is not None else None

    def full(self, target: str, in_flight: int) -> bool:
        """Whether it has as many as it may have."""
        found = self._limits.get(target)
        return found is not None and in_flight >= int(found.size)

    def forget(self, target: str) -> None:
        """It is not limited any more."""
        self._limits.pop(target, None)

    def tend(self, now: float) -> bool:
        """Forget the limits of targets without a sign of trouble for long enough; whether there were any."""
        over = [name for name, limit in self._limits.items() if now - limit.cut_at > FORGOTTEN]
        for name in over:
            del self._limits[name]
        return bool(over)

    def overloaded(self, target: str, in_flight: int, began: float, now: float) -> None:
        """A request that began at `began` came back with a sign of overload; `in_flight` counts it."""
        found = self._limits.get(target)
        if found is None:
            if len(self._limits) >= ENTRIES:
                del self._limits[next(iter(self._limits))]
            size = max(in_flight * self.steps.ratio, self.steps.least)
            self._limits[target] = _Limit(size, now)
        elif began >= found.cut_at:
            found.size = max(min(found.size, in_flight) * self.steps.ratio, self.steps.least)
            found.cut_at = now

    def succeeded(self, target: str, in_flight: int) -> None:
        """A request was answered; `in_flight` counts it."""
        found = self._limits.get(target)
        if found is None or in_flight * 2 < found.size:
            return
        found.size += 1
        if found.size >= self.steps.most:
            del self._limits[target]
