import base64
import json
from typing import Any

import pytest

from proxy.errors import Refusal
from proxy.profiles import Quirks
from proxy.wire.chat import messages_writer
from proxy.wire.conversation import (
    Audio,
    Block,
    Declined,
    Document,
    FileId,
    Image,
    Inline,
    Role,
    Seal,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Turn,
    Url,
)
from proxy.wire.losses import Losses
from proxy.wire.model import Dialect

PNG = "iVBORw0KGgo="
PICTURE = Image(Inline("image/png", PNG))
SHOWN = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}


def said(role: str, *blocks: Block | str) -> Turn:
    """A turn; words are text blocks."""
    return Turn(Role(role), tuple(Text(block) if isinstance(block, str) else block for block in blocks))


def called(*names: str, before: str = "") -> Turn:
    """The assistant calls `f` under these ids."""
    text = (Text(before),) if before else ()
    return Turn(Role.ASSISTANT, (*text, *(ToolUse(name, "f", "{}") for name in names)))


def result(name: str, *content: Text | Image | Document | str, error: bool | None = None) -> ToolResult:
    """What a call gave back."""
    return ToolResult(name, tuple(Text(c) if isinstance(c, str) else c for c in content), error)


def written(*turns: Turn, losses: Losses | None = None, **quirks: Any) -> list[Any]:
    """The messages for a provider with these quirks."""
    return messages_writer.write(turns, Quirks(**quirks), losses or Losses(Dialect.CHAT))


def lost(*turns: Turn, **quirks: Any) -> str:
    """What was lost on the way."""
    losses = Losses(Dialect.CHAT)
    written(*turns, losses=losses, **quirks)
    return losses.header()


def refused(*turns: Turn, **quirks: Any) -> str | None:
    """The param of the refusal."""
    with pytest.raises(Refusal) as caught:
        written(*turns, **quirks)
    return caught.value.param


def spoken(messages: list[Any]) -> list[tuple[str, Any]]:
    """Role and content of each message."""
    return [(message["role"], message["content"]) for message in messages]


HI = said("user", "Hi")


def test_roles() -> None:
    """Who wants the role `developer` gets it; for others it is `system`."""
    turns = [said("system", "a"), said("developer", "b"), HI, said("assistant", "c")]
    assert spoken(written(*turns)) == [("system", "a"), ("system", "b"), ("user", "Hi"), ("assistant", "c")]
    assert spoken(written(*turns, developer_role=True))[1] == ("developer", "b")


def test_instructions_of_many_parts() -> None:
    """One text where nothing else is sure to be taken; parts at OpenAI."""
    turn = said("system", "a", "", "b")
    assert spoken(written(turn)) == [("system", "a\n\nb")]
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert spoken(written(turn, openai_hints=True)) == [("system", parts)]
    assert written(said("system")) == []


def test_instructions_only_at_the_front() -> None:
    """Templates of open models take one system message: later ones become the user's words."""
    turns = [said("system", "a"), said("system", "b"), HI, said("assistant", "c"), said("system", "d"), HI]
    assert spoken(written(*turns, system_anywhere=False)) == [
        ("system", "a\n\nb"),
        ("user", "Hi"),
        ("assistant", "c"),
        ("user", "d"),
        ("user", "Hi"),
    ]
    assert lost(*turns, system_anywhere=False) == "changed=system"
    assert spoken(written(*turns))[4] == ("system", "d")
    assert lost(*turns) == ""


