"""The choice between the branches of `anyOf` and `oneOf`, by the value's JSON type and its `type` member.

Plain JSON Schema says of a value that fits no branch only that. Here the branches that could be meant are
found first, and when it is one, its own problems are told; nothing is tried in vain. That a value fits two
branches of a `oneOf` is no problem: in the documents branches overlap where nobody could tell them apart.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jsonschema.exceptions import ValidationError

Schema = Mapping[str, Any]
Names = frozenset[str]

KEYWORDS = {"anyOf": "anyOfBranches", "oneOf": "oneOfBranches"}
_JSON_TYPES: dict[type, Names] = {
    dict: frozenset({"object"}),
    list: frozenset({"array"}),
    str: frozenset({"string"}),
    bool: frozenset({"boolean"}),
    int: frozenset({"integer", "number"}),
    float: frozenset({"integer", "number"}),
    type(None): frozenset({"null"}),
}


@dataclass(frozen=True)
class Shape:
    """What a branch is known by: the JSON types it allows, and the `type` an object must have. None: any."""

    types: Names | None = None
    kinds: Names | None = None

    def __and__(self, other: "Shape") -> "Shape":
        """What both allow."""
        return Shape(_both(self.types, other.types), _both(self.kinds, other.kinds))

    def __or__(self, other: "Shape") -> "Shape":
        """What either allows."""
        return Shape(_either(self.types, other.types), _either(self.kinds, other.kinds))


def _both(one: Names | None, other: Names | None) -> Names | None:
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _either(one: Names | None, other: Names | None) -> Names | None:
    return None if one is None or other is None else one | other


def shape(schema: Schema, definitions: Schema) -> Shape:
    """The shape of a schema, through its references."""
    found = Shape(_types(schema), _kinds(schema))
    if "$ref" in schema:
        found &= shape(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    for branch in schema.get("allOf", ()):
        found &= shape(branch, definitions)
    for key in KEYWORDS.keys() & schema.keys():
        first, *rest = (shape(branch, definitions) for branch in schema[key])
        for each in rest:
            first |= each
        found &= first
    return found


def _types(schema: Schema) -> Names | None:
    said = schema.get("type")
    if said is None:
        values = _values(schema)
        return None if values is None else frozenset().union(*(_JSON_TYPES[type(value)] for value in values))
    return frozenset([said] if isinstance(said, str) else said)


def _kinds(schema: Schema) -> Names | None:
    values = _values(schema.get("properties", {}).get("type", {}))
    return None if values is None else frozenset(map(str, values))


def _values(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


class Branches:
    """The branches of one union, sorted by what they are known by."""

    def __init__(self, branches: Iterable[tuple[Shape, Schema]]) -> None:
        self._known = list(branches)
        self._chosen: dict[tuple[type, object], list[Schema]] = {}

    def of(self, value: object) -> list[Schema]:
        """The branches that a value could be meant for; each kind of value is sorted once."""
        kind = value.get("type") if isinstance(value, dict) else None
        key = (type(value), kind if isinstance(kind, str) else None)
        if key not in self._chosen:
            self._chosen[key] = [schema for shape, schema in self._known if _fits(shape, *key)]
        return self._chosen[key]


def _fits(shape: Shape, python_type: type, kind: object) -> bool:
    if shape.types is not None and not _JSON_TYPES[python_type] & shape.types:
        return False
    return kind is None or shape.kinds is None or kind in shape.kinds


def sorted_out(schema: Any, definitions: Schema) -> Any:
    """A schema in which every union has become one that chooses; what needs no reference has none."""
    if isinstance(schema, list):
        return [sorted_out(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    named = definitions.get(schema.get("$ref", "").rpartition("/")[2], {}) if len(schema) == 1 else {}
    if named.keys() and named.keys() <= {"type", "enum"}:
        return named
    found: dict[str, Any] = {}
    for key, value in schema.items():
        if key in KEYWORDS and isinstance(value, list):
            branches = ((shape(each, definitions), sorted_out(each, definitions)) for each in value)
            found[KEYWORDS[key]] = Branches(branches)
        else:
            found[key] = sorted_out(value, definitions)
    return found


def choose(validator: Any, branches: Branches, value: object, _schema: object) -> Iterator[ValidationError]:
    """The keyword: nothing if a branch fits, else the problems of the one that comes nearest."""
    nearest: list[ValidationError] | None = None
    for schema in branches.of(value):
        if evident(schema, value):
            return
        errors = list(validator.descend(value, schema))
        if not errors:
            return
        if nearest is None or len(errors) < len(nearest):
            nearest = errors
    if nearest is not None:
        yield from nearest
    elif isinstance(value, dict) and isinstance(value.get("type"), str):
        yield ValidationError(f"no object of type {value['type']!r} may be here")
    else:
        yield ValidationError(f"no {type(value).__name__} may be here")


def properties(validator: Any, named: Schema, value: object, _schema: object) -> Iterator[ValidationError]:
    """The keyword `properties`, quicker than the library's where a member's type is all there is to test."""
    members = value if isinstance(value, dict) else {}
    for name, schema in named.items():
        if name in members and not evident(schema, members[name]):
            yield from validator.descend(members[name], schema, path=name, schema_path=name)


def evident(schema: Schema, value: object) -> bool:
    """Whether the JSON type of a value is enough to see that it is valid."""
    fits = schema.get("type") in _JSON_TYPES[type(value)] and not isinstance(value, float)
    return fits and (len(schema) == 1 or (len(schema) == 2 and value in schema.get("enum", ())))
