from typing import Any

import pytest

from proxy.errors import Refusal
from proxy.wire import seals
from proxy.wire.conversation import (
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
from proxy.wire.messages import content_reader
from proxy.wire.messages.reply_writer import UNSIGNED
from proxy.wire.model import Dialect

Json = dict[str, Any]
PNG = "iVBORw0KGgoAAAA"
MARK = {"type": "ephemeral"}
SEAL = Seal(Dialect.RESPONSES, "gpt-5", "{}")
JPEG = {"type": "base64", "media_type": "image/jpeg", "data": PNG}


def read(*messages: Json, **body: Any) -> tuple[tuple[Turn, ...], list[str]]:
    """The turns, and what was dropped."""
    dropped: list[str] = []
    turns = content_reader.read({"messages": list(messages), **body}, dropped)
    return turns, dropped


def said(*blocks: Any, role: str = "user") -> tuple[tuple[Any, ...], list[str]]:
    """The blocks of one message, and what was dropped."""
    turns, dropped = read({"role": role, "content": list(blocks)})
    return (turns[0].blocks if turns else ()), dropped


def refused(*blocks: Any, role: str = "user") -> Refusal:
    """The refusal of a message."""
    with pytest.raises(Refusal) as caught:
        said(*blocks, role=role)
    assert caught.value.status == 400
    return caught.value


def test_turns_in_their_order() -> None:
    """The system's first, whether text or blocks; instructions may stand later too."""
    turns, dropped = read(
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [{"type": "text", "text": "b"}]},
        {"role": "system", "content": "c"},
        system=[{"type": "text", "text": "s", "cache_control": MARK}, {"type": "text", "text": "t"}],
    )
    assert turns == (
        Turn(Role.SYSTEM, (Text("s", "short"), Text("t"))),
        Turn(Role.USER, (Text("a"),)),
        Turn(Role.ASSISTANT, (Text("b"),)),
        Turn(Role.SYSTEM, (Text("c"),)),
    )
    assert dropped == []
    assert read(system="s")[0] == (Turn(Role.SYSTEM, (Text("s"),)),)
    assert read({"role": "user", "content": []}, system="")[0] == ()


@pytest.mark.parametrize(("ttl", "cache"), [({}, "short"), ({"ttl": "5m"}, "short"), ({"ttl": "1h"}, "long")])
def test_cache_marks(ttl: Json, cache: str) -> None:
    """Five minutes are short, an hour is long."""
    blocks, _ = said({"type": "text", "text": "a", "cache_control": {**MARK, **ttl}})
    assert blocks[0].cache == cache


def test_a_mark_of_the_whole_request() -> None:
    """Stands at its end, where something can bear it and does not already."""
    turns, _ = read({"role": "user", "content": "a"}, cache_control=MARK)
    assert turns[0].blocks == (Text("a", "short"),)
    long = {"type": "text", "text": "a", "cache_control": {**MARK, "ttl": "1h"}}
    turns, _ = read({"role": "user", "content": [long]}, cache_control=MARK)
    assert turns[0].blocks == (Text("a", "long"),)
    call = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    turns, _ = read({"role": "assistant", "content": [call]}, cache_control=MARK)
    assert turns[0].blocks == (ToolUse("a", "f", "{}"),)


def test_an_instruction_amid_a_users_blocks() -> None:
    """Is a turn of its own."""
    middle = {"type": "mid_conv_system", "content": [{"type": "text", "text": "s"}]}
    turns, _ = read(
        {"role": "user", "content": [{"type": "text", "text": "a"}, middle, {"type": "text", "text": "b"}]}
    )
    assert turns == (
        Turn(Role.USER, (Text("a"),)),
        Turn(Role.SYSTEM, (Text("s"),)),
        Turn(Role.USER, (Text("b"),)),
    )


