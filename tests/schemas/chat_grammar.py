"""The order of a Chat Completions stream.

Rule: every chunk has the same id, time and model. Each choice begins with its role and ends with one finish
reason. A tool's first delta has its id and name, and no other has, since clients join what is repeated. Usage
comes in a chunk of its own after all choices. An error ends the stream, with no finish before it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_SAME = ("id", "created", "model")


@dataclass
class _Choice:
    """One choice as far as it has come."""

    finish: str | None = None
    tools: set[int] = field(default_factory=set)


class ChatGrammar:
    """Watches one stream."""

    ends_with_done = True

    def __init__(self) -> None:
        self._head: dict[str, Any] | None = None
        self._choices: dict[int, _Choice] = {}
        self._usage_said: list[bool] = []
        self._ended = ""

    def read(self, name: str, event: Any) -> Iterator[str]:
        """What is wrong with a chunk in its place."""
        if name:
            yield "this dialect has no event: lines"
        if self._ended:
            yield f"comes after the {self._ended}"
        if "error" in event:
            self._ended = "error"
            return
        head = {key: event[key] for key in _SAME}
        self._head = self._head or head
        for key in _SAME:
            if head[key] != self._head[key]:
                yield f"{key} was {self._head[key]!r} and is {head[key]!r}"
        for choice in event["choices"]:
            yield from self._choice(choice)
        yield from self._usage(event)

    def _usage(self, event: Any) -> Iterator[str]:
        if event.get("usage") is None:
            self._usage_said.append("usage" in event)
            if not event["choices"]:
                yield "has neither choices nor usage"
            return
        self._ended = "usage"
        if event["choices"]:
            yield "has choices beside usage"
        if not all(self._usage_said):
            yield "has usage, but earlier chunks have no `usage: null`"

    def _choice(self, choice: Any) -> Iterator[str]:
        index, delta = choice["index"], choice["delta"]
        known = self._choices.get(index)
        if known is None:
            known = self._choices[index] = _Choice()
            if delta.get("role") != "assistant":
                yield f"choice {index} does not begin with its role"
        elif "role" in delta:
            yield f"choice {index} repeats its role"
        if known.finish is not None:
            yield f"choice {index} goes on after its finish"
        for call in delta.get("tool_calls", ()):
            yield from _tool(call, known.tools)
        finish = choice["finish_reason"]
        if finish is not None:
            known.finish = finish
            if (finish == "tool_calls" and not known.tools) or (finish == "stop" and known.tools):
                yield f"choice {index} finishes with {finish} after {len(known.tools)} tool calls"

    def end(self) -> Iterator[str]:
        """What is missing when nothing more comes."""
        if self._ended == "error":
            return
        if not self._choices:
            yield "no choice was ever begun"
        if sorted(self._choices) != list(range(len(self._choices))):
            yield f"choices are numbered {sorted(self._choices)}"
        for index, choice in self._choices.items():
            if choice.finish is None:
                yield f"choice {index} has no finish"


def _tool(call: Any, known: set[int]) -> Iterator[str]:
    index, function = call["index"], call.get("function", {})
    if index in known:
        if "id" in call or "name" in function:
            yield f"tool {index} repeats its id or name"
        return
    if index != len(known):
        yield f"tool {index} comes when {len(known)} are known"
    if not (call.get("id") and call.get("type") and function.get("name")):
        yield f"tool {index} begins without its id, type or name"
    known.add(index)
