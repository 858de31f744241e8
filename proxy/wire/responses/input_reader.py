"""Reads the `input` of a client's body as turns.

Source: OpenAI's API reference for input items, and the Open Responses schema. What an assistant did in one go
(reasoning, messages, calls) is several items here and one turn there; so are results that follow each other.
An item of a hosted tool that tells nothing but how the answer came about is left out and named; one that the
model would have to go on from is refused.
"""

from collections.abc import Callable
from typing import Final, NoReturn

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
from proxy.wire.responses import compacted, sealed
from proxy.wire.responses.output import REDACTED

_MESSAGE: Final = frozenset(("type", "role", "content", "id", "status", "phase"))
_CALL: Final = frozenset(
    ("type", "id", "call_id", "name", "arguments", "status", "namespace", "caller", "created_by")
)
_CUSTOM: Final = frozenset(
    ("type", "id", "call_id", "name", "input", "status", "namespace", "caller", "created_by")
)
_RESULT: Final = frozenset(
    ("type", "id", "call_id", "output", "status", "name", "namespace", "caller", "created_by")
)
_REASONING: Final = frozenset(
    ("type", "id", "summary", "content", "encrypted_content", "status", "created_by")
)
_SUMMARY: Final = frozenset(("type", "text"))
_TEXT: Final = frozenset(("type", "text", "annotations", "logprobs", parts.MARK))
_REFUSED: Final = frozenset(("type", "refusal"))
_IMAGE: Final = frozenset(("type", "image_url", "file_id", "detail", parts.MARK))
_FILE: Final = frozenset(("type", "file_data", "file_id", "file_url", "filename", parts.MARK))
_AUDIO: Final = frozenset(("type", "input_audio"))
_ROLES: Final[tuple[Role, ...]] = tuple(Role)
_PHASES: Final = ("commentary", "final_answer")
_TOLD: Final = frozenset(
    [
        "web_search_call",
        "file_search_call",
        "code_interpreter_call",
        "image_generation_call",
        "mcp_list_tools",
        "mcp_call",
        "tool_search_call",
        "tool_search_output",
    ]
)
"""Items that tell how an answer came about. The answer itself follows them."""


def read(body: Json, dropped: list[str]) -> list[Turn]:
    """The turns; what could not be held is added to `dropped`. Raises `Refusal` 400."""
    said = body.get("input")
    if type(said) is str:
        return [Turn(Role.USER, (Text(said),))]
    if said is None:
        raise reading.missing("input")
    if type(said) is not list:
        raise reading.wrong("input", "a string or an array of items", said)
    reader = _Items(dropped)
    for place, item in enumerate(reading.records(body, "input", "")):
        reader.take(item, f"input[{place}]")
    return reader.turns()


