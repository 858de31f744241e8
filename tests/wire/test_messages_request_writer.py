from typing import Any

import pytest
from fakes.translations import facts

from proxy.errors import Refusal
from proxy.wire.codec import Written
from proxy.wire.conversation import (
    Choice,
    Conversation,
    Format,
    Hints,
    Hosted,
    Reasoning,
    Role,
    Sampling,
    Seal,
    Text,
    Thinking,
    Tool,
    ToolResult,
    ToolUse,
    Turn,
)
from proxy.wire.losses import Losses
from proxy.wire.messages import request_writer
from proxy.wire.model import Dialect
from proxy.wire.naming import Origin

Json = dict[str, Any]
OLD = "claude-sonnet-4-5"
NEW = "claude-opus-4-8"
QUESTION = Turn(Role.USER, (Text("q"),))
EMPTY = {"type": "object", "properties": {}}
TOOL = Tool("f", "d", EMPTY)


def write(*, model: str = OLD, quirks: Json | None = None, **fields: Any) -> tuple[Written, str]:
    """What is written, and what was lost."""
    losses = Losses(Dialect.MESSAGES)
    conversation = Conversation(**{"dialect": Dialect.CHAT, "turns": (QUESTION,), **fields})
    written = request_writer.write(conversation, facts("messages", model=model, **(quirks or {})), losses)
    return written, losses.header()


def body(**fields: Any) -> Json:
    """The body, of which nothing was lost."""
    written, lost = write(**fields)
    assert lost == ""
    return written.body


def test_the_least_body() -> None:
    """A bound has to be there."""
    assert body() == {
        "model": OLD,
        "max_tokens": 32_000,
        "messages": [{"role": "user", "content": "q"}],
    }
    assert body(quirks={"max_output": 8000})["max_tokens"] == 8000
    assert body(max_output=1)["max_tokens"] == 1


def test_streams() -> None:
    """Also where nothing else can be had."""
    assert body(stream=True)["stream"] is True
    assert body(quirks={"stream_only": True})["stream"] is True


def test_stop_sequences() -> None:
    """Those of white space are left to the proxy."""
    written, _ = write(stop=("X", "\n\n", ""))
    assert written.body["stop_sequences"] == ["X"]
    assert written.stop == ("\n\n",)


@pytest.mark.parametrize(
    ("sampling", "sent", "lost"),
    [
        (Sampling(temperature=0.5, top_k=3), {"temperature": 0.5, "top_k": 3}, ""),
        (Sampling(temperature=1.5), {"temperature": 1}, "clamped=temperature"),
        (Sampling(top_p=0.5), {"top_p": 0.5}, ""),
        (Sampling(temperature=0.5, top_p=1), {"temperature": 0.5}, ""),
        (Sampling(temperature=0.5, top_p=0.9), {"temperature": 0.5}, "dropped=top_p"),
        (Sampling(seed=1, presence_penalty=0, frequency_penalty=1), {}, "dropped=seed,frequency_penalty"),
        (Sampling(logprobs=True, logit_bias={"1": 1}), {}, "dropped=logit_bias,logprobs"),
    ],
)
def test_sampling(sampling: Sampling, sent: Json, lost: str) -> None:
    """Temperature or share, never warmer than 1; what says nothing is no loss."""
    written, header = write(sampling=sampling)
    assert {
        name: written.body[name] for name in ("temperature", "top_p", "top_k") if name in written.body
    } == sent
    assert header == lost


def test_sampling_at_newer_models() -> None:
    """They take none."""
    written, lost = write(model=NEW, sampling=Sampling(temperature=0.5, top_p=1, top_k=3))
    assert {"temperature", "top_p", "top_k"}.isdisjoint(written.body)
    assert lost == "dropped=temperature,top_k"


