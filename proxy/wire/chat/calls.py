"""Which tool call a piece of a chat stream belongs to, and blocks one after the other.

Servers differ in how they name a call across its pieces: an index and an id at first and the index alone
later (OpenAI), an empty id and no name later (DashScope, DeepSeek), the id with every piece, no index at all
(Gemini, SGLang), the same index for every call (Ollama). Rules: a new id is a new call; an empty id or name
is none; with neither id nor index it is the call that is going on.
"""

import dataclasses

import msgspec

from proxy.errors import Fault, FaultKind
from proxy.wire.events import Added, Closed, Event, Kind, Opened

Citation = tuple[str, str, int, int]
"""As in `conversation.Text`."""

_any = msgspec.json.Decoder()


@dataclasses.dataclass(slots=True)
class Block:
    """A block of a reply, as far as it has come: a call's arguments, or what waits until it is opened."""

    kind: Kind
    index: int | None = None
    id: str = ""
    name: str = ""
    custom: bool = False
    pieces: list[str] = dataclasses.field(default_factory=list)
    citations: list[Citation] = dataclasses.field(default_factory=list)
    _looked: int = 0
    _whole: bool = False

    @property
    def blank(self) -> bool:
        """Whether it is a call of which nothing is known."""
        return self.kind == "tool" and not self.name and not self.pieces

    @property
    def whole(self) -> bool:
        """Whether a call's arguments are a JSON object that says something, and so are surely whole.

        Looked at once for each state: a long call may be asked about with every piece of the next.
        """
        if len(self.pieces) == self._looked:
            return self._whole
        self._looked = len(self.pieces)
        self._whole = self.pieces[-1].rstrip().endswith("}") and _says_something("".join(self.pieces))
        return self._whole


def _says_something(text: str) -> bool:
    try:
        return bool(_any.decode(text))
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return False


class Blocks:
    """Turns pieces that may interleave into events of blocks one after the other.

    The first block that is not whole is open; later ones are held back until it is closed. A call is whole
    when its arguments are and another block began, else at the end of the reply.
    """

    def __init__(self) -> None:
        self._waiting: list[Block] = []
        self._open: Block | None = None
        self._calls: list[Block] = []

    @property
    def begun(self) -> bool:
        """Whether anything was said."""
        return self._open is not None or bool(self._waiting)

    @property
    def called(self) -> bool:
        """Whether there was any tool call."""
        return any(not call.blank for call in self._calls)

    def say(self, kind: Kind, text: str) -> list[Event]:
        """A piece of text, thinking or refusal."""
        block = self._open
        if block is not None and block.kind == kind and not self._waiting:
            return [Added(text)]
        last = self._waiting[-1] if self._waiting else None
        if last is None or last.kind != kind:
            last = Block(kind)
            self._waiting.append(last)
        last.pieces.append(text)
        return self._advance()

    def cite(self, citations: list[Citation]) -> None:
        """Citations of the text so far."""
        block = self._waiting[-1] if self._waiting else self._open
        if block is not None:
            block.citations += citations

    def call(self, found: Block, arguments: str) -> list[Event]:
        """A piece of the arguments of a call that `find` gave."""
        if arguments:
            found.pieces.append(arguments)
            if found is self._open:
                return [Added(arguments)]
        return self._advance()

    def find(self, index: int | None, id: str, name: str, arguments: str) -> Block:  # noqa: A002  (the field's name)
        """The call that a piece belongs to; a new one where it is the first of its."""
        block = self._known(index, id, name, arguments)
        if block is not None:
            block.name = block.name or name
            block.id = block.id or id
            return block
        taken = sum(call.id == id or call.id.startswith(f"{id}_") for call in self._calls) if id else 0
        block = Block("tool", index, f"{id}_{taken + 1}" if taken else id, name)
        self._calls.append(block)
        self._waiting.append(block)
        return block

    def _known(self, index: int | None, id: str, name: str, arguments: str) -> Block | None:  # noqa: A002  (its name)
        if not self._calls:
            return None
        here = self._calls[-1] if index is None else self._at(index)
        if id:
            same = next((call for call in reversed(self._calls) if call.id == id), None)
            if same is not None:
                other = index is not None and same.index is not None and index != same.index
                return None if other and name else same
            return here if here is not None and not here.id and not name else None
        if here is None or not name:
            return here
        if here.name and (name != here.name or (arguments.lstrip().startswith("{") and here.whole)):
            return None
        return here

    def _at(self, index: int) -> Block | None:
        return next((call for call in reversed(self._calls) if call.index == index), None)

    def _advance(self, *, ended: bool = False) -> list[Event]:
        out: list[Event] = []
        while self._waiting:
            block = self._open
            if block is not None:
                if block.kind == "tool" and not ended and not block.whole:
                    break
                out.append(Closed(citations=tuple(block.citations)))
                self._open = None
            block = self._waiting[0]
            if block.kind == "tool" and not block.name and not ended:
                break
            del self._waiting[0]
            self._open = block
            out.append(Opened(block.kind, block.id, block.name, block.custom))
            if block.pieces:
                out.append(Added("".join(block.pieces)))
        return out

    def end(self) -> list[Event]:
        """All that is left, and the end of the last block. Raises `Fault` where a call has no name."""
        self._waiting = [block for block in self._waiting if not block.blank]
        if any(block.kind == "tool" and not block.name for block in self._waiting):
            raise Fault(FaultKind.NOT_JSON, "a tool call of the reply had no name", status=200)
        out = self._advance(ended=True)
        if self._open is not None:
            out.append(Closed(citations=tuple(self._open.citations)))
            self._open = None
        return out
