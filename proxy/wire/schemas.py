"""JSON Schemas of tools' arguments as every provider takes them.

A tool without parameters is declared in many ways: null, `{}`, an object without `properties`, a type of
null. Anthropic, DeepSeek and others refuse one or the other; an object with `properties` is taken by all.
"""

from proxy.wire.conversation import Json

_UNIONS = ("anyOf", "oneOf", "allOf")


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


def flat(schema: Json) -> Json:
    """`schema` without a union at its top, which Messages and strict functions refuse.

    The members' properties are all allowed, and required is what every alternative requires (what any part
    of an `allOf` requires): wider than it was, never narrower.
    """
    if not any(union in schema for union in _UNIONS):
        return schema
    clean = {key: value for key, value in schema.items() if key not in _UNIONS}
    properties: Json = {}
    required = list(_required(schema))
    for union in _UNIONS:
        given = schema.get(union)
        members = [member for member in given if isinstance(member, dict)] if isinstance(given, list) else []
        demands = [_required(member) for member in members]
        for member in members:
            properties.update(_properties(member))
        if union == "allOf":
            required += [name for demand in demands for name in demand]
        elif demands:
            required += [name for name in demands[0] if all(name in demand for demand in demands)]
    properties.update(_properties(schema))
    clean["type"] = "object"
    clean["properties"] = properties
    if required:
        clean["required"] = list(dict.fromkeys(required))
    return clean


def _properties(schema: Json) -> Json:
    found = schema.get("properties")
    return found if isinstance(found, dict) else {}


def _required(schema: Json) -> list[str]:
    found = schema.get("required")
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
