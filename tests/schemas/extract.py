"""The schemas that replies and events need, out of the documents that the three APIs publish.

`python tests/schemas/extract.py OPENAI ANTHROPIC OPENRESPONSES`, each the path of an OpenAPI document in
JSON, writes openai.json, anthropic.json and openresponses.json beside this file. They hold plain JSON Schema
2020-12: OpenAPI's `nullable` becomes a union with null, and what does not bear on validity is left out.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

Json: TypeAlias = "Mapping[str, Json] | Sequence[Json] | str | float | bool | None"
Schema = dict[str, "Json"]

WIDTH = 110
ROOTS = {
    "openai": (
        "CreateChatCompletionResponse",
        "CreateChatCompletionStreamResponse",
        "CreateEmbeddingResponse",
        "ListModelsResponse",
        "Model",
        "ErrorResponse",
        "Response",
        "ResponseStreamEvent",
        "ResponseWsError",
        "ResponseItemList",
        "TokenCountsResource",
        "CompactResource",
    ),
    "anthropic": (
        "Message",
        "MessageStreamEvent",
        "CountMessageTokensResponse",
        "ListResponse_ModelInfo_",
        "ModelInfo",
        "ErrorResponse",
    ),
    "openresponses": ("ResponseResource", "StreamEvent", "CompactResource", "WebSocketErrorEvent"),
}
NAMELESS = {
    "openresponses": {
        "StreamEvent": "paths /responses post responses 200 content text/event-stream schema",
    }
}
"""Schemas that a document has in the middle of an operation, by the name they get here."""

SILENT = {
    "title",
    "description",
    "example",
    "examples",
    "externalDocs",
    "default",
    "deprecated",
    "discriminator",
    "format",
    "nullable",
    "readOnly",
    "writeOnly",
    "$recursiveAnchor",
}
"""Members of a schema that say nothing about which values are valid, or that are said in another way here."""

NAMED = {"properties", "patternProperties"}
"""Members whose keys are names of the API and not words of JSON Schema."""

COMPONENTS = "#/components/schemas/"


def extract(document: Mapping[str, Json], roots: Iterable[str], nameless: Mapping[str, str]) -> Schema:
    """The schemas named by `roots` and all that they refer to, under `$defs`."""
    published = dict(mapping(at(document, "components schemas")))
    published |= {name: at(document, place) for name, place in nameless.items()}
    needed: Schema = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed[name] = plain(published[name], name)
            waiting += references(needed[name])
    info = mapping(document["info"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": f"{info['title']} {info.get('version', '')}".strip(),
        "$defs": {name: needed[name] for name in sorted(needed)},
    }


def at(document: Json, place: str) -> Json:
    """What a document has at a place, its steps parted by spaces."""
    for step in place.split():
        document = mapping(document)[step]
    return document


def mapping(value: Json) -> Mapping[str, Json]:
    """A value that is a mapping in every document that is one of ours."""
    assert isinstance(value, Mapping)
    return value


def plain(schema: Json, name: str) -> Json:
    """The schema called `name`, or one inside it, without what is silent."""
    if isinstance(schema, list):
        return [plain(each, name) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        key: _member(key, value, name)
        for key, value in schema.items()
        if key not in SILENT and not key.startswith("x-")
    }
    if "$recursiveRef" in kept:
        kept = {"$ref": f"#/$defs/{name}"}
    kept = _unwrapped(kept)
    return {"anyOf": [kept, {"type": "null"}]} if schema.get("nullable") else kept


def _member(key: str, value: Json, name: str) -> Json:
    if key in NAMED:
        return {each: plain(schema, name) for each, schema in mapping(value).items()}
    if key in {"enum", "const", "required"}:
        return value
    if key == "$ref":
        return str(value).replace(COMPONENTS, "#/$defs/")
    return plain(value, name)


def _unwrapped(schema: Schema) -> Schema:
    """Without branches that say nothing, and without a choice of one."""
    for key in ("allOf", "anyOf", "oneOf"):
        branches = schema.get(key)
        if not isinstance(branches, list):
            continue
        said = [branch for branch in branches if branch or key != "allOf"]
        if len(said) == 1 and len(schema) == 1:
            return dict(mapping(said[0]))
        schema = {**schema, key: said}
    return schema


def references(schema: Json) -> Iterator[str]:
    """The names that a schema refers to."""
    if isinstance(schema, Mapping):
        reference = schema.get("$ref")
        if isinstance(reference, str):
            yield reference.rpartition("/")[2]
        for value in schema.values():
            yield from references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from references(value)


def written(value: Json, depth: int = 0) -> str:
    """JSON in which whatever fits on a line stands on one."""
    line = json.dumps(value, ensure_ascii=False)
    if (depth > 1 and depth + len(line) <= WIDTH) or not isinstance(value, dict | list) or not value:
        return line
    inner, outer = " " * (depth + 1), " " * depth
    if isinstance(value, list):
        lines = [inner + written(each, depth + 1) for each in value]
        return "[\n" + ",\n".join(lines) + f"\n{outer}]"
    lines = [f"{inner}{json.dumps(key)}: {written(each, depth + 1)}" for key, each in value.items()]
    return "{\n" + ",\n".join(lines) + f"\n{outer}}}"


def main(paths: Sequence[str]) -> None:
    """Write the three files; `paths` in the order of ROOTS."""
    for (api, roots), path in zip(ROOTS.items(), paths, strict=True):
        document = json.loads(Path(path).read_text(encoding="utf-8"))
        kept = extract(document, roots, NAMELESS.get(api, {}))
        Path(__file__).with_name(f"{api}.json").write_text(written(kept) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
