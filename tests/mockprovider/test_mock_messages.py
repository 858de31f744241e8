import json
from typing import Any

import pytest

from mockprovider import messages
from mockprovider.answer import Ask, Stamp, Unreadable, compose
from mockprovider.behaviour import Behaviour, Complaint
from mockprovider.errors import anthropic_fault

_TOOL = {"name": "f", "input_schema": {"type": "object", "properties": {"q": {"type": "string"}}}}


def _ask(**fields: object) -> Ask:
    body = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}], **fields}
    return messages.read(json.dumps(body).encode(), "")


def _reply(ask: Ask, behaviour: Behaviour) -> Any:
    return json.loads(messages.reply(ask, compose(ask, behaviour, "x"), Stamp(1)))


def _events(ask: Ask, behaviour: Behaviour) -> list[Any]:
    events = messages.events(ask, compose(ask, behaviour, "x"), Stamp(1))
    told = [json.loads(event.data) for event in events]
    assert [event.name for event in events] == [one["type"] for one in told]
    return told


def _rebuilt(events: list[Any]) -> list[Any]:
    """The content blocks that a client puts together from a stream."""
    blocks: list[Any] = []
    for event in events:
        if event["type"] == "content_block_start":
            assert event["index"] == len(blocks)
            blocks.append({**event["content_block"], "json": ""})
        if event["type"] == "content_block_delta":
            assert event["index"] == len(blocks) - 1
            delta = dict(event["delta"])
            kind = delta.pop("type")
            for name, value in delta.items():
                target = "json" if kind == "input_json_delta" else name
                blocks[-1][target] += value
    for block in blocks:
        text = block.pop("json")
        if text:
            block["input"] = json.loads(text)
    return blocks


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(text="one two"),
        Behaviour(text="one", reasoning="let me see"),
        Behaviour(tool_calls=2, reasoning="hm"),
        Behaviour(finish="length"),
        Behaviour(finish="content_filter"),
        Behaviour(empty="lifecycle"),
        Behaviour(cached_tokens=1, cache_write_tokens=2, prompt_tokens=10),
        Behaviour(text="one", reasoning="let me see", redacted=True),
        Behaviour(declined="I will not"),
        Behaviour(text="one moment", tool_calls=2),
    ],
)
def test_a_stream_adds_up_to_the_reply(behaviour: Behaviour) -> None:
    """Blocks, stop reason and usage of stream and reply are the same."""
    ask = _ask(tools=[_TOOL], stream=True)
    events, reply = _events(ask, behaviour), _reply(ask, behaviour)
    assert events[0]["type"] == "message_start"
    assert events[0]["message"]["id"] == reply["id"]
    assert events[-1] == {"type": "message_stop"}
    assert _rebuilt(events) == reply["content"]
    assert events[-2]["delta"]["stop_reason"] == reply["stop_reason"]
    assert events[-2]["usage"].items() <= reply["usage"].items()


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (Behaviour(), "end_turn"),
        (Behaviour(finish="length"), "max_tokens"),
        (Behaviour(finish="content_filter"), "refusal"),
        (Behaviour(tool_calls=1), "tool_use"),
        (Behaviour(declined="I will not"), "refusal"),
    ],
)
def test_stop_reasons_are_the_dialects_own(behaviour: Behaviour, reason: str) -> None:
    """Each reason to end has its name; a refusal has details."""
    reply = _reply(_ask(tools=[_TOOL]), behaviour)
    assert reply["stop_reason"] == reason
    assert (reply["stop_details"] is not None) == (reason == "refusal")


