"""When a replica has enough: refusals that cost nothing, before a body is read.

Three things are watched: requests in flight, bytes of bodies in flight, and how late the event loop is.
Beyond a bound a request is refused with 503 and a time to come back, which a client can act on at once; a
request that is accepted and then starves helps nobody.
"""

import asyncio
from types import TracebackType
from typing import Self

from proxy.config.resilience import Overload
from proxy.errors import Refusal

EVERY = 0.1
"""Seconds between two looks at the loop's lateness."""

_SMOOTH = 0.3
_COME_BACK = 1.0


class Room:
    """What one request takes of a replica, for the time of its `with` block. Sizes in bytes."""

    __slots__ = ("_guard", "_size")

    def __init__(self, guard: "Guard", announced: int) -> None:
        self._guard = guard
        self._size = announced

    def __enter__(self) -> Self:
        self._guard.enter(self._size)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._guard.leave(self._size)

    def grow_to(self, size: int) -> None:
        """The body has been read: it is `size` bytes, whatever was announced. Raises `Refusal` 503."""
        self._guard.grow(size - self._size)
        self._size = size


class Guard:
    """What is in flight on this replica, and whether there is room for more within `bounds`."""

    def __init__(self, bounds: Overload) -> None:
        self.bounds = bounds
        self.in_flight = 0
        self.bytes = 0
        self.lag = 0.0
        """How late the event loop is, in seconds, smoothed."""

    def room(self, announced: int) -> Room:
        """Room for a request whose body is `announced` bytes; entering it may raise `Refusal` 503."""
        return Room(self, announced)

    def enter(self, size: int) -> None:
        """Take room. Raises `Refusal` 503 where there is none."""
        why = self._why(size)
        if why is not None:
            raise _overloaded(why)
        self.in_flight += 1
        self.bytes += size

    def grow(self, more: int) -> None:
        """Take `more` bytes for a request that has entered. Raises `Refusal` 503 where there is no room."""
        if more > 0 and self.in_flight > 1 and self.bytes + more > self.bounds.max_bytes:
            raise _overloaded("too many bytes are in flight")
        self.bytes += more

    def leave(self, size: int) -> None:
        """Give room back."""
        self.in_flight -= 1
        self.bytes -= size

    def _why(self, size: int) -> str | None:
        bounds = self.bounds
        if self.in_flight >= bounds.max_in_flight:
            return "too many requests are in flight"
        if self.bytes + size > bounds.max_bytes and self.in_flight:
            return "too many bytes are in flight"
        if self.lag > bounds.max_lag:
            return "the event loop is late"
        return None

    async def watch(self) -> None:
        """Measure the loop's lateness until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + EVERY
            await asyncio.sleep(EVERY)
            late = max(0.0, loop.time() - due)
            self.lag += _SMOOTH * (late - self.lag)


def _overloaded(why: str) -> Refusal:
    return Refusal(
        503,
        f"The proxy is overloaded: {why}.",
        kind="server_error",
        code="overloaded",
        retry_after=_COME_BACK,
    )
