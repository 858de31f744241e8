"""When to stop asking a server, and when to ask again: arithmetic over outcomes, no I/O.

Closed: everything passes. Five failures in a row, or half of at least twenty in a second, open it. Open:
nothing passes but our own probes. One good probe makes it half open, three in a row close it, a bad one
opens it again. An outcome is that of a batch, not of each call in it: else one late round trip of a busy
tick would be a hundred failures in a row.
"""

import enum
import random

TRIP_AFTER = 5
WINDOW_S = 1.0
LEAST = 20
SHARE = 0.5
PROBES = 3
STEADY_S = 5.0
"""Seconds closed after which the next opening starts with short delays again."""

_SLOTS = 10
_SLOT_S = WINDOW_S / _SLOTS


class State(enum.StrEnum):
    """Whether calls pass."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class Breaker:
    """One server's breaker. Starts open: nothing is known yet. Times are monotonic seconds."""

    __slots__ = ("_bad", "_good", "_row", "_slot", "_wins", "state")

    def __init__(self) -> None:
        self.state = State.OPEN
        self._wins = 0
        self._row = 0
        self._slot = 0
        self._good = [0] * _SLOTS
        self._bad = [0] * _SLOTS

    def record(self, now: float, *, good: bool) -> bool:
        """Count the end of a batch; True if that opened it.

        Ignored unless closed: what was sent before says nothing new.
        """
        if self.state is not State.CLOSED:
            return False
        slot = int(now / _SLOT_S)
        if slot > self._slot:
            self._turn(slot)
        if good:
            self._row = 0
            self._good[self._slot % _SLOTS] += 1
            return False
        self._row += 1
        self._bad[self._slot % _SLOTS] += 1
        bad = sum(self._bad)
        total = bad + sum(self._good)
        tripped = self._row >= TRIP_AFTER or (total >= LEAST and bad >= SHARE * total)
        if tripped:
            self.trip()
        return tripped

    def probed(self, *, good: bool) -> None:
        """Count a probe. Ignored when closed."""
        if self.state is State.CLOSED:
            return
        if not good:
            self.trip()
            return
        self._wins += 1
        self.state = State.HALF_OPEN
        if self._wins >= PROBES:
            self.close()

    def trip(self) -> None:
        """Open at once: the connection is gone, or leads to the wrong server."""
        self.state = State.OPEN
        self._wins = 0

    def close(self) -> None:
        """Let everything pass, with a clean record."""
        self.state = State.CLOSED
        self._wins = self._row = 0
        self._good = [0] * _SLOTS
        self._bad = [0] * _SLOTS

    def _turn(self, slot: int) -> None:
        """Empty the slots between the last one used and `slot`."""
        for passed in range(max(self._slot + 1, slot - _SLOTS + 1), slot + 1):
            self._good[passed % _SLOTS] = self._bad[passed % _SLOTS] = 0
        self._slot = slot


class Jitter:
    """Decorrelated jitter: each delay is drawn between `base` and three times the one before.

    Keeps replicas that failed together from coming back together
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """

    __slots__ = ("_base", "_cap", "_draw", "_last")

    def __init__(self, draw: random.Random, base: float, cap: float) -> None:
        self._draw = draw
        self._base = base
        self._cap = cap
        self._last = base

    def next(self) -> float:
        """Seconds to wait now, between `base` and `cap`."""
        self._last = min(self._cap, self._draw.uniform(self._base, self._last * 3))
        return self._last

    def reset(self) -> None:
        """Start over with short delays."""
        self._last = self._base
