"""OpenAI Responses on the wire: requests, replies and streams.

Rule: `response.created` comes first and the response's id is the same in every lifecycle event; events are
numbered from 0; an item is added before its deltas and done after them, with the same id, and the terminal
event repeats all items and the usage. Every key that the published schema requires is there.
"""

from collections.abc import Sequence

import msgspec

from mockprovider import strict_responses
from mockprovider.answer import Answer, Ask, Call, Stamp, Usage, prompt_tokens
from mockprovider.errors import Fault
from mockprovider.reading import (
    FIELDS,
    USUAL,
    Fields,
    Terms,
    decoded,
    last_user_text,
    required,
    size,
    text_of,
    tools,
    unsuffixed,
)
from mockprovider.seals import seal
from mockprovider.sse import DONE, Event, Part

Item = dict[str, object]

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
    max_output_tokens: int | None = None
    include: list[str] | None = None
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
    return Ask(
        model=request.model or model,
        stream=bool(request.stream),
        text=last_user_text(items),
        prompt_bytes=size(
            [request.instructions or "", *output, *(text_of(item.get("content")) for item in items)]
        ),
        tools=tools((tool for tool in request.tools or () if tool.get("type") == "function"), "parameters"),
        choice=_choice(request.tool_choice),
        after_tool=items[-1].get("type") == "function_call_output",
        limit=request.max_output_tokens,
        fault=bytes(request.x_mock),
        include=request.include or (),
        echo=_echo(fields),
    )


def count(body: bytes, terms: Terms = USUAL) -> bytes:
    """The reply to `input_tokens`. Raises Unreadable."""
    counted = prompt_tokens(_ask(body, "", terms, counting=True).prompt_bytes)
    return _encode({"object": "response.input_tokens", "input_tokens": counted})


def _items(request: Request) -> list[dict[str, object]]:
    said = request.input
    return [{"role": "user", "content": said}] if isinstance(said, str) else said


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
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
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
    if answer.pieces:
        status = "incomplete" if answer.finish in _INCOMPLETE else "completed"
        items.append(_message(stamp, status, [_text(answer.text)]))
    for place, call in enumerate(answer.calls):
        items.append(_function_call(call, stamp, place, "completed"))
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


def _text(text: str) -> dict[str, object]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _function_call(call: Call, stamp: Stamp, place: int, status: str) -> Item:
    return {
        "id": stamp.id("fc_", place),
        "type": "function_call",
        "status": status,
        "call_id": stamp.id("call_", place),
        "name": call.name,
        "arguments": call.arguments if status == "completed" else "",
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
            _add_message(tape, item, answer, stamp)
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


def _add_message(tape: _Tape, item: Item, answer: Answer, stamp: Stamp) -> None:
    name = {**tape.open(_message(stamp, "in_progress", [])), "content_index": 0}
    tape.add("response.content_part.added", {**name, "part": _text("")})
    for piece in answer.pieces:
        tape.add("response.output_text.delta", {**name, "delta": piece, "logprobs": []})
    tape.add("response.output_text.done", {**name, "text": answer.text, "logprobs": []})
    tape.add("response.content_part.done", {**name, "part": _text(answer.text)})
    tape.close(item)


def _add_call(tape: _Tape, item: Item, numbered: tuple[int, Call], stamp: Stamp) -> None:
    place, call = numbered
    name = tape.open(_function_call(call, stamp, place, "in_progress"))
    for piece in call.pieces:
        tape.add("response.function_call_arguments.delta", {**name, "delta": piece})
    tape.add(
        "response.function_call_arguments.done", {**name, "name": call.name, "arguments": call.arguments}
    )
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
