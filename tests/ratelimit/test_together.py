import asyncio

import pytest

from ratelimit.together import MOST, together


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
