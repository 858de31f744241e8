import dataclasses
from typing import Any

import msgspec
import pytest

from proxy.errors import Refusal
from proxy.profiles import quirks
from proxy.wire.codec import Facts
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
from proxy.wire.responses import sealed
from proxy.wire.responses.input_writer import write

Json = dict[str, Any]
FACTS = Facts("gpt-5", quirks("openai", "gpt-5", {"cache_marks": True}))
PLAIN = Facts("m", quirks("generic", "m", {"audio": False}))
PNG = Inline("image/png", "iVBORw0KGgo=")
SEAL = Seal(Dialect.RESPONSES, "gpt-5", '{"id":"rs_1","encrypted_content":"gAAA"}')


def items(*turns: Turn, facts: Facts = FACTS, lost: str = "") -> list[Json]:
    """These turns as items, and that this was lost."""
    losses = Losses(Dialect.RESPONSES)
    found = write(turns, facts, losses)
    assert losses.header() == lost
    return found


def user(*blocks: Block) -> Turn:
    """A user's turn."""
    return Turn(Role.USER, blocks)


def assistant(*blocks: Block, phase: str | None = None) -> Turn:
    """An assistant's turn."""
    return Turn(Role.ASSISTANT, blocks, phase)


def part(block: Block, facts: Facts = FACTS) -> Json:
    """The part that a block is, after another."""
    content = items(user(Text("x"), block), facts=facts)[0]["content"]
    found: Json = content[1]
    return found


def test_a_bare_text_stays_one() -> None:
    """A bare text stays one."""
    assert items(user(Text("Hi"))) == [{"type": "message", "role": "user", "content": "Hi"}]


def test_nobody_needs_to_say_anything() -> None:
    """Nobody needs to say anything."""
    assert items(user()) == [{"type": "message", "role": "user", "content": []}]


def test_those_who_instruct_keep_their_place_and_role() -> None:
    """Those who instruct keep their place and role."""
    turns = [Turn(Role.SYSTEM, (Text("a"),)), user(Text("b")), Turn(Role.DEVELOPER, (Text("c"),))]
    assert [item["role"] for item in items(*turns)] == ["system", "user", "developer"]
    assert [item["role"] for item in items(*turns, facts=PLAIN)] == ["system", "user", "system"]


def test_an_assistant_speaks_thinks_and_calls_in_order() -> None:
    """An assistant speaks thinks and calls in order."""
    turn = assistant(
        Thinking("hm", SEAL),
        Text("Look"),
        Text("ing."),
        ToolUse("c1", "f", "{}"),
        Text("Done."),
        phase="commentary",
    )
    assert items(turn) == [
        {
            "type": "reasoning",
            "id": "rs_1",
            "encrypted_content": "gAAA",
            "summary": [{"type": "summary_text", "text": "hm"}],
        },
        {"type": "message", "role": "assistant", "content": "Looking.", "phase": "commentary"},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "message", "role": "assistant", "content": "Done.", "phase": "commentary"},
    ]


def test_an_empty_text_is_nothing() -> None:
    """An empty text is nothing."""
    assert items(assistant(Text(""))) == []


def test_a_refusal_in_history_is_a_part_of_a_message_with_an_id_of_ours() -> None:
    """A refusal in history is a part of a message with an id of ours."""
    found = items(assistant(Text("a"), Declined("no")))[0]
    assert found["id"].startswith("msg_")
    assert [piece["type"] for piece in found["content"]] == ["output_text", "refusal"]


def test_citations_of_earlier_answers_are_lost_by_name() -> None:
    """Citations of earlier answers are lost by name."""
    items(assistant(Text("a", citations=(("https://a", "A", 0, 1),))), lost="dropped=citations")


def test_reasoning_goes_back_to_the_model_that_made_it_only() -> None:
    """In the account in which it did."""
    other = msgspec.structs.replace(SEAL, model="gpt-4")
    foreign = Seal(Dialect.MESSAGES, "gpt-5", "sig")
    elsewhere = sealed.closed("rs_1", "gAAA", dataclasses.replace(FACTS, account="elsewhere"))
    for seal in (other, foreign, elsewhere, None):
        turns = [user(Text("a")), assistant(Thinking("hm", seal), Text("b")), user(Text("c"))]
        assert [item["type"] for item in items(*turns)] == ["message"] * 3


def test_reasoning_that_is_still_going_on_is_missed() -> None:
    """Reasoning that is still going on is missed."""
    turns = [user(Text("a")), assistant(Thinking("hm"), ToolUse("c", "f", "{}")), user(ToolResult("c", ()))]
    items(*turns, lost="dropped=thinking")
    items(*turns, user(Text("thanks")))


def test_reasoning_is_not_sent_without_what_it_led_to() -> None:
    """Reasoning is not sent without what it led to."""
    assert items(assistant(Thinking("hm", SEAL))) == []
    assert items(assistant(Thinking("hm", SEAL), Text(""))) == []


def test_a_seal_that_is_not_what_it_should_be_is_left_out() -> None:
    """As another's is, by name where it is missed."""
    broken = msgspec.structs.replace(SEAL, value="gAAA")
    found = items(assistant(Thinking("", broken), Text("a")), lost="dropped=thinking")
    assert [item["type"] for item in found] == ["message"]


def test_reasoning_without_an_id_has_none() -> None:
    """Reasoning without an id has none."""
    nameless = msgspec.structs.replace(SEAL, value='{"id":null,"encrypted_content":"gAAA"}')
    found = items(assistant(Thinking("", nameless), Text("a")))[0]
    assert found == {"type": "reasoning", "encrypted_content": "gAAA", "summary": []}


