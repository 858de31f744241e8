from typing import Any

import pytest

from proxy.errors import Refusal
from proxy.profiles import Quirks
from proxy.wire.chat import request_writer
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

SCHEMA = {"type": "object", "properties": {"x": {"type": "string"}}}
CLOSED = {**SCHEMA, "required": ["x"], "additionalProperties": False}
OPENAI = Quirks(
    output_cap="max_completion_tokens",
    developer_role=True,
    custom_tools=True,
    openai_hints=True,
    thinks="effort",
)


def asked(dialect: Dialect = Dialect.MESSAGES, **fields: Any) -> Conversation:
    """A request of a client of another dialect."""
    said = fields.pop("said", "Hi")
    return Conversation(dialect=dialect, turns=(Turn(Role.USER, (Text(said),)),), **fields)


def write(conversation: Conversation, quirks: Quirks | None = None, losses: Losses | None = None) -> Written:
    """What is written of it."""
    return request_writer.write(conversation, Facts("m", quirks or Quirks()), losses or Losses(Dialect.CHAT))


def body(conversation: Conversation, quirks: Quirks | None = None) -> dict[str, Any]:
    """The body, without the model and the messages."""
    written = write(conversation, quirks).body
    return {name: value for name, value in written.items() if name not in ("model", "messages")}


def lost(conversation: Conversation, quirks: Quirks | None = None) -> str:
    """What was lost on the way."""
    losses = Losses(Dialect.CHAT)
    write(conversation, quirks, losses)
    return losses.header()


def test_a_plain_request() -> None:
    """Nothing that nobody asked for."""
    assert write(asked()) == Written({"model": "m", "messages": [{"role": "user", "content": "Hi"}]})


def test_streams() -> None:
    """Usage is always asked for; who answers in streams only is asked for one."""
    streamed = {"stream": True, "stream_options": {"include_usage": True}}
    assert body(asked(stream=True)) == streamed
    assert body(asked(), Quirks(stream_only=True)) == streamed


def test_bounds() -> None:
    """The cap by its name; four stop sequences, and the proxy looks for the others."""
    assert body(asked(max_output=5)) == {"max_tokens": 5}
    assert body(asked(max_output=5), OPENAI) == {"max_completion_tokens": 5}
    written = write(asked(stop=tuple("abcdef")))
    assert (written.body["stop"], written.stop) == (["a", "b", "c", "d"], ("e", "f"))
    assert body(asked(n=2)) == {"n": 2}


def test_no_output_at_all() -> None:
    """To fill a cache and say nothing is a thing of Messages."""
    with pytest.raises(Refusal) as caught:
        write(asked(max_output=0))
    assert caught.value.param == "max_tokens"


def test_sampling() -> None:
    """All of it where it is taken."""
    sampling = Sampling(0.5, 0.9, 3, 0.1, 0.2, 4, {"5": 1})
    assert body(asked(sampling=sampling), Quirks(top_k=True)) == {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "seed": 4,
        "logit_bias": {"5": 1},
    }


def test_sampling_that_is_not_taken() -> None:
    """It is dropped by name, unless it said nothing."""
    none = Quirks(sampling=False, seed_and_penalties=False)
    sampling = Sampling(0.5, 1, 3, 0, 0.2, 4)
    assert body(asked(sampling=sampling), none) == {}
    assert lost(asked(sampling=sampling), none) == "dropped=temperature,top_k,frequency_penalty,seed"


def test_token_probabilities() -> None:
    """No answer of another dialect could hold them."""
    sampling = Sampling(logprobs=True, top_logprobs=3)
    assert body(asked(sampling=sampling)) == {}
    assert lost(asked(sampling=sampling)) == "dropped=logprobs"


# --- tools --------------------------------------------------------------------------------------------


def made(tool: Tool, quirks: Quirks | None = None, dialect: Dialect = Dialect.MESSAGES) -> dict[str, Any]:
    """How a tool is declared."""
    found: dict[str, Any] = body(asked(dialect, tools=(tool,)), quirks)["tools"][0]
    inner: dict[str, Any] = found[found["type"]]
    return inner


