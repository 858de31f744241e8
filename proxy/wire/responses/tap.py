"""Responses bodies and streams that pass between two ends of this dialect, and the tap beside them.

Of the request what makes the state the proxy's is changed: nothing is stored at the provider, and reasoning
is asked for in the form that can be sent again. Of the reply the response object gets back what the client
knows it by; only the few events that carry it are read, all others pass as bytes.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from proxy.errors import Fault, FaultKind, Refusal
from proxy.wire import sse
from proxy.wire.codec import Facts, Stamp
from proxy.wire.envelope import Envelope, Fields, encode
from proxy.wire.losses import Losses
from proxy.wire.model import Usage
from proxy.wire.passing import Passing
from proxy.wire.responses import native_input, seen
from proxy.wire.responses.request_reader import ENCRYPTED
from proxy.wire.responses.resource import failed, failed_event, failure_code, response_id
from proxy.wire.responses.voice import DONE, ResponsesVoice
from proxy.wire.said import reported
from proxy.wire.said import said as said_in

_SEQUENCE = re.compile(rb'"sequence_number"\s*:\s*(\d+)')
_LIFECYCLE: Final = frozenset(
    [
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.completed",
        "response.incomplete",
    ]
)
_ENDS: Final = frozenset({"response.completed", "response.incomplete"})
_FAILURES: Final = frozenset({"response.failed", "response.cancelled", "error"})
_NOTABLE: Final = _LIFECYCLE | _FAILURES | {""}
"""Events that are always read: those of the response itself, and those that do not say what they are."""
_SILENT: Final = frozenset({"message", "reasoning", ""})
"""Items of which nothing is said yet when they are added."""

_FALSE = msgspec.Raw(b"false")
_TRUE = msgspec.Raw(b"true")
_NULL = msgspec.Raw(b"null")
_MISHAPS = (msgspec.MsgspecError, RecursionError, UnicodeError)

_fields = msgspec.json.Decoder(Fields)
_names = msgspec.json.Decoder(list[str])


class _Item(msgspec.Struct):
    type: str = ""


class _Kind(msgspec.Struct, gc=False):
    """One event, as far as it has to be read to see that the response goes on."""

    type: str = ""


class _Event(msgspec.Struct):
    """One event, as far as the tap reads it before the first content."""

    type: str = ""
    delta: object = None
    item: _Item | None = None


_event = msgspec.json.Decoder(_Event)
_kind = msgspec.json.Decoder(_Kind)


class ResponsesNative:
    """What passes between a client and a provider of this dialect. See `bypass.Native`.

    By the provider's `facts` sealed reasoning is known to be its own; one that thinks is asked for it.
    """

    def __init__(self, envelope: Envelope, stamp: Stamp, facts: Facts) -> None:
        self.kept: bytes | None = None
        self._envelope = envelope
        self._facts = facts
        self._own = _own(envelope.fields, stamp)

    def prepare(self, fields: Fields, losses: Losses) -> None:
        """Keep the state with the proxy."""
        fields["store"] = _FALSE
        fields.pop("previous_response_id", None)
        fields.pop("background", None)
        if fields.pop("background_options", _NULL) != _NULL:
            losses.drop("unknown", "background_options")  # the run is the proxy's: the provider hears of none
        if self._facts.quirks.thinks != "no":
            _include(fields)
        if "input" in fields:
            fields["input"] = native_input.prepared(fields["input"], self._facts, losses)

    def reply(self, body: bytes) -> tuple[bytes, Usage | None]:
        """The provider's response under the client's id, and its usage. Raises `Fault` where it is none."""
        if not body.strip():
            raise Fault(FaultKind.EMPTY, "the reply was empty", status=200)
        response = _object(body)
        if response is None:
            raise Fault(FaultKind.NOT_JSON, "the reply was not a JSON object", status=200)
        ended = bytes(response.get("status", b""))
        if ended in (b'"failed"', b'"cancelled"') or response.get("output", _NULL) == _NULL:
            said = seen.failure(seen.whole(body) or {}) if "output" in response else said_in(body)
            if said is None:
                raise Fault(FaultKind.EMPTY, "the reply held no output", status=200)
            raise Fault(
                FaultKind.ERROR_IN_REPLY, "the reply was an error inside a 200", status=200, said=said
            )
        response.update(self._own)
        told = encode(response)
        self.kept = kept_of(response, told, self._facts)
        return told, seen.usage(response.get("usage"))

    def stream(self) -> "ResponsesStream":
        """A fresh stream state."""
        return ResponsesStream(self._own, self._facts)


def _own(asked: Fields, stamp: Stamp) -> Mapping[str, msgspec.Raw]:
    """What the client knows its response by, and what it asked of the proxy and not of the provider."""
    own = {
        "id": msgspec.Raw(encode(response_id(stamp))),
        "previous_response_id": asked.get("previous_response_id", _NULL),
        "store": _TRUE if asked.get("store", _NULL) == _NULL else asked["store"],
        "background": _FALSE if asked.get("background", _NULL) == _NULL else asked["background"],
    }
    if asked.get("metadata", _NULL) != _NULL:
        own["metadata"] = asked["metadata"]
    return own


def _include(fields: Fields) -> None:
    """Ask for sealed reasoning, and for what else was asked for."""
    raw = fields.get("include", _NULL)
    try:
        names = _names.decode(raw) if raw != _NULL else []
    except _MISHAPS:
        return  # not a list of names: the provider refuses it in its own words
    if ENCRYPTED not in names:
        fields["include"] = msgspec.Raw(encode([*names, ENCRYPTED]))


def _object(data: bytes) -> Fields | None:
    try:
        return _fields.decode(data)
    except _MISHAPS:
        return None


def kept_of(response: Fields, told: bytes, facts: Facts) -> bytes:
    """What is to be stored of a response that was `told` so: its sealed reasoning tagged with its maker."""
    output = response.get("output", _NULL)
    if b'"encrypted_content"' not in bytes(output):
        return told
    return encode({**response, "output": native_input.tagged(output, facts)})


class ResponsesStream(Passing):
    """A stream that passes, and the tap beside it. See `model.Stream`."""

    def __init__(self, own: Mapping[str, msgspec.Raw], facts: Facts) -> None:
        super().__init__(_goes_on)
        self.kept: bytes | None = None
        self._own = own
        self._facts = facts
        self._response: Fields | None = None

    def finish(self) -> bytes:
        """The upstream ended. A last event without its empty line counts."""
        rest = self._splitter.rest
        last = b""
        if not self.ended and self.error is None and seen.data_of(rest) is not None:
            last = self._look([rest.rstrip(b"\r\n") + b"\n\n"])
        if self.ended or self.error is not None:
            return last
        if not self.content:
            raise _nothing(rest)
        raise Fault(FaultKind.TRUNCATED, "the stream ended before its end marker", status=200)

    def broken(self, refusal: Refusal, request_id: str = "") -> bytes:  # noqa: ARG002  (other dialects name it)
        """The end of a stream that broke: `response.failed`, or `error` if nothing was created."""
        if self._response is None:
            return self._unsaid + ResponsesVoice().broken(refusal)
        ended = failed(self._response, failure_code(refusal), refusal.message)
        self.kept = encode(ended)
        numbers = _SEQUENCE.findall(self._last)
        return self._unsaid + failed_event(ended, int(numbers[-1]) + 1 if numbers else 0) + DONE

    def _passed(self, event: bytes) -> bytes:
        """One event as it goes on to the client; empty where it does not."""
        data = seen.data_of(event)
        if data is None:
            return self._read_bare(event)
        self.events += 1
        if data.strip() == b"[DONE]":
            return b""  # ours follows the last event
        try:
            found = _event.decode(data)
        except _MISHAPS:
            return self._read_odd(event, data)
        sse.check(event, None)
        if found.type in _LIFECYCLE:
            return self._rewrite(found.type, data) or event
        if not self._failure(found.type, event, data):
            self.content = self.content or _says_something(found)
            return event
        return b""

    def _read_odd(self, event: bytes, data: bytes) -> bytes:
        """An event whose data is none of this dialect: it passes, but for an error, known by its name."""
        if sse.name_of(event) == b"error":
            self.error = reported(data)
            return b""
        sse.check(event, data)
        return event

    def _failure(self, kind: str, event: bytes, data: bytes) -> bool:
        """Whether the event says that the response has failed."""
        if kind in _FAILURES or (not kind and sse.name_of(event) == b"error"):
            self._fail(kind, data)
        elif not kind:
            self.error = said_in(data)
        return self.error is not None

    def _read_bare(self, event: bytes) -> bytes:
        """A comment or a bare field passes, but not before content, where it says nothing of the reply."""
        if not self.content and not sse.is_event(event):
            raise Fault(FaultKind.NOT_JSON, "the reply was not an event stream", status=200)
        sse.check(event, None)
        return event if self.content else b""

    def _rewrite(self, kind: str, data: bytes) -> bytes:
        whole = _object(data)
        response = _object(whole["response"]) if whole is not None and "response" in whole else None
        if whole is None or response is None:
            return b""
        response.update(self._own)
        self._response = response
        told = encode(response)
        whole["response"] = msgspec.Raw(told)
        out = b"event: %b\ndata: %b\n\n" % (kind.encode(), encode(whole))
        if kind not in _ENDS:
            return out
        self.usage = seen.usage(response.get("usage"))
        self.kept = kept_of(response, told, self._facts)
        self.content = self.ended = True
        return out + DONE

    def _fail(self, kind: str, data: bytes) -> None:
        whole = seen.whole(data) or {}
        response = whole.get("response")
        if kind in ("", "error") or not isinstance(response, dict):
            self.error = seen.error_of(whole)
            return
        self.error = seen.failure(response)
        self.usage = seen.usage(response.get("usage")) or self.usage


def _goes_on(event: bytes) -> bool:
    """Whether an event, without its empty line, is one of those in between."""
    try:
        seen = _kind.decode(sse.line_of(event))
    except _MISHAPS:
        return False
    return seen.type not in _NOTABLE


def _says_something(event: _Event) -> bool:
    """Whether a user would miss it."""
    if event.type.endswith(".delta"):
        return bool(event.delta)
    if event.type == "response.output_item.added":
        return event.item is not None and event.item.type not in _SILENT
    return event.type in ("response.output_item.done", "response.output_text.done", "response.refusal.done")


def _nothing(rest: bytes) -> Fault:
    said = said_in(rest)
    if said is not None:
        return Fault(FaultKind.ERROR_IN_REPLY, "the reply was an error inside a 200", status=200, said=said)
    if rest.lstrip()[:1] in (b"<", b"{"):
        return Fault(FaultKind.NOT_JSON, "the reply was not an event stream", status=200)
    return Fault(FaultKind.EMPTY, "the stream ended without content", status=200)
