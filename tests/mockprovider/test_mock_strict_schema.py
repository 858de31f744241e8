from typing import Any

import pytest

from mockprovider.answer import Unreadable
from mockprovider.strict_schema import clean_for_openai, object_for_openai, subset_of_anthropic


def _closed(**properties: object) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _refused(reason: str) -> Unreadable:
    return Unreadable(reason, "schema")


_TEXT = {"type": "string"}
_DEFINED = {
    **_closed(a={"$ref": "#/$defs/x"}, b={"anyOf": [_TEXT, {"type": "null"}]}),
    "$defs": {"x": _closed(minimum={"enum": ["p", 1]}, items={"type": "array", "items": _TEXT})},
}


@pytest.mark.parametrize("schema", [_closed(), _closed(a=_TEXT), _DEFINED])
def test_closed_objects_please_both(schema: dict[str, object]) -> None:
    """Definitions, choices and properties that are called like keywords."""
    clean_for_openai(schema, _refused)
    subset_of_anthropic(schema, "schema")


@pytest.mark.parametrize("schema", [{}, {"type": None}, {"type": "array"}, {"anyOf": []}])
def test_openai_wants_an_object(schema: dict[str, object]) -> None:
    """Even where it is not strict."""
    with pytest.raises(Unreadable, match="schema must be a JSON Schema of 'type: \"object\"', got 'type: "):
        object_for_openai(schema, _refused)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "object"}, r"context=\(\), 'additionalProperties' is required"),
        ({**_closed(a=_TEXT), "required": []}, "including every key in properties. Missing 'a'"),
        ({**_closed(a=_TEXT), "required": None}, "Missing 'a'"),
        (_closed(a={"oneOf": [_TEXT]}), r"context=\('properties', 'a'\), 'oneOf' is not permitted"),
        (_closed(a={"allOf": [_TEXT]}), "'allOf' is not permitted"),
        (_closed(a={}), "must have a 'type' key"),
        (_closed(a={"type": "array", "items": {"type": "object"}}), r"\('properties', 'a', 'items'\)"),
        (_closed(a={"anyOf": [{"type": ["object", "null"]}]}), r"'anyOf', '0'\)"),
        ({"type": "array"}, "schema must be a JSON Schema"),
    ],
)
def test_openai_is_strict_about(schema: dict[str, object], words: str) -> None:
    """Open objects, optional properties, and keywords that strict mode has not got, each with its place."""
    with pytest.raises(Unreadable, match=words):
        clean_for_openai(schema, _refused)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ("text", "valid dictionary"),
        (_closed(a={"type": "integer", "minimum": 1}), "For 'integer' type, property 'minimum' is not"),
        (
            _closed(a={"type": "integer", "minimum": 1, "maximum": 5}),
            "For 'integer' type, properties maximum, minimum are not supported",
        ),
        (_closed(a={"type": "array", "items": _TEXT, "maxItems": 3}), "property 'maxItems'"),
        (_closed(a={"type": "array", "items": _TEXT, "minItems": 2}), "'minItems' values other than 0 or 1"),
        (_closed(a={"type": "string", "format": "binary"}), "format 'binary'"),
        (_closed(a={"oneOf": [_TEXT]}), "'oneOf' is not supported"),
        ({"type": "object", "properties": {}}, "'additionalProperties' must be explicitly set to false"),
        (_closed(a={"type": "object"}), "'additionalProperties' must be explicitly set to false"),
        (_closed(a={"$ref": "#"}), "Circular reference"),
        (
            {**_closed(a={"$ref": "#/$defs/a"}), "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}},
            "Circular",
        ),
        (_closed(a={"$ref": "#/$defs/none"}), "Cannot resolve"),
        (_closed(a={"$ref": "https://elsewhere"}), "Cannot resolve"),
    ],
)
def test_anthropic_is_strict_about(schema: object, words: str) -> None:
    """Limits, open objects, cycles, and keywords that structured outputs have not got."""
    with pytest.raises(Unreadable, match=f"^schema: .*{words}"):
        subset_of_anthropic(schema, "schema")
