"""An event loop in which waiting takes no time: where it would sleep, its clock jumps.

Timers fire in their order and at exactly their time, so a test of a minute's silence takes a millisecond
and tells the same every time. A loop in which everybody waits for something that cannot come is an error
at once and not a test that hangs.
"""

import asyncio
import math
import selectors
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

START = 1_000.0
"""The loop's time when it starts, in seconds."""

_WALL = 1_800_000_000.0
_T = TypeVar("_T")


class StuckError(Exception):
    """Nothing is ready, no timer is set: the loop would wait for ever."""


class _Jumps(selectors.BaseSelector):
    """A selector that moves time on where it would wait."""

    def __init__(self) -> None:
        self.now = START
        self._real = selectors.DefaultSelector()

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if not ready and timeout is None:
            raise StuckError("everything waits for something that cannot come")
        if not ready and timeout:  # moves on, be it by the least there is: a timer may be due within it
            self.now = max(self.now + timeout, math.nextafter(self.now, math.inf))
        return ready

    def close(self) -> None:
        self._real.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self) -> None:
        self._jumps = _Jumps()
        super().__init__(self._jumps)

    def time(self) -> float:
        """The virtual time, in seconds."""
        return self._jumps.now


class LoopClock:
    """A `Clock` that shows the running loop's own time."""

    def monotonic(self) -> float:
        """The loop's time, in seconds."""
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        """A Unix time that moves with it."""
        return _WALL + self.monotonic() - START


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run `work` to its end in a virtual loop of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def passed() -> float:
    """Virtual seconds since the loop started."""
    return asyncio.get_running_loop().time() - START
