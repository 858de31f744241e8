import base64

import pytest

from mockprovider.answer import Unreadable
from mockprovider.reading import Terms
from mockprovider.seals import seal
from mockprovider.strict_blocks import LATEST, Blocks, said

_BLOCKS = Blocks("m", Terms())
_PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n0").decode()
_IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": _PNG}}
_USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
_RESULT = {"type": "tool_result", "tool_use_id": "toolu_1"}
_THOUGHT = {"type": "thinking", "thinking": "é ", "signature": seal("thinking", "m", "é ")}


def _source(**source: object) -> dict[str, object]:
    return {"type": "image", "source": source}


@pytest.mark.parametrize(
    ("role", "block"),
    [
        ("user", {"type": "text", "text": "hi", "cache_control": None}),
        ("user", _IMAGE),
        ("user", _source(type="url", url="https://a/b.png")),
        ("user", {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}),
        ("user", _RESULT),
        ("user", {**_RESULT, "content": "", "is_error": False}),
        ("user", {**_RESULT, "content": [{"type": "text", "text": "a"}, _IMAGE]}),
        ("assistant", {**_USE, "caller": {"type": "direct"}}),
        ("assistant", _THOUGHT),
        ("assistant", {**_THOUGHT, "thinking": "", "signature": seal("thinking", "m", "")}),
        ("assistant", {"type": "redacted_thinking", "data": seal("redacted", "m", "hm")}),
        ("assistant", {"type": "server_tool_use", "whatever": 1}),
        ("system", {"type": "text", "text": "be brief"}),
    ],
)
def test_what_is_right_passes(role: str, block: object) -> None:
    """Every kind of block, said by the side that says it."""
    _BLOCKS.check(block, "b", role)


