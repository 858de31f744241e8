"""OpenAI Responses on the wire: requests, replies and streams.

Rule: `response.created` comes first and the response's id is the same in every lifecycle event; events are
numbered from 0; an item is added before its deltas and done after them, with the same id, and the terminal
event repeats all items and the usage. Every key that the published schema requires is there.
"""

from collections.abc import Sequence

import msgspec

from mockprovider import strict_responses
from mockprovider.answer import Answer, Ask, Call, Stamp, Tool, Usage, prompt_tokens
from mockprovider.errors import Fault
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
from mockprovider.seals import seal
from mockprovider.sse import DONE, Event, Part

Item = dict[str, object]

_IMAGES = frozenset({"input_image"})
_FILES = frozenset({"input_file", "input_audio"})
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
_ECHOED: dict[str, object] = {
    "previous_response_id": None,
    "instructions": None,
    "tool_choice": "auto",
    "truncation": "disabled",
    "parallel_tool_calls": True,
    "text": {"format": {"type": "text"}},
    "top_p": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "top_logprobs": 0,
    "temperature": 1.0,
    "reasoning": {"effort": None, "summary": None},
    "max_output_tokens": None,
    "max_tool_calls": None,
    "store": True,
    "background": False,
    "metadata": {},
    "safety_identifier": None,
    "prompt_cache_key": None,
}


class Request(msgspec.Struct):
    """The fields of a request that change the answer."""

    model: str = ""
    input: str | list[dict[str, object]] = ""
    instructions: str | None = None
    stream: bool | None = None
    tools: list[dict[str, object]] | None = None
    tool_choice: str | dict[str, object] | None = None
    max_output_tokens: object = None
    include: list[str] | None = None
    text: dict[str, object] | None = None
    top_logprobs: int | None = None
    x_mock: msgspec.Raw = msgspec.Raw()


_DECODER = msgspec.json.Decoder(Request)
_encode = msgspec.json.encode


def read(body: bytes, model: str, terms: Terms = USUAL) -> Ask:
    """A request body; `model` stands in for one that the URL names. Raises Unreadable."""
    return _ask(body, model, terms, counting=False)


def _ask(body: bytes, model: str, terms: Terms, *, counting: bool) -> Ask:
    request = decoded(_DECODER, body)
    required(request.model or model, "model")
    required(request.input, "input")
    fields = decoded(FIELDS, body)
    strict_responses.check(fields, terms, unsuffixed(request.model or model)[0], counting=counting)
    items = _items(request)
    output = [text_of(item.get("output")) for item in items]
    contents = [item.get(name) for item in items for name in ("content", "output")]
    images, files = attachments(contents, _IMAGES, _FILES)
    included = request.include or ()
    return Ask(
        model=request.model or model,
        stream=bool(request.stream),
        text=last_user_text(items),
        prompt_bytes=size(
            [request.instructions or "", *output, *(text_of(item.get("content")) for item in items)]
        ),
        tools=_offered(request.tools or ()),
        choice=_choice(request.tool_choice),
        after_tool=items[-1].get("type") in ("function_call_output", "custom_tool_call_output"),
        limit=request.max_output_tokens if isinstance(request.max_output_tokens, int) else None,
        fault=bytes(request.x_mock),
        images=images,
        files=files,
        schema=schema_of((request.text or {}).get("format")),
        top_logprobs=(request.top_logprobs or 0) if "message.output_text.logprobs" in included else None,
        include=included,
        echo=_echo(fields),
    )


def count(body: bytes, terms: Terms = USUAL) -> bytes:
    """The reply to `input_tokens`. Raises Unreadable."""
    counted = prompt_tokens(_ask(body, "", terms, counting=True).prompt_bytes)
    return _encode({"object": "response.input_tokens", "input_tokens": counted})


def _items(request: Request) -> list[dict[str, object]]:
    said = request.input
    return [{"role": "user", "content": said}] if isinstance(said, str) else said


def _offered(offered: Sequence[Fields]) -> list[Tool]:
    kinds = ("function", "custom")
    return [
        tool
        for each in offered
        if each.get("type") in kinds
        for tool in tools([each], "parameters", custom=each.get("type") == "custom")
    ]


def _choice(choice: str | Fields | None) -> str:
    if choice is None or isinstance(choice, str):
        return choice or "auto"
    return (
        str(choice.get("mode", "auto")) if choice.get("type") == "allowed_tools" else f"={choice.get('name')}"
    )


