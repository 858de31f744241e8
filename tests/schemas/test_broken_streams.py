"""Every rule of the schemas and grammars refuses something: a check that cannot fail is no check."""

from typing import Any

import pytest

from mockprovider.behaviour import Behaviour
from schemas.breaking import (
    Break,
    Stream,
    Told,
    cut,
    drop,
    inner,
    insert,
    move,
    named,
    numbered,
    put,
    spelt,
    told,
    twice,
    unset,
)
from schemas.spoken import BEHAVIOURS, reply_of, stream_of
from schemas.validation import problems, stream_problems

_ERROR = {"message": "m", "type": "server_error", "param": None, "code": None}
CHAT: list[tuple[str, Break, str]] = [
    # The stream of text is role, two pieces, finish, usage, [DONE].
    ("text", put(1, "id", "chatcmpl-2"), "id was"),
    ("text", put(1, "created", 1), "created was"),
    ("text", put(1, "model", "n"), "model was"),
    ("text", put(1, "object", "chat.completion"), "object: 'chat.completion' is not one of"),
    ("text", unset(1, "choices.0.finish_reason"), "choices[0]: 'finish_reason' is a required property"),
    ("text", put(1, "choices.0.index", 2), "choice 2 does not begin with its role"),
    ("text", put(1, "choices", []), "neither choices nor usage"),
    ("text", drop(0), "choice 0 does not begin with its role"),
    ("text", twice(0), "choice 0 repeats its role"),
    ("text", drop(3), "choice 0 has no finish"),
    ("text", twice(3), "choice 0 goes on after its finish"),
    ("text", move(3, 2), "choice 0 goes on after its finish"),
    ("text", put(3, "choices.0.finish_reason", "tool_calls"), "with tool_calls after 0 tool calls"),
    ("text", move(4, 3), "comes after the usage"),
    ("text", put(3, "usage", {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}), "beside"),
    ("text", unset(1, "usage"), "no `usage: null`"),
    ("text", put(4, "usage.total_tokens", "2"), "usage.total_tokens: '2' is not of type 'integer'"),
    ("text", drop(-1), "no [DONE]"),
    ("text", twice(-1), "[DONE] may not be here"),
    ("text", move(-1, 2), "[DONE] may not be here"),
    ("text", named(1, "message"), "no event: lines"),
    ("text", insert(2, "", error=_ERROR), "comes after the error"),
    ("text", insert(2, "", error={"message": "m"}), "error: 'type' is a required property"),
    ("text", lambda stream: stream[-1:], "no choice was ever begun"),
    ("text", lambda stream: [*map(_second_choice, stream)], "choices are numbered [1]"),
    # The stream of tools is role, then head and pieces of each call.
    ("tools", unset(1, "choices.0.delta.tool_calls.0.index"), "'index' is a required property"),
    ("tools", unset(1, "choices.0.delta.tool_calls.0.id"), "tool 0 begins without"),
    ("tools", unset(1, "choices.0.delta.tool_calls.0.type"), "tool 0 begins without"),
    ("tools", put(1, "choices.0.delta.tool_calls.0.function.name", ""), "tool 0 begins without"),
    ("tools", put(2, "choices.0.delta.tool_calls.0.id", "call_1"), "tool 0 repeats its id or name"),
    ("tools", put(2, "choices.0.delta.tool_calls.0.id", ""), "tool 0 repeats its id or name"),
    ("tools", put(2, "choices.0.delta.tool_calls.0.function.name", "f"), "tool 0 repeats its id or name"),
    ("tools", put(1, "choices.0.delta.tool_calls.0.index", 1), "tool 1 comes when 0 are known"),
    ("tools", put(-3, "choices.0.finish_reason", "stop"), "with stop after 2 tool calls"),
]


def _second_choice(each: Told) -> Told:
    if isinstance(each.data, dict) and each.data["choices"]:
        each.data["choices"][0]["index"] = 1
    return each


