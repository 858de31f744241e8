"""The messages of a Messages request as canonical turns.

Source: Anthropic's API reference, its beta blocks included. What only Anthropic's own servers can make sense
of (traces of tools that they ran) is left out and named; text documents and search results become text, for
no other dialect has a form for them.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from proxy.errors import Refusal
from proxy.wire import data_urls, reading, seals
from proxy.wire.conversation import (
    Block,
    CacheFor,
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
)
from proxy.wire.messages.arguments import as_text
from proxy.wire.model import Dialect

_CACHE = frozenset({"type", "ttl"})
_MESSAGE = frozenset({"role", "content"})
_TEXT = frozenset({"type", "text", "cache_control", "citations"})
_IMAGE = frozenset({"type", "source", "cache_control"})
_DOCUMENT = frozenset({"type", "source", "title", "context", "citations", "cache_control"})
_SEARCH = frozenset({"type", "source", "title", "content", "citations", "cache_control"})
_THINKING = frozenset({"type", "thinking", "signature"})
_REDACTED = frozenset({"type", "data"})
_TOOL_USE = frozenset({"type", "id", "name", "input", "cache_control", "caller"})
_TOOL_RESULT = frozenset({"type", "tool_use_id", "content", "is_error", "cache_control"})
_REFERENCE = frozenset({"type", "tool_name", "cache_control"})
_COMPACTION = frozenset({"type", "content", "encrypted_content", "cache_control"})
_MID_SYSTEM = frozenset({"type", "content", "cache_control"})
_SOURCE = frozenset({"type", "media_type", "data", "url", "file_id", "content"})

NATIVE: Final = frozenset(
    {
        "server_tool_use",
        "web_search_tool_result",
        "web_fetch_tool_result",
        "code_execution_tool_result",
        "bash_code_execution_tool_result",
        "text_editor_code_execution_tool_result",
        "tool_search_tool_result",
        "advisor_tool_result",
        "mcp_tool_use",
        "mcp_tool_result",
        "tool_addition",
        "tool_removal",
        "fallback",
    }
)
"""Blocks that only Anthropic's servers can make sense of."""

Reader = Callable[[Json, str, list[str]], tuple[Block, ...]]
"""Reads one block at a path; the last argument collects the paths of what was dropped."""


def read(body: Json, dropped: list[str]) -> tuple[Turn, ...]:
    """All turns of a body, `system` first. Raises `Refusal` 400 naming the place that cannot be read."""
    turns: list[Turn] = []
    instructions = _texts(body, "system", "", dropped)
    if instructions:
        turns.append(Turn(Role.SYSTEM, instructions))
    if body.get("messages") is None:
        raise reading.missing("messages")
    for place, message in enumerate(reading.records(body, "messages", "")):
        turns += _message(message, f"messages[{place}]", dropped)
    mark = cache(body, "")
    return _marked(turns, mark) if mark and turns else tuple(turns)


def cache(obj: Json, path: str) -> CacheFor | None:
    """The prompt-cache mark of a block, a tool, or the whole request."""
    mark = reading.record(obj, "cache_control", path)
    if mark is None:
        return None
    return "long" if reading.text(mark, "ttl", reading.at(path, "cache_control")) == "1h" else "short"


def _marked(turns: list[Turn], mark: CacheFor) -> tuple[Turn, ...]:
    """The mark of a whole request stands at its last block that can bear one."""
    *before, last = turns
    *blocks, final = last.blocks
    if isinstance(final, Text | Image | Document | ToolResult) and final.cache is None:
        last = msgspec.structs.replace(last, blocks=(*blocks, msgspec.structs.replace(final, cache=mark)))
    return (*before, last)


def _message(message: Json, path: str, dropped: list[str]) -> list[Turn]:
    """One message: several turns where a system instruction stands amid its blocks."""
    reading.unknown(message, _MESSAGE, path, dropped)
    role = reading.word(message, "role", path, (Role.USER, Role.ASSISTANT, Role.SYSTEM))
    if role is None:
        raise reading.missing(reading.at(path, "role"))
    if message.get("content") is None:
        raise reading.missing(reading.at(path, "content"))
    if role is Role.SYSTEM:
        return _turn(role, _texts(message, "content", path, dropped))
    if isinstance(message["content"], str):
        return [Turn(role, (Text(message["content"]),))]
    turns: list[Turn] = []
    blocks: list[Block] = []
    for place, block in enumerate(reading.records(message, "content", path)):
        where = f"{path}.content[{place}]"
        if block.get("type") == "mid_conv_system" and role is Role.USER:
            turns += _turn(role, blocks)
            turns += _turn(Role.SYSTEM, _mid_system(block, where, dropped))
            blocks = []
        else:
            blocks += _block(block, where, READERS[role], dropped)
    return turns + _turn(role, blocks)


