"""JSON Schemas of replies as the dialects take them that hold a model to them.

Source: Anthropic's documentation of structured outputs and the transformation of its SDKs: objects are
closed, bounds are not enforced and move to the description, there is no recursion. OpenAI's guide to
structured outputs for what `strict` takes.
"""

import graphlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from proxy.errors import Refusal
from proxy.wire.conversation import Json

FORMATS: Final = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
"""The formats of strings that Messages enforces."""

_DEFINITIONS = ("$defs", "definitions")
_SILENT = frozenset({"$schema", "$id", "$comment", "additionalProperties"})
_NOTES = frozenset({"default", "examples", "deprecated", "readOnly", "writeOnly"})
_UNSTRICT = frozenset(
    {
        "oneOf",
        "allOf",
        "not",
        "if",
        "then",
        "else",
        "patternProperties",
        "dependentRequired",
        "dependentSchemas",
        "unevaluatedProperties",
        "propertyNames",
    }
)
_OF_NUMBERS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
_OWN: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "object": frozenset(
            {
                "properties",
                "required",
                "patternProperties",
                "propertyNames",
                "minProperties",
                "maxProperties",
                "dependentRequired",
                "dependentSchemas",
                "unevaluatedProperties",
            }
        ),
        "array": frozenset(
            {
                "items",
                "prefixItems",
                "contains",
                "minItems",
                "maxItems",
                "minContains",
                "maxContains",
                "uniqueItems",
                "unevaluatedItems",
            }
        ),
        "string": frozenset(
            {"minLength", "maxLength", "pattern", "format", "contentEncoding", "contentMediaType"}
        ),
        "integer": _OF_NUMBERS,
        "number": _OF_NUMBERS,
    }
)
"""What says something of values of one type alone; all else may be said of any (JSON Schema 2020-12)."""
NODES: Final = 20_000
"""Schemas within one at the most, of which OpenAI takes a few thousand."""

_encode = msgspec.json.Encoder().encode


def closed(schema: Json, param: str) -> tuple[Json, bool]:
    """`schema` as Messages takes it, and whether it says less: bounds are only described, or room is gone.

    Every object is closed. That takes something from one that allows more in so many words, and from one
    that names no properties and has to stay empty; who names properties and no more expects no more.

    Raises `Refusal` 400 naming `param` where it refers to itself, or to what is elsewhere, or is too large.
    """
    why = _unusable(schema)
    if why is not None:
        raise _refusal(why, param)
    closer = _Closer(param)
    return closer.close(schema), closer.moved


def strict_clean(schema: Json) -> bool:
    """Whether OpenAI takes `schema` with `strict`: closed objects that require all they name."""
    return schema.get("type") == "object" and "anyOf" not in schema and _is_strict(schema)


def _refusal(why: str, param: str) -> Refusal:
    return Refusal(
        400,
        f"The JSON schema cannot be passed on to the provider that serves this model: {why}.",
        param=param,
        code="unsupported_value",
    )


