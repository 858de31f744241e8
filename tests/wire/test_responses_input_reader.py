from typing import Any

import pytest

from proxy.errors import Refusal
from proxy.wire import seals
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
from proxy.wire.responses import compacted
from proxy.wire.responses.input_reader import read
from proxy.wire.responses.output import packed

Json = dict[str, Any]
SEAL = Seal(Dialect.MESSAGES, "claude", "sig")
CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "ok"}
USE = ToolUse("c1", "f", "{}")
PNG = "data:image/png;base64,iVBORw0KGgo="


def turns(*items: Any) -> list[Turn]:
    """What these items are, of which nothing is left out."""
    dropped: list[str] = []
    found = read({"input": list(items)}, dropped)
    assert dropped == []
    return found


def dropped(*items: Json) -> list[str]:
    """What of these items is left out."""
    found: list[str] = []
    read({"input": list(items)}, found)
    return found


def refused(said: Any) -> Refusal:
    """The refusal of this input."""
    with pytest.raises(Refusal) as caught:
        read({"input": said}, [])
    assert caught.value.status == 400
    return caught.value


def block(part: Json) -> Block:
    """What a user's part is."""
    return turns({"role": "user", "content": [part]})[0].blocks[0]


def test_a_bare_text_is_a_users() -> None:
    """A bare text is a users."""
    assert read({"input": "Hi"}, []) == [Turn(Role.USER, (Text("Hi"),))]


@pytest.mark.parametrize("role", ["user", "system", "developer", "assistant"])
def test_messages_short_and_long(role: str) -> None:
    """Messages short and long."""
    kind = "output_text" if role == "assistant" else "input_text"
    expected = [Turn(Role(role), (Text("Hi"),))]
    assert turns({"role": role, "content": "Hi"}) == expected
    long = {"type": "message", "id": "msg_1", "status": "completed", "role": role}
    assert turns({**long, "content": [{"type": kind, "text": "Hi"}]}) == expected
    assert turns({"role": role, "content": [{"type": "text", "text": "Hi"}]}) == expected


def test_what_the_assistant_did_in_one_go_is_one_turn() -> None:
    """What the assistant did in one go is one turn."""
    reasoning = {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "hm"}]}
    said = {"role": "assistant", "content": "Looking."}
    second = {**CALL, "call_id": "c2"}
    assert turns(reasoning, said, CALL, second, RESULT, {**RESULT, "call_id": "c2"}) == [
        Turn(Role.ASSISTANT, (Thinking("hm"), Text("Looking."), USE, ToolUse("c2", "f", "{}"))),
        Turn(Role.USER, (ToolResult("c1", (Text("ok"),)), ToolResult("c2", (Text("ok"),)))),
    ]


def test_one_call_after_the_other_stays_so() -> None:
    """One call after the other stays so."""
    second, answer = {**CALL, "call_id": "c2"}, {**RESULT, "call_id": "c2"}
    roles = [turn.role for turn in turns(CALL, RESULT, second, answer)]
    assert roles == [Role.ASSISTANT, Role.USER, Role.ASSISTANT, Role.USER]


def test_results_and_what_the_user_says_then_are_two_turns() -> None:
    """Results and what the user says then are two turns."""
    assert len(turns(CALL, RESULT, {"role": "user", "content": "go"}, {"role": "user", "content": "on"})) == 4


def test_phases_part_messages_but_not_calls_from_each_other() -> None:
    """Phases part messages but not calls from each other."""
    note = {"role": "assistant", "content": "a", "phase": "commentary"}
    final = {"role": "assistant", "content": "b", "phase": "final_answer"}
    assert [(turn.phase, len(turn.blocks)) for turn in turns(note, final)] == [
        ("commentary", 1),
        ("final_answer", 1),
    ]
    assert [(turn.phase, len(turn.blocks)) for turn in turns(note, CALL, final, RESULT)] == [
        ("commentary", 3),
        (None, 1),
    ]


