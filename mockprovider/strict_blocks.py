"""What Anthropic refuses in one content block: kinds, fields, ids, images, and reasoning that is not its own.

Rule: a thinking block comes back with the signature this kind of model gave it, over the very same text. What
only one side of the conversation may say is refused from the other.
"""

import base64
import binascii
from dataclasses import dataclass

from mockprovider.reading import Fields, Terms
from mockprovider.seals import issued, seal
from mockprovider.wording import NAME, invalid, lacking, one_of, only

IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")
LATEST = "2026-10-21"
"""The version of the API from which sampling, citations of users and documents of assistants are refused."""

_FIELDS = {
    "text": "text citations cache_control",
    "image": "source cache_control",
    "document": "source title context citations cache_control",
    "search_result": "source title content citations cache_control",
    "thinking": "thinking signature",
    "redacted_thinking": "data",
    "tool_use": "id name input caller cache_control",
    "tool_result": "tool_use_id content is_error cache_control",
    "tool_reference": "tool_name cache_control",
}
_REQUIRED = {
    "text": "text",
    "image": "source",
    "document": "source",
    "search_result": "source title content",
    "thinking": "thinking signature",
    "redacted_thinking": "data",
    "tool_use": "id name input",
    "tool_result": "tool_use_id",
    "tool_reference": "tool_name",
}
_OF_SERVERS = (
    "server_tool_use web_search_tool_result web_fetch_tool_result code_execution_tool_result "
    "bash_code_execution_tool_result text_editor_code_execution_tool_result tool_search_tool_result "
    "container_upload mid_conv_system mcp_tool_use mcp_tool_result compaction"
)
_OF_USERS = {"image", "search_result", "tool_result"}
_OF_ASSISTANTS = {"tool_use", "thinking", "redacted_thinking"}
_IN_RESULTS = {"text", "image", "document", "search_result", "tool_reference"}
_SOURCES = {"base64": "media_type data", "url": "url", "file": "file_id"}
_DOCUMENT_SOURCES = {**_SOURCES, "text": "media_type data", "content": "content"}
_MAGIC = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG\r\n": "image/png",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
}
_NAME_LIMIT = 200


@dataclass(frozen=True, slots=True)
class Blocks:
    """Checks blocks that are sent to one model on some terms."""

    model: str
    terms: Terms

    def check(self, block: object, path: str, role: str) -> None:
        """Refuse what is wrong with one block of a message. Raises Unreadable."""
        fields = _of_kind(block, path, {*_FIELDS, *_OF_SERVERS.split()} - {"tool_reference"})
        kind = str(fields["type"])
        if (kind in _OF_USERS and role != "user") or (kind in _OF_ASSISTANTS and role != "assistant"):
            only_by = "user" if kind in _OF_USERS else "assistant"
            raise invalid(path, f"`{kind}` blocks can only be in `{only_by}` messages")
        if role == "system" and kind != "text":
            raise invalid(path, "`system` messages can only have `text` blocks")
        self._versioned(kind, fields, path, role)
        self._contents(kind, fields, path)

    def _versioned(self, kind: str, fields: Fields, path: str, role: str) -> None:
        if self.terms.version < LATEST:
            return
        if kind == "document" and role == "assistant":
            raise invalid(path, "`document` blocks can only be in `user` messages")
        if kind == "text" and role == "user" and fields.get("citations"):
            raise invalid(f"{path}.text.citations", "citations are not permitted in `user` messages")

    def _contents(self, kind: str, fields: Fields, path: str) -> None:
        spot = f"{path}.{kind}"
        if kind == "text":
            said(fields["text"], path)
            if fields.get("cache_control") and not fields["text"]:
                raise invalid(spot, "cache_control cannot be set for empty text blocks")
        elif kind in ("image", "document"):
            _source(kind, fields["source"], f"{spot}.source")
        elif kind == "thinking":
            self._thinking(fields, path)
        elif kind == "redacted_thinking" and not issued("redacted", self.model, str(fields["data"])):
            raise invalid(path, "Invalid `data` in `redacted_thinking` block")
        elif kind == "tool_use":
            _tool_use(fields, spot)
        elif kind == "tool_result":
            self._tool_result(fields, spot)

    def _thinking(self, fields: Fields, path: str) -> None:
        text, signature = fields["thinking"], fields["signature"]
        if not isinstance(text, str):
            raise invalid(f"{path}.thinking.thinking", "Input should be a valid string")
        if signature != seal("thinking", self.model, text):
            raise invalid(path, "Invalid `signature` in `thinking` block")

    def _tool_result(self, fields: Fields, spot: str) -> None:
        _identified(fields["tool_use_id"], f"{spot}.tool_use_id")
        content = fields.get("content")
        if fields.get("is_error") and not content:
            raise invalid(spot, "content cannot be empty if `is_error` is true")
        if content is None or isinstance(content, str):
            return
        if not isinstance(content, list):
            raise invalid(f"{spot}.content", "Input should be a valid string or list")
        for place, part in enumerate(content):
            here = f"{spot}.content.{place}"
            inner = _of_kind(part, here, _IN_RESULTS)
            self._contents(str(inner["type"]), inner, here)


