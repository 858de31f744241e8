"""The order of a Responses stream, and what its events repeat of each other.

Rule: every event has an `event:` line with its type and the next number. response.created comes first, then
response.in_progress, and all name one response. An item is added at the next index, named by all its events,
and done; at the end the response holds all items as they were when done. A response that was created does not
end with a bare error event but with response.failed. No event is named after one that was cancelled: it ends
with response.incomplete, wherever it was.
"""

from collections.abc import Iterator
from typing import Any

from schemas.response_item import PARTS, TEXTS, Item

_STATUS = {
    "response.created": {"queued", "in_progress"},
    "response.queued": {"queued"},
    "response.in_progress": {"in_progress"},
    "response.completed": {"completed"},
    "response.incomplete": {"incomplete", "cancelled"},
    "response.failed": {"failed"},
}
_ENDS = ("response.completed", "response.incomplete", "response.failed")


class ResponsesGrammar:
    """Watches one stream."""

    ends_with_done = True

    def __init__(self) -> None:
        self._read = 0
        self._id: str | None = None
        self._running = False
        self._ended = ""
        self._items: list[Item] = []

    def read(self, name: str, event: Any) -> Iterator[str]:
        """What is wrong with an event in its place."""
        kind = event["type"]
        if name != kind:
            yield f"the event: line says {name!r} and the data {kind!r}"
        if event["sequence_number"] != self._read:
            yield f"has number {event['sequence_number']} in place {self._read}"
        self._read += 1
        if self._ended:
            yield f"comes after {self._ended}"
        elif kind == "error":
            self._ended = kind
            if self._id is not None:
                yield "a response that was created ends with response.failed"
        elif kind in _STATUS:
            yield from self._lifecycle(kind, event["response"])
        elif not self._running:
            yield "comes before response.in_progress"
        elif kind == "response.output_item.added":
            yield from self._added(event)
        else:
            yield from self._of_item(kind, event)

    def _lifecycle(self, kind: str, response: Any) -> Iterator[str]:
        if (kind == "response.created") != (self._id is None):
            yield f"{kind} comes when {'nothing' if self._id is None else 'the response'} was created"
        self._id = self._id or response["id"]
        if response["id"] != self._id:
            yield f"the response's id was {self._id} and is {response['id']}"
        if response.get("status") not in _STATUS[kind]:
            yield f"the response's status is {response.get('status')}"
        if kind in _ENDS:
            self._ended = kind
            yield from self._complete(kind, response)
        elif response["output"]:
            yield "the response has output before its end"
        if kind == "response.in_progress":
            if self._running:
                yield "response.in_progress comes again"
            self._running = True

    def _complete(self, kind: str, response: Any) -> Iterator[str]:
        if kind == "response.failed" or response["status"] == "cancelled":
            return
        if not self._running:
            yield "comes before response.in_progress"
        for item in self._items:
            if item.done is None:
                yield f"item {item.id} is not done"
        if response["output"] != [item.done for item in self._items]:
            yield "the output is not the items as they were done"

    def _added(self, event: Any) -> Iterator[str]:
        new = Item(event["item"])
        if event["output_index"] != len(self._items):
            yield f"item {event['output_index']} is added when {len(self._items)} are known"
        if not new.id or new.id in {item.id for item in self._items}:
            yield f"the item's id is {new.id!r}, not one of its own"
        if new.call_id and new.call_id in {item.call_id for item in self._items}:
            yield f"call_id {new.call_id} is another item's"
        yield from new.begun()
        self._items.append(new)

    def _of_item(self, kind: str, event: Any) -> Iterator[str]:
        """An event that belongs to an item, by its index."""
        index = event["output_index"]
        if not 0 <= index < len(self._items):
            yield f"no item {index} was added"
            return
        item = self._items[index]
        done = kind == "response.output_item.done"
        named = event["item"].get("id") if done else event["item_id"]
        if named != item.id:
            yield f"names item {named}, and item {index} is {item.id}"
        if item.done is not None:
            yield f"item {index} is already done"
        elif done:
            yield from item.finish(event["item"])
        else:
            yield from _inside(item, kind, event)

    def end(self) -> Iterator[str]:
        """What is missing when nothing more comes."""
        if not self._ended:
            yield "the response did not end"


def _inside(item: Item, kind: str, event: Any) -> Iterator[str]:
    subject, _, verb = kind.rpartition(".")
    if subject in PARTS:
        step = item.open_part if verb == "added" else item.close_part
        yield from step(subject, event)
    elif subject in TEXTS:
        step = item.extend if verb == "delta" else item.close_text
        yield from step(subject, event)
