from typing import Any

import pytest

from proxy.errors import Refusal
from proxy.wire.conversation import Choice, Hosted, Tool
from proxy.wire.model import Dialect
from proxy.wire.responses.tools_reader import choice, tools

Json = dict[str, Any]
SCHEMA = {"type": "object", "properties": {}}


def test_functions_free_text_and_namespaces() -> None:
    """Functions free text and namespaces."""
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: /x/"}
    dropped: list[str] = []
    own, hosted = tools(
        {
            "tools": [
                {"type": "function", "name": "f", "description": "d", "parameters": SCHEMA, "strict": True},
                {"type": "function", "name": "g", "parameters": None},
                {"type": "custom", "name": "p", "format": grammar},
                {
                    "type": "namespace",
                    "name": "ns",
                    "description": "d",
                    "tools": [{"type": "function", "name": "f"}],
                },
                {"type": "web_search", "filters": {}},
            ]
        },
        dropped,
    )
    assert own == (
        Tool("f", "d", SCHEMA, strict=True),
        Tool("g"),
        Tool("p", custom=True, grammar=grammar),
        Tool("f", namespace="ns"),
    )
    assert hosted == (Hosted("web_search", Dialect.RESPONSES),)
    assert dropped == []


def test_unknown_members_are_named() -> None:
    """Unknown members are named."""
    dropped: list[str] = []
    inner = {"type": "custom", "name": "f", "defer_loading": True}
    group = {"type": "namespace", "name": "ns", "tools": [inner], "more": 1}
    tools({"tools": [{"type": "function", "name": "f", "output_schema": {}}, group]}, dropped)
    assert dropped == ["tools[0].output_schema", "tools[1].more", "tools[1].tools[0].defer_loading"]


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({}, "tools[0].type"),
        ({"type": "function"}, "tools[0].name"),
        ({"type": "function", "name": "f", "parameters": "x"}, "tools[0].parameters"),
        ({"type": "function", "name": "f", "strict": 1}, "tools[0].strict"),
        (
            {"type": "namespace", "name": "n", "tools": [{"type": "shell", "name": "x"}]},
            "tools[0].tools[0].type",
        ),
    ],
)
def test_what_is_wrong_is_refused_by_its_place(tool: Json, param: str) -> None:
    """What is wrong is refused by its place."""
    with pytest.raises(Refusal) as caught:
        tools({"tools": [tool]}, [])
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (None, None),
        ("auto", Choice("auto")),
        ("required", Choice("required")),
        ("none", Choice("none")),
        ({"type": "function", "name": "f"}, Choice("named", "f")),
        ({"type": "custom", "name": "p"}, Choice("named", "p")),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
            Choice("required", allowed=("f",)),
        ),
        ({"type": "allowed_tools", "tools": []}, Choice("auto", allowed=())),
    ],
)
def test_choices(said: Any, expected: Choice | None) -> None:
    """Choices."""
    assert choice({"tool_choice": said}, []) == expected


def test_hosted_tools_among_the_allowed_are_left_out_by_name() -> None:
    """Hosted tools among the allowed are left out by name."""
    dropped: list[str] = []
    said = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "web_search"}, {"name": "f"}]}
    assert choice({"tool_choice": said}, dropped) == Choice("auto", allowed=("f",))
    assert dropped == ["tool_choice.tools[0]"]


@pytest.mark.parametrize(
    "said",
    [3, "always", {"type": "web_search"}, {}, {"type": "function"}, {"type": "allowed_tools", "mode": "x"}],
)
def test_choices_that_cannot_be_kept_are_refused(said: Any) -> None:
    """Choices that cannot be kept are refused."""
    with pytest.raises(Refusal) as caught:
        choice({"tool_choice": said}, [])
    assert (caught.value.status, str(caught.value.param).partition(".")[0]) == (400, "tool_choice")
