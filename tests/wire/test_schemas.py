import pytest

from proxy.wire import schemas
from proxy.wire.conversation import Json

EMPTY = {"type": "object", "properties": {}}
WHOLE = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}


@pytest.mark.parametrize(
    ("schema", "there"),
    [
        (None, EMPTY),
        ({}, EMPTY),
        ({"type": "object"}, EMPTY),
        ({"type": None}, EMPTY),
        ({"properties": None}, EMPTY),
        ({"type": "object", "properties": None}, EMPTY),
        ({"type": ["object", "null"]}, EMPTY),
        ({"properties": {"x": {}}}, {"type": "object", "properties": {"x": {}}}),
        ({**WHOLE, "$schema": "http://json-schema.org"}, WHOLE),
        ({"type": "object", "description": "d"}, {**EMPTY, "description": "d"}),
        ({"type": "string"}, {"type": "string"}),
    ],
)
def test_arguments_are_an_object_with_properties(schema: Json | None, there: Json) -> None:
    """However a tool without parameters was declared; what is no object at all is left to be refused."""
    assert schemas.arguments(schema) == there


def test_what_is_right_is_not_touched() -> None:
    """Not even copied."""
    assert schemas.arguments(WHOLE) is WHOLE
    assert schemas.flat(WHOLE) is WHOLE


A = {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a", "b"]}
B = {"type": "object", "properties": {"a": {}, "c": {}}, "required": ["a"]}
ALL: Json = {"a": {}, "b": {}, "c": {}}


@pytest.mark.parametrize(
    ("schema", "required"),
    [
        ({"anyOf": [A, B]}, ["a"]),
        ({"oneOf": [A, B]}, ["a"]),
        ({"allOf": [A, B]}, ["a", "b"]),
        ({"anyOf": [A, {"properties": {"c": {}}}]}, None),
        (
            {"anyOf": [A, B, {"type": "null", "required": 5}], "properties": {"a": {}}, "required": ["c"]},
            ["c"],
        ),
    ],
)
def test_unions_at_the_top_become_one_object(schema: Json, required: list[str] | None) -> None:
    """All properties of all alternatives, and required is what all of them require."""
    found = schemas.flat(schema)
    assert (found["type"], found["properties"]) == ("object", ALL)
    assert found.get("required") == required
    assert found.keys().isdisjoint({"anyOf", "oneOf", "allOf"})


@pytest.mark.parametrize(
    "schema",
    [
        {"anyOf": 5},
        {"anyOf": [{"properties": [1]}]},
        {"allOf": [5, {"required": {}}], "properties": []},
        {"oneOf": {"a": 1}, "properties": "x"},
    ],
)
def test_a_schema_that_is_none_says_nothing(schema: Json) -> None:
    """What the provider makes of it is its own."""
    assert schemas.flat(schemas.arguments(schema))["properties"] == {}


def test_what_stands_beside_a_union_stays() -> None:
    """Its own properties go before those of the alternatives."""
    schema = {"description": "d", "properties": {"a": {"type": "string"}}, "anyOf": [A]}
    assert schemas.flat(schema) == {
        "description": "d",
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {}},
        "required": ["a", "b"],
    }
