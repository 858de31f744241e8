from typing import Any

import pytest

from proxy.errors import Refusal
from proxy.wire import seals
from proxy.wire.chat import messages_reader
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
from proxy.wire.model import Dialect

PNG = "iVBORw0KGgo="
SEAL = Seal(Dialect.MESSAGES, "claude", "sig")
USER = {"role": "user", "content": "Hi"}


def read(*messages: Any) -> tuple[Turn, ...]:
    """The turns of messages of which nothing is dropped."""
    dropped: list[str] = []
    turns = messages_reader.read({"messages": list(messages)}, dropped)
    assert dropped == []
    return turns


def blocks(*parts: Any, role: str = "user") -> tuple[Block, ...]:
    """The blocks of one message with these parts."""
    return read({"role": role, "content": list(parts)})[0].blocks


def said(**fields: Any) -> tuple[Block, ...]:
    """The blocks of one message of the assistant."""
    return read({"role": "assistant", **fields})[0].blocks


def refused(*messages: Any) -> tuple[str | None, str | None, str]:
    """Param, code and words of the refusal of these messages."""
    with pytest.raises(Refusal) as caught:
        messages_reader.read({"messages": list(messages)}, [])
    assert caught.value.status == 400
    return caught.value.param, caught.value.code, caught.value.message


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant"])
def test_roles(role: str) -> None:
    """Each message is a turn, in its place, as it came."""
    assert read({"role": role, "content": "a"}, USER) == (
        Turn(Role(role), (Text("a"),)),
        Turn(Role.USER, (Text("Hi"),)),
    )


def test_parts() -> None:
    """Text, pictures by address and as data, files, sound."""
    assert blocks(
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "image_url", "image_url": "https://x/y.png"},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
    ) == (
        Text("a"),
        Image(Url("https://x/y.png"), "low"),
        Image(Inline("image/png", PNG)),
        Image(Url("https://x/y.png")),
        Document(Inline("application/pdf", "JVBERi0="), "a.pdf"),
        Document(FileId("file-1", Dialect.CHAT)),
        Audio("wav", "AA=="),
    )


@pytest.mark.parametrize(
    ("mark", "cache"),
    [
        ({"mode": "explicit"}, "short"),
        ({"mode": "explicit", "ttl": "30m"}, "short"),
        ({"mode": "explicit", "ttl": "12h"}, "long"),
        (None, None),
    ],
)
def test_cache_marks(mark: object, cache: Any) -> None:
    """A breakpoint on a part is a mark on its block."""
    assert blocks({"type": "text", "text": "a", "prompt_cache_breakpoint": mark}) == (Text("a", cache),)


def test_the_assistant() -> None:
    """Thinking, words, refusals and calls, in this order."""
    assert said(
        content=[{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}],
        refusal="c",
        reasoning_content="hm",
        tool_calls=[
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "2", "type": "custom", "custom": {"name": "g", "input": "raw"}},
        ],
    ) == (
        Thinking("hm"),
        Text("a"),
        Declined("b"),
        Declined("c"),
        ToolUse("1", "f", "{}"),
        ToolUse("2", "g", "raw", custom=True),
    )
    assert said(content=None) == ()
    assert said(reasoning="hm") == (Thinking("hm"),)


def test_thinking_comes_back_with_its_seal() -> None:
    """Sealed blocks are taken before the same in plain text; what no seal of ours is on is plain."""
    packed = seals.pack(SEAL)
    found = said(
        content="a",
        reasoning_content="hm",
        thinking_blocks=[
            {"type": "thinking", "thinking": "hm", "signature": packed},
            {"type": "redacted_thinking", "data": packed},
            {"type": "redacted_thinking", "data": "theirs"},
            {"type": "thinking", "thinking": "so", "signature": "theirs"},
        ],
    )
    assert found == (Thinking("hm", SEAL), Thinking("", SEAL, redacted=True), Thinking("so"), Text("a"))


def test_results() -> None:
    """A result is a user's turn; its content is text, or parts."""
    picture = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
    assert read(
        {"role": "tool", "tool_call_id": "1", "content": "a"},
        {"role": "tool", "tool_call_id": "2", "content": [{"type": "text", "text": "b"}, picture]},
        {"role": "tool", "tool_call_id": "3", "content": None},
    ) == (
        Turn(Role.USER, (ToolResult("1", (Text("a"),)),)),
        Turn(Role.USER, (ToolResult("2", (Text("b"), Image(Url("https://x/y.png")))),)),
        Turn(Role.USER, (ToolResult("3", ()),)),
    )


