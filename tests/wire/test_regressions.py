"""Bugs of translation that others have had, each with the input that brought it about.

The numbers are those of the list that the proxy's translation was written against. Clients are official SDKs
and coding tools, upstreams whatever was seen to say such things.
"""

import json
from typing import Any

import pytest
from fakes.assembling import assembled
from fakes.speech import (
    COUNT,
    COUNTED,
    Json,
    called,
    chat,
    chunk,
    completion,
    ended,
    function,
    item_call,
    message_stream,
    messages,
    piece,
    plainly,
    response_of,
    response_stream,
    responses,
    result,
    text,
    tool,
    use,
    used,
    user,
)
from fakes.translations import (
    STAMP,
    answered,
    event,
    events,
    lost,
    passing,
    sent,
    streamed,
    told,
    translation,
)
from schemas.validation import problems, stream_problems

from proxy.errors import FaultKind, Refusal
from proxy.profiles import Kind
from proxy.wire import seals
from proxy.wire.conversation import Seal
from proxy.wire.dialects import CODECS
from proxy.wire.model import Dialect, Usage

DIALECTS = ("chat", "messages", "responses")
PAIRS = [(client, upstream) for client in DIALECTS for upstream in DIALECTS if client != upstream]
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="


# --- how it is looked at ---------------------------------------------------------------------------------


def texts(content: Any) -> str:
    """All text of a content, however it is divided."""
    return content if isinstance(content, str) else "|".join(part.get("text", "") for part in content or ())


def spoken(body: Json) -> list[tuple[str, str]]:
    """Role and text of each message of a body."""
    return [(turn["role"], texts(turn["content"])) for turn in body["messages"]]


def heard(client: str, upstream: str, *said: Any, body: Json | None = None, **target: Any) -> Json:
    """What a client has at the end of an upstream's stream, which is valid in its dialect."""
    request = {**(body or plainly(client)), "stream": True}
    if client == "chat":
        request["stream_options"] = {"include_usage": True}
    way = translation(client, upstream, request, **target)
    out = told(way.stream(), [event(upstream, value) for value in said])
    assert stream_problems(client, out.raw) == []
    return assembled(client, events(out.raw))


# --- the list -----------------------------------------------------------------------------------------


def test_01_delta_that_switches_blocks_is_not_swallowed() -> None:
    """All arguments come in the very delta that begins the call."""
    made = {"name": "Bash", "arguments": '{"command":"ls"}'}
    said = [chunk(content="ok"), piece(index=0, id="call_1", **made), *ended("tool_calls")]
    got = heard("messages", "chat", *said)
    assert [block["type"] for block in got["content"]] == ["text", "tool_use"]
    assert got["content"][1]["input"] == {"command": "ls"}
    assert got["stop_reason"] == "tool_use"
    assert heard("responses", "chat", *said)["output"][1]["arguments"] == '{"command":"ls"}'


@pytest.mark.parametrize("calls", [[], None])
def test_02_empty_tool_calls_beside_text_are_nothing(calls: object) -> None:
    """They are no call, and no end of the text."""
    said = [chunk(content="Hel", tool_calls=calls), chunk(content="lo", tool_calls=calls), *ended()]
    got = heard("messages", "chat", *said)
    assert [(block["type"], block["text"]) for block in got["content"]] == [("text", "Hello")]
    assert got["stop_reason"] == "end_turn"
    parts = heard("responses", "chat", *said)["output"]
    assert [texts(item["content"]) for item in parts] == ["Hello"]


def test_03_reasoning_is_a_thinking_block() -> None:
    """Never text, whatever the first delta looked like; and there is one start."""
    said = [chunk(role="assistant", content=""), chunk(reasoning_content="hm"), chunk(content="Hi"), *ended()]
    got = heard("messages", "chat", *said)
    assert [block["type"] for block in got["content"]] == ["thinking", "text"]
    assert (got["content"][0]["thinking"], got["content"][1]["text"]) == ("hm", "Hi")
    output = heard("responses", "chat", *said)["output"]
    assert [item["type"] for item in output] == ["reasoning", "message"]
    alias = [chunk(role="assistant", content=""), chunk(reasoning="hm"), chunk(content="Hi"), *ended()]
    assert heard("messages", "chat", *alias)["content"][0]["thinking"] == "hm"


def test_04_system_among_the_messages() -> None:
    """It goes where the provider takes it: in place, or as a user's words; never first at Messages."""
    body = messages(
        user("q1"),
        {"role": "assistant", "content": "a1"},
        {"role": "system", "content": "B"},
        user("q2"),
        system="A",
    )
    openai = spoken(sent(translation("messages", "chat", body)))
    assert openai == [("system", "A"), ("user", "q1"), ("assistant", "a1"), ("system", "B"), ("user", "q2")]
    generic = spoken(sent(translation("messages", "chat", body, "generic", "qwen")))
    assert [role for role, _ in generic if role == "system"] == ["system"]
    assert generic[:3] == [("system", "A"), ("user", "q1"), ("assistant", "a1")]
    later = "|".join(words for _, words in generic[3:])
    assert later.index("B") < later.index("q2")

    first = responses({"role": "developer", "content": "A"}, user("q1"))
    there = sent(translation("responses", "messages", first))
    assert texts(there["system"]) == "A"
    assert spoken(there) == [("user", "q1")]


