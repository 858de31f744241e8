"""Time as an argument: the only module that reads a clock.

Everything that decides by time takes a `Clock` (or a plain `now` in seconds), so a test can hold time
still and a simulation can run an hour in a second. Monotonic time measures and schedules; wall time is
only for what people and other machines read (log lines, `Retry-After` dates, `created`).
"""

import time
from collections import deque
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def monotonic(self) -> float:
        """Seconds since some fixed point, never going back. Comparable with the event loop's `time()`."""

    def wall(self) -> float:
        """Seconds since the Unix epoch. May step when the machine's clock is set."""


class SystemClock:
    """The machine's own clocks."""

    monotonic = staticmethod(time.monotonic)
    """Seconds of CLOCK_MONOTONIC, the clock that asyncio's and uvloop's timers use."""

    wall = staticmethod(time.time)
    """Seconds since the Unix epoch."""


class ManualClock:
    """A clock that moves only when it is told to: for tests and simulations."""

    def __init__(self, monotonic: float = 1_000.0, wall: float = 1_800_000_000.0) -> None:
        self._monotonic = monotonic
        self._wall = wall

    def monotonic(self) -> float:
        """The monotonic time last set, in seconds."""
        return self._monotonic

    def wall(self) -> float:
        """The wall time last set, in seconds since the Unix epoch."""
        return self._wall

    def advance(self, seconds: float) -> None:
        """Move both clocks forward together."""
        self._monotonic += seconds
        self._wall += seconds

    def step_wall(self, seconds: float) -> None:
        """Move only the wall clock, as an operator or NTP would."""
        self._wall += seconds


class ClusterClock:
    """The time of the cluster (that of Redis), told by this process's own monotonic clock.

    What Redis said was true at the latest when it was heard, so this clock is never ahead of it, and late by
    the time that the fastest of the last answers took. Until something was heard it is the wall clock as it
    was at the start, and steps of that have no part in it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heard: deque[float] = deque(maxlen=16)
        self._ahead = clock.wall() - clock.monotonic()

    def now(self) -> int:
        """Whole milliseconds since the Unix epoch."""
        return int((self._clock.monotonic() + self._ahead) * 1000)

    def heard(self, milliseconds: int) -> None:
        """Redis said just now that it was so late."""
        self._heard.append(milliseconds / 1000 - self._clock.monotonic())
        self._ahead = max(self._heard)

    def forget(self) -> None:
        """Another server answers now: what the old one said counts no more."""
        self._heard.clear()
