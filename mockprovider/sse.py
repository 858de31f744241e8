"""Server-sent events: from what an event says to its bytes, in any legal (or asked-for illegal) spelling.

Rule: one event is one `bytes`, ended by a blank line, so that whoever counts, delays, cuts or splits events
needs to know nothing else about them.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from mockprovider.behaviour import Behaviour

Part = Literal["opening", "content", "closing", "done"]

_ENDS = {"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"}
_NOISE = b"\x00\xff{]: not an event, not JSON"


class Event(NamedTuple):
    """An event before it is spelt. `name` is empty when the dialect has no `event:` lines."""

    data: bytes
    part: Part
    name: str = ""


DONE = Event(b"[DONE]", "done")


def shortened(events: Sequence[Event], behaviour: Behaviour) -> Sequence[Event]:
    """The events that are left when the behaviour leaves out the end, or all but the start."""
    if behaviour.empty in {"body", "stream"}:
        return []
    if behaviour.empty == "opening":
        return [event for event in events if event.part == "opening"]
    if behaviour.terminal == "none":
        return [event for event in events if event.part in {"opening", "content"}]
    if behaviour.terminal == "no_done":
        return [event for event in events if event.part != "done"]
    return events


def spelt(events: Sequence[Event], behaviour: Behaviour) -> list[bytes]:
    """Each event as its bytes, in the behaviour's spelling and with its garbage."""
    if behaviour.garbage is not None:
        events = _spoilt(events, behaviour)
    if behaviour.line_end == "lf" and not behaviour.comments and not behaviour.no_space:
        return [_plain(event) for event in events]
    end = _ENDS[behaviour.line_end]
    colon = b":" if behaviour.no_space else b": "
    comment = b": keep-alive" + end + end if behaviour.comments else b""
    return [
        comment + _line(b"event", event.name, colon, end) + b"data" + colon + event.data + end + end
        for event in events
    ]


def _plain(event: Event) -> bytes:
    if event.name:
        return b"event: %b\ndata: %b\n\n" % (event.name.encode(), event.data)
    return b"data: %b\n\n" % event.data


def _line(field: bytes, value: str, colon: bytes, end: bytes) -> bytes:
    return field + colon + value.encode() + end if value else b""


def _spoilt(events: Sequence[Event], behaviour: Behaviour) -> list[Event]:
    first = behaviour.garbage_after_events
    spoilt = list(events)
    if behaviour.garbage == "truncated":
        spoilt[first : first + 1] = [
            e._replace(data=e.data[: len(e.data) // 2]) for e in spoilt[first : first + 1]
        ]
    else:
        spoilt[first:] = [event._replace(data=_NOISE) for event in spoilt[first:]]
    return spoilt
