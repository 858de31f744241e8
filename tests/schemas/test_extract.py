"""The extracted schemas are complete and plain, and each exemption from them is still needed."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from schemas.exemptions import EXEMPTIONS, Exemption, widened
from schemas.extract import NAMELESS, ROOTS, extract, references, written
from schemas.unions import Branches, shape, sorted_out
from schemas.validation import DOCUMENTS, SCHEMAS, problems, published

every_document = pytest.mark.parametrize("document", DOCUMENTS)
_DOCUMENT: dict[str, Any] = {
    "info": {"title": "An API", "version": "2"},
    "paths": {"/x": {"schema": {"oneOf": [{"$ref": "#/components/schemas/A"}], "discriminator": {}}}},
    "components": {
        "schemas": {
            "A": {
                "title": "A",
                "type": "object",
                "x-vendor": 1,
                "properties": {
                    "title": {"type": "string", "description": "d", "format": "uri"},
                    "b": {"$ref": "#/components/schemas/B", "nullable": True},
                    "c": {"allOf": [{"$ref": "#/components/schemas/B"}, {"description": "d"}]},
                    "kind": {"enum": [{"title": "kept"}], "nullable": False},
                },
                "required": ["title"],
            },
            "B": {"$recursiveAnchor": True, "items": {"$recursiveRef": "#"}, "default": []},
            "Unused": {"$ref": "#/components/schemas/A"},
        }
    },
}


def test_what_is_needed_is_extracted_plainly() -> None:
    """Names that look like keywords stay, and so do values."""
    found = extract(_DOCUMENT, ["Event"], {"Event": "paths /x schema"})
    assert found["$comment"] == "An API 2"
    assert found["$defs"] == {
        "A": {
            "type": "object",
            "properties": {
                "title": {"type": "string"},
                "b": {"anyOf": [{"$ref": "#/$defs/B"}, {"type": "null"}]},
                "c": {"$ref": "#/$defs/B"},
                "kind": {"enum": [{"title": "kept"}]},
            },
            "required": ["title"],
        },
        "B": {"items": {"$ref": "#/$defs/B"}},
        "Event": {"$ref": "#/$defs/A"},
    }


@every_document
def test_the_files_are_as_they_were_written(document: str) -> None:
    """Nobody edits them by hand, all that they refer to is there, and they are schemas."""
    text = Path(__file__).with_name(f"{document}.json").read_text(encoding="utf-8")
    read = json.loads(text)
    assert text == written(read) + "\n"
    assert {*references(read), *ROOTS[document], *NAMELESS.get(document, ())} == set(read["$defs"])
    Draft202012Validator.check_schema(read)


@every_document
def test_every_root_is_used(document: str) -> None:
    """By some kind of value."""
    used = {name for kinds in SCHEMAS.values() for names in kinds.values() for name in names}
    assert {f"{document} {root}" for root in ROOTS[document]} == {
        name for name in used if name.startswith(f"{document} ")
    }


@pytest.mark.parametrize("exemption", EXEMPTIONS, ids=lambda each: f"{each.document} {each.place}")
def test_an_exemption_is_needed(exemption: Exemption) -> None:
    """The document as it stands refuses the example, and accepts it when widened."""
    here = {"$ref": f"#/$defs/{exemption.place}"}
    plain = published(exemption.document)
    assert not Draft202012Validator({**plain, **here}).is_valid(exemption.example)
    wide = widened(exemption.document, plain, [exemption])
    assert Draft202012Validator({**wide, **here}).is_valid(exemption.example)


def test_an_exemption_of_nowhere_is_an_error() -> None:
    """A place that the documents no longer have is found out."""
    nowhere = Exemption("openai", "Response/properties/usage", {}, None, "")
    with pytest.raises(KeyError):
        widened("openai", published("openai"), [nowhere])


_DEFINITIONS: dict[str, Any] = {
    "A": {"type": "object", "properties": {"type": {"const": "a"}, "n": {"type": "integer"}}},
    "B": {"allOf": [{"$ref": "#/$defs/Kind"}, {"type": "object", "required": ["m"]}]},
    "Kind": {"properties": {"type": {"enum": ["b", "c"]}}},
    "Either": {"oneOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}]},
    "Word": {"enum": ["x", None]},
}


def test_a_schema_is_known_by_its_type() -> None:
    """Through references, `allOf`, and unions inside unions."""
    either = shape({"$ref": "#/$defs/Either"}, _DEFINITIONS)
    assert (either.types, either.kinds) == (frozenset({"object"}), frozenset({"a", "b", "c"}))
    assert shape(_DEFINITIONS["Word"], _DEFINITIONS).types == frozenset({"string", "null"})
    assert shape({}, _DEFINITIONS).types is None


@pytest.mark.parametrize(
    ("value", "chosen"),
    [
        ({"type": "a"}, [0]),
        ({"type": "c"}, [1]),
        ({"type": "z"}, []),
        ({}, [0, 1]),
        ("x", [2]),
        (None, [2, 3]),
        (1.5, [4]),
        ([], []),
    ],
)
def test_branches_are_chosen_by_the_value(value: object, chosen: list[int]) -> None:
    """By its `type` if it has one, else by what it is in JSON."""
    refs = ("A", "B", "Word")
    union = [*({"$ref": f"#/$defs/{name}"} for name in refs), {"type": "null"}, {"type": "number"}]
    branches = sorted_out({"anyOf": union}, _DEFINITIONS)["anyOfBranches"]
    assert isinstance(branches, Branches)
    union[2] = _DEFINITIONS["Word"]  # short enough to stand where it is referred to
    assert branches.of(value) == [union[place] for place in chosen]


_CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
_CHOICE = {"index": 0, "delta": {"tool_calls": [{"index": 0, **_CALL}]}, "finish_reason": None}
_HEAD = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}


@pytest.mark.parametrize(
    "event",
    [
        {**_HEAD, "choices": [_CHOICE], "usage": None},
        {**_HEAD, "choices": [{**_CHOICE, "delta": {"reasoning_content": "hm"}}]},
        {**_HEAD, "choices": [{**_CHOICE, "delta": {"content": None}, "logprobs": None}]},
        {"error": {"message": "m", "type": "t", "param": None, "code": None}},
    ],
)
def test_null_and_what_no_document_knows_are_valid(event: object) -> None:
    """`nullable` is kept, and members that a document does not name are nobody's business."""
    assert problems("chat", "event", event) == []