def _echo(fields: Fields) -> dict[str, object]:
    """What a response repeats of its request, with the provider's defaults for what was not said."""
    said = {key: fields[key] for key in _ECHOED if fields.get(key) is not None}
    offered = fields.get("tools")
    return {
        **_ECHOED,
        **said,
        "tools": [_tool(tool) for tool in offered] if isinstance(offered, list) else [],
    }


def _tool(tool: object) -> object:
    if not isinstance(tool, dict) or tool.get("type") != "function":
        return tool
    return {"description": None, "parameters": None, "strict": True, **tool}


def _response(ask: Ask, stamp: Stamp, status: str, **changed: object) -> dict[str, object]:
    return {
        "id": stamp.id("resp_"),
        "object": "response",
        "created_at": stamp.created,
        "completed_at": None,
        "status": status,
        "incomplete_details": None,
        "model": ask.model,
        "output": [],
        "error": None,
        "usage": None,
        "service_tier": "default",
        **ask.echo,
        **changed,
    }


def _finished(ask: Ask, answer: Answer, stamp: Stamp) -> dict[str, object]:
    reason = _INCOMPLETE.get(answer.finish)
    return _response(
        ask,
        stamp,
        "incomplete" if reason else "completed",
        completed_at=None if reason else stamp.created,
        incomplete_details={"reason": reason} if reason else None,
        output=_output(ask, answer, stamp),
        usage=_usage(answer.usage) if answer.usage else None,
    )


def _usage(usage: Usage) -> dict[str, object]:
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.prompt + usage.completion,
    }


def _output(ask: Ask, answer: Answer, stamp: Stamp) -> list[Item]:
    """The items as they are when done."""
    items: list[Item] = []
    if answer.reasoning:
        summary = [{"type": "summary_text", "text": answer.thought}]
        sealed = {"encrypted_content": seal("reasoning", answer.name, answer.thought)}
        wanted = "reasoning.encrypted_content" in ask.include
        items.append({**_reasoning(stamp), "summary": summary, **(sealed if wanted else {})})
    parts = [_text(answer.text, _likely(ask, answer.pieces))] if answer.pieces else []
    if answer.refusal:
        parts.append({"type": "refusal", "refusal": "".join(answer.refusal)})
    if parts:
        status = "incomplete" if answer.finish in _INCOMPLETE else "completed"
        items.append(_message(stamp, status, parts))
    for place, call in enumerate(answer.calls):
        items.append(_tool_call(call, stamp, place, "completed"))
    return items


def _reasoning(stamp: Stamp) -> Item:
    return {"id": stamp.id("rs_"), "type": "reasoning", "summary": []}


def _message(stamp: Stamp, status: str, content: Sequence[Fields]) -> Item:
    return {
        "id": stamp.id("msg_"),
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": content,
    }


def _text(text: str, likely: Sequence[Fields] = ()) -> dict[str, object]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": likely}


def _likely(ask: Ask, pieces: Sequence[str]) -> list[dict[str, object]]:
    return [] if ask.top_logprobs is None else logprobs(pieces, ask.top_logprobs)


def _tool_call(call: Call, stamp: Stamp, place: int, status: str) -> Item:
    said = call.arguments if status == "completed" else ""
    named = {"call_id": stamp.id("call_", place), "name": call.name}
    if call.custom:
        kind, identity = "custom_tool_call", stamp.id("ctc_", place)
        return {"id": identity, "type": kind, "status": status, **named, "input": said}
    return {
        "id": stamp.id("fc_", place),
        "type": "function_call",
        "status": status,
        **named,
        "arguments": said,
    }


def reply(ask: Ask, answer: Answer, stamp: Stamp) -> bytes:
    """The whole response."""
    return _encode(_finished(ask, answer, stamp))


