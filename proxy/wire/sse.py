"""Server-sent events as bytes: cut a stream into whole events, read one event's fields.

The grammar is the WHATWG HTML standard's (section 9.2.6, interpreting an event stream): lines end in
LF, CRLF or CR, an empty line ends an event, a line that begins with a colon is a comment, one space
after a field's colon is not part of its value, several `data` lines are joined by LF, and a byte order
mark at the very start is ignored. What follows the last empty line is no event by the standard; some
providers leave the last empty line out all the same, so the caller may ask for the rest.

What is passed on unchanged is looked at first (`check`): an event that its maker has cut, or that is no text,
would end a client's reader with an error of its own, or be missing without a word.
"""

import json
import re
from collections.abc import Callable

import msgspec

from proxy.errors import Fault, FaultKind

MAX_EVENT = 16 * 1024 * 1024
"""The largest single event taken from a provider, in bytes: images and audio travel in one event."""

BOM = b"\xef\xbb\xbf"

_END = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_FIELDS = frozenset({b"", b"data", b"event", b"id", b"retry"})
_LINE_END = re.compile(rb"\r\n|\n|\r")
_NO_JSON = frozenset({b"", b"[DONE]"})
"""What `data` may be besides JSON: the end marker, and nothing, which by the standard is no event."""

_skip = msgspec.json.Decoder(msgspec.Raw).decode


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


def plain(block: bytes, is_plain: Callable[[bytes], bool]) -> tuple[int, int]:
    """How many events of a block of whole ones are plain, from the first on, and how many bytes they take.

    `is_plain` is given an event without the empty line that ends it. Of a block in unusual line ends, or of
    one that is no text, none is.
    """
    count = size = 0
    if not block.isascii() and not _is_text(block):
        return count, size
    end = b"\n\n" if block.endswith(b"\n\n") else b"\r\n\r\n"
    found = block.split(end)
    found.pop()
    for event in found:
        if not is_plain(event):
            break
        count += 1
        size += len(event) + len(end)
    return count, size


def line_of(event: bytes) -> bytes:
    """The value of an event's only `data` line, which is its last, as nearly all have it; else no JSON."""
    return event[5:] if event.startswith(b"data:") else event.partition(b"\ndata:")[2]


def check(event: bytes, data: bytes | None) -> None:
    """Raise `Fault` NOT_JSON where clients cannot read an event: it is no UTF-8, or its `data` no whole JSON.

    Not read are the members of that JSON: one that is whole and says nothing sensible is its maker's.
    """
    if not event.isascii() and not _is_text(event):
        raise Fault(FaultKind.NOT_JSON, "an event of the stream was not UTF-8", status=200)
    if data is not None and data.strip() not in _NO_JSON and not _is_json(data):
        raise Fault(FaultKind.NOT_JSON, "an event of the stream was not valid JSON", status=200)


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_json(data: bytes) -> bool:
    """Whether clients read it as JSON: many take NaN and halves of letters, which the quick way does not."""
    try:
        _skip(data)
    except (msgspec.MsgspecError, RecursionError):
        try:
            json.loads(data.decode())
        except (ValueError, RecursionError):
            return False
    return True


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
