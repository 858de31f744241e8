import msgspec
import pytest

from mockprovider.answer import Tool, Unreadable
from mockprovider.reading import (
    decoded,
    is_tool_result,
    last_user_text,
    required,
    size,
    text_of,
    tool_output,
    tools,
)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("plain", "plain"),
        ([{"type": "text", "text": "a"}, {"type": "image"}, {"text": "b"}, {"text": 3}, "c"], "ab"),
        (None, ""),
        (7, ""),
    ],
)
def test_text_is_found_in_either_form(content: object, text: str) -> None:
    """Content is a string or a list of parts; whatever else it is has no text."""
    assert text_of(content) == text


def test_tool_results_are_read_apart_from_text() -> None:
    """A tool result's text is its own, in either form, and not the user's."""
    content = [
        {"type": "tool_result", "content": "42"},
        {"type": "text", "text": "so?"},
        {"type": "tool_result"},
    ]
    assert tool_output(content) == "42"
    assert text_of(content) == "so?"
    assert tool_output("42") == ""
    assert not is_tool_result("tool_result")


def test_the_last_user_text_is_the_newest_that_says_something() -> None:
    """Other roles and empty messages are passed over."""
    messages: list[dict[str, object]] = [
        {"role": "user", "content": "first"},
        {"role": "user", "content": "second"},
        {"role": "user", "content": [{"type": "tool_result"}]},
        {"role": "assistant", "content": "third"},
    ]
    assert last_user_text(messages) == "second"
    assert last_user_text([]) == ""


def test_size_counts_bytes_and_survives_lone_surrogates() -> None:
    """Text is measured in UTF-8; a broken character counts as one."""
    assert size(["a", "é", "\ud800"]) == 4


def test_tools_without_a_name_are_passed_over() -> None:
    """Only functions with a name are tools; a schema that is none is empty."""
    offered: list[object] = [{"name": "a", "s": {"x": 1}}, {"name": "b", "s": 3}, {"s": {}}, None]
    assert tools(offered, "s") == [Tool("a", {"x": 1}), Tool("b", {})]


@pytest.mark.parametrize("value", ["", None, []])
def test_what_is_required_must_be_there(value: object) -> None:
    """A missing field is refused by name."""
    with pytest.raises(Unreadable) as caught:
        required(value, "model")
    assert caught.value.param == "model"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"a": "x"}'])
def test_what_is_no_such_json_is_unreadable(body: bytes) -> None:
    """Broken JSON and wrong types are the same error to the desk."""
    decoder = msgspec.json.Decoder(msgspec.defstruct("Shape", [("a", int)]))
    with pytest.raises(Unreadable):
        decoded(decoder, body)
