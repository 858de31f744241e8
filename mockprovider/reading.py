"""Reading requests: what the dialects have in common once their JSON is decoded.

Rule: what cannot be read is `Unreadable`, which the desk turns into a 400 in the dialect's own shape. What
can be read and a real provider refuses all the same is the business of the `strict_` modules.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from mockprovider.answer import Tool, Unreadable
from mockprovider.behaviour import Flavour

_T = TypeVar("_T")

Fields = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On which terms a request is read.

    `name` is the provider's, `flavour` is whose chat endpoint it stands in for. `version` and `beta` are what
    the headers `anthropic-version` and `anthropic-beta` said; an empty version was not sent. `stored` holds
    the tails of the ids of stored responses, as `Stamp.id("")` gives them.
    """

    name: str = ""
    flavour: Flavour = "generic"
    version: str = "2023-06-01"
    beta: bool = False
    stored: Container[str] = frozenset()


USUAL = Terms()
"""The terms of a well-made request to a provider without a name."""

FIELDS: msgspec.json.Decoder[Fields] = msgspec.json.Decoder(dict[str, object])
"""Decodes a body whatever its fields are."""


_ANY_OBJECT = {"type": "object", "properties": {"answer": {"type": "string"}}}


def decoded(decoder: "msgspec.json.Decoder[_T]", body: bytes) -> _T:
    """A request body as its struct. Raises Unreadable."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise Unreadable(f"Invalid request: {error}") from None
    except msgspec.DecodeError:
        raise Unreadable("We could not parse the JSON body of your request.") from None


def required(value: object, param: str) -> None:
    """Refuse a request without a field that no provider does without. Raises Unreadable."""
    if value in ("", None, []):
        raise Unreadable(f"Missing required parameter: '{param}'.", param)


def unsuffixed(model: str) -> tuple[str, str]:
    """A model's name, and the fault behind a `#` if it carries one."""
    name, _, suffix = model.partition("#")
    return name, suffix


def text_of(content: object) -> str:
    """The text of a message's content: a string, or a list of parts of which those with text count."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "".join(filter(None, map(_part_text, content)))


def _part_text(part: object) -> str:
    text = part.get("text") if isinstance(part, dict) else None
    return text if isinstance(text, str) else ""


def tool_output(content: object) -> str:
    """The text of the tool results among the parts of a message."""
    parts = content if isinstance(content, list) else []
    return "".join(text_of(part.get("content")) for part in parts if is_tool_result(part))


def is_tool_result(part: object) -> bool:
    """Whether a part is a Messages tool result."""
    return isinstance(part, dict) and part.get("type") == "tool_result"


def last_user_text(messages: Sequence[Fields]) -> str:
    """The newest text of the user that is not empty."""
    texts = (
        text_of(message.get("content")) for message in reversed(messages) if message.get("role") == "user"
    )
    return next(filter(None, texts), "")


def size(texts: Iterable[str]) -> int:
    """Bytes of UTF-8 of some texts."""
    return sum(len(text.encode(errors="replace")) for text in texts)


def attachments(contents: Iterable[object], images: Container[str], files: Container[str]) -> tuple[int, int]:
    """How many images and files are among parts of content, by their types, also inside tools' results."""
    seen = told = 0
    for content in contents:
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict):
                kind = str(part.get("type"))
                inner = attachments([part.get("content")], images, files) if is_tool_result(part) else (0, 0)
                seen += (kind in images) + inner[0]
                told += (kind in files) + inner[1]
    return seen, told


def schema_of(form: object, inside: str = "") -> Fields | None:
    """The schema that an answer's format names, or that of any object for plain JSON; None for text.

    `inside` is the key that holds the schema's format, if it is not flat.
    """
    kind = form.get("type") if isinstance(form, dict) else None
    if kind == "json_object":
        return _ANY_OBJECT
    if kind != "json_schema" or not isinstance(form, dict):
        return None
    named = form.get(inside) if inside else form
    schema = named.get("schema") if isinstance(named, dict) else None
    return schema if isinstance(schema, dict) else _ANY_OBJECT


def tools(offered: Iterable[object], schema: str, *, custom: bool = False) -> list[Tool]:
    """The functions among the tools offered: mappings with `name` and, under `schema`, a JSON schema."""
    found = []
    for tool in offered:
        if isinstance(tool, dict) and isinstance(tool.get("name"), str):
            shape = tool.get(schema)
            found.append(Tool(tool["name"], shape if isinstance(shape, dict) else {}, custom))
    return found