def test_texts_of_a_user() -> None:
    """Parts where a provider takes pictures, and so takes parts; else one text."""
    turn = said("user", "a", "b")
    assert spoken(written(turn)) == [
        ("user", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
    ]
    assert spoken(written(turn, images=False)) == [("user", "a\n\nb")]
    assert spoken(written(said("user", "", ""))) == [("user", "")]


def test_pictures_files_and_sound() -> None:
    """Each in its place among the text."""
    pdf = Inline("application/pdf", "JVBERi0=")
    turn = said(
        "user",
        "a",
        Image(Url("https://x/y.png"), "low"),
        PICTURE,
        Document(pdf, "a.pdf"),
        Document(pdf),
        Audio("wav", "AA=="),
    )
    [(_, parts)] = spoken(written(turn, files=True, audio=True))
    data = "data:application/pdf;base64,JVBERi0="
    assert parts == [
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
        SHOWN,
        {"type": "file", "file": {"filename": "a.pdf", "file_data": data}},
        {"type": "file", "file": {"filename": "document.pdf", "file_data": data}},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
    ]


def test_a_text_file_is_text() -> None:
    """Every model reads it, under its name."""
    file = Inline("text/plain", base64.b64encode("wörds".encode()).decode())
    [(_, parts)] = spoken(written(said("user", Document(file, "a.txt"), Document(file))))
    assert [part["text"] for part in parts] == ["a.txt\n\nwörds", "wörds"]
    assert refused(said("user", Document(Inline("text/plain", "?")))) == "document"


@pytest.mark.parametrize(
    ("block", "param"),
    [
        (PICTURE, "image"),
        (Image(FileId("x", Dialect.RESPONSES)), "image"),
        (Document(Inline("application/pdf", "JVBERi0=")), "document"),
        (Audio("wav", "AA=="), "audio"),
    ],
)
def test_what_a_provider_does_not_take(block: Block, param: str) -> None:
    """It is a part of the question, so it is refused."""
    assert refused(said("user", block), images=False) == param


@pytest.mark.parametrize(
    ("block", "param"),
    [
        (Image(FileId("x", Dialect.RESPONSES)), "file_id"),
        (Document(FileId("x", Dialect.MESSAGES)), "file_id"),
        (Document(Url("https://x/y.pdf")), "document"),
    ],
)
def test_what_has_no_form(block: Block, param: str) -> None:
    """A file of another vendor's, or by its address."""
    assert refused(said("user", block), files=True) == param


def test_cache_marks() -> None:
    """Breakpoints where they are taken; else they go without a word."""
    turns = [said("system", Text("a", "short")), said("user", "b", Text("c", "long"))]
    short = {"prompt_cache_breakpoint": {"mode": "explicit"}}
    long = {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}}
    assert spoken(written(*turns, cache_marks=True)) == [
        ("system", [{"type": "text", "text": "a", **short}]),
        ("user", [{"type": "text", "text": "b"}, {"type": "text", "text": "c", **long}]),
    ]
    assert "prompt_cache_breakpoint" not in json.dumps(written(*turns))
    assert lost(*turns) == ""


def test_what_is_said_at_one_go_is_one_message() -> None:
    """Thinking, words and calls of Responses come as turns of their own; their results follow."""
    turns = [
        HI,
        said("assistant", "a", "b"),
        said("assistant", "c"),
        called("1"),
        called("2"),
        said("user", result("2", "y")),
        said("user", result("1", "x")),
        called("3"),
        said("user", result("3", "z")),
    ]
    messages = written(*turns)
    assert spoken(messages) == [
        ("user", "Hi"),
        ("assistant", "ab\n\nc"),
        ("tool", "x"),
        ("tool", "y"),
        ("assistant", None),
        ("tool", "z"),
    ]
    assert [call["id"] for call in messages[1]["tool_calls"]] == ["1", "2"]
    assert [message.get("tool_call_id") for message in messages[2:4]] == ["1", "2"]


def test_results_come_before_the_words_around_them() -> None:
    """Whoever said them: nothing may stand between a call and its result."""
    turns = [
        called("1", "2"),
        said("user", "a", result("1", "x")),
        said("system", "b"),
        said("user", result("2")),
    ]
    assert spoken(written(*turns)) == [
        ("assistant", None),
        ("tool", "x"),
        ("tool", ""),
        ("user", "a"),
        ("system", "b"),
    ]


def test_pictures_of_results() -> None:
    """They follow all results, before what the user says; some providers take them in their place."""
    turns = [called("1", "2"), said("user", result("1", "a", PICTURE), result("2", PICTURE), "so")]
    assert spoken(written(*turns))[1:] == [
        ("tool", "a"),
        ("tool", messages_writer.BELOW),
        ("user", [SHOWN, SHOWN, {"type": "text", "text": "so"}]),
    ]
    assert lost(*turns) == "changed=tool_result.image"
    assert spoken(written(called("1"), said("user", result("1", PICTURE))))[2:] == [("user", [SHOWN])]
    assert spoken(written(*turns, tool_images=True))[1:] == [
        ("tool", [{"type": "text", "text": "a"}, SHOWN]),
        ("tool", [SHOWN]),
        ("user", "so"),
    ]


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("no such file", "Error: no such file"),
        ("Error: no such file", "Error: no such file"),
        ("ValueError: x", "ValueError: x"),
        ("", "Error"),
    ],
)
def test_results_that_are_errors(text: str, there: str) -> None:
    """They say so themselves, or are made to."""
    turns = [called("1"), said("user", result("1", text, error=True))]
    assert spoken(written(*turns))[1] == ("tool", there)
    assert lost(*turns) == "changed=tool_result.error"


