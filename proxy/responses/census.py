"""How many responses are stored, and what they take, over the cluster: asked for a scrape, not for a request.

Those that have expired count until they are swept out, with the next response that their client stores.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from proxy.link import Link
from proxy.responses import keyspace

EVERY = 15.0
"""Seconds for which an answer is good enough."""


class Census:
    """What was counted last: `count` responses of `bytes`, None where that is not known."""

    def __init__(self, link: Link, now: Callable[[], float], *, budget: bool) -> None:
        self._link = link
        self._now = now
        self._budget = budget
        self._at: float | None = None
        self.count: int | None = None
        self.bytes: int | None = None

    async def take(self, owners: Collection[str]) -> None:
        """Count those of `owners` anew, unless that was done just now."""
        now = self._now()
        if self._at is not None and now - self._at < EVERY:
            return
        self._at = now
        if self._budget:  # an embedded store keeps the sums itself
            told = await self._link.call_many(
                [("ZCARD", [keyspace.ALL], []), ("GET", [f"{keyspace.ALL}:bytes"], [])]
            )
        else:
            indices = [keyspace.index(owner) for owner in owners]
            told = await self._link.call_many(
                [
                    request
                    for index in indices
                    for request in (("ZCARD", [index], []), ("HGET", [f"{index}:sizes"], ["@"]))
                ]
            )
        self.count, self.bytes = _sum(told[::2]), _sum(told[1::2])


def _sum(told: Sequence[Any]) -> int | None:
    """The sum of the replies; None where one of them failed."""
    if any(isinstance(reply, BaseException) for reply in told):
        return None
    return sum(int(reply or 0) for reply in told)
