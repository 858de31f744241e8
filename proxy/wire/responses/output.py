"""The output items of one response, as they grow, and the events that tell of them.

Grammar (OpenAI's streaming reference, and what its SDK checks): an item is added before anything of it, a
part before its deltas; everything that began is done with the same ids. Consecutive texts are the parts of
one message. A message or a call is only done when the next thing begins, for until then it may turn out to
be the one that a length limit has cut.
"""

from typing import Final

from proxy.wire import seals
from proxy.wire.codec import Stamp
from proxy.wire.conversation import Json, Seal
from proxy.wire.envelope import encode
from proxy.wire.events import Closed, Opened

REDACTED: Final = ".redacted"
"""Follows a packed seal that is all there is of its thinking."""

_Citation = tuple[str, str, int, int]


class Tape:
    """Events in the order in which they are made, numbered from 0. Without `sound` they are not kept."""

    def __init__(self) -> None:
        self.sequence = 0
        self.sound = True
        self._events: list[bytes] = []

    def add(self, kind: str, fields: Json) -> None:
        """An event with these members."""
        if self.sound:
            data = encode({"type": kind, "sequence_number": self.sequence, **fields})
            self._events.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), data))
            self.sequence += 1

    def delta(self, head: bytes, middle: bytes, text: str, tail: bytes) -> None:
        """A delta between members that were encoded before."""
        if self.sound:
            self._events.append(b"%b%d%b%b%b" % (head, self.sequence, middle, encode(text), tail))
            self.sequence += 1

    def end(self, mark: bytes) -> None:
        """Something that is no numbered event."""
        if self.sound:
            self._events.append(mark)

    def take(self) -> bytes:
        """All that was added since the last time."""
        events, self._events = self._events, []
        return events[0] if len(events) == 1 else b"".join(events)


def packed(seal: Seal, *, redacted: bool) -> str:
    """A seal as `encrypted_content`."""
    return seals.pack(seal) + (REDACTED if redacted else "")


