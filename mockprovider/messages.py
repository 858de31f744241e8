"""Anthropic Messages on the wire: requests, replies and streams.

Rule: every event has an `event:` line; content blocks are opened, filled and closed one after the other with
indexes from 0 without gaps; a thinking block ends with its signature; the numbers of `message_delta` are
totals. All keys the schema requires are present, null where there is nothing to say.
"""

import msgspec

from mockprovider import strict_messages
from mockprovider.answer import Answer, Ask, Call, Stamp, Usage, prompt_tokens
from mockprovider.errors import Fault, anthropic_body
from mockprovider.reading import (
    FIELDS,
    USUAL,
    Fields,
    Terms,
    attachments,
    decoded,
    is_tool_result,
    last_user_text,
    schema_of,
    size,
    text_of,
    tool_output,
    tools,
    unsuffixed,
)
from mockprovider.seals import seal
from mockprovider.sse import Event, Part
from mockprovider.wording import lacking

_STOP = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal", "tool_calls": "tool_use"}
_IMAGES = frozenset({"image"})
_FILES = frozenset({"document"})
_REFUSAL = {"type": "refusal", "category": None, "explanation": None}
_CHOICES = {"any": "required", "none": "none", "auto": "auto"}


class Request(msgspec.Struct):
    """The fields of a request that change the answer."""

    model: str = ""
    messages: list[dict[str, object]] = []
    max_tokens: object = None
    system: str | list[dict[str, object]] | None = None
    stream: bool | None = None
    tools: list[dict[str, object]] | None = None
    tool_choice: dict[str, object] | None = None
    stop_sequences: list[str] | None = None
    thinking: dict[str, object] | None = None
    output_config: dict[str, object] | None = None
    x_mock: msgspec.Raw = msgspec.Raw()


_DECODER = msgspec.json.Decoder(Request)
_encode = msgspec.json.encode


def read(body: bytes, model: str, terms: Terms = USUAL) -> Ask:
    """A request body; `model` stands in for one that the URL names. Raises Unreadable."""
    return _ask(body, model, terms, counting=False)


def count(body: bytes, terms: Terms = USUAL) -> bytes:
    """The reply to `count_tokens`, which needs no `max_tokens`. Raises Unreadable."""
    return _encode({"input_tokens": prompt_tokens(_ask(body, "", terms, counting=True).prompt_bytes)})


def _ask(body: bytes, model: str, terms: Terms, *, counting: bool) -> Ask:
    request = decoded(_DECODER, body)
    if not request.model and not model:
        raise lacking("model")
    strict_messages.check(
        decoded(FIELDS, body), terms, unsuffixed(request.model or model)[0], counting=counting
    )
    contents = [message.get("content") for message in request.messages]
    images, files = attachments(contents, _IMAGES, _FILES)
    last = contents[-1]
    return Ask(
        model=request.model or model,
        stream=bool(request.stream),
        text=last_user_text(request.messages),
        prompt_bytes=size([text_of(request.system), *map(text_of, contents), *map(tool_output, contents)]),
        tools=tools(request.tools or (), "input_schema"),
        choice=_choice(request.tool_choice or {}),
        after_tool=isinstance(last, list) and any(map(is_tool_result, last)),
        limit=request.max_tokens if isinstance(request.max_tokens, int) else None,
        fault=bytes(request.x_mock),
        stops=request.stop_sequences or (),
        images=images,
        files=files,
        schema=schema_of((request.output_config or {}).get("format")),
        veiled=(request.thinking or {}).get("display") == "omitted",
    )


def _choice(choice: Fields) -> str:
    kind = choice.get("type")
    return f"={choice.get('name')}" if kind == "tool" else _CHOICES.get(str(kind), "auto")


def reply(ask: Ask, answer: Answer, stamp: Stamp) -> bytes:
    """The whole message."""
    content: list[dict[str, object]] = []
    if answer.reasoning:
        content.append(_thought(ask, answer))
    said = answer.text + "".join(answer.refusal)
    if said:
        content.append({"type": "text", "text": said, "citations": None})
    for place, call in enumerate(answer.calls):
        content.append(_tool_use(call, stamp, place, msgspec.json.decode(call.arguments)))
    message = _message(ask, answer.usage or Usage(0, 0), stamp)
    return _encode({**message, "content": content, **_stop(answer)})