@pytest.mark.parametrize(
    ("source", "read_as"),
    [
        (JPEG, Inline("image/png", PNG)),
        ({"type": "base64", "data": PNG}, Inline("image/png", PNG)),
        ({"type": "base64", "media_type": "image/webp", "data": "AAAA"}, Inline("image/webp", "AAAA")),
        ({"type": "base64", "data": f"data:image/png;x=y;base64,{PNG}"}, Inline("image/png", PNG)),
        ({"type": "url", "url": "https://a/b.png"}, Url("https://a/b.png")),
        ({"type": "url", "url": f"data:image/png;base64,{PNG}"}, Inline("image/png", PNG)),
        ({"type": "file", "file_id": "file_1"}, FileId("file_1", Dialect.MESSAGES)),
    ],
)
def test_pictures(source: Json, read_as: object) -> None:
    """Their type is what their bytes say."""
    blocks, _ = said({"type": "image", "source": source, "cache_control": MARK})
    assert blocks == (Image(read_as, cache="short"),)  # type: ignore[arg-type]  # any source


def test_documents() -> None:
    """Files stay files; text becomes text, with what is said of it; citing is dropped."""
    file = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0x"}
    more = {"title": "T", "context": "C", "citations": {"enabled": True}, "cache_control": MARK}
    blocks, dropped = said({"type": "document", "source": file, **more})
    assert blocks == (Document(Inline("application/pdf", "JVBERi0x"), "T", "short"),)
    assert dropped == ["messages[0].content[0].citations", "messages[0].content[0].context"]
    plain = {"type": "text", "media_type": "text/plain", "data": "D"}
    assert said({"type": "document", "source": plain, **more})[0] == (Text("T\nC\n\nD", "short"),)
    assert said({"type": "document", "source": plain, "citations": {"enabled": False}}) == ((Text("D"),), [])
    parts = {"type": "content", "content": [{"type": "text", "text": "D"}, {"type": "image", "source": JPEG}]}
    assert said({"type": "document", "source": parts, "title": "T"})[0] == (
        Text("T"),
        Text("D"),
        Image(Inline("image/png", PNG)),
    )
    assert said({"type": "document", "source": {"type": "content", "content": "D"}})[0] == (Text("D"),)


def test_search_results_are_text() -> None:
    """Title, source, content."""
    content = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    blocks, _ = said({"type": "search_result", "title": "T", "source": "https://a", "content": content})
    assert blocks == (Text("T\nhttps://a\na\nb"),)


def test_thinking_keeps_its_seal() -> None:
    """Ours unpacked, the vendor's as it is; what nobody signed has none."""
    blocks, _ = said(
        {"type": "thinking", "thinking": "a", "signature": "sig=="},
        {"type": "thinking", "thinking": "b", "signature": seals.pack(SEAL)},
        {"type": "thinking", "thinking": "c", "signature": seals.pack(UNSIGNED)},
        {"type": "thinking", "thinking": "d", "signature": ""},
        {"type": "redacted_thinking", "data": seals.pack(SEAL)},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "redacted_thinking", "data": "ax1.broken"},
        role="assistant",
    )
    assert blocks == (
        Thinking("a", Seal(Dialect.MESSAGES, None, "sig==")),
        Thinking("b", SEAL),
        Thinking("c"),
        Thinking("d"),
        Thinking(seal=SEAL, redacted=True),
        Thinking(seal=Seal(Dialect.MESSAGES, None, "xyz"), redacted=True),
    )


def test_calls_and_results() -> None:
    """Arguments are text; a result may be text, blocks or nothing."""
    call = {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}
    assert said({**call, "caller": {"type": "direct"}}, role="assistant") == (
        (ToolUse("a", "f", '{"x":1}'),),
        [],
    )
    other = {**call, "caller": {"type": "code_execution_20250825", "tool_id": "t"}}
    assert said(other, role="assistant")[1] == ["messages[0].content[0].caller"]
    found = [{"type": "tool_reference", "tool_name": "g"}, {"type": "image", "source": JPEG}]
    blocks, _ = said(
        {"type": "tool_result", "tool_use_id": "a", "content": "x", "is_error": True},
        {"type": "tool_result", "tool_use_id": "b", "content": found, "cache_control": MARK},
        {"type": "tool_result", "tool_use_id": "c"},
    )
    assert blocks == (
        ToolResult("a", (Text("x"),), error=True),
        ToolResult("b", (Text("g"), Image(Inline("image/png", PNG))), cache="short"),
        ToolResult("c", ()),
    )


