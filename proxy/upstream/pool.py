"""The connections to one origin: which is used next, who waits for one, and when an idle one has to go.

The last one given back is used first, so that as few as possible stay open. Where their number is bounded,
whoever waits is served in order: what is given back is handed over, and a place that becomes free is kept for
the first in line, so nobody overtakes.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

from proxy.upstream.connection import Connection


class Pool:
    """The connections to one origin, at most `limit` of them (0: no bound), idle for at most `keep` seconds.

    `stirred` is called when one has become idle, `proven` with each that has served for the first time.
    """

    def __init__(
        self,
        limit: int,
        keep: float,
        stirred: Callable[[], None],
        proven: Callable[[Connection], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = limit
        self._keep = keep
        self._stirred = stirred
        self.proven = proven
        self._open: set[Connection] = set()
        self._idle: list[Connection] = []  # the last used one last; may hold some that died meanwhile
        self._places = 0  # open connections, and those on their way
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()

    def __repr__(self) -> str:
        """How many of what; no address."""
        return f"<Pool {len(self._open)} open, {len(self._idle)} idle, {len(self._waiting)} waiting>"

    def take(self) -> Connection | None:
        """The idle connection that was used last, if there is one."""
        idle = self._idle
        if not idle:
            return None
        oldest = self._loop.time() - self._keep
        while idle:
            connection = idle.pop()
            if connection.open:
                if connection.since > oldest:
                    return connection
                connection.abort()
        return None

    async def place(self, *, fresh: bool) -> Connection | None:
        """A place for a new connection (None), or a used one that was handed over; waits for either.

        With `fresh` it is always a place: a used one makes room for it. Whoever gets a place fills it with
        `adopt` or gives it up with `free`.
        """
        while self._limit and self._places >= self._limit:
            connection = self._idle.pop(0) if self._idle else await self._turn()
            if connection is None:
                return None
            if not connection.open:  # it died on the way, and its place went to the next in line
                continue
            if not fresh:
                return connection
            connection.home = None
            self._open.discard(connection)
            connection.abort()
            return None
        self._places += 1
        return None

    def adopt(self, connection: Connection) -> None:
        """A new connection takes the place that was asked for."""
        connection.home = self
        self._open.add(connection)
        if not connection.open:
            self.lost(connection)

    def free(self) -> None:
        """Give a place up: to the first who waits for one."""
        waiter = self._next()
        if waiter is None:
            self._places -= 1
        else:
            waiter.set_result(None)

    def give_back(self, connection: Connection) -> None:
        """A connection can carry another request."""
        waiter = self._next() if self._waiting else None
        if waiter is not None:
            waiter.set_result(connection)
            return
        connection.since = self._loop.time()
        self._idle.append(connection)
        self._stirred()

    def lost(self, connection: Connection) -> None:
        """A connection is closed."""
        self._open.discard(connection)
        self.free()

    def expire(self) -> float | None:
        """Close what was idle for too long; when the next one will have been, if there is any."""
        oldest = self._loop.time() - self._keep
        count = 0
        for connection in self._idle:
            if connection.open and connection.since > oldest:
                break
            count += 1
        expired, self._idle[:count] = self._idle[:count], []
        for connection in expired:
            connection.abort()
        return self._idle[0].since + self._keep if self._idle else None

    def close(self) -> None:
        """Close every connection, and tell those who wait that there will be none."""
        self._limit = 0
        for connection in tuple(self._open):
            connection.abort()
        while self._waiting:
            self.free()
        self._idle.clear()

    def _next(self) -> asyncio.Future[Connection | None] | None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                return waiter
        return None

    async def _turn(self) -> Connection | None:
        waiter: asyncio.Future[Connection | None] = self._loop.create_future()
        self._waiting.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                with contextlib.suppress(ValueError):  # passed over meanwhile
                    self._waiting.remove(waiter)
            else:  # it was served, and leaves nevertheless
                connection = waiter.result()
                if connection is None:
                    self.free()
                elif connection.open:
                    self.give_back(connection)
            raise


class Idleness:
    """Closes what has been idle for too long in any of `pools`, with one timer for all.

    It is looked at no more often than eight times in `keep` seconds, so one may stay open an eighth longer;
    it is not used in that time.
    """

    def __init__(self, keep: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._keep = keep
        self._timer: asyncio.TimerHandle | None = None
        self.pools: list[Pool] = []

    def begin(self) -> None:
        """Something has become idle."""
        if self._timer is None:
            self._timer = self._loop.call_later(self._keep, self._sweep)

    def end(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _sweep(self) -> None:
        self._timer = None
        due = [when for pool in self.pools if (when := pool.expire()) is not None]
        if due:
            soonest = self._loop.time() + self._keep / 8
            self._timer = self._loop.call_at(max(min(due), soonest), self._sweep)
