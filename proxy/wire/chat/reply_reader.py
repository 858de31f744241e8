"""Reads replies of a chat provider into events.

Source: OpenAI's API reference, and what compatible servers do instead: no `delta` or no choices at all
(Azure), thinking as `reasoning_content` (DeepSeek, DashScope) or `reasoning` (vLLM, Groq), lists of
parts as content (Mistral), the stop sequence as `stop_reason` (vLLM) or `matched_stop` (SGLang), finish
reasons that are failures (DeepSeek's `insufficient_system_resource`).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from proxy.errors import Fault, FaultKind, Said
from proxy.wire import sse
from proxy.wire.chat import seen as chat
from proxy.wire.chat.calls import Blocks
from proxy.wire.conversation import Json
from proxy.wire.envelope import encode
from proxy.wire.events import Began, Counted, Event, Failed, Finished, Reason
from proxy.wire.model import Usage
from proxy.wire.said import said as said_in

REASONS: Final[Mapping[str, Reason]] = MappingProxyType(
    {
        "stop": "stop",
        "length": "length",
        "max_tokens": "length",
        "model_length": "context_length",
        "tool_calls": "tool_use",
        "function_call": "tool_use",
        "content_filter": "content_filter",
    }
)
FAILURES: Final[Mapping[str, Said]] = MappingProxyType(
    {
        "insufficient_system_resource": Said(
            "The provider ran out of resources while it answered.", kind="server_error", code="overloaded"
        ),
        "error": Said("The provider failed while it answered.", kind="server_error", code="upstream_error"),
        "abort": Said("The provider broke its answer off.", kind="server_error", code="upstream_error"),
    }
)
"""Finish reasons that mean that there is no whole answer."""


class _Delta(msgspec.Struct, gc=False):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None
    annotations: Any = None


class _Choice(msgspec.Struct, gc=False):
    index: Any = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: Any = None
    stop_reason: Any = None
    matched_stop: Any = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    model: Any = None
    service_tier: Any = None
    usage: Any = None
    error: Any = None


_chunk = msgspec.json.Decoder(_Chunk)
_WORDS = frozenset({*REASONS, "end_turn", "stop_sequence", "tool_use", "eos"})
"""What some servers say in the place of a stop sequence."""


class ChatReplyReader:
    """See `codec.ReplyReader`."""

    def __init__(self) -> None:
        self.ended = False
        self._began = False
        self._failed = False
        self._blocks = Blocks()
        self._usage: Usage | None = None
        self._reason: str | None = None
        self._sequence: str | None = None
        self._tier: str | None = None

    def feed(self, event: bytes) -> list[Event]:
        """One whole server-sent event. Raises `Fault` NOT_JSON where an object in it cannot be read."""
        data = sse.data_of(event)
        if data is None or self._failed:
            return []
        if not data.lstrip().startswith(b"{"):
            return self._word(event, data.strip())
        chunk = _decoded(data)
        if chunk is None:
            raise Fault(FaultKind.NOT_JSON, "an event of the stream was not valid JSON", status=200)
        if chunk.choices is None or chunk.error is not None:
            said = chat.error_in(event, chat.chunk(data), data)
            if said is not None:
                return self._fail(said)
        return self._take(chunk)

    def finish(self) -> list[Event]:
        """The upstream ended. Raises `Fault`: TRUNCATED without a finish reason or end marker, EMPTY."""
        if self._failed:
            return []
        if self._reason is None:
            if not self._blocks.begun:
                raise Fault(FaultKind.EMPTY, "the stream ended without content", status=200)
            if not self.ended:
                raise Fault(FaultKind.TRUNCATED, "the stream ended before its end marker", status=200)
        return [*self._blocks.end(), self._finished()]

    def whole(self, body: bytes) -> list[Event]:
        """A reply that is no stream. Raises `Fault`: EMPTY, NOT_JSON, ERROR_IN_REPLY."""
        reply = _decoded(body)
        if reply is None:
            raise Fault(FaultKind.NOT_JSON, "the reply was not a chat completion", status=200)
        if not reply.choices:
            said = said_in(body)
            if said is None:
                raise Fault(FaultKind.EMPTY, "the reply held no choices", status=200)
            raise Fault(
                FaultKind.ERROR_IN_REPLY, "the reply was an error inside a 200", status=200, said=said
            )
        self.ended = True
        out = self._take(reply)
        return out if self._failed else out + self.finish()

    def _word(self, event: bytes, data: bytes) -> list[Event]:
        """Data that is no object: the end marker, an error in plain words, or nothing."""
        if data == b"[DONE]":
            self.ended = True
        elif sse.name_of(event) == b"error":
            return self._fail(Said("The provider reported an error."))
        return []

    def _fail(self, said: Said) -> list[Event]:
        self._failed = True
        return [Failed(said)]

    def _take(self, chunk: _Chunk) -> list[Event]:
        out: list[Event] = []
        choices = chunk.choices
        if choices:
            if not self._began:
                self._began = True
                out.append(Began(_text(chunk.model) or None))
            for choice in choices:
                if not choice.index:  # one answer is asked for: others are nobody's
                    out += self._choose(choice)
        if chunk.usage is not None:
            usage = chat.usage(msgspec.Raw(encode(chunk.usage)))
            if usage is not None and usage != self._usage:
                self._usage = usage
                out.append(Counted(usage))
        if chunk.service_tier is not None:
            self._tier = _text(chunk.service_tier) or None
        return out

    def _choose(self, choice: _Choice) -> list[Event]:
        delta = choice.delta or choice.message
        out = self._say(delta, apart=choice.delta is None) if delta is not None else []
        reason = choice.finish_reason
        if reason and isinstance(reason, str):
            failure = FAILURES.get(reason)
            if failure is not None:
                return out + self._fail(failure)
            self._reason = reason
            self._sequence = _stop_sequence(choice.stop_reason, choice.matched_stop)
        return out

    def _say(self, delta: _Delta, *, apart: bool) -> list[Event]:
        blocks = self._blocks
        out: list[Event] = []
        thought = delta.reasoning_content or delta.reasoning
        if thought:
            out += blocks.say("thinking", thought if isinstance(thought, str) else _plain(thought))
        content = delta.content
        if content:
            if isinstance(content, str):
                out += blocks.say("text", content)
            else:
                out += self._parts(content)
        if delta.refusal and isinstance(delta.refusal, str):
            out += blocks.say("declined", delta.refusal)
        if delta.annotations:
            blocks.cite(_citations(delta.annotations))
        if delta.tool_calls and isinstance(delta.tool_calls, list):
            for place, call in enumerate(delta.tool_calls):
                if isinstance(call, dict):
                    out += self._call({**call, "index": place} if apart else call)
        if delta.function_call and isinstance(delta.function_call, dict):
            out += self._call({"function": delta.function_call})
        return out

    def _parts(self, content: object) -> list[Event]:
        """Content as a list: Mistral's thinking among its text."""
        out: list[Event] = []
        for part in content if isinstance(content, list) else []:
            if not isinstance(part, dict):
                continue
            if part.get("type") == "thinking":
                out += self._blocks.say("thinking", _plain(part.get("thinking")))
            elif isinstance(part.get("text"), str) and part["text"]:
                out += self._blocks.say("text", part["text"])
        return out

    def _call(self, call: Json) -> list[Event]:
        custom = call.get("type") == "custom" or isinstance(call.get("custom"), dict)
        function = call.get("custom" if custom else "function")
        if not isinstance(function, dict):
            function = {}
        index = call.get("index")
        arguments = function.get("input" if custom else "arguments")
        if isinstance(arguments, dict):  # some servers give the object and not its text
            arguments = msgspec.json.encode(arguments).decode()
        arguments = _text(arguments)
        name = _text(function.get("name"))
        block = self._blocks.find(
            index if isinstance(index, int) else None, _text(call.get("id")), name, arguments
        )
        block.custom = block.custom or custom
        return self._blocks.call(block, arguments)

    def _finished(self) -> Finished:
        reason: Reason = REASONS.get(self._reason or "", "stop")
        if self._blocks.called and reason == "stop":
            reason = "tool_use"
        elif reason == "tool_use" and not self._blocks.called:
            reason = "stop"
        if reason == "stop" and self._sequence is not None:
            return Finished("stop_sequence", self._sequence, self._tier)
        return Finished(reason, tier=self._tier)


def _decoded(data: bytes) -> _Chunk | None:
    """A chunk or a reply; None where it is neither."""
    try:
        return _chunk.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _stop_sequence(*values: object) -> str | None:
    texts = (value for value in values if isinstance(value, str) and value and value not in _WORDS)
    return next(texts, None)


def _plain(parts: object) -> str:
    """The text of a list of text parts."""
    if isinstance(parts, str):
        return parts
    found = parts if isinstance(parts, list) else []
    return "".join(_text(part.get("text")) for part in found if isinstance(part, dict))


def _citations(annotations: object) -> list[tuple[str, str, int, int]]:
    found = []
    for annotation in annotations if isinstance(annotations, list) else []:
        cited = annotation.get("url_citation") if isinstance(annotation, dict) else None
        if isinstance(cited, dict) and isinstance(cited.get("url"), str):
            start, end = cited.get("start_index"), cited.get("end_index")
            found.append(
                (
                    cited["url"],
                    _text(cited.get("title")),
                    start if isinstance(start, int) else 0,
                    end if isinstance(end, int) else 0,
                )
            )
    return found
