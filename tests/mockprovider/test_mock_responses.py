import json
from typing import Any

import pytest

from mockprovider import responses
from mockprovider.answer import Ask, Stamp, Unreadable, compose
from mockprovider.behaviour import Behaviour, Complaint
from mockprovider.errors import openai_fault
from mockprovider.reading import Terms

_TOOL = {
    "type": "function",
    "name": "f",
    "parameters": {
        "type": "object",
        "properties": {"q": {"type": "string"}},
        "required": ["q"],
        "additionalProperties": False,
    },
}


def _ask(**fields: object) -> Ask:
    return responses.read(json.dumps({"model": "m", "input": "hi", **fields}).encode(), "")


def _reply(ask: Ask, behaviour: Behaviour) -> Any:
    return json.loads(responses.reply(ask, compose(ask, behaviour, "x"), Stamp(1)))


def _events(ask: Ask, behaviour: Behaviour) -> list[Any]:
    events = responses.events(ask, compose(ask, behaviour, "x"), Stamp(1))
    assert events[-1].data == b"[DONE]"
    told = [json.loads(event.data) for event in events[:-1]]
    assert [event.name for event in events[:-1]] == [one["type"] for one in told]
    assert [one["sequence_number"] for one in told] == list(range(len(told)))
    return told


_BEHAVIOURS = [
    Behaviour(text="one", reasoning="let me see", tool_calls=1),
    Behaviour(declined="I will not"),
    Behaviour(prompt_tokens=9, cached_tokens=2, cache_write_tokens=3),
    Behaviour(text="one two"),
    Behaviour(text="one", reasoning="let me see"),
    Behaviour(tool_calls=2, reasoning="hm"),
    Behaviour(finish="length"),
    Behaviour(finish="content_filter"),
    Behaviour(empty="lifecycle"),
    Behaviour(omit_usage=True),
]


@pytest.mark.parametrize("behaviour", _BEHAVIOURS)
def test_a_stream_ends_with_the_reply(behaviour: Behaviour) -> None:
    """The terminal event carries exactly what a plain reply would be, under the same id as all before."""
    ask = _ask(tools=[_TOOL], stream=True)
    events, reply = _events(ask, behaviour), _reply(ask, behaviour)
    assert [one["type"] for one in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1]["response"] == reply
    assert events[-1]["type"] == f"response.{reply['status']}"
    assert {one["response"]["id"] for one in events if "response" in one} == {reply["id"]}


@pytest.mark.parametrize("behaviour", _BEHAVIOURS)
def test_items_are_added_before_and_done_after_their_deltas(behaviour: Behaviour) -> None:
    """Every item is opened once and closed as it is in the end; deltas name an open item."""
    ask = _ask(tools=[_TOOL], stream=True)
    opened: dict[str, int] = {}
    closed = []
    for event in _events(ask, behaviour):
        if event["type"] == "response.output_item.added":
            assert event["output_index"] == len(opened)
            opened[event["item"]["id"]] = event["output_index"]
        elif event["type"] == "response.output_item.done":
            closed.append(event["item"])
        elif "item_id" in event:
            assert opened[event["item_id"]] == event["output_index"] == len(closed)
    assert closed == _reply(ask, behaviour)["output"]


def test_deltas_join_to_the_whole() -> None:
    """Text, reasoning and arguments are the sum of their deltas."""
    events = _events(_ask(tools=[_TOOL]), Behaviour(tool_calls=1, reasoning="a b c"))
    joined: dict[str, str] = {}
    for event in events:
        if event["type"].endswith(".delta"):
            joined[event["type"]] = joined.get(event["type"], "") + event["delta"]
    assert joined == {
        "response.reasoning_summary_text.delta": "a b c",
        "response.function_call_arguments.delta": '{"q":"hi"}',
    }


def test_reasoning_is_sealed_when_that_is_asked_for() -> None:
    """Its seal lets it come back to the same provider without a store; without asking there is none."""
    ask = _ask(tools=[_TOOL], include=["reasoning.encrypted_content"], store=False)
    items = _reply(ask, Behaviour(reasoning="hm", tool_calls=1))["output"]
    history = [*items, {"type": "function_call_output", "call_id": items[1]["call_id"], "output": "42"}]
    body = json.dumps({"model": "m", "store": False, "input": history}).encode()
    assert responses.read(body, "", Terms(name="x")).after_tool
    with pytest.raises(Unreadable, match="could not be verified"):
        responses.read(body, "", Terms(name="y"))
    assert "encrypted_content" not in _reply(_ask(), Behaviour(reasoning="hm"))["output"][0]


def test_a_custom_tool_is_called_with_text() -> None:
    """In its own kind of item, whole and in pieces, and its output comes back."""
    tool = {"type": "custom", "name": "apply_patch", "format": {"type": "text"}}
    ask = _ask(tools=[tool], tool_choice={"type": "custom", "name": "apply_patch"})
    behaviour = Behaviour(tool_input="*** Begin Patch")
    (item,) = _reply(ask, behaviour)["output"]
    assert (item["type"], item["id"][:4], item["input"]) == ("custom_tool_call", "ctc_", "*** Begin Patch")
    deltas = [event for event in _events(ask, behaviour) if "custom_tool_call_input" in event["type"]]
    assert "".join(event["delta"] for event in deltas[:-1]) == deltas[-1]["input"] == item["input"]
    output = {"type": "custom_tool_call_output", "call_id": item["call_id"], "output": "done"}
    assert _ask(input=[item, output], tools=[tool]).after_tool


