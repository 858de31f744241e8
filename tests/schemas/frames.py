"""Server-sent events out of bytes, and what is wrong with their spelling."""

import re
from typing import NamedTuple

_LINE_ENDS = re.compile("\r\n|\n|\r")


class Frame(NamedTuple):
    """One event: what its `event:` line says, empty without one, and its data."""

    name: str
    data: str


def frames(raw: bytes) -> tuple[list[Frame], list[str]]:
    """The events of a stream, and its problems. Comments are passed over."""
    found: list[Frame] = []
    wrong: list[str] = []
    name, data = "", list[str]()
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        return [], [f"not UTF-8: {error.reason} at byte {error.start}"]
    *lines, rest = _LINE_ENDS.split(text)
    for number, line in enumerate(lines, 1):
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line and field == "event":
            name = value
        elif line and field == "data":
            data.append(value)
        elif field:
            wrong.append(f"line {number}: neither event nor data: {line[:80]}")
        elif not line and data:
            found.append(Frame(name, "\n".join(data)))
            name, data = "", []
        elif not line and name:
            wrong.append(f"line {number}: event {name} has no data")
            name = ""
    if rest or data or name:
        wrong.append("the end: the last event has no blank line behind it")
    return found, wrong