def test_ids_that_are_too_long_are_the_same_for_a_call_and_its_result() -> None:
    """Ids that are too long are the same for a call and its result."""
    long = "x" * 80
    call, result = items(assistant(ToolUse(long, "f", "{}")), user(ToolResult(long, (Text("ok"),))))
    assert call["call_id"] == result["call_id"]
    assert len(call["call_id"]) == 64
    odd = items(assistant(ToolUse("functions.bash:0", "f", "{}")))[0]
    assert odd["call_id"] == "functions.bash:0"


def test_names_and_empty_arguments() -> None:
    """Names and empty arguments."""
    use = ToolUse("c", "f", "  ", namespace="ns")
    assert items(assistant(use))[0] == {
        "type": "function_call",
        "call_id": "c",
        "name": "ns__f",
        "arguments": "{}",
    }


def test_free_text_calls_and_their_results() -> None:
    """A result is of a free-text tool where its call was, whatever the client could say of it."""
    use, result = ToolUse("c", "p", "raw", custom=True), ToolResult("c", (Text("ok"),))
    assert items(assistant(use), user(result)) == [
        {"type": "custom_tool_call", "call_id": "c", "name": "p", "input": "raw"},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "ok"},
    ]


def test_results_come_before_what_the_user_says() -> None:
    """Results come before what the user says."""
    turn = user(Text("a"), ToolResult("c1", (Text("1"),)), Text("b"), ToolResult("c2", ()))
    found = items(turn)
    assert [item.get("output", item.get("content")) for item in found[:2]] == ["1", ""]
    assert [piece["text"] for piece in found[2]["content"]] == ["a", "b"]


def test_results_with_pictures_are_lists() -> None:
    """Results with pictures are lists."""
    found = items(user(ToolResult("c", (Text("shot"), Image(PNG)))))[0]
    assert [piece["type"] for piece in found["output"]] == ["input_text", "input_image"]


@pytest.mark.parametrize(
    ("said", "told"),
    [("no file", "Error: no file"), ("Error: no", "Error: no"), ("Traceback (most", "Traceback (most")],
)
def test_failed_results_say_so(said: str, told: str) -> None:
    """Failed results say so."""
    result = ToolResult("c", (Text(said),), error=True)
    assert items(user(result), lost="changed=tool_result.error")[0]["output"] == told


def test_failed_results_without_words() -> None:
    """Failed results without words."""
    bare = ToolResult("c", (), error=True)
    assert items(user(bare), lost="changed=tool_result.error")[0]["output"] == "Error"
    shot = ToolResult("c", (Image(PNG),), error=True)
    assert items(user(shot), lost="changed=tool_result.error")[0]["output"][0]["text"] == "Error"


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (Text("a"), {"type": "input_text", "text": "a"}),
        (Declined("no"), {"type": "input_text", "text": "no"}),
        (
            Image(PNG),
            {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,iVBORw0KGgo="},
        ),
        (
            Image(Url("https://a/b.png"), "low"),
            {"type": "input_image", "detail": "low", "image_url": "https://a/b.png"},
        ),
        (
            Image(FileId("file-1", Dialect.RESPONSES)),
            {"type": "input_image", "detail": "auto", "file_id": "file-1"},
        ),
        (
            Document(Inline("application/pdf", "JVBERi0=")),
            {
                "type": "input_file",
                "filename": "file.pdf",
                "file_data": "data:application/pdf;base64,JVBERi0=",
            },
        ),
        (
            Document(Url("https://a/b"), "b.pdf"),
            {"type": "input_file", "file_url": "https://a/b"},
        ),
        (
            Document(FileId("file-1", Dialect.RESPONSES)),
            {"type": "input_file", "file_id": "file-1"},
        ),
        (
            Audio("wav", "UklGRg=="),
            {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        ),
    ],
)
def test_parts(block: Block, expected: Json) -> None:
    """Parts."""
    assert part(block) == expected


def test_cache_marks_are_for_those_who_take_them() -> None:
    """Cache marks are for those who take them."""
    assert part(Text("a", "short"))["prompt_cache_breakpoint"] == {"mode": "explicit"}
    assert part(Image(PNG, cache="long"))["prompt_cache_breakpoint"] == {"mode": "explicit", "ttl": "12h"}
    assert "prompt_cache_breakpoint" not in part(Text("a", "short"), PLAIN)
    assert items(user(Text("a", "short")))[0]["content"] != "a"
    assert items(user(Text("a", "short")), facts=PLAIN)[0]["content"] == "a"


@pytest.mark.parametrize(
    ("turn", "facts", "param"),
    [
        (user(Audio("wav", "x")), PLAIN, "audio"),
        (user(Image(PNG)), Facts("m", quirks("generic", "m", {"images": False})), "image"),
        (user(Image(FileId("file-1", Dialect.MESSAGES))), FACTS, "file_id"),
        (user(Document(FileId("file-1", Dialect.CHAT))), FACTS, "file_id"),
        (assistant(Image(PNG)), FACTS, "messages"),
        (assistant(Document(PNG)), FACTS, "messages"),
    ],
)
def test_what_cannot_be_said_is_refused(turn: Turn, facts: Facts, param: str) -> None:
    """What cannot be said is refused."""
    with pytest.raises(Refusal) as caught:
        items(turn, facts=facts)
    assert (caught.value.status, caught.value.param) == (400, param)
