from typing import Any

import pytest

from proxy.errors import Refusal
from proxy.profiles import quirks
from proxy.wire.codec import Facts, Written
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
from proxy.wire.losses import Losses
from proxy.wire.model import Dialect
from proxy.wire.naming import Origin
from proxy.wire.responses.request_writer import write

USER = Turn(Role.USER, (Text("Hi"),))
TOOL = Tool("f", "d", {"type": "object", "properties": {"a": {}}})
PLAIN = Facts("m", quirks("generic", "m", {}))
OPENAI = Facts("gpt-4.1", quirks("openai", "gpt-4.1", {"cache_marks": True}))
THINKS = Facts("gpt-5", quirks("openai", "gpt-5", {}))


def written(
    *turns: Turn, facts: Facts = OPENAI, lost: str = "", client: Dialect = Dialect.CHAT, **fields: Any
) -> Written:
    """The body for a conversation, and that this was lost."""
    losses = Losses(Dialect.RESPONSES)
    found = write(Conversation(dialect=client, turns=turns or (USER,), **fields), facts, losses)
    assert losses.header() == lost
    return found


def body(*turns: Turn, **fields: Any) -> dict[str, Any]:
    """The body alone."""
    return written(*turns, **fields).body


def test_the_shortest_body() -> None:
    """The shortest body."""
    assert body() == {
        "model": "gpt-4.1",
        "input": [{"type": "message", "role": "user", "content": "Hi"}],
        "store": False,
    }


def test_streams_are_asked_for_where_the_client_or_the_provider_wants_them() -> None:
    """Streams are asked for where the client or the provider wants them."""
    assert body(stream=True)["stream"] is True
    assert body(facts=Facts("m", quirks("openai", "m", {"stream_only": True})))["stream"] is True


def test_a_system_prompt_that_stands_apart_becomes_the_instructions() -> None:
    """A system prompt that stands apart becomes the instructions."""
    turns = [Turn(Role.SYSTEM, (Text("a"), Text("b"))), USER, Turn(Role.SYSTEM, (Text("later"),))]
    said = body(*turns, client=Dialect.MESSAGES)
    assert said["instructions"] == "a\n\nb"
    assert [item["role"] for item in said["input"]] == ["user", "developer"]


def test_a_system_prompt_that_is_to_be_cached_becomes_a_message() -> None:
    """A system prompt that is to be cached becomes a message."""
    turns = [Turn(Role.SYSTEM, (Text("a"), Text("b", "short"))), USER]
    said = body(*turns, client=Dialect.MESSAGES)
    assert "instructions" not in said
    assert said["input"][0]["role"] == "developer"
    assert "prompt_cache_breakpoint" in said["input"][0]["content"][1]
    assert "instructions" in body(*turns, client=Dialect.MESSAGES, facts=PLAIN)


def test_instructions_of_chat_stay_where_they_were() -> None:
    """Instructions of chat stay where they were."""
    said = body(Turn(Role.SYSTEM, (Text("a"),)), USER)
    assert "instructions" not in said
    assert said["input"][0]["role"] == "system"