def test_free_text_calls_and_namespaces() -> None:
    """Free text calls and namespaces."""
    call = {"type": "custom_tool_call", "call_id": "c", "name": "p", "input": "raw", "namespace": "ns"}
    answer = {"type": "custom_tool_call_output", "call_id": "c", "output": "done"}
    assert turns(call, answer) == [
        Turn(Role.ASSISTANT, (ToolUse("c", "p", "raw", custom=True, namespace="ns"),)),
        Turn(Role.USER, (ToolResult("c", (Text("done"),), custom=True),)),
    ]


def test_results_may_hold_pictures_and_files() -> None:
    """Results may hold pictures and files."""
    output = [
        {"type": "input_text", "text": "shot"},
        {"type": "input_image", "image_url": PNG, "detail": "auto"},
        {"type": "input_file", "file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"},
    ]
    found = turns(CALL, {**RESULT, "output": output})[1].blocks[0]
    assert isinstance(found, ToolResult)
    assert [type(part) for part in found.content] == [Text, Image, Document]
    assert turns(CALL, {**RESULT, "output": ""})[1].blocks == (ToolResult("c1", (Text(""),)),)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "input_text", "text": "a"}, Text("a")),
        ({"type": "refusal", "refusal": "no"}, Declined("no")),
        (
            {"type": "input_image", "image_url": "https://a/b.png", "detail": "low"},
            Image(Url("https://a/b.png"), "low"),
        ),
        ({"type": "input_image", "image_url": PNG}, Image(Inline("image/png", "iVBORw0KGgo="))),
        ({"type": "input_image", "file_id": "file-1"}, Image(FileId("file-1", Dialect.RESPONSES))),
        ({"type": "input_file", "file_url": "https://a/b.pdf"}, Document(Url("https://a/b.pdf"))),
        ({"type": "input_file", "file_id": "file-1"}, Document(FileId("file-1", Dialect.RESPONSES))),
        (
            {"type": "input_file", "file_data": "JVBERi0=", "filename": "a.pdf"},
            Document(Inline("application/pdf", "JVBERi0="), "a.pdf"),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
            Audio("wav", "UklGRg=="),
        ),
    ],
)
def test_parts(part: Json, expected: Block) -> None:
    """Parts."""
    assert block(part) == expected


@pytest.mark.parametrize(
    ("mark", "cache"),
    [
        ({"mode": "explicit"}, "short"),
        ({"mode": "explicit", "ttl": "30m"}, "short"),
        ({"mode": "explicit", "ttl": "12h"}, "long"),
        (None, None),
    ],
)
def test_cache_marks(mark: Json | None, cache: str | None) -> None:
    """Cache marks."""
    found = block({"type": "input_text", "text": "a", "prompt_cache_breakpoint": mark})
    assert isinstance(found, Text)
    assert found.cache == cache


def test_web_citations_of_earlier_answers() -> None:
    """Web citations of earlier answers."""
    note = {"type": "url_citation", "url": "https://a", "title": "A", "start_index": 0, "end_index": 1}
    part = {
        "type": "output_text",
        "text": "a",
        "annotations": [note, {"type": "file_citation"}],
        "logprobs": [],
    }
    assert turns({"role": "assistant", "content": [part]})[0].blocks == (
        Text("a", citations=(("https://a", "A", 0, 1),)),
    )


def test_reasoning_as_we_sealed_it() -> None:
    """Reasoning as we sealed it."""
    item = {"type": "reasoning", "summary": [], "encrypted_content": packed(SEAL, redacted=False)}
    assert turns(item) == [Turn(Role.ASSISTANT, (Thinking("", SEAL),))]
    item = {**item, "encrypted_content": packed(SEAL, redacted=True)}
    assert turns(item) == [Turn(Role.ASSISTANT, (Thinking("", SEAL, redacted=True),))]


def test_reasoning_as_its_vendor_sealed_it_is_of_an_unknown_model() -> None:
    """Reasoning as its vendor sealed it is of an unknown model."""
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    value = '{"id":"rs_1","encrypted_content":"gAAA"}'
    assert turns(item)[0].blocks == (Thinking("", Seal(Dialect.RESPONSES, None, value)),)


