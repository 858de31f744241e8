"""Which JSON schemas providers take where they promise a reply that fits: two subsets, two ways to say no.

Rule: OpenAI's strict mode wants every object closed and every property required; Anthropic wants every object
closed and no limits on numbers, lengths or counts.
"""

from collections.abc import Callable, Iterator

from mockprovider.answer import Unreadable
from mockprovider.wording import invalid

Schema = dict[str, object]
Context = tuple[str, ...]

_NESTED = ("properties", "$defs", "definitions")
_LISTED = ("anyOf", "oneOf", "allOf")
_TYPELESS = {"$ref", "anyOf", "enum", "const"}
_NOT_AT_OPENAI = (
    "oneOf allOf not if then else dependentRequired dependentSchemas patternProperties propertyNames "
    "minProperties maxProperties unevaluatedProperties unevaluatedItems contains minContains maxContains "
    "uniqueItems"
)
_LIMITS = (
    "minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength maxItems uniqueItems "
    "minProperties maxProperties contains minContains maxContains"
)
_NOT_AT_ANTHROPIC = (
    "oneOf not if then else prefixItems patternProperties propertyNames dependentRequired dependentSchemas "
    "unevaluatedProperties unevaluatedItems"
)
_FORMATS = "date-time time date duration email hostname uri ipv4 ipv6 uuid"


def clean_for_openai(schema: Schema, refused: Callable[[str], Unreadable]) -> None:
    """Refuse what strict mode does not take; `refused` puts the reason in a sentence. Raises Unreadable."""
    object_for_openai(schema, refused)
    for context, part in _parts(schema, ()):
        reason = _unclean(part)
        if reason:
            raise refused(f"In context={context!r}, {reason}")


def object_for_openai(schema: Schema, refused: Callable[[str], Unreadable]) -> None:
    """Refuse what is no schema of an object. Raises Unreadable."""
    kind = schema.get("type")
    if kind != "object":
        found = f'"{kind}"' if kind is not None or "type" not in schema else "null"
        raise refused(f"schema must be a JSON Schema of 'type: \"object\"', got 'type: {found}'.")


def _unclean(part: Schema) -> str:
    banned = next((name for name in _NOT_AT_OPENAI.split() if name in part), None)
    if banned:
        return f"'{banned}' is not permitted."
    if "type" not in part and not _TYPELESS.intersection(part):
        return "schema must have a 'type' key."
    if not _is_object(part):
        return ""
    if part.get("additionalProperties") is not False:
        return "'additionalProperties' is required to be supplied and to be false."
    needed, required = _properties(part), part.get("required")
    left_out = [name for name in needed if name not in (required if isinstance(required, list) else ())]
    if left_out or (needed and not isinstance(required, list)):
        return (
            "'required' is required to be supplied and to be an array including every key in properties. "
            f"Missing '{left_out[0]}'."
        )
    return ""


def subset_of_anthropic(schema: object, path: str) -> None:
    """Refuse what structured outputs and strict tools do not take. Raises Unreadable."""
    if not isinstance(schema, dict):
        raise invalid(path, "Input should be a valid dictionary")
    for _, part in _parts(schema, ()):
        _limited(part, path)
    _acyclic(schema, path)


def _limited(part: Schema, path: str) -> None:
    kind = part.get("type")
    limits = [name for name in sorted(part) if name in _LIMITS.split()]
    if limits:
        named = f"property '{limits[0]}' is" if len(limits) == 1 else f"properties {', '.join(limits)} are"
        raise invalid(path, f"For '{kind}' type, {named} not supported")
    banned = next((name for name in _NOT_AT_ANTHROPIC.split() if name in part), None)
    if banned:
        raise invalid(path, f"Schema type '{banned}' is not supported")
    if _is_object(part) and part.get("additionalProperties") is not False:
        raise invalid(path, "For 'object' type, 'additionalProperties' must be explicitly set to false")
    if part.get("minItems", 0) not in (0, 1):
        raise invalid(path, "For 'array' type, 'minItems' values other than 0 or 1 are not supported")
    if part.get("format", "date") not in _FORMATS.split():
        raise invalid(path, f"For 'string' type, format '{part.get('format')}' is not supported")


def _acyclic(schema: Schema, path: str) -> None:
    """Refuse a definition that leads back to itself, and one that is elsewhere."""

    def follow(part: Schema, above: Context) -> None:
        for _, inner in _parts(part, (), definitions=False):
            name = inner.get("$ref")
            if isinstance(name, str):
                if name in above:
                    raise invalid(path, f"Circular reference detected in schema definitions: {name}")
                follow(_definition(schema, name, path), (*above, name))

    follow(schema, ("#",))


def _definition(schema: Schema, name: str, path: str) -> Schema:
    found: object = schema
    for step in name.removeprefix("#").strip("/").split("/") if name.startswith("#/") else ("",):
        found = found.get(step) if isinstance(found, dict) else None
    if not isinstance(found, dict):
        raise invalid(path, f"Cannot resolve $ref '{name}'")
    return found


def _is_object(part: Schema) -> bool:
    kind = part.get("type")
    return kind == "object" or (isinstance(kind, list) and "object" in kind)


def _properties(part: Schema) -> Schema:
    found = part.get("properties")
    return found if isinstance(found, dict) else {}


def _parts(schema: Schema, context: Context, *, definitions: bool = True) -> Iterator[tuple[Context, Schema]]:
    """A schema and all schemas inside it, each with the way to it."""
    yield context, schema
    for name, value in _inner(schema, definitions=definitions):
        if isinstance(value, dict):
            yield from _parts(value, (*context, *name), definitions=definitions)


def _inner(schema: Schema, *, definitions: bool) -> Iterator[tuple[Context, object]]:
    for word in _NESTED if definitions else _NESTED[:1]:
        named = schema.get(word)
        for name, value in named.items() if isinstance(named, dict) else ():
            yield (word, name), value
    for word in _LISTED:
        listed = schema.get(word)
        for place, value in enumerate(listed if isinstance(listed, list) else ()):
            yield (word, str(place)), value
    yield ("items",), schema.get("items")
