"""The order of an Anthropic Messages stream.

Rule: every event has an `event:` line with its type. Between message_start and message_delta come content
blocks, one closed before the next is opened, numbered from 0; a block starts empty, is filled by deltas of
its own kind, and a signature is its last. A ping may come anywhere, and an error ends the stream.
"""

import json
from collections.abc import Iterator
from typing import Any, ClassVar

_DELTAS = {
    "text": {"text_delta", "citations_delta"},
    "thinking": {"thinking_delta", "signature_delta"},
    "tool_use": {"input_json_delta"},
    "server_tool_use": {"input_json_delta"},
}
_EMPTY = {"text": "", "thinking": "", "signature": "", "input": {}}


class MessagesGrammar:
    """Watches one stream."""

    ends_with_done = False

    def __init__(self) -> None:
        self._last = ""
        self._kinds: list[str] = []
        self._open = False
        self._signed = False
        self._input = ""
        self._broken_inputs: list[str] = []

    def read(self, name: str, event: Any) -> Iterator[str]:
        """What is wrong with an event in its place."""
        kind = event["type"]
        if name != kind:
            yield f"the event: line says {name!r} and the data {kind!r}"
        if self._last in {"message_stop", "error"}:
            yield f"comes after {self._last}"
        elif kind not in {"ping", "error"}:
            yield from self._in_order(kind)
            yield from self._STEPS.get(kind, MessagesGrammar._nothing)(self, event)
        if kind != "ping":
            self._last = kind

    def _in_order(self, kind: str) -> Iterator[str]:
        if (kind == "message_start") != (self._last == ""):
            yield f"{kind} comes after {self._last or 'nothing'}"
        if (kind == "message_stop") != (self._last == "message_delta"):
            yield f"{kind} comes after {self._last or 'nothing'}"
        if self._open != (kind in {"content_block_delta", "content_block_stop"}):
            yield f"{kind} comes while {'a' if self._open else 'no'} block is open"

    def _nothing(self, event: Any) -> Iterator[str]:
        yield from ()

    def _start(self, event: Any) -> Iterator[str]:
        message = event["message"]
        if message["content"] or message["stop_reason"] is not None:
            yield "the message starts with content or a stop reason"

    def _block_start(self, event: Any) -> Iterator[str]:
        block = event["content_block"]
        if event["index"] != len(self._kinds):
            yield f"block {event['index']} comes when {len(self._kinds)} are known"
        for key, empty in _EMPTY.items():
            if block.get(key, empty) != empty:
                yield f"the block starts with its {key}"
        self._kinds.append(block["type"])
        self._open, self._signed, self._input = True, False, ""

    def _delta(self, event: Any) -> Iterator[str]:
        delta = event["delta"]
        if self._open:
            yield from self._at_last_block(event)
            if delta["type"] not in _DELTAS.get(self._kinds[-1], ()):
                yield f"{delta['type']} in a block of {self._kinds[-1]}"
        if self._signed:
            yield "comes after the signature"
        self._signed = delta["type"] == "signature_delta"
        self._input += delta.get("partial_json", "")

    def _block_stop(self, event: Any) -> Iterator[str]:
        if self._open:
            yield from self._at_last_block(event)
            if not _is_object(self._input):
                self._broken_inputs.append(self._input)
        self._open = False

    def _at_last_block(self, event: Any) -> Iterator[str]:
        if event["index"] != len(self._kinds) - 1:
            yield f"names block {event['index']} while {len(self._kinds) - 1} is open"

    def _message_delta(self, event: Any) -> Iterator[str]:
        reason = event["delta"]["stop_reason"]
        if reason is None:
            yield "there is no stop reason"
        called = "tool_use" in self._kinds
        if (reason == "tool_use" and not called) or (reason == "end_turn" and called):
            yield f"the stop reason is {reason} after blocks of {', '.join(self._kinds)}"
        if self._broken_inputs and reason != "max_tokens":
            yield f"the input of a tool is not a JSON object: {self._broken_inputs[0]}"

    _STEPS: ClassVar = {
        "message_start": _start,
        "content_block_start": _block_start,
        "content_block_delta": _delta,
        "content_block_stop": _block_stop,
        "message_delta": _message_delta,
    }

    def end(self) -> Iterator[str]:
        """What is missing when nothing more comes."""
        if self._last not in {"message_stop", "error"}:
            yield f"the last event is {self._last or 'none'}"


def _is_object(text: str) -> bool:
    try:
        return not text or isinstance(json.loads(text), dict)
    except ValueError:
        return False
