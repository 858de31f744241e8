"""Many calls at once, but not too many: what is started in one tick travels as one pipeline."""

import asyncio
import itertools
from collections.abc import Coroutine, Iterable
from typing import Any

MOST = 256


async def together(calls: Iterable[Coroutine[Any, Any, object]]) -> None:
    """Run `calls` to their end, `MOST` at a time. The first error ends it, after its batch was started."""
    rest = iter(calls)
    while batch := tuple(itertools.islice(rest, MOST)):
        await asyncio.gather(*batch)
