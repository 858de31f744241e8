"""The `input` of a request that passes to its own dialect: only what would be refused is changed.

Source: what OpenAI's API answers. With nothing stored there an item's id means nothing, and one that it did
not make is refused by its prefix; reasoning without its sealed content cannot be found again; a `status` of
null, which its own SDKs send back, is refused.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from proxy.wire import seals
from proxy.wire.codec import Facts
from proxy.wire.envelope import Fields, encode
from proxy.wire.losses import Losses
from proxy.wire.responses import compacted, sealed
from proxy.wire.responses.output import REDACTED

_PREFIX: Final[Mapping[bytes, bytes]] = MappingProxyType(
    {
        b'"message"': b'"msg_',
        b'"function_call"': b'"fc_',
        b'"custom_tool_call"': b'"ctc_',
        b'"reasoning"': b'"rs_',
    }
)
_RESULTS: Final = (b'"function_call_output"', b'"custom_tool_call_output"')
_LED_TO: Final = (b'"message"', b'"function_call"', b'"custom_tool_call"')
_WITH_REASONING: Final = (
    b'"code_interpreter_call"',
    b'"file_search_call"',
    b'"image_generation_call"',
    b'"web_search_call"',
)
"""What its vendor runs while it reasons: without its id it is no item, and that asks for the reasoning."""

_NOTABLE = re.compile(rb'"id"|"reasoning"|"status"|"ax1')
"""What an input holds that may have to be changed."""

_items = msgspec.json.Decoder(list[Fields])
_text = msgspec.json.Decoder(str)


def prepared(raw: msgspec.Raw, facts: Facts, losses: Losses) -> msgspec.Raw:
    """`raw` as a provider's model takes it, the very same where it does already.

    Reasoning that is left out is noted in `losses`, and so is what cannot be without it. What a client
    carries as it came tells no maker: it is sent to whoever opens seals.
    """
    if _NOTABLE.search(raw) is None:
        return raw
    try:
        items = _items.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return raw  # a text, or what the provider refuses in its own words
    kept: list[Fields] = []
    alone = False
    for place, item in enumerate(items):
        kind = bytes(item.get("type", b'"message"' if "role" in item else b""))
        if alone and kind in _WITH_REASONING:
            losses.drop("thinking", f"input[{place}]")
            continue
        found = _reasoning(item, facts) if kind == b'"reasoning"' else _other(item, kind)
        if found is None:
            losses.drop("thinking", f"input[{place}]")
            alone = True
            continue
        if alone and kind in _LED_TO and bytes(found.get("role", b'"assistant"')) == b'"assistant"':
            # The id would ask for the reasoning that is left out.
            found.pop("id", None)
        else:
            alone = False
        kept.append(found)
    return msgspec.Raw(encode(kept))


def _other(item: Fields, kind: bytes) -> Fields:
    if bytes(item.get("status", b"")) == b"null":
        del item["status"]
    if kind == b'"compaction"':
        return _compaction(item)
    name = item.get("id")
    if name is not None and (kind in _RESULTS or not bytes(name).startswith(_PREFIX.get(kind, b""))):
        del item["id"]
    return item


def _reasoning(item: Fields, facts: Facts) -> Fields | None:
    """A reasoning item that can be sent; None for one that can not."""
    encrypted = _string(item, "encrypted_content")
    if not encrypted or not facts.opens:
        return None
    if encrypted.startswith(seals.TAG):
        own = sealed.opened(seals.unpack(encrypted.removesuffix(REDACTED)), facts)
        if own is None:
            return None
        item.update({name: msgspec.Raw(encode(value)) for name, value in own.items()})
    return _other(item, b'"reasoning"')


def _compaction(item: Fields) -> Fields:
    summary = compacted.unpack(_string(item, "encrypted_content"))
    if summary is None:
        return item
    said = {"type": "message", "role": "developer", "content": summary}
    return {key: msgspec.Raw(encode(value)) for key, value in said.items()}


def tagged(output: msgspec.Raw, facts: Facts) -> msgspec.Raw:
    """Output items with their sealed reasoning packed: good for its maker alone, and known to be so."""
    try:
        items = _items.decode(output)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return output
    for item in items:
        encrypted = _string(item, "encrypted_content")
        if (
            bytes(item.get("type", b"")) == b'"reasoning"'
            and encrypted
            and not encrypted.startswith(seals.TAG)
        ):
            seal = sealed.closed(_string(item, "id"), encrypted, facts)
            item["encrypted_content"] = msgspec.Raw(encode(seals.pack(seal)))
    return msgspec.Raw(encode(items))


def _string(item: Fields, key: str) -> str:
    try:
        return _text.decode(item.get(key, b'""'))
    except (msgspec.MsgspecError, UnicodeError):
        return ""
