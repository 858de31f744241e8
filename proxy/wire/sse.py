"""Server-sent events as bytes: cut a stream into whole events, read one event's fields.

The grammar is the WHATWG HTML standard's (section 9.2.6, interpreting an event stream): lines end in
LF, CRLF or CR, an empty line ends an event, a line that begins with a colon is a comment, one space
after a field's colon is not part of its value, several `data` lines are joined by LF, and a byte order
mark at the very start is ignored. What follows the last empty line is no event by the standard; some
providers leave the last empty line out all the same, so the caller may ask for the rest.
"""

import re

from proxy.errors import Fault, FaultKind

MAX_EVENT = 16 * 1024 * 1024
"""The largest single event taken from a provider, in bytes: images and audio travel in one event."""

BOM = b"\xef\xbb\xbf"

_END = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_FIELDS = frozenset({b"", b"data", b"event", b"id", b"retry"})
_LINE_END = re.compile(rb"\r\n|\n|\r")


class Splitter:
    """Cuts bytes into events. Keeps what is not yet whole, up to `MAX_EVENT` bytes."""

    def __init__(self) -> None:
        self._rest = b""

    @property
    def rest(self) -> bytes:
        """What came after the last whole event."""
        return self._rest

    def whole(self, data: bytes) -> bytes:
        """Take `data`; return all whole events there are now, in one piece, as they came."""
        if self._rest:
            data = self._rest + data
        elif data.endswith(b"\n\n"):
            return data  # as nearly all come: an event, or some, and nothing else
        end = data.rfind(b"\n\n") + 2
        if end < len(data) and b"\r" in data:
            end = max(end, self._last_end(data))
        if end <= 1:
            self._keep(data)
            return b""
        self._keep(data[end:])
        return data[:end]

    @staticmethod
    def _last_end(data: bytes) -> int:
        end = before = 0
        for match in _END.finditer(data):
            before, end = end, match.end()
        # "\r\n\r" may be the head of "\r\n\r\n": wait for the next byte rather than cut inside a line end.
        return end if end < len(data) or not data.endswith(b"\r") else before

    def _keep(self, rest: bytes) -> None:
        if len(rest) > MAX_EVENT:
            raise Fault(FaultKind.PROTOCOL, "an event of the stream is larger than 16 MiB")
        self._rest = rest


def events(block: bytes) -> list[bytes]:
    """The single events of a block of whole ones, each with the empty line that ends it."""
    found = []
    start = 0
    for match in _END.finditer(block):
        found.append(block[start : match.end()])
        start = match.end()
    if start < len(block):
        found.append(block[start:])
    return found


def data_of(event: bytes) -> bytes | None:
    """The value of an event's `data` lines joined by LF; None where it has none (a comment, a bare name)."""
    if event.startswith(b"data: ") and event.count(b"\n") == 2 and b"\r" not in event:
        return event[6:-2]
    values = _values(event, b"data")
    return b"\n".join(values) if values else None


def name_of(event: bytes) -> bytes:
    """The value of an event's last `event` line; b"" where it has none."""
    values = _values(event, b"event")
    return values[-1] if values else b""


def _values(event: bytes, field: bytes) -> list[bytes]:
    values = []
    for line in _LINE_END.split(event.removeprefix(BOM)):
        name, colon, value = line.partition(b":")
        if name == field:
            values.append(value.removeprefix(b" ") if colon else b"")
    return values


def is_event(event: bytes) -> bool:
    """Whether any line of it is a field of the grammar or a comment; a page of HTML has none."""
    lines = _LINE_END.split(event.removeprefix(BOM))
    return not any(lines) or any(line.partition(b":")[0] in _FIELDS for line in lines if line)
