"""A provider's response as canonical events: from a stream, or from one object by the same steps.

Source: OpenAI's streaming reference, and what compatible servers leave out: deltas (the text comes with
`done` alone), `added` events, whole items that only the last event holds. Items of calls may interleave;
the events that come of them never do (`wire.events`).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from proxy.errors import Fault, FaultKind
from proxy.wire import sse
from proxy.wire.codec import Facts
from proxy.wire.conversation import Json
from proxy.wire.events import Added, Began, Closed, Counted, Event, Failed, Finished, Kind, Opened, Reason
from proxy.wire.responses import sealed, seen
from proxy.wire.said import reported

_DELTAS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "response.output_text.delta": "text",
        "response.refusal.delta": "declined",
        "response.function_call_arguments.delta": "tool",
        "response.custom_tool_call_input.delta": "tool",
        "response.reasoning_text.delta": "thinking",
        "response.reasoning.delta": "thinking",
        "response.reasoning_summary_text.delta": "thinking",
    }
)
_DONE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "response.output_text.done": "text",
        "response.refusal.done": "refusal",
        "response.function_call_arguments.done": "arguments",
        "response.custom_tool_call_input.done": "input",
    }
)
"""Events that repeat a part's whole text, and the member that holds it."""
_OPENS: Final[Mapping[str, Kind]] = MappingProxyType(
    {"response.output_text.done": "text", "response.refusal.done": "declined"}
)
_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_CALLS: Final[Mapping[str, str]] = MappingProxyType(
    {"function_call": "arguments", "custom_tool_call": "input"}
)
_MOVED = 1_000_000
_PARTS = ("text", "declined")
"""Kinds of blocks that are parts of a message: an item may have several."""
_Key = tuple[int, int]
_Citation = tuple[str, str, int, int]


class _Block:
    """One block as far as it has come: all its `pieces`, of which those in `waiting` are not told yet."""

    def __init__(self, opened: Opened) -> None:
        self.opened = opened
        self.told = False
        self.pieces: list[str] = []
        self.waiting: list[str] = []
        self.closed: Closed | None = None
        self.part = 0  # of thinking: the part that grows
        self.spoken = ""  # of thinking: which kind of event tells it

    @property
    def tellable(self) -> bool:
        """Whether it may be told of.

        A call that was never announced gets its name with its end; thinking may turn out to be nothing.
        """
        if self.opened.kind == "tool":
            return bool(self.opened.name) or self.closed is not None
        return self.opened.kind != "thinking" or bool(self.waiting) or self.closed is not None

    @property
    def nothing(self) -> bool:
        """Whether it is thinking that nobody can see or replay."""
        return self.opened.kind == "thinking" and not self.pieces and not (self.closed and self.closed.seal)

    def add(self, text: str) -> None:
        """It goes on."""
        self.waiting.append(text)
        self.pieces.append(text)

    def complete(self, text: str) -> None:
        """Its whole text: what of it has not come yet is added. One that began otherwise stays as it is."""
        if self.closed is not None or not text:
            return
        known = "".join(self.pieces)
        if len(text) > len(known) and text.startswith(known):
            self.add(text[len(known) :])


