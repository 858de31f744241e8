import msgspec
import pytest

from mockprovider.answer import Tool, Unreadable
from mockprovider.reading import (
    FIELDS,
    USUAL,
    Fields,
    attachments,
    decoded,
    is_tool_result,
    last_user_text,
    required,
    schema_of,
    size,
    text_of,
    tool_output,
    tools,
    unsuffixed,
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


def test_custom_tools_are_marked() -> None:
    """They have no schema."""
    assert tools([{"name": "c"}], "parameters", custom=True) == [Tool("c", {}, custom=True)]


@pytest.mark.parametrize(
    ("model", "wanted"),
    [("m", ("m", "")), ("m#status=429", ("m", "status=429")), ("m#", ("m", "")), ("a#b#c", ("a", "b#c"))],
)
def test_a_fault_hangs_on_the_models_name(model: str, wanted: tuple[str, str]) -> None:
    """Behind the first `#`."""
    assert unsuffixed(model) == wanted


def test_attachments_are_counted_by_their_types() -> None:
    """Also inside the results of tools; text and strings are none."""
    result = {"type": "tool_result", "content": [{"type": "image"}, {"type": "text"}]}
    contents = ["image", None, [{"type": "image"}, {"type": "pdf"}, "image", result]]
    assert attachments(contents, {"image"}, {"pdf"}) == (2, 1)


@pytest.mark.parametrize(
    ("form", "inside", "keys"),
    [
        (None, "", None),
        ({"type": "text"}, "", None),
        ({"type": "json_object"}, "", {"type", "properties"}),
        ({"type": "json_schema", "schema": {"a": 1}}, "", {"a"}),
        ({"type": "json_schema", "in": {"schema": {"a": 1}}}, "in", {"a"}),
        ({"type": "json_schema"}, "in", {"type", "properties"}),
    ],
)
def test_a_format_has_a_schema(form: object, inside: str, keys: set[str] | None) -> None:
    """Its own, or that of any object."""
    schema = schema_of(form, inside)
    assert (None if schema is None else set(schema)) == keys


def test_the_usual_terms_are_those_of_a_good_request() -> None:
    """A version, no beta, nothing stored; and any field can be decoded."""
    assert (USUAL.version, USUAL.beta, USUAL.flavour, "x" in USUAL.stored) == (
        "2023-06-01",
        False,
        "generic",
        False,
    )
    fields: Fields = decoded(FIELDS, b'{"a": [1]}')
    assert fields == {"a": [1]}
