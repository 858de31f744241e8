"""Canonical events as a reply in the Messages dialect.

Rules of its streams (Anthropic's documentation of streaming, and what its SDKs check): every event has a
name, blocks are numbered without gaps and one is open at a time, a signature stands just before its block
ends, counts are totals, and every key that the API reference requires is there. A block is begun with the
first it has to say: an empty text would be refused when the client repeats it.

Thinking is sealed by us even where its maker has signed nothing: when the conversation moves on to a
provider that demands its own signature, the block is known as a foreign one and left out.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from proxy.errors import Refusal
from proxy.wire import seals
from proxy.wire.codec import Stamp
from proxy.wire.conversation import Conversation, Json, Seal
from proxy.wire.events import (
    Added,
    Began,
    Closed,
    Collector,
    Counted,
    Event,
    Finished,
    Kind,
    Opened,
    Piece,
    Reason,
)
from proxy.wire.messages import tokens
from proxy.wire.messages.arguments import as_object
from proxy.wire.messages.voice import MessagesVoice
from proxy.wire.model import Dialect, Usage
from proxy.wire.naming import legal

STOPS: Final[Mapping[Reason, str]] = MappingProxyType(
    {
        "stop": "end_turn",
        "stop_sequence": "stop_sequence",
        "length": "max_tokens",
        "context_length": "model_context_window_exceeded",
        "tool_use": "tool_use",
        "content_filter": "refusal",
        "pause": "pause_turn",
    }
)
UNSIGNED: Final = Seal(Dialect.MESSAGES, None, "")
"""The seal of thinking that its maker has not signed."""

LETTERS: Final = 4
"""Characters that a token counts for where nobody has counted."""

_DELTAS: Final[Mapping[Kind, bytes]] = MappingProxyType(
    {
        "text": b'{"type":"text_delta","text":',
        "declined": b'{"type":"text_delta","text":',
        "thinking": b'{"type":"thinking_delta","thinking":',
        "tool": b'{"type":"input_json_delta","partial_json":',
    }
)
_encode = msgspec.json.Encoder().encode


class ReplyWriter:
    """See `codec.ReplyWriter`."""

    kept: bytes | None = None

    def __init__(self, conversation: Conversation, stamp: Stamp) -> None:
        self._model = str(conversation.echo.get("model", ""))
        self._stamp = stamp
        self._index = -1
        self._opened = Opened("text")
        self._begun = False
        self._prefix = b""
        self._texts: list[str] = []
        self._size = 0
        self._usage: Usage | None = None
        self._ids: set[str] = set()
        self._declined = False

    def write(self, events: Sequence[Event]) -> bytes:
        """These events as whole server-sent events."""
        return b"".join(map(self._said, events))

    def whole(self, reply: Collector) -> bytes:
        """A collected reply as a message."""
        assert reply.finished is not None
        content = [block for block in map(self._block, reply.pieces) if block is not None]
        self._size = sum(len(piece.text) for piece in reply.pieces)
        self._usage = reply.usage
        message = self._message(reply.began, self._counted(), reply.finished.tier)
        return _encode({**message, "content": content, **self._stop(reply.finished)})

    def broken(self, refusal: Refusal, request_id: str = "") -> bytes:
        """The error event that ends a stream which broke after it began."""
        return MessagesVoice().broken(refusal, request_id)

    def _said(self, event: Event) -> bytes:
        if type(event) is Added:
            return self._add(event.text)
        match event:
            case Opened():
                return self._open(event)
            case Closed():
                return self._close(event)
            case Began():
                return self._begin(event)
            case Counted():
                self._usage = event.usage
            case Finished():
                return self._finish(event)
        return b""

    def _begin(self, began: Began) -> bytes:
        self._usage = began.usage
        known = began.usage or Usage()
        usage = msgspec.structs.replace(
            known, input=known.input or max(1, self._stamp.prompt_tokens), output=known.output or 1
        )
        return _event("message_start", {"message": self._message(began, usage, None)})

    def _message(self, began: Began, usage: Usage, tier: str | None) -> Json:
        return {
            "id": f"msg_{self._stamp.token}",
            "type": "message",
            "role": "assistant",
            "model": began.model or self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
            "container": None,
            "usage": tokens.whole(usage, tier),
        }

    def _open(self, opened: Opened) -> bytes:
        self._opened = opened
        self._begun = False
        self._texts = []
        return self._start(self._call(opened, "")) if opened.kind == "tool" else b""

    def _start(self, block: Json) -> bytes:
        """Begin the block that was opened, in the next place."""
        self._begun = True
        self._index += 1
        self._prefix = (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":%b'
            % (self._index, _DELTAS[self._opened.kind])
        )
        return _event("content_block_start", {"index": self._index, "content_block": block})

    def _add(self, text: str) -> bytes:
        if not text:
            return b""
        self._size += len(text)
        self._texts.append(text)
        start = b"" if self._begun else self._start(_begun_block(self._opened.kind))
        return start + self._prefix + _encode(text) + b"}}\n\n"

    def _close(self, closed: Closed) -> bytes:
        self._declined = self._declined or self._opened.kind == "declined"
        if closed.redacted and not self._begun:
            out = self._start(_redacted(closed))
        elif self._opened.kind == "thinking":
            out = self._sign(closed)
        else:
            text = "".join(self._texts)
            cited = (_citation(found, text) for found in closed.citations)
            out = b"".join(self._delta({"type": "citations_delta", "citation": each}) for each in cited)
        return out + _event("content_block_stop", {"index": self._index}) if self._begun else b""

    def _sign(self, closed: Closed) -> bytes:
        if not self._begun and closed.seal is None:
            return b""
        start = b"" if self._begun else self._start(_begun_block("thinking"))
        return start + self._delta({"type": "signature_delta", "signature": _signature(closed)})

    def _delta(self, delta: Json) -> bytes:
        return _event("content_block_delta", {"index": self._index, "delta": delta})

    def _finish(self, finished: Finished) -> bytes:
        delta = {**self._stop(finished), "container": None}
        usage = tokens.totals(self._counted())
        return _event("message_delta", {"delta": delta, "usage": usage}) + _event("message_stop", {})

    def _stop(self, finished: Finished) -> Json:
        reason = finished.reason
        if reason == "stop" and self._ids:
            reason = "tool_use"
        elif reason == "tool_use" and not self._ids:
            reason = "stop"
        if reason == "stop" and self._declined:
            reason = "content_filter"
        details = {"type": "refusal", "category": None, "explanation": finished.explanation}
        return {
            "stop_reason": STOPS[reason],
            "stop_sequence": finished.sequence if reason == "stop_sequence" else None,
            "stop_details": details if reason == "content_filter" and finished.explanation else None,
        }

    def _counted(self) -> Usage:
        """What the provider counted; an estimate where it has not."""
        if self._usage is not None:
            return self._usage
        return Usage(input=max(1, self._stamp.prompt_tokens), output=max(1, self._size // LETTERS))

    def _call(self, opened: Opened, arguments: str) -> Json:
        ordinal = len(self._ids)
        name = legal(opened.id) if opened.id else f"toolu_{self._stamp.token}{ordinal}"
        if name in self._ids:
            name = legal(f"{name}_{ordinal}")
        self._ids.add(name)
        return {
            "type": "tool_use",
            "id": name,
            "name": opened.name,
            "input": as_object(arguments),
            "caller": {"type": "direct"},
        }

    def _block(self, piece: Piece) -> Json | None:
        """One block of a whole reply; None where a stream would not begin it."""
        opened, text, closed = piece.opened, piece.text, piece.closed or Closed()
        self._declined = self._declined or opened.kind == "declined"
        if opened.kind == "tool":
            return self._call(opened, text)
        if closed.redacted and not text:
            return _redacted(closed)
        if opened.kind == "thinking":
            signed = {"type": "thinking", "thinking": text, "signature": _signature(closed)}
            return signed if text or closed.seal is not None else None
        citations = [_citation(found, text) for found in closed.citations]
        return {"type": "text", "text": text, "citations": citations or None} if text else None


def _event(name: str, fields: Json) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), _encode({"type": name, **fields}))


def _begun_block(kind: Kind) -> Json:
    if kind == "thinking":
        return {"type": "thinking", "thinking": "", "signature": ""}
    return {"type": "text", "text": "", "citations": None}


def _redacted(closed: Closed) -> Json:
    return {"type": "redacted_thinking", "data": _signature(closed)}


def _signature(closed: Closed) -> str:
    return seals.pack(closed.seal or UNSIGNED)


def _citation(found: tuple[str, str, int, int], text: str) -> Json:
    """A web citation; `encrypted_index` is what only Anthropic's own search would give it."""
    url, title, start, end = found
    return {
        "type": "web_search_result_location",
        "url": url,
        "title": title or None,
        "cited_text": text[start:end],
        "encrypted_index": "",
    }