class _Closer:
    """Closes one schema; `moved` tells whether a bound went to a description, or an object lost its room."""

    def __init__(self, param: str) -> None:
        self.moved = False
        self._param = param
        self._nodes = 0

    def close(self, schema: Any) -> Json:
        """One schema, with all that it holds."""
        self._nodes += 1
        if self._nodes > NODES:
            raise _refusal("it is too large", self._param)
        if not isinstance(schema, dict):
            return {}
        rest = {key: value for key, value in schema.items() if key not in _SILENT}
        out: Json = {
            key: {name: self.close(part) for name, part in _named(rest.pop(key)).items()}
            for key in _DEFINITIONS
            if key in rest
        }
        if "$ref" in rest:
            self._refer(rest, out)
            return out
        kind = rest.pop("type", None) or _guessed(rest)
        self._say_what(schema, rest, kind, out)
        _name(rest, out)
        if out.get("type") == "object":
            self._close_object(schema, rest, out)
        elif out.get("type") == "array":
            self._close_array(rest, out)
        elif out.get("type") == "string" and str(rest.get("format")) in FORMATS:
            out["format"] = rest.pop("format")
        self._describe(rest, out)
        return out

    def _refer(self, rest: Json, out: Json) -> None:
        """A reference takes nothing beside it; what there is stands beside a choice of nothing else."""
        reference = {"$ref": rest.pop("$ref")}
        out.update({"anyOf": [reference]} if rest else reference)
        _name(rest, out)
        self._describe(rest, out)

    def _say_what(self, schema: Json, rest: Json, kind: Any, out: Json) -> None:
        """The one member that says what a value is: an enumeration, a choice of schemas, or a type."""
        choices = {name: _listed(rest.pop(name)) for name in ("anyOf", "oneOf", "allOf") if name in rest}
        for key in ("enum", "const"):
            if key in rest:
                out[key] = rest.pop(key)
        taken = "" if "enum" in out or "const" in out else next((n for n in choices if choices[n]), None)
        rest.update({name: parts for name, parts in choices.items() if parts and name != taken})
        if taken == "allOf":
            self._close_all(choices[taken], rest, out)
        elif taken:
            out["anyOf"] = [self.close(part) for part in choices[taken]]
        elif taken is None and isinstance(kind, list):
            self._close_each(schema, rest, kind, out)
        elif taken is None and kind is not None:
            out["type"] = kind

    def _close_each(self, schema: Json, rest: Json, kinds: list[Any], out: Json) -> None:
        """Several types: a choice of as many schemas, each with what says something of its values."""
        several = list(dict.fromkeys(kind for kind in kinds if isinstance(kind, str)))
        if len(several) == 1:
            out["type"] = several[0]
        if len(several) < 2:
            return
        own = {kind: {key: rest[key] for key in _OWN.get(kind, ()) if key in rest} for kind in several}
        for keys in own.values():
            for key in keys:
                rest.pop(key, None)
        if "object" in own and "additionalProperties" in schema:
            own["object"]["additionalProperties"] = schema["additionalProperties"]
        out["anyOf"] = [self.close({"type": kind, **keys}) for kind, keys in own.items()]

    def _close_all(self, parts: list[Any], rest: Json, out: Json) -> None:
        if len(parts) == 1:
            only = self.close(parts[0])
            out.update({"anyOf": [only]} if rest and "$ref" in only else only)
        else:
            out["allOf"] = [self.close(part) for part in parts]

    def _close_object(self, schema: Json, rest: Json, out: Json) -> None:
        properties = _named(rest.pop("properties", None))
        out["properties"] = {name: self.close(part) for name, part in properties.items()}
        out["additionalProperties"] = False
        if "required" in rest:
            out["required"] = rest.pop("required")
        if schema.get("additionalProperties", schema.get("properties") is None) is not False:
            self.moved = True

    def _close_array(self, rest: Json, out: Json) -> None:
        if "items" in rest:
            out["items"] = self.close(rest.pop("items"))
        if rest.get("minItems") in (0, 1):
            out["minItems"] = rest.pop("minItems")

    def _describe(self, rest: Json, out: Json) -> None:
        """What cannot be held to is at least said."""
        if not rest:
            return
        self.moved = self.moved or not _NOTES.issuperset(rest)
        said = ", ".join(f"{key}: {_encode(value).decode()}" for key, value in rest.items())
        before = f"{out['description']}\n\n" if out.get("description") else ""
        out["description"] = f"{before}{{{said}}}"


def _name(rest: Json, out: Json) -> None:
    for key in ("description", "title"):
        if key in rest:
            out[key] = rest.pop(key)


def _named(value: Any) -> Json:
    """A member that maps names to schemas; whatever else it is says nothing."""
    return value if isinstance(value, dict) else {}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _guessed(schema: Json) -> str | None:
    """The type of a schema that names none and has members of only one."""
    if "properties" in schema:
        return "object"
    return "array" if "items" in schema else None


def _unusable(schema: Json) -> str | None:
    """What of the references in `schema` Messages does not take."""
    graph = {"#": list(_references({k: v for k, v in schema.items() if k not in _DEFINITIONS}))}
    for key in _DEFINITIONS:
        for name, part in _named(schema.get(key)).items():
            graph[f"#/{key}/{name}"] = list(_references(part))
    for found in {reference for references in graph.values() for reference in references}:
        if not found.startswith("#"):
            return f"it refers to '{found[:100]}', which is not in it"
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError:
        return "it is recursive"
    return None


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, part in value.items():
            if key == "$ref" and isinstance(part, str):
                yield part
            else:
                yield from _references(part)
    elif isinstance(value, list):
        for part in value:
            yield from _references(part)


def _is_strict(schema: Any) -> bool:
    if not isinstance(schema, dict) or not _UNSTRICT.isdisjoint(schema):
        return False
    properties = _named(schema.get("properties"))
    if (schema.get("type") == "object" or properties) and not (
        schema.get("additionalProperties") is False
        and {name for name in _listed(schema.get("required")) if isinstance(name, str)} == set(properties)
    ):
        return False
    parts = [*properties.values(), *_listed(schema.get("anyOf"))]
    for key in _DEFINITIONS:
        parts += _named(schema.get(key)).values()
    if "items" in schema:
        parts.append(schema["items"])
    return all(_is_strict(part) for part in parts)
