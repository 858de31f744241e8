"""Where a published document is wrong, silent, or at odds with another, and what holds then.

Rule: a schema is only ever widened, at one place and by one more branch, and each widening has its reason and
an example that the document refuses as it stands. What no document describes has a schema of our own here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]

NULL: Schema = {"type": "null"}


@dataclass(frozen=True)
class Exemption:
    """At `place` among the schemas of `document`, a value may also be what `also` says, such as `example`."""

    document: str
    place: str
    also: Schema
    example: Any
    reason: str


def _kinds(names: str) -> Schema:
    """Objects of these types, whatever else they hold."""
    return {"type": "object", "properties": {"type": {"enum": names.split()}}, "required": ["type"]}


_HOSTED_TOOLS = (
    "custom namespace tool_search web_search web_search_2025_08_26 web_search_preview "
    "web_search_preview_2025_03_11 file_search code_interpreter image_generation mcp computer "
    "computer_use_preview local_shell shell apply_patch programmatic_tool_calling"
)
_HOSTED_CHOICES = (
    "custom mcp file_search web_search_preview web_search_preview_2025_03_11 computer computer_use "
    "computer_use_preview image_generation code_interpreter apply_patch shell programmatic_tool_calling"
)
_CUSTOM_CALL = {"id": "ctc_1", "call_id": "call_1", "name": "edit", "input": "", "status": "completed"}

EXEMPTIONS = (
    Exemption(
        "openai",
        "Embedding/properties/embedding",
        {"type": "string"},
        "AACAPw==",
        "`encoding_format: base64` is what the SDK asks for by default; it decodes the text itself.",
    ),
    Exemption(
        "openai",
        "Response/allOf/2/properties/usage",
        NULL,
        None,
        "Open Responses requires the key before the end too, when there is nothing to say; the SDK has it "
        "optional. That it is there at the end is a rule of our own (FinishedResponse).",
    ),
    Exemption(
        "openai",
        "TextResponseFormatJsonSchema/properties/description",
        NULL,
        None,
        "Open Responses requires the key, null for a format without one; the SDK has it optional.",
    ),
    Exemption(
        "openresponses",
        "JsonSchemaResponseFormat/properties/schema",
        {"type": "object"},
        {"type": "object", "properties": {}},
        "The document allows nothing but null; OpenAI's requires the schema that was asked for.",
    ),
    Exemption(
        "openresponses",
        "ReasoningEffortEnum",
        {"enum": ["minimal", "max"]},
        "minimal",
        "A response repeats the effort that was asked for, and OpenAI knows two more.",
    ),
    Exemption(
        "openresponses",
        "ResponseResource/properties/tools/items",
        _kinds(_HOSTED_TOOLS),
        {"type": "custom", "name": "edit"},
        "A response repeats the tools that were asked for; the document knows functions alone. OpenAI's "
        "document checks the rest.",
    ),
    Exemption(
        "openresponses",
        "ResponseResource/properties/tool_choice",
        _kinds(_HOSTED_CHOICES),
        {"type": "custom", "name": "edit"},
        "A choice of such a tool is repeated too.",
    ),
    Exemption(
        "openresponses",
        "AllowedToolChoice/properties/tools/items",
        _kinds(_HOSTED_CHOICES),
        {"type": "custom", "name": "edit"},
        "And so is a list of tools that are allowed.",
    ),
    Exemption(
        "openresponses",
        "ItemField",
        _kinds("custom_tool_call custom_tool_call_output"),
        {"type": "custom_tool_call", **_CUSTOM_CALL},
        "Whoever offers a custom tool waits for its call in OpenAI's words; the document has none for it.",
    ),
    Exemption(
        "openresponses",
        "StreamEvent",
        _kinds("response.custom_tool_call_input.delta response.custom_tool_call_input.done"),
        {
            "type": "response.custom_tool_call_input.done",
            "sequence_number": 4,
            "item_id": "ctc_1",
            "output_index": 0,
            "input": "",
        },
        "The events of a custom tool's call, likewise.",
    ),
    Exemption(
        "anthropic",
        "MessageStreamEvent",
        _kinds("ping"),
        {"type": "ping"},
        "Sent to keep a stream alive, described in prose only; the SDK passes over it.",
    ),
    Exemption(
        "anthropic",
        "MessageStreamEvent",
        {"$ref": "#/$defs/ErrorResponse"},
        {"type": "error", "error": {"type": "api_error", "message": "m"}, "request_id": None},
        "An error may come inside a stream, described in prose only; the SDK raises it.",
    ),
    Exemption(
        "anthropic",
        "ErrorResponse/properties/error",
        {
            "type": "object",
            "properties": {
                "type": {"enum": ["request_too_large", "conflict_error"]},
                "message": {"type": "string"},
            },
            "required": ["type", "message"],
        },
        {"type": "request_too_large", "message": "m"},
        "The errors of status 413 and 409, described in prose only.",
    ),
)

OWN: Schema = {
    "$defs": {
        "DeletedResponse": {
            "$comment": "OpenAI's document gives the reply no body and its SDK ignores it.",
            "type": "object",
            "properties": {
                "id": {"type": "string"},
                "object": {"const": "response"},
                "deleted": {"const": True},
            },
            "required": ["id", "object", "deleted"],
        },
        "FinishedResponse": {
            "$comment": "Both documents let a finished response have no usage; clients add it up.",
            "if": {
                "properties": {"status": {"enum": ["completed", "incomplete"]}},
                "required": ["status"],
            },
            "then": {"properties": {"usage": {"type": "object"}}, "required": ["usage"]},
        },
        "FinishedEvent": {
            "type": "object",
            "properties": {"response": {"$ref": "#/$defs/FinishedResponse"}},
        },
    }
}


def widened(document: str, schemas: Schema, exemptions: Iterable[Exemption] = EXEMPTIONS) -> Schema:
    """The definitions of a document with the branches that its exemptions add; `schemas` is changed."""
    for exemption in exemptions:
        if exemption.document == document:
            holder, last = _holder(schemas["$defs"], exemption.place)
            holder[last] = {"anyOf": [holder[last], exemption.also]}
    return schemas


def _holder(schemas: Any, place: str) -> tuple[Any, Any]:
    """What holds the schema at a place, and under which key. An exemption of nowhere is a KeyError."""
    *steps, last = (int(step) if step.isdigit() else step for step in place.split("/"))
    for step in steps:
        schemas = schemas[step]
    assert isinstance(last, int) or (isinstance(schemas, Mapping) and last in schemas), place
    return schemas, last
