"""Long work, a few rows at a time: others have their turn between two pieces of it."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import TypeVar

T = TypeVar("T")


async def pieces(rows: Iterator[T], most: int) -> AsyncIterator[list[T]]:
    """All rows in their order, at most so many in one go."""
    while piece := list(itertools.islice(rows, most)):
        yield piece
        await asyncio.sleep(0)