def test_nothing_is_sampled_where_there_is_thinking() -> None:
    """It would be refused."""
    written, lost = write(reasoning=Reasoning("low"), sampling=Sampling(temperature=0.2, top_k=3))
    assert written.body["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert {"temperature", "top_k"}.isdisjoint(written.body)
    assert lost == "dropped=temperature,top_k"
    assert body(reasoning=Reasoning("none"), sampling=Sampling(temperature=0.2))["temperature"] == 0.2


def test_effort_and_format_share_a_field() -> None:
    """Of newer models."""
    found = body(
        model=NEW,
        reasoning=Reasoning("high", shown=True),
        format=Format("json_schema", schema={"type": "string"}),
    )
    assert found["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert found["output_config"] == {
        "effort": "high",
        "format": {"type": "json_schema", "schema": {"type": "string"}},
    }


def test_tools() -> None:
    """Always with an object of properties, marked where they were."""
    strict = Tool(
        "g", None, {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}, strict=True
    )
    written, lost = write(tools=(Tool("f", "d", None, cache="short"), strict))
    assert written.body["tools"] == [
        {"name": "f", "description": "d", "input_schema": EMPTY, "cache_control": {"type": "ephemeral"}},
        {
            "name": "g",
            "input_schema": {
                "type": "object",
                "properties": {"n": {"type": "integer", "description": "{minimum: 1}"}},
                "additionalProperties": False,
            },
            "strict": True,
        },
    ]
    assert lost == "changed=format.keywords"
    written, lost = write(tools=(strict,), quirks={"json_schema": False})
    assert "strict" not in written.body["tools"][0]
    assert lost == "dropped=tool.strict"


def test_a_strict_tool_that_cannot_be_is_refused() -> None:
    """By its name; one that can be is no loss."""
    with pytest.raises(Refusal) as caught:
        write(tools=(Tool("f", schema={**EMPTY, "items": {"$ref": "#"}}, strict=True),))
    assert caught.value.param == "tools.f"
    assert body(tools=(Tool("f", schema=EMPTY, strict=True),))["tools"][0]["strict"] is True


def test_tools_that_are_said_in_another_way() -> None:
    """Free text, namespaces, long names: with the way back."""
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: x"}}
    patch = Tool("patch", "Patches.", custom=True, grammar=grammar)
    note = Tool("note", custom=True, grammar={"type": "text"})
    spaced = Tool("find", namespace="docs")
    long = Tool("x" * 80)
    written, lost = write(tools=(patch, note, spaced, long))
    first, second, third, fourth = written.body["tools"]
    assert first["description"] == "Patches.\n\n`input` has to fit this lark grammar:\nstart: x"
    assert first["input_schema"]["required"] == ["input"]
    assert second["description"] == "`input` is free text."
    assert third["name"] == "docs__find"
    assert written.origins == {
        "patch": Origin("patch", custom=True),
        "note": Origin("note", custom=True),
        "docs__find": Origin("find", namespace="docs"),
        fourth["name"]: Origin("x" * 80),
    }
    assert lost == "changed=tool.custom,tool.namespace,tool.name"


def test_hosted_tools() -> None:
    """Are refused by name, or dropped where that is allowed."""
    hosted = (Hosted("web_search", Dialect.RESPONSES),)
    with pytest.raises(Refusal) as caught:
        write(hosted=hosted)
    assert caught.value.param == "tools.web_search"
    losses = Losses(Dialect.MESSAGES, lenient=frozenset({"tool.hosted"}))
    conversation = Conversation(dialect=Dialect.RESPONSES, turns=(QUESTION,), hosted=hosted)
    assert "tools" not in request_writer.write(conversation, facts("messages"), losses).body
    assert losses.header() == "dropped=tools.web_search"


@pytest.mark.parametrize(
    ("choice", "parallel", "sent"),
    [
        (None, None, None),
        (None, True, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (Choice("auto"), None, {"type": "auto"}),
        (Choice("required"), False, {"type": "any", "disable_parallel_tool_use": True}),
        (Choice("none"), False, {"type": "none"}),
        (Choice("named", "f"), True, {"type": "tool", "name": "f"}),
    ],
)
def test_which_tool_to_call(choice: Choice | None, parallel: bool | None, sent: Json | None) -> None:
    """And whether one at a time; nothing of it without tools, which is told of a forced choice."""
    assert body(tools=(TOOL,), choice=choice, parallel=parallel).get("tool_choice") == sent
    written, lost = write(choice=choice, parallel=parallel)
    assert "tool_choice" not in written.body
    forced = choice is not None and choice.mode in ("required", "named")
    assert lost == ("changed=tool_choice" if forced else "")


def test_choices_that_differ() -> None:
    """Of a namespace, among a few, where none can be forced."""
    spaced = Tool("find", namespace="docs")
    written, _ = write(tools=(TOOL, spaced), choice=Choice("named", "find"))
    assert written.body["tool_choice"] == {"type": "tool", "name": "docs__find"}
    found = body(tools=(TOOL, Tool("g")), choice=Choice("required", allowed=("g",)))
    assert [tool["name"] for tool in found["tools"]] == ["g"]
    assert found["tool_choice"] == {"type": "any"}
    written, lost = write(tools=(TOOL,), choice=Choice("required"), quirks={"forced_choice": False})
    assert written.body["tool_choice"] == {"type": "auto"}
    assert lost == "changed=tool_choice"


@pytest.mark.parametrize(("mode", "thinks"), [("auto", True), ("none", True), ("required", False)])
def test_a_forced_call_goes_before_thinking(mode: Any, thinks: bool) -> None:
    """They cannot be had together."""
    written, lost = write(tools=(TOOL,), choice=Choice(mode), reasoning=Reasoning("low"))
    assert ("thinking" in written.body) is thinks
    assert ("reasoning.effort" in lost) is not thinks


CALL = ToolUse("a", "f", "{}")
SEALED = Thinking("hm", Seal(Dialect.MESSAGES, OLD, "sig"))
RESULTS = Turn(Role.USER, (ToolResult("a", ()),))


@pytest.mark.parametrize(
    ("turns", "thinks"),
    [
        ((QUESTION, Turn(Role.ASSISTANT, (SEALED, CALL)), RESULTS), True),
        ((QUESTION, Turn(Role.ASSISTANT, (CALL,)), RESULTS), False),
        ((QUESTION, Turn(Role.ASSISTANT, (Text("so"), CALL)), RESULTS), False),
        ((QUESTION, Turn(Role.ASSISTANT, (Text("so"),))), False),
        (
            (QUESTION, Turn(Role.ASSISTANT, (CALL,)), RESULTS, Turn(Role.ASSISTANT, (Text("x"),)), QUESTION),
            True,
        ),
    ],
)
def test_a_budget_needs_the_thinking_of_the_turn_that_goes_on(turns: tuple[Turn, ...], thinks: bool) -> None:
    """Without it the model may not think now."""
    written, _ = write(turns=turns, tools=(TOOL,), reasoning=Reasoning("low"))
    assert ("thinking" in written.body) is thinks


def test_instructions_at_the_end_do_not_hide_that_turn() -> None:
    """Newer models take them there."""
    turns = (QUESTION, Turn(Role.ASSISTANT, (CALL,)), RESULTS, Turn(Role.SYSTEM, (Text("s"),)))
    written, _ = write(
        turns=turns, tools=(TOOL,), reasoning=Reasoning("low"), model=NEW, quirks={"thinks": "budget"}
    )
    assert written.body["messages"][-1]["role"] == "system"
    assert "thinking" not in written.body


A = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
REFERRED = {"$ref": "#/definitions/a", "definitions": {"a": A}}


@pytest.mark.parametrize("strict", [True, None])
def test_a_tool_that_takes_one_of_several(strict: bool | None) -> None:
    """Its arguments are one object with the properties of all, and that is told."""
    union = {"anyOf": [{"$ref": "#/definitions/a"}, {"type": "object", "properties": {"b": {}}}]}
    tool = Tool("f", schema={**union, "definitions": {"a": A}}, strict=strict)
    written, lost = write(tools=(tool,), model=NEW)
    schema = written.body["tools"][0]["input_schema"]
    assert (schema["type"], schema["properties"]) == ("object", {"a": {"type": "string"}, "b": {}})
    assert lost == "changed=tool.schema"


@pytest.mark.parametrize("strict", [True, None])
def test_a_tool_whose_arguments_are_only_referred_to(strict: bool | None) -> None:
    """As zod-to-json-schema has them: they stand where Messages looks for them, and nothing is lost."""
    (tool,) = body(tools=(Tool("f", schema=REFERRED, strict=strict),), model=NEW)["tools"]
    assert {name: tool["input_schema"][name] for name in A} == A
    assert tool["input_schema"].get("additionalProperties", True) is not strict


def test_a_conversation_with_calls_and_no_tools_any_more() -> None:
    """They are declared by their names, for calls of the unknown are refused; none of them may be called."""
    turns = (QUESTION, Turn(Role.ASSISTANT, (CALL,)), RESULTS)
    none: list[Json] = [
        {},
        {"parallel": False},
        {"choice": Choice("auto")},
        {"choice": Choice("none")},
        {"tools": (TOOL,), "choice": Choice("auto", allowed=())},
    ]
    for fields in none:
        written = body(turns=turns, **fields)
        assert written["tools"] == [{"name": "f", "input_schema": EMPTY}]
        assert written["tool_choice"] == {"type": "none"}
    asked, lost = write(turns=turns, choice=Choice("required"))
    assert (asked.body["tool_choice"], lost) == ({"type": "none"}, "changed=tool_choice")
    assert "tool_choice" not in body(turns=(QUESTION,))


def test_tools_that_are_only_remembered_leave_thinking_alone() -> None:
    """They force nothing."""
    turns = (QUESTION, Turn(Role.ASSISTANT, (SEALED, CALL)), RESULTS)
    written = body(turns=turns, reasoning=Reasoning("low"))
    assert written["tool_choice"] == {"type": "none"}
    assert written["thinking"]["type"] == "enabled"


def test_json_in_words() -> None:
    """Where there is no mode of it, after the instructions that lead."""
    lead = Turn(Role.SYSTEM, (Text("s"),))
    written, lost = write(turns=(lead, QUESTION), format=Format("json_object"))
    assert [block["text"] for block in written.body["system"]] == ["s", request_writer.JSON_ONLY]
    assert lost == "changed=format.json_object"
    asked = Format("json_schema", schema={"type": "string"})
    written, lost = write(format=asked, quirks={"json_schema": False})
    assert written.body["system"][0]["text"].endswith('{"type":"string"}')
    assert "output_config" not in written.body
    assert lost == "changed=format.json_schema"


def test_a_schema_with_bounds() -> None:
    """They are described; what cannot be said at all is refused."""
    _, lost = write(format=Format("json_schema", schema={"type": "integer", "minimum": 1}))
    assert lost == "changed=format.keywords"
    free = {"type": "object", "properties": {"meta": {"type": "object"}}}
    assert write(format=Format("json_schema", schema=free))[1] == "changed=format.keywords"
    assert write(tools=(Tool("f", schema=free, strict=True),), model=NEW)[1] == "changed=format.keywords"
    assert body(tools=(Tool("f", strict=True),), model=NEW)["tools"][0]["strict"]
    with pytest.raises(Refusal):
        write(format=Format("json_schema", schema={"items": {"$ref": "#"}}))


@pytest.mark.parametrize(
    ("tier", "sent", "lost"),
    [
        (None, None, ""),
        ("auto", "auto", ""),
        ("default", "standard_only", ""),
        ("priority", "auto", "changed=service_tier"),
        ("flex", None, "dropped=service_tier"),
    ],
)
def test_service_tiers(tier: str | None, sent: str | None, lost: str) -> None:
    """The nearest there is."""
    written, header = write(hints=Hints(tier=tier))
    assert (written.body.get("service_tier"), header) == (sent, lost)


def test_whom_it_is_for() -> None:
    """By a name that anybody may know."""
    assert body(hints=Hints(user="u-1"))["metadata"] == {"user_id": "u-1"}
    name = body(hints=Hints(user="ann@example.com"))["metadata"]["user_id"]
    assert len(name) == 64
    assert write(hints=Hints(metadata={"a": "b"}))[1] == "dropped=metadata"
    assert body(hints=Hints(verbosity="low", cache_key="k", prediction={})) == body()


def test_several_answers_are_refused() -> None:
    """There is one at a time."""
    with pytest.raises(Refusal) as caught:
        write(n=2)
    assert caught.value.param == "n"


def test_marks_are_counted_over_all_of_the_prompt() -> None:
    """Tools first, then the system, then the messages: the last four stay."""
    marked = Text("a", "short")
    turns = (Turn(Role.SYSTEM, (marked,)), Turn(Role.USER, (marked, marked, marked)))
    found = body(turns=turns, tools=(Tool("f", cache="long"),))
    assert "cache_control" not in found["tools"][0]
    assert "cache_control" in found["system"][0]
    assert "cache_control" not in str(body(turns=turns, quirks={"cache_marks": False}))
