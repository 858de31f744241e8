import jsonschema
import pytest

from mockprovider.samples import sample


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "t"),
        ({"enum": ["x", "y"]}, "x"),
        ({"type": "number"}, 1.5),
        ({"type": "boolean"}, True),
        ({"type": "array"}, []),
        ({"type": "null"}, None),
        ({"type": "object"}, {}),
        (
            {"type": "object", "properties": {"a": {"type": "object", "properties": {"b": True}}}},
            {"a": {"b": "t"}},
        ),
        ({"type": ["string", "null"]}, "t"),
        (True, "t"),
        ({"const": 3}, 3),
        ({"properties": {"a": {"type": "string", "format": "date"}}}, {"a": "2027-01-15"}),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, True),
        ({"oneOf": [{"type": "integer", "minimum": 7}]}, 7),
        ({"type": "array", "minItems": 2, "items": {"type": "integer"}}, [1, 1]),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "integer"}}}, 1),
        ({"$ref": "#/$defs/none"}, "t"),
    ],
)
def test_a_sample_fits_its_schema(schema: object, value: object) -> None:
    """Each simple schema has one fixed sample."""
    assert sample(schema, "t") == value


def test_a_sample_passes_for_what_it_stands_for() -> None:
    """By the rules of JSON schema, references and all."""
    schema = {
        "type": "object",
        "properties": {
            "who": {"$ref": "#/$defs/person"},
            "when": {"type": "string", "format": "date-time"},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1},
            "more": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        },
        "required": ["who", "when", "tags", "more"],
        "additionalProperties": False,
        "$defs": {
            "person": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
                "required": ["name", "age"],
            }
        },
    }
    jsonschema.validate(sample(schema, "hi"), schema)


def test_a_schema_of_itself_comes_to_an_end() -> None:
    """A reference to the whole is followed only so far."""
    assert sample({"type": "object", "properties": {"next": {"$ref": "#"}}}, "t")
