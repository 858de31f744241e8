import asyncio
import contextlib

import pytest
from fakes.virtual_loop import passed, run

from proxy.deadline import Deadline
from proxy.errors import Fault, FaultKind
from proxy.tasks import Tasks


def now() -> float:
    """The loop's time."""
    return asyncio.get_running_loop().time()


async def moved(moves: list[tuple[float, FaultKind]]) -> None:
    """Wait long under a deadline that is moved by `moves`: seconds from now, and kinds."""
    with Deadline() as deadline:
        for seconds, kind in moves:
            deadline.move(now() + seconds, kind)
        await asyncio.sleep(100)


async def own_error() -> None:
    """Answer the deadline's cancellation with an error of one's own."""
    with Deadline() as deadline:
        deadline.move(now() + 1, FaultKind.TOTAL_TIMEOUT)
        try:
            await asyncio.sleep(5)
        finally:
            raise ValueError("own")


@pytest.mark.parametrize(
    ("moves", "at", "kind"),
    [
        ([(5, FaultKind.TOTAL_TIMEOUT)], 5, FaultKind.TOTAL_TIMEOUT),
        ([(5, FaultKind.TOTAL_TIMEOUT), (9, FaultKind.IDLE_TIMEOUT)], 9, FaultKind.IDLE_TIMEOUT),
        (
            [(5, FaultKind.TOTAL_TIMEOUT), (2, FaultKind.FIRST_TOKEN_TIMEOUT)],
            2,
            FaultKind.FIRST_TOKEN_TIMEOUT,
        ),
        (
            [(5, FaultKind.TOTAL_TIMEOUT), (2, FaultKind.IDLE_TIMEOUT), (7, FaultKind.SLOW_CLIENT)],
            7,
            FaultKind.SLOW_CLIENT,
        ),
        ([(0, FaultKind.TOTAL_TIMEOUT)], 0, FaultKind.TOTAL_TIMEOUT),
    ],
)
def test_the_last_move_counts(moves: list[tuple[float, FaultKind]], at: float, kind: FaultKind) -> None:
    """Whatever is awaited ends exactly where the deadline stood last, with its kind."""

    async def scenario() -> None:
        with pytest.raises(Fault) as caught:
            await moved(moves)
        assert caught.value.kind is kind
        assert passed() == at
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]  # there is one
        await asyncio.sleep(100)  # nothing is left of it

    run(scenario())


def test_what_ends_in_time_is_left_alone() -> None:
    """No timer outlives its block."""

    async def scenario() -> None:
        with Deadline() as deadline:
            deadline.move(now() + 5, FaultKind.TOTAL_TIMEOUT)
            await asyncio.sleep(4)
        await asyncio.sleep(10)
        with Deadline():
            await asyncio.sleep(10)

    run(scenario())


def test_a_cancel_from_outside_stays_one() -> None:
    """A client that leaves is no timeout, not even in the very moment of one."""

    async def waiting(bound: float) -> None:
        with Deadline() as deadline:
            deadline.move(now() + bound, FaultKind.TOTAL_TIMEOUT)
            await asyncio.sleep(100)

    async def scenario(bound: float) -> None:
        task = Tasks().spawn(waiting(bound), "waiting")
        await asyncio.sleep(3)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()

    run(scenario(5))
    run(scenario(3))


def test_an_error_of_its_own_passes() -> None:
    """What the block raises in the moment of the timeout is not swallowed."""

    async def scenario() -> None:
        with pytest.raises(ValueError, match="own"):
            await own_error()
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]  # there is one

    run(scenario())


def test_a_timer_that_fires_after_the_block_does_nothing() -> None:
    """A deadline moved from outside its block has nobody to cut short."""

    async def scenario() -> None:
        deadline = Deadline()
        with deadline:
            pass
        deadline.move(now() + 1, FaultKind.TOTAL_TIMEOUT)
        await asyncio.sleep(5)

    run(scenario())


@pytest.mark.parametrize("stays", [None, 7.0])
def test_what_is_followed_is_asked_when_the_time_has_come(stays: float | None) -> None:
    """It may have been put off meanwhile; and what it said last holds on when it is followed no more."""
    heard = 0.0

    async def talking() -> None:
        nonlocal heard
        for _ in range(4):
            await asyncio.sleep(2)
            heard = now()

    async def listening() -> None:
        with Deadline() as deadline:
            deadline.move(now() + 60, FaultKind.SLOW_CLIENT)
            deadline.follow(lambda: (heard + 3, FaultKind.IDLE_TIMEOUT))
            if stays is not None:
                await asyncio.sleep(stays)
                deadline.stay()
            await asyncio.sleep(100)

    async def scenario() -> None:
        nonlocal heard
        heard = now()
        speech = Tasks()
        speech.spawn(talking(), "talking")
        with pytest.raises(Fault) as caught:
            await listening()
        assert caught.value.kind is FaultKind.IDLE_TIMEOUT
        assert passed() == (8 + 3 if stays is None else 6 + 3)

    run(scenario())
