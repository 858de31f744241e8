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
    assert schemas.flat(WHOLE)[0] is WHOLE
    assert not schemas.flat(WHOLE)[1]


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
    found, changed = schemas.flat(schema)
    assert changed
    assert (found["type"], found["properties"]) == ("object", ALL)
    assert found.get("required") == required
    assert found.keys().isdisjoint({"anyOf", "oneOf", "allOf"})


@pytest.mark.parametrize(
    "schema",
    [
        {"anyOf": 5},
        {"anyOf": [{"properties": [1]}, {}]},
        {"allOf": [5, {"required": {}}], "properties": []},
        {"oneOf": {"a": 1}, "properties": "x"},
    ],
)
def test_a_schema_that_is_none_says_nothing(schema: Json) -> None:
    """What the provider makes of it is its own."""
    assert schemas.flat(schemas.arguments(schema))[0]["properties"] == {}


def test_what_stands_beside_a_union_stays() -> None:
    """Its own properties go before those of the alternatives."""
    schema = {"description": "d", "properties": {"a": {"type": "string"}}, "anyOf": [A]}
    found = {
        "description": "d",
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {}},
        "required": ["a", "b"],
    }
    assert schemas.flat(schema) == (found, True)


CAT = {"type": "object", "properties": {"kind": {"const": "cat"}, "lives": {}}, "required": ["kind", "lives"]}
DOG = {"type": "object", "properties": {"kind": {"const": "dog"}, "name": {}}, "required": ["kind", "name"]}
PETS: Json = {
    "$defs": {"cat": CAT, "dog": DOG, "pet/~": {"anyOf": [{"$ref": "#/$defs/cat"}, {"$ref": "#/$defs/dog"}]}}
}
EITHER: Json = {"kind": {"anyOf": [{"const": "cat"}, {"const": "dog"}]}, "lives": {}, "name": {}}


@pytest.mark.parametrize(
    "schema",
    [
        {"anyOf": [{"$ref": "#/$defs/cat"}, {"$ref": "#/$defs/dog"}]},
        {"type": "object", "oneOf": [CAT, {"allOf": [{"$ref": "#/$defs/dog"}]}]},
        {"anyOf": [CAT, {"anyOf": [DOG, {"$ref": "#/$defs/cat"}]}]},
        {"allOf": [{"$ref": "#/$defs/pet~1~0"}]},
        {"$ref": "#/$defs/pet~1%7E0"},
    ],
)
def test_members_are_found_by_their_references(schema: Json) -> None:
    """A property that differs among alternatives may be as any of them has it."""
    found, changed = schemas.flat(schemas.arguments({**schema, **PETS}))
    assert changed
    assert found == {"type": "object", "properties": EITHER, "required": ["kind"], **PETS}


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/cat"},
        {"anyOf": [{"$ref": "#/$defs/cat"}]},
        {"allOf": [{"oneOf": [CAT]}]},
        {"type": "object", "properties": {}, "$ref": "#/$defs/cat", "$schema": "x"},
    ],
)
def test_what_is_only_another_is_that_one(schema: Json) -> None:
    """Nothing is lost; what is said about it goes before what that one says about itself."""
    assert schemas.flat(schemas.arguments({**schema, **PETS})) == ({**CAT, **PETS}, False)
    said = {**schema, **PETS, "description": "A cat."}
    assert schemas.flat(schemas.arguments(said)) == ({**CAT, **PETS, "description": "A cat."}, False)


def test_a_reference_with_more_beside_it_is_one_of_several_parts() -> None:
    """Both hold; its own properties go before those of the other."""
    schema = {"$ref": "#/$defs/cat", "properties": {"lives": {"const": 9}}, "required": ["x"], **PETS}
    found, changed = schemas.flat(schemas.arguments(schema))
    assert changed
    assert found["properties"] == {"kind": {"const": "cat"}, "lives": {"const": 9}}
    assert found["required"] == ["kind", "lives", "x"]
    assert "$ref" not in found


@pytest.mark.parametrize("reference", ["https://example.com/a.json", "#", "#/$defs/none", "#/type/x", 5])
def test_what_is_elsewhere_stays_to_be_refused(reference: object) -> None:
    """As a member of a union it says nothing."""
    schema = schemas.arguments({"$ref": reference})
    assert schemas.flat(schema) == (schema, False)
    assert schemas.flat({"anyOf": [CAT, {"$ref": reference}]}) == (
        {"type": "object", "properties": CAT["properties"]},
        True,
    )


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "definitions",
    [
        {"0": {"$ref": "#/$defs/0"}},
        {"0": {"anyOf": [{"$ref": "#/$defs/0"}, {"$ref": "#/$defs/0"}, CAT]}},
        {str(i): {"anyOf": [{"$ref": f"#/$defs/{i + 1}"}] * 2} for i in range(5000)},
        {"0": {"anyOf": [{"$ref": "#/$defs/1"}] * 9000}, "1": {"allOf": [CAT] * 9000}},
        {str(i): {"allOf": [{"$ref": f"#/$defs/{i + 1}"}, {"$ref": f"#/$defs/{i + 2}"}]} for i in range(60)},
    ],
)
def test_what_refers_to_itself_or_too_far_says_nothing(definitions: Json) -> None:
    """It is soon done with."""
    found, changed = schemas.flat(schemas.arguments({"$ref": "#/$defs/0", "$defs": definitions}))
    assert changed
    assert found["properties"] in ({}, CAT["properties"])
    assert found["$defs"] == definitions


def test_a_union_of_a_great_many() -> None:
    """What there is no time for says nothing: neither that it is allowed nor that it is required."""
    parts = [{"properties": {str(i): {}, "x": {}}, "required": ["x"]} for i in range(schemas.MOST // 4)]
    found, _ = schemas.flat({"anyOf": parts})
    assert (len(found["properties"]), found["required"]) == (1 + len(parts), ["x"])
    found, _ = schemas.flat({"anyOf": [*parts, {"properties": {"last": {}}, "required": ["x"]}]})
    assert len(found["properties"]) == 1 + len(parts)
    assert "required" not in found
