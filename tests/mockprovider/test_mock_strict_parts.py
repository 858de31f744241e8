import pytest

from mockprovider.answer import Unreadable
from mockprovider.strict_parts import check_message, check_output

_IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,xx", "detail": "auto"}


@pytest.mark.parametrize(
    "item",
    [
        {"role": "user", "content": "hi"},
        {"role": "developer", "content": [{"type": "input_text", "text": "hi"}]},
        {"role": "user", "content": [{"type": "text", "text": "hi"}, _IMAGE]},
        {"role": "user", "content": [{"type": "input_image", "file_id": "file-1", "detail": "low"}]},
        {"role": "user", "content": [{"type": "input_file", "file_data": "data:application/pdf;base64,x"}]},
        {"role": "assistant", "content": "so"},
        {
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": "a", "annotations": [], "logprobs": []},
                {"type": "refusal", "refusal": "no"},
            ],
        },
    ],
)
def test_messages_that_are_right_pass(item: dict[str, object]) -> None:
    """What each role may say."""
    check_message(item, "i")


@pytest.mark.parametrize(
    ("role", "part", "text"),
    [
        ("tool", {}, "Invalid value: 'tool'. Supported values are: 'assistant', 'system',"),
        ("user", "hi", "Invalid type for 'i.content[0]': expected an object, but got a string"),
        ("user", {"text": "hi"}, "Missing required parameter: 'i.content[0].type'."),
        (
            "assistant",
            {"type": "input_text", "text": "a"},
            "Invalid value: 'input_text'. Supported values are: ",
        ),
        ("assistant", {"type": "text", "text": "a"}, "Invalid value: 'text'. Supported values are: 'output_"),
        ("user", {"type": "output_text", "text": "a"}, "Invalid value: 'output_text'. Supported"),
        ("user", {"type": "image_url"}, "Invalid value: 'image_url'. Supported"),
        (
            "user",
            {"type": "input_text"},
            "Invalid type for 'i.content[0].text': expected a string, but got null",
        ),
        (
            "user",
            {"type": "input_text", "text": "a", "cache_control": {}},
            "Unknown parameter: 'i.content[0].cache_control'.",
        ),
        (
            "user",
            {"type": "input_image", "image_url": {"url": "https://a"}},
            "Invalid type for 'i.content[0].image_url': expected an image URL, but got an object instead.",
        ),
        ("user", {"type": "input_image"}, "Missing required parameter: 'i.content[0].image_url'."),
        (
            "user",
            {**_IMAGE, "image_url": "iVBORw0"},
            "Invalid 'i.content[0].image_url'. Expected a valid URL",
        ),
        ("user", {**_IMAGE, "detail": None}, "Invalid value: 'None'. Supported values are: 'low'"),
        (
            "user",
            {"type": "input_file", "filename": "a"},
            "Missing required parameter: 'i.content[0].file_id'.",
        ),
        (
            "user",
            {"type": "input_file", "file_data": "xx"},
            "Invalid 'i.content[0].file_data'. Expected a base64",
        ),
    ],
)
def test_parts_of_no_use_are_refused(role: str, part: object, text: str) -> None:
    """The wrong side, other dialects' parts, and parts without what makes them."""
    with pytest.raises(Unreadable) as caught:
        check_message({"role": role, "content": [part]}, "i")
    assert str(caught.value).startswith(text)


def test_content_is_text_or_parts() -> None:
    """Of a message and of a tool's output."""
    with pytest.raises(Unreadable, match=r"'i\.content': expected one of a string or array"):
        check_message({"role": "user", "content": {}}, "i")
    check_output("42", "o")
    check_output([{"type": "input_text", "text": "42"}, _IMAGE], "o")
    with pytest.raises(Unreadable, match="'o': expected one of a string or array"):
        check_output({"a": 1}, "o")
    with pytest.raises(Unreadable, match=r"'output_text'\. Supported"):
        check_output([{"type": "output_text", "text": "42"}], "o")