@pytest.mark.parametrize(
    ("model", "roles"), [("claude-opus-4-8", {"system"}), ("claude-sonnet-4-5", {"user"})]
)
def test_04_system_later_at_messages(model: str, roles: set[str]) -> None:
    """Only newer models of Anthropic take it; after a user's turn only."""
    turns = [user("q1"), {"role": "system", "content": "B"}]
    body = sent(translation("chat", "messages", chat(*turns), model=model))
    assert {role for role, words in spoken(body) if "B" in words} == roles
    assert body["messages"][0]["role"] == "user"


def test_05_parallel_results_are_one_user_turn() -> None:
    """What follows a turn with calls holds all their results, then what the user says."""
    turns = [user("x"), called(("a", "f", "{}"), ("b", "f", "{}")), result("a"), result("b"), user("go")]
    body = sent(translation("chat", "messages", chat(*turns, tools=[function()])))
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    last = body["messages"][2]["content"]
    assert [(part["type"], part.get("tool_use_id")) for part in last] == [
        ("tool_result", "a"),
        ("tool_result", "b"),
        ("text", None),
    ]


def test_06_results_come_before_the_words_around_them() -> None:
    """At chat providers as messages of their own, at Messages first in their turn."""
    turns = [
        user("x"),
        {"role": "assistant", "content": [use("t1"), use("t2")]},
        user([text("reminder"), used("t1"), text("more"), used("t2")]),
    ]
    there = sent(translation("messages", "chat", messages(*turns, tools=[tool()])))["messages"]
    assert [turn["role"] for turn in there] == ["user", "assistant", "tool", "tool", "user"]
    assert [turn["tool_call_id"] for turn in there[2:4]] == ["t1", "t2"]
    assert texts(there[4]["content"]).replace("|", "").replace("\n", "") == "remindermore"

    items = [
        user("x"),
        {"type": "function_call", "call_id": "t1", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "t2", "name": "f", "arguments": "{}"},
        user("reminder"),
        {"type": "function_call_output", "call_id": "t1", "output": "1"},
        {"type": "function_call_output", "call_id": "t2", "output": "2"},
    ]
    body = sent(translation("responses", "messages", responses(*items)))
    assert [part["type"] for part in body["messages"][2]["content"]] == ["tool_result", "tool_result", "text"]


def test_07_calls_of_one_turn_are_one_message() -> None:
    """Each of them alone would lack the results of the others; calls after results are another turn."""
    a, b = ({"type": "function_call", "call_id": i, "name": "f", "arguments": "{}"} for i in "ab")
    out_a, out_b = ({"type": "function_call_output", "call_id": i, "output": i} for i in "ab")
    there = sent(translation("responses", "chat", responses(user("x"), a, b, out_b, out_a)))["messages"]
    assert [turn["role"] for turn in there] == ["user", "assistant", "tool", "tool"]
    assert [call["id"] for call in there[1]["tool_calls"]] == ["a", "b"]
    assert sorted(turn["tool_call_id"] for turn in there[2:]) == ["a", "b"]
    apart = sent(translation("responses", "chat", responses(user("x"), a, out_a, b, out_b)))["messages"]
    assert [turn["role"] for turn in apart] == ["user", "assistant", "tool", "assistant", "tool"]


@pytest.mark.parametrize("arguments", ["", " ", "{}"])
def test_08_a_call_without_arguments_has_an_empty_object(arguments: str) -> None:
    """Everywhere: in what is sent on, and in what comes back."""
    turns = [user("x"), called(("a", "now", arguments)), result("a")]
    body = sent(translation("chat", "messages", chat(*turns, tools=[function("now")])))
    assert body["messages"][1]["content"][-1]["input"] == {}
    there = sent(translation("chat", "responses", chat(*turns, tools=[function("now")])))["input"]
    assert [item["arguments"] for item in there if item["type"] == "function_call"] == ["{}"]


