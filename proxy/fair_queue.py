"""A bounded queue that is fair to those who wait in it: deficit round robin by cost. Pure.

Each client has a line of its own, and the lines take turns; in its turn a line may spend a quantum more
(Shreedhar and Varghese, 1996). So a client with a hundred times the requests, or requests a hundred times
as large, waits for itself. What is too much is taken from the end of the longest line, whoever asked.
"""

import dataclasses
import itertools
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

QUANTUM = 256
"""What a line may spend more in each turn, in tokens: a short request or two."""

DEAREST = 128_000
"""The most that one item costs: what is dearer waits no longer for its turn."""

OTHERS = 8
"""How many lines, and how many behind the first, are asked whether they can go on while the first cannot."""

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
        return self.shed(client) if self._count > self._most else None

    def shed(self, client: str = "") -> T:
        """Take the last of the longest line, of that of `client` among equals; there must be one."""
        longest = max(self._lines, key=lambda name: (len(self._lines[name].waiting), name == client))
        gone, _ = self._lines[longest].waiting.pop()
        self._left(longest)
        return gone

    def put_back(self, client: str, item: T, cost: int) -> None:
        """`item` was served in vain: it is the next again, and what it paid is given back."""
        line = self._lines.setdefault(client, _Line())
        cost = min(cost, DEAREST)
        line.waiting.appendleft((item, cost))
        line.begun = True
        line.deficit = max(line.deficit, 0) + cost
        self._lines.move_to_end(client, last=False)
        self._count += 1

    def remove(self, client: str, item: T) -> None:
        """`item` waits no more. Harmless where it does not wait."""
        line = self._lines.get(client)
        if line is None:
            return
        for at, entry in enumerate(line.waiting):
            if entry[0] is item:
                del line.waiting[at]
                self._left(client)
                return

    def serve(self, serve: Callable[[T], bool]) -> None:
        """Offer what waits to `serve`, in its turn, until it refuses."""
        poor = 0
        while self._lines:
            client, line = next(iter(self._lines.items()))
            if not line.begun:
                line.begun = True
                line.deficit += QUANTUM
            item, cost = line.waiting[0]
            if cost > line.deficit:
                line.begun = False
                self._lines.move_to_end(client)
                poor += 1
                if poor == len(self._lines):
                    self._advance()
                    poor = 0
            elif serve(item):
                self._served(client, line)
                poor = 0
            else:
                break
        self._serve_others(serve)

    def _advance(self) -> None:
        """Nobody can pay: as many rounds at once as it takes until the first one nearly can."""
        rounds = min((line.waiting[0][1] - line.deficit - 1) // QUANTUM for line in self._lines.values())
        for line in self._lines.values():
            line.deficit += rounds * QUANTUM

    def _serve_others(self, serve: Callable[[T], bool]) -> None:
        """It is not the turn of these, but what they wait for may be another thing; they pay for it later.

        Others are the next of the line whose turn it is, and the heads of the next lines.
        """
        if not self._lines:
            return
        first = next(iter(self._lines))
        self._serve_behind(first, self._lines[first], serve)
        for client in list(self._lines)[1 : 1 + OTHERS]:
            line = self._lines[client]
            while line.waiting and serve(line.waiting[0][0]):
                self._served(client, line)

    def _serve_behind(self, client: str, line: _Line[T], serve: Callable[[T], bool]) -> None:
        at = 1
        for item, _ in list(line.waiting)[1 : 1 + OTHERS]:
            if serve(item):
                self._served(client, line, at)
            else:
                at += 1

    def _served(self, client: str, line: _Line[T], at: int = 0) -> None:
        _, cost = line.waiting[at]
        del line.waiting[at]
        line.deficit -= cost
        self._left(client)

    def candidates(self) -> list[T]:
        """Those that are offered something: the next, those behind it, and the heads of the next lines."""
        lines = list(itertools.islice(self._lines.values(), 1 + OTHERS))
        behind = itertools.islice(lines[0].waiting, 1 + OTHERS) if lines else ()
        return [item for item, _ in behind] + [line.waiting[0][0] for line in lines[1:]]

    def _left(self, client: str) -> None:
        self._count -= 1
        if not self._lines[client].waiting:
            del self._lines[client]
