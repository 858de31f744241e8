from typing import Any

import pytest

from mockprovider.answer import Stamp, Unreadable
from mockprovider.reading import Terms
from mockprovider.strict_responses import check, check_chain, reasons

_TAIL = Stamp(1).id("")
_TERMS = Terms(name="east", stored={_TAIL})
_SCHEMA = {
    "type": "object",
    "properties": {"q": {"type": "string"}},
    "required": ["q"],
    "additionalProperties": False,
}
_TOOL = {"type": "function", "name": "f", "parameters": _SCHEMA}
_OPEN = {**_TOOL, "parameters": {"type": "object"}}


def _check(model: str = "m", **fields: Any) -> None:
    check({"model": model, "input": "hi", **fields}, _TERMS, model)


@pytest.mark.parametrize(
    "fields",
    [
        {"stream": True, "store": False, "include": ["reasoning.encrypted_content"], "x_mock": {}},
        {"max_output_tokens": 16, "temperature": 2, "top_p": 1, "metadata": {"a": "b"}, "user": "u"},
        {"reasoning": {"effort": "high", "summary": "auto"}, "truncation": "disabled"},
        {"tools": [_TOOL, {**_OPEN, "name": "g", "strict": False}], "parallel_tool_calls": False},
        {"tools": [{"type": "custom", "name": "c", "format": {"type": "text"}}, {"type": "web_search"}]},
        {"tools": [_TOOL], "tool_choice": {"type": "function", "name": "f"}},
        {"tools": [_TOOL], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}},
        {"text": {"format": {"type": "json_schema", "name": "n", "schema": _SCHEMA, "strict": True}}},
        {"text": {"format": {"type": "json_object"}}, "instructions": "Say JSON"},
        {"text": {"verbosity": "low"}},
        {"previous_response_id": f"resp_{_TAIL}"},
    ],
)
def test_what_is_right_passes(fields: dict[str, Any]) -> None:
    """Each field with a value it may have."""
    _check(**fields)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"response_format": {}}, "response_format"),
        ({"max_output_tokens": 15}, "max_output_tokens"),
        ({"instructions": ["a"]}, "instructions"),
        ({"include": ["everything"]}, "include[0]"),
        ({"reasoning": {"effort": "most"}}, "reasoning.effort"),
        ({"reasoning": {"summary": "long"}}, "reasoning.summary"),
        ({"reasoning": {"budget": 1}}, "reasoning.budget"),
        ({"truncation": "some"}, "truncation"),
        ({"temperature": 2.5}, "temperature"),
        ({"top_p": "x"}, "top_p"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {str(number): "" for number in range(17)}}, "metadata"),
        ({"metadata": {"a": "x" * 513}}, "metadata.a"),
        ({"user": "x" * 65}, "user"),
        ({"safety_identifier": 3}, "safety_identifier"),
        ({"tools": ["f"]}, "tools[0]"),
        ({"tools": [{}]}, "tools[0].type"),
        ({"tools": [{"type": "bash_20250124"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].name"),
        ({"tools": [{"type": "function", "name": "f"}]}, "tools[0].parameters"),
        ({"tools": [_OPEN]}, "tools[0].parameters"),
        ({"tools": [{**_OPEN, "strict": None}]}, "tools[0].parameters"),
        ({"tools": [{**_OPEN, "strict": True}]}, "tools[0].parameters"),
        ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0].name"),
        ({"tools": [{"type": "custom", "name": "c", "parameters": {}}]}, "tools[0].parameters"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"parallel_tool_calls": True}, "parallel_tool_calls"),
        ({"tools": [_TOOL], "tool_choice": "any"}, "tool_choice"),
        ({"tools": [_TOOL], "tool_choice": {"type": "tool", "name": "f"}}, "tool_choice.type"),
        ({"tools": [_TOOL], "tool_choice": {"type": "function", "function": {}}}, "tool_choice.name"),
        ({"tools": [_TOOL], "tool_choice": {"type": "function", "name": "g"}}, "tool_choice"),
        ({"text": {"format": {"type": "json_schema", "json_schema": {}}}}, "text.format.name"),
        ({"text": {"format": {"type": "json_object"}}}, "input"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"schema": {}}}, "text.schema"),
        ({"input": [{"role": "user", "content": "a", "id": "call_1"}]}, "input[0].id"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    """Unknown fields, values out of bounds, tools and formats of other dialects."""
    with pytest.raises(Unreadable) as caught:
        _check(**fields)
    assert caught.value.param == param


def test_the_words_are_openais() -> None:
    """A limit below the least, in full."""
    with pytest.raises(Unreadable) as caught:
        _check(max_output_tokens=1)
    assert str(caught.value) == (
        "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got 1 instead."
    )
    assert caught.value.code == "integer_below_min_value"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"max_output_tokens": "x"}, "invalid_type"),
        ({"temperature": "x"}, "invalid_type"),
        ({"temperature": -1}, "decimal_below_min_value"),
        ({"top_p": 1.5}, "decimal_above_max_value"),
    ],
)
def test_numbers_are_within_their_bounds(fields: dict[str, Any], code: str) -> None:
    """By the code that goes with it."""
    with pytest.raises(Unreadable) as caught:
        _check(**fields)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("model", "wanted"),
    [("gpt-5-mini", True), ("o3", True), ("openai/o4-mini", True), ("gpt-4o", False), ("foo3", False)],
)
def test_models_that_reason_do_not_sample(model: str, wanted: bool) -> None:
    """By their names; the value that changes nothing is let through."""
    assert reasons(model) == wanted
    _check(model, temperature=1)
    if wanted:
        with pytest.raises(Unreadable, match="'temperature' is not supported with this model"):
            _check(model, temperature=0.2)
    else:
        _check(model, temperature=0.2)


def test_a_chain_goes_on_from_a_stored_response() -> None:
    """What is not stored is not found, and what is no response's id is none."""
    assert check_chain({}, _TERMS) == ""
    assert check_chain({"previous_response_id": f"resp_{_TAIL}"}, _TERMS) == f"resp_{_TAIL}"
    with pytest.raises(Unreadable, match="Previous response with id 'resp_0' not found") as caught:
        check_chain({"previous_response_id": "resp_0"}, _TERMS)
    assert (caught.value.status, caught.value.code) == (400, "previous_response_not_found")
    with pytest.raises(Unreadable, match="begins with 'resp'"):
        check_chain({"previous_response_id": "chatcmpl-1"}, _TERMS)


def test_counting_takes_fewer_fields() -> None:
    """A count stores and streams nothing."""
    check({"model": "m", "input": "hi"}, _TERMS, "m", counting=True)
    with pytest.raises(Unreadable, match="'stream'"):
        check({"model": "m", "input": "hi", "stream": True}, _TERMS, "m", counting=True)
