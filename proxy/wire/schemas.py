"""JSON Schemas of tools' arguments as every provider takes them.

A tool without parameters is declared in many ways: null, `{}`, an object without `properties`, a type of
null. Anthropic, DeepSeek and others refuse one or the other; an object with `properties` is taken by all.
"""

from typing import Any, Final
from urllib.parse import unquote

import msgspec

from proxy.wire.conversation import Json

_ALTERNATIVES = ("anyOf", "oneOf")
_COMPOSED = frozenset({"$ref", "allOf", *_ALTERNATIVES})
_ABOUT = ("title", "description", "$defs", "definitions")
_BESIDE = frozenset({"type", "properties", "$schema", "$id", "$comment", *_ABOUT, *_COMPOSED})
DEEPEST: Final = 64
"""References and unions within each other at the most; what is deeper says nothing."""
MOST: Final = 10_000
"""Members, and properties of these, that are put together for one object; the rest says nothing."""

_encode = msgspec.json.Encoder().encode


def arguments(schema: Json | None) -> Json:
    """`schema` as that of an object with `properties`; the very same where it is one already."""
    if not schema:
        return {"type": "object", "properties": {}}
    if schema.get("type") == "object" and schema.get("properties") is not None and "$schema" not in schema:
        return schema
    kind = schema.get("type")
    if kind is None or (isinstance(kind, list) and "object" in kind):
        kind = "object"
    clean = {key: value for key, value in schema.items() if key != "$schema" and value is not None}
    clean["type"] = kind
    if kind == "object":
        clean.setdefault("properties", {})
    return clean


def flat(schema: Json) -> tuple[Json, bool]:
    """`schema` without a reference or a union at its top, and whether it says something else now.

    Messages refuses unions there. What only refers to an object in the schema, or is a union of one, is that
    object. Else all properties of all members are allowed, each as any alternative has it (as the last part
    of an `allOf` has it), and required is what every alternative requires (what any part of an `allOf`
    requires): wider than it was, never narrower.
    """
    if _COMPOSED.isdisjoint(schema):
        return schema, False
    only = _only(schema)
    if _COMPOSED.isdisjoint(only) or _elsewhere(only, schema):
        return arguments(only), False
    held = _Members(schema).held(only)
    clean = {key: value for key, value in only.items() if key not in _COMPOSED}
    clean["type"] = "object"
    clean["properties"] = {name: _either(parts) for name, parts in held.properties.items()}
    if held.required:
        clean["required"] = list(held.required)
    return clean, True


class _Held(msgspec.Struct):
    """What an object may hold: what each property may be, by identity, and what is required, in order."""

    properties: dict[str, dict[int, Any]]
    required: dict[str, None]


class _Members:
    """Looks through the members of one schema, whose references are to what is in it."""

    def __init__(self, root: Json) -> None:
        self._root = root
        self._left = MOST
        self._referred: dict[str, _Held] = {}

    def held(self, schema: object, depth: int = 0) -> _Held:
        """What an object of `schema` may hold. A schema's own properties go before those of its members."""
        out = _Held({}, {})
        if not isinstance(schema, dict) or depth > DEEPEST or self._left <= 0:
            return out
        if schema.keys() == {"$ref"}:
            return self._refer(str(schema["$ref"]), depth + 1)
        members = [self._taken(self.held(part, depth + 1)) for part in _listed(schema.get("allOf"))]
        if "$ref" in schema:
            members.append(self._taken(self._refer(str(schema["$ref"]), depth + 1)))
        members += [self._any(_listed(schema.get(union)), depth + 1) for union in _ALTERNATIVES]
        for member in members:
            out.properties.update(member.properties)
            out.required.update(member.required)
        out.properties.update({name: {id(part): part} for name, part in _properties(schema).items()})
        out.required.update(dict.fromkeys(_required(schema)))
        return out

    def _refer(self, reference: str, depth: int) -> _Held:
        """What is referred to, looked at once; while it is, it says nothing itself."""
        if reference not in self._referred:
            self._referred[reference] = _Held({}, {})
            self._referred[reference] = self.held(_target(self._root, reference), depth)
        return self._referred[reference]

    def _any(self, alternatives: list[Any], depth: int) -> _Held:
        """What at least one of these may hold, and what all of them require."""
        out = _Held({}, {})
        for place, alternative in enumerate(alternatives):
            found = self._taken(self.held(alternative, depth))
            for name, parts in found.properties.items():
                out.properties.setdefault(name, {}).update(parts)
            before = out.required if place else found.required
            out.required = {name: None for name in before if name in found.required}
        return out

    def _taken(self, held: _Held) -> _Held:
        """`held`, if there is time for it: the same may be referred to from many places."""
        if self._left <= 0:
            return _Held({}, {})
        self._left -= 1 + len(held.required) + sum(map(len, held.properties.values()))
        return held


def _only(schema: Json) -> Json:
    """What `schema` comes down to as long as it says nothing but what else it is; with its definitions."""
    found = schema
    for _ in range(DEEPEST):
        composed = [key for key in found if key in _COMPOSED]
        if len(composed) != 1 or not _BESIDE.issuperset(found) or _properties(found):
            break
        key = composed[0]
        parts = [_target(schema, found[key])] if key == "$ref" else _listed(found[key])
        if len(parts) != 1 or not isinstance(parts[0], dict):
            break
        found = {**parts[0], **{name: found[name] for name in _ABOUT if name in found}}
    return found


def _elsewhere(schema: Json, root: Json) -> bool:
    """Whether all that `schema` is made of is not in `root`, which is to be refused and not left out."""
    return _COMPOSED.intersection(schema) == {"$ref"} and _target(root, schema["$ref"]) is None


def _target(root: Json, reference: object) -> Any:
    """The schema in `root` that `reference`, a JSON Pointer, is to (RFC 6901); None where there is none."""
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return None
    found: Any = root
    for step in reference[2:].split("/"):
        name = unquote(step).replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _either(parts: dict[int, Any]) -> Any:
    """One schema of those that a property has in several members."""
    distinct = list({_encode(part): part for part in parts.values()}.values())
    return distinct[0] if len(distinct) == 1 else {"anyOf": distinct}


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _properties(schema: Json) -> Json:
    found = schema.get("properties")
    return found if isinstance(found, dict) else {}


def _required(schema: Json) -> list[str]:
    found = schema.get("required")
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
