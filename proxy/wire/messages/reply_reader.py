"""A reply of a Messages provider as canonical events.

Rules of the dialect's streams (Anthropic's documentation of streaming): blocks are numbered and come one
after the other, a thinking block's signature comes last, the counts of `message_delta` are totals, and only
`message_stop` makes a reply whole. Servers that imitate it break some of them: two blocks at a time (the
later one is held back), a block that is never begun or never ended, arguments that are there from the start.
Blocks of tools that the provider runs itself are passed over: nobody else has a form for them.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from proxy.errors import Fault, FaultKind
from proxy.wire import sse
from proxy.wire.codec import Facts
from proxy.wire.conversation import Json, Seal
from proxy.wire.events import Added, Began, Closed, Counted, Event, Failed, Finished, Kind, Opened, Reason
from proxy.wire.messages.arguments import as_text
from proxy.wire.messages.tokens import Tally, Tokens
from proxy.wire.model import Dialect
from proxy.wire.said import reported, said

REASONS: Final[Mapping[str, Reason]] = MappingProxyType(
    {
        "end_turn": "stop",
        "stop_sequence": "stop_sequence",
        "max_tokens": "length",
        "model_context_window_exceeded": "context_length",
        "tool_use": "tool_use",
        "pause_turn": "pause",
        "refusal": "content_filter",
    }
)
KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {"text": "text", "thinking": "thinking", "redacted_thinking": "thinking", "tool_use": "tool"}
)
_BEGUN_BY: Final[Mapping[str, str]] = MappingProxyType(
    {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "thinking"}
)
"""The block that a delta speaks of when nobody has begun it. A call without a name cannot be guessed."""


class _Piece(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None


class _Delta(msgspec.Struct):
    """The event that comes a thousand times."""

    type: str
    index: int
    delta: _Piece


_delta = msgspec.json.Decoder(_Delta)
_any = msgspec.json.Decoder()
_UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeError)


class _Block:
    """One block: what is held back of it while another one is open, and what its end will need."""

    __slots__ = ("citations", "data", "ended", "given", "held", "index", "kind", "signature", "size")

    def __init__(self, index: int, kind: Kind) -> None:
        self.index = index
        self.kind = kind
        self.held: list[Event] = []
        self.ended = False
        self.size = 0
        self.given = ""
        self.signature = ""
        self.data = ""
        self.citations: dict[tuple[str, str], None] = {}


class ReplyReader:
    """See `codec.ReplyReader`."""

    def __init__(self, facts: Facts) -> None:
        self._model = facts.model
        self.ended = False
        self._failed = False
        self._began = False
        self._open: _Block | None = None
        self._waiting: list[_Block] = []
        self._passed_over: set[int] = set()
        self._calls = False
        self._tally = Tally()
        self._stop: Json = {}

    def feed(self, event: bytes) -> list[Event]:
        """One whole server-sent event."""
        data = _data(event)
        if data is None:
            return []
        try:
            seen = _delta.decode(data)
        except _UNREADABLE:
            return self._look(event, data)
        block = self._open
        if block is not None and block.index == seen.index and seen.type == "content_block_delta":
            piece = seen.delta.text or seen.delta.thinking or seen.delta.partial_json
            if piece:
                block.size += len(piece)
                return [Added(piece)]
        return self._look(event, data)

    def finish(self) -> list[Event]:
        """The upstream ended. Raises `Fault` TRUNCATED where `message_stop` is missing."""
        if self._failed:
            return []
        if not self.ended:
            raise Fault(FaultKind.TRUNCATED, "the stream ended before its end marker", status=200)
        return [self._finished()]

    def whole(self, body: bytes) -> list[Event]:
        """A reply that is no stream. Raises `Fault`: EMPTY, NOT_JSON, ERROR_IN_REPLY."""
        try:
            message = _any.decode(body)
        except _UNREADABLE:
            message = None
        if not isinstance(message, dict):
            raise Fault(FaultKind.NOT_JSON, "the reply was not a JSON object", status=200)
        blocks = message.get("content")
        if not isinstance(blocks, list) or not (blocks or message.get("stop_reason")):
            words = said(body)
            if words is None:
                raise Fault(FaultKind.EMPTY, "the reply held no content", status=200)
            raise Fault(
                FaultKind.ERROR_IN_REPLY, "the reply was an error inside a 200", status=200, said=words
            )
        out = self._begin(message)
        for index, block in enumerate(blocks):
            out += self._start(index, _record(block))
            out += self._end(index)
        if self._tally.usage is not None:
            out.append(Counted(self._tally.usage))
        self._stop = message
        return [*out, self._finished()]

    def _look(self, event: bytes, data: bytes) -> list[Event]:
        """Any event but a plain delta of the open block."""
        try:
            seen = _any.decode(data)
        except _UNREADABLE:
            seen = None
        name = sse.name_of(event).decode("utf-8", "replace")
        if not isinstance(seen, dict):
            return self._fail(data) if name == "error" else []
        out: list[Event] = []
        match seen.get("type") or name:
            case "message_start":
                out = self._begin(_record(seen.get("message")))
            case "content_block_start":
                out = self._start(self._index(seen), _record(seen.get("content_block")))
            case "content_block_delta":
                out = self._add(self._index(seen), _record(seen.get("delta")))
            case "content_block_stop":
                out = self._end(self._index(seen))
            case "message_delta":
                out = self._count(seen)
            case "message_stop":
                self.ended = True
                out = self._begin({}) + self._end_all()
            case kind if kind == "error" or seen.get("error"):
                out = self._fail(data)
        return out

    def _fail(self, data: bytes) -> list[Event]:
        self._failed = True
        return [Failed(reported(data))]

    def _index(self, seen: Json) -> int:
        index = seen.get("index")
        if isinstance(index, int):
            return index
        return self._open.index if self._open is not None else 0

    def _begin(self, message: Json) -> list[Event]:
        if self._began:
            return []
        self._began = True
        self._tally.take(_tokens(message.get("usage")))
        return [Began(_text(message.get("model")) or None, self._tally.usage)]

    def _count(self, seen: Json) -> list[Event]:
        self._stop = {**self._stop, **_record(seen.get("delta"))}
        out = self._begin({})
        tokens = _tokens(seen.get("usage"))
        self._tally.take(tokens)
        if tokens is not None and self._tally.usage is not None:
            out.append(Counted(self._tally.usage))
        return out

    def _start(self, index: int, content: Json) -> list[Event]:
        out = self._begin({})
        kind = KINDS.get(_text(content.get("type")))
        if kind is None:
            self._passed_over.add(index)
            return out
        self._passed_over.discard(index)
        if self._open is not None and self._open.index == index:
            out += self._end(index)
        block = _Block(index, kind)
        name = _text(content.get("name"))
        opened = Opened(kind, id=_text(content.get("id")), name=name) if kind == "tool" else Opened(kind)
        self._calls = self._calls or kind == "tool"
        if self._open is None:
            self._open = block
        else:
            self._waiting.append(block)
        out += self._told(block, opened)
        block.given = as_text(content["input"]) if kind == "tool" and content.get("input") else ""
        block.data = _text(content.get("data"))
        return out + self._add_to(block, content)

    def _add(self, index: int, delta: Json) -> list[Event]:
        block = self._found(index)
        if block is not None:
            return self._add_to(block, delta)
        kind = _BEGUN_BY.get(_text(delta.get("type")))
        if index in self._passed_over or kind is None:
            return []
        return self._start(index, {"type": kind}) + self._add(index, delta)

    def _add_to(self, block: _Block, delta: Json) -> list[Event]:
        """What a delta says, or the beginning of a block that says something already."""
        block.signature += _text(delta.get("signature"))
        citations = delta.get("citations")
        for citation in [delta.get("citation"), *(citations if isinstance(citations, list) else ())]:
            found = _record(citation)
            if found.get("url"):
                block.citations[_text(found["url"]), _text(found.get("title"))] = None
        piece = _text(delta.get("text")) or _text(delta.get("thinking")) or _text(delta.get("partial_json"))
        block.size += len(piece)
        return self._told(block, Added(piece)) if piece else []

    def _end(self, index: int) -> list[Event]:
        block = self._found(index)
        if block is None:
            return []
        out: list[Event] = []
        if block.kind == "tool" and not block.size:
            out += self._told(block, Added(block.given or "{}"))
        out += self._told(block, self._closed(block))
        block.ended = True
        if block is self._open:
            out += self._advance()
        return out

    def _closed(self, block: _Block) -> Closed:
        if block.data:
            return Closed(Seal(Dialect.MESSAGES, self._model, block.data), redacted=True)
        seal = Seal(Dialect.MESSAGES, self._model, block.signature) if block.signature else None
        return Closed(seal, citations=tuple((url, title, 0, block.size) for url, title in block.citations))

    def _advance(self) -> list[Event]:
        """The open block is whole: what was held back of the next ones may follow."""
        self._open = None
        out: list[Event] = []
        while self._waiting and self._open is None:
            block = self._waiting.pop(0)
            out += block.held
            if not block.ended:
                self._open = block
        return out

    def _end_all(self) -> list[Event]:
        out: list[Event] = []
        while self._open is not None:
            out += self._end(self._open.index)
        return out

    def _found(self, index: int) -> _Block | None:
        if self._open is not None and self._open.index == index:
            return self._open
        return next((block for block in self._waiting if block.index == index and not block.ended), None)

    def _told(self, block: _Block, event: Event) -> list[Event]:
        if block is self._open:
            return [event]
        block.held.append(event)
        return []

    def _finished(self) -> Finished:
        reason = REASONS.get(_text(self._stop.get("stop_reason")), "stop")
        if reason == "stop" and self._calls:
            reason = "tool_use"
        elif reason == "tool_use" and not self._calls:
            reason = "stop"
        return Finished(
            reason,
            sequence=_text(self._stop.get("stop_sequence")) or None,
            tier=self._tally.tier,
            explanation=_text(_record(self._stop.get("stop_details")).get("explanation")) or None,
        )


def _data(event: bytes) -> bytes | None:
    """The event's data; the plain form of two lines, a name and a value, is cut without a parser."""
    if event.startswith(b"event: ") and event.endswith(b"}\n\n") and event.count(b"\n") == 3:
        start = event.find(b"\ndata: {")
        if start > 0 and b"\r" not in event:
            return event[start + 7 : -2]
    return sse.data_of(event)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _record(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _tokens(value: Any) -> Tokens | None:
    try:
        return msgspec.convert(value, Tokens) if isinstance(value, dict) else None
    except msgspec.ValidationError:
        return None