def test_results_of_free_text_tools() -> None:
    """They are known by their calls."""
    call = {"id": "1", "type": "custom", "custom": {"name": "g", "input": "raw"}}
    _, answered = read(
        {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "1", "content": "a"}
    )
    assert answered.blocks == (ToolResult("1", (Text("a"),), custom=True),)


def test_functions_become_tools() -> None:
    """Calls of the old form get ids by their order, and a result answers the last of them."""
    called = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    result = {"role": "function", "name": "f", "content": "1"}
    assert [turn.blocks[0] for turn in read(called, result, called, result)] == [
        ToolUse("call_fn_0", "f", "{}"),
        ToolResult("call_fn_0", (Text("1"),)),
        ToolUse("call_fn_1", "f", "{}"),
        ToolResult("call_fn_1", (Text("1"),)),
    ]


def test_what_is_not_known_is_named() -> None:
    """At any depth, by its path; null says nothing, and a name is a hint."""
    dropped: list[str] = []
    call = {"id": "1", "type": "function", "function": {"name": "f"}, "x": 1}
    messages_reader.read(
        {
            "messages": [
                {"role": "user", "name": "n", "content": [{"type": "text", "text": "a", "x": 1}], "y": None},
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "http://x", "z": 1}}],
                },
                {"role": "assistant", "tool_calls": [call], "phase": "x"},
                {"role": "tool", "tool_call_id": "1", "content": "", "is_error": True},
            ]
        },
        dropped,
    )
    assert dropped == [
        "messages[0].content[0].x",
        "messages[1].content[0].image_url.z",
        "messages[2].phase",
        "messages[2].tool_calls[0].x",
        "messages[3].is_error",
    ]


PART = "messages[0].content[0]"


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({}, f"{PART}.type"),
        ({"type": "video"}, f"{PART}.type"),
        ({"type": "text"}, f"{PART}.text"),
        ({"type": "text", "text": 5}, f"{PART}.text"),
        ({"type": "image_url"}, f"{PART}.image_url"),
        ({"type": "image_url", "image_url": 5}, f"{PART}.image_url"),
        ({"type": "image_url", "image_url": {}}, f"{PART}.image_url.url"),
        ({"type": "image_url", "image_url": {"url": "ftp://x"}}, f"{PART}.image_url.url"),
        ({"type": "input_audio"}, f"{PART}.input_audio"),
        ({"type": "file"}, f"{PART}.file"),
        ({"type": "file", "file": {}}, f"{PART}.file.file_id"),
        ("a", PART),
    ],
)
def test_parts_that_are_none(part: object, param: str) -> None:
    """The refusal names the place."""
    assert refused({"role": "user", "content": [part]})[0] == param


@pytest.mark.parametrize(
    ("message", "param", "code"),
    [
        ({"content": "a"}, "messages[0].role", "missing_required_parameter"),
        ({"role": "robot", "content": "a"}, "messages[0].role", "invalid_value"),
        ({"role": 5, "content": "a"}, "messages[0].role", "invalid_type"),
        ({"role": "user"}, "messages[0].content", "missing_required_parameter"),
        ({"role": "user", "content": 5}, "messages[0].content", "invalid_type"),
        ({"role": "user", "content": None}, "messages[0].content", "invalid_type"),
        ({"role": "tool", "content": "a"}, "messages[0].tool_call_id", "missing_required_parameter"),
        (
            {"role": "tool", "tool_call_id": "1", "content": [{"type": "refusal", "refusal": "a"}]},
            "messages[0].content",
            "unsupported_value",
        ),
        ({"role": "assistant", "audio": {"id": "a"}}, "messages[0].audio", "unsupported_value"),
        ({"role": "assistant", "tool_calls": 5}, "messages[0].tool_calls", "invalid_type"),
        (
            {"role": "assistant", "tool_calls": [{"id": "1", "type": "function"}]},
            "messages[0].tool_calls[0].function",
            "missing_required_parameter",
        ),
        (
            {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f"}}]},
            "messages[0].tool_calls[0].id",
            "missing_required_parameter",
        ),
        ("a", "messages[0]", "invalid_type"),
    ],
)
def test_messages_that_are_none(message: object, param: str, code: str) -> None:
    """The refusal names the place, and says what is wrong in OpenAI's words."""
    assert refused(message)[:2] == (param, code)


def test_there_have_to_be_messages() -> None:
    """None at all are none to answer."""
    assert refused()[1] == "empty_array"
    for body in ({}, {"messages": None}, {"messages": 5}):
        with pytest.raises(Refusal) as caught:
            messages_reader.read(body, [])
        assert caught.value.param == "messages"