class Output:
    """The items of one response. `sealed` says whether the client is shown `encrypted_content`."""

    def __init__(self, stamp: Stamp, tape: Tape, *, sealed: bool) -> None:
        self.items: list[Json] = []
        self.letters = 0
        self._token = stamp.token
        self._tape = tape
        self._sealed = sealed
        self._hidden = False
        self._item: Json | None = None  # the message or call that is not done yet
        self._block = Opened("text")
        self._texts: list[str] = []
        self._inside = False
        self._head = self._middle = self._tail = b""
        self._call_ids: set[str] = set()

    @property
    def shown(self) -> list[Json]:
        """The items as the client sees them."""
        return [self._seen(item) for item in self.items] if self._hidden else self.items

    @property
    def hides(self) -> bool:
        """Whether there is anything that the client does not see."""
        return self._hidden

    def opened(self, block: Opened) -> None:
        """A block begins."""
        self.closed(Closed())
        self._block, self._texts, self._inside = block, [], True
        match block.kind:
            case "tool":
                self._open_call(block)
            case "thinking":
                self._open_reasoning()
            case _:
                self._open_part(block)

    def added(self, text: str) -> None:
        """The open block goes on."""
        if not text:
            return
        if not self._texts and self._block.kind == "thinking":
            self._open_summary()
        self._texts.append(text)
        self.letters += len(text)
        self._tape.delta(self._head, self._middle, text, self._tail)

    def closed(self, closed: Closed) -> None:
        """The open block is whole."""
        if not self._inside:
            return
        self._inside = False
        match self._block.kind:
            case "tool":
                self._close_call()
            case "thinking":
                self._close_reasoning(closed)
            case _:
                self._close_part(closed.citations)

    def settle(self, status: str) -> None:
        """Whatever is not done yet is done, with this status."""
        self.closed(Closed())
        self._done(status)

    def _done(self, status: str) -> None:
        item, self._item = self._item, None
        if item is not None:
            item["status"] = status
            self._tape.add("response.output_item.done", {"output_index": len(self.items) - 1, "item": item})

    # --- messages -------------------------------------------------------------------------------------

    def _open_part(self, block: Opened) -> None:
        if self._item is None or self._item["type"] != "message":
            self._done("completed")
            message = {"type": "message", "status": "in_progress", "role": "assistant", "content": []}
            self._item = self._add("msg", message)
        place = {**self._place(self._item), "content_index": len(self._item["content"])}
        self._tape.add("response.content_part.added", {**place, "part": _part(block.kind, "", ())})
        if block.kind == "declined":
            self._expect("response.refusal.delta", place, {})
        else:
            self._expect("response.output_text.delta", place, {"logprobs": []})

    def _close_part(self, citations: tuple[_Citation, ...]) -> None:
        item = self._item
        assert item is not None
        text = "".join(self._texts)
        place = {**self._place(item), "content_index": len(item["content"])}
        part = _part(self._block.kind, text, citations)
        if self._block.kind == "declined":
            self._tape.add("response.refusal.done", {**place, "refusal": text})
        else:
            for index, annotation in enumerate(part["annotations"]):
                noted = {**place, "annotation_index": index, "annotation": annotation}
                self._tape.add("response.output_text.annotation.added", noted)
            self._tape.add("response.output_text.done", {**place, "text": text, "logprobs": []})
        self._tape.add("response.content_part.done", {**place, "part": part})
        item["content"].append(part)

    # --- calls ----------------------------------------------------------------------------------------

    def _open_call(self, block: Opened) -> None:
        self._done("completed")
        call: Json = {"call_id": self._call_id(block.id), "name": block.name}
        if block.namespace:
            call["namespace"] = block.namespace
        if block.custom:
            call |= {"type": "custom_tool_call", "status": "in_progress", "input": ""}
            self._item = self._add("ctc", call)
            kind = "response.custom_tool_call_input.delta"
        else:
            call |= {"type": "function_call", "status": "in_progress", "arguments": ""}
            self._item = self._add("fc", call)
            kind = "response.function_call_arguments.delta"
        self._expect(kind, self._place(self._item), {})

    def _close_call(self) -> None:
        item = self._item
        assert item is not None
        if not self._block.custom and not "".join(self._texts).strip():
            self.added("{}")
        text = "".join(self._texts)
        if self._block.custom:
            item["input"] = text
            self._tape.add("response.custom_tool_call_input.done", {**self._place(item), "input": text})
        else:
            item["arguments"] = text
            said = {"name": item["name"], "arguments": text}
            self._tape.add("response.function_call_arguments.done", {**self._place(item), **said})

    def _call_id(self, given: str) -> str:
        """Every call of a response has an id of its own."""
        found = given or f"call_{self._token}_{len(self.items)}"
        if found in self._call_ids:
            found = f"{found}_{len(self.items)}"
        self._call_ids.add(found)
        return found

    # --- reasoning ------------------------------------------------------------------------------------

    def _open_reasoning(self) -> None:
        self._done("completed")
        self._item = self._add("rs", {"type": "reasoning", "summary": []})

    def _open_summary(self) -> None:
        assert self._item is not None
        place = {**self._place(self._item), "summary_index": 0}
        self._tape.add("response.reasoning_summary_part.added", {**place, "part": _summary("")})
        self._expect("response.reasoning_summary_text.delta", place, {})

    def _close_reasoning(self, closed: Closed) -> None:
        item, self._item = self._item, None
        assert item is not None
        place = self._place(item)
        if self._texts:
            text = "".join(self._texts)
            there = {**place, "summary_index": 0}
            self._tape.add("response.reasoning_summary_text.done", {**there, "text": text})
            self._tape.add("response.reasoning_summary_part.done", {**there, "part": _summary(text)})
            item["summary"] = [_summary(text)]
        if closed.seal is not None:
            item["encrypted_content"] = packed(closed.seal, redacted=closed.redacted)
            self._hidden = not self._sealed
        self._tape.add(
            "response.output_item.done", {"output_index": place["output_index"], "item": self._seen(item)}
        )

    # --- what all have --------------------------------------------------------------------------------

    def _add(self, prefix: str, fields: Json) -> Json:
        item = {"id": f"{prefix}_{self._token}_{len(self.items)}", **fields}
        self.items.append(item)
        self._tape.add("response.output_item.added", {"output_index": len(self.items) - 1, "item": item})
        return item

    def _place(self, item: Json) -> Json:
        """The members by which an event names its item: always the last one."""
        return {"item_id": item["id"], "output_index": len(self.items) - 1}

    def _expect(self, kind: str, place: Json, rest: Json) -> None:
        """The open block's deltas will be of this kind: all but number and text is encoded now."""
        self._head = b'event: %b\ndata: {"type":%b,"sequence_number":' % (kind.encode(), encode(kind))
        self._middle = b"," + encode(place)[1:-1] + b',"delta":'
        self._tail = (b"," + encode(rest)[1:-1] if rest else b"") + b"}\n\n"

    def _seen(self, item: Json) -> Json:
        if self._sealed or "encrypted_content" not in item:
            return item
        return {key: value for key, value in item.items() if key != "encrypted_content"}


def _summary(text: str) -> Json:
    return {"type": "summary_text", "text": text}


def _part(kind: str, text: str, citations: tuple[_Citation, ...]) -> Json:
    if kind == "declined":
        return {"type": "refusal", "refusal": text}
    annotations = [
        {"type": "url_citation", "url": url, "title": title, "start_index": start, "end_index": end}
        for url, title, start, end in citations
    ]
    return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": []}
