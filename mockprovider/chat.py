"""Chat Completions on the wire: requests, replies and streams of the dialect most providers speak.

Rule: chunks carry one change each: the role first, then reasoning, text or tool calls, then the finish
reason, then (when asked for) usage with no choices, then `[DONE]`. A tool's id and name are said once, in
its first delta; clients join whatever is repeated. What makers do otherwise is done for their flavour only.
"""

import itertools
from collections.abc import Iterable, Iterator

import msgspec

from mockprovider import flavours, strict_chat, strict_numbers
from mockprovider.answer import Answer, Ask, Call, Stamp, Tool, Unreadable, Usage
from mockprovider.errors import Fault, openai_body
from mockprovider.logprobs import logprobs
from mockprovider.reading import (
    FIELDS,
    USUAL,
    Fields,
    Terms,
    attachments,
    decoded,
    last_user_text,
    required,
    schema_of,
    size,
    text_of,
    tools,
    unsuffixed,
)
from mockprovider.sse import DONE, Event, Part

_IMAGES = frozenset({"image_url"})
_FILES = frozenset({"file", "input_audio"})


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
    functions: list[dict[str, object]] | None = None
    function_call: str | dict[str, object] | None = None
    response_format: dict[str, object] | None = None
    stop: str | list[str] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    n: int | None = None
    max_tokens: object = None
    max_completion_tokens: object = None
    temperature: object = None
    top_p: object = None
    presence_penalty: object = None
    frequency_penalty: object = None
    x_mock: msgspec.Raw = msgspec.Raw()


_DECODER = msgspec.json.Decoder(Request)
_encode = msgspec.json.encode


def read(body: bytes, model: str, terms: Terms = USUAL) -> Ask:
    """A request body; `model` stands in for one that the URL names. Raises Unreadable."""
    request = decoded(_DECODER, body)
    required(request.model or model, "model")
    required(request.messages, "messages")
    copies = 1 if request.n is None else request.n
    if not 1 <= copies <= 128:
        raise Unreadable("Invalid 'n': expected 1 to 128.", "n")
    strict_numbers.check(request, terms.flavour)
    messages, legacy = request.messages, request.functions is not None
    strict_chat.check(messages, request.tools or (), request.functions or ())
    if terms.flavour != "generic":
        name = unsuffixed(request.model or model)[0]
        flavours.check(decoded(FIELDS, body), messages, terms.flavour, name)
    contents = [message.get("content") for message in messages]
    images, files = attachments(contents, _IMAGES, _FILES)
    stop = request.stop or []
    return Ask(
        model=request.model or model,
        stream=bool(request.stream),
        text=last_user_text(messages),
        prompt_bytes=size(map(text_of, contents)),
        tools=tools(request.functions or (), "parameters") if legacy else _offered(request.tools or ()),
        choice=_legacy_choice(request.function_call) if legacy else _choice(request.tool_choice),
        after_tool=messages[-1].get("role") in ("tool", "function"),
        limit=_limit(request, terms),
        fault=bytes(request.x_mock),
        include_usage=bool(request.stream_options and request.stream_options.include_usage),
        copies=copies,
        stops=[stop] if isinstance(stop, str) else stop,
        images=images,
        files=files,
        schema=schema_of(request.response_format, "json_schema"),
        top_logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        flavour=terms.flavour,
        legacy=legacy,
    )


def _limit(request: Request, terms: Terms) -> int | None:
    """The cap on the answer; some makers only know its old name."""
    new = None if terms.flavour in ("deepseek", "dashscope") else request.max_completion_tokens
    cap = request.max_tokens if new is None else new
    return cap if isinstance(cap, int) else None


def _offered(offered: Iterable[Fields]) -> list[Tool]:
    return [
        tool
        for each in offered
        for tool in tools(
            [each.get(str(each.get("type")))], "parameters", custom=each.get("type") == "custom"
        )
    ]


def _choice(choice: str | Fields | None) -> str:
    if choice is None or isinstance(choice, str):
        return choice or "auto"
    for kind in ("function", "custom"):
        named = choice.get(kind)
        if isinstance(named, dict):
            return f"={named.get('name')}"
    allowed = choice.get("allowed_tools")
    return str(allowed.get("mode", "auto")) if isinstance(allowed, dict) else "auto"


def _legacy_choice(choice: str | Fields | None) -> str:
    if choice is None or isinstance(choice, str):
        return choice or "auto"
    return f"={choice.get('name')}"


def reply(ask: Ask, answer: Answer, stamp: Stamp) -> bytes:
    """The whole completion."""
    choices = []
    for index in range(ask.copies):
        told = logprobs(answer.pieces, ask.top_logprobs) if ask.top_logprobs is not None else None
        choice = {
            "index": index,
            "message": _message(ask, answer, stamp, index),
            "logprobs": _logprobs(told),
            "finish_reason": _finish(ask, answer),
        }
        choices.append({**choice, **_ending(ask, answer)})
    head = _head(ask, stamp, "chat.completion")
    usage = {"usage": _usage(ask, answer.usage)} if answer.usage else {}
    return _encode({**head, "choices": choices, **usage})


def _message(ask: Ask, answer: Answer, stamp: Stamp, index: int) -> dict[str, object]:
    silent = (answer.calls or answer.refusal) and not answer.pieces
    message: dict[str, object] = {
        "role": "assistant",
        "content": None if silent else answer.text,
        "refusal": "".join(answer.refusal) or None,
        "annotations": [],
    }
    if answer.reasoning:
        message[_reasoning_key(ask)] = answer.thought
    calls = [_call(call, stamp, _ordinal(answer, index, place)) for place, call in enumerate(answer.calls)]
    if calls and ask.legacy:
        message["function_call"] = calls[0]["function"]
    elif calls or ask.flavour == "vllm":
        message["tool_calls"] = calls
    return message