def test_reasoning_in_words() -> None:
    """Its own text goes before the summary of it; parts are paragraphs."""
    summary = [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]
    item: Json = {"type": "reasoning", "summary": summary, "status": None, "content": None}
    assert turns(item)[0].blocks == (Thinking("a\n\nb"),)
    item["content"] = [{"type": "reasoning_text", "text": "whole"}]
    assert turns(item)[0].blocks == (Thinking("whole"),)


def test_reasoning_that_says_nothing_is_nothing() -> None:
    """Reasoning that says nothing is nothing."""
    assert turns({"type": "reasoning", "id": "rs_1", "summary": []}) == []
    broken = seals.TAG + "nonsense"
    assert turns({"type": "reasoning", "summary": [], "encrypted_content": broken}) == []


def test_our_compaction_is_an_instruction() -> None:
    """Our compaction is an instruction."""
    item = {"type": "compaction", "id": "cmp_1", "encrypted_content": compacted.pack("So far.")}
    assert turns(item) == [Turn(Role.DEVELOPER, (Text("So far."),))]
    assert refused([{**item, "encrypted_content": "gAAA"}]).param == "input[0]"


def test_what_only_tells_how_an_answer_came_about_is_left_out_by_name() -> None:
    """What only tells how an answer came about is left out by name."""
    assert dropped({"type": "web_search_call", "id": "ws_1"}, {"role": "user", "content": "x"}) == [
        "input[0]"
    ]


@pytest.mark.parametrize("kind", ["local_shell_call", "computer_call_output", "mcp_approval_request", "new"])
def test_what_the_model_would_go_on_from_is_refused(kind: str) -> None:
    """What the model would go on from is refused."""
    assert refused([{"type": kind}]).param == "input[0]"


@pytest.mark.parametrize("item", [{"type": "item_reference", "id": "msg_1"}, {"id": "msg_1"}])
def test_references_are_resolved_before_or_unknown(item: Json) -> None:
    """References are resolved before or unknown."""
    found = refused([item])
    assert (found.message, found.param) == ("Item with id 'msg_1' not found.", "input[0].id")


def test_unknown_members_are_named_at_any_depth() -> None:
    """Unknown members are named at any depth."""
    assert dropped(
        {"role": "user", "content": [{"type": "input_text", "text": "a", "mood": 1}], "name": "ann"},
        {**CALL, "async": True},
        {**RESULT, "extra": 1},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "a", "b": 1}], "c": 1},
    ) == [
        "input[0].name",
        "input[0].content[0].mood",
        "input[1].async",
        "input[2].extra",
        "input[3].c",
        "input[3].summary[0].b",
    ]


@pytest.mark.parametrize(
    ("said", "param"),
    [
        (None, "input"),
        (3, "input"),
        ([3], "input[0]"),
        ([{"type": 3}], "input[0].type"),
        ([{"type": "message", "content": "x"}], "input[0].role"),
        ([{"role": "tool", "content": "x"}], "input[0].role"),
        ([{"role": "user"}], "input[0].content"),
        ([{"role": "user", "content": 3}], "input[0].content"),
        ([{"role": "user", "content": [{"text": "x"}]}], "input[0].content[0].type"),
        ([{"role": "user", "content": [{"type": "input_video"}]}], "input[0].content[0].type"),
        ([{"role": "user", "content": [{"type": "input_text"}]}], "input[0].content[0].text"),
        ([{"role": "user", "content": [{"type": "input_image"}]}], "input[0].content[0].image_url"),
        (
            [{"role": "user", "content": [{"type": "input_image", "image_url": "ftp://a"}]}],
            "input[0].content[0].image_url",
        ),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "input[0].content[0].input_audio"),
        ([{"role": "user", "content": [{"type": "input_file"}]}], "input[0].content[0].file_id"),
        ([{**CALL, "call_id": None}], "input[0].call_id"),
        ([{**CALL, "arguments": {}}], "input[0].arguments"),
        ([{**RESULT, "output": None}], "input[0].output"),
        ([{**RESULT, "output": [{"type": "refusal", "refusal": "x"}]}], "input[0].output"),
        ([{"role": "assistant", "content": "x", "phase": "other"}], "input[0].phase"),
    ],
)
def test_what_is_wrong_is_refused_by_its_place(said: Any, param: str) -> None:
    """What is wrong is refused by its place."""
    assert refused(said).param == param
