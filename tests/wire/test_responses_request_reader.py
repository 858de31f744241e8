import json
from typing import Any

import pytest

from proxy.errors import Refusal
from proxy.wire import envelope
from proxy.wire.conversation import Conversation, Format, Hints, Reasoning, Role, Sampling, Text, Turn
from proxy.wire.model import Dialect
from proxy.wire.responses.request_reader import read


def conversation(**body: Any) -> Conversation:
    """The conversation of a request with these fields."""
    return read(envelope.decode(json.dumps({"model": "m", "input": "Hi", **body}).encode(), 20))


def refused(**body: Any) -> Refusal:
    """The refusal of such a request."""
    with pytest.raises(Refusal) as caught:
        conversation(**body)
    assert caught.value.status == 400
    return caught.value


def test_the_shortest_request() -> None:
    """The shortest request."""
    found = conversation()
    assert (found.dialect, found.turns) == (Dialect.RESPONSES, (Turn(Role.USER, (Text("Hi"),)),))
    assert (found.stream, found.max_output, found.dropped, found.reasoning) == (False, None, (), Reasoning())


def test_instructions_come_first() -> None:
    """Instructions come first."""
    found = conversation(instructions="Be brief.", input=[{"role": "developer", "content": "In French."}])
    assert [(turn.role, turn.blocks) for turn in found.turns] == [
        (Role.SYSTEM, (Text("Be brief."),)),
        (Role.DEVELOPER, (Text("In French."),)),
    ]


def test_how_to_go_on() -> None:
    """How to go on."""
    found = conversation(
        stream=True,
        max_output_tokens=5,
        parallel_tool_calls=False,
        temperature=0.5,
        top_p=0.9,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        top_logprobs=3,
        include=["message.output_text.logprobs"],
    )
    assert (found.stream, found.max_output, found.parallel) == (True, 5, False)
    assert found.sampling == Sampling(
        temperature=0.5,
        top_p=0.9,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        logprobs=True,
        top_logprobs=3,
    )


def test_hints() -> None:
    """Hints."""
    found = conversation(
        metadata={"a": "b"},
        service_tier="flex",
        text={"verbosity": "low"},
        prompt_cache_key="k",
        user="ann",
        safety_identifier="bob",
    )
    assert found.hints == Hints(user="bob", metadata={"a": "b"}, tier="flex", verbosity="low", cache_key="k")
    assert conversation(user="ann").hints.user == "ann"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, Format("json_object")),
        (
            {"type": "json_schema", "name": "n", "description": "d", "schema": {"a": 1}, "strict": True},
            Format("json_schema", "n", "d", {"a": 1}, strict=True),
        ),
    ],
)
def test_formats(said: Any, expected: Format | None) -> None:
    """Formats."""
    assert conversation(text={"format": said}).format == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"reasoning": {"effort": "xhigh", "summary": "auto"}}, Reasoning("xhigh", shown=True)),
        ({"reasoning": {"summary": "none"}}, Reasoning(shown=False)),
        ({"reasoning": {"generate_summary": "concise"}}, Reasoning(shown=True)),
        ({"include": ["reasoning.encrypted_content"]}, Reasoning(encrypted=True)),
        ({"store": False}, Reasoning(encrypted=True)),
        ({"store": True}, Reasoning()),
    ],
)
def test_reasoning(body: dict[str, Any], expected: Reasoning) -> None:
    """Reasoning."""
    assert conversation(**body).reasoning == expected


def test_what_the_proxy_does_itself_is_repeated_and_else_passed_over() -> None:
    """What the proxy does itself is repeated and else passed over."""
    found = conversation(store=True, background=True, previous_response_id="resp_1", stream_options={"a": 1})
    assert found.dropped == ()
    assert (found.echo["background"], found.echo["previous_response_id"]) == (True, "resp_1")


def test_what_cannot_be_held_is_named() -> None:
    """What cannot be held is named."""
    found = conversation(
        truncation="auto",
        max_tool_calls=3,
        context_management=[{"type": "compaction"}],
        mood="good",
        reasoning={"mode": "pro"},
        text={"format": {"type": "text", "x": 1}, "tone": 1},
        include=["new.thing", "web_search_call.results"],
    )
    assert set(found.dropped) == {
        "truncation",
        "max_tool_calls",
        "context_management",
        "mood",
        "reasoning.mode",
        "text.format.x",
        "text.tone",
        "include[0]",
    }


def test_what_says_nothing_is_not_named() -> None:
    """What says nothing is not named."""
    assert (
        conversation(truncation="disabled", mood=None, prompt_cache_options={"mode": "implicit"}).dropped
        == ()
    )


@pytest.mark.parametrize("name", ["conversation", "prompt"])
def test_what_only_openai_has_is_refused(name: str) -> None:
    """What only openai has is refused."""
    assert refused(**{name: {"id": "x"}}).param == name


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"instructions": 3}, "instructions"),
        ({"stream": "yes"}, "stream"),
        ({"temperature": "hot"}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_tool_calls": 0}, "max_tool_calls"),
        ({"background": 1}, "background"),
        ({"previous_response_id": 1}, "previous_response_id"),
        ({"truncation": "some"}, "truncation"),
        ({"include": "x"}, "include"),
        ({"include": [1]}, "include[0]"),
        ({"metadata": []}, "metadata"),
        ({"store": "no"}, "store"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"reasoning": {"summary": "long"}}, "reasoning.summary"),
        ({"text": []}, "text"),
        ({"text": {"format": {}}}, "text.format.type"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
        ({"text": {"verbosity": 1}}, "text.verbosity"),
        ({"tools": {}}, "tools"),
        ({"tool_choice": 1}, "tool_choice"),
    ],
)
def test_what_is_wrong_is_refused_by_its_place(body: dict[str, Any], param: str) -> None:
    """What is wrong is refused by its place."""
    assert refused(**body).param == param