_BLOCK = {"type": "text", "text": "", "citations": None}
_DELTA = {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "x"}}
MESSAGES: list[tuple[str, Break, str]] = [
    ("reasoning", named("message_start", ""), "the event: line says ''"),
    ("reasoning", named("message_stop", "message_end"), "the event: line says 'message_end'"),
    ("reasoning", drop("message_start"), "content_block_start comes after nothing"),
    ("reasoning", twice("message_start"), "message_start comes after message_start"),
    ("reasoning", put("message_start", "message.content", [_BLOCK]), "starts with content"),
    ("reasoning", put("message_start", "message.stop_reason", "end_turn"), "or a stop reason"),
    ("reasoning", unset("message_start", "message.usage.inference_geo"), "'inference_geo' is a required"),
    ("reasoning", put("block_start", "index", 1), "block 1 comes when 0 are known"),
    ("reasoning", put("block_start", "content_block.thinking", "hm"), "the block starts with its thinking"),
    ("reasoning", drop("block_start"), "content_block_delta comes while no block is open"),
    ("reasoning", put("block_delta", "index", 1), "names block 1 while 0 is open"),
    ("reasoning", put("block_stop", "index", 1), "names block 1 while 0 is open"),
    ("reasoning", put("block_delta", "delta", _DELTA["delta"]), "text_delta in a block of thinking"),
    ("reasoning", put("block_delta", "delta.type", "other"), "no object of type 'other' may be here"),
    ("reasoning", drop("block_stop"), "content_block_start comes while a block is open"),
    ("reasoning", twice("block_stop"), "content_block_stop comes while no block is open"),
    ("reasoning", move(6, 5), "comes after the signature"),
    ("reasoning", move("message_delta", -3), "message_delta comes while a block is open"),
    ("reasoning", put("message_delta", "delta.stop_reason", None), "there is no stop reason"),
    ("reasoning", put("message_delta", "delta.stop_reason", "tool_use"), "the stop reason is tool_use after"),
    ("reasoning", unset("message_delta", "delta.stop_details"), "delta: 'stop_details' is a required"),
    ("reasoning", twice("message_delta"), "message_delta comes after message_delta"),
    ("reasoning", drop("message_delta"), "message_stop comes after content_block_stop"),
    ("reasoning", drop("message_stop"), "the last event is message_delta"),
    ("reasoning", insert(-1, "ping"), "'type' is a required property"),
    ("reasoning", lambda stream: [*stream, Told("ping", {"type": "ping"})], "comes after message_stop"),
    ("reasoning", lambda stream: [*stream, Told("", "[DONE]")], "[DONE] may not be here"),
    ("reasoning", lambda _stream: [], "the last event is none"),
    (
        "reasoning",
        insert(
            -2, "error", type="error", request_id=None, error={"type": "overloaded_error", "message": "m"}
        ),
        "comes after error",
    ),
    ("tools", put("block_start", "content_block.input", {"q": 1}), "the block starts with its input"),
    ("tools", put("block_start", "content_block.id", "a:b"), "content_block.id: 'a:b' does not match"),
    ("tools", put("block_delta", "delta.partial_json", "{}"), "not a JSON object: {}{"),
    ("tools", put("message_delta", "delta.stop_reason", "end_turn"), "the stop reason is end_turn after"),
]