def test_08_arguments_that_never_come() -> None:
    """A call may be a start and an end, and nothing in between."""
    usage = {"input_tokens": 1, "output_tokens": 1}
    said = [
        {"type": "message_start", "message": {"id": "m", "model": "m", "content": [], "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": use("t", "now")},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": usage},
        {"type": "message_stop"},
    ]
    call = heard("chat", "messages", *said)["choices"][0]["message"]["tool_calls"][0]
    assert call["function"] == {"name": "now", "arguments": "{}"}
    assert heard("responses", "messages", *said)["output"][0]["arguments"] == "{}"
    mute = [piece(index=0, id="t", name="now", arguments=""), *ended("tool_calls")]
    assert heard("messages", "chat", *mute)["content"][0]["input"] == {}
    assert heard("responses", "chat", *mute)["output"][0]["arguments"] == "{}"


@pytest.mark.parametrize(
    ("given", "said"), [({}, False), ({"strict": False}, False), ({"strict": True}, True)]
)
def test_09_strict_is_always_said_to_responses(given: Json, said: bool) -> None:
    """Left out it would mean true there, and optional parameters would be filled with nothing."""
    schema: Json = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
    if said:
        schema["required"] = ["a"]
    body = sent(translation("chat", "responses", chat(tools=[function(parameters=schema, **given)])))
    assert body["tools"][0]["strict"] is said
    asked = {**tool(**schema), **given}
    assert sent(translation("messages", "responses", messages(tools=[asked])))["tools"][0]["strict"] is said


@pytest.mark.parametrize("schema", [None, {}, {"type": "object"}, {"properties": None}, {"type": None}])
def test_10_parameters_are_always_an_object_with_properties(schema: Json | None) -> None:
    """Whatever was said of them, if anything."""
    chats = chat(tools=[{"type": "function", "function": {"name": "f", "parameters": schema}}])
    asked = responses(tools=[{"type": "function", "name": "f", "parameters": schema, "strict": False}])
    assert sent(translation("chat", "messages", chats))["tools"][0]["input_schema"] == EMPTY
    assert sent(translation("chat", "responses", chats))["tools"][0]["parameters"] == EMPTY
    assert sent(translation("responses", "chat", asked))["tools"][0]["function"]["parameters"] == EMPTY
    assert sent(translation("responses", "messages", asked))["tools"][0]["input_schema"] == EMPTY
    if schema == {"type": "object"}:
        said = messages(tools=[{"name": "f", "input_schema": schema}])
        assert sent(translation("messages", "chat", said))["tools"][0]["function"]["parameters"] == EMPTY
        assert sent(translation("messages", "responses", said))["tools"][0]["parameters"] == EMPTY


EMPTY = {"type": "object", "properties": {}}


def test_11_a_picture_in_a_result_is_kept() -> None:
    """After all results at chat providers, in its place at Responses."""
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    turns = [
        user("x"),
        {"role": "assistant", "content": [use("t1"), use("t2")]},
        user([used("t1", [text("shot"), picture]), used("t2", [picture])]),
    ]
    body = messages(*turns, tools=[tool()])
    there = sent(translation("messages", "chat", body))["messages"]
    assert [turn["role"] for turn in there[2:]] == ["tool", "tool", "user"]
    assert texts(there[2]["content"]).startswith("shot")
    assert texts(there[3]["content"])
    urls = [part["image_url"]["url"] for part in there[4]["content"] if part["type"] == "image_url"]
    assert urls == [f"data:image/png;base64,{PNG}"] * 2
    items = sent(translation("messages", "responses", body))["input"]
    outputs = [item["output"] for item in items if item["type"] == "function_call_output"]
    assert [part["type"] for part in outputs[0]] == ["input_text", "input_image"]


BAD_IDS = ("functions.bash:0", "functions.bash:1", "x|y\n" * 20, "ä")


def test_12_ids_are_legal_at_the_target() -> None:
    """The same for a call and its result; different ones stay different, legal ones are not touched."""
    ids = [*BAD_IDS, "call_1"]
    turns = [user("x"), called(*((i, "f", "{}") for i in ids)), *(result(i) for i in ids)]
    body = chat(*turns, tools=[function()])
    parts = sent(translation("chat", "messages", body))["messages"]
    uses = [part["id"] for part in parts[1]["content"]]
    assert [part["tool_use_id"] for part in parts[2]["content"]] == uses
    items = sent(translation("chat", "responses", body))["input"]
    calls = [item["call_id"] for item in items if item["type"] == "function_call"]
    assert [item["call_id"] for item in items if item["type"] == "function_call_output"] == calls
    for found in (uses, calls):
        assert len(set(found)) == len(ids)
        assert found[-1] == "call_1"
        assert all(0 < len(one) <= 64 for one in found)
    assert all(one.replace("_", "").replace("-", "").isalnum() and one.isascii() for one in uses)


PATCH = '*** Begin Patch\n+ü "x"\n*** End Patch'
APPLY = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Patches.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: patch"},
}


