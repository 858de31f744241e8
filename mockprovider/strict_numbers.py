"""What every chat endpoint refuses of a request's numbers, each maker in its own words.

Rule: a number of the wrong type or out of its maker's bounds, which are not the same for all: vLLM takes any
temperature from 0 on, DashScope none of 2. The words are those that the real APIs answer with; `generic` has
OpenAI's. A maker that does not know a name, or names no bounds of it, passes it over.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from mockprovider.answer import Unreadable
from mockprovider.behaviour import Flavour
from mockprovider.reading import Fields
from mockprovider.wording import number_checked

_COUNTS: Final[Mapping[str, tuple[int, int | None]]] = MappingProxyType(
    {"max_tokens": (1, None), "max_completion_tokens": (1, None)}
)
_DECIMALS: Final[Mapping[str, tuple[int, int]]] = MappingProxyType(
    {"temperature": (0, 2), "top_p": (0, 1), "presence_penalty": (-2, 2), "frequency_penalty": (-2, 2)}
)
NAMES: Final = (*_COUNTS, *_DECIMALS)

_DEEPSEEK: Final[Mapping[str, str]] = MappingProxyType(
    {
        "max_tokens": "[1, 393216]",
        "temperature": "[0, 2]",
        "top_p": "(0, 1.0]",
        "presence_penalty": "[-2, 2]",
        "frequency_penalty": "[-2, 2]",
    }
)
_DASHSCOPE: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "max_tokens": ("Range of max_tokens should be", "[1, 65536]"),
        "temperature": ("Temperature should be in", "[0.0, 2.0)"),
        "top_p": ("Range of top_p should be", "(0.0, 1.0]"),
        "presence_penalty": ("Presence_penalty should be in", "[-2.0, 2.0]"),
    }
)
_VLLM: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "max_tokens": ("at least 1", "[1, inf)"),
        "max_completion_tokens": ("at least 1", "[1, inf)"),
        "temperature": ("non-negative", "[0, inf)"),
        "top_p": ("in (0, 1]", "(0, 1]"),
        "presence_penalty": ("in [-2, 2]", "[-2, 2]"),
        "frequency_penalty": ("in [-2, 2]", "[-2, 2]"),
    }
)
"""How makers say their bounds, and the bounds. The first two say an interval as it is."""


def check(request: object, flavour: Flavour) -> None:
    """Refuse what is no number, or too small or too large; null is as if not given. Raises Unreadable."""
    given = {name: value for name in NAMES if (value := getattr(request, name)) is not None}
    if given:
        _MAKERS.get(flavour, _openai)(given)


def _openai(given: Fields) -> None:
    for name, value in given.items():
        whole = name in _COUNTS
        least, most = _COUNTS[name] if whole else _DECIMALS[name]
        number_checked(name, value, least, most, whole=whole)


def _deepseek(given: Fields) -> None:
    for name, value in given.items():
        if name not in _DEEPSEEK:
            continue
        if wrong := _misfit(value, whole=name in _COUNTS):
            raise Unreadable(f"Failed to deserialize the JSON body into the target type: {name}: {wrong}")
        if not _within(value, _DEEPSEEK[name]):
            text = f"Invalid {name} value, the valid range of {name} is {_DEEPSEEK[name]}"
            raise Unreadable(text, code="invalid_request_error")


def _misfit(value: object, *, whole: bool) -> str:
    """What serde, which reads JSON into Rust's types, says of a value of another type; else ""."""
    found = ""
    match value:
        case bool():
            found = f"invalid type: boolean `{str(value).lower()}`"
        case str():
            found = f'invalid type: string "{value}"'
        case list():
            found = "invalid type: sequence"
        case dict():
            found = "invalid type: map"
        case float() if whole:
            found = f"invalid type: floating point `{value}`"
        case int() if whole and value < 0:
            found = f"invalid value: integer `{value}`"
    return found and f"{found}, expected {'u32' if whole else 'f32'}"


def _dashscope(given: Fields) -> None:
    for name, value in given.items():
        if name == "max_tokens" and not _whole(value):
            raise Unreadable("'max_tokens' must be Integer", code="invalid_value")
        if name in _DECIMALS and not _number(value):
            raise Unreadable(f"'{name}' must be Float", code="invalid_value")
        if name in _DASHSCOPE and not _within(value, _DASHSCOPE[name][1]):
            text = f"<400> InternalError.Algo.InvalidParameter: {' '.join(_DASHSCOPE[name])}"
            raise Unreadable(text, code="invalid_parameter_error")


def _vllm(given: Fields) -> None:
    for name, value in given.items():
        kind, right = ("integer", _whole(value)) if name in _COUNTS else ("number", _number(value))
        if not right:
            raise Unreadable(
                f"[{{'loc': ('body', '{name}'), 'msg': 'Input should be a valid {kind}'}}]", name
            )
        words, interval = _VLLM[name]
        if not _within(value, interval):
            raise Unreadable(f"{name} must be {words}, got {value}.", name)


_MAKERS: Final[Mapping[str, Callable[[Fields], None]]] = MappingProxyType(
    {"deepseek": _deepseek, "dashscope": _dashscope, "vllm": _vllm}
)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _within(value: object, interval: str) -> bool:
    """Whether a number is in an interval: a round bracket leaves its end out."""
    least, most = map(float, interval[1:-1].split(","))
    assert isinstance(value, int | float)
    above = value > least if interval.startswith("(") else value >= least
    below = value < most if interval.endswith(")") else value <= most
    return above and below
