"""A Messages body and a Messages stream that pass unchanged, and the tap beside them.

Of the request sealed thinking of other dialects is taken out; of the reply nothing is changed. The tap reads
usage, errors and the end; once there is content it reads no more of most events than that they are whole and
tell nothing of the sort.
"""

from typing import Any, Final

import msgspec

from proxy.errors import Fault, FaultKind, Refusal
from proxy.wire import sse
from proxy.wire.envelope import Envelope, Fields
from proxy.wire.losses import Losses
from proxy.wire.messages import foreign
from proxy.wire.messages.tokens import Tally, Tokens
from proxy.wire.messages.voice import MessagesVoice
from proxy.wire.model import Usage
from proxy.wire.passing import Passing
from proxy.wire.said import reported
from proxy.wire.said import said as said_in

_OPENINGS: Final = ("text", "thinking")
"""Blocks that begin empty; the beginning of any other says something."""


class _Message(msgspec.Struct):
    usage: Tokens | None = None


class _Event(msgspec.Struct):
    """One stream event, as far as it is read."""

    type: str = ""
    message: _Message | None = None
    usage: Tokens | None = None
    content_block: dict[str, Any] | None = None
    delta: dict[str, Any] | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")


class _Delta(msgspec.Struct, gc=False):
    """One stream event, as far as it has to be read to see that the reply goes on."""

    type: str = ""
    error: Any = None


class _Reply(msgspec.Struct):
    """A whole reply, as far as it is read."""

    content: list[msgspec.Raw] | None = None
    stop_reason: str | None = None
    usage: Tokens | None = None


_event = msgspec.json.Decoder(_Event)
_delta = msgspec.json.Decoder(_Delta)
_reply = msgspec.json.Decoder(_Reply)
_NULL = msgspec.Raw(b"null")
_UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeError)


class MessagesNative:
    """What passes between a Messages client and a Messages provider. See `bypass.Native`."""

    kept: bytes | None = None

    def __init__(self, envelope: Envelope) -> None:
        self._envelope = envelope

    def prepare(self, fields: Fields, losses: Losses) -> None:
        """Take out what only another dialect could read."""
        foreign.take_out(fields, losses)

    def reply(self, body: bytes) -> tuple[bytes, Usage | None]:
        """The provider's reply, unchanged, and its usage. Raises `Fault` where it is no reply."""
        if not body.strip():
            raise Fault(FaultKind.EMPTY, "the reply was empty", status=200)
        try:
            seen = _reply.decode(body)
        except _UNREADABLE:
            raise Fault(FaultKind.NOT_JSON, "the reply was not a JSON object", status=200) from None
        if not seen.content and not seen.stop_reason:
            words = said_in(body)
            if words is None:
                raise Fault(FaultKind.EMPTY, "the reply held no content", status=200)
            raise Fault(
                FaultKind.ERROR_IN_REPLY, "the reply was an error inside a 200", status=200, said=words
            )
        tally = Tally()
        tally.take(seen.usage)
        return body, tally.usage

    def stream(self) -> "MessagesStream":
        """A fresh stream state."""
        return MessagesStream()


class MessagesStream(Passing):
    """A Messages stream that passes unchanged, and the tap beside it. See `model.Stream`."""

    kept: bytes | None = None

    def __init__(self) -> None:
        super().__init__(_goes_on)
        self._tally = Tally()

    def finish(self) -> bytes:
        """The upstream ended. A last event may lack its empty line. Raises `Fault`: EMPTY, TRUNCATED."""
        if self.ended:
            return b""
        rest = self._splitter.rest
        last = b""
        left = sse.events(rest)
        if left and _seen(sse.data_of(left[-1]) or b"") is None:
            left.pop()
        if left:
            last = self._look(left)
            if last and not last.endswith((b"\n\n", b"\r\r")):
                last += b"\n\n"
        if self.error is not None or self.ended:
            return last
        if not self.content:
            raise _nothing(rest)
        raise Fault(FaultKind.TRUNCATED, "the stream ended before its end marker", status=200)

    def broken(self, refusal: Refusal, request_id: str = "") -> bytes:
        """The end of a stream that broke: what was whole, and an error event."""
        return self._unsaid + MessagesVoice().broken(refusal, request_id)

    def _passed(self, event: bytes) -> bytes:
        self._read(event)
        return event if self.error is None else b""

    def _read(self, event: bytes) -> None:
        data = sse.data_of(event)
        if data is None:
            if not self.content and not sse.is_event(event):
                raise Fault(FaultKind.NOT_JSON, "the reply was not an event stream", status=200)
            sse.check(event, None)
            return
        self.events += 1
        seen = _seen(data)
        name = sse.name_of(event)
        if b"error" in (name, seen.type.encode() if seen else b"") or (seen and seen.error != _NULL):
            self.error = reported(data)
            return
        sse.check(event, data if seen is None else None)
        if seen is None:
            return
        self._tally.take(seen.message.usage if seen.message is not None else seen.usage)
        self.usage = self._tally.usage
        match seen.type or name.decode("utf-8", "replace"):
            case "message_stop":
                self.content = self.ended = True
            case "message_delta":
                self.content = self.content or bool((seen.delta or {}).get("stop_reason"))
            case "content_block_start":
                self.content = self.content or _says_something(seen.content_block or {})
            case "content_block_delta":
                said = {**(seen.delta or {}), "type": ""}
                self.content = self.content or any(map(bool, said.values()))


def _says_something(block: dict[str, Any]) -> bool:
    return block.get("type") not in _OPENINGS or any(
        bool(block.get(key)) for key in ("text", "thinking", "signature")
    )


def _goes_on(event: bytes) -> bool:
    """Whether a stream event, without its empty line, is a piece of a block."""
    try:
        seen = _delta.decode(sse.line_of(event))
    except _UNREADABLE:
        return False
    return seen.type == "content_block_delta" and seen.error is None


def _seen(data: bytes) -> _Event | None:
    """One event's data; None where it is not an event of this dialect."""
    try:
        return _event.decode(data)
    except _UNREADABLE:
        return None


def _nothing(rest: bytes) -> Fault:
    words = said_in(rest)
    if words is not None:
        return Fault(FaultKind.ERROR_IN_REPLY, "the reply was an error inside a 200", status=200, said=words)
    if rest.lstrip()[:1] in (b"<", b"{"):
        return Fault(FaultKind.NOT_JSON, "the reply was not an event stream", status=200)
    return Fault(FaultKind.EMPTY, "the stream ended without content", status=200)
