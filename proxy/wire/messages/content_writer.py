"""Canonical turns as the `system` and `messages` of a Messages request.

Source: Anthropic's API reference and its documentation of tool use, vision and mid-conversation system
messages: no empty text, results of tools first and complete, a user begins, pictures of four types, and
thinking only with the signature of the very model that goes on.
"""

import base64
import binascii
from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec

from proxy.wire import data_urls, naming, seals, turns
from proxy.wire.codec import Facts
from proxy.wire.conversation import (
    Audio,
    Block,
    Declined,
    Document,
    FileId,
    Image,
    Inline,
    Json,
    Role,
    Source,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Turn,
    Url,
)
from proxy.wire.losses import Losses
from proxy.wire.messages.arguments import as_object
from proxy.wire.messages.marks import Marks
from proxy.wire.model import Dialect

PICTURES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
PDF: Final = "application/pdf"
EMPTY: Final = "(empty)"
"""What a user is said to have said who has said nothing."""


class ContentWriter:
    """Writes the turns of one conversation."""

    def __init__(self, facts: Facts, losses: Losses, marks: Marks) -> None:
        self._facts = facts
        self._losses = losses
        self._marks = marks
        self._ids = _Ids()

    def write(self, said: Sequence[Turn]) -> tuple[list[Json], list[Json]]:
        """The blocks of `system`, and the messages. Raises `Refusal` 400 for what cannot be said."""
        lead, rest = turns.split(said)
        system = [block for turn in lead for block in self._blocks(self._kept(turn, fresh=False))]
        since = _exchange(rest)
        cleaned = [self._clean(turn, fresh=place >= since) for place, turn in enumerate(rest)]
        placed = self._placed([turn for turn in cleaned if turn is not None])
        complete, missing = turns.answered([turns.results_first(turn) for turn in turns.merged(placed)])
        if missing:
            self._losses.meet("tool_result.missing")
        final = _without_trailing_space(turns.user_first(complete))
        return system, [self._message(turn) for turn in final]

    def _message(self, turn: Turn) -> Json:
        if turn.role is Role.ASSISTANT:
            self._ids.begin()
        return {"role": turn.role.value, "content": self._content(turn.blocks)}

    def _clean(self, turn: Turn, *, fresh: bool) -> Turn | None:
        blocks = self._kept(turn, fresh=fresh)
        if blocks:
            return turn if len(blocks) == len(turn.blocks) else Turn(turn.role, blocks, turn.phase)
        return Turn(Role.USER, (Text(EMPTY),)) if turn.role is Role.USER else None

    def _placed(self, said: Sequence[Turn]) -> list[Turn]:
        """Later instructions: in their place where that is allowed, else as a user's words there.

        They may stand between a user's turn and the assistant's, or at the end after a user's.
        """
        out: list[Turn] = []
        for turn, following in zip(said, _following(said), strict=True):
            if turn.role not in turns.INSTRUCTIONS:
                out.append(turn)
            elif (
                self._facts.quirks.mid_system
                and out
                and out[-1].role is not Role.ASSISTANT
                and following in (None, Role.ASSISTANT)
            ):
                out.append(Turn(Role.SYSTEM, turn.blocks))
            else:
                self._losses.change("system")
                out.append(Turn(Role.USER, tuple(map(_quoted, turn.blocks))))
        return out

    def _kept(self, turn: Turn, *, fresh: bool) -> tuple[Block, ...]:
        """The blocks that may be sent. `fresh`: the turn belongs to the exchange that goes on."""
        return tuple(block for block in turn.blocks if self._may_go(block, fresh=fresh))

    def _may_go(self, block: Block, *, fresh: bool) -> bool:
        if isinstance(block, Text | Declined):
            return bool(block.text) and not block.text.isspace()
        if not isinstance(block, Thinking):
            return True
        fits = seals.fits(block.seal, Dialect.MESSAGES, self._facts.model)
        if not fits and fresh:
            # Of exchanges that are over the provider itself would leave the thinking out.
            self._losses.drop("thinking")
        return fits

    def _content(self, blocks: Sequence[Block]) -> str | list[Json]:
        match blocks:
            case [Text(cache=None, citations=()) as only]:
                return only.text
        return self._blocks(blocks)

    def _blocks(self, blocks: Sequence[Block]) -> list[Json]:
        return [self._block(block) for block in blocks]

    def _block(self, block: Block) -> Json:
        made: Json
        match block:
            case Text() | Declined():
                made = self._text(block)
            case Image():
                source = self._picture(block.source)
                made = self._marks.note({"type": "image", "source": source}, block.cache)
            case Document():
                made = self._document(block)
            case Thinking():
                made = _thinking(block)
            case ToolUse():
                made = self._call(block)
            case ToolResult():
                made = self._result(block)
            case Audio():
                self._losses.refuse("audio")
        return made

    def _text(self, block: Text | Declined) -> Json:
        made: Json = {"type": "text", "text": block.text}
        if isinstance(block, Declined):
            return made
        if block.citations:
            self._losses.meet("citations")
        return self._marks.note(made, block.cache)

    def _picture(self, source: Source) -> Json:
        if not self._facts.quirks.images:
            self._losses.refuse("image")
        if isinstance(source, Url):
            return {"type": "url", "url": source.url}
        if isinstance(source, FileId):
            self._losses.refuse("file_id")
        media_type = data_urls.sniffed(source.media_type, source.data)
        if media_type not in PICTURES:
            self._losses.refuse(
                "image", f"Images of the type '{media_type}' are not taken: {_list(PICTURES)}."
            )
        return {"type": "base64", "media_type": media_type, "data": source.data}

    def _document(self, block: Document) -> Json:
        made: Json = {"type": "document", "source": self._file(block.source)}
        if block.name:
            made["title"] = block.name
        return self._marks.note(made, block.cache)

    def _file(self, source: Source) -> Json:
        if isinstance(source, Url):
            return {"type": "url", "url": source.url}
        if isinstance(source, FileId):
            self._losses.refuse("file_id")
        media_type = data_urls.sniffed(source.media_type, source.data)
        if media_type == PDF:
            return {"type": "base64", "media_type": media_type, "data": source.data}
        text = _decoded(source) if media_type.startswith("text/") else None
        if text is None:
            self._losses.refuse(
                "document", f"Files of the type '{media_type}' are not taken: PDF and text are."
            )
        return {"type": "text", "media_type": "text/plain", "data": text}

    def _call(self, block: ToolUse) -> Json:
        return {
            "type": "tool_use",
            "id": self._ids.called(block.id),
            "name": naming.flattened(block.name, block.namespace),
            "input": {"input": block.arguments} if block.custom else as_object(block.arguments),
        }

    def _result(self, block: ToolResult) -> Json:
        made: Json = {"type": "tool_result", "tool_use_id": self._ids.answered(block.id)}
        content = self._content([part for part in block.content if self._may_go(part, fresh=False)])
        if content:
            made["content"] = content
        if block.error:
            made["is_error"] = True
        return self._marks.note(made, block.cache)


