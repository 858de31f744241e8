from typing import Any

import pytest

from proxy.errors import Refusal
from proxy.wire import structured

Json = dict[str, Any]

CLOSED: Json = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}


def test_what_is_closed_stays_as_it_is() -> None:
    """Nothing is said twice."""
    assert structured.closed(CLOSED, "format") == (CLOSED, False)


@pytest.mark.parametrize(
    ("given", "closed", "moved"),
    [
        (
            {"type": "integer", "minimum": 1, "maximum": 5},
            {"type": "integer", "description": "{minimum: 1, maximum: 5}"},
            True,
        ),
        (
            {"type": "string", "description": "Name.", "minLength": 2, "pattern": "^a"},
            {"type": "string", "description": 'Name.\n\n{minLength: 2, pattern: "^a"}'},
            True,
        ),
        ({"type": "string", "format": "email"}, {"type": "string", "format": "email"}, False),
        (
            {"type": "string", "format": "phone"},
            {"type": "string", "description": '{format: "phone"}'},
            True,
        ),
        (
            {"type": "array", "items": {"type": "number"}, "minItems": 1},
            {"type": "array", "items": {"type": "number"}, "minItems": 1},
            False,
        ),
        (
            {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 3},
            {"type": "array", "items": {"type": "number"}, "description": "{minItems: 2, maxItems: 3}"},
            True,
        ),
        (
            {"oneOf": [{"type": "string"}, {"type": "null"}]},
            {"anyOf": [{"type": "string"}, {"type": "null"}]},
            False,
        ),
        ({"allOf": [{"type": "string"}]}, {"type": "string"}, False),
        (
            {"allOf": [{"type": "string"}, {"type": "string", "format": "uri"}]},
            {"allOf": [{"type": "string"}, {"type": "string", "format": "uri"}]},
            False,
        ),
        ({"type": "string", "enum": ["a", "b"]}, {"enum": ["a", "b"]}, False),
        ({"const": 3, "title": "Three"}, {"const": 3, "title": "Three"}, False),
        (
            {"type": ["string", "null"], "maxLength": 3, "description": "d"},
            {
                "anyOf": [{"type": "string", "description": "{maxLength: 3}"}, {"type": "null"}],
                "description": "d",
            },
            True,
        ),
        (
            {"type": "boolean", "default": False},
            {"type": "boolean", "description": "{default: false}"},
            False,
        ),
        (
            {"$schema": "x", "$id": "y", "properties": {}},
            {"type": "object", "properties": {}, "additionalProperties": False},
            False,
        ),
        ({"items": {"type": "string"}}, {"type": "array", "items": {"type": "string"}}, False),
        (
            {"type": "object", "additionalProperties": {"type": "string"}},
            {"type": "object", "properties": {}, "additionalProperties": False},
            True,
        ),
        (
            {"$defs": {"a": {"type": "object"}}, "$ref": "#/$defs/a"},
            {
                "$defs": {"a": {"type": "object", "properties": {}, "additionalProperties": False}},
                "$ref": "#/$defs/a",
            },
            True,
        ),
        (
            {"$ref": "#/$defs/a", "$defs": {"a": {}}, "description": "A.", "default": 1},
            {
                "$defs": {"a": {}},
                "anyOf": [{"$ref": "#/$defs/a"}],
                "description": "A.\n\n{default: 1}",
            },
            False,
        ),
        (
            {"$ref": "#/$defs/a", "$defs": {"a": {}}, "maxLength": 3},
            {"$defs": {"a": {}}, "anyOf": [{"$ref": "#/$defs/a"}], "description": "{maxLength: 3}"},
            True,
        ),
        (
            {"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {}}, "description": "A."},
            {"$defs": {"a": {}}, "anyOf": [{"$ref": "#/$defs/a"}], "description": "A."},
            False,
        ),
        (
            {"anyOf": [{"type": "null"}], "allOf": [{"minimum": 1}]},
            {"anyOf": [{"type": "null"}], "description": '{allOf: [{"minimum":1}]}'},
            True,
        ),
        ({"enum": [1], "anyOf": [{}]}, {"enum": [1], "description": "{anyOf: [{}]}"}, True),
        (
            {
                "type": ["object", "array", "integer", "null"],
                "properties": {"a": {"type": "string"}},
                "items": {"type": "string"},
                "maximum": 5,
                "default": None,
                "additionalProperties": {"type": "string"},
            },
            {
                "anyOf": [
                    {
                        "type": "object",
                        "properties": {"a": {"type": "string"}},
                        "additionalProperties": False,
                    },
                    {"type": "array", "items": {"type": "string"}},
                    {"type": "integer", "description": "{maximum: 5}"},
                    {"type": "null"},
                ],
                "description": "{default: null}",
            },
            True,
        ),
        ({"type": ["string", "string"]}, {"type": "string"}, False),
        ({"type": "object", "properties": {"a": True}}, {**CLOSED, "properties": {"a": {}}}, False),
    ],
)
def test_a_schema_is_closed(given: Json, closed: Json, moved: bool) -> None:
    """Objects allow nothing further, alternatives are `anyOf`, what cannot be enforced is described."""
    if "required" in closed:
        closed = {key: value for key, value in closed.items() if key != "required"}
    assert structured.closed(given, "format") == (closed, moved)


@pytest.mark.parametrize(
    ("given", "lost"),
    [
        ({}, True),
        ({"properties": None}, True),
        ({"additionalProperties": True}, True),
        ({"additionalProperties": {}}, True),
        ({"additionalProperties": False}, False),
        ({"properties": {}}, False),
        ({"properties": {"a": {}}}, False),
        ({"properties": {"a": {}}, "additionalProperties": True}, True),
        ({"properties": {"a": {"type": ["object", "null"]}}}, True),
    ],
)
def test_an_object_that_may_no_longer_hold_what_it_might_is_a_loss(given: Json, lost: bool) -> None:
    """One without properties holds nothing at all once it is closed."""
    assert structured.closed({"type": "object", **given}, "format")[1] is lost


@pytest.mark.parametrize(
    "given",
    [
        {"$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"},
        {
            "definitions": {"a": {"$ref": "#/definitions/b"}, "b": {"$ref": "#/definitions/a"}},
            "$ref": "#/definitions/a",
        },
        {"type": "object", "properties": {"next": {"$ref": "#"}}},
        {"$ref": "https://example.com/schema.json"},
    ],
)
def test_recursion_and_what_is_elsewhere_are_refused(given: Json) -> None:
    """Messages enforces neither."""
    with pytest.raises(Refusal) as caught:
        structured.closed(given, "format")
    assert (caught.value.status, caught.value.param) == (400, "format")


def test_a_long_chain_of_references_is_no_recursion() -> None:
    """However long it is, it ends."""
    definitions: Json = {str(i): {"$ref": f"#/$defs/{i + 1}"} for i in range(5000)}
    definitions["5000"] = {"type": "string"}
    assert structured.closed({"$defs": definitions, "$ref": "#/$defs/0"}, "format")[1] is False


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kinds", [["object", "object"], ["object", "array"], ["object", "null", "string"]])
def test_several_types_are_closed_once_each(kinds: list[str]) -> None:
    """What they hold belongs to one of them, so depth adds up and does not multiply."""
    deep: Json = {"type": "string"}
    for _ in range(40):
        deep = {"type": kinds, "properties": {"a": deep}, "items": {}}
    closed, _ = structured.closed(deep, "format")
    assert str(closed).count("'properties'") == 40


def test_a_schema_of_a_great_many_is_refused() -> None:
    """It would be closed for long, and no provider takes it."""
    part: Json = {"type": "string"}
    fitting: Json = {"anyOf": [part] * (structured.NODES - 1)}
    assert structured.closed(fitting, "format") == (fitting, False)
    with pytest.raises(Refusal) as caught:
        structured.closed({"anyOf": [part] * structured.NODES}, "tools.f")
    assert (caught.value.status, caught.value.param) == (400, "tools.f")


@pytest.mark.parametrize(
    "garbage",
    [
        {"properties": 5},
        {"$defs": [1]},
        {"anyOf": "x"},
        {"allOf": {}},
        {"type": [{}, 5, "string"]},
        {"type": []},
        {"type": "string", "format": []},
    ],
)
def test_garbage_is_the_providers_to_refuse(garbage: Json) -> None:
    """A schema that is none breaks nothing here."""
    structured.closed({"type": "object", **garbage}, "format")
    structured.strict_clean({"type": "object", "additionalProperties": False, **garbage})


@pytest.mark.parametrize(
    ("schema", "clean"),
    [
        (CLOSED, True),
        ({**CLOSED, "required": []}, False),
        ({**CLOSED, "required": [{}, "a"]}, True),
        ({**CLOSED, "additionalProperties": True}, False),
        ({**CLOSED, "properties": {"a": {"type": "object"}}}, False),
        ({**CLOSED, "properties": {"a": CLOSED}}, True),
        ({**CLOSED, "properties": {"a": {"type": "array", "items": {"type": "object"}}}}, False),
        ({**CLOSED, "properties": {"a": {"anyOf": [{"type": "null"}, CLOSED]}}}, True),
        ({**CLOSED, "properties": {"a": {"oneOf": [{"type": "null"}]}}}, False),
        ({**CLOSED, "$defs": {"b": {"type": "object"}}}, False),
        ({"anyOf": [CLOSED]}, False),
        ({"type": "string"}, False),
        ({}, False),
    ],
)
def test_what_strict_takes(schema: Json, clean: bool) -> None:
    """OpenAI wants closed objects, all of whose properties are required, and one at the top."""
    assert structured.strict_clean(schema) is clean