def test_usage_tells_cached_tokens_apart() -> None:
    """`input_tokens` leaves out what was read from the cache."""
    usage = _reply(_ask(), Behaviour(prompt_tokens=10, cached_tokens=4))["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (6, 4)


def test_usage_tells_what_was_written_to_the_cache() -> None:
    """In the usage of the start, too."""
    behaviour = Behaviour(prompt_tokens=10, cached_tokens=4, cache_write_tokens=5)
    for usage in (_reply(_ask(), behaviour)["usage"], _events(_ask(), behaviour)[0]["message"]["usage"]):
        assert (usage["input_tokens"], usage["cache_creation_input_tokens"]) == (1, 5)
        assert usage["cache_creation"] == {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 0}


def test_a_stop_sequence_is_named() -> None:
    """Where the reply was cut, in reply and stream."""
    ask = _ask(stop_sequences=["two"])
    reply = _reply(ask, Behaviour(text="one two"))
    assert (reply["content"][0]["text"], reply["stop_reason"]) == ("one ", "stop_sequence")
    assert reply["stop_sequence"] == "two"
    assert _events(ask, Behaviour(text="one two"))[-2]["delta"]["stop_sequence"] == "two"


def test_reasoning_may_not_be_shown() -> None:
    """Redacted it is one block without deltas; omitted it is only its signature. Both come back."""
    said = {"role": "user", "content": "hi"}
    redacted = _reply(_ask(), Behaviour(reasoning="hm", redacted=True))["content"]
    assert redacted[0]["type"] == "redacted_thinking"
    veiled = _ask(thinking={"type": "adaptive", "display": "omitted"})
    omitted = _reply(veiled, Behaviour(reasoning="hm"))["content"]
    assert (omitted[0]["type"], omitted[0]["thinking"]) == ("thinking", "")
    assert _rebuilt(_events(veiled, Behaviour(reasoning="hm"))) == omitted
    for content in (redacted, omitted):
        _ask(messages=[said, {"role": "assistant", "content": content}, said])


def test_formats_and_pictures_are_read() -> None:
    """From where messages have them, also inside the results of tools."""
    image = {"type": "image", "source": {"type": "url", "url": "https://a"}}
    document = {"type": "document", "source": {"type": "url", "url": "https://a"}}
    shot = {"type": "tool_result", "tool_use_id": "t", "content": [image]}
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    told = [
        {"role": "user", "content": [image, document]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
        {"role": "user", "content": [shot]},
    ]
    form = {"format": {"type": "json_schema", "schema": schema}}
    ask = _ask(messages=told, tools=[_TOOL], output_config=form)
    assert (ask.images, ask.files, ask.schema) == (2, 1, schema)


def test_all_text_of_a_request_is_counted() -> None:
    """System, messages and tool results are prompt; a tool's result is no user text."""
    told = [
        {"role": "user", "content": "ab"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "cd"}]},
    ]
    ask = _ask(messages=told, system=[{"type": "text", "text": "ef"}], tools=[_TOOL])
    assert (ask.prompt_bytes, ask.text, ask.after_tool) == (6, "ab", True)


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        (None, "auto"),
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "f"}, "=f"),
    ],
)
def test_tool_choice_is_an_object(choice: object, wanted: str) -> None:
    """Each type of tool_choice means one of four things."""
    assert _ask(tool_choice=choice, tools=[_TOOL]).choice == wanted


def test_max_tokens_is_required_but_not_for_counting() -> None:
    """A message needs max_tokens, counting its tokens does not."""
    body = b'{"model":"m","messages":[{"role":"user","content":"abcdefgh"}]}'
    with pytest.raises(Unreadable, match="max_tokens"):
        messages.read(body, "")
    assert messages.count(body) == b'{"input_tokens":2}'


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"model":"m","max_tokens":1}', b'{"model":"m","max_tokens":"x"}']
)
def test_a_bad_request_is_refused(body: bytes) -> None:
    """What a provider answers with 400 is Unreadable here."""
    with pytest.raises(Unreadable):
        messages.read(body, "")


def test_what_was_thought_comes_back_as_it_was() -> None:
    """The reply's own blocks are good history for the same model, and for no other."""
    content = _reply(_ask(tools=[_TOOL]), Behaviour(reasoning="hm é ", tool_calls=1))["content"]
    assert [block["type"] for block in content] == ["thinking", "tool_use"]
    result = {"type": "tool_result", "tool_use_id": content[1]["id"], "content": "42"}
    history = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": content},
        {"role": "user", "content": [result]},
    ]
    assert _ask(messages=history, tools=[_TOOL]).after_tool
    with pytest.raises(Unreadable, match="Invalid `signature`"):
        _ask(messages=history, tools=[_TOOL], model="other")


def test_an_error_inside_a_stream_is_an_error_event() -> None:
    """The in-band error has its own event name and names the request."""
    (event,) = messages.failure(_ask(), anthropic_fault(529, Complaint()), Stamp(1), 3)
    told = json.loads(event.data)
    assert event.name == told["type"] == "error"
    assert told["error"] == {"type": "overloaded_error", "message": "Overloaded"}
    assert told["request_id"]
