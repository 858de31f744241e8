"""Writes replies for chat clients.

Source: OpenAI's API reference for the chat completion and chunk objects. Thinking goes as
`reasoning_content`, as DeepSeek and many SDKs have it; where it is sealed, `thinking_blocks` (LiteLLM's form)
carry the seal, so that a client which sends its messages back as they came replays it. In a stream, entries
of lists are numbered by `index` over the whole message, as calls are: the official SDK adds pieces up by it.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from proxy.errors import Refusal
from proxy.wire import seals
from proxy.wire.chat.voice import DONE, ChatVoice
from proxy.wire.codec import Stamp
from proxy.wire.conversation import Conversation, Json
from proxy.wire.envelope import encode
from proxy.wire.events import (
    Added,
    Began,
    Closed,
    Collector,
    Counted,
    Event,
    Finished,
    Kind,
    Opened,
    Piece,
    Reason,
)
from proxy.wire.model import Usage

FINISH: Final[Mapping[Reason, str]] = MappingProxyType(
    {
        "stop": "stop",
        "stop_sequence": "stop",
        "pause": "stop",
        "length": "length",
        "context_length": "length",
        "tool_use": "tool_calls",
        "content_filter": "content_filter",
    }
)
_FIELD: Final[Mapping[Kind, bytes]] = MappingProxyType(
    {"text": b"content", "declined": b"refusal", "thinking": b"reasoning_content"}
)


class ChatReplyWriter:
    """See `codec.ReplyWriter`. Nothing of a chat reply is stored."""

    kept: bytes | None = None

    def __init__(self, conversation: Conversation, stamp: Stamp) -> None:
        echo = conversation.echo
        self._stamp = stamp
        self._model: str = echo.get("model") or ""
        self._counts: bool = echo.get("include_usage", False)
        self._legacy: bool = echo.get("legacy", False)
        self._usage: Usage | None = None
        self._calls = 0
        self._seals = 0
        self._cites = 0
        self._said = 0
        self._spoken = False
        self._size = 0
        self._kind: Kind = "text"
        self._custom = False
        self._muted = False
        self._thought: list[str] = []
        self._head = b""
        self._tail = b""
        self._before = b""
        self._after = b""

    def write(self, events: Sequence[Event]) -> bytes:
        """These events as chunks."""
        out: list[bytes] = []
        for event in events:
            if type(event) is Added:
                if not self._muted:
                    out.append(self._before + encode(event.text) + self._after)
                self._note(event.text)
            else:
                self._turn(event, out.append)
        return b"".join(out)

    def whole(self, reply: Collector) -> bytes:
        """A collected reply as a chat completion."""
        assert reply.finished is not None
        message = self._message(reply)
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": self._reason(reply.finished.reason),
        }
        body: Json = {
            "id": self._id,
            "object": "chat.completion",
            "created": self._stamp.created,
            "model": reply.began.model or self._model,
            "choices": [choice],
        }
        if reply.usage is not None:
            body["usage"] = counts(reply.usage)
        if reply.finished.tier is not None:
            body["service_tier"] = reply.finished.tier
        return encode(body)

    def broken(self, refusal: Refusal, request_id: str = "") -> bytes:
        """An error event, then the end marker."""
        return ChatVoice().broken(refusal, request_id)

    @property
    def _id(self) -> str:
        return f"chatcmpl-{self._stamp.token}"

    def _reason(self, reason: Reason) -> str:
        found = FINISH[reason]
        return "function_call" if self._legacy and found == "tool_calls" else found

    def _turn(self, event: Event, say: Callable[[bytes], None]) -> None:
        """An event that is no text."""
        match event:
            case Opened():
                self._open(event, say)
            case Closed():
                self._close(event, say)
            case Began():
                self._usage = event.usage or self._usage
                self._begin(event.model or self._model)
                say(self._delta({"role": "assistant", "content": "", "refusal": None}))
            case Counted():
                self._usage = event.usage
            case Finished():
                self._finish(event, say)
            case _:
                pass

    def _begin(self, model: str) -> None:
        head = {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._stamp.created,
            "model": model,
        }
        self._head = b"data: " + encode(head)[:-1] + b',"choices":['
        self._tail = b"]" + (b',"usage":null' if self._counts else b"") + b"}\n\n"

    def _delta(self, delta: Json, reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return self._head + encode(choice) + self._tail

    def _around(self, before: bytes, after: bytes) -> None:
        """What stands around the JSON string of each piece of text in this block."""
        self._before = self._head + b'{"index":0,"delta":{' + before
        self._after = after + b'},"logprobs":null,"finish_reason":null}' + self._tail

    def _open(self, opened: Opened, say: Callable[[bytes], None]) -> None:
        self._kind, self._muted, self._size = opened.kind, False, 0
        self._spoken = self._spoken or opened.kind in ("text", "declined")
        if opened.kind != "tool":
            self._around(b'"' + _FIELD[opened.kind] + b'":', b"")
            return
        place, self._calls = self._calls, self._calls + 1
        self._custom = opened.custom
        if self._legacy:
            self._muted = place > 0  # the old form has room for one call
            if not self._muted:
                say(self._delta({"function_call": {"name": opened.name, "arguments": ""}}))
                self._around(b'"function_call":{"arguments":', b"}")
            return
        call = {"index": place, **_call(self._call_id(opened, place), opened, "")}
        say(self._delta({"tool_calls": [call]}))
        field = b'"custom":{"input":' if opened.custom else b'"function":{"arguments":'
        self._around(b'"tool_calls":[{"index":%d,%b' % (place, field), b"}}]")

    def _call_id(self, opened: Opened, place: int) -> str:
        return opened.id or f"call_{self._stamp.token}{place}"

    def _note(self, text: str) -> None:
        self._size += len(text)
        if self._kind == "thinking":
            self._thought.append(text)

    def _close(self, closed: Closed, say: Callable[[bytes], None]) -> None:
        if self._kind == "tool":
            if not self._size and not self._custom and not self._muted:
                say(self._before + b'"{}"' + self._after)
        elif self._kind == "thinking":
            text, self._thought = "".join(self._thought), []
            if closed.seal is not None:
                say(self._delta({"thinking_blocks": [{"index": self._seals, **_thought(text, closed)}]}))
                self._seals += 1
        elif self._kind == "text":
            if closed.citations:
                cites = enumerate(_annotations(closed, self._said), self._cites)
                say(self._delta({"annotations": [{"index": place, **cite} for place, cite in cites]}))
                self._cites += len(closed.citations)
            self._said += self._size

    def _finish(self, finished: Finished, say: Callable[[bytes], None]) -> None:
        if finished.explanation and not self._spoken:
            say(self._delta({"refusal": finished.explanation}))
        say(self._delta({}, self._reason(finished.reason)))
        if self._counts and self._usage is not None:
            say(self._head + b'],"usage":' + encode(counts(self._usage)) + b"}\n\n")
        say(DONE)

    def _message(self, reply: Collector) -> Json:
        pieces = reply.pieces
        text = "".join(piece.text for piece in pieces if piece.opened.kind == "text")
        declined = "".join(piece.text for piece in pieces if piece.opened.kind == "declined")
        calls = [piece for piece in pieces if piece.opened.kind == "tool"]
        if not (text or declined) and reply.finished is not None and reply.finished.explanation:
            declined = reply.finished.explanation
        message: Json = {
            "role": "assistant",
            "content": text if text or not (calls or declined) else None,
            "refusal": declined or None,
            "annotations": _all_annotations(pieces),
        }
        if calls and self._legacy:
            opened = calls[0].opened
            message["function_call"] = {"name": opened.name, "arguments": calls[0].text or "{}"}
        elif calls:
            message["tool_calls"] = [
                _call(
                    self._call_id(call.opened, place),
                    call.opened,
                    call.text or ("" if call.opened.custom else "{}"),
                )
                for place, call in enumerate(calls)
            ]
        thoughts = [piece for piece in pieces if piece.opened.kind == "thinking"]
        if any(piece.text for piece in thoughts):
            message["reasoning_content"] = "".join(piece.text for piece in thoughts)
        sealed = [
            _thought(piece.text, piece.closed) for piece in thoughts if piece.closed and piece.closed.seal
        ]
        if sealed:
            message["thinking_blocks"] = sealed
        return message


def counts(usage: Usage) -> Json:
    """A `usage` object."""
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {
            "audio_tokens": 0,
            "cached_tokens": usage.cached,
            "cache_write_tokens": usage.written,
        },
        "completion_tokens_details": {
            "accepted_prediction_tokens": 0,
            "audio_tokens": 0,
            "reasoning_tokens": usage.reasoning,
            "rejected_prediction_tokens": 0,
        },
    }


def _call(id: str, opened: Opened, text: str) -> Json:  # noqa: A002  (the field's name)
    if opened.custom:
        return {"id": id, "type": "custom", "custom": {"name": opened.name, "input": text}}
    return {"id": id, "type": "function", "function": {"name": opened.name, "arguments": text}}


def _thought(text: str, closed: Closed) -> Json:
    assert closed.seal is not None
    packed = seals.pack(closed.seal)
    if closed.redacted:
        return {"type": "redacted_thinking", "data": packed}
    return {"type": "thinking", "thinking": text, "signature": packed}


def _annotations(closed: Closed, before: int) -> list[Json]:
    """Citations with their places in the whole content, of which `before` characters came earlier."""
    return [
        {
            "type": "url_citation",
            "url_citation": {
                "url": url,
                "title": title,
                "start_index": start + before,
                "end_index": end + before,
            },
        }
        for url, title, start, end in closed.citations
    ]


def _all_annotations(pieces: Sequence[Piece]) -> list[Json]:
    found: list[Json] = []
    before = 0
    for piece in pieces:
        if piece.opened.kind == "text":
            if piece.closed is not None:
                found += _annotations(piece.closed, before)
            before += len(piece.text)
    return found
