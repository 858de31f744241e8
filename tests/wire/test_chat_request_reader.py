from typing import Any

import pytest
from fakes.chats import request

from proxy.errors import Refusal
from proxy.wire import envelope
from proxy.wire.chat import request_reader
from proxy.wire.conversation import (
    Choice,
    Conversation,
    Format,
    Hints,
    Hosted,
    Reasoning,
    Role,
    Sampling,
    Text,
    Tool,
    Turn,
)
from proxy.wire.model import Dialect

SCHEMA = {"type": "object", "properties": {}}


def read(**fields: Any) -> Conversation:
    """A request with these fields."""
    return request_reader.read(envelope.decode(request("m", **fields), 64))


def refused(**fields: Any) -> tuple[str | None, str | None]:
    """Param and code of the refusal of such a request."""
    with pytest.raises(Refusal) as caught:
        read(**fields)
    assert caught.value.status == 400
    return caught.value.param, caught.value.code


def test_a_plain_request() -> None:
    """Nothing is filled in."""
    assert read() == Conversation(
        dialect=Dialect.CHAT,
        turns=(Turn(Role.USER, (Text("Hi"),)),),
        echo={"model": "m", "include_usage": False, "legacy": False},
    )


def test_how_to_go_on() -> None:
    """All that bounds, tunes and labels an answer has its place."""
    found = read(
        stream=True,
        stream_options={"include_usage": True, "include_obfuscation": False},
        max_completion_tokens=7,
        max_tokens=9,
        stop=["a", "b"],
        n=2,
        parallel_tool_calls=False,
        reasoning_effort="xhigh",
        temperature=0.5,
        top_p=1,
        top_k=3,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        seed=4,
        logit_bias={"5": 1},
        logprobs=True,
        top_logprobs=2,
        user="u",
        safety_identifier="s",
        metadata={"a": "b"},
        service_tier="flex",
        verbosity="low",
        prompt_cache_key="k",
        prompt_cache_options={"ttl": "30m"},
        prediction={"type": "content", "content": "x"},
    )
    assert found.echo["include_usage"] is True
    assert (found.stream, found.max_output, found.stop, found.n, found.parallel) == (
        True,
        7,
        ("a", "b"),
        2,
        False,
    )
    assert found.reasoning == Reasoning(effort="xhigh")
    assert found.sampling == Sampling(0.5, 1, 3, 0.1, 0.2, 4, {"5": 1}, logprobs=True, top_logprobs=2)
    assert found.hints == Hints(
        "s", {"a": "b"}, "flex", "low", "k", prediction={"type": "content", "content": "x"}
    )
    assert found.dropped == ()


def test_other_forms_of_the_same() -> None:
    """The older cap, a single stop sequence, the older user."""
    found = read(max_tokens=9, stop="a", user="u")
    assert (found.max_output, found.stop, found.hints.user) == (9, ("a",), "u")


@pytest.mark.parametrize(
    "name", ["temperature", "stop", "n", "tools", "tool_choice", "response_format", "stream"]
)
def test_null_says_nothing(name: str) -> None:
    """As if the field were not there."""
    assert read(**{name: None}) == read()


def test_tools() -> None:
    """Functions, free-text tools with their grammar, and what only a vendor runs."""
    found = read(
        tools=[
            {
                "type": "function",
                "function": {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True},
            },
            {"type": "function", "function": {"name": "g"}},
            {
                "type": "custom",
                "custom": {
                    "name": "h",
                    "description": "d",
                    "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "x"}},
                },
            },
            {"type": "custom", "custom": {"name": "i", "format": {"type": "text"}}},
            {"type": "web_search"},
        ],
        web_search_options={},
    )
    assert found.tools == (
        Tool("f", "d", SCHEMA, strict=True),
        Tool("g"),
        Tool("h", "d", custom=True, grammar={"type": "grammar", "syntax": "lark", "definition": "x"}),
        Tool("i", custom=True, grammar={"type": "text"}),
    )
    assert found.hosted == (Hosted("web_search", Dialect.CHAT), Hosted("web_search_options", Dialect.CHAT))