@pytest.mark.parametrize(
    ("role", "block", "text"),
    [
        ("user", "hi", "b: Input should be a valid dictionary"),
        ("user", {"text": "hi"}, "b.type: Field required"),
        ("user", {"type": "image_url"}, "b: Input tag 'image_url' found using 'type' does not match any"),
        ("user", {"type": "text"}, "b.text.text: Field required"),
        ("user", {"type": "text", "text": ""}, "b: text content blocks must be non-empty"),
        ("user", {"type": "text", "text": " \n"}, "b: text content blocks must contain non-whitespace text"),
        ("user", {"type": "text", "text": None}, "b.text.text: Input should be a valid string"),
        ("user", {"type": "text", "text": "a", "id": "x"}, "b.text.id: Extra inputs are not permitted"),
        ("user", _USE, "b: `tool_use` blocks can only be in `assistant` messages"),
        ("assistant", _RESULT, "b: `tool_result` blocks can only be in `user` messages"),
        ("assistant", _IMAGE, "b: `image` blocks can only be in `user` messages"),
        ("system", {"type": "document", "source": {}}, "b: `system` messages can only have `text` blocks"),
    ],
)
def test_blocks_of_no_use_are_refused(role: str, block: object, text: str) -> None:
    """Unknown kinds, missing or further fields, texts that say nothing, the wrong side."""
    with pytest.raises(Unreadable) as caught:
        _BLOCKS.check(block, "b", role)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ({}, "b.image.source: Input tag 'None'"),
        ({"type": "base64", "media_type": "image/png"}, "b.image.source.base64.data: Field required"),
        (
            {"type": "base64", "media_type": "image/bmp", "data": _PNG},
            "b.image.source.base64.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or",
        ),
        (
            {"type": "base64", "media_type": "image/jpeg", "data": _PNG},
            "b.image.source.base64: The image was specified using the image/jpeg media type, but the image",
        ),
        (
            {"type": "base64", "media_type": "image/png", "data": f"data:image/png;base64,{_PNG}"},
            "b.image.source.base64.data: Invalid base64 data",
        ),
        (
            {"type": "base64", "media_type": "image/png", "data": ""},
            "b.image.source.base64.data: image cannot",
        ),
        ({"type": "url", "url": "data:image/png;base64,xx"}, "b.image.source.url.url: Only HTTPS URLs"),
        ({"type": "url", "url": "https://a", "detail": "auto"}, "b.image.source.url.detail: Extra inputs"),
    ],
)
def test_images_are_looked_at(source: dict[str, object], text: str) -> None:
    """Their type must be known and true, their data base64 and no data URL."""
    with pytest.raises(Unreadable) as caught:
        _BLOCKS.check(_source(**source), "b", "user")
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ({**_USE, "id": "functions.bash:0"}, "b.tool_use.id: String should match pattern"),
        ({**_USE, "id": ""}, "b.tool_use.id: String should match pattern"),
        ({**_USE, "id": "a\n"}, "b.tool_use.id: String should match pattern"),
        ({**_USE, "input": "{}"}, "b.tool_use.input: Input should be a valid dictionary"),
        ({**_USE, "name": ""}, "b.tool_use.name: String should have at least 1"),
        ({**_USE, "name": "x" * 201}, "b.tool_use.name: String should have at most 200"),
        ({**_RESULT, "tool_use_id": "a|b"}, "b.tool_result.tool_use_id: String should match pattern"),
        ({**_RESULT, "content": {}}, "b.tool_result.content: Input should be a valid string or list"),
        ({**_RESULT, "is_error": True}, "b.tool_result: content cannot be empty if `is_error` is true"),
        ({**_RESULT, "content": [{"type": "text", "text": ""}]}, "b.tool_result.content.0: text content"),
        ({**_RESULT, "content": [_USE]}, "b.tool_result.content.0: Input tag 'tool_use'"),
    ],
)
def test_calls_and_results_are_looked_at(block: dict[str, object], text: str) -> None:
    """Ids, names, arguments that are an object, and what a result may hold."""
    with pytest.raises(Unreadable) as caught:
        _BLOCKS.check(block, "b", "assistant" if block["type"] == "tool_use" else "user")
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    "changed",
    [
        {"signature": ""},
        {"signature": "px1.openai.gpt.e30"},
        {"signature": seal("thinking", "n", "é ")},
        {"thinking": "é"},
        {"thinking": "\\u00e9 "},
        {"thinking": ""},
    ],
)
def test_a_signature_is_for_one_model_and_one_text(changed: dict[str, object]) -> None:
    """Empty, foreign, another model's, or over another text: all the same refusal."""
    with pytest.raises(Unreadable, match=r"^b: Invalid `signature` in `thinking` block$"):
        _BLOCKS.check({**_THOUGHT, **changed}, "b", "assistant")


def test_reasoning_has_its_fields_and_no_others() -> None:
    """A thought without signature, with cache control, and redacted by someone else."""
    with pytest.raises(Unreadable, match=r"^b\.thinking\.signature: Field required"):
        _BLOCKS.check({"type": "thinking", "thinking": "x"}, "b", "assistant")
    with pytest.raises(Unreadable, match=r"^b\.thinking\.cache_control: Extra inputs"):
        _BLOCKS.check({**_THOUGHT, "cache_control": {"type": "ephemeral"}}, "b", "assistant")
    with pytest.raises(Unreadable, match="Invalid `data` in `redacted_thinking` block"):
        _BLOCKS.check({"type": "redacted_thinking", "data": "xx"}, "b", "assistant")


def test_the_newest_version_refuses_more() -> None:
    """Documents of the assistant and citations of the user."""
    document = {"type": "document", "source": {"type": "url", "url": "https://a"}}
    cited = {"type": "text", "text": "a", "citations": [{}]}
    newest = Blocks("m", Terms(version=LATEST))
    for block, role in ((document, "assistant"), (cited, "user")):
        _BLOCKS.check(block, "b", role)
        with pytest.raises(Unreadable):
            newest.check(block, "b", role)


def test_a_text_says_something() -> None:
    """The same rule as for blocks."""
    said("a", "p")
    with pytest.raises(Unreadable):
        said(" ", "p")
