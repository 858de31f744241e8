"""What every chat endpoint refuses of a request's numbers, each maker in its own words.

Rule: a number of the wrong type or out of its bounds; the words are those that the real APIs answer with.
`generic` has OpenAI's. A maker that does not know a name passes it over.
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

_MOST_OF_DEEPSEEK = 393_216
_MOST_OF_DASHSCOPE = 65_536


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
        if name == "max_tokens" and not _within(value, 1, _MOST_OF_DEEPSEEK) and _whole(value):
            text = f"Invalid max_tokens value, the valid range of max_tokens is [1, {_MOST_OF_DEEPSEEK}]"
            raise Unreadable(text, code="invalid_request_error")
        kind, right = ("u32", _whole(value)) if name == "max_tokens" else ("f32", _number(value))
        if not right and name != "max_completion_tokens":
            found = f'string "{value}"' if isinstance(value, str) else "value"
            raise Unreadable(
                f"Failed to deserialize the JSON body into the target type: {name}: invalid type: {found}, "
                f"expected {kind}"
            )


def _dashscope(given: Fields) -> None:
    for name, value in given.items():
        if name == "max_tokens" and not _whole(value):
            raise Unreadable("'max_tokens' must be Integer", code="invalid_value")
        if name == "max_tokens" and not _within(value, 1, _MOST_OF_DASHSCOPE):
            text = "<400> InternalError.Algo.InvalidParameter: Range of max_tokens should be "
            raise Unreadable(f"{text}[1, {_MOST_OF_DASHSCOPE}]", code="invalid_parameter_error")
        if name in _DECIMALS and not _number(value):
            raise Unreadable(f"'{name}' must be Float", code="invalid_value")


def _vllm(given: Fields) -> None:
    for name, value in given.items():
        kind, right = ("integer", _whole(value)) if name in _COUNTS else ("number", _number(value))
        if not right:
            raise Unreadable(
                f"[{{'loc': ('body', '{name}'), 'msg': 'Input should be a valid {kind}'}}]", name
            )
        if name in _COUNTS and not _within(value, 1):
            raise Unreadable(f"{name} must be at least 1, got {value}.", name)
        if name == "temperature" and not _within(value, 0):
            raise Unreadable(f"temperature must be non-negative, got {value}.", name)


_MAKERS: Final[Mapping[str, Callable[[Fields], None]]] = MappingProxyType(
    {"deepseek": _deepseek, "dashscope": _dashscope, "vllm": _vllm}
)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _within(value: object, least: float, most: float | None = None) -> bool:
    return isinstance(value, int | float) and value >= least and (most is None or value <= most)