def _thought(ask: Ask, answer: Answer) -> dict[str, object]:
    """The block of reasoning, with what lets it come back."""
    if answer.redacted:
        return {"type": "redacted_thinking", "data": seal("redacted", ask.model, answer.thought)}
    shown = "" if ask.veiled else answer.thought
    return {"type": "thinking", "thinking": shown, "signature": seal("thinking", ask.model, shown)}


def _message(ask: Ask, usage: Usage, stamp: Stamp) -> dict[str, object]:
    return {
        "id": stamp.id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
        "usage": {
            **_totals(usage),
            "cache_creation": _written(usage),
            "inference_geo": None,
            "service_tier": "standard",
        },
    }


def _written(usage: Usage) -> dict[str, object] | None:
    if not usage.cache_write:
        return None
    return {"ephemeral_5m_input_tokens": usage.cache_write, "ephemeral_1h_input_tokens": 0}


def _totals(usage: Usage) -> dict[str, object]:
    return {
        "input_tokens": max(0, usage.prompt - usage.cached - usage.cache_write),
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.completion,
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
        "server_tool_use": None,
    }


def _stop(answer: Answer) -> dict[str, object]:
    refused = bool(answer.refusal) or answer.finish == "content_filter"
    reason = "refusal" if refused else _STOP[answer.finish]
    return {
        "stop_reason": reason if answer.stopped is None else "stop_sequence",
        "stop_sequence": answer.stopped,
        "stop_details": _REFUSAL if refused else None,
    }


def _tool_use(call: Call, stamp: Stamp, place: int, arguments: object) -> dict[str, object]:
    return {
        "type": "tool_use",
        "id": stamp.id("toolu_", place),
        "name": call.name,
        "input": arguments,
        "caller": {"type": "direct"},
    }


class _Tape:
    """The events of one stream as they are made; it numbers the blocks."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._block = 0

    def add(self, name: str, fields: Fields, part: Part = "content") -> None:
        """One event."""
        self.events.append(Event(_encode({"type": name, **fields}), part, name))

    def add_block(self, start: Fields, deltas: list[Fields]) -> None:
        """A block from its start to its stop."""
        self.add("content_block_start", {"index": self._block, "content_block": start})
        for delta in deltas:
            self.add("content_block_delta", {"index": self._block, "delta": delta})
        self.add("content_block_stop", {"index": self._block})
        self._block += 1


def events(ask: Ask, answer: Answer, stamp: Stamp) -> list[Event]:
    """The stream of a whole message."""
    usage = answer.usage or Usage(0, 0)
    tape = _Tape()
    opening = Usage(usage.prompt, min(1, usage.completion), usage.cached, usage.cache_write)
    tape.add("message_start", {"message": _message(ask, opening, stamp)}, "opening")
    tape.add("ping", {}, "opening")
    if answer.reasoning:
        _add_thinking(tape, ask, answer)
    said = (*answer.pieces, *answer.refusal)
    if said:
        deltas: list[Fields] = [{"type": "text_delta", "text": piece} for piece in said]
        tape.add_block({"type": "text", "text": "", "citations": None}, deltas)
    for place, call in enumerate(answer.calls):
        parts: list[Fields] = [
            {"type": "input_json_delta", "partial_json": piece} for piece in ("", *call.pieces)
        ]
        tape.add_block(_tool_use(call, stamp, place, {}), parts)
    delta = {**_stop(answer), "container": None}
    tape.add("message_delta", {"delta": delta, "usage": _totals(usage)}, "closing")
    tape.add("message_stop", {}, "closing")
    return tape.events


def _add_thinking(tape: _Tape, ask: Ask, answer: Answer) -> None:
    block = _thought(ask, answer)
    if answer.redacted:
        tape.add_block(block, [])
        return
    shown = () if ask.veiled else answer.reasoning
    deltas: list[Fields] = [{"type": "thinking_delta", "thinking": piece} for piece in shown]
    signed: Fields = {"type": "signature_delta", "signature": block["signature"]}
    tape.add_block({"type": "thinking", "thinking": "", "signature": ""}, [*deltas, signed])


def failure(ask: Ask, fault: Fault, stamp: Stamp, sent: int) -> list[Event]:  # noqa: ARG001  (one signature for all)
    """The in-band error after `sent` events; it ends the stream."""
    return [Event(_encode(anthropic_body(fault, stamp.id("req_"))), "content", "error")]
