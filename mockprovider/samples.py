"""Samples: a value that fits a JSON schema, for arguments of tools and for answers in a format.

Rule: the first of what is possible, and the user's own text for strings, so that the same request gives the
same value. What a simple schema asks for is kept to: constants, choices, references, least counts.
"""

from collections.abc import Mapping

Fields = Mapping[str, object]

_DEEPEST = 12
_FORMATS = {
    "date": "2027-01-15",
    "date-time": "2027-01-15T08:00:00Z",
    "time": "08:00:00Z",
    "duration": "PT1M",
    "email": "mock@example.com",
    "hostname": "example.com",
    "uri": "https://example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def sample(schema: object, text: str) -> object:
    """The value; `text` stands where a string is wanted."""
    return _value(schema, text, schema if isinstance(schema, dict) else {}, 0)


def _value(schema: object, text: str, root: Fields, depth: int) -> object:
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return text
    name = schema.get("$ref")
    if isinstance(name, str):
        return _value(_resolved(root, name), text, root, depth + 1)
    if "const" in schema:
        return schema["const"]
    for word in ("enum", "anyOf", "oneOf"):
        options = schema.get(word)
        if isinstance(options, list) and options:
            return options[0] if word == "enum" else _value(options[0], text, root, depth + 1)
    return _typed(schema, text, root, depth)


def _typed(schema: Fields, text: str, root: Fields, depth: int) -> object:
    kind = schema.get("type")
    if isinstance(kind, list) and kind:
        kind = kind[0]
    if kind == "object" or (kind is None and "properties" in schema):
        properties = schema.get("properties")
        named = properties if isinstance(properties, dict) else {}
        return {key: _value(value, text, root, depth + 1) for key, value in named.items()}
    if kind == "array":
        least = schema.get("minItems")
        count = least if isinstance(least, int) else 0
        return [_value(schema.get("items"), text, root, depth + 1)] * count
    if kind in ("integer", "number"):
        least = schema.get("minimum", 1 if kind == "integer" else 1.5)
        return least if isinstance(least, int | float) else 1
    plain: dict[str, object] = {"boolean": True, "null": None}
    return plain.get(str(kind), _FORMATS.get(str(schema.get("format")), text))


def _resolved(root: Fields, name: str) -> object:
    found: object = root
    for step in name.removeprefix("#").strip("/").split("/"):
        found = found.get(step) if isinstance(found, dict) and step else found
    return found