_PART = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
RESPONSES: list[tuple[str, Break, str]] = [
    ("reasoning", named("created", ""), "the event: line says ''"),
    ("reasoning", put("in_progress", "sequence_number", 2), "has number 2 in place 1"),
    ("reasoning", put("created", "sequence_number", 1), "has number 1 in place 0"),
    ("reasoning", drop("created"), "response.in_progress comes when nothing was created"),
    ("reasoning", twice("created"), "response.created comes when the response was created"),
    ("reasoning", drop("in_progress"), "comes before response.in_progress"),
    ("reasoning", twice("in_progress"), "response.in_progress comes again"),
    ("reasoning", put("in_progress", "response.id", "resp_2"), "the response's id was"),
    ("reasoning", put("completed", "response.id", "resp_2"), "the response's id was"),
    ("reasoning", put("created", "response.status", "failed"), "the response's status is failed"),
    ("text", put("completed", "response.status", "incomplete"), "the response's status is incomplete"),
    ("text", put("created", "response.output", [{"id": "rs", "type": "reasoning", "summary": []}]), "before"),
    ("text", put("completed", "response.usage", None), "own: response.usage: None is not of type 'object'"),
    ("text", put("completed", "response.output", []), "the output is not the items as they were done"),
    ("text", put("completed", "response.output.0.content.0.text", "x"), "the output is not the items"),
    ("text", unset("created", "response.completed_at"), "openresponses: response: 'completed_at' is a"),
    ("text", cut(-2), "the response did not end"),
    ("text", drop(-1), "no [DONE]"),
    ("text", twice("completed"), "comes after response.completed"),
    ("text", move("item.done", -1), "comes after response.completed"),
    (
        "text",
        insert(
            -2,
            "error",
            type="error",
            sequence_number=0,
            error=_ERROR,
            **{key: _ERROR[key] for key in ("message", "param", "code")},
        ),
        "ends with response.failed",
    ),
    ("text", insert(0, "error", type="error", sequence_number=0, error=_ERROR), "openai: 'code' is a"),
    ("text", drop("item.added"), "no item 0 was added"),
    ("text", put("item.added", "output_index", 1), "item 1 is added when 0 are known"),
    ("text", twice("item.added"), "not one of its own"),
    ("text", put("item.added", "item.status", "completed"), "added with status completed"),
    ("text", put("item.added", "item.content", [_PART]), "the item is added with its content"),
    ("text", drop("item.done"), "is not done"),
    ("text", put("item.done", "item.id", "msg_2"), "names item msg_2"),
    ("text", put("item.done", "item.status", "in_progress"), "done and still in progress"),
    ("text", put("item.done", "item.content.0.text", "x"), "the content is not what was said"),
    ("text", twice("item.done"), "item 0 is already done"),
    ("text", drop("part.added"), "its part was not added"),
    ("text", twice("part.added"), "part 0 is added when 1 are known"),
    ("text", put("part.added", "content_index", 1), "part 1 is added when 0 are known"),
    ("text", put("part.added", "part.text", "x"), "the part is added with its text"),
    ("text", put("part.added", "part", {"type": "refusal", "refusal": ""}), "belongs in a output_text"),
    ("text", put("text.delta", "item_id", "msg_2"), "names item msg_2, and item 0 is"),
    ("text", put("text.delta", "output_index", 1), "no item 1 was added"),
    ("text", put("text.delta", "content_index", 1), "its part was not added"),
    ("text", unset("text.delta", "logprobs"), "openai: 'logprobs' is a required property"),
    ("text", drop("text.delta"), "the text is not its deltas joined"),
    ("text", move("text.done", "text.delta"), "comes after the text is done"),
    ("text", drop("text.done"), "the text of part 0 is not done"),
    ("text", put("text.done", "text", "x"), "the text is not its deltas joined"),
    ("text", drop("part.done"), "a part of the content is not done"),
    ("text", twice("part.done"), "part 0 is already done"),
    ("text", put("part.done", "part.text", "x"), "part 0 is not what was said"),
    ("reasoning", put("item.done", "item.summary", []), "the summary is not what was said"),
    ("reasoning", put("item.added", "item.id", ""), "the item's id is ''"),
    ("reasoning", put("summary_text.delta", "summary_index", 1), "its part was not added"),
    (
        "reasoning",
        insert(
            "summary_text.delta",
            "response.reasoning_text.delta",
            type="response.reasoning_text.delta",
            sequence_number=0,
            item_id="rs",
            output_index=0,
            content_index=0,
            delta="x",
        ),
        "openresponses: no object of type 'response.reasoning_text.delta'",
    ),
    ("tools", put("item.added", "item.arguments", "{}"), "the item is added with its arguments"),
    ("tools", unset("item.added", "item.id"), "openresponses: item: 'id' is a required property"),
    ("tools", put("item.done", "item.call_id", "call_9"), "the item's call_id was"),
    ("tools", put("item.done", "item.name", "g"), "the item's name was"),
    ("tools", put("item.done", "item.arguments", "{}"), "the arguments are not what was said"),
    ("tools", drop("arguments.delta"), "the text is not its deltas joined"),
    ("tools", drop("arguments.done"), "the arguments are not done"),
    ("tools", put("arguments.done", "arguments", "{}"), "the text is not its deltas joined"),
    ("tools", unset("arguments.done", "name"), "openai: 'name' is a required property"),
    ("tools", lambda stream: _one_id(stream, "id"), "not one of its own"),
    ("tools", lambda stream: _one_id(stream, "call_id"), "is another item's"),
]


def _one_id(stream: Stream, key: str) -> Stream:
    """The id of the first item given to the second too."""
    first, second = (each.data["item"] for each in stream if each.name.endswith("item.added"))
    second[key] = first[key]
    return stream


BROKEN = [
    (dialect, *case)
    for dialect, cases in (("chat", CHAT), ("messages", MESSAGES), ("responses", RESPONSES))
    for case in cases
]


@pytest.mark.parametrize(("dialect", "behaviour", "breaking", "said"), BROKEN)
def test_a_broken_stream_is_noticed(dialect: str, behaviour: str, breaking: Break, said: str) -> None:
    """Each rule refuses a stream that keeps all others; the stream was valid before."""
    whole = stream_of(dialect, BEHAVIOURS[behaviour])
    assert stream_problems(dialect, whole) == []
    broken = spelt(breaking(told(whole)))
    found = stream_problems(dialect, broken)
    assert any(said in each for each in found), found


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"data: {]\n\n", "event 0: not JSON: {]"),
        (b"data: []\n\n", "openai: [] is not of type 'object'"),
        (b'data: {"a": "\xff"}\n\n', "not UTF-8: invalid start byte at byte 13"),
        (b'data: {"choices": []}', "the last event has no blank line"),
        (b"event: x\n\ndata: [DONE]\n\n", "line 2: event x has no data"),
        (b"id: 7\ndata: [DONE]\n\n", "line 1: neither event nor data: id: 7"),
    ],
)
def test_broken_bytes_are_noticed(raw: bytes, said: str) -> None:
    """What is no stream of JSON events is not judged by its meaning alone."""
    found = stream_problems("chat", raw)
    assert any(said in each for each in found), found


