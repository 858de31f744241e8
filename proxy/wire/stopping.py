"""Stop sequences for an upstream whose dialect has none: the answer is cut where the first one stands.

What could be the beginning of one is held back until it is clear. Only text counts: not thinking, not the
arguments of tools (as at OpenAI and Anthropic).
"""

from collections.abc import Sequence
from typing import Final

from proxy.errors import Refusal
from proxy.wire.events import Added, Closed, Counted, Event, Failed, Finished, Opened

MOST: Final = 64
LONGEST: Final = 256
"""How many sequences, and how many characters of one: all are looked for in every piece of a text."""


def bounded(sequences: tuple[str, ...], param: str) -> tuple[str, ...]:
    """The very `sequences`. Raises `Refusal` 400 naming `param` for more than can be looked for."""
    if len(sequences) > MOST:
        raise Refusal(
            400,
            f"Invalid '{param}': array too long. Expected an array with maximum length {MOST}, but got an "
            f"array with length {len(sequences)} instead.",
            param=param,
            code="array_above_max_length",
        )
    longest = max(map(len, sequences), default=0)
    if longest > LONGEST:
        raise Refusal(
            400,
            f"Invalid '{param}': string too long. Expected a string with maximum length {LONGEST}, but got "
            f"a string with length {longest} instead.",
            param=param,
            code="string_above_max_length",
        )
    return sequences


class Stopper:
    """Cuts one reply's events at the first of `sequences`; `met` is that one, once it was there."""

    def __init__(self, sequences: Sequence[str]) -> None:
        self._sequences = [sequence for sequence in sequences if sequence]
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
        found = min(((held.find(s) + len(s), -len(s), s) for s in self._sequences if s in held), default=None)
        if found is not None:  # the one that is whole first, as it would have ended the model
            self.met = found[2]
            at = found[0] + found[1]
            self._held = ""
            return [*([Added(held[:at])] if at else []), Closed()]
        since = min((_overlap(held, s) for s in self._sequences), default=len(held))
        said, self._held = held[:since], held[since:]
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


def _overlap(held: str, sequence: str) -> int:
    """The place from which `held` may be the beginning of `sequence`; its end where it is none."""
    first = sequence[0]
    at = held.find(first, max(0, len(held) - len(sequence) + 1))
    while at >= 0 and not sequence.startswith(held[at:]):
        at = held.find(first, at + 1)
    return at if at >= 0 else len(held)
