"""Writes turns as the `messages` of a chat body.

Order that the API demands: what an assistant said and called at one go is one message; its calls' results
are the messages right after it, one each, in the order of the calls; what else users say comes then.
Pictures cannot stand in results: they follow in a user message. Servers that take a system message only at
the front get the later ones as user text.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Sequence
from typing import Final

from proxy.profiles import Quirks
from proxy.wire import data_urls, naming, parts, turns
from proxy.wire.conversation import (
    Audio,
    Block,
    CacheFor,
    Declined,
    Document,
    FileId,
    Image,
    Inline,
    Json,
    Role,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Turn,
    Url,
)
from proxy.wire.losses import Losses

BELOW: Final = "[image attached below]"
"""A result that is a picture and no word."""
_ERROR = re.compile(r"\W*(?:\w+\s?)?(?:error|exception|failed|failure|traceback)", re.IGNORECASE)
"""How a text begins that says itself that something went wrong."""


def write(said: Sequence[Turn], quirks: Quirks, losses: Losses) -> list[Json]:
    """The messages. Raises `Refusal` 400 for what this provider cannot be told."""
    return _Writer(quirks, losses).messages(said)


class _Writer:
    """Writes the messages of one body."""

    def __init__(self, quirks: Quirks, losses: Losses) -> None:
        self._quirks = quirks
        self._losses = losses
        self._out: list[Json] = []

    def messages(self, said: Sequence[Turn]) -> list[Json]:
        lead, rest = turns.split(said)
        self._lead(lead)
        spoken: list[Turn] = []
        called: list[str] = []
        assistant: list[Turn] = []
        asked = max((place for place, turn in enumerate(rest) if _speaks(turn)), default=-1)
        for place, turn in enumerate(rest):
            if turn.role is Role.ASSISTANT:
                if spoken:
                    self._replies(spoken, called)
                    spoken, called = [], []
                assistant.append(turn)
                continue
            if assistant:
                called = self._assistant(assistant, going_on=place > asked)
                assistant = []
            spoken.append(turn)
        if assistant:
            self._assistant(assistant, going_on=True)
        elif spoken:
            self._replies(spoken, called)
        return self._out

    # --- instructions -------------------------------------------------------------------------------------

    def _lead(self, lead: Sequence[Turn]) -> None:
        if len(lead) > 1 and not self._quirks.system_anywhere:
            lead = [Turn(Role.SYSTEM, tuple(block for turn in lead for block in turn.blocks))]
        for turn in lead:
            self._instruct(turn)

    def _instruct(self, turn: Turn) -> None:
        developer = turn.role is Role.DEVELOPER and self._quirks.developer_role
        content = self._content(turn.blocks, apart=self._quirks.openai_hints)
        if content:
            self._out.append({"role": "developer" if developer else "system", "content": content})

    # --- users and results --------------------------------------------------------------------------------

    def _replies(self, spoken: Sequence[Turn], called: Sequence[str]) -> None:
        """All that comes between two messages of the assistant: results first, pictures of results next."""
        results = [block for turn in spoken for block in turn.blocks if isinstance(block, ToolResult)]
        shown = self._results(results, called) if results else []
        for turn in spoken:
            blocks = [block for block in turn.blocks if not isinstance(block, ToolResult)]
            if not blocks:
                continue
            if turn.role is Role.USER or not self._quirks.system_anywhere:
                if turn.role is not Role.USER:
                    self._losses.change("system")
                self._user(blocks, shown)
                shown = []
            else:
                self._instruct(turn)
        if shown:
            self._user((), shown)

    def _user(self, blocks: Sequence[Block], shown: list[Json]) -> None:
        """A user message, with pictures of results before what the user says."""
        content = self._content(blocks, apart=self._quirks.images) if blocks else []
        if shown:
            if isinstance(content, str):
                content = [_text(content)] if content else []
            content = shown + content
        self._out.append({"role": "user", "content": content})

    def _results(self, results: list[ToolResult], called: Sequence[str]) -> list[Json]:
        """One message a result; returned are the pictures that have to follow them."""
        if len(results) > 1:
            place = {name: order for order, name in enumerate(called)}
            results.sort(key=lambda result: place.get(result.id, len(place)))
        shown: list[Json] = []
        for result in results:
            content, files = self._result(result)
            shown += files
            self._out.append(
                {"role": "tool", "tool_call_id": naming.legal(result.id, charset=False), "content": content}
            )
        if shown:
            self._losses.change("tool_result.image")
        return shown

    def _result(self, result: ToolResult) -> tuple[str | list[Json], list[Json]]:
        """The content of a result's message, and the parts that have to follow in another."""
        text = "\n".join(block.text for block in result.content if isinstance(block, Text) and block.text)
        files = [block for block in result.content if not isinstance(block, Text)]
        if result.error:
            self._losses.meet("tool_result.error")
            if not _ERROR.match(text):
                text = f"Error: {text}" if text else "Error"
        shown = [self._part(block) for block in files]
        if not shown:
            return text, []
        if self._quirks.tool_images:
            return [*([_text(text)] if text else []), *shown], []
        return text or BELOW, shown

    # --- parts --------------------------------------------------------------------------------------------

    def _content(self, blocks: Sequence[Block], *, apart: bool) -> str | list[Json]:
        """Content as a string where it is text only; `apart` keeps several texts apart, as parts."""
        only = blocks[0] if len(blocks) == 1 else None
        marks = self._quirks.cache_marks and any(_mark(block) for block in blocks)
        if isinstance(only, Text) and not marks:
            self._cited(only)
            return only.text
        if not apart and not marks and all(isinstance(block, Text) for block in blocks):
            return "\n\n".join(block.text for block in blocks if isinstance(block, Text) and block.text)
        said = [self._part(block) for block in blocks if not (isinstance(block, Text) and not block.text)]
        return said or ""

    def _part(self, block: Block) -> Json:
        match block:
            case Text():
                self._cited(block)
                part = _text(block.text)
            case Image():
                part = self._image(block)
            case Document():
                part = self._document(block)
            case Audio():
                if not self._quirks.audio:
                    self._losses.refuse("audio")
                part = {"type": "input_audio", "input_audio": {"data": block.data, "format": block.format}}
            case Declined() | Thinking():
                part = _text(block.text)
            case _:
                raise AssertionError(block)
        mark = _mark(block) if self._quirks.cache_marks else None
        if mark is not None:
            part[parts.MARK] = parts.mark_of(mark)
        return part

    def _cited(self, text: Text) -> None:
        if text.citations:
            self._losses.meet("citations")

    def _image(self, image: Image) -> Json:
        if not self._quirks.images:
            self._losses.refuse("image", "The provider that serves this model takes no images.")
        source = image.source
        if isinstance(source, FileId):
            self._losses.refuse("file_id")
        url = source.url if isinstance(source, Url) else data_urls.data_url(source)
        detail = {"detail": image.detail} if image.detail else {}
        return {"type": "image_url", "image_url": {"url": url, **detail}}

    def _document(self, document: Document) -> Json:
        source = document.source
        if isinstance(source, FileId):
            self._losses.refuse("file_id")
        if isinstance(source, Url):
            self._losses.refuse("document", "Chat Completions has no form for a document by its URL.")
        text = _plain(source)
        if text is not None:
            return _text(f"{document.name}\n\n{text}" if document.name else text)
        if not self._quirks.files:
            self._losses.refuse("document", "The provider that serves this model takes no files.")
        file = {"filename": document.name or "document.pdf", "file_data": data_urls.data_url(source)}
        return {"type": "file", "file": file}

    # --- the assistant ------------------------------------------------------------------------------------

    def _assistant(self, said: Sequence[Turn], *, going_on: bool) -> list[str]:
        """One message of all that was said at one go; the ids of its calls.

        `going_on`: no user has spoken since, so the model would think on from its thinking.
        """
        texts = [self._said(turn.blocks) for turn in said]
        blocks = [block for turn in said for block in turn.blocks]
        text = "\n\n".join(text for text in texts if text)
        calls = [block for block in blocks if isinstance(block, ToolUse)]
        declined = "".join(block.text for block in blocks if isinstance(block, Declined))
        message: Json = {"role": "assistant", "content": text or None}
        if declined and self._quirks.openai_hints:
            message["refusal"] = declined
        thought = self._thought(blocks, called=bool(calls))
        if going_on and not thought and any(_thinks(block) for block in blocks):
            self._losses.drop("thinking")
        if thought is not None:
            message["reasoning_content"] = thought
        if calls:
            message["tool_calls"] = [self._call(call) for call in calls]
        elif not text and "refusal" not in message:
            if thought is None:
                return []
            message["content"] = ""
        self._out.append(message)
        return [call.id for call in calls]

    def _said(self, blocks: Iterable[Block]) -> str:
        kinds = Text if self._quirks.openai_hints else (Text, Declined)
        found = [block for block in blocks if isinstance(block, kinds)]
        for block in found:
            if isinstance(block, Text):
                self._cited(block)
        return "".join(block.text for block in found)

    def _thought(self, blocks: Iterable[Block], *, called: bool) -> str | None:
        """`reasoning_content`: a thinking DeepSeek refuses calls that come back without it, be it empty."""
        history = self._quirks.reasoning_history
        if history == "never":
            return None
        text = "".join(block.text for block in blocks if isinstance(block, Thinking))
        return text if text or (history == "required" and called) else None

    def _call(self, use: ToolUse) -> Json:
        id = naming.legal(use.id, charset=False)  # noqa: A001  (the field's name)
        name = naming.flattened(use.name, use.namespace)
        if use.custom and self._quirks.custom_tools:
            return {"id": id, "type": "custom", "custom": {"name": name, "input": use.arguments}}
        text = json.dumps({"input": use.arguments}, ensure_ascii=False) if use.custom else use.arguments
        function = {"name": name, "arguments": text if text and not text.isspace() else "{}"}
        return {"id": id, "type": "function", "function": function}


def _speaks(turn: Turn) -> bool:
    """Whether a user says something of their own: results of tools go on with what came before."""
    return turn.role is Role.USER and not all(isinstance(block, ToolResult) for block in turn.blocks)


def _thinks(block: Block) -> bool:
    return isinstance(block, Thinking) and bool(block.text or block.seal)


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def _mark(block: Block) -> CacheFor | None:
    return block.cache if isinstance(block, Text | Image | Document) else None


def _plain(file: Inline) -> str | None:
    """The words of a plain text file, which every model reads; None for any other."""
    if not file.media_type.startswith("text/"):
        return None
    try:
        return base64.b64decode(file.data, validate=True).decode()
    except (binascii.Error, UnicodeError):
        return None