class _Tape:
    """The events of one stream as they are made; it numbers the events and the items."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.place = 0

    def add(self, name: str, fields: Fields, part: Part = "content") -> None:
        """One event."""
        data = _encode({"type": name, "sequence_number": len(self.events), **fields})
        self.events.append(Event(data, part, name))

    def open(self, item: Item) -> dict[str, object]:
        """Add an item; returns the fields by which its deltas name it."""
        self.add("response.output_item.added", {"output_index": self.place, "item": item})
        return {"item_id": item["id"], "output_index": self.place}

    def close(self, item: Item) -> None:
        """An item is done."""
        self.add("response.output_item.done", {"output_index": self.place, "item": item})
        self.place += 1


def events(ask: Ask, answer: Answer, stamp: Stamp) -> list[Event]:
    """The stream of a whole response."""
    tape = _Tape()
    started = _response(ask, stamp, "in_progress")
    tape.add("response.created", {"response": started}, "opening")
    tape.add("response.in_progress", {"response": started}, "opening")
    calls = iter(enumerate(answer.calls))
    for item in _output(ask, answer, stamp):
        if item["type"] == "reasoning":
            _add_reasoning(tape, item, answer, stamp)
        elif item["type"] == "message":
            _add_message(tape, item, (ask, answer), stamp)
        else:
            _add_call(tape, item, next(calls), stamp)
    finished = _finished(ask, answer, stamp)
    tape.add(f"response.{finished['status']}", {"response": finished}, "closing")
    return [*tape.events, DONE]


def _add_reasoning(tape: _Tape, item: Item, answer: Answer, stamp: Stamp) -> None:
    name = {**tape.open(_reasoning(stamp)), "summary_index": 0}
    kind = "response.reasoning_summary"
    tape.add(f"{kind}_part.added", {**name, "part": {"type": "summary_text", "text": ""}})
    for piece in answer.reasoning:
        tape.add(f"{kind}_text.delta", {**name, "delta": piece})
    tape.add(f"{kind}_text.done", {**name, "text": answer.thought})
    tape.add(f"{kind}_part.done", {**name, "part": {"type": "summary_text", "text": answer.thought}})
    tape.close(item)


def _add_message(tape: _Tape, item: Item, told: tuple[Ask, Answer], stamp: Stamp) -> None:
    ask, answer = told
    name = tape.open(_message(stamp, "in_progress", []))
    part = 0
    if answer.pieces:
        _add_text(tape, {**name, "content_index": part}, ask, answer)
        part += 1
    if answer.refusal:
        _add_refusal(tape, {**name, "content_index": part}, "".join(answer.refusal), answer.refusal)
    tape.close(item)


def _add_text(tape: _Tape, name: Fields, ask: Ask, answer: Answer) -> None:
    tape.add("response.content_part.added", {**name, "part": _text("")})
    for piece in answer.pieces:
        told = {**name, "delta": piece, "logprobs": _likely(ask, [piece])}
        tape.add("response.output_text.delta", told)
    likely = _likely(ask, answer.pieces)
    tape.add("response.output_text.done", {**name, "text": answer.text, "logprobs": likely})
    tape.add("response.content_part.done", {**name, "part": _text(answer.text, likely)})


def _add_refusal(tape: _Tape, name: Fields, whole: str, pieces: Sequence[str]) -> None:
    tape.add("response.content_part.added", {**name, "part": {"type": "refusal", "refusal": ""}})
    for piece in pieces:
        tape.add("response.refusal.delta", {**name, "delta": piece})
    tape.add("response.refusal.done", {**name, "refusal": whole})
    tape.add("response.content_part.done", {**name, "part": {"type": "refusal", "refusal": whole}})


def _add_call(tape: _Tape, item: Item, numbered: tuple[int, Call], stamp: Stamp) -> None:
    place, call = numbered
    name = tape.open(_tool_call(call, stamp, place, "in_progress"))
    kind = "response.custom_tool_call_input" if call.custom else "response.function_call_arguments"
    for piece in call.pieces:
        tape.add(f"{kind}.delta", {**name, "delta": piece})
    said = {"input": call.arguments} if call.custom else {"name": call.name, "arguments": call.arguments}
    tape.add(f"{kind}.done", {**name, **said})
    tape.close(item)


def failure(ask: Ask, fault: Fault, stamp: Stamp, sent: int) -> list[Event]:
    """The in-band error after `sent` events: `error` when nothing was created, else `response.failed`."""
    code = fault.code or "server_error"
    if sent:
        response = _response(ask, stamp, "failed", error={"code": code, "message": fault.message})
        fields: dict[str, object] = {"response": response}
        name = "response.failed"
    else:
        flat = {"code": code, "message": fault.message, "param": fault.param}
        name, fields = "error", {**flat, "error": {"type": fault.type, **flat}}
    data = _encode({"type": name, "sequence_number": sent, **fields})
    return [Event(data, "content", name), DONE]
