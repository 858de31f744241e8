"""Stop sequences for an upstream whose dialect has none: the answer is cut where the first one stands.

What could be the beginning of one is held back until it is clear. Only text counts: not thinking, not the
arguments of tools (as at OpenAI and Anthropic).
"""

from collections.abc import Sequence

from proxy.wire.events import Added, Closed, Counted, Event, Failed, Finished, Opened


class Stopper:
    """Cuts one reply's events at the first of `sequences`; `met` is that one, once it was there."""

    def __init__(self, sequences: Sequence[str]) -> None:
        self._sequences = [sequence for sequence in sequences if sequence]
        self._longest = max(map(len, self._sequences), default=1)
        self._held = ""
        self._text = False
        self.met: str | None = None

    def cut(self, events: Sequence[Event]) -> list[Event]:
        """The events without what came after a stop sequence; usage still counts."""
        out: list[Event] = []
        for event in events:
            if self.met is not None:
                out += self._after(event, self.met)
            elif isinstance(event, Added) and self._text:
                out += self._read(event.text)
            else:
                out += self._other(event)
        return out

    def _read(self, text: str) -> list[Event]:
        held = self._held + text
        found = min(((held.find(s), s) for s in self._sequences if s in held), default=None)
        if found is not None:
            at, self.met = found
            self._held = ""
            return [*([Added(held[:at])] if at else []), Closed()]
        keep = next(
            (
                size
                for size in range(min(self._longest - 1, len(held)), 0, -1)
                if any(s.startswith(held[-size:]) for s in self._sequences)
            ),
            0,
        )
        said, self._held = held[: len(held) - keep], held[len(held) - keep :]
        return [Added(said)] if said else []

    def _other(self, event: Event) -> list[Event]:
        if isinstance(event, Counted):  # it may come amid a text: what is held back stays held
            return [event]
        if isinstance(event, Opened):
            self._text = event.kind == "text"
        held, self._held = self._held, ""
        return [Added(held), event] if held else [event]

    @staticmethod
    def _after(event: Event, met: str) -> list[Event]:
        if isinstance(event, Counted):
            return [event]
        if isinstance(event, Finished):
            return [Finished("stop_sequence", sequence=met, tier=event.tier)]
        if isinstance(event, Failed):  # what was asked for is there already
            return [Finished("stop_sequence", sequence=met)]
        return []