class _Items:
    """Reads items in order and puts together what belongs to one turn."""

    def __init__(self, dropped: list[str]) -> None:
        self._dropped = dropped
        self._turns: list[Turn] = []
        self._role: Role | None = None
        self._phase: str | None = None
        self._blocks: list[Block] = []

    def take(self, item: Json, path: str) -> None:
        """One more."""
        kind = reading.text(item, "type", path) or ("message" if "role" in item else "item_reference")
        if kind == "message":
            self._message(item, path)
        elif kind == "function_call":
            reading.unknown(item, _CALL, path, self._dropped)
            self._assistant(_use(item, path, "arguments"))
        elif kind == "custom_tool_call":
            reading.unknown(item, _CUSTOM, path, self._dropped)
            self._assistant(_use(item, path, "input"))
        elif kind in ("function_call_output", "custom_tool_call_output"):
            self._result(item, path, custom=kind == "custom_tool_call_output")
        elif kind == "reasoning":
            self._reasoning(item, path)
        elif kind == "compaction":
            self._compaction(item, path)
        elif kind in _TOLD:
            self._dropped.append(path)
        elif kind == "item_reference":
            _refuse_reference(item, path)
        else:
            parts.refuse(path)

    def turns(self) -> list[Turn]:
        """What was read."""
        self._end()
        return self._turns

    def _end(self) -> None:
        if self._role is not None and self._blocks:
            self._turns.append(Turn(self._role, tuple(self._blocks), self._phase))
        self._role, self._phase, self._blocks = None, None, []

    def _assistant(self, *blocks: Block) -> None:
        if self._role is not Role.ASSISTANT:
            self._end()
            self._role = Role.ASSISTANT
        self._blocks += blocks

    def _message(self, item: Json, path: str) -> None:
        reading.unknown(item, _MESSAGE, path, self._dropped)
        role = reading.word(item, "role", path, _ROLES)
        if role is None:
            raise reading.missing(f"{path}.role")
        blocks = self._content(item, "content", path)
        if role is not Role.ASSISTANT:
            self._end()
            self._turns.append(Turn(role, blocks))
            return
        phase = reading.word(item, "phase", path, _PHASES)
        # A call and its result must stay neighbours, so only between messages is there room for a new turn.
        if phase != self._phase and any(isinstance(block, Text | Declined) for block in self._blocks):
            if not any(isinstance(block, ToolUse) for block in self._blocks):
                self._end()
            else:
                phase = self._phase
        self._assistant(*blocks)
        self._phase = phase

    def _result(self, item: Json, path: str, *, custom: bool) -> None:
        reading.unknown(item, _RESULT, path, self._dropped)
        call = reading.needed(item, "call_id", path)
        if item.get("output") is None:
            raise reading.missing(f"{path}.output")
        content = self._content(item, "output", path)
        found = [block for block in content if isinstance(block, Text | Image | Document)]
        if len(found) < len(content):
            parts.refuse(f"{path}.output")
        if self._role is not Role.USER:
            self._end()
            self._role = Role.USER
        self._blocks.append(ToolResult(call, tuple(found), custom=custom))

    def _reasoning(self, item: Json, path: str) -> None:
        reading.unknown(item, _REASONING, path, self._dropped)
        text = self._thoughts(item, "content", path) or self._thoughts(item, "summary", path)
        encrypted = reading.text(item, "encrypted_content", path) or ""
        redacted = encrypted.endswith(REDACTED)
        seal = seals.read(encrypted.removesuffix(REDACTED), Dialect.RESPONSES)
        if seal is not None and seal.dialect is Dialect.RESPONSES and seal.model is None:
            seal = sealed.closed(reading.text(item, "id", path) or "", encrypted, None)
        if text or seal is not None:
            self._assistant(Thinking(text, seal, redacted=redacted and seal is not None))

    def _thoughts(self, item: Json, key: str, path: str) -> str:
        given = reading.records(item, key, path)
        for place, part in enumerate(given):
            reading.unknown(part, _SUMMARY, f"{path}.{key}[{place}]", self._dropped)
        return "\n\n".join(
            reading.text(part, "text", f"{path}.{key}[{place}]") or "" for place, part in enumerate(given)
        )

    def _compaction(self, item: Json, path: str) -> None:
        summary = compacted.unpack(reading.needed(item, "encrypted_content", path))
        if summary is None:
            raise Refusal(
                400,
                f"'{path}' is a compaction of another vendor's, which only that vendor can read.",
                param=path,
                code="unsupported_value",
            )
        self._end()
        self._turns.append(Turn(Role.DEVELOPER, (Text(summary),)))

    def _content(self, item: Json, key: str, path: str) -> tuple[Block, ...]:
        content = item.get(key)
        if type(content) is str:
            return (Text(content),)
        if content is None:
            raise reading.missing(f"{path}.{key}")
        if type(content) is not list:
            raise reading.wrong(f"{path}.{key}", "a string or an array of parts", content)
        given = reading.records(item, key, path)
        return tuple([self._part(part, f"{path}.{key}[{place}]") for place, part in enumerate(given)])

    def _part(self, part: Json, path: str) -> Block:
        kind = reading.needed(part, "type", path)
        found = _PARTS.get(kind)
        if found is None:
            raise reading.invalid(f"{path}.type", kind, tuple(_PARTS))
        known, make = found
        reading.unknown(part, known, path, self._dropped)
        return make(part, path)


def _use(item: Json, path: str, key: str) -> ToolUse:
    return ToolUse(
        reading.needed(item, "call_id", path),
        reading.needed(item, "name", path),
        reading.text(item, key, path) or "",
        custom=key == "input",
        namespace=reading.text(item, "namespace", path) or None,
    )


def _text(part: Json, path: str) -> Block:
    return Text(reading.needed(part, "text", path), parts.cache(part), _citations(part, path))


def _citations(part: Json, path: str) -> tuple[tuple[str, str, int, int], ...]:
    if not part.get("annotations"):
        return ()
    return tuple(
        (
            reading.needed(note, "url", path),
            reading.text(note, "title", path) or "",
            reading.integer(note, "start_index", path) or 0,
            reading.integer(note, "end_index", path) or 0,
        )
        for note in reading.records(part, "annotations", path)
        if note.get("type") == "url_citation"
    )


def _declined(part: Json, path: str) -> Block:
    return Declined(reading.needed(part, "refusal", path))


def _image(part: Json, path: str) -> Block:
    url = reading.text(part, "image_url", path)
    file = reading.text(part, "file_id", path)
    if url is None and file is None:
        raise reading.missing(f"{path}.image_url")
    source: Source = FileId(file or "", Dialect.RESPONSES)
    if url is not None:
        source = data_urls.source(url, f"{path}.image_url")
    return Image(source, reading.text(part, "detail", path), parts.cache(part))


def _file(part: Json, path: str) -> Block:
    name = reading.text(part, "filename", path)
    data = reading.text(part, "file_data", path)
    url = reading.text(part, "file_url", path)
    source: Source
    if data is not None:
        source = data_urls.inline(data, f"{path}.file_data")
    elif url is not None:
        source = data_urls.source(url, f"{path}.file_url")
    else:
        source = FileId(reading.needed(part, "file_id", path), Dialect.RESPONSES)
    return Document(source, name, parts.cache(part))


_PARTS: Final[dict[str, tuple[frozenset[str], Callable[[Json, str], Block]]]] = {
    "input_text": (_TEXT, _text),
    "output_text": (_TEXT, _text),
    "text": (_TEXT, _text),
    "refusal": (_REFUSED, _declined),
    "input_image": (_IMAGE, _image),
    "input_file": (_FILE, _file),
    "input_audio": (_AUDIO, parts.audio),
}


def _refuse_reference(item: Json, path: str) -> NoReturn:
    name = reading.needed(item, "id", path)
    raise Refusal(400, f"Item with id '{name[:100]}' not found.", param=f"{path}.id", code="invalid_value")