@pytest.mark.parametrize(
    ("tool", "declared"),
    [
        (Tool("f", "d", SCHEMA), {"name": "f", "description": "d", "parameters": SCHEMA}),
        (Tool("f"), {"name": "f", "parameters": {"type": "object", "properties": {}}}),
        (Tool("f", schema=CLOSED, strict=True), {"name": "f", "parameters": CLOSED, "strict": True}),
        (Tool("f", schema=CLOSED, strict=False), {"name": "f", "parameters": CLOSED}),
        (Tool("f", schema=SCHEMA, namespace="docs"), {"name": "docs__f", "parameters": SCHEMA}),
    ],
)
def test_functions(tool: Tool, declared: dict[str, Any]) -> None:
    """Parameters are always an object with properties; not strict is the default."""
    assert made(tool) == declared


def test_strict_where_it_was_left_out() -> None:
    """In Responses that means true; here it is only said of schemas that can be kept to."""
    assert made(Tool("f", schema=CLOSED), dialect=Dialect.RESPONSES)["strict"] is True
    assert "strict" not in made(Tool("f", schema=SCHEMA), dialect=Dialect.RESPONSES)
    assert "strict" not in made(Tool("f", schema=CLOSED), Quirks(json_schema=False), Dialect.RESPONSES)
    assert "strict" not in made(Tool("f", schema=CLOSED))


PATCH = Tool(
    "patch", "Patches.", custom=True, grammar={"type": "grammar", "syntax": "lark", "definition": "start: x"}
)


def test_free_text_tools() -> None:
    """Themselves where they are known; else functions whose calls are turned back."""
    assert made(PATCH, OPENAI) == {
        "name": "patch",
        "description": "Patches.",
        "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: x"}},
    }
    assert made(Tool("t", custom=True, grammar={"type": "text"}), OPENAI) == {
        "name": "t",
        "format": {"type": "text"},
    }
    function = made(PATCH)
    assert list(function["parameters"]["properties"]) == ["input"]
    assert function["description"].startswith("Patches.")
    assert "start: x" in function["description"]
    assert made(Tool("t", custom=True))["description"]
    assert lost(asked(tools=(PATCH,))) == "changed=tool.custom"
    assert write(asked(tools=(PATCH,))).origins == {"patch": Origin("patch", custom=True)}
    assert write(asked(tools=(PATCH,)), OPENAI).origins == {}


def test_names_that_are_changed_are_told() -> None:
    """So that calls come back under the client's own."""
    long = Tool("x" * 99)
    written = write(asked(tools=(Tool("f", namespace="docs"), long)))
    assert written.origins["docs__f"] == Origin("f", namespace="docs")
    assert Origin("x" * 99) in written.origins.values()
    assert lost(asked(tools=(long,))) == "changed=tool.name"
    assert lost(asked(tools=(Tool("f", namespace="docs"),))) == "changed=tool.namespace"


def test_hosted_tools() -> None:
    """Only their own vendor runs them: refused by name, or dropped where the operator says so."""
    conversation = asked(hosted=(Hosted("web_search", Dialect.RESPONSES),))
    with pytest.raises(Refusal) as caught:
        write(conversation)
    assert caught.value.param == "tools.web_search"
    losses = Losses(Dialect.CHAT, lenient=frozenset({"tool.hosted"}))
    assert "tools" not in write(conversation, losses=losses).body
    assert losses.header() == "dropped=tools.web_search"


TOOLS = (Tool("f", namespace="docs"), Tool("g", custom=True), Tool("h"))


@pytest.mark.parametrize(
    ("choice", "there"),
    [
        (Choice("auto"), "auto"),
        (Choice("none"), "none"),
        (Choice("required"), "required"),
        (Choice("named", "h"), {"type": "function", "function": {"name": "h"}}),
        (Choice("named", "f"), {"type": "function", "function": {"name": "docs__f"}}),
        (Choice("named", "g"), {"type": "custom", "custom": {"name": "g"}}),
        (Choice("named", "gone"), {"type": "function", "function": {"name": "gone"}}),
    ],
)
def test_choices(choice: Choice, there: object) -> None:
    """By the names that the provider knows the tools by."""
    assert body(asked(tools=TOOLS, choice=choice), OPENAI)["tool_choice"] == there


