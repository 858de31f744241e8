"""Who gets which connection, in which order, and what becomes of those that nobody wants."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from proxy.upstream.connection import Connection
from proxy.upstream.pool import Idleness, Pool


class _Socket:
    """A transport without a socket."""

    def __init__(self, closed: Callable[[], None]) -> None:
        self.abort = closed

    def get_write_buffer_size(self) -> int:
        """All has left."""
        return 0


def _connection(pool: Pool, closed: Callable[[], None] = lambda: None) -> Connection:
    connection = Connection()
    socket: Any = _Socket(closed)
    connection.connection_made(socket)
    pool.adopt(connection)
    return connection


async def _placed(pool: Pool, *, fresh: bool = False) -> Connection:
    """A connection out of `pool`, as the transport comes by it."""
    used = None if fresh else pool.take()
    return used or await pool.place(fresh=fresh) or _connection(pool)


def _pool(limit: int = 0, keep: float = 60.0) -> Pool:
    return Pool(limit, keep, lambda: None, lambda _: None)


def _run(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(5):
            await main()

    asyncio.run(bounded())


def test_the_last_one_given_back_is_the_first_one_used() -> None:
    """So the others may grow old."""

    async def main() -> None:
        pool = _pool()
        first, second = await _placed(pool), await _placed(pool)
        pool.give_back(first)
        pool.give_back(second)
        assert (pool.take(), pool.take(), pool.take()) == (second, first, None)

    _run(main)


def test_a_dead_or_old_connection_is_never_handed_out() -> None:
    """Whether it died while it was idle or its time is over."""

    async def main() -> None:
        pool = _pool(keep=0.0)
        old = await _placed(pool)
        pool.give_back(old)
        assert pool.take() is None
        assert not old.open
        pool = _pool()
        dead, alive = await _placed(pool), await _placed(pool)
        pool.give_back(alive)
        pool.give_back(dead)
        dead.connection_lost(None)
        assert (pool.take(), pool.take()) == (alive, None)

    _run(main)


def test_whoever_waits_is_served_in_order() -> None:
    """What is given back goes to the first in line, a place that becomes free as well."""

    async def main() -> None:
        pool = _pool(limit=2)
        one, two = await _placed(pool), await _placed(pool)
        waiting = [asyncio.ensure_future(_placed(pool)) for _ in range(3)]
        await asyncio.sleep(0)
        pool.give_back(one)
        assert pool.take() is None
        assert await waiting[0] is one
        two.abort()
        third = await waiting[1]
        assert third not in {one, two}
        third.abort()
        assert await waiting[2] not in {one, two, third}
        assert repr(pool) == "<Pool 2 open, 0 idle, 0 waiting>"

    _run(main)


@pytest.mark.parametrize("served", ["connection", "place", "nothing"])
def test_what_a_caller_who_leaves_was_given_goes_to_the_next(served: str) -> None:
    """A caller may be cancelled in the moment in which it is served."""

    async def main() -> None:
        pool = _pool(limit=1)
        one = await _placed(pool)
        leaving, staying = (asyncio.ensure_future(_placed(pool)) for _ in range(2))
        await asyncio.sleep(0)
        if served == "connection":
            pool.give_back(one)
        elif served == "place":
            one.abort()
        leaving.cancel()
        await asyncio.sleep(0)
        if served == "nothing":
            pool.give_back(one)
        assert (await staying is one) is (served != "place")
        assert leaving.cancelled()

    _run(main)


def test_whoever_has_waited_in_vain_waits_no_longer() -> None:
    """Those who leave leave the line, though nothing is given back; the others keep their turn."""

    async def main() -> None:
        pool = _pool(limit=1)
        one = await _placed(pool)
        waiting = [asyncio.ensure_future(_placed(pool)) for _ in range(200)]
        await asyncio.sleep(0)
        for caller in (*waiting[:100], *waiting[101:]):
            caller.cancel()
        await asyncio.sleep(0)
        assert repr(pool) == "<Pool 1 open, 0 idle, 1 waiting>"
        pool.give_back(one)
        assert await waiting[100] is one

    _run(main)


def test_a_connection_that_dies_on_its_way_is_not_used() -> None:
    """Handed over and lost before the caller ran: it takes the place that has become free."""

    async def main() -> None:
        pool = _pool(limit=1)
        one = await _placed(pool)
        waiting = asyncio.ensure_future(_placed(pool))
        await asyncio.sleep(0)
        pool.give_back(one)
        one.connection_lost(None)
        assert await waiting is not one
        assert repr(pool) == "<Pool 1 open, 0 idle, 0 waiting>"

    _run(main)


def test_a_fresh_connection_takes_the_place_of_a_used_one() -> None:
    """Where all places are taken, one that is idle goes, or the next that is given back."""

    async def main() -> None:
        pool = _pool(limit=1)
        one = await _placed(pool)
        pool.give_back(one)
        two = await _placed(pool, fresh=True)
        assert not one.open
        waiting = asyncio.ensure_future(_placed(pool, fresh=True))
        await asyncio.sleep(0)
        pool.give_back(two)
        assert await waiting is not two
        assert not two.open
        assert repr(pool) == "<Pool 1 open, 0 idle, 0 waiting>"

    _run(main)


def test_a_connection_that_was_lost_before_it_came_takes_no_place() -> None:
    """A server may hang up while it is connected to."""

    async def main() -> None:
        pool = _pool(limit=1)
        await pool.place(fresh=False)
        pool.adopt(Connection())
        assert await pool.place(fresh=False) is None

    _run(main)


def test_closing_ends_everything() -> None:
    """Connections are closed, and who waits goes on to be told."""

    async def main() -> None:
        pool = _pool(limit=2)
        one, two = await _placed(pool), await _placed(pool)
        pool.give_back(one)
        assert pool.take() is one
        waiting = asyncio.ensure_future(pool.place(fresh=False))
        await asyncio.sleep(0)
        pool.close()
        assert await waiting is None
        assert (one.open, two.open) == (False, False)

    _run(main)


def test_one_timer_closes_what_is_idle_for_too_long() -> None:
    """It runs on while anything is idle, and stops then."""

    async def main() -> None:
        idleness = Idleness(0.001)
        pools = [Pool(0, 0.001, idleness.begin, lambda _: None) for _ in range(2)]
        idleness.pools.extend(pools)
        for pool in (*pools, *pools):
            closed = asyncio.Event()
            pool.give_back(_connection(pool, closed.set))
            await closed.wait()
            assert repr(pool).endswith(" 0 idle, 0 waiting>")
        idleness.end()

    _run(main)
