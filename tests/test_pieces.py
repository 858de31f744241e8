"""Tests of `proxy.pieces`."""

import asyncio

import pytest

from proxy.pieces import pieces


@pytest.mark.parametrize(("count", "lengths"), [(0, []), (1, [1]), (3, [3]), (4, [3, 1]), (9, [3, 3, 3])])
def test_all_rows_come_in_order_a_few_at_a_time(count: int, lengths: list[int]) -> None:
    """The last piece may be shorter, and none is empty."""

    async def main() -> list[list[int]]:
        return [piece async for piece in pieces(iter(range(count)), 3)]

    found = asyncio.run(main())
    assert [len(piece) for piece in found] == lengths
    assert [row for piece in found for row in piece] == list(range(count))


def test_others_have_their_turn_between_two() -> None:
    """What was ready to run has run before the next piece."""

    async def main() -> list[int]:
        turns: list[int] = []
        async for piece in pieces(iter(range(4)), 1):
            turns += piece
            asyncio.get_running_loop().call_soon(turns.append, -1)
        return turns

    assert asyncio.run(main()) == [0, -1, 1, -1, 2, -1, 3, -1]
