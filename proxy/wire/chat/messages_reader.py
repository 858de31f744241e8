"""Reads the `messages` of a client's chat body as turns.

Source: OpenAI's API reference for the message objects of each role. A result of a tool is a turn of the
user's with that one block; `reading` says what is wrong where something is.
"""

from collections.abc import Callable
from typing import Final

from proxy.errors import Refusal
from proxy.wire import data_urls, parts, reading, seals
from proxy.wire.conversation import (
    Block,
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
)
from proxy.wire.model import Dialect

_MESSAGE: Final = frozenset(("role", "content", "name"))
_ASSISTANT: Final = frozenset(
    [
        "role",
        "content",
        "name",
        "refusal",
        "tool_calls",
        "function_call",
        "audio",
        "reasoning_content",
        "reasoning",
        "thinking_blocks",
        "annotations",
    ]
)
_RESULT: Final = frozenset(("role", "content", "name", "tool_call_id"))
_TEXT: Final = frozenset(("type", "text", parts.MARK, "annotations"))
_IMAGE: Final = frozenset(("type", "image_url", parts.MARK))
_IMAGE_URL: Final = frozenset(("url", "detail"))
_AUDIO: Final = frozenset(("type", "input_audio", parts.MARK))
_FILE: Final = frozenset(("type", "file", parts.MARK))
_FILE_DATA: Final = frozenset(("file_data", "file_id", "filename"))
_REFUSAL: Final = frozenset(("type", "refusal"))
_CALL: Final = frozenset(("id", "type", "function", "custom", "index"))
_ROLES: Final = ("developer", "system", "user", "assistant", "tool", "function")


def read(body: Json, dropped: list[str]) -> tuple[Turn, ...]:
    """The turns; what could not be held is added to `dropped`. Raises `Refusal` 400."""
    messages = reading.records(body, "messages", "")
    if body.get("messages") is None:
        raise reading.missing("messages")
    if not messages:
        raise Refusal(
            400,
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an "
            "empty array instead.",
            param="messages",
            code="empty_array",
        )
    reader = _Messages(dropped)
    return tuple([reader.turn(message, f"messages[{place}]") for place, message in enumerate(messages)])


class _Messages:
    """Reads messages in order: a result does not say what kind of call it answers, the call did before.

    The old form of calls has no ids, so they are counted.
    """

    def __init__(self, dropped: list[str]) -> None:
        self._dropped = dropped
        self._functions = 0
        self._customs: set[str] = set()

    def turn(self, message: Json, path: str) -> Turn:
        role = message.get("role")
        if role == "user":
            reading.unknown(message, _MESSAGE, path, self._dropped)
            return Turn(Role.USER, self._content(message, path))
        if role == "assistant":
            return Turn(Role.ASSISTANT, self._assistant(message, path))
        if role == "tool":
            return Turn(
                Role.USER, (self._result(message, path, reading.needed(message, "tool_call_id", path)),)
            )
        if role in ("system", "developer"):
            reading.unknown(message, _MESSAGE, path, self._dropped)
            return Turn(Role(role), self._content(message, path))
        if role == "function":
            return Turn(Role.USER, (self._result(message, path, f"call_fn_{max(self._functions - 1, 0)}"),))
        if role is None:
            raise reading.missing(f"{path}.role")
        reading.word(message, "role", path, _ROLES)
        raise AssertionError  # pragma: no cover  (all words are handled above)

    def _assistant(self, message: Json, path: str) -> tuple[Block, ...]:
        reading.unknown(message, _ASSISTANT, path, self._dropped)
        if message.get("audio") is not None:
            parts.refuse(f"{path}.audio")
        blocks: list[Block] = _thoughts(message, path)
        if message.get("content") is not None:
            blocks += self._content(message, path)
        declined = reading.text(message, "refusal", path)
        if declined:
            blocks.append(Declined(declined))
        for place, call in enumerate(reading.records(message, "tool_calls", path)):
            blocks.append(self._call(call, f"{path}.tool_calls[{place}]"))
        function = reading.record(message, "function_call", path)
        if function is not None:
            blocks.append(_use(function, f"{path}.function_call", f"call_fn_{self._functions}"))
            self._functions += 1
        return tuple(blocks)

    def _call(self, call: Json, path: str) -> ToolUse:
        reading.unknown(call, _CALL, path, self._dropped)
        kind = reading.word(call, "type", path, ("function", "custom")) or "function"
        inner = reading.record(call, kind, path)
        if inner is None:
            raise reading.missing(f"{path}.{kind}")
        id = reading.needed(call, "id", path)  # noqa: A001  (the field's name)
        if kind == "custom":
            self._customs.add(id)
        return _use(inner, f"{path}.{kind}", id, custom=kind == "custom")

    def _result(self, message: Json, path: str, id: str) -> ToolResult:  # noqa: A002  (the field's name)
        reading.unknown(message, _RESULT, path, self._dropped)
        content = () if message.get("content") is None else self._content(message, path)
        found = [block for block in content if isinstance(block, Text | Image | Document)]
        if len(found) < len(content):
            parts.refuse(f"{path}.content")
        return ToolResult(id, tuple(found), custom=id in self._customs)

    def _content(self, message: Json, path: str) -> tuple[Block, ...]:
        content = message.get("content")
        if type(content) is str:
            return (Text(content),)
        if "content" not in message:
            raise reading.missing(f"{path}.content")
        if type(content) is not list:
            raise reading.wrong(f"{path}.content", "a string or an array of parts", content)
        given = reading.records(message, "content", path)
        return tuple([self._part(part, f"{path}.content[{place}]") for place, part in enumerate(given)])

    def _part(self, part: Json, path: str) -> Block:
        kind = reading.needed(part, "type", path)
        found = _PARTS.get(kind)
        if found is None:
            raise reading.invalid(f"{path}.type", kind, tuple(_PARTS))
        known, make = found
        reading.unknown(part, known, path, self._dropped)
        return make(part, path, self._dropped)


