from typing import Any

import pytest

from mockprovider.answer import Unreadable
from mockprovider.strict_chat import check

_HI = {"role": "user", "content": "hi"}


def _call(identity: str, **function: object) -> dict[str, Any]:
    named = {"name": "f", "arguments": "{}", **function}
    return {"id": identity, "type": "function", "function": named}


def _calls(*calls: object) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls)}


def _result(identity: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": identity, "content": "42"}


def _tool(**function: object) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", **function}}


def _refused(messages: list[Any], tools: list[Any] | None = None) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        check(messages, tools or [], [])
    return caught.value


@pytest.mark.parametrize(
    "messages",
    [
        [_HI],
        [{}],
        [{"role": "system", "content": "a"}, {**_HI, "name": "ann", "extra": 1}],
        [{"role": "developer", "content": [{"type": "text", "text": "a"}]}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x"}}]}],
        [_HI, _calls(_call("a"), _call("b")), _result("b"), _result("a"), _HI],
        [_HI, _calls(_call("a")), _result("a"), _calls(_call("a")), _result("a")],
        [_HI, {"role": "assistant", "content": "so", "tool_calls": []}, _HI],
        [_HI, {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}}],
        [_HI, {"role": "assistant", "refusal": "no"}, {"role": "function", "name": "f", "content": "42"}],
        [_HI, _calls({"id": "a", "type": "custom", "custom": {"name": "c", "input": "x"}}), _result("a")],
    ],
)
def test_messages_that_are_right_pass(messages: list[Any]) -> None:
    """And may have fields of their own."""
    check(messages, [_tool(), _tool(parameters={"properties": {}})], [])


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "model", "content": "a"}, "messages[0].role"),
        ({"role": "user"}, "messages[0].content"),
        ({"role": "assistant", "content": None}, "messages[0].content"),
        ({"role": "user", "content": {}}, "messages[0].content"),
        ({"role": "user", "content": ["a"]}, "messages[0].content[0]"),
        ({"role": "user", "content": [{"type": "input_text", "text": "a"}]}, "messages[0].content[0].type"),
        ({"role": "user", "content": [{"type": "tool_result"}]}, "messages[0].content[0].type"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content[0].text"),
        ({"role": "user", "content": [{"type": "text", "text": 3}]}, "messages[0].content[0].text"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": "https://a"}]},
            "messages[0].content[0].image_url",
        ),
        ({"role": "tool", "content": "42"}, "messages[0].tool_call_id"),
        ({**_HI, "tool_calls": {}}, "messages[0].tool_calls"),
        (_calls("a"), "messages[0].tool_calls[0]"),
        (_calls({"type": "function"}), "messages[0].tool_calls[0].id"),
        (_calls({"id": "a", "type": "tool_use"}), "messages[0].tool_calls[0].type"),
        (_calls({"id": "a", "type": "function"}), "messages[0].tool_calls[0].function"),
        (_calls(_call("a", arguments={})), "messages[0].tool_calls[0].function.arguments"),
        (_calls(_call("a", name="a.b")), "messages[0].tool_calls[0].function.name"),
    ],
)
def test_messages_that_are_none_are_refused(message: dict[str, Any], param: str) -> None:
    """Roles, parts and calls of other dialects, and fields of the wrong type."""
    assert _refused([message]).param == param


_UNANSWERED = "The following tool_call_ids did not have response messages: "


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([_HI, _result("a")], "messages with role 'tool' must be a response to a preceeding message with"),
        ([_HI, _calls(_call("a")), _result("b")], "messages with role 'tool' must be a response to"),
        ([_HI, _calls(_call("a")), _result("a"), _result("a")], "messages with role 'tool' must be"),
        ([_HI, _calls(_call("a")), _result("a"), _HI, _result("a")], "messages with role 'tool' must be"),
        ([_HI, _calls(_call("a"))], f"{_UNANSWERED}a"),
        ([_HI, _calls(_call("a"), _call("b"), _call("c")), _result("b"), _HI], f"{_UNANSWERED}a, c"),
        ([_HI, _calls(_call("a")), _HI, _result("a")], f"{_UNANSWERED}a"),
        ([_HI, _calls(_call("a")), _calls(_call("b")), _result("a"), _result("b")], f"{_UNANSWERED}a"),
    ],
)
def test_calls_and_results_come_together(messages: list[Any], text: str) -> None:
    """All results right after the message with their calls, and none without."""
    assert text in str(_refused(messages))


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ("f", "tools[0]"),
        ({"name": "f", "input_schema": {}}, "tools[0].type"),
        ({"type": "function", "name": "f"}, "tools[0].function"),
        ({"type": "custom", "name": "c"}, "tools[0].custom.name"),
        (_tool(name="a b"), "tools[0].function.name"),
        (_tool(name="x" * 65), "tools[0].function.name"),
        (_tool(parameters=None), "tools[0].function.parameters"),
        (_tool(parameters={"type": None}), "tools[0].function.parameters"),
        (_tool(parameters={"type": "array"}), "tools[0].function.parameters"),
    ],
)
def test_tools_that_are_none_are_refused(tool: object, param: str) -> None:
    """Other dialects' tools, bad names, and parameters that are no object."""
    assert _refused([_HI], [tool]).param == param


def test_functions_are_read_like_tools() -> None:
    """The old way to offer them."""
    check([_HI], [], [{"name": "f", "parameters": {"type": "object"}}])
    with pytest.raises(Unreadable, match=r"Invalid schema for function 'f': .* got 'type: null'"):
        check([_HI], [], [{"name": "f", "parameters": None}])
