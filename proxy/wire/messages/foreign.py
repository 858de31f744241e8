"""Thinking in a client's messages that Anthropic has not signed, taken out before it gets there.

An answer of another dialect came to the client with thinking under our own seal; repeated to a provider that
checks signatures it would be refused, with every later turn. Whatever else there is stays byte for byte: the
signatures of others are checked over their very text.
"""

import re
from typing import Final

import msgspec

from proxy.wire import seals
from proxy.wire.envelope import Fields, encode
from proxy.wire.losses import Losses

_OFF: Final = msgspec.Raw(b'{"type":"disabled"}')
_CLEARING: Final = re.compile(rb'"clear_thinking')


class _Block(msgspec.Struct):
    type: str
    signature: str = ""
    data: str = ""


class _Thinking(msgspec.Struct):
    type: str


_array = msgspec.json.Decoder(list[msgspec.Raw])
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_block = msgspec.json.Decoder(_Block)
_thinking = msgspec.json.Decoder(_Thinking)


def take_out(fields: Fields, losses: Losses) -> None:
    """Leave our own sealed thinking out of the messages, and thinking off where that was its last turn's.

    A body that cannot be read stays as it is: the provider refuses it in its own words.
    """
    raw = fields.get("messages")
    if raw is None or not seals.held(raw):
        return
    try:
        found = _array.decode(raw)
        kept = [_without_ours(message) for message in found]
        if all(before is after for before, after in zip(found, kept, strict=True)):
            return
        losses.drop("thinking")
        fields["messages"] = msgspec.Raw(encode([message for message in kept if message is not None]))
        if _bereft(found, kept):
            _stop_thinking(fields, losses)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return


def _without_ours(raw: msgspec.Raw) -> msgspec.Raw | None:
    """A message without our blocks; the very same where it has none, None where nothing is left."""
    if not seals.held(raw):
        return raw
    message = _object.decode(raw)
    content = message.get("content", msgspec.Raw(b"null"))
    if not bytes(content).lstrip().startswith(b"["):
        return raw
    blocks = _array.decode(content)
    kept = [block for block in blocks if not _is_ours(block)]
    if len(kept) == len(blocks):
        return raw
    message["content"] = msgspec.Raw(encode(kept))
    return msgspec.Raw(encode(message)) if kept else None


def _is_ours(raw: msgspec.Raw) -> bool:
    if not seals.held(raw):
        return False
    block = _block.decode(raw)
    return block.type in ("thinking", "redacted_thinking") and (
        seals.unpack(block.signature or block.data) is not None
    )


def _bereft(found: list[msgspec.Raw], kept: list[msgspec.Raw | None]) -> bool:
    """Whether the assistant's turn that is to be gone on from has lost its thinking.

    Behind it there can be the results of its calls, and an instruction.
    """
    for before, after in zip(found[:-4:-1], kept[:-4:-1], strict=True):
        if before is not after:
            return after is not None and b'"tool_use"' in bytes(after)
    return False


def _stop_thinking(fields: Fields, losses: Losses) -> None:
    """With a budget a turn with calls has to begin with its thinking; without it is not looked for."""
    raw = fields.get("thinking")
    if raw is None or _thinking.decode(raw).type != "enabled":
        return
    losses.drop("reasoning.budget", "thinking.budget_tokens")
    fields["thinking"] = _OFF
    clearing = fields.get("context_management")
    if clearing is not None and _CLEARING.search(clearing):
        losses.drop("context_management")
        del fields["context_management"]