class _Ids:
    """Ids of calls, each once in a conversation: some servers count from zero in every reply."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._numbers: dict[str, int] = {}
        self._waiting: dict[str, deque[str]] = {}

    def begin(self) -> None:
        """A turn of the assistant: the results after it are of its calls."""
        self._waiting = {}

    def called(self, name: str) -> str:
        """The id of a call."""
        wanted = sent = naming.legal(name)
        number = self._numbers.get(wanted, 1)
        while sent in self._taken:
            number += 1
            sent = naming.legal(f"{wanted}_{number}")
        self._numbers[wanted] = number
        self._taken.add(sent)
        self._waiting.setdefault(name, deque()).append(sent)
        return sent

    def answered(self, name: str) -> str:
        """The id of the call that a result is of; the results of calls of one name come in their order."""
        waiting = self._waiting.get(name)
        if waiting is None:
            return naming.legal(name)
        return waiting.popleft() if len(waiting) > 1 else waiting[0]


def _exchange(said: Sequence[Turn]) -> int:
    """The place of the first turn of the exchange that goes on: what follows the last word of the user."""
    for place in range(len(said) - 1, -1, -1):
        turn = said[place]
        if turn.role is Role.USER and not any(isinstance(block, ToolResult) for block in turn.blocks):
            return place
    return 0


def _following(said: Sequence[Turn]) -> list[Role | None]:
    """For each turn, who of those that do not instruct speaks next (itself, where it does not)."""
    found: list[Role | None] = []
    following: Role | None = None
    for turn in reversed(said):
        if turn.role not in turns.INSTRUCTIONS:
            following = turn.role
        found.append(following)
    return found[::-1]


def _without_trailing_space(final: list[Turn]) -> list[Turn]:
    """An assistant's last turn is gone on from, and may not end in white space."""
    last = final[-1]
    *before, text = last.blocks
    if last.role is not Role.ASSISTANT or not isinstance(text, Text):
        return final
    blocks = (*before, msgspec.structs.replace(text, text=text.text.rstrip()))
    return [*final[:-1], msgspec.structs.replace(last, blocks=blocks)]


def _quoted(block: Block) -> Block:
    if not isinstance(block, Text):
        return block
    return msgspec.structs.replace(block, text=f"<system>{block.text}</system>")


def _thinking(block: Thinking) -> Json:
    assert block.seal is not None
    if block.redacted:
        return {"type": "redacted_thinking", "data": block.seal.value}
    return {"type": "thinking", "thinking": block.text, "signature": block.seal.value}


def _decoded(source: Inline) -> str | None:
    try:
        return base64.b64decode(source.data, validate=True).decode()
    except (binascii.Error, UnicodeError):
        return None


def _list(types: frozenset[str]) -> str:
    return ", ".join(sorted(types))