def _thoughts(message: Json, path: str) -> list[Block]:
    """Thinking as our replies carried it: sealed blocks go before the same in plain text."""
    blocks: list[Block] = []
    for place, block in enumerate(reading.records(message, "thinking_blocks", path)):
        here = f"{path}.thinking_blocks[{place}]"
        if block.get("type") == "redacted_thinking":
            seal = seals.unpack(reading.text(block, "data", here) or "")
            if seal is not None:
                blocks.append(Thinking(seal=seal, redacted=True))
        else:
            seal = seals.unpack(reading.text(block, "signature", here) or "")
            blocks.append(Thinking(reading.text(block, "thinking", here) or "", seal))
    if blocks:
        return blocks
    text = message.get("reasoning_content")
    if not isinstance(text, str):
        text = message.get("reasoning")
    return [Thinking(text)] if isinstance(text, str) and text else []


def _use(inner: Json, path: str, id: str, *, custom: bool = False) -> ToolUse:  # noqa: A002  (the field's name)
    text = reading.text(inner, "input" if custom else "arguments", path) or ""
    return ToolUse(id, reading.needed(inner, "name", path), text, custom=custom)


def _text(part: Json, path: str, _: list[str]) -> Block:
    return Text(reading.needed(part, "text", path), parts.cache(part))


def _refusal(part: Json, path: str, _: list[str]) -> Block:
    return Declined(reading.needed(part, "refusal", path))


def _image(part: Json, path: str, dropped: list[str]) -> Block:
    image = part.get("image_url")
    if type(image) is str:  # not OpenAI's form, but widely sent and taken
        image = {"url": image}
    elif type(image) is not dict:
        raise (
            reading.missing(f"{path}.image_url")
            if image is None
            else reading.wrong(f"{path}.image_url", "an object", image)
        )
    where = f"{path}.image_url"
    reading.unknown(image, _IMAGE_URL, where, dropped)
    source = data_urls.source(reading.needed(image, "url", where), f"{where}.url")
    return Image(source, reading.text(image, "detail", where), parts.cache(part))


def _audio(part: Json, path: str, _: list[str]) -> Block:
    return parts.audio(part, path)


def _file(part: Json, path: str, dropped: list[str]) -> Block:
    file = reading.record(part, "file", path)
    where = f"{path}.file"
    if file is None:
        raise reading.missing(where)
    reading.unknown(file, _FILE_DATA, where, dropped)
    data = reading.text(file, "file_data", where)
    source: Source
    if data is not None:
        source = data_urls.inline(data, f"{where}.file_data")
    else:
        source = FileId(reading.needed(file, "file_id", where), Dialect.CHAT)
    return Document(source, reading.text(file, "filename", where), parts.cache(part))


_PARTS: Final[dict[str, tuple[frozenset[str], Callable[[Json, str, list[str]], Block]]]] = {
    "text": (_TEXT, _text),
    "image_url": (_IMAGE, _image),
    "input_audio": (_AUDIO, _audio),
    "file": (_FILE, _file),
    "refusal": (_REFUSAL, _refusal),
}