def _item_stream(item: dict[str, Any], *events: tuple[str, dict[str, Any]]) -> bytes:
    """The stream of one item; of the events between, all names and numbers are filled in."""
    around = told(stream_of("responses", Behaviour(empty="lifecycle")))
    added: dict[str, Any] = {**item, **{key: item[key][:0] for key in ("content", "input") if key in item}}
    between = (
        ("response.output_item.added", {"item": {**added, "status": "in_progress"}}),
        *((name, {"item_id": item["id"], **fields}) for name, fields in events),
        ("response.output_item.done", {"item": item}),
    )
    inside = [
        Told(name, {"type": name, "sequence_number": 0, "output_index": 0, **fields})
        for name, fields in between
    ]
    around[-2].data["response"]["output"] = [item]
    return spelt(numbered([*around[:2], *inside, *around[-2:]]))


_CALL = {"id": "ctc_1", "type": "custom_tool_call", "call_id": "call_1", "name": "edit", "input": "ab"}
_REFUSAL = {"type": "refusal", "refusal": "no"}
_REFUSED = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "content": [_REFUSAL],
}


@pytest.mark.parametrize("last", ["b", "c"])
def test_a_custom_tool_call_is_watched(last: str) -> None:
    """Open Responses has no word for it, so OpenAI's document and the grammar decide."""
    name = "response.custom_tool_call_input"
    pieces = ((f"{name}.delta", {"delta": "a"}), (f"{name}.delta", {"delta": last}))
    found = stream_problems("responses", _item_stream(_CALL, *pieces, (f"{name}.done", {"input": "ab"})))
    assert (found == []) == (last == "b")


@pytest.mark.parametrize("said", ["no", "yes"])
def test_a_refusal_is_watched(said: str) -> None:
    """Its deltas joined are the refusal."""
    part = {"content_index": 0}
    found = stream_problems(
        "responses",
        _item_stream(
            _REFUSED,
            ("response.content_part.added", {**part, "part": {"type": "refusal", "refusal": ""}}),
            ("response.refusal.delta", {**part, "delta": said}),
            ("response.refusal.done", {**part, "refusal": "no"}),
            ("response.content_part.done", {**part, "part": _REFUSAL}),
        ),
    )
    assert (found == []) == (said == "no")


@pytest.mark.parametrize(
    ("dialect", "path", "value", "said"),
    [
        ("chat", "choices.0.finish_reason", None, "openai: choices[0].finish_reason: None is not one of"),
        ("chat", "choices.0.message.tool_calls", None, "openai: choices[0].message.tool_calls: None is not"),
        ("chat", "usage.prompt_tokens", 1.5, "openai: usage.prompt_tokens: 1.5 is not of type 'integer'"),
        ("messages", "content.0.citations", 1, "anthropic: content[0].citations: no int may be here"),
        ("messages", "stop_reason", "stop", "anthropic: stop_reason: 'stop' is not one of"),
        ("messages", "usage.service_tier", "x", "anthropic: usage.service_tier: 'x' is not one of"),
        ("responses", "output.0.content.0.type", "x", "openresponses: output[0].content[0]: no object of"),
        (
            "responses",
            "usage.input_tokens_details",
            {},
            "openai: usage.input_tokens_details: 'cached_tokens'",
        ),
        ("responses", "temperature", None, "openresponses: temperature: None is not of type 'number'"),
        ("responses", "reasoning.effort", "x", "openai: reasoning.effort: 'x' is not one of"),
        ("responses", "usage", None, "own: usage: None is not of type 'object'"),
        ("responses", "error", {"code": "x", "message": "m"}, "openai: error.code: 'x' is not one of"),
    ],
)
def test_a_problem_names_its_place(dialect: str, path: str, value: object, said: str) -> None:
    """By the member that is wrong and not by the union it is in."""
    reply = reply_of(dialect, BEHAVIOURS["text"])
    data, last = inner(reply, path)
    data[last] = value
    found = problems(dialect, "reply", reply)
    assert any(each.startswith(said) for each in found), found
