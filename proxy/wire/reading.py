"""Typed reading of decoded JSON: a value of the wrong type is a 400 that names its place.

`path` is always the place of the object that is read (`messages[2]`, empty for the body itself), `key` the
member. A member that is missing or null reads as None, or as empty where there can be many. The words of
the errors are those of OpenAI's API.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

import msgspec

from proxy.errors import Refusal
from proxy.wire.conversation import Json
from proxy.wire.envelope import Fields

Word = TypeVar("Word", bound=str)

_any = msgspec.json.Decoder()
_SHOWN = 100
"""Characters of a wrong value that are repeated in an error."""
_KINDS: Final[Mapping[type, str]] = MappingProxyType(
    {
        type(None): "null",
        bool: "a boolean",
        int: "an integer",
        float: "a decimal",
        str: "a string",
        list: "an array",
    }
)


def opened(fields: Fields) -> Json:
    """A body's top level with all its values decoded. Raises `Refusal` 400 where one is no JSON."""
    decode = _any.decode
    try:
        return {name: decode(raw) for name, raw in fields.items()}
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise Refusal(400, f"The request body is not valid JSON: {error}.") from None


def at(path: str, key: str) -> str:
    """The path of a member."""
    return f"{path}.{key}" if path else key


def text(obj: Json, key: str, path: str) -> str | None:
    """A string."""
    value = obj.get(key)
    if value is None or type(value) is str:
        return value
    raise wrong(at(path, key), "a string", value)


def needed(obj: Json, key: str, path: str) -> str:
    """A string that has to be there."""
    value = text(obj, key, path)
    if value is None:
        raise missing(at(path, key))
    return value


def word(obj: Json, key: str, path: str, allowed: Collection[Word]) -> Word | None:
    """One of a closed set of strings."""
    value = text(obj, key, path)
    if value is None:
        return None
    for known in allowed:
        if known == value:
            return known
    raise invalid(at(path, key), value, allowed)


def flag(obj: Json, key: str, path: str) -> bool | None:
    """A boolean."""
    value = obj.get(key)
    if value is None or value is True or value is False:
        return value
    raise wrong(at(path, key), "a boolean", value)


def number(obj: Json, key: str, path: str) -> float | None:
    """An integer or a decimal, as it came."""
    value = obj.get(key)
    if value is None or type(value) is float or type(value) is int:
        return value
    raise wrong(at(path, key), "a number", value)


def integer(obj: Json, key: str, path: str, least: int | None = None) -> int | None:
    """An integer, not below `least`. A decimal without a fraction counts as one."""
    value = obj.get(key)
    if value is None:
        return None
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int:
        raise wrong(at(path, key), "an integer", value)
    if least is not None and value < least:
        raise Refusal(
            400,
            f"Invalid '{at(path, key)}': integer below minimum value. "
            f"Expected a value >= {least}, but got {value} instead.",
            param=at(path, key),
            code="integer_below_min_value",
        )
    return value


def record(obj: Json, key: str, path: str) -> Json | None:
    """An object."""
    value = obj.get(key)
    if value is None or type(value) is dict:
        return value
    raise wrong(at(path, key), "an object", value)


def items(obj: Json, key: str, path: str) -> list[Any]:
    """An array of anything."""
    value = obj.get(key)
    if value is None:
        return []
    if type(value) is list:
        return value
    raise wrong(at(path, key), "an array", value)


def records(obj: Json, key: str, path: str) -> list[Json]:
    """An array of objects."""
    values = items(obj, key, path)
    for place, value in enumerate(values):
        if type(value) is not dict:
            raise wrong(f"{at(path, key)}[{place}]", "an object", value)
    return values


def texts(obj: Json, key: str, path: str) -> tuple[str, ...]:
    """An array of strings."""
    values = items(obj, key, path)
    for place, value in enumerate(values):
        if type(value) is not str:
            raise wrong(f"{at(path, key)}[{place}]", "a string", value)
    return tuple(values)


def unknown(obj: Json, known: frozenset[str], path: str, dropped: list[str]) -> None:
    """Note the paths of the members that are not `known` and say something (null says nothing)."""
    if not known.issuperset(obj):
        dropped += [at(path, key) for key, value in obj.items() if key not in known and value is not None]


def wrong(path: str, wanted: str, value: object) -> Refusal:
    """The error for a value of a wrong type. `wanted` with its article: `a string`."""
    kind = _KINDS.get(type(value), "an object")
    return Refusal(
        400,
        f"Invalid type for '{path}': expected {wanted}, but got {kind} instead.",
        param=path,
        code="invalid_type",
    )


def missing(path: str) -> Refusal:
    """The error for a member that has to be there."""
    return Refusal(
        400, f"Missing required parameter: '{path}'.", param=path, code="missing_required_parameter"
    )


def invalid(path: str, value: str, allowed: Collection[str] = ()) -> Refusal:
    """The error for a string that is none of those which are `allowed`."""
    said = f"Invalid value: '{value[:_SHOWN]}'."
    if allowed:
        said += f" Supported values are: {', '.join(repr(str(known)) for known in allowed)}."
    return Refusal(400, said, param=path, code="invalid_value")
