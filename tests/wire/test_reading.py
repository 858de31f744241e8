from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from proxy.errors import Refusal
from proxy.wire import reading


def refused(read: Callable[[], object]) -> tuple[str | None, str | None, str]:
    """Param, code and words of what it raises."""
    with pytest.raises(Refusal) as caught:
        read()
    assert caught.value.status == 400
    return caught.value.param, caught.value.code, caught.value.message


def test_all_values_are_decoded() -> None:
    """Of a body's top level."""
    assert reading.opened({"a": msgspec.Raw(b'[1,"x"]'), "b": msgspec.Raw(b"null")}) == {
        "a": [1, "x"],
        "b": None,
    }
    assert refused(lambda: reading.opened({"a": msgspec.Raw(b"[")}))[0] is None


READERS: dict[str, tuple[Callable[..., Any], list[object], list[object]]] = {
    "text": (reading.text, ["", "x"], [5, True, [], {}]),
    "needed": (reading.needed, ["", "x"], [5]),
    "flag": (reading.flag, [True, False], [0, 1, "true", []]),
    "number": (reading.number, [0, 1.5, -2], [True, "1", []]),
    "integer": (reading.integer, [0, 7], [1.5, True, "1"]),
    "record": (reading.record, [{}, {"a": 1}], [[], "x", 5]),
    "items": (reading.items, [[], [1, "x"]], [{}, "x", 5]),
    "records": (reading.records, [[], [{}]], [{}, "x"]),
}


@pytest.mark.parametrize("name", READERS)
def test_values_of_the_right_type(name: str) -> None:
    """They are what they were."""
    read, right, _ = READERS[name]
    for value in right:
        assert read({"k": value}, "k", "") == value


@pytest.mark.parametrize("name", READERS)
def test_values_of_a_wrong_type(name: str) -> None:
    """They are refused with their place."""
    read, _, wrong = READERS[name]
    for value in wrong:
        assert refused(lambda value=value: read({"k": value}, "k", "a[0]"))[:2] == ("a[0].k", "invalid_type")  # type: ignore[misc]


@pytest.mark.parametrize("obj", [{}, {"k": None}])
def test_what_is_not_there(obj: dict[str, Any]) -> None:
    """None, or empty where there can be many."""
    assert [read(obj, "k", "") for read in (reading.text, reading.flag, reading.number, reading.record)] == [
        None
    ] * 4
    assert (reading.items(obj, "k", ""), reading.records(obj, "k", ""), reading.texts(obj, "k", "")) == (
        [],
        [],
        (),
    )
    assert (reading.integer(obj, "k", "", 1), reading.word(obj, "k", "", ("a",))) == (None, None)
    assert refused(lambda: reading.needed(obj, "k", "a"))[:2] == ("a.k", "missing_required_parameter")


def test_elements_of_a_wrong_type() -> None:
    """Their place is named too."""
    assert refused(lambda: reading.records({"k": [{}, 5]}, "k", "a"))[0] == "a.k[1]"
    assert refused(lambda: reading.texts({"k": ["x", None]}, "k", ""))[0] == "k[1]"
    assert reading.texts({"k": ["x", "y"]}, "k", "") == ("x", "y")


def test_bounds() -> None:
    """A whole number may be written as a decimal; too small a one is refused in OpenAI's words."""
    assert reading.integer({"k": 3.0}, "k", "", 3) == 3
    assert type(reading.integer({"k": 3.0}, "k", "")) is int
    param, code, words = refused(lambda: reading.integer({"k": 0}, "k", "", 1))
    assert (param, code) == ("k", "integer_below_min_value")
    assert words.startswith("Invalid 'k': integer below minimum value. Expected a value >= 1")


def test_words() -> None:
    """One of those that are allowed; a refusal shows them, and no more of the wrong one than is fit."""
    assert reading.word({"k": "a"}, "k", "", ("a", "b")) == "a"
    param, code, words = refused(lambda: reading.word({"k": "x" * 5000}, "k", "", ("a", "b")))
    assert (param, code) == ("k", "invalid_value")
    assert "'a', 'b'" in words
    assert len(words) < 200


def test_unknown_members_are_noted() -> None:
    """Those that say something."""
    dropped = ["before"]
    reading.unknown({"a": 1, "b": 2, "c": None}, frozenset({"a"}), "x[1]", dropped)
    reading.unknown({"a": 1, "d": 0}, frozenset({"a"}), "", dropped)
    assert dropped == ["before", "x[1].b", "d"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "null"),
        (True, "a boolean"),
        (1, "an integer"),
        (1.5, "a decimal"),
        ("x", "a string"),
        ([], "an array"),
        ({}, "an object"),
    ],
)
def test_what_was_got_instead(value: object, words: str) -> None:
    """It is named as JSON names it."""
    assert reading.wrong("a", "a thing", value).message == (
        f"Invalid type for 'a': expected a thing, but got {words} instead."
    )