def _turn(role: Role, blocks: Sequence[Block]) -> list[Turn]:
    return [Turn(role, tuple(blocks))] if blocks else []


def _block(block: Json, path: str, readers: Mapping[str, Reader], dropped: list[str]) -> tuple[Block, ...]:
    kind = reading.needed(block, "type", path)
    reader = readers.get(kind)
    if reader is not None:
        return reader(block, path, dropped)
    if kind in NATIVE:
        dropped.append(path)
        return ()
    if kind == "container_upload":
        raise Refusal(
            400,
            "Files of a container cannot be passed on to the provider that serves this model.",
            param=path,
            code="unsupported_value",
        )
    raise reading.invalid(reading.at(path, "type"), kind, tuple(readers))


def _texts(obj: Json, key: str, path: str, dropped: list[str]) -> tuple[Text, ...]:
    """A string, or text blocks."""
    if isinstance(obj.get(key), str):
        return (Text(obj[key]),) if obj[key] else ()
    found: list[Text] = []
    for place, block in enumerate(reading.records(obj, key, path)):
        where = f"{reading.at(path, key)}[{place}]"
        if reading.needed(block, "type", where) != "text":
            raise reading.invalid(reading.at(where, "type"), block["type"], ("text",))
        found += _text(block, where, dropped)
    return tuple(found)


def _text(block: Json, path: str, dropped: list[str]) -> tuple[Text, ...]:
    reading.unknown(block, _TEXT, path, dropped)
    text = reading.needed(block, "text", path)
    citations = _citations(block, path, len(text), dropped) if block.get("citations") else ()
    mark = cache(block, path) if "cache_control" in block else None
    return (Text(text, mark, citations),)


def _citations(
    block: Json, path: str, size: int, dropped: list[str]
) -> tuple[tuple[str, str, int, int], ...]:
    """Those of the web, each of the whole text; a place in a document means nothing elsewhere."""
    found: list[tuple[str, str, int, int]] = []
    for place, citation in enumerate(reading.records(block, "citations", path)):
        where = f"{path}.citations[{place}]"
        if citation.get("type") == "web_search_result_location":
            url, title = reading.text(citation, "url", where), reading.text(citation, "title", where)
            found.append((url or "", title or "", 0, size))
        else:
            dropped.append(where)
    return tuple(found)


def _mid_system(block: Json, path: str, dropped: list[str]) -> tuple[Text, ...]:
    reading.unknown(block, _MID_SYSTEM, path, dropped)
    return _texts(block, "content", path, dropped)


def _image(block: Json, path: str, dropped: list[str]) -> tuple[Image, ...]:
    reading.unknown(block, _IMAGE, path, dropped)
    source = _source_of(block, path, dropped)
    where = reading.at(path, "source")
    return (Image(_source(source, where, ("base64", "url", "file")), cache=cache(block, path)),)


def _source_of(block: Json, path: str, dropped: list[str]) -> Json:
    source = reading.record(block, "source", path)
    if source is None:
        raise reading.missing(reading.at(path, "source"))
    reading.unknown(source, _SOURCE, reading.at(path, "source"), dropped)
    return source


def _source(source: Json, path: str, allowed: tuple[str, ...]) -> Source:
    kind = reading.needed(source, "type", path)
    if kind not in allowed:
        raise reading.invalid(reading.at(path, "type"), kind, allowed)
    if kind == "base64":
        data = reading.needed(source, "data", path)
        if data[:5].lower() == "data:":
            return data_urls.inline(data, reading.at(path, "data"))
        return Inline(data_urls.sniffed(reading.text(source, "media_type", path) or "", data), data)
    if kind == "url":
        return data_urls.source(reading.needed(source, "url", path), reading.at(path, "url"))
    return FileId(reading.needed(source, "file_id", path), Dialect.MESSAGES)


def _document(block: Json, path: str, dropped: list[str]) -> tuple[Block, ...]:
    reading.unknown(block, _DOCUMENT, path, dropped)
    _note_citing(block, path, dropped)
    source = _source_of(block, path, dropped)
    where = reading.at(path, "source")
    title, context = reading.text(block, "title", path), reading.text(block, "context", path)
    mark = cache(block, path)
    header = "\n".join(part for part in (title, context) if part)
    match source.get("type"):
        case "text":
            text = reading.needed(source, "data", where)
            return (Text(f"{header}\n\n{text}" if header else text, mark),)
        case "content":
            blocks = _contents(source, where, _OF_DOCUMENT, dropped)
            return (*((Text(header),) if header else ()), *blocks)
    if context:
        dropped.append(reading.at(path, "context"))
    return (Document(_source(source, where, ("base64", "url", "text", "content", "file")), title, mark),)


