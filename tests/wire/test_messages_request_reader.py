import json
from typing import Any

import pytest

from proxy.errors import Refusal
from proxy.wire import envelope
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
from proxy.wire.messages import request_reader
from proxy.wire.model import Dialect

Json = dict[str, Any]
CLOSED = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


def read(**fields: Any) -> Conversation:
    """A request with these fields, or without those that are None."""
    body: Json = {
        "model": "m",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "q"}],
        **fields,
    }
    raw = json.dumps({name: value for name, value in body.items() if value is not None}).encode()
    return request_reader.read(envelope.decode(raw, 64))


def test_the_least_request() -> None:
    """What was not said is not made up. Thinking has to be able to come back."""
    assert read() == Conversation(
        dialect=Dialect.MESSAGES,
        turns=(Turn(Role.USER, (Text("q"),)),),
        max_output=100,
        reasoning=Reasoning(encrypted=True),
        echo={"model": "m"},
    )


def test_how_to_go_on() -> None:
    """Bounds, sampling, hints; also what a newer version of the dialect no longer takes."""
    found = read(
        stream=True,
        stop_sequences=["X", "\n"],
        temperature=0.5,
        top_p=1,
        top_k=5,
        metadata={"user_id": "u"},
        service_tier="standard_only",
    )
    assert found.stream
    assert found.stop == ("X", "\n")
    assert found.sampling == Sampling(temperature=0.5, top_p=1, top_k=5)
    assert found.hints == Hints(user="u", tier="default")
    assert read(service_tier="auto").hints.tier == "auto"


def test_tools() -> None:
    """Functions by their schema; others by their type alone."""
    schema = {"type": "object"}
    found = read(
        tools=[
            {"name": "f", "input_schema": schema},
            {
                "type": "custom",
                "name": "g",
                "description": "d",
                "input_schema": schema,
                "strict": True,
                "cache_control": {"type": "ephemeral", "ttl": "1h"},
                "eager_input_streaming": True,
                "allowed_callers": ["direct"],
                "defer_loading": False,
            },
            {"type": "bash_20250124", "name": "bash"},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 5},
        ]
    )
    assert found.tools == (
        Tool("f", schema=schema),
        Tool("g", "d", schema, strict=True, cache="long"),
    )
    assert found.hosted == (
        Hosted("bash_20250124", Dialect.MESSAGES),
        Hosted("web_search_20250305", Dialect.MESSAGES),
    )
    assert found.dropped == ()


def test_what_only_anthropic_does_with_tools_is_dropped() -> None:
    """Finding them later, calling them from code, examples."""
    tool = {"name": "f", "defer_loading": True, "allowed_callers": ["code"], "input_examples": [{}]}
    assert read(tools=[tool]).dropped == (
        "tools[0].input_examples",
        "tools[0].defer_loading",
        "tools[0].allowed_callers",
    )


@pytest.mark.parametrize(
    ("given", "choice", "parallel"),
    [
        (None, None, None),
        ({"type": "auto"}, Choice("auto"), None),
        ({"type": "any", "disable_parallel_tool_use": True}, Choice("required"), False),
        ({"type": "none"}, Choice("none"), None),
        ({"type": "tool", "name": "f", "disable_parallel_tool_use": False}, Choice("named", "f"), True),
    ],
)
def test_which_tool_to_call(given: Json | None, choice: Choice | None, parallel: bool | None) -> None:
    """And how many at a time."""
    found = read(tool_choice=given)
    assert (found.choice, found.parallel) == (choice, parallel)


@pytest.mark.parametrize(
    ("fields", "reasoning"),
    [
        ({"thinking": {"type": "adaptive"}}, Reasoning()),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, Reasoning("max")),
        ({"output_config": {"effort": "low"}}, Reasoning("low")),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, Reasoning(budget=2048)),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}}, Reasoning("none")),
        ({"thinking": {"type": "adaptive", "display": "summarized"}}, Reasoning(shown=True)),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, Reasoning(shown=False)),
        ({"thinking": {"type": "between_tools"}}, Reasoning()),
    ],
)
def test_how_much_to_think(fields: Json, reasoning: Reasoning) -> None:
    """An effort, a budget, or neither."""
    found = read(**fields).reasoning
    assert (found.effort, found.budget, found.shown) == (reasoning.effort, reasoning.budget, reasoning.shown)
    assert found.encrypted


def test_thinking_only_between_tools_is_not_carried() -> None:
    """Nobody else can do it."""
    assert read(thinking={"type": "between_tools"}).dropped == ("thinking.type",)


@pytest.mark.parametrize("name", ["output_config", "output_format"])
def test_what_the_reply_has_to_be(name: str) -> None:
    """Under its name and the one it had before; strict where others can be as strict."""
    asked = {"type": "json_schema", "schema": CLOSED}
    given = {name: {"format": asked} if name == "output_config" else asked}
    assert read(**given).format == Format("json_schema", schema=CLOSED, strict=True)
    asked["schema"] = {"type": "object"}
    assert read(**given).format == Format("json_schema", schema={"type": "object"}, strict=False)


def test_what_nobody_else_knows_is_dropped_by_its_path() -> None:
    """Also fields that Anthropic alone takes."""
    found = read(
        context_management={"edits": []},
        inference_geo="eu",
        speed="fast",
        unheard_of=1,
        output_config={"task_budget": {}},
        metadata={"x": 1},
        thinking={"type": "adaptive", "binding": 1},
        tool_choice={"type": "auto", "x": 1},
        container=None,
        mcp_servers=[],
    )
    assert set(found.dropped) == {
        "context_management",
        "inference_geo",
        "speed",
        "unheard_of",
        "output_config.task_budget",
        "metadata.x",
        "thinking.binding",
        "tool_choice.x",
    }


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"container": "c"}, "container"),
        ({"mcp_servers": [{"url": "https://a"}]}, "mcp_servers"),
        ({"thread": {"type": "create"}}, "thread"),
        ({"thread": {"type": "continue", "previous_message_id": "msg_1"}}, "thread"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"stop_sequences": "X"}, "stop_sequences"),
        ({"temperature": "hot"}, "temperature"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tools": [{"name": "f", "input_schema": 5}]}, "tools[0].input_schema"),
        ({"tool_choice": {}}, "tool_choice.type"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"thinking": {}}, "thinking.type"),
        ({"thinking": {"type": "deep"}}, "thinking.type"),
        ({"thinking": {"type": "enabled", "budget_tokens": "x"}}, "thinking.budget_tokens"),
        ({"output_config": {"effort": "none"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ({"output_config": {"format": {"type": "xml", "schema": {}}}}, "output_config.format.type"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"metadata": {"user_id": 5}}, "metadata.user_id"),
    ],
)
def test_what_cannot_be_read_or_carried_is_refused(fields: Json, param: str) -> None:
    """Its place is named."""
    with pytest.raises(Refusal) as caught:
        read(**fields)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_a_thread_is_refused_in_the_words_that_clients_know() -> None:
    """They go on without it and send the whole conversation; a `thread` of null is none."""
    with pytest.raises(Refusal) as caught:
        read(thread={"type": "create"})
    details = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
    assert caught.value.extra == {"details": details}
    assert read(thread=None).dropped == ()


def test_stop_sequences_that_cannot_be_looked_for() -> None:
    """Some providers have none, so that the proxy does it."""
    with pytest.raises(Refusal) as caught:
        read(stop_sequences=["x"] * 10_000)
    assert (caught.value.status, caught.value.param) == (400, "stop_sequences")
