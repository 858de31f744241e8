from typing import Any

import pytest

from mockprovider.answer import Stamp, Unreadable
from mockprovider.reading import Terms
from mockprovider.seals import seal
from mockprovider.strict_items import check

_TAIL = Stamp(1).id("")
_HI = {"role": "user", "content": "hi"}
_CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"}
_DONE = {"type": "function_call_output", "call_id": "call_1", "output": "42"}
_CUSTOM = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_1", "name": "f", "input": "x"}
_SAID = {"type": "message", "id": "msg_1", "role": "assistant", "content": "so"}
_SEALED = seal("reasoning", "east", "hm")
_REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": _SEALED}
_NAMED = {"type": "reasoning", "id": f"rs_{_TAIL}", "summary": []}


def _check(*items: object, stored: bool = True, chain: str = "") -> None:
    check(items, Terms(name="east", stored={_TAIL}), stored=stored, chain=chain)


def _refused(*items: object, stored: bool = True) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        _check(*items, stored=stored)
    return caught.value


@pytest.mark.parametrize(
    "items",
    [
        [],
        [_HI, _SAID, _HI],
        [_HI, _CALL, {**_CALL, "id": None, "call_id": "b"}, _DONE, {**_DONE, "call_id": "b"}],
        [_CUSTOM, {"type": "custom_tool_call_output", "call_id": "call_1", "output": "ok"}],
        [_REASONING, _SAID],
        [_REASONING, {**_REASONING, "id": "rs_2"}, _CALL, _DONE],
        [{"type": "compaction", "encrypted_content": seal("compaction", "east", "x")}, _HI],
        [{"type": "web_search_call", "id": "ws_1", "whatever": 1}],
        [{"id": f"msg_{_TAIL}"}],
    ],
)
def test_items_that_are_right_pass(items: list[object]) -> None:
    """Messages, calls with their outputs, reasoning with what came of it."""
    _check(*items)


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ("hi", "Invalid type for 'input[0]': expected an object, but got a string instead."),
        ({"type": "tool_use"}, "Invalid value: 'tool_use'. Supported values are: 'message', "),
        ({"type": "message", "role": "user"}, "Missing required parameter: 'input[0].content'."),
        ({**_HI, "tool_calls": []}, "Unknown parameter: 'input[0].tool_calls'."),
        ({**_HI, "name": "ann"}, "Unknown parameter: 'input[0].name'."),
        (
            {**_CALL, "arguments": {}},
            "Invalid type for 'input[0].arguments': expected a string, but got an object",
        ),
        ({**_CALL, "name": "a.b"}, "Invalid 'input[0].name': string does not match pattern."),
        ({**_CALL, "call_id": ""}, "Invalid 'input[0].call_id': empty string."),
        (
            {**_CALL, "call_id": "x" * 65},
            "Invalid 'input[0].call_id': string too long. Expected a string with max",
        ),
        ({**_CALL, "status": None}, "Invalid type for 'input[0].status'"),
        ({**_CALL, "status": "done"}, "Invalid value: 'done'."),
        ({**_DONE, "output": None}, "Missing required parameter: 'input[0].output'."),
        ({**_DONE, "output": {"a": 1}}, "Invalid type for 'input[0].output'"),
    ],
)
def test_items_of_no_use_are_refused(item: object, text: str) -> None:
    """Other dialects' items and fields, and fields of the wrong type."""
    assert str(_refused(item)).startswith(text)


@pytest.mark.parametrize(
    ("item", "prefix"),
    [
        ({**_SAID, "id": "chatcmpl-1"}, "msg"),
        ({**_HI, "id": "call_1"}, "msg"),
        ({**_CALL, "id": "call_1"}, "fc"),
        ({**_CUSTOM, "id": "fc_1"}, "ctc"),
        ({**_REASONING, "id": "thinking_0"}, "rs"),
        ({"type": "web_search_call", "id": "srvtoolu_1"}, "ws"),
    ],
)
def test_ids_have_the_prefix_of_their_kind(item: dict[str, Any], prefix: str) -> None:
    """A foreign id is refused by name."""
    refusal = _refused(item)
    wanted = f"Invalid 'input[0].id': '{item['id']}'. Expected an ID that begins with '{prefix}'."
    assert (str(refusal), refusal.param) == (wanted, "input[0].id")