def test_a_choice_of_a_function_that_stands_for_a_tool() -> None:
    """It is chosen as what it was declared."""
    chosen = body(asked(tools=TOOLS, choice=Choice("named", "g")))["tool_choice"]
    assert chosen == {"type": "function", "function": {"name": "g"}}


def test_choices_that_cannot_be_forced() -> None:
    """Thinking models of some providers refuse them."""
    conversation = asked(tools=(Tool("f"),), choice=Choice("required"))
    assert body(conversation, Quirks(forced_choice=False))["tool_choice"] == "auto"
    assert lost(conversation, Quirks(forced_choice=False)) == "changed=tool_choice"


def test_allowed_tools_are_a_hard_bound() -> None:
    """OpenAI keeps to it; to others the rest is not even declared."""
    conversation = asked(tools=TOOLS, choice=Choice("required", allowed=("h",)))
    found = body(conversation)
    assert [tool["function"]["name"] for tool in found["tools"]] == ["h"]
    assert found["tool_choice"] == "required"
    there = body(conversation, OPENAI)
    assert len(there["tools"]) == len(TOOLS)
    tools = [{"type": "function", "function": {"name": "h"}}]
    assert there["tool_choice"] == {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "required", "tools": tools},
    }


def test_a_forced_choice_without_tools_is_named() -> None:
    """It cannot be had, also where the tools were a vendor's own and dropped."""
    assert lost(asked(choice=Choice("required"))) == "changed=tool_choice"
    assert lost(asked(choice=Choice("auto"))) == ""
    bound = asked(tools=TOOLS, choice=Choice("required", allowed=("gone",)))
    assert lost(bound) == "changed=tool_choice"


def test_namesakes_of_other_namespaces_are_not_chosen() -> None:
    """A name alone means the tool of no namespace; two that would be called alike are refused."""
    tools = (Tool("f", namespace="docs"), Tool("f"))
    found = body(asked(tools=tools, choice=Choice("required", allowed=("f",))))
    assert [tool["function"]["name"] for tool in found["tools"]] == ["f"]
    for several in ((Tool("f", namespace="docs"), Tool("docs__f")), (Tool("docs__f"), tools[0])):
        with pytest.raises(Refusal) as caught:
            body(asked(tools=several))
        assert (caught.value.status, caught.value.param) == (400, "tools")


def test_without_tools_nothing_is_said_of_them() -> None:
    """OpenAI refuses a choice, and parallel calls, where there is nothing to call."""
    assert body(asked(choice=Choice("auto"), parallel=False)) == {}
    found = body(asked(tools=(Tool("f"),), parallel=False))
    assert found["parallel_tool_calls"] is False


# --- formats ------------------------------------------------------------------------------------------


def wanted(form: Format, quirks: Quirks | None = None, dialect: Dialect = Dialect.RESPONSES) -> Any:
    """What the format becomes."""
    return body(asked(dialect, format=form), quirks)["response_format"]


def test_schemas() -> None:
    """They have a name, and are strict as the client's dialect has it."""
    form = Format("json_schema", "n", "d", CLOSED, strict=True)
    assert wanted(form) == {
        "type": "json_schema",
        "json_schema": {"name": "n", "description": "d", "schema": CLOSED, "strict": True},
    }
    bare = Format("json_schema", schema=CLOSED)
    assert wanted(bare)["json_schema"] == {"name": "response", "schema": CLOSED}
    assert wanted(bare, dialect=Dialect.MESSAGES)["json_schema"]["strict"] is True
    loose = Format("json_schema", schema=SCHEMA)
    assert wanted(loose, dialect=Dialect.MESSAGES)["json_schema"]["strict"] is False


def test_schemas_where_there_are_none() -> None:
    """They are asked for in the instructions, with JSON of any kind as the format."""
    conversation = asked(format=Format("json_schema", schema=SCHEMA))
    plain = Quirks(json_schema=False)
    written = write(conversation, plain).body
    assert written["response_format"] == {"type": "json_object"}
    assert written["messages"][0]["role"] == "system"
    assert '"properties"' in written["messages"][0]["content"]
    assert lost(conversation, plain) == "changed=format.json_schema"