@pytest.mark.parametrize("upstream", ["chat", "messages"])
def test_13_a_freeform_tool_is_a_function_there_and_itself_here(upstream: str) -> None:
    """Its input comes back as raw text, piece by piece, and its output goes on as a result."""
    kind: Kind = "generic" if upstream == "chat" else "anthropic"
    body = responses(
        user("x"),
        {"type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": PATCH},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "done"},
        tools=[APPLY],
    )
    way = translation("responses", upstream, body, kind)
    there = sent(way)
    if upstream == "chat":
        made = there["tools"][0]["function"]
        assert list(made["parameters"]["properties"]) == ["input"]
        assert "start: patch" in made["description"]
        call = there["messages"][1]["tool_calls"][0]["function"]
        assert json.loads(call["arguments"]) == {"input": PATCH}
        assert there["messages"][2] == result("c1", "done")
        given = json.dumps({"input": PATCH})
        pieces = [piece(index=0, function=None, arguments=given[i : i + 7]) for i in range(0, len(given), 7)]
        said = [piece(index=0, id="c2", name="apply_patch", arguments=""), *pieces, *ended("tool_calls")]
    else:
        assert list(there["tools"][0]["input_schema"]["properties"]) == ["input"]
        assert there["messages"][1]["content"][0]["input"] == {"input": PATCH}
        said = message_stream(use("c2", "apply_patch"), json.dumps({"input": PATCH}))
    output = heard("responses", upstream, *said, body=body, kind=kind)["output"]
    assert [(item["type"], item["name"], item["input"]) for item in output] == [
        ("custom_tool_call", "apply_patch", PATCH)
    ]
    names = {value["type"] for value in streamed(way, upstream, said) if isinstance(value, dict)}
    assert {"response.custom_tool_call_input.delta", "response.custom_tool_call_input.done"} <= names


@pytest.mark.parametrize("upstream", ["chat", "messages"])
def test_13_hosted_tools_are_refused_or_dropped(upstream: str) -> None:
    """By name, and never with a 500; namespaces are flattened."""
    inside = {"type": "function", "name": "find", "parameters": EMPTY, "strict": False}
    spaced = {"type": "namespace", "name": "docs", "description": "Docs.", "tools": [inside]}
    with pytest.raises(Refusal) as caught:
        translation("responses", upstream, responses(tools=[{"type": "web_search"}]))
    assert caught.value.status == 400
    body = responses(tools=[{"type": "web_search"}, spaced])
    way = translation("responses", upstream, body, lenient=["tool.hosted"])
    assert "web_search" not in way.request().decode()
    assert "docs__find" in way.request().decode()
    assert "tools" in lost(way)


@pytest.mark.parametrize("client", ["chat", "messages"])
def test_14_no_foreign_ids_of_items(client: str) -> None:
    """OpenAI takes items without an id, or with one of its own."""
    if client == "chat":
        body = chat(
            user("x"), {**called(("a", "f", "{}")), "id": "chatcmpl-x"}, result("a"), tools=[function()]
        )
    else:
        turns = [{"role": "assistant", "content": [text("so"), use("a")]}, user([used("a")])]
        body = messages(user("x"), *turns, tools=[tool()])
    items = sent(translation(client, "responses", body))["input"]
    own = {"message": "msg_", "function_call": "fc_", "function_call_output": "fc", "reasoning": "rs_"}
    assert all(item["id"].startswith(own[item["type"]]) for item in items if "id" in item)
    assert [item["call_id"] for item in items if "call_id" in item] == ["a", "a"]


@pytest.mark.parametrize("upstream", ["chat", "messages"])
def test_14_ids_of_responses_are_of_their_kind(upstream: str) -> None:
    """What the upstream calls its reply is not what ours is called."""
    said = [piece(index=0, id="call_1", name="f", arguments="{}"), *ended("tool_calls")]
    if upstream == "messages":
        said = message_stream(use("call_1"), "{}")
    got = heard("responses", upstream, *said)
    assert got["id"].startswith("resp_")
    assert got["output"][0]["id"].startswith("fc_")
    assert got["output"][0]["call_id"] == "call_1"


OPUS = "claude-opus-4-8"
THOUGHT = "Thinking\u00e9 \\ “so”  \n "


def replayed(encrypted: str, model: str = OPUS) -> list[Json]:
    """What Messages gets of a reasoning item that a Responses client sends back."""
    items = [
        user("x"),
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": THOUGHT}],
            "encrypted_content": encrypted,
        },
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "1"},
    ]
    body = responses(*items, tools=[{"type": "function", "name": "f", "parameters": EMPTY, "strict": False}])
    found: list[Json] = sent(translation("responses", "messages", body, model=model))["messages"][1][
        "content"
    ]
    return found


def test_15_a_signature_goes_back_as_it_came() -> None:
    """To the model that made it, with its thinking to the last space."""
    signed = seals.pack(Seal(Dialect.MESSAGES, OPUS, "sig+/=="))
    thinking = {"type": "thinking", "thinking": THOUGHT, "signature": "sig+/=="}
    assert replayed(signed)[0] == thinking


