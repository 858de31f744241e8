from typing import Any

import pytest

from mockprovider import strict_numbers
from mockprovider.answer import Unreadable
from mockprovider.behaviour import Flavour
from mockprovider.chat import Request
from mockprovider.strict_numbers import NAMES


def check(fields: dict[str, Any], flavour: Flavour) -> None:
    """A request of these numbers alone."""
    strict_numbers.check(Request(**fields), flavour)


FLAVOURS: list[Flavour] = ["generic", "openai", "deepseek", "dashscope", "vllm"]


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_numbers_within_their_bounds_pass(flavour: Flavour) -> None:
    """As do those that are null, which are as if not given."""
    check(dict.fromkeys(NAMES), flavour)
    check({"max_tokens": 1, "max_completion_tokens": 1, "temperature": 0, "top_p": 1}, flavour)
    check({"temperature": 1.9, "top_p": 0.5, "presence_penalty": -2, "frequency_penalty": 2.0}, flavour)


UNREADABLE = "Failed to deserialize the JSON body into the target type:"
PARAMETER = "<400> InternalError.Algo.InvalidParameter:"
BELOW = "below minimum value. Expected a value >= "


@pytest.mark.parametrize(
    ("flavour", "fields", "words", "code"),
    [
        (
            "openai",
            {"max_tokens": -1},
            f"Invalid 'max_tokens': integer {BELOW}1, but got -1 instead.",
            "integer_below_min_value",
        ),
        (
            "generic",
            {"max_completion_tokens": 0},
            f"Invalid 'max_completion_tokens': integer {BELOW}1, but got 0 instead.",
            "integer_below_min_value",
        ),
        (
            "generic",
            {"temperature": "x"},
            "Invalid type for 'temperature': expected a decimal, but got a string instead.",
            "invalid_type",
        ),
        (
            "openai",
            {"max_tokens": "5"},
            "Invalid type for 'max_tokens': expected an integer, but got a string instead.",
            "invalid_type",
        ),
        (
            "openai",
            {"max_tokens": True},
            "Invalid type for 'max_tokens': expected an integer, but got a boolean instead.",
            "invalid_type",
        ),
        (
            "openai",
            {"temperature": 2.5},
            "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 2.5 instead.",
            "decimal_above_max_value",
        ),
        (
            "openai",
            {"presence_penalty": -3},
            f"Invalid 'presence_penalty': decimal {BELOW}-2, but got -3 instead.",
            "decimal_below_min_value",
        ),
        (
            "deepseek",
            {"max_tokens": 0},
            "Invalid max_tokens value, the valid range of max_tokens is [1, 393216]",
            "invalid_request_error",
        ),
        (
            "deepseek",
            {"temperature": "1.3"},
            f'{UNREADABLE} temperature: invalid type: string "1.3", expected f32',
            None,
        ),
        (
            "deepseek",
            {"temperature": 3},
            "Invalid temperature value, the valid range of temperature is [0, 2]",
            "invalid_request_error",
        ),
        (
            "deepseek",
            {"top_p": 0},
            "Invalid top_p value, the valid range of top_p is (0, 1.0]",
            "invalid_request_error",
        ),
        (
            "deepseek",
            {"frequency_penalty": -2.5},
            "Invalid frequency_penalty value, the valid range of frequency_penalty is [-2, 2]",
            "invalid_request_error",
        ),
        (
            "dashscope",
            {"temperature": 2},
            f"{PARAMETER} Temperature should be in [0.0, 2.0)",
            "invalid_parameter_error",
        ),
        (
            "dashscope",
            {"top_p": -1},
            f"{PARAMETER} Range of top_p should be (0.0, 1.0]",
            "invalid_parameter_error",
        ),
        (
            "dashscope",
            {"presence_penalty": 3},
            f"{PARAMETER} Presence_penalty should be in [-2.0, 2.0]",
            "invalid_parameter_error",
        ),
        ("vllm", {"top_p": -1}, "top_p must be in (0, 1], got -1.", None),
        ("vllm", {"presence_penalty": 3}, "presence_penalty must be in [-2, 2], got 3.", None),
        ("vllm", {"frequency_penalty": -2.5}, "frequency_penalty must be in [-2, 2], got -2.5.", None),
        (
            "dashscope",
            {"max_tokens": -1},
            f"{PARAMETER} Range of max_tokens should be [1, 65536]",
            "invalid_parameter_error",
        ),
        ("dashscope", {"max_tokens": "x"}, "'max_tokens' must be Integer", "invalid_value"),
        ("dashscope", {"temperature": "x"}, "'temperature' must be Float", "invalid_value"),
        ("vllm", {"max_tokens": -1}, "max_tokens must be at least 1, got -1.", None),
        ("vllm", {"temperature": -1}, "temperature must be non-negative, got -1.", None),
        (
            "vllm",
            {"temperature": "x"},
            "[{'loc': ('body', 'temperature'), 'msg': 'Input should be a valid number'}]",
            None,
        ),
    ],
)
def test_each_maker_refuses_in_its_words(
    flavour: Flavour, fields: dict[str, Any], words: str, code: str | None
) -> None:
    """What is no number, or out of bounds."""
    with pytest.raises(Unreadable) as caught:
        check(fields, flavour)
    assert (str(caught.value), caught.value.code) == (words, code)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"max_tokens": 1.5}, "max_tokens: invalid type: floating point `1.5`, expected u32"),
        ({"max_tokens": True}, "max_tokens: invalid type: boolean `true`, expected u32"),
        ({"max_tokens": -1}, "max_tokens: invalid value: integer `-1`, expected u32"),
        ({"max_tokens": "5"}, 'max_tokens: invalid type: string "5", expected u32'),
        ({"top_p": False}, "top_p: invalid type: boolean `false`, expected f32"),
        ({"top_p": [1]}, "top_p: invalid type: sequence, expected f32"),
        ({"presence_penalty": {}}, "presence_penalty: invalid type: map, expected f32"),
    ],
)
def test_deepseek_reads_types_as_rust_does(fields: dict[str, Any], words: str) -> None:
    """And says what it found."""
    with pytest.raises(Unreadable) as caught:
        check(fields, "deepseek")
    assert str(caught.value) == f"{UNREADABLE} {words}"


def test_no_temperature_is_too_high_for_vllm() -> None:
    """Its own rule; all others have a bound."""
    check({"temperature": 3}, "vllm")
    for flavour in FLAVOURS[:-1]:
        with pytest.raises(Unreadable):
            check({"temperature": 3}, flavour)


def test_a_name_that_a_maker_does_not_know_is_passed_over() -> None:
    """Some know only the old name of the cap."""
    for flavour in ("deepseek", "dashscope"):
        check({"max_completion_tokens": "x"}, flavour)