def test_the_word_json() -> None:
    """Some providers want it in the prompt; it is only added where it is not there."""
    quirks = Quirks(json_word=True)
    form = Format("json_object")
    written = write(asked(format=form), quirks).body["messages"]
    assert [message["role"] for message in written] == ["system", "user"]
    assert "JSON" in written[0]["content"]
    assert len(write(asked(format=form, said="Give me json."), quirks).body["messages"]) == 1
    assert len(write(asked(format=form)).body["messages"]) == 1
    assert wanted(form) == {"type": "json_object"}


# --- thinking -----------------------------------------------------------------------------------------

DISABLED = {"thinking": {"type": "disabled"}}
ENABLED = {"type": "enabled"}


@pytest.mark.parametrize(
    ("thinks", "reasoning", "there", "lost_there"),
    [
        ("effort", Reasoning(), {}, ""),
        ("effort", Reasoning("xhigh"), {"reasoning_effort": "xhigh"}, ""),
        ("effort", Reasoning("none"), {"reasoning_effort": "none"}, ""),
        ("effort", Reasoning("low", 9000), {"reasoning_effort": "low"}, ""),
        ("effort", Reasoning(budget=1024), {"reasoning_effort": "low"}, "changed=reasoning.budget"),
        ("effort", Reasoning(budget=4096), {"reasoning_effort": "medium"}, "changed=reasoning.budget"),
        ("effort", Reasoning(budget=9000), {"reasoning_effort": "high"}, "changed=reasoning.budget"),
        ("deepseek", Reasoning("none"), DISABLED, ""),
        ("deepseek", Reasoning("low"), {"thinking": ENABLED, "reasoning_effort": "low"}, ""),
        (
            "deepseek",
            Reasoning("xhigh"),
            {"thinking": ENABLED, "reasoning_effort": "max"},
            "changed=reasoning.effort",
        ),
        ("dashscope", Reasoning("none"), {"enable_thinking": False}, ""),
        ("dashscope", Reasoning("low"), {"enable_thinking": True, "thinking_budget": 2048}, ""),
        ("dashscope", Reasoning("high"), {"enable_thinking": True}, ""),
        ("dashscope", Reasoning("max"), {"enable_thinking": True}, "changed=reasoning.effort"),
        ("dashscope", Reasoning(budget=5000), {"enable_thinking": True, "thinking_budget": 5000}, ""),
        ("no", Reasoning("none"), {}, ""),
        ("no", Reasoning("high"), {}, "dropped=reasoning.effort"),
        ("no", Reasoning(budget=5000), {}, "dropped=reasoning.budget"),
        ("adaptive", Reasoning("high"), {}, "dropped=reasoning.effort"),
    ],
)
def test_thinking(thinks: Any, reasoning: Reasoning, there: dict[str, Any], lost_there: str) -> None:
    """In the words of each provider; what it has no words for is told."""
    quirks = Quirks(thinks=thinks)
    assert body(asked(reasoning=reasoning), quirks) == there
    assert lost(asked(reasoning=reasoning), quirks) == lost_there


# --- hints --------------------------------------------------------------------------------------------

HINTS = Hints("u", {"a": "b"}, "flex", "low", "k", {"type": "content"})


def test_hints_at_openai() -> None:
    """All but metadata, which would need the answer to be stored there."""
    assert body(asked(hints=HINTS), OPENAI) == {
        "safety_identifier": "u",
        "service_tier": "flex",
        "verbosity": "low",
        "prompt_cache_key": "k",
        "prediction": {"type": "content"},
    }
    assert lost(asked(hints=HINTS), OPENAI) == ""


def test_hints_elsewhere() -> None:
    """Only the user is told of; what changes the answer is named."""
    assert body(asked(hints=HINTS)) == {"user": "u"}
    assert lost(asked(hints=HINTS)) == "dropped=verbosity,service_tier"
    assert lost(asked(hints=Hints(tier="auto", verbosity="medium", cache_key="k"))) == ""


def test_users_are_called_by_what_all_take() -> None:
    """A name that is too long, or holds an address, is its digest."""
    found = body(asked(hints=Hints("a@b.example")), OPENAI)["safety_identifier"]
    assert len(found) == 64
    assert "@" not in found