def test_functions_become_tools() -> None:
    """Who declares functions has room for one call, and is answered in the old form."""
    found = read(functions=[{"name": "f", "parameters": SCHEMA}], function_call={"name": "f"})
    assert found.tools == (Tool("f", schema=SCHEMA),)
    assert (found.choice, found.parallel, found.echo["legacy"]) == (Choice("named", "f"), False, True)
    assert read(functions=[{"name": "f"}], function_call="auto").choice == Choice("auto")


@pytest.mark.parametrize(
    ("asked", "choice"),
    [
        ("auto", Choice("auto")),
        ("required", Choice("required")),
        ("none", Choice("none")),
        ({"type": "function", "function": {"name": "f"}}, Choice("named", "f")),
        ({"type": "custom", "custom": {"name": "f"}}, Choice("named", "f")),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [
                        {"type": "function", "function": {"name": "f"}},
                        {"type": "custom", "custom": {"name": "g"}},
                    ],
                },
            },
            Choice("required", allowed=("f", "g")),
        ),
    ],
)
def test_choices(asked: object, choice: Choice) -> None:
    """Which tools may or must be called."""
    assert read(tool_choice=asked).choice == choice


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, Format("json_object")),
        (
            {
                "type": "json_schema",
                "json_schema": {"name": "n", "description": "d", "schema": SCHEMA, "strict": True},
            },
            Format("json_schema", "n", "d", SCHEMA, strict=True),
        ),
    ],
)
def test_formats(asked: object, wanted: Format | None) -> None:
    """What the answer has to be."""
    assert read(response_format=asked).format == wanted


def test_what_is_not_known_is_named() -> None:
    """At any depth, by its path."""
    found = read(
        x=1,
        y=None,
        store=True,
        stream_options={"z": 1},
        tools=[{"type": "function", "function": {"name": "f", "cache": 1}, "eager": 1}],
        response_format={"type": "json_object", "more": 1},
    )
    assert set(found.dropped) == {
        "x",
        "store",
        "stream_options.z",
        "tools[0].eager",
        "tools[0].function.cache",
        "response_format.more",
    }
    assert read(store=False).dropped == ()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "x", "format": "wav"}}, "audio"),
    ],
)
def test_spoken_answers_are_refused(fields: dict[str, Any], param: str) -> None:
    """Nobody but a chat provider could give one."""
    assert refused(**fields) == (param, "unsupported_value")
    assert read(modalities=["text"]) == read()


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"stream": "yes"}, "stream", "invalid_type"),
        ({"max_tokens": 0}, "max_tokens", "integer_below_min_value"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens", "invalid_type"),
        ({"n": 0}, "n", "integer_below_min_value"),
        ({"temperature": "1"}, "temperature", "invalid_type"),
        ({"stop": [1]}, "stop[0]", "invalid_type"),
        ({"stop": 5}, "stop", "invalid_type"),
        ({"stop": ["x"] * 10_000}, "stop", "array_above_max_length"),
        ({"stop": "x" * 300}, "stop", "string_above_max_length"),
        ({"reasoning_effort": "huge"}, "reasoning_effort", "invalid_value"),
        ({"logit_bias": []}, "logit_bias", "invalid_type"),
        ({"stream_options": "x"}, "stream_options", "invalid_type"),
        ({"tools": {}}, "tools", "invalid_type"),
        ({"tools": [{}]}, "tools[0].type", "missing_required_parameter"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "missing_required_parameter"),
        (
            {"tools": [{"type": "function", "function": {}}]},
            "tools[0].function.name",
            "missing_required_parameter",
        ),
        ({"tool_choice": "maybe"}, "tool_choice", "invalid_value"),
        ({"tool_choice": 5}, "tool_choice", "invalid_type"),
        ({"tool_choice": {}}, "tool_choice.type", "missing_required_parameter"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function", "missing_required_parameter"),
        ({"response_format": {}}, "response_format.type", "missing_required_parameter"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value"),
        (
            {"response_format": {"type": "json_schema"}},
            "response_format.json_schema",
            "missing_required_parameter",
        ),
    ],
)
def test_what_cannot_be_read(fields: dict[str, Any], param: str, code: str) -> None:
    """The refusal names the field."""
    assert refused(**fields) == (param, code)
