"""The canonical reply: its events, in nobody's wire format, and what it adds up to.

A reader of an upstream's stream turns wire events into these, a writer of the client's dialect turns these
into wire events. A reply that is no stream is the same events at once, collected (`Collector`), so the
two cannot drift apart.

Grammar, which every reader keeps and every writer may rely on: one `Began`; then blocks strictly one after
the other, each `Opened`, any number of `Added`, one `Closed`; `Counted` any time; one `Finished` at the end.
`Failed` may come at any time and is the last. A reader whose upstream interleaves calls holds the later
ones back.
"""

import dataclasses
from typing import Literal

import msgspec

from proxy.errors import Said
from proxy.wire.conversation import Seal
from proxy.wire.model import Usage

Kind = Literal["text", "declined", "thinking", "tool"]

Reason = Literal["stop", "stop_sequence", "length", "context_length", "tool_use", "content_filter", "pause"]
"""Why a reply ended. `content_filter` is a refusal of the provider, `context_length` the model's own window,
`pause` a long turn of server-run tools that is to be continued."""


class Began(msgspec.Struct, frozen=True, gc=False):
    """The reply began. `model` is what the upstream calls itself; `usage` what it knew by then."""

    model: str | None = None
    usage: Usage | None = None


class Opened(msgspec.Struct, frozen=True, gc=False):
    """A block began. `id`, `name`, `custom` and `namespace` are a tool call's."""

    kind: Kind
    id: str = ""
    name: str = ""
    custom: bool = False
    namespace: str | None = None


class Added(msgspec.Struct, frozen=True, gc=False):
    """The open block goes on: text, thinking, or a piece of a call's arguments."""

    text: str


class Closed(msgspec.Struct, frozen=True):
    """The open block is whole.

    `seal` is what makes a thinking block replayable, `redacted` that there is nothing else of it.
    `citations` are a text's, as in `conversation.Text`.
    """

    seal: Seal | None = None
    redacted: bool = False
    citations: tuple[tuple[str, str, int, int], ...] = ()


class Counted(msgspec.Struct, frozen=True):
    """Tokens so far; the last one is right. Totals, not increments."""

    usage: Usage


class Finished(msgspec.Struct, frozen=True):
    """The reply is whole. `sequence` is the stop sequence that ended it, where that is known.

    `tier` is the service tier that it was served in, in OpenAI's words; `explanation` a refusal's.
    """

    reason: Reason
    sequence: str | None = None
    tier: str | None = None
    explanation: str | None = None


class Failed(msgspec.Struct, frozen=True):
    """The provider reported an error inside its stream."""

    said: Said


Event = Began | Opened | Added | Closed | Counted | Finished | Failed


@dataclasses.dataclass(slots=True)
class Piece:
    """One block of a collected reply; `text` is its text, thinking or arguments."""

    opened: Opened
    text: str = ""
    closed: Closed | None = None


class Collector:
    """Adds events up to a whole reply."""

    def __init__(self) -> None:
        self.began = Began()
        self.pieces: list[Piece] = []
        self.usage: Usage | None = None
        self.finished: Finished | None = None
        self.failed: Said | None = None
        self._texts: list[str] = []

    def take(self, event: Event) -> None:
        """One more."""
        match event:
            case Added():
                self._texts.append(event.text)
            case Opened():
                self.pieces.append(Piece(event))
            case Closed():
                self._close(event)
            case Counted():
                self.usage = event.usage
            case Began():
                self.began = event
                self.usage = event.usage or self.usage
            case Finished():
                self.finished = event
            case Failed():
                self.failed = event.said

    def settle(self) -> None:
        """A stream broke: what came of the open block is kept as it is."""
        if self.pieces and self.pieces[-1].closed is None:
            self.pieces[-1].text += "".join(self._texts)
            self._texts = []

    def _close(self, closed: Closed) -> None:
        piece = self.pieces[-1]
        piece.text, piece.closed, self._texts = "".join(self._texts), closed, []