def test_calls() -> None:
    """Arguments are JSON text as it came, be it broken; none at all are an empty object."""
    uses = [
        ToolUse("1", "f", '{"x": 1}'),
        ToolUse("2", "f", " "),
        ToolUse("3", "f", "{oops"),
        ToolUse("4", "f", ""),
    ]
    [message] = written(said("assistant", *uses))
    arguments = [call["function"]["arguments"] for call in message["tool_calls"]]
    assert arguments == ['{"x": 1}', "{}", "{oops", "{}"]


def test_free_text_tools_and_namespaces() -> None:
    """As the tools themselves were declared."""
    uses = [ToolUse("1", "patch", 'a"ü', custom=True), ToolUse("2", "find", "{}", namespace="docs")]
    [message] = written(said("assistant", *uses))
    assert [call["function"] for call in message["tool_calls"]] == [
        {"name": "patch", "arguments": '{"input": "a\\"ü"}'},
        {"name": "docs__find", "arguments": "{}"},
    ]
    [message] = written(said("assistant", *uses), custom_tools=True)
    assert message["tool_calls"][0] == {
        "id": "1",
        "type": "custom",
        "custom": {"name": "patch", "input": 'a"ü'},
    }


def test_long_ids() -> None:
    """They are cut in the same way in a call and in its result."""
    message, answer = written(called("x" * 99), said("user", result("x" * 99)))
    assert message["tool_calls"][0]["id"] == answer["tool_call_id"]
    assert len(answer["tool_call_id"]) == 64


THOUGHT = Thinking("hm", Seal(Dialect.MESSAGES, "claude", "sig"))
WITH_CALL = Turn(Role.ASSISTANT, (THOUGHT, ToolUse("1", "f", "{}")))


@pytest.mark.parametrize(
    ("history", "turn", "thought"),
    [
        ("never", WITH_CALL, None),
        ("keep", WITH_CALL, "hm"),
        ("keep", called("1"), None),
        ("required", WITH_CALL, "hm"),
        ("required", called("1"), ""),
        ("required", said("assistant", "a"), None),
    ],
)
def test_thinking(history: str, turn: Turn, thought: str | None) -> None:
    """Sent back where the provider keeps it, and with every call where it must be."""
    [message] = written(turn, reasoning_history=history)
    assert message.get("reasoning_content") == thought


def test_thinking_alone() -> None:
    """There is nothing to send of it unless it is kept."""
    alone = said("assistant", THOUGHT)
    assert written(alone) == []
    assert written(alone, reasoning_history="keep") == [
        {"role": "assistant", "content": "", "reasoning_content": "hm"}
    ]


def test_refusals() -> None:
    """The model's own words are a field at OpenAI, and text to others."""
    turn = said("assistant", Declined("No."))
    assert written(turn) == [{"role": "assistant", "content": "No."}]
    assert written(turn, openai_hints=True) == [{"role": "assistant", "content": None, "refusal": "No."}]


def test_citations_are_lost() -> None:
    """A chat history has no place for them."""
    cited = Text("a", citations=(("u", "t", 0, 1),))
    assert lost(said("assistant", cited)) == "dropped=citations"
    assert lost(said("user", cited)) == "dropped=citations"


@pytest.mark.parametrize(
    ("history", "turns", "header"),
    [
        ("never", [HI, WITH_CALL, said("user", result("1", "x"))], "dropped=thinking"),
        ("never", [HI, Turn(Role.ASSISTANT, (THOUGHT, Text("a"))), HI], ""),
        ("keep", [HI, WITH_CALL, said("user", result("1", "x"))], ""),
        ("keep", [HI, Turn(Role.ASSISTANT, (Thinking(seal=THOUGHT.seal), Text("a")))], "dropped=thinking"),
    ],
)
def test_thinking_that_would_be_gone_on_from_is_named(history: Any, turns: list[Turn], header: str) -> None:
    """Of exchanges that are over no provider reads it."""
    losses = Losses(Dialect.CHAT)
    messages_writer.write(turns, Quirks(reasoning_history=history), losses)
    assert losses.header() == header
