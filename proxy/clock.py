"""Time as an argument: the only module that reads a clock.

Everything that decides by time takes a `Clock` (or a plain `now` in seconds), so a test can hold time
still and a simulation can run an hour in a second. Monotonic time measures and schedules; wall time is
only for what people and other machines read (log lines, `Retry-After` dates, `created`).
"""

import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def monotonic(self) -> float:
        """Seconds since some fixed point, never going back. Comparable with the event loop's `time()`."""

    def wall(self) -> float:
        """Seconds since the Unix epoch. May step when the machine's clock is set."""


class SystemClock:
    """The machine's own clocks."""

    def monotonic(self) -> float:
        """Seconds of CLOCK_MONOTONIC, the clock that asyncio's and uvloop's timers use."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since the Unix epoch."""
        return time.time()


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
