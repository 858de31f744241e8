import base64
from collections.abc import Sequence
from typing import Any

import pytest
from fakes.translations import facts

from proxy.errors import Refusal
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
from proxy.wire.messages.content_writer import EMPTY, ContentWriter
from proxy.wire.messages.marks import Marks
from proxy.wire.model import Dialect

Json = dict[str, Any]
OPUS = "claude-opus-4-8"
PNG = "iVBORw0KGgoAAAA"


def written(
    *said: Turn, model: str = "claude-sonnet-4-5", **quirks: Any
) -> tuple[list[Json], list[Json], str]:
    """`system`, `messages`, and what was lost."""
    losses = Losses(Dialect.MESSAGES)
    marks = Marks(taken=True)
    system, messages = ContentWriter(facts("messages", model=model, **quirks), losses, marks).write(said)
    marks.place()
    return system, messages, losses.header()


def turn(role: Role, *blocks: Block | str) -> Turn:
    """A turn of blocks, or of texts."""
    return Turn(role, tuple(Text(block) if isinstance(block, str) else block for block in blocks))


def user(*blocks: Block | str) -> Turn:
    """The user."""
    return turn(Role.USER, *blocks)


def assistant(*blocks: Block | str) -> Turn:
    """The assistant."""
    return turn(Role.ASSISTANT, *blocks)


def system(*blocks: Block | str) -> Turn:
    """Who instructs."""
    return turn(Role.SYSTEM, *blocks)


def said(messages: Sequence[Json]) -> list[tuple[str, Any]]:
    """Role and content of each message."""
    return [(message["role"], message["content"]) for message in messages]


def block(given: Block, **quirks: Any) -> Json:
    """What a user's block becomes."""
    found: Json = written(user(given, "x"), **quirks)[1][0]["content"][0]
    return found


def refused(given: Block, **quirks: Any) -> str | None:
    """The field that is refused."""
    with pytest.raises(Refusal) as caught:
        block(given, **quirks)
    assert caught.value.status == 400
    return caught.value.param


def test_leading_instructions_are_the_system() -> None:
    """A block for each, marked where it was."""
    found, messages, lost = written(system("a", Text("b", "long")), turn(Role.DEVELOPER, "c", " "), user("q"))
    assert found == [
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "text", "text": "c"},
    ]
    assert said(messages) == [("user", "q")]
    assert lost == ""


def test_later_instructions_where_they_are_not_taken() -> None:
    """A user's words in their place, in a wrapping that says what they are."""
    _, messages, lost = written(user("q"), assistant("a"), system("s"), user("r"))
    content = [{"type": "text", "text": "<system>s</system>"}, {"type": "text", "text": "r"}]
    assert said(messages) == [("user", "q"), ("assistant", "a"), ("user", content)]
    assert lost == "changed=system"


@pytest.mark.parametrize("rest", [[], [assistant("a"), user("r")]])
def test_later_instructions_where_they_are_taken(rest: list[Turn]) -> None:
    """After a user, and before the assistant or at the end; neighbours are one."""
    _, messages, lost = written(user("q"), system("s"), turn(Role.DEVELOPER, "t"), *rest, model=OPUS)
    assert messages[1] == {
        "role": "system",
        "content": [{"type": "text", "text": "s"}, {"type": "text", "text": "t"}],
    }
    assert lost == ""


@pytest.mark.parametrize(
    "turns",
    [
        [user("q"), system("s"), user("r")],
        [user("q"), assistant("a"), system("s"), user("r")],
        [assistant(Thinking("gone")), system("s"), user("r")],
    ],
)
def test_instructions_in_other_places_are_a_users_words(turns: list[Turn]) -> None:
    """Even where later ones are taken."""
    _, messages, lost = written(*turns, model=OPUS)
    assert "system" not in {message["role"] for message in messages}
    assert "changed=system" in lost