class ResponsesReader:
    """See `codec.ReplyReader`."""

    def __init__(self, facts: Facts) -> None:
        self.ended = False
        self._facts = facts
        self._began = False
        self._blocks: dict[_Key, _Block] = {}
        self._queue: list[_Block] = []
        self._items: set[int] = set()
        self._whole: set[int | str] = set()
        self._moved: dict[int, int] = {}
        self._citations: dict[_Key, list[_Citation]] = {}
        self._out: list[Event] = []
        self._tools = False

    def feed(self, event: bytes) -> list[Event]:
        """One whole server-sent event."""
        data = seen.data_of(event)
        if data is None or self.ended:
            return []
        found = seen.delta(data)
        if found is not None and (kind := _DELTAS.get(found.type)) is not None:
            return self._grow(kind, found)
        name, whole = sse.name_of(event), seen.whole(data)
        if whole is not None:
            self._notice(str(whole.get("type") or name.decode("utf-8", "replace")), whole)
        elif name == b"error":
            self._fail(Failed(reported(data)))
        return self._taken()

    def finish(self) -> list[Event]:
        """The upstream ended. Raises `Fault` TRUNCATED where its terminal event is missing."""
        if not self.ended:
            raise Fault(FaultKind.TRUNCATED, "the stream ended before its end marker", status=200)
        return []

    def whole(self, body: bytes) -> list[Event]:
        """A response that is no stream. Raises `Fault`: EMPTY, NOT_JSON."""
        response = seen.whole(body)
        if response is None:
            raise Fault(FaultKind.NOT_JSON, "the reply was not a JSON object", status=200)
        if isinstance(response.get("output"), list):
            self._end(response)
        elif response.get("error"):
            self._fail(Failed(seen.error_of(response)))
        else:
            raise Fault(FaultKind.EMPTY, "the reply held no output", status=200)
        return self._taken()

    # --- deltas ---------------------------------------------------------------------------------------

    def _grow(self, kind: Kind, found: seen.Delta) -> list[Event]:
        text = found.delta
        if type(text) is not str or not text:
            return []
        index = self._moved.get(found.output_index, found.output_index) if self._moved else found.output_index
        key = (index, found.content_index if kind in _PARTS else 0)
        block = self._blocks.get(key)
        if block is None:
            block = self._open(key, Opened(kind))
        if block.closed is not None:
            return self._taken()  # what comes after its end was said with it
        if kind == "thinking":
            text = _thought(block, found)
            if not text:
                return self._taken()
        if block.told and self._queue[0] is block and not self._out:
            block.pieces.append(text)
            return [Added(text)]
        block.add(text)
        self._pass_on()
        return self._taken()

    # --- all other events -----------------------------------------------------------------------------

    def _notice(self, kind: str, event: Json) -> None:
        if kind == "error":
            self._fail(Failed(seen.error_of(event)))
        elif kind in _ENDS:
            self._end(_object(event, "response"))
        elif kind in ("response.created", "response.in_progress", "response.queued"):
            self._begin(_object(event, "response"))
        elif kind == "response.output_item.added":
            self._item_added(_index(event), _object(event, "item"))
        elif kind == "response.output_item.done":
            self._item_done(self._item_of(event), _object(event, "item"))
        elif kind == "response.content_part.done":
            self._part_done((self._item_of(event), _index(event, "content_index")), _object(event, "part"))
        elif kind == "response.output_text.annotation.added":
            key = (self._item_of(event), _index(event, "content_index"))
            self._citations.setdefault(key, []).extend(_citations([event.get("annotation")]))
        elif kind in _DONE:
            self._text_done(kind, event)
        elif not kind and event.get("error"):
            self._fail(Failed(seen.error_of(event)))

    def _begin(self, response: Json) -> None:
        if not self._began:
            self._began = True
            self._out.append(Began(_word(response, "model") or None))

    def _end(self, response: Json) -> None:
        status = response.get("status")
        if status in ("failed", "cancelled") or (response.get("error") and status != "incomplete"):
            self._fail(Failed(seen.failure(response)))
            return
        self._begin(response)
        output = response.get("output")
        for index, item in enumerate(output if isinstance(output, list) else ()):
            if isinstance(item, dict):
                self._item_done(index, item)
        for block in self._queue:
            block.closed = block.closed or Closed()
        self._pass_on()
        counted = seen.usage(response.get("usage"))
        if counted is not None:
            self._out.append(Counted(counted))
        tier = _word(response, "service_tier")
        self._out.append(Finished(self._reason(response), tier=tier if tier not in ("", "auto") else None))
        self.ended = True

    def _reason(self, response: Json) -> Reason:
        if response.get("status") == "incomplete":
            why = _object(response, "incomplete_details").get("reason")
            return "content_filter" if why == "content_filter" else "length"
        return "tool_use" if self._tools else "stop"

    def _fail(self, failed: Failed) -> None:
        self._out.append(failed)
        self.ended = True

    def _item_added(self, index: int, item: Json) -> None:
        if index in self._items:
            # Some servers number no items, or all alike: this one gets a place of its own.
            self._moved[index] = index = _MOVED + len(self._items)
        self._items.add(index)
        kind = _word(item, "type")
        if kind == "reasoning":
            self._open((index, 0), Opened("thinking"))
        elif kind in _CALLS:
            self._open((index, 0), _call(item))

    def _text_done(self, kind: str, event: Json) -> None:
        opens = _OPENS.get(kind)
        key = (self._item_of(event), _index(event, "content_index") if opens else 0)
        block = self._blocks.get(key) or (self._open(key, Opened(opens)) if opens else None)
        if block is not None:
            block.complete(_word(event, _DONE[kind]))
            self._pass_on()

    def _part_done(self, key: _Key, part: Json) -> None:
        """A part of a message is whole. Parts of other items are told with the item."""
        kind = part.get("type")
        if kind not in ("output_text", "text", "refusal"):
            return
        declined = kind == "refusal"
        block = self._blocks.get(key) or self._open(key, Opened("declined" if declined else "text"))
        block.complete(_word(part, "refusal" if declined else "text"))
        if block.closed is None:
            cited = _citations(part.get("annotations")) or self._citations.get(key, [])
            block.closed = Closed(citations=tuple(cited))
        self._pass_on()

    def _item_done(self, index: int, item: Json) -> None:
        names = {index, _word(item, "id") or index}
        if not self._whole.isdisjoint(names):
            return
        self._whole |= names
        kind = _word(item, "type")
        if kind == "message":
            content = item.get("content")
            for place, part in enumerate(content if isinstance(content, list) else ()):
                if isinstance(part, dict):
                    self._part_done((index, place), part)
            self._close_item(index)
        elif kind == "reasoning":
            self._reasoning_done(index, item)
        elif kind in _CALLS:
            block = self._blocks.get((index, 0)) or self._open((index, 0), _call(item))
            if not block.told:
                block.opened = _call(item)
            block.complete(_word(item, _CALLS[kind]))
            self._close_item(index)

    def _reasoning_done(self, index: int, item: Json) -> None:
        block = self._blocks.get((index, 0)) or self._open((index, 0), Opened("thinking"))
        summary, content = _texts(item.get("summary")), _texts(item.get("content"))
        told = content if block.spoken == "text" or (not block.spoken and not summary) else summary
        block.complete(told)
        encrypted = _word(item, "encrypted_content")
        seal = None
        if encrypted:
            seal = sealed.closed(_word(item, "id"), encrypted, self._facts)
        block.closed = block.closed or Closed(seal=seal)
        self._pass_on()

    def _close_item(self, index: int) -> None:
        for (item, part), block in self._blocks.items():
            if item == index and block.closed is None:
                block.closed = Closed(citations=tuple(self._citations.get((item, part), ())))
        self._pass_on()

    # --- one block after the other --------------------------------------------------------------------

    def _open(self, key: _Key, opened: Opened) -> _Block:
        block = self._blocks.get(key)
        if block is not None:
            return block
        self._begin({})
        block = self._blocks[key] = _Block(opened)
        self._tools = self._tools or opened.kind == "tool"
        self._queue.append(block)
        self._pass_on()
        return block

    def _pass_on(self) -> None:
        """Tell what may be told: the first block that is not whole, and all that are whole before it."""
        while self._queue:
            block = self._queue[0]
            if not block.tellable:
                return
            if block.nothing:
                self._queue.pop(0)
                continue
            if not block.told:
                if block.opened.kind == "tool" and not block.opened.name:
                    raise Fault(FaultKind.NOT_JSON, "a tool call of the reply had no name", status=200)
                self._out.append(block.opened)
                block.told = True
            if block.waiting:
                self._out.append(Added("".join(block.waiting)))
                block.waiting = []
            if block.closed is None:
                return
            self._out.append(block.closed)
            self._queue.pop(0)

    def _item_of(self, event: Json) -> int:
        index = _index(event)
        return self._moved.get(index, index)

    def _taken(self) -> list[Event]:
        out, self._out = self._out, []
        return out


