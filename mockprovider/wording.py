"""How providers word what is wrong with a field: one function for each kind of refusal, in the two styles.

Rule: the words are those of the real APIs, for proxies and clients look for them. OpenAI names the field in
the sentence and in `param`, as `input[0].id`; Anthropic begins with the path, as `messages.0.content.1.text`.
"""

import re
from collections.abc import Iterable, Mapping

from mockprovider.answer import Unreadable

NAME = re.compile(r"[a-zA-Z0-9_-]+", re.ASCII)
"""What names and ids are made of, at both."""

_KINDS = {str: "a string", dict: "an object", list: "an array", bool: "a boolean", type(None): "null"}


# Anthropic.


def invalid(path: str, text: str) -> Unreadable:
    """`path: text`."""
    return Unreadable(f"{path}: {text}", path)


def lacking(path: str) -> Unreadable:
    """A field that must be there."""
    return invalid(path, "Field required")


def one_of(path: str, allowed: Iterable[str]) -> Unreadable:
    """A value that is none of the literals."""
    *most, last = (f"'{value}'" for value in allowed)
    return invalid(
        path, f"Input should be {', '.join(most)} or {last}" if most else f"Input should be {last}"
    )


def only(path: str, fields: Mapping[str, object], allowed: str) -> None:
    """Refuse a field that is no word of `allowed`; `path` is empty or ends in a dot. Raises Unreadable."""
    known = allowed.split()
    extra = next((name for name in fields if name not in known), None)
    if extra is not None:
        raise invalid(f"{path}{extra}", "Extra inputs are not permitted")


# OpenAI.


def known_only(param: str, fields: Mapping[str, object], allowed: str) -> None:
    """Refuse a field that is no word of `allowed`; `param` is empty or ends in a dot. Raises Unreadable."""
    known = allowed.split()
    extra = next((name for name in fields if name not in known), None)
    if extra is not None:
        raise unknown(f"{param}{extra}")


def missing(param: str) -> Unreadable:
    """A field that must be there."""
    return Unreadable(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


def unknown(param: str) -> Unreadable:
    """A field that is not known."""
    return Unreadable(f"Unknown parameter: '{param}'.", param, "unknown_parameter")


def unsupported(param: str, supported: Iterable[str], value: object) -> Unreadable:
    """A value that is none of the literals."""
    *most, last = (f"'{each}'" for each in supported)
    listed = f"{', '.join(most)}{',' if len(most) > 1 else ''} and {last}" if most else last
    return Unreadable(f"Invalid value: '{value}'. Supported values are: {listed}.", param, "invalid_value")


def wrong_type(param: str, expected: str, value: object) -> Unreadable:
    """A value of another type; `expected` has its article."""
    found = _KINDS.get(type(value), "a number")
    text = f"Invalid type for '{param}': expected {expected}, but got {found} instead."
    return Unreadable(text, param, "invalid_type")


def number_checked(param: str, value: object, least: float, most: float | None, *, whole: bool) -> None:
    """Refuse what is no number (a whole one), or none from `least` to `most`. Raises Unreadable."""
    kind, types = ("integer", int) if whole else ("decimal", (int, float))
    if isinstance(value, bool) or not isinstance(value, types):
        raise wrong_type(param, "an integer" if whole else "a decimal", value)
    assert isinstance(value, int | float)
    if value < least:
        text = f"Invalid '{param}': {kind} below minimum value. Expected a value >= {least}, but got {value} "
        raise Unreadable(f"{text}instead.", param, f"{kind}_below_min_value")
    if most is not None and value > most:
        text = f"Invalid '{param}': {kind} above maximum value. Expected a value <= {most}, but got {value} "
        raise Unreadable(f"{text}instead.", param, f"{kind}_above_max_value")


def too_long(param: str, limit: int, value: str) -> Unreadable:
    """A string of more characters than allowed."""
    text = f"Invalid '{param}': string too long. Expected a string with maximum length {limit}, "
    return Unreadable(
        text + f"but got a string with length {len(value)} instead.", param, "string_above_max_length"
    )


def mismatch(param: str, pattern: str) -> Unreadable:
    """A string that does not match."""
    text = f"Invalid '{param}': string does not match pattern. "
    return Unreadable(
        text + f"Expected a string that matches the pattern '{pattern}'.", param, "invalid_value"
    )


def name_checked(param: str, value: object, limit: int = 64) -> None:
    """Refuse what is no name of a tool or a format. Raises Unreadable."""
    if value is None:
        raise missing(param)
    if not isinstance(value, str):
        raise wrong_type(param, "a string", value)
    if len(value) > limit:
        raise too_long(param, limit, value)
    if not NAME.fullmatch(value):
        raise mismatch(param, "^[a-zA-Z0-9_-]+$")
