"""Who watches the status page: one picture is made for all of them, and none while nobody watches."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple

from proxy.clock import Clock
from proxy.tasks import Tasks

PART = 20
"""Making pictures takes one part in so many of a replica's time: those that take long are made less often."""

Make = Callable[[], Awaitable[bytes]]


class Pace(NamedTuple):
    """`every` so many seconds a picture, for so many `seats`; one may be left unread for `unread` seconds.

    A seat is given up after `stay` seconds, and may be taken again: what nobody reads is not noticed for as
    long as it fits into buffers, and those of two machines hold many pictures.
    """

    every: float = 1.0
    seats: int = 32
    unread: float = 10.0
    stay: float = 600.0


PACE = Pace()


class Audience:
    """Shows what `make` makes. A watcher that is not there when a picture is shown has missed it."""

    def __init__(self, make: Make, clock: Clock, tasks: Tasks, pace: Pace = PACE) -> None:
        self._make = make
        self._clock = clock
        self._tasks = tasks
        self.pace = pace
        self._watching = 0
        self._showing = False
        self._closed = False
        self._picture: bytes | None = None
        self._shown = asyncio.Event()

    def __len__(self) -> int:
        """How many watch."""
        return self._watching

    @property
    def full(self) -> bool:
        """Whether nobody else may watch."""
        return self._closed or self._watching >= self.pace.seats

    @contextlib.contextmanager
    def seat(self) -> Iterator[None]:
        """Watch for the time of the block."""
        self._watching += 1
        if not self._showing and not self._closed:
            self._showing = True
            self._tasks.spawn(self._show(), "status page")
        try:
            yield
        finally:
            self._watching -= 1

    async def next(self) -> bytes | None:
        """The next picture; None where there will be none."""
        if not self._closed:
            await self._shown.wait()
        return None if self._closed else self._picture

    def close(self) -> None:
        """Send everybody home."""
        self._closed = True
        self._turn(None)

    async def _show(self) -> None:
        """Show pictures until nobody watches. If one cannot be made, all watchers have to come again."""
        try:
            while self._watching and not self._closed:
                began = self._clock.monotonic()
                picture = await self._make()
                took = self._clock.monotonic() - began
                self._turn(picture)
                await asyncio.sleep(max(self.pace.every, took * PART))
        finally:
            self._showing = False
            self._turn(None)

    def _turn(self, picture: bytes | None) -> None:
        """To the next picture."""
        self._picture = picture
        shown, self._shown = self._shown, asyncio.Event()
        shown.set()