@pytest.mark.parametrize(
    "seal",
    [
        seals.pack(Seal(Dialect.MESSAGES, "claude-opus-4-7", "sig")),
        seals.pack(Seal(Dialect.RESPONSES, OPUS, '{"id":"rs_1","encrypted_content":"x"}')),
        "gAAAAforeign",
        "ax1.broken",
    ],
)
def test_15_a_foreign_signature_is_left_out(seal: str) -> None:
    """A block without a good one is no block, and its thinking never becomes text."""
    assert [block["type"] for block in replayed(seal)] == ["tool_use"]


def test_15_an_empty_or_foreign_signature_at_messages_goes_nowhere() -> None:
    """Thinking of Anthropic's own has no place at OpenAI; what came from there goes back there."""
    theirs = seals.pack(Seal(Dialect.RESPONSES, "gpt-5.1", '{"id":"rs_1","encrypted_content":"gAAA"}'))
    for signature, items in ((theirs, ["gAAA"]), ("", []), ("sig==", [])):
        block = {"type": "thinking", "thinking": THOUGHT, "signature": signature}
        turn = {"role": "assistant", "content": [block, text("so")]}
        body = sent(
            translation("messages", "responses", messages(user("x"), turn, user("y")), model="gpt-5.1")
        )
        found = [item["encrypted_content"] for item in body["input"] if item["type"] == "reasoning"]
        assert found == items


def test_16_reasoning_that_nobody_can_resolve_is_dropped() -> None:
    """What has no encrypted content cannot be replayed where nothing is stored."""
    sealed: Json = {
        "type": "reasoning",
        "id": "rs_2",
        "summary": [],
        "encrypted_content": "gAAA",
        "status": None,
    }
    items = [
        user("x"),
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
        user("y"),
        sealed,
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "b"}]},
        user("z"),
    ]
    body = sent(passing("responses", responses(*items, store=False), model="gpt-5.1"))
    assert [i["encrypted_content"] for i in body["input"] if i.get("type") == "reasoning"] == ["gAAA"]
    assert all(item.get("status", "") is not None for item in body["input"])


@pytest.mark.parametrize("client", ["chat", "messages"])
def test_16_encrypted_reasoning_is_always_asked_for(client: str) -> None:
    """We store nothing there, so what comes must be replayable."""
    body = sent(translation(client, "responses", plainly(client), model="gpt-5.1"))
    assert body["store"] is False
    assert "reasoning.encrypted_content" in body["include"]


@pytest.mark.parametrize(("kind", "expected"), [("deepseek", ["hm", ""]), ("openai", []), ("mistral", [])])
def test_17_reasoning_goes_back_to_those_who_require_it(kind: Kind, expected: list[str]) -> None:
    """With every turn that called a tool, empty where it is not known; to others it does not go."""
    known = {"type": "thinking", "thinking": "hm", "signature": ""}
    turns = [
        user("x"),
        {"role": "assistant", "content": [known, use("a")]},
        user([used("a")]),
        {"role": "assistant", "content": [use("b")]},
        user([used("b")]),
    ]
    body = sent(translation("messages", "chat", messages(*turns, tools=[tool()]), kind, "m"))
    said = [turn for turn in body["messages"] if turn["role"] == "assistant"]
    assert [turn["reasoning_content"] for turn in said if "reasoning_content" in turn] == expected


IDENTITY: dict[str, tuple[list[Json], list[tuple[str, str]]]] = {
    "empty id and null name": (
        [
            piece(index=0, id="c1", name="f", arguments=""),
            piece(index=0, id="", name=None, arguments='{"a":1}'),
        ],
        [("c1", '{"a":1}')],
    ),
    "empty name": (
        [piece(index=0, id="c1", name="f", arguments='{"a"'), piece(index=0, name="", arguments=":1}")],
        [("c1", '{"a":1}')],
    ),
    "same index": (
        [
            piece(index=0, id="c1", name="f", arguments="{}"),
            piece(index=0, id="c2", name="f", arguments="{}"),
        ],
        [("c1", "{}"), ("c2", "{}")],
    ),
    "no index": (
        [piece(id="c1", name="f", arguments='{"a"'), piece(arguments=":1}")],
        [("c1", '{"a":1}')],
    ),
    "repeated id": (
        [
            piece(index=0, id="c1", name="f", arguments='{"a"'),
            piece(index=0, id="c1", name="f", arguments=":1}"),
        ],
        [("c1", '{"a":1}')],
    ),
}


@pytest.mark.parametrize(("said", "calls"), IDENTITY.values(), ids=IDENTITY.keys())
def test_18_whose_piece_of_a_call_it_is(said: list[Json], calls: list[tuple[str, str]]) -> None:
    """A new id is a new call; no id is the current one."""
    got = heard("messages", "chat", *said, *ended("tool_calls"))
    assert [(block["id"], block["input"]) for block in got["content"]] == [
        (call, json.loads(given)) for call, given in calls
    ]
    items = heard("responses", "chat", *said, *ended("tool_calls"))["output"]
    assert [(item["call_id"], item["arguments"]) for item in items] == calls


