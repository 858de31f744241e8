import json
from dataclasses import replace
from typing import Any

import pytest

from mockprovider import chat
from mockprovider.answer import Ask, Stamp, Unreadable, compose
from mockprovider.behaviour import Behaviour, Complaint, Flavour
from mockprovider.errors import openai_fault
from mockprovider.reading import Terms

_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "f", "parameters": {"properties": {"q": {"type": "string"}}}},
}


def _ask(**fields: object) -> Ask:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return chat.read(json.dumps(body).encode(), "")


def _reply(ask: Ask, behaviour: Behaviour) -> Any:
    return json.loads(chat.reply(ask, compose(ask, behaviour, "x"), Stamp(1)))


def _chunks(ask: Ask, behaviour: Behaviour) -> list[Any]:
    events = chat.events(ask, compose(ask, behaviour, "x"), Stamp(1))
    assert events[-1].data == b"[DONE]"
    return [json.loads(event.data) for event in events[:-1]]


def _deltas(ask: Ask, behaviour: Behaviour) -> list[Any]:
    return [choice["delta"] for chunk in _chunks(ask, behaviour) for choice in chunk["choices"]]


def test_a_request_is_read() -> None:
    """What changes the answer is taken from its place in the body."""
    ask = _ask(
        messages=[
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "é"}]},
        ],
        stream=True,
        stream_options={"include_usage": True},
        max_completion_tokens=3,
        max_tokens=9,
        n=2,
        tools=[_TOOL, {"type": "custom", "custom": {"name": "c"}}],
        temperature=0.5,
    )
    assert (ask.model, ask.text, ask.prompt_bytes, ask.limit, ask.copies) == ("m", "é", 10, 3, 2)
    assert (ask.stream, ask.include_usage, ask.after_tool) == (True, True, False)
    assert [(tool.name, tool.custom) for tool in ask.tools] == [("f", False), ("c", True)]


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        (None, "auto"),
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "function": {"name": "f"}}, "=f"),
        ({"type": "custom", "custom": {"name": "c"}}, "=c"),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": []}}, "required"),
        ({"type": "whatever"}, "auto"),
    ],
)
def test_tool_choice_has_many_forms(choice: object, wanted: str) -> None:
    """Each form of tool_choice means one of four things."""
    assert _ask(tool_choice=choice).choice == wanted


def test_the_url_may_name_the_model() -> None:
    """A deployment in the URL stands in for a model that the body does not name."""
    assert chat.read(b'{"messages":[{"role":"user","content":"a"}]}', "deployed").model == "deployed"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b'{"messages":[{"role":"user"}]}', "model"),
        (b'{"model":"m"}', "messages"),
        (b'{"model":"m","messages":[{"role":"user"}],"n":0}', "n"),
        (b'{"model":"m","messages":"hi"}', None),
    ],
)
def test_a_bad_request_is_refused(body: bytes, param: str | None) -> None:
    """What a provider answers with 400 is Unreadable here, naming the field where there is one."""
    with pytest.raises(Unreadable) as caught:
        chat.read(body, "")
    assert caught.value.param == param


def test_the_reply_has_every_field_a_client_reads() -> None:
    """The whole completion carries the message, the finish reason and usage."""
    reply = _reply(_ask(), Behaviour(text="one two", reasoning="hm"))
    assert reply["object"] == "chat.completion"
    assert reply["choices"] == [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "one two",
                "refusal": None,
                "annotations": [],
                "reasoning_content": "hm",
            },
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert (reply["usage"]["prompt_tokens"], reply["usage"]["completion_tokens"]) == (1, 3)
    assert reply["usage"]["total_tokens"] == 4
    assert "usage" not in _reply(_ask(), Behaviour(omit_usage=True))


def test_a_stream_says_what_the_reply_says() -> None:
    """Role, reasoning, text and finish come in this order, and add up to the reply."""
    behaviour = Behaviour(text="one two three", reasoning="h m", finish="length")
    deltas = _deltas(_ask(stream=True), behaviour)
    assert deltas[0] == {"role": "assistant", "content": "", "refusal": None}
    assert deltas[1:3] == [{"reasoning_content": "h "}, {"reasoning_content": "m"}]
    assert "".join(delta.get("content", "") for delta in deltas) == "one two three"
    finishes = [chunk["choices"][0]["finish_reason"] for chunk in _chunks(_ask(stream=True), behaviour)]
    assert finishes == [None] * 6 + ["length"]
    assert len({chunk["id"] for chunk in _chunks(_ask(stream=True), behaviour)}) == 1


def test_usage_comes_last_and_only_when_asked_for() -> None:
    """With include_usage the earlier chunks say null; without it no chunk has the key."""
    asked = _chunks(_ask(stream=True, stream_options={"include_usage": True}), Behaviour(text="a b"))
    assert [chunk["usage"] for chunk in asked[:-1]] == [None] * (len(asked) - 1)
    assert asked[-1]["choices"] == []
    assert asked[-1]["usage"]["completion_tokens"] == 2
    assert all("usage" not in chunk for chunk in _chunks(_ask(stream=True), Behaviour()))


