"""What is to be stored as soon as Redis can be reached: one letter a response, within bounds. Pure."""

import dataclasses
import enum

from proxy.responses import keyspace

Event = tuple[int, bytes]
"""A sequence number and an event."""


class Mode(enum.StrEnum):
    """What a letter says besides the document: the modes of responses_save.lua."""

    PLAIN = "plain"
    BEGIN = "begin"
    FINISH = "finish"
    BURY = "bury"


@dataclasses.dataclass(frozen=True, slots=True)
class Letter:
    """A sealed document on its way. `events` are sealed; `last` is the last event known, for a burial."""

    owner: str
    id: str
    document: bytes
    mode: Mode = Mode.PLAIN
    events: tuple[Event, ...] = ()
    last: int = -1

    @property
    def name(self) -> str:
        """Whose it is, and which."""
        return keyspace.name(self.owner, self.id)

    @property
    def size(self) -> int:
        """Bytes it takes."""
        return len(self.document) + sum(len(event) for _, event in self.events)


class Outbox:
    """Letters that wait. A newer one takes the place of an older one of the same response.

    What is in it has been promised to a client, so where it is full a new one is refused.
    """

    def __init__(self, entries: int, most_bytes: int) -> None:
        self._letters: dict[str, Letter] = {}
        self.bytes = 0
        self.bound(entries, most_bytes)

    def bound(self, entries: int, most_bytes: int) -> None:
        """Keep so much from now on. What is in it stays, even beyond that."""
        self._entries = entries
        self._most = most_bytes

    def __len__(self) -> int:
        """How many wait."""
        return len(self._letters)

    def put(self, letter: Letter) -> bool:
        """Keep `letter`; False where there is no room for it. Then an older one stays."""
        old = self._letters.get(letter.name)
        grown = self.bytes + letter.size - (old.size if old else 0)
        if grown > self._most or (old is None and len(self) >= self._entries):
            return False
        self._letters[letter.name] = letter
        self.bytes = grown
        return True

    def find(self, name: str) -> Letter | None:
        """The letter of this response, if one waits."""
        return self._letters.get(name)

    def drop(self, name: str) -> bool:
        """Forget the letter of this response; whether one waited."""
        letter = self._letters.pop(name, None)
        self.bytes -= letter.size if letter else 0
        return letter is not None

    def delivered(self, letter: Letter) -> None:
        """Forget `letter`, if no newer one has taken its place."""
        if self._letters.get(letter.name) is letter:
            self.drop(letter.name)

    def waiting(self) -> list[Letter]:
        """All of them, the oldest first."""
        return list(self._letters.values())