def _note_citing(block: Json, path: str, dropped: list[str]) -> None:
    asked = reading.record(block, "citations", path)
    if asked is not None and reading.flag(asked, "enabled", reading.at(path, "citations")):
        dropped.append(reading.at(path, "citations"))


def _search_result(block: Json, path: str, dropped: list[str]) -> tuple[Text, ...]:
    reading.unknown(block, _SEARCH, path, dropped)
    _note_citing(block, path, dropped)
    lines = [reading.needed(block, "title", path), reading.needed(block, "source", path)]
    lines += [text.text for text in _texts(block, "content", path, dropped)]
    return (Text("\n".join(lines), cache(block, path)),)


def _thinking(block: Json, path: str, dropped: list[str]) -> tuple[Thinking, ...]:
    reading.unknown(block, _THINKING, path, dropped)
    seal = seals.read(reading.text(block, "signature", path) or "", Dialect.MESSAGES)
    text = reading.text(block, "thinking", path) or ""
    return (Thinking(text, seal if seal is not None and seal.value else None),)


def _redacted_thinking(block: Json, path: str, dropped: list[str]) -> tuple[Thinking, ...]:
    reading.unknown(block, _REDACTED, path, dropped)
    seal = seals.read(reading.needed(block, "data", path), Dialect.MESSAGES)
    return (Thinking(seal=seal, redacted=True),) if seal is not None else ()


def _tool_use(block: Json, path: str, dropped: list[str]) -> tuple[ToolUse, ...]:
    reading.unknown(block, _TOOL_USE, path, dropped)
    caller = reading.record(block, "caller", path)
    if caller is not None and caller.get("type") != "direct":
        dropped.append(reading.at(path, "caller"))
    given = reading.record(block, "input", path)
    name = reading.needed(block, "name", path)
    return (ToolUse(reading.needed(block, "id", path), name, as_text(given) if given else "{}"),)


def _tool_result(block: Json, path: str, dropped: list[str]) -> tuple[ToolResult, ...]:
    reading.unknown(block, _TOOL_RESULT, path, dropped)
    content = _contents(block, path, _OF_RESULT, dropped)
    assert all(isinstance(part, Text | Image | Document) for part in content)
    return (
        ToolResult(
            reading.needed(block, "tool_use_id", path),
            content,  # type: ignore[arg-type]  # the readers of a result make no other blocks
            error=reading.flag(block, "is_error", path),
            cache=cache(block, path),
        ),
    )


def _contents(obj: Json, path: str, readers: Mapping[str, Reader], dropped: list[str]) -> tuple[Block, ...]:
    """A string, or blocks of some types."""
    if isinstance(obj.get("content"), str):
        return (Text(obj["content"]),) if obj["content"] else ()
    blocks: list[Block] = []
    for place, block in enumerate(reading.records(obj, "content", path)):
        blocks += _block(block, f"{path}.content[{place}]", readers, dropped)
    return tuple(blocks)


def _tool_reference(block: Json, path: str, dropped: list[str]) -> tuple[Text, ...]:
    """A tool that a search has found: it is among the tools anyway, so its name says enough."""
    reading.unknown(block, _REFERENCE, path, dropped)
    return (Text(reading.needed(block, "tool_name", path), cache(block, path)),)


def _compaction(block: Json, path: str, dropped: list[str]) -> tuple[Text, ...]:
    """What was said before, in short."""
    reading.unknown(block, _COMPACTION, path, dropped)
    text = reading.text(block, "content", path)
    return (Text(text, cache(block, path)),) if text else ()


_OF_DOCUMENT: Final[Mapping[str, Reader]] = MappingProxyType({"text": _text, "image": _image})
_OF_RESULT: Final[Mapping[str, Reader]] = MappingProxyType(
    {
        **_OF_DOCUMENT,
        "document": _document,
        "search_result": _search_result,
        "tool_reference": _tool_reference,
    }
)
READERS: Final[Mapping[Role, Mapping[str, Reader]]] = MappingProxyType(
    {
        Role.USER: MappingProxyType(
            {
                **_OF_DOCUMENT,
                "document": _document,
                "search_result": _search_result,
                "tool_result": _tool_result,
                "compaction": _compaction,
            }
        ),
        Role.ASSISTANT: MappingProxyType(
            {
                "text": _text,
                "thinking": _thinking,
                "redacted_thinking": _redacted_thinking,
                "tool_use": _tool_use,
                "compaction": _compaction,
            }
        ),
    }
)
"""What may stand in a message of each role."""
