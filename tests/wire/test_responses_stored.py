import json
from typing import Any

import pytest

from proxy.errors import Refusal
from proxy.wire import envelope
from proxy.wire.codec import Stamp
from proxy.wire.envelope import Fields
from proxy.wire.responses.stored import check_outputs, replayable, shown, stored_input

Json = dict[str, Any]
STAMP = Stamp("ab" * 12, 1_700_000_000)


def fields(**body: Any) -> Fields:
    """The fields of a request."""
    return envelope.decode(json.dumps(body).encode(), 20)


def items(said: Any) -> list[Json]:
    """What is stored of an input."""
    return stored_input(fields(input=said), STAMP)


def test_a_text_is_stored_as_a_users_message() -> None:
    """A text is stored as a users message."""
    assert items("Hi") == [
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "Hi"}],
            "status": "completed",
            "id": f"msg_{STAMP.token}_i0",
        }
    ]


def test_a_type_is_a_text() -> None:
    """Whatever else is given for one is refused by its place."""
    with pytest.raises(Refusal) as caught:
        items([{"role": "user", "content": "a"}, {"type": {}, "role": "user", "content": "b"}])
    assert (caught.value.status, caught.value.param) == (400, "input[1].type")


def test_every_item_has_a_type_and_an_id_of_its_own() -> None:
    """Every item has a type and an id of its own."""
    found = items(
        [
            {"role": "user", "content": "a", "id": "msg_9"},
            {"role": "user", "content": "b", "id": "msg_9"},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "id": None},
            {"type": "function_call_output", "call_id": "c", "output": "x"},
            {"type": "reasoning", "summary": []},
            {"type": "custom_tool_call", "call_id": "d", "name": "p", "input": "x"},
            {"id": "msg_8"},
            {"type": "new", "id": 3},
        ]
    )
    assert [item["id"] for item in found] == [
        "msg_9",
        f"msg_{STAMP.token}_i1",
        f"fc_{STAMP.token}_i2",
        f"fco_{STAMP.token}_i3",
        f"rs_{STAMP.token}_i4",
        f"ctc_{STAMP.token}_i5",
        "msg_8",
        f"item_{STAMP.token}_i7",
    ]
    assert [item["type"] for item in found][::6] == ["message", "item_reference"]


def test_an_assistants_text_is_output() -> None:
    """An assistants text is output."""
    found = items([{"role": "assistant", "content": "a", "status": None}])[0]
    assert found["content"] == [{"type": "output_text", "text": "a", "annotations": [], "logprobs": []}]
    assert found["status"] == "completed"


def test_no_input_is_nothing() -> None:
    """No input is nothing."""
    assert stored_input({}, STAMP) == []


@pytest.mark.parametrize("said", [3, ["x"], {}])
def test_what_is_no_input_is_refused(said: Any) -> None:
    """What is no input is refused."""
    with pytest.raises(Refusal) as caught:
        items(said)
    assert caught.value.status == 400


CALL = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "c",
    "name": "f",
    "arguments": "{}",
    "status": "completed",
}
MESSAGE = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "a"}],
}
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "ax1.x"}


def test_the_output_is_replayed_as_it_is() -> None:
    """The output is replayed as it is."""
    assert replayable({"output": [REASONING, MESSAGE, CALL]}) == [REASONING, MESSAGE, CALL]
    assert replayable({}) == []


def test_what_nobody_can_go_on_from_is_not_replayed() -> None:
    """A call that was cut, a message that says nothing, reasoning without what it led to."""
    cut = {**CALL, "status": "incomplete"}
    assert replayable({"output": [MESSAGE, REASONING, cut]}) == [MESSAGE]
    assert replayable({"output": [{**MESSAGE, "content": []}]}) == []
    assert replayable({"output": [{**MESSAGE, "status": "incomplete"}]}) != []


@pytest.mark.parametrize(
    ("asked", "sealed"),
    [
        ({}, False),
        ({"store": True}, False),
        ({"store": False}, True),
        ({"include": ["reasoning.encrypted_content"]}, True),
    ],
)
def test_sealed_reasoning_is_shown_to_those_who_asked(asked: Json, sealed: bool) -> None:
    """Sealed reasoning is shown to those who asked."""
    found = shown({"id": "resp_1", "output": [REASONING, MESSAGE]}, fields(**asked))
    assert ("encrypted_content" in found["output"][0]) is sealed
    assert (found["id"], found["output"][1]) == ("resp_1", MESSAGE)


def test_results_answer_calls_before_them() -> None:
    """Results answer calls before them."""
    check_outputs([CALL, MESSAGE, {"type": "function_call_output", "call_id": "c", "output": "x"}])
    check_outputs(
        [{"type": "custom_tool_call", "call_id": "d"}, {"type": "custom_tool_call_output", "call_id": "d"}]
    )
    check_outputs(
        [{"type": "local_shell_call", "call_id": "e"}, {"type": "local_shell_call_output", "call_id": "e"}]
    )


@pytest.mark.parametrize(
    "items",
    [
        [{"type": "function_call_output", "call_id": "c"}],
        [{"type": "function_call_output", "call_id": "c"}, CALL],
        [
            CALL,
            {"type": "function_call_output", "call_id": "c"},
            {"type": "function_call_output", "call_id": "x"},
        ],
    ],
)
def test_a_result_of_no_call_is_refused(items: list[Json]) -> None:
    """A result of no call is refused."""
    with pytest.raises(Refusal) as caught:
        check_outputs(items)
    assert caught.value.message.startswith("No tool call found for function call output with call_id ")
    assert (caught.value.status, caught.value.param) == (400, "input")
