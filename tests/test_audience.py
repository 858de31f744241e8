"""Tests of `proxy.audience`: one picture for all, none for nobody."""

import asyncio
from collections.abc import Awaitable, Callable

from fakes.virtual_loop import run

from proxy.audience import PACE, PART, Audience
from proxy.clock import ManualClock
from proxy.tasks import Tasks


class Painter:
    """Counts the pictures that it makes."""

    def __init__(self, clock: ManualClock) -> None:
        self.made = 0
        self.takes = 0.0
        self.fails = False
        self._clock = clock

    async def __call__(self) -> bytes:
        """The next picture."""
        self.made += 1
        self._clock.advance(self.takes)
        if self.fails:
            raise RuntimeError("no paint")
        return b"%d" % self.made


def staged(scenario: Callable[[Audience, Painter], Awaitable[None]]) -> None:
    """Run a scenario before an empty house."""

    async def main() -> None:
        clock, tasks = ManualClock(), Tasks()
        painter = Painter(clock)
        house = Audience(painter, clock, tasks)
        try:
            await scenario(house, painter)
        finally:
            await tasks.close()

    run(main())


async def watch(house: Audience, count: int) -> list[bytes | None]:
    """So many pictures."""
    with house.seat():
        return [await house.next() for _ in range(count)]


def test_nothing_is_made_while_nobody_watches() -> None:
    """Not before the first, and not after the last."""

    async def scenario(house: Audience, painter: Painter) -> None:
        await asyncio.sleep(100)
        assert painter.made == 0
        assert await watch(house, 2) == [b"1", b"2"]
        await asyncio.sleep(100)
        assert (painter.made, len(house)) == (2, 0)
        assert await watch(house, 1) == [b"3"]

    staged(scenario)


def test_all_see_the_same() -> None:
    """Ten watchers cost what one does."""

    async def scenario(house: Audience, painter: Painter) -> None:
        seen = await asyncio.gather(*(watch(house, 3) for _ in range(10)))
        assert seen == [[b"1", b"2", b"3"]] * 10
        assert painter.made == 3

    staged(scenario)


def test_who_is_away_has_missed_it() -> None:
    """Nothing waits for a slow one."""

    async def scenario(house: Audience, painter: Painter) -> None:
        with house.seat():
            assert await house.next() == b"1"
            await asyncio.sleep(3.5)
            assert await house.next() == b"5"

    staged(scenario)


def test_what_takes_long_is_made_less_often() -> None:
    """A replica has other things to do."""

    async def scenario(house: Audience, painter: Painter) -> None:
        painter.takes = 0.5
        began = asyncio.get_running_loop().time()
        await watch(house, 2)
        assert asyncio.get_running_loop().time() - began == 0.5 * PART

    staged(scenario)


def test_seats_are_counted() -> None:
    """And given back."""

    async def scenario(house: Audience, painter: Painter) -> None:
        sitting = [asyncio.ensure_future(watch(house, 1)) for _ in range(PACE.seats)]
        await asyncio.sleep(0)
        assert house.full
        await asyncio.gather(*sitting)
        assert not house.full

    staged(scenario)


def test_a_picture_that_cannot_be_made_ends_the_show() -> None:
    """Whoever comes again may see another."""

    async def scenario(house: Audience, painter: Painter) -> None:
        painter.fails = True
        assert await watch(house, 1) == [None]
        painter.fails = False
        assert await watch(house, 1) == [b"2"]

    staged(scenario)


def test_closing_sends_everybody_home() -> None:
    """Those who watch, at once, and those who come."""

    async def scenario(house: Audience, painter: Painter) -> None:
        watching = asyncio.ensure_future(watch(house, 3))
        await asyncio.sleep(0.5)
        house.close()
        assert await watching == [b"1", None, None]
        assert house.full
        assert await watch(house, 1) == [None]
        assert painter.made == 1

    staged(scenario)