def test_citations_of_the_web() -> None:
    """Of the whole text; those of documents are dropped."""
    web = {"type": "web_search_result_location", "url": "https://a", "title": "A", "encrypted_index": "e"}
    page = {"type": "page_location", "document_index": 0}
    blocks, dropped = said({"type": "text", "text": "abc", "citations": [web, page]}, role="assistant")
    assert blocks == (Text("abc", citations=(("https://a", "A", 0, 3),)),)
    assert dropped == ["messages[0].content[0].citations[1]"]


def test_traces_of_anthropics_own_tools_are_dropped() -> None:
    """By their place."""
    blocks, dropped = said(
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
        {"type": "text", "text": "a"},
        role="assistant",
    )
    assert blocks == (Text("a"),)
    assert dropped == ["messages[0].content[0]", "messages[0].content[1]"]


def test_what_was_said_before_in_short() -> None:
    """A compaction is text, where it has any."""
    done = {"type": "compaction", "content": "Short.", "encrypted_content": "e"}
    assert said(done, {"type": "compaction", "content": None}, role="assistant")[0] == (Text("Short."),)


def test_unknown_members_are_dropped_by_their_path() -> None:
    """At any depth; null says nothing."""
    _, dropped = read(
        {
            "role": "user",
            "name": "n",
            "content": [
                {"type": "text", "text": "a", "x": 1, "y": None},
                {"type": "image", "source": {**JPEG, "z": 1}},
            ],
        }
    )
    assert dropped == [
        "messages[0].name",
        "messages[0].content[0].x",
        "messages[0].content[1].source.z",
    ]


@pytest.mark.parametrize(
    ("block", "role", "param"),
    [
        ({"type": "unheard_of"}, "user", "type"),
        ({"text": "a"}, "user", "type"),
        ({"type": "text"}, "user", "text"),
        ({"type": "text", "text": 5}, "user", "text"),
        ({"type": "text", "text": "a", "cache_control": 5}, "user", "cache_control"),
        ({"type": "image"}, "user", "source"),
        ({"type": "image", "source": {"type": "text", "data": "x"}}, "user", "source.type"),
        ({"type": "image", "source": {"type": "url", "url": "ftp://a"}}, "user", "source.url"),
        ({"type": "tool_use", "id": "a", "name": "f", "input": "x"}, "assistant", "input"),
        ({"type": "tool_use", "name": "f", "input": {}}, "assistant", "id"),
        ({"type": "tool_use", "id": "a", "name": "f", "input": {}}, "user", "type"),
        ({"type": "image", "source": JPEG}, "assistant", "type"),
        ({"type": "tool_result", "content": "x"}, "user", "tool_use_id"),
        (
            {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "thinking"}]},
            "user",
            "content[0].type",
        ),
        ({"type": "text", "text": "x"}, "bishop", None),
    ],
)
def test_what_cannot_be_read_is_refused(block: Json, role: str, param: str | None) -> None:
    """Its place is named."""
    place = f"messages[0].content[0].{param}" if param else "messages[0].role"
    assert refused(block, role=role).param == place


def test_files_of_a_container_are_refused() -> None:
    """They are nowhere else."""
    assert refused({"type": "container_upload", "file_id": "f"}).param == "messages[0].content[0]"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"messages": "x"}, "messages"),
        ({"messages": ["x"]}, "messages[0]"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [], "system": [{"type": "image"}]}, "system[0].type"),
        ({"messages": [], "system": 5}, "system"),
    ],
)
def test_messages_that_are_none(body: Json, param: str) -> None:
    """Nothing is made up for them."""
    with pytest.raises(Refusal) as caught:
        content_reader.read(body, [])
    assert caught.value.param == param


@pytest.mark.timeout(20)
def test_a_great_many_blocks() -> None:
    """Each is looked at once, also those of a result."""
    texts = [{"type": "text", "text": "x"}] * 100_000
    blocks, _ = said({"type": "tool_result", "tool_use_id": "a", "content": texts}, *texts)
    assert (len(blocks), len(blocks[0].content)) == (100_001, 100_000)