def test_ids_are_short_text_and_come_once() -> None:
    """Whatever the kind."""
    assert "string too long" in str(_refused({**_SAID, "id": "msg_" + "x" * 61}))
    assert "Invalid type for 'input[0].id'" in str(_refused({**_SAID, "id": 3}))
    assert "Duplicate item found with id msg_1." in str(_refused(_SAID, _HI, _SAID))


@pytest.mark.parametrize(
    ("items", "text"),
    [
        ([_DONE], "No tool call found for function call output with call_id call_1."),
        ([_CUSTOM, _DONE], "No tool call found for function call output with call_id call_1."),
        ([_HI, _CALL], "No tool output found for function call call_1."),
        ([_CUSTOM, _HI], "No tool output found for custom tool call call_1."),
    ],
)
def test_calls_and_outputs_come_in_pairs(items: list[object], text: str) -> None:
    """Of the same kind."""
    assert str(_refused(*items)) == text


def test_a_chain_holds_the_calls_of_its_responses() -> None:
    """Their outputs may come alone; those of strangers may not."""
    output = {**_DONE, "call_id": f"call_{_TAIL}00"}
    _check(output, chain=f"resp_{_TAIL}")
    assert "No tool call found" in str(_refused(output))
    with pytest.raises(Unreadable, match="No tool call found"):
        _check(_DONE, chain=f"resp_{_TAIL}")


def test_reasoning_is_known_by_its_seal_or_by_what_was_stored() -> None:
    """Nothing else brings it back; without a store its id means nothing."""
    _check(_REASONING, _SAID, stored=False)
    _check(_NAMED, _SAID)
    for item, stored in ((_NAMED, False), ({**_NAMED, "id": "rs_0"}, True)):
        refusal = _refused(item, _SAID, stored=stored)
        assert str(refusal).startswith(f"Item with id '{item['id']}' not found.")
        assert refusal.status == 404
    assert "'input[0].id'" in str(_refused({"type": "reasoning", "summary": []}, _SAID))


@pytest.mark.parametrize("sealed", ["", "px1.anthropic.m.e30", seal("reasoning", "west", "hm")])
def test_only_this_providers_seal_is_good(sealed: str) -> None:
    """Not an empty one, an invented one, or another provider's."""
    refusal = _refused({**_REASONING, "encrypted_content": sealed}, _SAID)
    assert refusal.code == "invalid_encrypted_content"
    assert "could not be verified" in str(refusal)
    compaction = {"type": "compaction", "encrypted_content": f"{sealed}x"}
    assert _refused(compaction).code == "invalid_encrypted_content"


@pytest.mark.parametrize("after", [[], [_HI], [{**_REASONING, "id": "rs_2"}, _HI]])
def test_reasoning_is_followed_by_what_came_of_it(after: list[object]) -> None:
    """A message of the assistant or a call."""
    text = str(_refused(_CALL, _DONE, _REASONING, *after))
    assert text.startswith("Item 'rs_")
    assert text.endswith("' of type 'reasoning' was provided without its required following item.")


def test_a_summary_is_a_list_of_summary_texts() -> None:
    """And not text, nor other parts."""
    _check({**_REASONING, "summary": [{"type": "summary_text", "text": "hm"}]}, _SAID)
    assert "'input[0].summary': expected an array" in str(_refused({**_REASONING, "summary": "hm"}))
    assert "'summary_text'" in str(_refused({**_REASONING, "summary": [{"type": "text", "text": "hm"}]}))


def test_a_reference_names_what_was_stored() -> None:
    """Anything else is not found."""
    refusal = _refused({"type": "item_reference", "id": "msg_0"})
    assert (str(refusal), refusal.status) == ("Item with id 'msg_0' not found.", 404)