@pytest.mark.parametrize(("strict", "told"), [(None, False), (False, False), (True, True)])
def test_strict_is_always_said(strict: bool | None, told: bool) -> None:
    """Strict is always said."""
    tool = Tool("f", None, {"type": "object", "properties": {}}, strict=strict)
    assert body(tools=(tool,))["tools"] == [
        {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": told}
    ]


def test_a_tool_without_parameters_has_an_object_of_none() -> None:
    """A tool without parameters has an object of none."""
    assert body(tools=(Tool("f"),))["tools"][0]["parameters"] == {"type": "object", "properties": {}}


def test_free_text_tools_are_said_as_they_are() -> None:
    """Free text tools are said as they are."""
    grammar = {"type": "grammar", "syntax": "lark", "definition": "x"}
    found = written(tools=(Tool("p", "d", custom=True, grammar=grammar), Tool("q", custom=True)))
    assert found.body["tools"] == [
        {"type": "custom", "name": "p", "description": "d", "format": grammar},
        {"type": "custom", "name": "q"},
    ]
    assert found.origins == {}


def test_names_that_had_to_be_changed_come_back() -> None:
    """Names that had to be changed come back."""
    found = written(tools=(Tool("f", namespace="ns"),), lost="changed=tool.namespace")
    assert found.body["tools"][0]["name"] == "ns__f"
    assert found.origins == {"ns__f": Origin("f", namespace="ns")}
    long = "x" * 70
    found = written(tools=(Tool(long),), lost="changed=tool.name", choice=Choice("named", long))
    sent = found.body["tools"][0]["name"]
    assert (len(sent), found.origins[sent].name) == (64, long)
    assert found.body["tool_choice"] == {"type": "function", "name": sent}


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (Choice("auto"), "auto"),
        (Choice("required"), "required"),
        (Choice("none", allowed=("f",)), "none"),
        (Choice("named", "f"), {"type": "function", "name": "f"}),
        (Choice("named", "p"), {"type": "custom", "name": "p"}),
        (
            Choice("required", allowed=("f", "p")),
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "p"}],
            },
        ),
    ],
)
def test_choices(choice: Choice, told: Any) -> None:
    """Choices."""
    tools = (TOOL, Tool("p", custom=True))
    assert body(tools=tools, choice=choice)["tool_choice"] == told


def test_a_forced_choice_is_a_wish_where_it_is_not_taken() -> None:
    """A forced choice is a wish where it is not taken."""
    facts = Facts("m", quirks("openai", "m", {"forced_choice": False}))
    said = body(tools=(TOOL,), choice=Choice("named", "f"), facts=facts, lost="changed=tool_choice")
    assert said["tool_choice"]["mode"] == "auto"


def test_a_forced_choice_without_tools_is_named() -> None:
    """It cannot be had."""
    assert "tool_choice" not in body(choice=Choice("named", "f"), lost="changed=tool_choice")


def test_namesakes_of_other_namespaces_are_not_chosen() -> None:
    """A name alone means the tool of no namespace."""
    tools = (Tool("f", namespace="docs"), Tool("f", custom=True))
    for name, told in (("f", "custom"), ("docs__f", "function")):
        found = body(tools=tools, choice=Choice("named", name), lost="changed=tool.namespace")
        assert found["tool_choice"] == {"type": told, "name": name}


def test_without_tools_nothing_is_said_of_them() -> None:
    """Without tools nothing is said of them."""
    assert body(choice=Choice("auto"), parallel=False).keys() == {"model", "input", "store"}
    assert body(tools=(TOOL,), parallel=False)["parallel_tool_calls"] is False


@pytest.mark.parametrize(
    ("asked", "told", "lost"), [(1, 16, "clamped=max_output"), (16, 16, ""), (99, 99, "")]
)
def test_bounds_below_the_smallest_are_raised(asked: int, told: int, lost: str) -> None:
    """Bounds below the smallest are raised."""
    assert body(max_output=asked, lost=lost)["max_output_tokens"] == told


def test_stop_sequences_are_the_proxys_to_find() -> None:
    """Stop sequences are the proxys to find."""
    assert written(stop=("END",), lost="changed=stop").stop == ("END",)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (Format("json_object"), {"type": "json_object"}),
        (
            Format("json_schema", "n", "d", {"a": 1}),
            {"type": "json_schema", "name": "n", "description": "d", "schema": {"a": 1}, "strict": False},
        ),
        (
            Format("json_schema", schema={"a": 1}),
            {"type": "json_schema", "name": "response", "schema": {"a": 1}, "strict": True},
        ),
        (
            Format("json_schema", "n", strict=True),
            {"type": "json_schema", "name": "n", "schema": {}, "strict": True},
        ),
    ],
)
def test_formats(wanted: Format, told: Any) -> None:
    """Formats."""
    assert body(format=wanted)["text"] == {"format": told}