def said(text: object, path: str) -> None:
    """Refuse a text that says nothing. Raises Unreadable."""
    if not isinstance(text, str):
        raise invalid(f"{path}.text.text", "Input should be a valid string")
    if not text:
        raise invalid(path, "text content blocks must be non-empty")
    if not text.strip():
        raise invalid(path, "text content blocks must contain non-whitespace text")


def _of_kind(block: object, path: str, kinds: set[str]) -> Fields:
    """The fields of a block that is one of some kinds and has what they have. Raises Unreadable."""
    if not isinstance(block, dict):
        raise invalid(path, "Input should be a valid dictionary or object to extract fields from")
    kind = block.get("type")
    if kind is None:
        raise lacking(f"{path}.type")
    if kind not in kinds:
        tags = ", ".join(f"'{each}'" for each in sorted(kinds))
        raise invalid(
            path, f"Input tag '{kind}' found using 'type' does not match any of the expected tags: {tags}"
        )
    if kind in _FIELDS:
        for name in _REQUIRED[kind].split():
            if name not in block:
                raise lacking(f"{path}.{kind}.{name}")
        only(f"{path}.{kind}.", block, f"type {_FIELDS[kind]}")
    return block


def _source(kind: str, source: object, path: str) -> None:
    known = _SOURCES if kind == "image" else _DOCUMENT_SOURCES
    form = source.get("type") if isinstance(source, dict) else None
    if not isinstance(source, dict) or form not in known:
        tags = ", ".join(f"'{each}'" for each in known)
        raise invalid(
            path, f"Input tag '{form}' found using 'type' does not match any of the expected tags: {tags}"
        )
    path = f"{path}.{form}"
    for name in known[form].split():
        if name not in source:
            raise lacking(f"{path}.{name}")
    only(f"{path}.", source, f"type {known[form]}")
    if form == "url" and not str(source["url"]).startswith(("https://", "http://")):
        raise invalid(f"{path}.url", "Only HTTPS URLs are supported.")
    if form == "base64":
        _encoded(source, path, IMAGE_TYPES if kind == "image" else ("application/pdf",))


def _encoded(source: Fields, path: str, types: tuple[str, ...]) -> None:
    told, data = source["media_type"], source["data"]
    if told not in types:
        raise one_of(f"{path}.media_type", types)
    try:
        head = base64.b64decode(data, validate=True) if isinstance(data, str) else b""
    except (binascii.Error, ValueError):
        raise invalid(f"{path}.data", "Invalid base64 data") from None
    if not head:
        raise invalid(
            f"{path}.data", "image cannot be empty" if types is IMAGE_TYPES else "PDF cannot be empty"
        )
    seen = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), told)
    if types is IMAGE_TYPES and seen != told:
        text = (
            f"The image was specified using the {told} media type, but the image appears to be a {seen} image"
        )
        raise invalid(path, text)


def _tool_use(fields: Fields, spot: str) -> None:
    _identified(fields["id"], f"{spot}.id")
    name = fields["name"]
    if not isinstance(name, str) or not name:
        raise invalid(f"{spot}.name", "String should have at least 1 character")
    if len(name) > _NAME_LIMIT:
        raise invalid(f"{spot}.name", f"String should have at most {_NAME_LIMIT} characters")
    if not isinstance(fields["input"], dict):
        raise invalid(f"{spot}.input", "Input should be a valid dictionary")


def _identified(value: object, path: str) -> None:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise invalid(path, "String should match pattern '^[a-zA-Z0-9_-]+$'")
