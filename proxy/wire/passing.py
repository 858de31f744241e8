"""A stream that passes unchanged between two ends of one dialect: what all dialects do alike with it.

Before the first content each event is read; after it no more of most events than that they are whole and
tell nothing (`sse.plain`), and those that may tell something are read one by one again. Bytes go on as they
came, or not at all.
"""

import abc
from collections.abc import Callable

from proxy.errors import Fault, Said
from proxy.wire import sse
from proxy.wire.model import Usage


class Passing(abc.ABC):
    """Half of a `model.Stream`: its state, and `feed`. A dialect reads its events, and knows its ends.

    `goes_on` says of an event, without its empty line, whether it tells nothing but that the reply goes on.
    """

    def __init__(self, goes_on: Callable[[bytes], bool]) -> None:
        self.content = False
        self.ended = False
        self.error: Said | None = None
        self.usage: Usage | None = None
        self.events = 0
        self._goes_on = goes_on
        self._splitter = sse.Splitter()
        self._last = b""  # what went on last
        self._unsaid = b""  # what was whole before a fault, and has not gone on

    def feed(self, data: bytes) -> bytes:
        """The whole events that `data` completed, as they go on to the client. Raises `Fault`."""
        if self.ended:
            return b""
        block = self._splitter.whole(data)
        if not block:
            return b""
        if not self.content:
            return self._look(sse.events(block))
        count, size = sse.plain(block, self._goes_on)
        self.events += count
        if size == len(block):
            self._last = block
            return block
        if size:
            self._last = block[:size]
        return self._look(sse.events(block[size:]), block[:size])

    def _look(self, events: list[bytes], before: bytes = b"") -> bytes:
        """What goes on to the client of these events, after what went `before`."""
        kept = [before] if before else []
        for event in events:
            if self.error is not None or self.ended:
                break
            try:
                out = self._passed(event)
            except Fault:
                self._unsaid = b"".join(kept)
                raise
            if out:
                kept.append(out)
                self._last = out
        return kept[0] if len(kept) == 1 else b"".join(kept)

    @abc.abstractmethod
    def _passed(self, event: bytes) -> bytes:
        """Read one event: as it goes on, or b"" where it does not. Raises `Fault` where it is not whole."""
