import pytest

from mockprovider.answer import Unreadable
from mockprovider.wording import (
    invalid,
    known_only,
    lacking,
    mismatch,
    missing,
    name_checked,
    one_of,
    only,
    too_long,
    unknown,
    unsupported,
    wrong_type,
)

_TOO_LONG = (
    "Invalid 'a': string too long. Expected a string with maximum length 2, but got a string with length 3 "
    "instead."
)


@pytest.mark.parametrize(
    ("refusal", "text"),
    [
        (invalid("a.0", "no"), "a.0: no"),
        (lacking("model"), "model: Field required"),
        (one_of("role", ("user", "assistant")), "role: Input should be 'user' or 'assistant'"),
        (one_of("type", ("text",)), "type: Input should be 'text'"),
    ],
)
def test_anthropic_begins_with_the_path(refusal: Unreadable, text: str) -> None:
    """And has no code."""
    assert (str(refusal), refusal.code, refusal.status) == (text, None, 400)


@pytest.mark.parametrize(
    ("refusal", "text", "code"),
    [
        (missing("a"), "Missing required parameter: 'a'.", "missing_required_parameter"),
        (unknown("a"), "Unknown parameter: 'a'.", "unknown_parameter"),
        (
            unsupported("a", ("x", "y", "z"), "w"),
            "Invalid value: 'w'. Supported values are: 'x', 'y', and 'z'.",
            "invalid_value",
        ),
        (
            unsupported("a", ("x", "y"), "w"),
            "Invalid value: 'w'. Supported values are: 'x' and 'y'.",
            "invalid_value",
        ),
        (
            wrong_type("a", "a string", {}),
            "Invalid type for 'a': expected a string, but got an object instead.",
            "invalid_type",
        ),
        (
            wrong_type("a", "a string", 1.5),
            "Invalid type for 'a': expected a string, but got a number instead.",
            "invalid_type",
        ),
        (
            too_long("a", 2, "xxx"),
            _TOO_LONG,
            "string_above_max_length",
        ),
        (
            mismatch("a", "^x$"),
            "Invalid 'a': string does not match pattern. Expected a string that matches the pattern '^x$'.",
            "invalid_value",
        ),
    ],
)
def test_openai_names_the_field_twice(refusal: Unreadable, text: str, code: str) -> None:
    """In the sentence and in `param`, with a code."""
    assert (str(refusal), refusal.param, refusal.code) == (text, "a", code)


def test_fields_that_are_not_allowed_are_refused_in_both_styles() -> None:
    """The first of them is named."""
    only("a.", {"b": 1}, "b c")
    with pytest.raises(Unreadable, match=r"^a\.d: Extra inputs are not permitted$"):
        only("a.", {"b": 1, "d": 2, "e": 3}, "b c")
    known_only("", {"b": 1}, "b c")
    with pytest.raises(Unreadable, match=r"^Unknown parameter: 'd'\.$"):
        known_only("", {"b": 1, "d": 2}, "b c")


@pytest.mark.parametrize("name", [None, 3, "x" * 65, "functions.bash", "a b", "", "naïve"])
def test_a_name_is_short_and_plain(name: object) -> None:
    """Letters, digits, `_` and `-`, at most 64."""
    name_checked("name", "a-Z_9")
    with pytest.raises(Unreadable):
        name_checked("name", name)
