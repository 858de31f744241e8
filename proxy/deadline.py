"""One timer for one attempt, moved as often as needed and armed as seldom as possible.

An attempt waits for one thing after another: a head, a first token, the next event. Each has its own
bound, and they follow each other by the hundred per second. Moving this deadline is an assignment; the
loop's timer fires, sees that the deadline has moved on, and arms itself again. What it cuts short is the
task it was entered in, as `asyncio.timeout` does, and what comes out of the block is a `Fault`.
"""

import asyncio
import math
from collections.abc import Callable
from types import TracebackType
from typing import Self

from proxy.errors import Fault, FaultKind

_SAID = {
    FaultKind.FIRST_TOKEN_TIMEOUT: "no content came in time",
    FaultKind.TOTAL_TIMEOUT: "the whole request took too long",
    FaultKind.OUT_OF_TIME: "earlier attempts took the request's time",
    FaultKind.IDLE_TIMEOUT: "the stream stalled",
    FaultKind.SLOW_CLIENT: "the client did not read on",
}


_AHEAD = 30.0
"""Seconds ahead for which the timer is armed at most. A deadline may be moved to an earlier time as well, and
the timer need not follow where it rings before that anyway."""


Bound = Callable[[], tuple[float, FaultKind]]
"""Until when something may take, by the loop's time, and what it is to go beyond."""


class Deadline:
    """A movable bound on everything awaited inside its `with` block. Times are the loop's, in seconds."""

    __slots__ = ("_bound", "_cancelling", "_fired", "_kind", "_loop", "_rings", "_task", "_timer", "_when")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._when: float | None = None
        self._bound: Bound | None = None
        self._kind = FaultKind.TOTAL_TIMEOUT
        self._timer: asyncio.TimerHandle | None = None
        self._rings = math.inf  # when the timer does
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._fired = False

    def move(self, when: float, kind: FaultKind) -> None:
        """From now on: at `when` at the latest, or a `Fault` of `kind`."""
        self._when = when
        self._kind = kind
        if when < self._rings:
            self._arm(min(when, self._loop.time() + _AHEAD))

    def follow(self, bound: Bound) -> None:
        """From now on: whatever `bound` says when the time has come. It may only put it off."""
        self._bound = bound
        self.move(*bound())

    def stay(self) -> None:
        """Follow no more: what was said last holds until the next move."""
        if self._bound is not None:
            self._when, self._kind = self._bound()
            self._bound = None

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings = when
        self._timer = self._loop.call_at(when, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._rings = math.inf
        if self._bound is not None:
            self._when, self._kind = self._bound()
        if self._when is not None and self._when > self._loop.time():
            self._arm(self._when)
        elif self._task is not None:
            self._fired = True
            self._task.cancel()

    def __enter__(self) -> Self:
        self._task = asyncio.current_task(self._loop)
        assert self._task is not None
        self._cancelling = self._task.cancelling()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._rings = math.inf
        task, self._task = self._task, None
        if not self._fired or task is None:
            return
        # The count tells our own cancel from one that somebody else asked for meanwhile.
        if task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise Fault(self._kind, _SAID[self._kind]) from error
