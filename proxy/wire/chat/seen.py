"""What the proxy reads of chat bodies and stream events that pass through.

Source: OpenAI's API reference for chat completions and errors, and the looser forms that compatible
servers send (vLLM's unwrapped error, DashScope's `{code, message}`, DeepSeek's cache counters).
"""

from typing import Any

import msgspec

from proxy.errors import Said
from proxy.wire import sse
from proxy.wire.model import Usage, tokens
from proxy.wire.said import reported, said


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_cache_hit_tokens: int | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None


class _Delta(msgspec.Struct):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None
    audio: Any = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None
    text: Any = None


class Chunk(msgspec.Struct):
    """One stream event, as far as the proxy reads it."""

    choices: list[_Choice] | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")
    error: msgspec.Raw = msgspec.Raw(b"null")

    @property
    def has_content(self) -> bool:
        """Whether it carries something a user would miss, or the end of a choice."""
        return any(
            choice.finish_reason or choice.text or (choice.delta and _says_something(choice.delta))
            for choice in self.choices or ()
        )

    @property
    def is_usage_alone(self) -> bool:
        """Whether it is the extra chunk that `include_usage` asks for."""
        return not self.choices and self.usage != _NULL


class _Turn(msgspec.Struct, gc=False):
    finish_reason: str | None = None


class _Going(msgspec.Struct, gc=False):
    """One stream event, as far as it has to be read to see that the reply goes on."""

    choices: list[_Turn] | None = None
    usage: Any = None
    error: Any = None


class Reply(msgspec.Struct):
    """One whole reply, chat or embeddings, as far as the proxy reads it."""

    choices: msgspec.Raw = msgspec.Raw(b"null")
    data: msgspec.Raw = msgspec.Raw(b"null")
    usage: msgspec.Raw = msgspec.Raw(b"null")
    error: msgspec.Raw = msgspec.Raw(b"null")

    @property
    def is_empty(self) -> bool:
        """Whether it holds neither choices nor data."""
        return bytes(self.choices) in _NOTHING and bytes(self.data) in _NOTHING


_NULL = msgspec.Raw(b"null")
_NO_DETAILS = _InputDetails()
_NOTHING = (b"null", b"[]")

_chunk = msgspec.json.Decoder(Chunk)
_going = msgspec.json.Decoder(_Going)
_reply = msgspec.json.Decoder(Reply)
_usage = msgspec.json.Decoder(_Usage)


def _says_something(delta: _Delta) -> bool:
    return bool(
        delta.content
        or delta.tool_calls
        or delta.reasoning_content
        or delta.reasoning
        or delta.refusal
        or delta.function_call
        or delta.audio
    )


def chunk(data: bytes) -> Chunk | None:
    """One event's data as a chunk; None where it is not one."""
    try:
        return _chunk.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None


def goes_on(event: bytes) -> bool:
    """Whether a stream event, without its empty line, tells neither usage, an error nor an end."""
    try:
        seen = _going.decode(sse.line_of(event))
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return False
    if not seen.choices or seen.usage is not None or seen.error is not None:
        return False
    for choice in seen.choices:  # noqa: SIM110  (a generator costs more than all the rest)
        if choice.finish_reason:
            return False
    return True


def reply(body: bytes) -> Reply | None:
    """A whole reply; None where the body is not a JSON object of that kind."""
    try:
        return _reply.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None


def usage(raw: msgspec.Raw) -> Usage | None:
    """Token counts of a `usage` object; None where there are none that can be read."""
    if raw == _NULL:
        return None
    try:
        seen = _usage.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None
    details = seen.prompt_tokens_details or _NO_DETAILS
    reasoning = seen.completion_tokens_details.reasoning_tokens if seen.completion_tokens_details else None
    return Usage(
        input=tokens(seen.prompt_tokens),
        output=tokens(seen.completion_tokens),
        cached=tokens(details.cached_tokens or seen.prompt_cache_hit_tokens),
        reasoning=tokens(reasoning),
        written=tokens(details.cache_write_tokens),
    )


def error_in(event: bytes, seen: Chunk | None, data: bytes) -> Said | None:
    """What `event` reports as an error; None for any other event."""
    if seen is not None and seen.error != _NULL:
        return said(data)
    if seen is None or seen.choices is None:
        if sse.name_of(event) == b"error":
            return reported(data)
        return said(data)
    return None