def _finish(ask: Ask, answer: Answer) -> str:
    return "function_call" if ask.legacy and answer.finish == "tool_calls" else answer.finish


def _reasoning_key(ask: Ask) -> str:
    return "reasoning" if ask.flavour == "vllm" else "reasoning_content"


def _ending(ask: Ask, answer: Answer) -> dict[str, object]:
    """What a maker says beside the finish reason."""
    return {"stop_reason": answer.stopped} if ask.flavour == "vllm" else {}


def _logprobs(content: list[dict[str, object]] | None) -> dict[str, object] | None:
    return None if content is None else {"content": content, "refusal": None}


def _ordinal(answer: Answer, index: int, place: int) -> int:
    return index * len(answer.calls) + place


def _call(call: Call, stamp: Stamp, ordinal: int) -> dict[str, object]:
    kind, said = ("custom", "input") if call.custom else ("function", "arguments")
    return {
        "id": stamp.id("call_", ordinal),
        "type": kind,
        kind: {"name": call.name, said: call.arguments},
    }


def _head(ask: Ask, stamp: Stamp, kind: str) -> dict[str, object]:
    return {
        "id": stamp.id("chatcmpl-"),
        "object": kind,
        "created": stamp.created,
        "model": ask.model,
        "system_fingerprint": "fp_mock",
        "service_tier": "default",
    }


def _usage(ask: Ask, usage: Usage) -> dict[str, object]:
    written = {"cache_write_tokens": usage.cache_write} if usage.cache_write else {}
    told = {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0, **written},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    if ask.flavour == "deepseek":
        missed = max(0, usage.prompt - usage.cached)
        told |= {"prompt_cache_hit_tokens": usage.cached, "prompt_cache_miss_tokens": missed}
    return told


class _Tape:
    """The chunks of one stream as they are made."""

    def __init__(self, ask: Ask, stamp: Stamp) -> None:
        self.events: list[Event] = []
        self._head = _head(ask, stamp, "chat.completion.chunk")
        self._tail: dict[str, object] = {"usage": None} if ask.include_usage else {}

    def add(self, index: int, delta: Fields, part: Part = "content", **beside: object) -> None:
        """One chunk with one choice; `beside` goes beside its delta."""
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None, **beside}
        self.events.append(Event(_encode({**self._head, "choices": [choice], **self._tail}), part))

    def add_usage(self, usage: Fields) -> None:
        """The chunk without choices."""
        self.events.append(Event(_encode({**self._head, "choices": [], "usage": usage}), "closing"))


def events(ask: Ask, answer: Answer, stamp: Stamp) -> list[Event]:
    """The stream of a whole completion."""
    tape = _Tape(ask, stamp)
    content = None if (answer.calls or answer.refusal) and not answer.pieces else ""
    for index in range(ask.copies):
        tape.add(index, {"role": "assistant", "content": content, "refusal": None}, "opening")
    for index in range(ask.copies):
        _say(tape, index, (ask, answer), stamp)
    for index in range(ask.copies):
        tape.add(index, {}, "closing", finish_reason=_finish(ask, answer), **_ending(ask, answer))
    if ask.include_usage and answer.usage:
        tape.add_usage(_usage(ask, answer.usage))
    return [*tape.events, DONE]


def _say(tape: _Tape, index: int, told: tuple[Ask, Answer], stamp: Stamp) -> None:
    ask, answer = told
    beside: dict[str, object] = {"tool_calls": []} if ask.flavour == "vllm" else {}
    for piece in answer.reasoning:
        tape.add(index, {_reasoning_key(ask): piece})
    for piece in answer.pieces:
        likely = None if ask.top_logprobs is None else logprobs([piece], ask.top_logprobs)
        tape.add(index, {"content": piece, **beside}, logprobs=_logprobs(likely))
    for piece in answer.refusal:
        tape.add(index, {"refusal": piece})
    deltas = [
        list(_call_deltas(ask, call, place, _call(call, stamp, _ordinal(answer, index, place))))
        for place, call in enumerate(answer.calls)
    ]
    turns = itertools.zip_longest(*deltas) if answer.interleaved else deltas
    for delta in filter(None, itertools.chain.from_iterable(turns)):
        tape.add(index, delta)


def _call_deltas(ask: Ask, call: Call, place: int, whole: dict[str, object]) -> Iterator[Fields]:
    """The deltas of one call: its name, then the pieces of what it is given."""
    kind, said = ("custom", "input") if call.custom else ("function", "arguments")
    if ask.legacy:
        yield {"function_call": {"name": call.name, "arguments": ""}}
        for piece in call.pieces:
            yield {"function_call": {"arguments": piece}}
        return
    yield {"tool_calls": [{"index": place, **whole, kind: {"name": call.name, said: ""}}]}
    repeated = ask.flavour == "dashscope"
    named: dict[str, object] = {"name": None} if repeated else {}
    known: dict[str, object] = {"id": "", "type": kind} if repeated else {}
    for piece in call.pieces:
        yield {"tool_calls": [{"index": place, **known, kind: {**named, said: piece}}]}


def failure(ask: Ask, fault: Fault, stamp: Stamp, sent: int) -> list[Event]:  # noqa: ARG001  (one signature for all)
    """The in-band error after `sent` events."""
    return [Event(_encode(openai_body(fault)), "content"), DONE]