def test_19_schemas_of_replies_keep_to_what_messages_takes() -> None:
    """Bounds move to the description, objects are closed, alternatives are said as it says them."""
    schema = {
        "type": "object",
        "properties": {
            "n": {"type": "integer", "minimum": 1, "maximum": 5},
            "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
            "either": {"oneOf": [{"type": "string"}, {"type": "object", "properties": {}}]},
        },
    }
    form = {"type": "json_schema", "json_schema": {"name": "r", "schema": schema}}
    way = translation("chat", "messages", chat(response_format=form))
    there = sent(way)["output_config"]["format"]
    assert there["type"] == "json_schema"
    assert there["schema"]["additionalProperties"] is False
    fields = there["schema"]["properties"]
    assert {"minimum", "maximum"}.isdisjoint(fields["n"])
    assert "1" in fields["n"]["description"]
    assert "5" in fields["n"]["description"]
    assert "maxItems" not in fields["tags"]
    assert "oneOf" not in fields["either"]
    assert fields["either"]["anyOf"][1]["additionalProperties"] is False
    assert "changed=" in lost(way)


@pytest.mark.parametrize("bound", [1, 1024, 1025, 4000, 60_000])
def test_20_a_budget_is_within_the_bound(bound: int) -> None:
    """At least 1024 and less than all; where that cannot be there is no thinking. Then nothing is sampled."""
    body = chat(reasoning_effort="high", max_completion_tokens=bound, temperature=0.2)
    way = translation("chat", "messages", body)
    there = sent(way)
    assert there["max_tokens"] == bound
    thinking = there.get("thinking", {"type": "disabled"})
    if thinking["type"] == "enabled":
        assert 1024 <= thinking["budget_tokens"] < bound
        assert "temperature" not in there
        assert "temperature" in lost(way)
    else:
        assert bound <= 1025
    unbounded = sent(translation("chat", "messages", chat(reasoning_effort="high")))
    assert unbounded["thinking"]["budget_tokens"] < unbounded["max_tokens"]


# --- points of the stream grammars --------------------------------------------------------------------


@pytest.mark.parametrize("deltas", [False, True])
def test_21_calls_are_counted_as_calls(deltas: bool) -> None:
    """The first call is number 0, whatever came before it; what no delta brought is made up for."""
    said = response_stream(item_call(1), item_call(2), deltas=deltas)
    thought = {"type": "reasoning", "id": "rs_1", "summary": []}
    said[1:1] = [
        {"type": "response.output_item.added", "output_index": 0, "item": thought},
        {"type": "response.output_item.done", "output_index": 0, "item": thought},
    ]
    for value in said[3:-1]:
        value["output_index"] += 1
    calls = heard("chat", "responses", *said)["choices"][0]["message"]["tool_calls"]
    assert [(call["id"], call["function"]["arguments"]) for call in calls] == [
        ("c1", '{"n":1}'),
        ("c2", '{"n":2}'),
    ]
    uses = [
        block for block in heard("messages", "responses", *said)["content"] if block["type"] == "tool_use"
    ]
    assert [block["input"] for block in uses] == [{"n": 1}, {"n": 2}]


def test_21_messages_number_their_calls_by_blocks_and_chat_by_calls() -> None:
    """Text before a call does not move it."""
    said = message_stream(use("t"), "{}")
    for value in said[1:-2]:
        value["index"] = 1
    said[1:1] = [
        {"type": "content_block_start", "index": 0, "content_block": text("")},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "so"}},
        {"type": "content_block_stop", "index": 0},
    ]
    way = translation("chat", "messages", chat(stream=True))
    pieces = [
        v["choices"][0]["delta"]
        for v in streamed(way, "messages", said)
        if isinstance(v, dict) and v["choices"]
    ]
    assert [call["index"] for delta in pieces for call in delta.get("tool_calls", ())][:1] == [0]


def test_21b_the_reason_fits_what_was_said() -> None:
    """Calls that ended with `stop` are calls; a call that never came is none."""
    call = piece(index=0, id="c1", name="f", arguments="{}")
    assert heard("messages", "chat", call, *ended("stop"))["stop_reason"] == "tool_use"
    assert heard("messages", "chat", chunk(content="x"), *ended("tool_calls"))["stop_reason"] == "end_turn"
    said = message_stream(use("t"), "{}", stop="end_turn")
    assert heard("chat", "messages", *said)["choices"][0]["finish_reason"] == "tool_calls"
    said = message_stream(text(""), "x", stop="tool_use")
    assert heard("chat", "messages", *said)["choices"][0]["finish_reason"] == "stop"
    cut = [piece(index=0, id="c1", name="f", arguments='{"a":'), *ended("length")]
    got = heard("responses", "chat", *cut)
    assert (got["status"], got["output"][-1]["status"]) == ("incomplete", "incomplete")