def _call(item: Json) -> Opened:
    return Opened(
        "tool",
        id=_word(item, "call_id") or _word(item, "id"),
        name=_word(item, "name"),
        custom=item.get("type") == "custom_tool_call",
        namespace=_word(item, "namespace") or None,
    )


def _thought(block: _Block, found: seen.Delta) -> str:
    """Thinking is told as summary, as text, or as both: then what came first counts."""
    summary = found.type == "response.reasoning_summary_text.delta"
    spoken = "summary" if summary else "text"
    if block.spoken not in ("", spoken):
        return ""
    part = found.summary_index if summary else found.content_index
    apart = "\n\n" if block.pieces and part != block.part else ""
    block.spoken, block.part = spoken, part
    return apart + str(found.delta)


def _texts(parts: Any) -> str:
    found = (
        [_word(part, "text") for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    )
    return "\n\n".join(filter(None, found))


def _citations(annotations: Any) -> list[_Citation]:
    return [
        (_word(note, "url"), _word(note, "title"), _index(note, "start_index"), _index(note, "end_index"))
        for note in (annotations if isinstance(annotations, list) else ())
        if isinstance(note, dict) and note.get("type") == "url_citation" and _word(note, "url")
    ]


def _object(obj: Json, key: str) -> Json:
    value = obj.get(key)
    return value if isinstance(value, dict) else {}


def _index(obj: Json, key: str = "output_index") -> int:
    value = obj.get(key)
    return value if isinstance(value, int) else 0


def _word(obj: Json, key: str) -> str:
    value = obj.get(key)
    return value if isinstance(value, str) else ""
