import asyncio

import pytest

from proxy.link import Reason, Unavailable
from proxy.responses.census import EVERY, Census
from responses.shelves import Line, fresh_owner, replicas, response


class Lines(Line):
    """A line that answers calls that were sent together."""

    async def call_many(self, requests: object) -> list[object]:
        """Answer them all."""
        self.said.append((requests, [], []))
        answer = self._answers.pop(0)
        assert isinstance(answer, list)
        return answer


@pytest.mark.process
@pytest.mark.parametrize("budget", [0, 1_000_000])
def test_what_is_stored_is_counted(url: str, budget: int) -> None:
    """Over all clients, whoever stored it; an embedded store keeps the sums itself."""

    async def scenario() -> tuple[int, int]:
        owners = [fresh_owner(), fresh_owner(), fresh_owner()]
        async with replicas(url, "one", "two", budget=budget) as (one, two):
            census = Census(two.link, lambda: 0.0, budget=budget > 0)
            await census.take(owners)
            before = census.count, census.bytes
            await one.store.save(owners[0], response("resp_1", size=1000))
            await one.store.save(owners[0], response("resp_2"))
            await two.store.save(owners[1], response("resp_3"))
            census = Census(two.link, lambda: 0.0, budget=budget > 0)
            await census.take(owners)
            assert None not in (*before, census.count, census.bytes)
            return (census.count or 0) - (before[0] or 0), (census.bytes or 0) - (before[1] or 0)

    count, size = asyncio.run(scenario())
    assert count == 3
    assert 1000 < size < 5000


def test_nobody_is_asked_too_often() -> None:
    """However often the scrapes come."""
    line, times = Lines([3, b"70"], [4, b"80"]), iter([0.0, EVERY - 1, EVERY])
    census = Census(line, lambda: next(times), budget=True)
    told = []
    for _ in range(3):
        asyncio.run(census.take([]))
        told.append((census.count, census.bytes))
    assert told == [(3, 70), (3, 70), (4, 80)]


def test_what_is_not_known_is_not_told() -> None:
    """While Redis is away; nothing stored is a number."""
    line, times = Lines([0, None, Unavailable(Reason.OPEN), None], [0, None, 0, None]), iter([0.0, 100.0])
    census = Census(line, lambda: next(times), budget=False)
    asyncio.run(census.take(["a", "b"]))
    assert (census.count, census.bytes) == (None, 0)
    asyncio.run(census.take(["a", "b"]))
    assert (census.count, census.bytes) == (0, 0)
