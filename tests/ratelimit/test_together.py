import asyncio
from typing import Any

import pytest

from ratelimit.together import MOST, failures, together


def test_calls_run_at_once_but_not_too_many() -> None:
    """A batch starts when the one before it has ended."""
    running = 0
    most = 0

    async def call() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    asyncio.run(together(call() for _ in range(MOST + 3)))
    assert (running, most) == (0, MOST)


def test_an_error_ends_it() -> None:
    """It is raised to the caller."""

    async def call() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        asyncio.run(together(call() for _ in range(2)))


def answers(*given: object) -> list["asyncio.Future[Any]"]:
    """Futures that have these answers, or these errors; an ellipsis has none yet."""
    futures = []
    for one in given:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if isinstance(one, Exception):
            future.set_exception(one)
        elif one is not ...:
            future.set_result(one)
        futures.append(future)
    return futures


def test_of_each_call_it_is_told_what_it_failed_of() -> None:
    """In the order of the calls, whether they have ended already or not."""
    lost = LookupError()

    async def late() -> None:
        await asyncio.sleep(0)
        raise KeyError

    async def case() -> None:
        first, *rest = await failures([*answers(lost, 1), late()], LookupError)
        assert first is lost
        assert [type(one) for one in rest] == [type(None), KeyError]
        assert await failures([]) == []

    asyncio.run(case())


def test_an_error_that_nobody_expects_ends_it_and_leaves_nothing_behind() -> None:
    """What still runs is cancelled, and what has failed as well is no news for the loop."""
    told: list[object] = []

    async def case() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        pending = answers(1, ZeroDivisionError(), LookupError(), ...)
        with pytest.raises(ZeroDivisionError):
            await failures(pending, LookupError)
        assert pending[-1].cancelled()
        pending.clear()

    asyncio.run(case())
    assert told == []


def test_cancelled_it_cancels_what_still_runs() -> None:
    """As a gathering does."""

    async def case() -> None:
        pending = answers(1, ..., ..., LookupError())
        task = asyncio.ensure_future(failures(pending, LookupError))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [one.cancelled() for one in pending] == [False, True, True, False]

    asyncio.run(case())
