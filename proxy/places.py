"""Free places at keys that may have so many requests at one time, over all replicas together. Pure.

Whether there is one is only known by asking for it. A key that had none is asked again by one request after
another, never by all that wait: at once where one of ours has ended, else in a moment. A replica that has
more than its part of the places pauses before it takes another, so that one that has less comes to its own.
Times are the cluster's, in ms.
"""

import dataclasses
import random
from collections.abc import Callable

EAGER = 5
"""Milliseconds until the next try of a replica that has less than its part."""

YIELDING = 20
"""The most ms for which a replica that has its part leaves a place to others."""

CROWDED = 1_000
"""Milliseconds without a refusal after which a key is asked by whoever wants to."""


@dataclasses.dataclass(slots=True)
class _Crowd:
    next: int
    until: int
    asking: bool = False


class Places:
    """Places of one replica by key id. `live` says how many replicas there are."""

    def __init__(self, draw: random.Random, live: Callable[[], int]) -> None:
        self._draw = draw
        self._live = live
        self._held: dict[str, int] = {}
        self._crowds: dict[str, _Crowd] = {}

    def __bool__(self) -> bool:
        """Whether any key had no place lately."""
        return bool(self._crowds)

    def __repr__(self) -> str:
        """Who holds how many, and where there were none."""
        return f"<Places {self._held} held, none free at {sorted(self._crowds)}>"

    def twin(self, draw: random.Random) -> "Places":
        """A copy as of now."""
        twin = Places(draw, self._live)
        twin._held = dict(self._held)
        twin._crowds = {key: dataclasses.replace(crowd) for key, crowd in self._crowds.items()}
        return twin

    def crowded(self, key: str) -> bool:
        """Whether it had no place lately."""
        return key in self._crowds

    def wait(self, key: str, now: int) -> int:
        """Until when the key is not to be asked; 0 where it may be."""
        crowd = self._crowds.get(key)
        if crowd is None:
            return 0
        if crowd.asking:
            return now + EAGER
        return crowd.next if crowd.next > now else 0

    def take(self, key: str) -> bool:
        """A request is about to ask for a place; whether all others wait for its answer."""
        self._held[key] = self._held.get(key, 0) + 1
        crowd = self._crowds.get(key)
        if crowd is None or crowd.asking:
            return False
        crowd.asking = True
        return True

    def answered(self, key: str, now: int) -> None:
        """The request that all waited for has its place, or has left without: the next may ask."""
        crowd = self._crowds.get(key)
        if crowd is not None:
            crowd.asking = False
            if now >= crowd.until:
                del self._crowds[key]

    def refused(self, key: str, most: int, now: int) -> None:
        """There was no place, of `most` in all; the request that asked has ended its turn."""
        self._crowds[key] = _Crowd(now + self._pause(key, most), now + CROWDED)

    def end(self, key: str, most: int, now: int) -> None:
        """A request that had a place, or asked for one, has ended."""
        left = self._held[key] - 1
        if left:
            self._held[key] = left
        else:
            del self._held[key]
        crowd = self._crowds.get(key)
        if crowd is not None:
            crowd.next = now if self._poor(key, most) else now + self._draw.randint(0, YIELDING)

    def _pause(self, key: str, most: int) -> int:
        return EAGER if self._poor(key, most) else self._draw.randint(EAGER, YIELDING)

    def _poor(self, key: str, most: int) -> bool:
        """Whether this replica has less than its part."""
        return self._held.get(key, 0) * self._live() < most
