"""One output item of a Responses stream: its parts and texts, from when they begin until they are done.

Rule: parts are added one after the other, numbered from 0, and begin empty. The deltas of a text joined are
the text when it is done, and so are the done part and the done item.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class _Text(NamedTuple):
    """Where the events of a text keep it: the index of its part, the done text, and the type of its part."""

    place: str
    done: str
    part: str


PARTS = {
    "response.content_part": "content_index",
    "response.reasoning_summary_part": "summary_index",
}
TEXTS = {
    "response.output_text": _Text("content_index", "text", "output_text"),
    "response.refusal": _Text("content_index", "refusal", "refusal"),
    "response.reasoning_text": _Text("content_index", "text", "reasoning_text"),
    "response.reasoning_summary_text": _Text("summary_index", "text", "summary_text"),
    "response.function_call_arguments": _Text("", "arguments", "function_call"),
    "response.custom_tool_call_input": _Text("", "input", "custom_tool_call"),
}
_PLACES = {"content_index": "content", "summary_index": "summary"}
_OWN_TEXTS = {"function_call": "arguments", "custom_tool_call": "input"}


@dataclass
class _Said:
    """A text as far as it was said; `part` is the type of what it belongs to."""

    part: str
    pieces: list[str] = field(default_factory=list)
    complete: bool = False
    closed: bool = False

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.pieces)


class Item:
    """An item as it was added; `done` is it as it was done, or None before."""

    def __init__(self, item: Any) -> None:
        self._item = item
        self.id: str = item.get("id", "")
        self.type: str = item["type"]
        self.call_id: str = item.get("call_id", "")
        self.done: Any = None
        self._own = _Said(self.type)
        self._parts: dict[str, list[_Said]] = {"content_index": [], "summary_index": []}

    def begun(self) -> Iterator[str]:
        """What is wrong with the item when it is added."""
        if self._item.get("status", "in_progress") != "in_progress":
            yield f"the item is added with status {self._item['status']}"
        for key in ("content", "summary", "arguments", "input"):
            if self._item.get(key):
                yield f"the item is added with its {key}"

    def open_part(self, subject: str, event: Any) -> Iterator[str]:
        """A part is added."""
        key = PARTS[subject]
        parts, part = self._parts[key], event["part"]
        if event[key] != len(parts):
            yield f"part {event[key]} is added when {len(parts)} are known"
        if parts and not parts[-1].closed:
            yield f"part {event[key]} is added before the last is done"
        if _text_of(part):
            yield "the part is added with its text"
        parts.append(_Said(part["type"]))

    def close_part(self, subject: str, event: Any) -> Iterator[str]:
        """A part is done."""
        key, part = PARTS[subject], event["part"]
        said = self._said(key, event)
        if said is None:
            yield f"no part {event[key]} was added"
            return
        if said.closed:
            yield f"part {event[key]} is already done"
        if not said.complete:
            yield f"the text of part {event[key]} is not done"
        if (part["type"], _text_of(part)) != (said.part, said.text):
            yield f"part {event[key]} is not what was said: {said.text[:80]!r}"
        said.closed = True

    def extend(self, subject: str, event: Any) -> Iterator[str]:
        """A delta."""
        said = self._said(TEXTS[subject].place, event)
        yield from _misplaced(said, TEXTS[subject])
        if said is not None:
            said.pieces.append(event["delta"])

    def close_text(self, subject: str, event: Any) -> Iterator[str]:
        """A text is done."""
        said = self._said(TEXTS[subject].place, event)
        yield from _misplaced(said, TEXTS[subject])
        if said is not None:
            if event[TEXTS[subject].done] != said.text:
                yield f"the text is not its deltas joined: {said.text[:80]!r}"
            said.complete = True

    def finish(self, item: Any) -> Iterator[str]:
        """The item is done."""
        self.done = item
        for key in ("type", "call_id", "name"):
            if item.get(key) != self._item.get(key):
                yield f"the item's {key} was {self._item.get(key)!r} and is {item.get(key)!r}"
        if item.get("status", "completed") == "in_progress":
            yield "the item is done and still in progress"
        for key, place in _PLACES.items():
            yield from self._finished_parts(item.get(place, []), self._parts[key], place)
        own = _OWN_TEXTS.get(self.type)
        if own is not None:
            if not self._own.complete:
                yield f"the {own} are not done"
            if item[own] != self._own.text:
                yield f"the {own} are not what was said: {self._own.text[:80]!r}"

    def _finished_parts(self, parts: Any, said: list[_Said], place: str) -> Iterator[str]:
        if self.type not in {"message", "reasoning"}:
            return
        if not all(each.closed for each in said):
            yield f"a part of the {place} is not done"
        if [_text_of(part) for part in parts] != [each.text for each in said]:
            yield f"the {place} is not what was said"

    def _said(self, key: str, event: Any) -> _Said | None:
        if not key:
            return self._own
        parts = self._parts[key]
        return parts[event[key]] if 0 <= event[key] < len(parts) else None


def _misplaced(said: _Said | None, text: _Text) -> Iterator[str]:
    if said is None:
        yield "its part was not added"
    elif said.part != text.part:
        yield f"belongs in a {text.part}, not in a {said.part}"
    elif said.complete:
        yield "comes after the text is done"


def _text_of(part: Any) -> str:
    return str(part.get("text", part.get("refusal", "")))
