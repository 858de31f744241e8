"""Many calls at once, but not too many: what is started in one tick travels as one pipeline."""

import asyncio
import itertools
from collections.abc import Awaitable, Coroutine, Iterable
from typing import Any

MOST = 256


async def together(calls: Iterable[Coroutine[Any, Any, object]]) -> None:
    """Run `calls` to their end, `MOST` at a time. The first error ends it, after its batch was started."""
    rest = iter(calls)
    while batch := tuple(itertools.islice(rest, MOST)):
        await asyncio.gather(*batch)


async def failures(calls: Iterable[Awaitable[object]], *expected: type[Exception]) -> list[Exception | None]:
    """What each of `calls` failed of: an error of a type that is `expected`, else None.

    All are on their way at once. Another error ends it, and so does being cancelled; what still runs is then
    cancelled. They are awaited in turn, for one read of a link answers many: those need no waking.
    """
    running = [asyncio.ensure_future(call) for call in calls]  # noqa: TID251  (none outlives this function)
    found: list[Exception | None] = []
    try:
        for one in running:
            try:
                await one
                found.append(None)
            except expected as error:
                found.append(error.with_traceback(None))  # else this frame and it hold each other
    finally:
        for one in running[len(found) :]:
            if not one.cancel() and not one.cancelled():
                one.exception()  # looked at, or the loop complains that nobody has
    return found