def test_turns_are_merged_and_results_come_first() -> None:
    """Whatever order they had."""
    _, messages, lost = written(
        user("q"),
        assistant("so"),
        assistant(ToolUse("a", "f", '{"x":1}'), ToolUse("b", "g", "")),
        user("now"),
        user(ToolResult("b", (Text("2"),)), ToolResult("a", (), error=True)),
    )
    assert said(messages)[1:] == [
        (
            "assistant",
            [
                {"type": "text", "text": "so"},
                {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
                {"type": "tool_use", "id": "b", "name": "g", "input": {}},
            ],
        ),
        (
            "user",
            [
                {"type": "tool_result", "tool_use_id": "b", "content": "2"},
                {"type": "tool_result", "tool_use_id": "a", "is_error": True},
                {"type": "text", "text": "now"},
            ],
        ),
    ]
    assert lost == ""


def test_a_missing_result_is_said_to_be_missing() -> None:
    """And is a loss."""
    _, messages, lost = written(user("q"), assistant(ToolUse("a", "f", "{}")), user("r"))
    assert messages[2]["content"][0]["is_error"]
    assert lost == "changed=tool_result.missing"


def test_a_user_begins_and_nobody_says_nothing() -> None:
    """Empty texts are left out; a user who has said nothing is said so, an assistant is not."""
    assert said(written(assistant("a"), user("q"))[1])[0] == ("user", ".")
    assert said(written(system("s"))[1]) == [("user", ".")]
    assert said(written(user("", " \n"), assistant(""), user("q"))[1]) == [
        ("user", [{"type": "text", "text": EMPTY}, {"type": "text", "text": "q"}])
    ]


def test_the_beginning_of_an_answer_ends_without_a_space() -> None:
    """It would be refused."""
    assert said(written(user("q"), assistant("a", "b \n"))[1])[1][1][1]["text"] == "b"
    assert said(written(user("q"), assistant("a "), user("r"))[1])[1] == ("assistant", "a ")


def test_ids_are_legal_and_each_is_there_once() -> None:
    """Some servers count from zero in every reply."""
    call, result = ToolUse("call_0", "f", "{}"), ToolResult("call_0", (Text("1"),))
    _, messages, _ = written(
        user("q"), assistant(call, call), user(result, result), assistant(call), user(result)
    )
    uses = [part["id"] for message in messages[1::2] for part in message["content"]]
    assert [part["tool_use_id"] for message in messages[2::2] for part in message["content"]] == uses
    assert uses == ["call_0", "call_0_2", "call_0_3"]


def test_tools_of_a_namespace_and_free_text() -> None:
    """By their flat name; the text is wrapped."""
    call = ToolUse("a", "patch", "*** Begin", custom=True, namespace="docs")
    _, messages, _ = written(user("q"), assistant(call), user(ToolResult("a", (), custom=True)))
    assert messages[1]["content"][0] == {
        "type": "tool_use",
        "id": "a",
        "name": "docs__patch",
        "input": {"input": "*** Begin"},
    }


def thoughts(value: str, model: str = "claude-sonnet-4-5", **more: Any) -> Thinking:
    """Sealed thinking."""
    return Thinking("hm ", Seal(Dialect.MESSAGES, model, value), **more)


def test_thinking_goes_back_to_the_model_that_made_it() -> None:
    """As it came."""
    _, messages, lost = written(user("q"), assistant(thoughts("s"), thoughts("d", redacted=True), "a"))
    assert messages[1]["content"][:2] == [
        {"type": "thinking", "thinking": "hm ", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
    ]
    assert lost == ""


@pytest.mark.parametrize(
    "foreign",
    [
        Thinking("hm"),
        thoughts("s", "claude-opus-4-8"),
        Thinking("hm", Seal(Dialect.MESSAGES, None, "s")),
        Thinking("hm", Seal(Dialect.RESPONSES, "claude-sonnet-4-5", "s")),
    ],
)
def test_thinking_of_others_is_left_out(foreign: Thinking) -> None:
    """That is a loss in the exchange that goes on; of those that are over it is left out anyway."""
    call, result = ToolUse("a", "f", "{}"), ToolResult("a", ())
    _, messages, lost = written(user("q"), assistant(foreign, call), user(result))
    assert [part["type"] for part in messages[1]["content"]] == ["tool_use"]
    assert lost == "dropped=thinking"
    _, messages, lost = written(user("q"), assistant(foreign, "a"), user("r"))
    assert said(messages)[1] == ("assistant", "a")
    assert lost == ""


@pytest.mark.parametrize("named", ["image/png", "", "image/jpeg", "application/octet-stream"])
def test_pictures_of_the_type_that_they_are(named: str) -> None:
    """A wrong one would be refused."""
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    assert block(Image(Inline(named, PNG))) == {"type": "image", "source": source}


def test_other_pictures() -> None:
    """An address is the provider's to fetch; types, files and models that cannot be are refused."""
    assert block(Image(Url("https://a"), detail="high", cache="short")) == {
        "type": "image",
        "source": {"type": "url", "url": "https://a"},
        "cache_control": {"type": "ephemeral"},
    }
    assert refused(Image(Inline("image/tiff", "AAAA"))) == "image"
    assert refused(Image(FileId("f", Dialect.RESPONSES))) == "file_id"
    assert refused(Image(Url("https://a")), images=False) == "image"


def test_documents() -> None:
    """PDFs as they are, text as text, addresses as such."""
    pdf = Document(Inline("application/octet-stream", "JVBERi0x"), "a.pdf", "short")
    assert block(pdf) == {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0x"},
        "title": "a.pdf",
        "cache_control": {"type": "ephemeral"},
    }
    plain = Inline("text/markdown", base64.b64encode("ü".encode()).decode())
    assert block(Document(plain)) == {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": "ü"},
    }
    assert block(Document(Url("https://a")))["source"] == {"type": "url", "url": "https://a"}
    assert refused(Document(Inline("application/zip", "AAAA"))) == "document"
    assert refused(Document(Inline("text/plain", "/w=="))) == "document"
    assert refused(Document(FileId("f", Dialect.CHAT))) == "file_id"


def test_what_has_no_form() -> None:
    """Speech is refused; a refusal is text; citations are lost and said so."""
    assert refused(Audio("wav", "AAAA")) == "audio"
    assert said(written(user("q"), assistant(Declined("No."), "x"))[1])[1][1][0] == {
        "type": "text",
        "text": "No.",
    }
    cited = Text("a", citations=(("https://a", "A", 0, 1),))
    assert written(user("q"), assistant(cited))[2] == "dropped=citations"


def test_results_with_pictures_and_marks() -> None:
    """In their place, without empty texts."""
    content = (Text(""), Text("x", "short"), Image(Inline("image/png", PNG)))
    _, messages, _ = written(
        user("q"), assistant(ToolUse("a", "f", "{}")), user(ToolResult("a", content, cache="short"))
    )
    result = messages[2]["content"][0]
    assert [part["type"] for part in result["content"]] == ["text", "image"]
    assert "cache_control" in result
    assert "cache_control" in result["content"][0]


@pytest.mark.timeout(20)
def test_a_great_many_calls_of_one_id() -> None:
    """Each is looked at once; so are instructions."""
    count = 30_000
    calls = assistant(*(ToolUse("a", "f", "{}") for _ in range(count)))
    results = user(*(ToolResult("a", (Text("1"),)) for _ in range(count)))
    _, messages, _ = written(user("q"), calls, results, *[system("s")] * count, model=OPUS)
    sent = [made["id"] for made in messages[1]["content"]]
    assert sent[:3] == ["a", "a_2", "a_3"]
    assert len(set(sent)) == count
    assert [made["tool_use_id"] for made in messages[2]["content"][:count]] == sent