@pytest.mark.parametrize("upstream", ["chat", "messages"])
def test_22_text_of_responses_always_has_logprobs(upstream: str) -> None:
    """Older SDKs break without the list, empty as it may be."""
    said = (
        [chunk(content="x"), *ended()]
        if upstream == "chat"
        else message_stream(text(""), "x", stop="end_turn")
    )
    way = translation("responses", upstream, responses(stream=True))
    told_of = [value for value in streamed(way, upstream, said) if isinstance(value, dict)]
    found = [value for value in told_of if "output_text." in value["type"]]
    assert len(found) == 2
    assert all(value["logprobs"] == [] for value in found)


def test_23_what_azure_sends_beside_the_answer_is_ignored() -> None:
    """A first event without choices, a last one without a delta."""
    first = {
        "id": "",
        "object": "",
        "created": 0,
        "model": "",
        "choices": [],
        "prompt_filter_results": [{"prompt_index": 0}],
    }
    offsets = {
        "index": 0,
        "finish_reason": None,
        "content_filter_offsets": {"check_offset": 1},
        "content_filter_results": {},
    }
    last = {**COUNTED, "choices": [offsets], "usage": None}
    said = [first, chunk(role="assistant", content=""), chunk(content="Hi"), last, *ended()]
    got = heard("messages", "chat", *said, kind="azure")
    assert [block["text"] for block in got["content"]] == ["Hi"]
    assert got["model"] == "m"
    assert texts(heard("responses", "chat", *said, kind="azure")["output"][0]["content"]) == "Hi"


@pytest.mark.parametrize("upstream", ["chat", "responses"])
def test_24_messages_begin_with_an_estimate(upstream: str) -> None:
    """Never 0; what is right comes with the end."""
    said: list[Any] = [chunk(content="x"), *ended()]
    if upstream == "responses":
        said = response_stream(item_call(1))
    out = streamed(translation("messages", upstream, messages(stream=True)), upstream, said)
    assert out[0]["message"]["usage"]["input_tokens"] == STAMP.prompt_tokens
    usage = next(value["usage"] for value in out if value["type"] == "message_delta")
    assert (usage["input_tokens"], usage["output_tokens"]) == (9, 4)


