import pytest

from mockprovider.answer import Unreadable
from mockprovider.strict_offers import check_choice, check_tools

_SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}}
_TOOL = {"name": "f", "input_schema": _SCHEMA}


@pytest.mark.parametrize(
    "tools",
    [
        None,
        [],
        [_TOOL, {**_TOOL, "name": "g", "type": "custom", "description": "d", "cache_control": None}],
        [{**_TOOL, "strict": True, "input_schema": {**_SCHEMA, "additionalProperties": False}}],
        [{"type": "web_search_20250305", "name": "web_search"}, {"type": "bash_20250124", "name": "bash"}],
    ],
)
def test_tools_that_are_right_pass(tools: object) -> None:
    """None, the client's own, and those the provider knows."""
    check_tools(tools)


@pytest.mark.parametrize(
    ("tool", "text"),
    [
        ("f", "tools.0: Input should be a valid dictionary"),
        ({"type": "function", "function": {}}, "tools.0: Input tag 'function' found using 'type'"),
        ({"name": "f"}, "tools.0.custom.input_schema: Field required"),
        ({"input_schema": _SCHEMA}, "tools.0.custom.name: Field required"),
        ({**_TOOL, "parameters": {}}, "tools.0.custom.parameters: Extra inputs are not permitted"),
        ({**_TOOL, "name": "a.b"}, "tools.0.custom.name: String should match pattern"),
        ({**_TOOL, "name": "x" * 129}, "tools.0.custom.name: String should match pattern"),
        ({**_TOOL, "description": None}, "tools.0.custom.description: Input should be a valid string"),
        ({**_TOOL, "input_schema": None}, "tools.0.custom.input_schema: Input should be a valid dictionary"),
        ({**_TOOL, "input_schema": {}}, "tools.0.custom.input_schema.type: Field required"),
        (
            {**_TOOL, "input_schema": {"type": None}},
            "tools.0.custom.input_schema.type: Input should be 'object'",
        ),
        (
            {**_TOOL, "input_schema": {**_SCHEMA, "anyOf": []}},
            "tools.0.custom.input_schema: input_schema does",
        ),
        ({**_TOOL, "strict": True}, "tools.0.custom.input_schema: For 'object' type"),
    ],
)
def test_a_tool_has_a_name_and_a_schema_of_an_object(tool: object, text: str) -> None:
    """Each thing wrong with a tool is named by its path."""
    with pytest.raises(Unreadable) as caught:
        check_tools([tool])
    assert str(caught.value).startswith(text)


def test_names_are_unique() -> None:
    """Two tools of one name are one too many."""
    with pytest.raises(Unreadable, match="Tool names must be unique"):
        check_tools([_TOOL, _TOOL])
    with pytest.raises(Unreadable, match="valid list"):
        check_tools({})


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        ("auto", "tool_choice: Input tag 'None'"),
        ({"type": "required"}, "tool_choice: Input tag 'required'"),
        ({"type": "auto", "name": "f"}, "tool_choice.auto.name: Extra inputs are not permitted"),
        ({"type": "tool", "name": "g"}, "Tool 'g' not found in provided tools"),
    ],
)
def test_a_choice_is_of_what_is_offered(choice: object, text: str) -> None:
    """In Anthropic's shape."""
    with pytest.raises(Unreadable) as caught:
        check_choice({"tool_choice": choice, "tools": [_TOOL]}, thinks="")
    assert str(caught.value).startswith(text)


def test_a_choice_needs_tools() -> None:
    """Even a choice of none of them."""
    check_choice({}, thinks="")
    fields = {"tool_choice": {"type": "none"}}
    for without in (fields, {**fields, "tools": []}):
        with pytest.raises(Unreadable, match="may only be specified while providing tools"):
            check_choice(without, thinks="")


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "f"}])
def test_a_forced_choice_leaves_no_room_to_think(choice: object) -> None:
    """By a budget; adaptive thinking just does not."""
    fields = {"tool_choice": choice, "tools": [_TOOL]}
    check_choice(fields, thinks="adaptive")
    with pytest.raises(Unreadable, match="Thinking may not be enabled when tool_choice forces tool use"):
        check_choice(fields, thinks="enabled")
