"""Chat Completions on the wire: requests, replies and streams of the dialect most providers speak.

Rule: chunks carry one change each: the role first, then reasoning, text or tool calls, then the finish
reason, then (when asked for) usage with no choices, then `[DONE]`. A tool's id and name are said once, in
its first delta; clients join whatever is repeated.
"""

import msgspec

from mockprovider.answer import Answer, Ask, Call, Stamp, Unreadable, Usage
from mockprovider.errors import Fault, openai_body
from mockprovider.reading import USUAL, Fields, Terms, decoded, last_user_text, required, size, text_of, tools
from mockprovider.sse import DONE, Event, Part


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class Request(msgspec.Struct):
    """The fields of a request that change the answer."""

    model: str = ""
    messages: list[dict[str, object]] = []
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    tools: list[dict[str, object]] | None = None
    tool_choice: str | dict[str, object] | None = None
    n: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    x_mock: msgspec.Raw = msgspec.Raw()


_DECODER = msgspec.json.Decoder(Request)
_encode = msgspec.json.encode


def read(body: bytes, model: str, terms: Terms = USUAL) -> Ask:  # noqa: ARG001  (one signature for all)
    """A request body; `model` stands in for one that the URL names. Raises Unreadable."""
    request = decoded(_DECODER, body)
    required(request.model or model, "model")
    required(request.messages, "messages")
    copies = 1 if request.n is None else request.n
    if not 1 <= copies <= 128:
        raise Unreadable("Invalid 'n': expected 1 to 128.", "n")
    offered = (tool.get("function") for tool in request.tools or () if tool.get("type") == "function")
    cap = request.max_completion_tokens
    return Ask(
        model=request.model or model,
        stream=bool(request.stream),
        text=last_user_text(request.messages),
        prompt_bytes=size(text_of(message.get("content")) for message in request.messages),
        tools=tools(offered, "parameters"),
        choice=_choice(request.tool_choice),
        after_tool=request.messages[-1].get("role") == "tool",
        limit=request.max_tokens if cap is None else cap,
        fault=bytes(request.x_mock),
        include_usage=bool(request.stream_options and request.stream_options.include_usage),
        copies=copies,
    )


def _choice(choice: str | Fields | None) -> str:
    if choice is None or isinstance(choice, str):
        return choice or "auto"
    for kind in ("function", "custom"):
        named = choice.get(kind)
        if isinstance(named, dict):
            return f"={named.get('name')}"
    allowed = choice.get("allowed_tools")
    return str(allowed.get("mode", "auto")) if isinstance(allowed, dict) else "auto"


def reply(ask: Ask, answer: Answer, stamp: Stamp) -> bytes:
    """The whole completion."""
    message: dict[str, object] = {
        "role": "assistant",
        "content": None if answer.calls else answer.text,
        "refusal": None,
        "annotations": [],
    }
    if answer.reasoning:
        message["reasoning_content"] = answer.thought
    choices = []
    for index in range(ask.copies):
        said = message
        if answer.calls:
            calls = [
                _call(call, stamp, _ordinal(answer, index, place)) for place, call in enumerate(answer.calls)
            ]
            said = {**message, "tool_calls": calls}
        choices.append({"index": index, "message": said, "logprobs": None, "finish_reason": answer.finish})
    head = _head(ask, stamp, "chat.completion")
    return _encode({**head, "choices": choices, **({"usage": _usage(answer.usage)} if answer.usage else {})})


def _ordinal(answer: Answer, index: int, place: int) -> int:
    return index * len(answer.calls) + place


def _call(call: Call, stamp: Stamp, ordinal: int) -> dict[str, object]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": stamp.id("call_", ordinal), "type": "function", "function": function}


def _head(ask: Ask, stamp: Stamp, kind: str) -> dict[str, object]:
    return {
        "id": stamp.id("chatcmpl-"),
        "object": kind,
        "created": stamp.created,
        "model": ask.model,
        "system_fingerprint": "fp_mock",
        "service_tier": "default",
    }


def _usage(usage: Usage) -> dict[str, object]:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


class _Tape:
    """The chunks of one stream as they are made."""

    def __init__(self, ask: Ask, stamp: Stamp) -> None:
        self.events: list[Event] = []
        self._head = _head(ask, stamp, "chat.completion.chunk")
        self._tail: dict[str, object] = {"usage": None} if ask.include_usage else {}

    def add(self, index: int, delta: Fields, finish: str | None = None, part: Part = "content") -> None:
        """One chunk with one choice."""
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        self.events.append(Event(_encode({**self._head, "choices": [choice], **self._tail}), part))

    def add_usage(self, usage: Usage) -> None:
        """The chunk without choices."""
        self.events.append(Event(_encode({**self._head, "choices": [], "usage": _usage(usage)}), "closing"))


def events(ask: Ask, answer: Answer, stamp: Stamp) -> list[Event]:
    """The stream of a whole completion."""
    tape = _Tape(ask, stamp)
    for index in range(ask.copies):
        tape.add(
            index,
            {"role": "assistant", "content": None if answer.calls else "", "refusal": None},
            None,
            "opening",
        )
    for index in range(ask.copies):
        _say(tape, index, answer, stamp)
    for index in range(ask.copies):
        tape.add(index, {}, answer.finish, "closing")
    if ask.include_usage and answer.usage:
        tape.add_usage(answer.usage)
    return [*tape.events, DONE]


def _say(tape: _Tape, index: int, answer: Answer, stamp: Stamp) -> None:
    for piece in answer.reasoning:
        tape.add(index, {"reasoning_content": piece})
    for piece in answer.pieces:
        tape.add(index, {"content": piece})
    for place, call in enumerate(answer.calls):
        first = _call(call, stamp, _ordinal(answer, index, place))
        first = {"index": place, **first, "function": {"name": call.name, "arguments": ""}}
        tape.add(index, {"tool_calls": [first]})
        for piece in call.pieces:
            tape.add(index, {"tool_calls": [{"index": place, "function": {"arguments": piece}}]})


def failure(ask: Ask, fault: Fault, stamp: Stamp, sent: int) -> list[Event]:  # noqa: ARG001  (one signature for all)
    """The in-band error after `sent` events."""
    return [Event(_encode(openai_body(fault)), "content"), DONE]