def test_those_who_think_are_asked_for_it_in_the_form_that_can_be_sent_again() -> None:
    """Those who think are asked for it in the form that can be sent again."""
    assert body(facts=THINKS)["include"] == ["reasoning.encrypted_content"]
    assert "include" not in body(facts=OPENAI)


@pytest.mark.parametrize(
    ("wish", "told", "lost"),
    [
        (Reasoning("max"), {"effort": "max"}, ""),
        (Reasoning("low", shown=True), {"effort": "low", "summary": "auto"}, ""),
        (Reasoning(shown=False), None, ""),
        (Reasoning(budget=1024), {"effort": "low"}, "changed=reasoning.budget"),
        (Reasoning(budget=4096), {"effort": "medium"}, "changed=reasoning.budget"),
        (Reasoning(budget=9000), {"effort": "high"}, "changed=reasoning.budget"),
    ],
)
def test_reasoning(wish: Reasoning, told: Any, lost: str) -> None:
    """Reasoning."""
    assert body(reasoning=wish, facts=THINKS, lost=lost).get("reasoning") == told


@pytest.mark.parametrize(
    ("wish", "lost"),
    [
        (Reasoning("high"), "dropped=reasoning.effort"),
        (Reasoning(budget=2048), "dropped=reasoning.budget"),
        (Reasoning("none"), ""),
    ],
)
def test_reasoning_that_a_model_has_none_of(wish: Reasoning, lost: str) -> None:
    """Reasoning that a model has none of."""
    assert "reasoning" not in body(reasoning=wish, lost=lost)


def test_sampling() -> None:
    """Sampling."""
    said = body(sampling=Sampling(temperature=0.5, top_p=0.9))
    assert (said["temperature"], said["top_p"]) == (0.5, 0.9)
    assert "temperature" not in body(
        sampling=Sampling(temperature=0.5, top_p=1.0), facts=THINKS, lost="dropped=temperature"
    )


def test_sampling_that_the_dialect_has_no_place_for() -> None:
    """Sampling that the dialect has no place for."""
    everything = Sampling(
        top_k=1,
        presence_penalty=0.5,
        frequency_penalty=0,
        seed=1,
        logit_bias={"1": 2},
        logprobs=True,
        top_logprobs=2,
    )
    lost = "dropped=top_k,seed,logit_bias,presence_penalty,top_logprobs,logprobs"
    body(sampling=everything, lost=lost)


def test_hints() -> None:
    """Hints."""
    hints = Hints("ann", {"a": "b"}, "flex", "low", "k", {"type": "content"})
    said = body(hints=hints)
    assert said["safety_identifier"] == "ann"
    assert (said["metadata"], said["service_tier"], said["prompt_cache_key"]) == ({"a": "b"}, "flex", "k")
    assert said["text"] == {"verbosity": "low"}
    assert len(body(hints=Hints(user="a@b" * 30))["safety_identifier"]) == 64


def test_hints_are_for_those_who_are_known_to_take_them() -> None:
    """Hints are for those who are known to take them."""
    hints = Hints("ann", {"a": "b"}, "flex", "low", "k")
    assert body(hints=hints, facts=PLAIN, lost="dropped=verbosity,service_tier").keys() == {
        "model",
        "input",
        "store",
    }
    body(hints=Hints(tier="auto", verbosity="medium"), facts=PLAIN)


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"n": 2}, "n"), ({"hosted": (Hosted("web_search", Dialect.CHAT),)}, "tools.web_search")],
)
def test_what_cannot_be_said_is_refused(fields: dict[str, Any], param: str) -> None:
    """What cannot be said is refused."""
    with pytest.raises(Refusal) as caught:
        body(**fields)
    assert (caught.value.status, caught.value.param) == (400, param)