def test_a_streamed_tool_call_names_itself_once() -> None:
    """Id and name are in the first delta only, and the pieces of the arguments join to JSON."""
    ask = _ask(stream=True, tools=[_TOOL], tool_choice="required")
    calls = [
        delta["tool_calls"][0] for delta in _deltas(ask, Behaviour(tool_calls=2)) if "tool_calls" in delta
    ]
    assert [call["function"]["name"] for call in calls if "id" in call] == ["f", "f"]
    assert len({call["id"] for call in calls if "id" in call}) == 2
    for index in (0, 1):
        text = "".join(call["function"]["arguments"] for call in calls if call["index"] == index)
        assert json.loads(text) == {"q": "hi"}
    whole = _reply(ask, Behaviour())["choices"][0]
    assert whole["finish_reason"] == "tool_calls"
    assert whole["message"]["content"] is None
    assert whole["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"q":"hi"}'}


def test_a_tool_result_is_answered_with_text() -> None:
    """After a tool message the model talks again, even when a tool is required."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "42"},
    ]
    ask = _ask(messages=messages, tools=[_TOOL], tool_choice="required")
    assert _reply(ask, Behaviour())["choices"][0]["message"]["content"]


def test_several_choices_have_their_own_index_and_call_ids() -> None:
    """The copies come side by side; their tool calls do not share ids."""
    ask = _ask(n=2, tools=[_TOOL], tool_choice="required")
    choices = _reply(ask, Behaviour())["choices"]
    assert [choice["index"] for choice in choices] == [0, 1]
    assert len({choice["message"]["tool_calls"][0]["id"] for choice in choices}) == 2
    chunks = _chunks(_ask(n=2, stream=True), Behaviour(text="a"))
    assert [chunk["choices"][0]["index"] for chunk in chunks] == [0, 1] * 3


def test_an_error_inside_a_stream_has_the_error_shape() -> None:
    """The in-band error is one nameless event before `[DONE]`."""
    error, done = chat.failure(_ask(), openai_fault(500, Complaint(code="x")), Stamp(1), 0)
    assert json.loads(error.data)["error"].keys() == {"message", "type", "param", "code"}
    assert json.loads(error.data)["error"]["code"] == "x"
    assert (error.name, done.data) == ("", b"[DONE]")


def _joined(deltas: list[Any], index: int) -> Any:
    """One call as a client puts it together: whatever is repeated is joined, but for empty and null."""
    whole: dict[str, Any] = {"id": "", "function": {"name": "", "arguments": ""}}
    for delta in deltas:
        for call in delta.get("tool_calls", ()):
            if call["index"] == index:
                whole["id"] += call.get("id", "")
                whole["function"]["name"] += call["function"].get("name") or ""
                whole["function"]["arguments"] += call["function"]["arguments"]
    return whole


@pytest.mark.parametrize("flavour", ["generic", "dashscope"])
@pytest.mark.parametrize("interleaved", [False, True])
def test_calls_arrive_one_after_the_other_or_in_turns(flavour: Flavour, interleaved: bool) -> None:
    """Either way each adds up to the call in the reply."""
    ask = replace(_ask(tools=[_TOOL], stream=True), flavour=flavour)
    behaviour = Behaviour(tool_calls=2, interleaved=interleaved)
    deltas = [delta for delta in _deltas(ask, behaviour) if "tool_calls" in delta]
    order = [delta["tool_calls"][0]["index"] for delta in deltas]
    assert (order == sorted(order)) != interleaved
    calls = _reply(ask, behaviour)["choices"][0]["message"]["tool_calls"]
    for index, call in enumerate(calls):
        assert _joined(deltas, index) == {"id": call["id"], "function": call["function"]}


def test_dashscope_repeats_what_is_not_there() -> None:
    """An empty id and a null name in every later delta."""
    ask = replace(_ask(tools=[_TOOL], stream=True), flavour="dashscope")
    first, second, *_ = [
        d["tool_calls"][0] for d in _deltas(ask, Behaviour(tool_calls=1)) if "tool_calls" in d
    ]
    assert (bool(first["id"]), first["function"]["name"]) == (True, "f")
    assert (second["id"], second["function"]["name"]) == ("", None)


def test_vllm_has_its_own_words() -> None:
    """Reasoning by another name, an empty list of calls, and what stopped it."""
    ask = replace(_ask(stop=["two"]), flavour="vllm")
    behaviour = Behaviour(text="one two", reasoning="hm")
    choice = _reply(ask, behaviour)["choices"][0]
    assert (choice["message"]["reasoning"], choice["message"]["tool_calls"]) == ("hm", [])
    assert (choice["message"]["content"], choice["stop_reason"]) == ("one ", "two")
    chunks = _chunks(ask, behaviour)
    assert chunks[1]["choices"][0]["delta"] == {"reasoning": "hm"}
    assert chunks[2]["choices"][0]["delta"] == {"content": "one ", "tool_calls": []}
    assert chunks[-1]["choices"][0]["stop_reason"] == "two"


def test_deepseek_counts_hits_and_misses() -> None:
    """Of its cache, beside the usual numbers."""
    ask = replace(_ask(), flavour="deepseek")
    usage = _reply(ask, Behaviour(prompt_tokens=10, cached_tokens=4))["usage"]
    assert (usage["prompt_cache_hit_tokens"], usage["prompt_cache_miss_tokens"]) == (4, 6)


@pytest.mark.parametrize(("flavour", "limit"), [("generic", 3), ("deepseek", 9), ("dashscope", 9)])
def test_some_know_the_limit_only_by_its_old_name(flavour: Flavour, limit: int) -> None:
    """The new one is passed over there."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    fields = {**body, "max_tokens": 9, "max_completion_tokens": 3}
    assert chat.read(json.dumps(fields).encode(), "", Terms(flavour=flavour)).limit == limit


def test_a_flavour_refuses_more() -> None:
    """What the generic provider passes over."""
    body = {"model": "m#text=x", "messages": [{"role": "developer", "content": "hi"}]}
    assert chat.read(json.dumps(body).encode(), "").model == "m#text=x"
    with pytest.raises(Unreadable, match="unknown variant `developer`"):
        chat.read(json.dumps(body).encode(), "", Terms(flavour="deepseek"))


def test_a_custom_tool_is_called_with_text() -> None:
    """In its own kind of call, whole and in pieces."""
    ask = _ask(tools=[{"type": "custom", "custom": {"name": "c"}}], tool_choice="required")
    behaviour = Behaviour(tool_input="*** Begin Patch")
    (call,) = _reply(ask, behaviour)["choices"][0]["message"]["tool_calls"]
    assert (call["type"], call["custom"]) == ("custom", {"name": "c", "input": "*** Begin Patch"})
    calls = [delta["tool_calls"][0] for delta in _deltas(ask, behaviour) if "tool_calls" in delta]
    assert calls[0]["custom"] == {"name": "c", "input": ""}
    assert "".join(call["custom"]["input"] for call in calls) == "*** Begin Patch"


def test_functions_are_called_the_old_way() -> None:
    """One function call, and its own reason to end."""
    ask = _ask(functions=[_TOOL["function"]], function_call={"name": "f"}, stream=True)
    choice = _reply(ask, Behaviour())["choices"][0]
    assert (choice["finish_reason"], "tool_calls" in choice["message"]) == ("function_call", False)
    assert choice["message"]["function_call"] == {"name": "f", "arguments": '{"q":"hi"}'}
    calls = [delta["function_call"] for delta in _deltas(ask, Behaviour()) if "function_call" in delta]
    assert [call.get("name") for call in calls] == ["f", *[None] * (len(calls) - 1)]
    assert "".join(call["arguments"] for call in calls) == '{"q":"hi"}'
    assert _chunks(ask, Behaviour())[-1]["choices"][0]["finish_reason"] == "function_call"
    assert _ask(functions=[_TOOL["function"]], function_call="none").choice == "none"
    said = [{"role": "user", "content": "hi"}, {"role": "function", "name": "f", "content": "42"}]
    assert _ask(functions=[_TOOL["function"]], messages=said).after_tool


def test_a_refusal_has_its_own_place() -> None:
    """No content, and an ordinary end."""
    choice = _reply(_ask(), Behaviour(declined="I will not"))["choices"][0]
    assert (choice["message"]["content"], choice["message"]["refusal"]) == (None, "I will not")
    assert choice["finish_reason"] == "stop"
    deltas = _deltas(_ask(stream=True), Behaviour(declined="I will not"))
    assert deltas[0]["content"] is None
    assert "".join(delta.get("refusal") or "" for delta in deltas) == "I will not"


def test_logprobs_come_when_asked_for() -> None:
    """For every piece, in the reply as in the stream."""
    ask = _ask(logprobs=True, top_logprobs=2, stream=True)
    content = _reply(ask, Behaviour(text="a b"))["choices"][0]["logprobs"]["content"]
    assert [entry["token"] for entry in content] == ["a ", "b"]
    assert len(content[0]["top_logprobs"]) == 2
    told = [chunk["choices"][0]["logprobs"] for chunk in _chunks(ask, Behaviour(text="a b"))]
    assert [entry for each in told if each for entry in each["content"]] == content
    assert _reply(_ask(), Behaviour())["choices"][0]["logprobs"] is None


def test_formats_stops_and_pictures_are_read() -> None:
    """From where chat has them."""
    seen = [
        {"type": "text", "text": "what?"},
        {"type": "image_url", "image_url": {"url": "https://a"}},
        {"type": "file", "file": {"file_data": "data:x"}},
    ]
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
    ask = _ask(messages=[{"role": "user", "content": seen}], stop="END", response_format=form)
    assert (ask.images, ask.files, ask.stops, ask.schema) == (1, 1, ["END"], {"type": "object"})


def test_what_was_written_to_a_cache_is_told() -> None:
    """As part of the prompt."""
    usage = _reply(_ask(), Behaviour(prompt_tokens=10, cache_write_tokens=4))["usage"]
    assert usage["prompt_tokens_details"]["cache_write_tokens"] == 4
