"""A bounded queue that is fair to those who wait in it: deficit round robin by cost. Pure.

Each client has a line of its own, and the lines take turns; in its turn a line may spend a quantum more
(Shreedhar and Varghese, 1996). So a client with a hundred times the requests, or requests a hundred times
as large, waits for itself. What is too much is taken from the end of the longest line, whoever asked.
"""

import dataclasses
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

QUANTUM = 2_000
"""What a line may spend more in each turn, in tokens: about one request of a conversation."""

DEAREST = 64 * QUANTUM
"""The most that one item costs: what is dearer waits no longer for its turn."""

OTHERS = 8
"""How many lines are asked whether they can go on while the first cannot."""

T = TypeVar("T")


@dataclasses.dataclass(slots=True)
class _Line(Generic[T]):
    waiting: deque[tuple[T, int]] = dataclasses.field(default_factory=deque)
    deficit: int = 0
    begun: bool = False


class FairQueue(Generic[T]):
    """Items of clients, by the client's name."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lines: OrderedDict[str, _Line[T]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        """How many wait."""
        return self._count

    def __repr__(self) -> str:
        """Who waits, whose turn is next first."""
        return f"<FairQueue { ({name: len(line.waiting) for name, line in self._lines.items()}) }>"

    def put(self, client: str, item: T, cost: int) -> T | None:
        """Let `item` wait. What had to go for it is returned: perhaps `item` itself."""
        line = self._lines.setdefault(client, _Line())
        line.waiting.append((item, min(cost, DEAREST)))
        self._count += 1
        if self._count <= self._most:
            return None
        longest = max(self._lines, key=lambda name: (len(self._lines[name].waiting), name == client))
        gone, _ = self._lines[longest].waiting.pop()
        self._left(longest)
        return gone

    def remove(self, client: str, item: T) -> None:
        """`item` waits no more. Harmless where it does not wait."""
        line = self._lines.get(client)
        if line is None:
            return
        for entry in line.waiting:
            if entry[0] is item:
                line.waiting.remove(entry)
                self._left(client)
                return

    def serve(self, serve: Callable[[T], bool]) -> None:
        """Offer what waits to `serve`, in its turn, until it refuses."""
        while self._lines:
            client, line = next(iter(self._lines.items()))
            if not line.begun:
                line.begun = True
                line.deficit += QUANTUM
            item, cost = line.waiting[0]
            if cost > line.deficit:
                line.begun = False
                self._lines.move_to_end(client)
            elif serve(item):
                self._served(client, line)
            else:
                break
        self._serve_others(serve)

    def _serve_others(self, serve: Callable[[T], bool]) -> None:
        """It is not the turn of these, but what they wait for may be another thing; they pay for it later."""
        for client in list(self._lines)[1 : 1 + OTHERS]:
            line = self._lines[client]
            while line.waiting and serve(line.waiting[0][0]):
                self._served(client, line)

    def _served(self, client: str, line: _Line[T]) -> None:
        _, cost = line.waiting.popleft()
        line.deficit -= cost
        self._left(client)

    def heads(self) -> list[T]:
        """The first of each line."""
        return [line.waiting[0][0] for line in self._lines.values()]

    def _left(self, client: str) -> None:
        self._count -= 1
        if not self._lines[client].waiting:
            del self._lines[client]
