from typing import Any

import pytest

from mockprovider.answer import Unreadable
from mockprovider.strict_functions import check_format, check_function, check_use

_LOOSE = {"type": "object", "properties": {"q": {"type": "string"}}}
_CLEAN = {**_LOOSE, "required": ["q"], "additionalProperties": False}


@pytest.mark.parametrize("parameters", [_LOOSE, _CLEAN, None, {"type": "object"}])
def test_a_function_takes_an_object(parameters: object) -> None:
    """Or nothing."""
    check_function({"name": "f", "parameters": parameters, "description": "d"}, "t", strict=False)


@pytest.mark.parametrize(
    ("function", "strict", "param"),
    [
        ({}, False, "t.name"),
        ({"name": "a b"}, False, "t.name"),
        ({"name": "x" * 65}, False, "t.name"),
        ({"name": "f", "input_schema": {}}, False, "t.input_schema"),
        ({"name": "f", "description": {}}, False, "t.description"),
        ({"name": "f", "parameters": "x"}, False, "t.parameters"),
        ({"name": "f", "parameters": {}}, False, "t.parameters"),
        ({"name": "f", "parameters": {"type": None}}, False, "t.parameters"),
        ({"name": "f", "parameters": _LOOSE}, True, "t.parameters"),
    ],
)
def test_what_is_wrong_with_a_function_is_named(function: dict[str, Any], strict: bool, param: str) -> None:
    """The field, and the function where it has a name."""
    with pytest.raises(Unreadable) as caught:
        check_function(function, "t", strict=strict)
    assert caught.value.param == param


def test_a_bad_schema_names_the_function() -> None:
    """In OpenAI's words and with its code."""
    with pytest.raises(Unreadable, match=r"^Invalid schema for function 'f': In context=\(\), ") as caught:
        check_function({"name": "f", "parameters": _LOOSE}, "t", strict=True)
    assert caught.value.code == "invalid_function_parameters"


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"schema": _CLEAN}, "t.name"),
        ({"name": "n"}, "t.schema"),
        ({"name": "n", "schema": []}, "t.schema"),
        ({"name": "n", "schema": _LOOSE, "strict": True}, "t.schema"),
        ({"name": "n", "schema": _LOOSE, "json_schema": {}}, "t.json_schema"),
    ],
)
def test_what_is_wrong_with_a_format_is_named(form: dict[str, Any], param: str) -> None:
    """A name, a schema, and a clean one if it is strict."""
    check_format({"name": "n", "schema": _LOOSE}, "t")
    check_format({"name": "n", "schema": _CLEAN, "strict": True}, "t")
    with pytest.raises(Unreadable) as caught:
        check_format(form, "t")
    assert caught.value.param == param


@pytest.mark.parametrize("name", ["tool_choice", "parallel_tool_calls"])
def test_how_to_use_tools_needs_tools(name: str) -> None:
    """An empty list is none."""
    check_use({name: "auto", "tools": [{}]})
    check_use({name: None})
    with pytest.raises(Unreadable, match=f"'{name}' is only allowed when 'tools' are specified"):
        check_use({name: False, "tools": []})
