"""Writes turns as the `input` of a body for a provider.

Source: OpenAI's API reference for input items. Items carry no ids but those that their own provider made; an
assistant's text must be said as output; reasoning goes back sealed, before what it led to, or not at all.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from proxy.wire import data_urls, naming, parts
from proxy.wire.codec import Facts
from proxy.wire.conversation import (
    Audio,
    Block,
    CacheFor,
    Declined,
    Document,
    FileId,
    Image,
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
from proxy.wire.model import Dialect
from proxy.wire.responses import sealed

_ERROR_LIKE = ("error", "exception", "traceback", "failed", "failure", "fatal")


def write(turns: Sequence[Turn], facts: Facts, losses: Losses) -> list[Json]:
    """The items. Raises `Refusal` 400 for what cannot be said."""
    writer = _Items(turns, facts, losses)
    for place, turn in enumerate(turns):
        writer.take(place, turn)
    return writer.items


class _Items:
    """Writes turns in order."""

    def __init__(self, turns: Sequence[Turn], facts: Facts, losses: Losses) -> None:
        self.items: list[Json] = []
        self._facts = facts
        self._losses = losses
        self._custom: set[str] = set()
        self._asked = max((place for place, turn in enumerate(turns) if _speaks(turn)), default=-1)

    def take(self, place: int, turn: Turn) -> None:
        """One more. `place` is the turn's, for it matters whether its reasoning is still going on."""
        if turn.role is Role.ASSISTANT:
            self._assistant(turn, going_on=place > self._asked)
            return
        rest = []
        for block in turn.blocks:
            if isinstance(block, ToolResult):
                self._result(block)
            else:
                rest.append(block)
        if rest or not turn.blocks:
            self._said(turn.role, rest)

    def _said(self, role: Role, blocks: Sequence[Block]) -> None:
        if role is Role.DEVELOPER and not self._facts.quirks.developer_role:
            role = Role.SYSTEM
        self.items.append({"type": "message", "role": role.value, "content": self._content(blocks)})

    def _assistant(self, turn: Turn, *, going_on: bool) -> None:
        texts: list[Text | Declined] = []
        last = max((at for at, block in enumerate(turn.blocks) if _leads(block)), default=-1)
        for place, block in enumerate(turn.blocks):
            if isinstance(block, Text | Declined):
                texts.append(block)
                continue
            self._spoken(texts, turn.phase)
            texts = []
            if isinstance(block, Thinking):
                self._thinking(block, wanted=place < last, going_on=going_on)
            elif isinstance(block, ToolUse):
                self._call(block)
            else:
                self._losses.refuse("image" if isinstance(block, Image) else "document", param="messages")
        self._spoken(texts, turn.phase)

    def _spoken(self, texts: Sequence[Text | Declined], phase: str | None) -> None:
        if not texts:
            return
        message: Json = {"type": "message", "role": "assistant"}
        if any(isinstance(block, Text) and block.citations for block in texts):
            self._losses.meet("citations")
        if any(isinstance(block, Declined) for block in texts):
            # A refusal has no short form: it takes a message as the API itself would have made it.
            message |= {"id": f"msg_{len(self.items)}", "status": "completed"}
            message["content"] = [_output(block) for block in texts]
        else:
            message["content"] = "".join(block.text for block in texts)
            if not message["content"]:
                return
        if phase is not None:
            message["phase"] = phase
        self.items.append(message)

    def _thinking(self, block: Thinking, *, wanted: bool, going_on: bool) -> None:
        """Reasoning of this very model and account. It has to be followed by what it led to."""
        own = sealed.opened(block.seal, self._facts)
        if own is None:
            if going_on and (block.text or block.seal is not None):
                self._losses.drop("thinking")
            return
        if not wanted:
            return
        summary = [{"type": "summary_text", "text": block.text}] if block.text else []
        self.items.append({"type": "reasoning", **own, "summary": summary})

    def _call(self, block: ToolUse) -> None:
        call: Json = {"call_id": naming.legal(block.id, charset=False)}
        if block.custom:
            self._custom.add(block.id)
            call |= {"type": "custom_tool_call", "name": block.name, "input": block.arguments}
        else:
            name = naming.flattened(block.name, block.namespace)
            arguments = block.arguments if block.arguments.strip() else "{}"
            call |= {"type": "function_call", "name": name, "arguments": arguments}
        self.items.append(call)

    def _result(self, block: ToolResult) -> None:
        custom = block.custom or block.id in self._custom
        content = block.content
        if block.error:
            self._losses.change("tool_result.error")
            content = _as_error(content)
        output: str | list[Json] = ""
        if len(content) == 1 and isinstance(content[0], Text) and content[0].cache is None:
            output = content[0].text
        elif content:
            output = [self._part(part) for part in content]
        self.items.append(
            {
                "type": "custom_tool_call_output" if custom else "function_call_output",
                "call_id": naming.legal(block.id, charset=False),
                "output": output,
            }
        )

    # --- parts ----------------------------------------------------------------------------------------

    def _content(self, blocks: Sequence[Block]) -> str | list[Json]:
        if len(blocks) == 1:
            block = blocks[0]
            if isinstance(block, Text) and (block.cache is None or not self._facts.quirks.cache_marks):
                return block.text
        return [self._part(block) for block in blocks]

    def _part(self, block: Block) -> Json:
        match block:
            case Text():
                return self._marked({"type": "input_text", "text": block.text}, block.cache)
            case Image():
                return self._image(block)
            case Document():
                return self._document(block)
            case Audio():
                if not self._facts.quirks.audio:
                    self._losses.refuse("audio")
                audio = {"data": block.data, "format": block.format}
                return {"type": "input_audio", "input_audio": audio}
            case Declined():
                return {"type": "input_text", "text": block.text}
            case _:
                raise AssertionError  # pragma: no cover  (only assistants think and call)

    def _image(self, block: Image) -> Json:
        if not self._facts.quirks.images:
            self._losses.refuse("image")
        part: Json = {"type": "input_image", "detail": block.detail or "auto"}
        if isinstance(block.source, FileId):
            part["file_id"] = self._file_id(block.source)
        else:
            part["image_url"] = _address(block.source)
        return self._marked(part, block.cache)

    def _document(self, block: Document) -> Json:
        part: Json = {"type": "input_file"}
        if isinstance(block.source, FileId):
            part["file_id"] = self._file_id(block.source)
        elif isinstance(block.source, Url):
            # OpenAI refuses a name beside an address: the two exclude each other.
            part["file_url"] = block.source.url
        else:
            # Data without a name is refused, and its name says what it is.
            part["filename"] = block.name or f"file.{block.source.media_type.rpartition('/')[2]}"
            part["file_data"] = _address(block.source)
        return self._marked(part, block.cache)

    def _file_id(self, source: FileId) -> str:
        if source.dialect is not Dialect.RESPONSES:
            self._losses.refuse("file_id")
        return source.id

    def _marked(self, part: Json, cache: CacheFor | None) -> Json:
        if cache is not None and self._facts.quirks.cache_marks:
            part[parts.MARK] = parts.mark_of(cache)
        return part


def _speaks(turn: Turn) -> bool:
    """Whether a user says something of their own: results of tools go on with what came before."""
    return turn.role is Role.USER and not all(isinstance(block, ToolResult) for block in turn.blocks)


def _leads(block: Block) -> bool:
    """Whether reasoning may stand before it."""
    return isinstance(block, ToolUse) or (isinstance(block, Text | Declined) and bool(block.text))


def _output(block: Text | Declined) -> Json:
    if isinstance(block, Declined):
        return {"type": "refusal", "refusal": block.text}
    return {"type": "output_text", "text": block.text, "annotations": [], "logprobs": []}


def _address(source: Source) -> str:
    assert not isinstance(source, FileId)
    return source.url if isinstance(source, Url) else data_urls.data_url(source)


def _as_error(content: tuple[Any, ...]) -> tuple[Any, ...]:
    """A failed result whose text says so."""
    first = content[0] if content and isinstance(content[0], Text) else None
    if first is None:
        return (Text("Error"), *content)
    if first.text.lstrip().lower().startswith(_ERROR_LIKE):
        return content
    return (msgspec.structs.replace(first, text=f"Error: {first.text}"), *content[1:])