def test_a_refusal_is_a_part_of_the_message() -> None:
    """With events of its own."""
    reply = _reply(_ask(), Behaviour(declined="I will not"))
    assert reply["status"] == "completed"
    assert reply["output"][0]["content"] == [{"type": "refusal", "refusal": "I will not"}]
    kinds = [event["type"] for event in _events(_ask(), Behaviour(declined="I will not"))]
    assert kinds[3:9] == [
        "response.content_part.added",
        *["response.refusal.delta"] * 3,
        "response.refusal.done",
        "response.content_part.done",
    ]


def test_logprobs_come_when_they_are_included() -> None:
    """For every piece of text."""
    ask = _ask(include=["message.output_text.logprobs"], top_logprobs=1)
    (part,) = _reply(ask, Behaviour(text="a b"))["output"][0]["content"]
    assert [entry["token"] for entry in part["logprobs"]] == ["a ", "b"]
    deltas = [event for event in _events(ask, Behaviour(text="a b")) if event["type"].endswith("text.delta")]
    assert [event["logprobs"][0] for event in deltas] == part["logprobs"]


def test_formats_and_pictures_are_read() -> None:
    """From where responses have them, also in the outputs of tools."""
    image = {"type": "input_image", "image_url": "https://a"}
    items = [
        {"role": "user", "content": [image, {"type": "input_file", "file_url": "https://a"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [image]},
    ]
    form = {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}}
    ask = _ask(input=items, text=form)
    assert (ask.images, ask.files, ask.schema) == (2, 1, {"type": "object"})


def test_what_was_written_to_a_cache_is_told() -> None:
    """As part of the input."""
    usage = _reply(_ask(), Behaviour(prompt_tokens=10, cache_write_tokens=4))["usage"]
    assert usage["input_tokens_details"] == {"cached_tokens": 0, "cache_write_tokens": 4}


def test_incomplete_says_why() -> None:
    """A cut reply is incomplete, and so is its last message."""
    reply = _reply(_ask(max_output_tokens=16), Behaviour(text="a " * 17))
    assert reply["status"] == "incomplete"
    assert reply["incomplete_details"] == {"reason": "max_output_tokens"}
    assert reply["output"][0]["status"] == "incomplete"
    assert reply["max_output_tokens"] == 16


def test_the_request_is_echoed_with_defaults() -> None:
    """What was asked is repeated, the rest has the provider's defaults; tools get their missing keys."""
    reply = _reply(
        _ask(metadata={"a": "b"}, temperature=0.5, tools=[_TOOL, {"type": "web_search"}], user="u"),
        Behaviour(),
    )
    assert (reply["metadata"], reply["temperature"], reply["top_p"]) == ({"a": "b"}, 0.5, 1.0)
    assert reply["tools"] == [{"description": None, "strict": True, **_TOOL}, {"type": "web_search"}]
    assert "user" not in reply


def test_input_items_are_read() -> None:
    """Items, tool outputs and instructions count as prompt; a tool output comes last after a call."""
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "ab"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "cd"},
    ]
    ask = _ask(input=items, instructions="ef")
    assert (ask.text, ask.prompt_bytes, ask.after_tool) == ("ab", 6, True)
    assert json.loads(responses.count(b'{"model":"m","input":"abcde"}'))["input_tokens"] == 2


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        (None, "auto"),
        ("required", "required"),
        ({"type": "function", "name": "f"}, "=f"),
        ({"type": "allowed_tools", "mode": "required", "tools": []}, "required"),
    ],
)
def test_tool_choice_has_many_forms(choice: object, wanted: str) -> None:
    """Each form of tool_choice means one of four things."""
    assert _ask(tool_choice=choice, tools=[_TOOL]).choice == wanted


@pytest.mark.parametrize("body", [b"", b'{"model":"m"}', b'{"input":"a"}', b'{"model":"m","input":[]}'])
def test_a_bad_request_is_refused(body: bytes) -> None:
    """What a provider answers with 400 is Unreadable here."""
    with pytest.raises(Unreadable):
        responses.read(body, "")


def test_an_early_error_is_an_error_event_in_both_shapes() -> None:
    """Before anything was created the error is flat and nested at once."""
    event, _ = responses.failure(_ask(), openai_fault(500, Complaint()), Stamp(1), 0)
    told = json.loads(event.data)
    assert told["type"] == event.name == "error"
    assert told["message"] == told["error"]["message"]
    assert told["code"] == told["error"]["code"] == "server_error"


def test_a_late_error_is_a_failed_response() -> None:
    """After `response.created` the response itself fails."""
    event, _ = responses.failure(_ask(), openai_fault(500, Complaint(message="boom")), Stamp(1), 4)
    told = json.loads(event.data)
    assert (told["type"], told["sequence_number"]) == ("response.failed", 4)
    assert told["response"]["status"] == "failed"
    assert told["response"]["error"] == {"code": "server_error", "message": "boom"}