def test_24b_tokens_of_the_cache_are_part_of_the_prompt_at_openai() -> None:
    """Anthropic counts them apart; what a later event leaves out stays as it was."""
    said = message_stream(text(""), "x", stop="end_turn")
    said[0]["message"]["usage"] = {
        "input_tokens": 20,
        "cache_read_input_tokens": 60,
        "cache_creation_input_tokens": 20,
        "output_tokens": 1,
    }
    usage = heard("chat", "messages", *said)["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (100, 4, 104)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 60
    usage = heard("responses", "messages", *said)["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (100, 4, 104)
    way = translation("chat", "messages", chat(stream=True))
    seen = told(way.stream(), [event("messages", value) for value in said]).usage
    assert seen == Usage(input=100, output=4, cached=60, written=20)
    hits = {**COUNT, "prompt_cache_hit_tokens": 5, "prompt_cache_miss_tokens": 4}
    got = answered(
        translation("messages", "chat", messages(), "deepseek", "deepseek-chat"),
        {**completion(content="x"), "usage": hits},
    )
    assert (got["usage"]["input_tokens"], got["usage"]["cache_read_input_tokens"]) == (4, 5)


BEGUN: dict[str, list[Any]] = {
    "chat": [chunk(role="assistant", content=""), chunk(content="Half")],
    "messages": message_stream(text(""), "Half", stop="end_turn")[:3],
    "responses": [
        {"type": "response.created", "response": response_of(status="in_progress")},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {
                "type": "message",
                "id": "msg_1",
                "role": "assistant",
                "status": "in_progress",
                "content": [],
            },
        },
        {
            "type": "response.content_part.added",
            "item_id": "msg_1",
            "output_index": 0,
            "content_index": 0,
            "part": {"type": "output_text", "text": "", "annotations": []},
        },
        {
            "type": "response.output_text.delta",
            "item_id": "msg_1",
            "output_index": 0,
            "content_index": 0,
            "delta": "Half",
        },
    ],
}
ENDS = {"message_stop", "response.completed", "response.incomplete"}


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
def test_25_a_cut_stream_never_ends_well(client: str, upstream: str) -> None:
    """Whoever hangs up in the middle is told of, and what came before stays."""
    way = translation(client, upstream, {**plainly(client), "stream": True})
    out = told(way.stream(), [event(upstream, value) for value in BEGUN[upstream]])
    assert out.fault is FaultKind.TRUNCATED
    assert b"Half" in out.raw
    assert stream_problems(client, out.raw) == []
    last = events(out.raw)
    assert not ENDS & {value["type"] for value in last if isinstance(value, dict) and "type" in value}
    assert not any(c["finish_reason"] for v in last if isinstance(v, dict) for c in v.get("choices", ()))


def test_25_a_chat_stream_may_end_without_its_marker() -> None:
    """Its finish reason is enough."""
    got = heard("messages", "chat", chunk(content="x"), chunk("stop"))
    assert got["stop_reason"] == "end_turn"


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
def test_26_nothing_is_content_before_content(client: str, upstream: str) -> None:
    """So that a provider which fails with its first words can be replaced by another."""
    stream = translation(client, upstream, {**plainly(client), "stream": True}).stream()
    for value in BEGUN[upstream][:-1]:
        stream.feed(event(upstream, value))
    assert not stream.content
    stream.feed(event(upstream, BEGUN[upstream][-1]))
    assert stream.content


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
def test_27_events_however_they_are_written(client: str, upstream: str) -> None:
    """A byte order mark, comments, no space, other line ends, no last empty line."""
    said: list[Any] = {
        "chat": [*BEGUN["chat"], *ended()],
        "messages": message_stream(text(""), "Half", stop="end_turn"),
        "responses": response_stream(item_call(1)),
    }[upstream]
    raw = b"".join(event(upstream, value) for value in said)
    loose = b"\xef\xbb\xbf: hello\n\n" + raw.replace(b"data: ", b"data:").replace(b"\n", b"\r\n").rstrip()
    body = {**plainly(client), "stream": True}
    plain = told(translation(client, upstream, body).stream(), [raw])
    assert told(translation(client, upstream, body).stream(), [loose]).raw == plain.raw


@pytest.mark.parametrize("upstream", ["chat", "responses"])
def test_28_what_claude_code_always_sends_is_dropped_by_name(upstream: str) -> None:
    """Context management is no reason to refuse."""
    managed = {"edits": [{"type": "clear_tool_uses_20250919"}]}
    way = translation("messages", upstream, messages(context_management=managed))
    assert "context_management" not in sent(way)
    assert lost(way) == "dropped=context_management"
    for field in (
        {"container": "c_1"},
        {"mcp_servers": [{"type": "url", "url": "https://x.example", "name": "x"}]},
    ):
        with pytest.raises(Refusal):
            translation("messages", upstream, messages(**field))


@pytest.mark.parametrize("upstream", ["chat", "responses"])
def test_29_a_long_name_of_a_user_is_its_digest(upstream: str) -> None:
    """The same each time; a short one stays."""
    long = "user_" + "x" * 80 + "_account__session_"
    there = sent(translation("messages", upstream, messages(metadata={"user_id": long})))
    again = sent(translation("messages", upstream, messages(metadata={"user_id": long})))
    assert there["safety_identifier"] == again["safety_identifier"]
    assert len(there["safety_identifier"]) == 64
    short = sent(translation("messages", upstream, messages(metadata={"user_id": "ann"})))
    assert short["safety_identifier"] == "ann"


def test_29b_too_long_a_prompt_is_said_as_claude_code_reads_it() -> None:
    """Then it shortens the conversation instead of giving up."""
    said = (
        "This model's maximum context length is 128000 tokens. "
        "However, your messages resulted in 130000 tokens. Please reduce the length of the messages."
    )
    refusal = Refusal(400, said, code="context_length_exceeded")
    body = json.loads(CODECS[Dialect.MESSAGES].refusal(refusal, "req_1"))
    assert body["error"]["type"] == "invalid_request_error"
    assert body["error"]["message"].startswith("prompt is too long: 130000 tokens > 128000 maximum")
    assert problems("messages", "error", body) == []


@pytest.mark.parametrize("upstream", ["chat", "messages"])
def test_30_what_is_stored_is_known_before_the_end_is_sent(upstream: str) -> None:
    """Whoever asks for the response at once finds it."""
    said: list[Any] = [*BEGUN["chat"], *ended()]
    if upstream == "messages":
        said = message_stream(text(""), "Half", stop="end_turn")
    stream = translation("responses", upstream, responses(stream=True)).stream()
    for value in said:
        out = stream.feed(event(upstream, value))
        if b"response.completed" in out:
            assert stream.kept is not None
            break
    else:
        out = stream.finish()
        assert b"response.completed" in out
        assert stream.kept is not None
    final = json.loads(stream.kept)
    assert final["id"] == events(out)[-2]["response"]["id"]


@pytest.mark.parametrize(("asked", "there"), [(1, 16), (16, 16), (17, 17)])
def test_31_responses_takes_no_bound_below_sixteen(asked: int, there: int) -> None:
    """Tools that only try whether the model answers ask for one token."""
    way = translation("messages", "responses", {**messages(), "max_tokens": asked})
    assert sent(way)["max_output_tokens"] == there
    assert lost(way) == ("clamped=max_output" if asked < 16 else "")
