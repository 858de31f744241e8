"""What the proxy reads of the replies and stream events of this dialect.

Source: OpenAI's API reference for the Responses API and its streaming events. Of an event only those members
are decoded that are asked for; all others are skipped over in C.
"""

from typing import Any

import msgspec

from proxy.errors import Said
from proxy.wire import sse
from proxy.wire.conversation import Json
from proxy.wire.model import Usage, tokens

_WITHOUT_WORDS = "The provider reported an error without a message."


class Delta(msgspec.Struct, gc=False):
    """A stream event, as far as a delta is read: nearly all events are one."""

    type: str = ""
    delta: Any = None
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


_delta = msgspec.json.Decoder(Delta)
_object = msgspec.json.Decoder(Json)
_usage = msgspec.json.Decoder(_Usage)
_MISHAPS = (msgspec.MsgspecError, RecursionError, UnicodeError)


def data_of(event: bytes) -> bytes | None:
    """As `sse.data_of`; quick for the usual event of a name and one line of data."""
    if event.startswith(b"event: ") and event.count(b"\n") == 3 and b"\r" not in event:
        name, _, data = event.partition(b"\n")
        if data.startswith(b"data: ") and name:
            return data[6:-2]
    return sse.data_of(event)


def delta(data: bytes) -> Delta | None:
    """One event's data, read shallowly; None where it is no event."""
    try:
        return _delta.decode(data)
    except _MISHAPS:
        return None


def whole(data: bytes) -> Json | None:
    """One event's data, or a whole reply; None where it is no JSON object."""
    try:
        return _object.decode(data)
    except _MISHAPS:
        return None


def usage(raw: object) -> Usage | None:
    """Token counts of a `usage` object, decoded or not; None where there are none that can be read."""
    try:
        if isinstance(raw, msgspec.Raw | bytes):
            seen = _usage.decode(raw)
        elif isinstance(raw, dict):
            seen = msgspec.convert(raw, _Usage)
        else:
            return None
    except _MISHAPS:
        return None
    read = seen.input_tokens_details or _InputDetails()
    said = seen.output_tokens_details or _OutputDetails()
    return Usage(
        input=tokens(seen.input_tokens),
        output=tokens(seen.output_tokens),
        cached=tokens(read.cached_tokens),
        reasoning=tokens(said.reasoning_tokens),
        written=tokens(read.cache_write_tokens),
    )


def failure(response: Json) -> Said:
    """What a response that has failed, or was cancelled, says of it."""
    error = response.get("error")
    if not isinstance(error, dict):
        return Said(_WITHOUT_WORDS, code=_word(response.get("status")))
    return _said(error)


def error_of(event: Json) -> Said:
    """What the event `error` says: nested, flat, or both at once."""
    nested = event.get("error")
    if isinstance(nested, dict):
        return _said({**{key: event.get(key) for key in ("code", "message", "param")}, **nested})
    if isinstance(nested, str) and nested:
        return Said(nested, code=_word(event.get("code")))
    return _said({key: event.get(key) for key in ("code", "message", "param")})


def _said(error: Json) -> Said:
    return Said(
        message=_word(error.get("message")) or _WITHOUT_WORDS,
        kind=_word(error.get("type")),
        code=_word(error.get("code")),
        param=_word(error.get("param")),
    )


def _word(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
