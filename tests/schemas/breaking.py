"""Ways to break a stream: each takes its decoded events and gives them back with one thing wrong.

An event is named by its number (from the end if negative), or by how the type of the first such one ends.
"""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from schemas.frames import frames


@dataclass(frozen=True)
class Told:
    """One event of a stream, decoded."""

    name: str
    data: Any

    def spelt(self) -> bytes:
        """Its bytes."""
        data = self.data if isinstance(self.data, str) else json.dumps(self.data)
        return (f"event: {self.name}\n" if self.name else "").encode() + f"data: {data}\n\n".encode()


Stream = list[Told]
Where = int | str
Break = Callable[[Stream], Stream]


def told(raw: bytes) -> Stream:
    """The events of a stream."""
    return [
        Told(frame.name, frame.data if frame.data == "[DONE]" else json.loads(frame.data))
        for frame in frames(raw)[0]
    ]


def spelt(stream: Stream) -> bytes:
    """The stream of events."""
    return b"".join(each.spelt() for each in stream)


def _at(stream: Stream, where: Where) -> int:
    """The place of an event: its number, or of the first whose type ends so."""
    if isinstance(where, int):
        return where % len(stream)
    return next(place for place, each in enumerate(stream) if each.name.endswith(where))


def put(where: Where, path: str, value: object) -> Break:
    """A member replaced. The path's last step may be new."""

    def broken(stream: Stream) -> Stream:
        data, last = _inner(stream, where, path)
        data[last] = value
        return stream

    return broken


def unset(where: Where, path: str) -> Break:
    """A member left out."""

    def broken(stream: Stream) -> Stream:
        data, last = _inner(stream, where, path)
        del data[last]
        return stream

    return broken


def _inner(stream: Stream, where: Where, path: str) -> tuple[Any, Any]:
    return inner(stream[_at(stream, where)].data, path)


def inner(data: Any, path: str) -> tuple[Any, Any]:
    """What holds the member at a path, and under which key."""
    *steps, last = (int(step) if step.isdigit() else step for step in path.split("."))
    for step in steps:
        data = data[step]
    return data, last


def named(where: Where, name: str) -> Break:
    """Another `event:` line."""

    def broken(stream: Stream) -> Stream:
        place = _at(stream, where)
        return [*stream[:place], replace(stream[place], name=name), *stream[place + 1 :]]

    return broken


def drop(where: Where) -> Break:
    """An event left out."""
    return lambda stream: numbered(stream[: _at(stream, where)] + stream[_at(stream, where) + 1 :])


def cut(where: Where) -> Break:
    """Nothing from an event on."""
    return lambda stream: stream[: _at(stream, where)]


def twice(where: Where) -> Break:
    """An event said again at once."""
    return lambda stream: numbered(stream[: _at(stream, where) + 1] + stream[_at(stream, where) :])


def move(where: Where, before: Where) -> Break:
    """An event said earlier."""

    def broken(stream: Stream) -> Stream:
        moved = stream.pop(_at(stream, where))
        place = _at(stream, before)
        return numbered([*stream[:place], moved, *stream[place:]])

    return broken


def insert(where: Where, name: str, **data: object) -> Break:
    """One more event before another."""

    def broken(stream: Stream) -> Stream:
        place = _at(stream, where)
        return numbered([*stream[:place], Told(name, data), *stream[place:]])

    return broken


def numbered(stream: Stream) -> Stream:
    """The events with their sequence numbers, where the dialect has any, as if nothing were missing."""
    fresh = [copy.deepcopy(each) for each in stream]
    for place, each in enumerate(fresh):
        if isinstance(each.data, dict) and "sequence_number" in each.data:
            each.data["sequence_number"] = place
    return fresh
