"""What Anthropic refuses in the tools of a request and in the choice among them.

Rule: a tool of the client's own has a name and the schema of an object; what runs at the provider, or has a
schema the provider knows, is taken by its type's name. A choice needs something to choose from.
"""

import re

from mockprovider.answer import Unreadable
from mockprovider.reading import Fields
from mockprovider.strict_schema import subset_of_anthropic
from mockprovider.wording import invalid, lacking, only

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}", re.ASCII)
_KNOWN = re.compile(
    r"(bash|text_editor|computer|memory|web_search|web_fetch|code_execution|tool_search_tool_\w+|mcp_toolset)(_\d{8})?",
    re.ASCII,
)
_FIELDS = (
    "type name description input_schema cache_control strict eager_input_streaming allowed_callers "
    "defer_loading input_examples"
)
_CHOICES = {
    "auto": "type disable_parallel_tool_use",
    "any": "type disable_parallel_tool_use",
    "tool": "type name disable_parallel_tool_use",
    "none": "type",
}


def check_tools(tools: object) -> None:
    """Refuse what is wrong with the tools offered. Raises Unreadable."""
    if tools is None:
        return
    if not isinstance(tools, list):
        raise invalid("tools", "Input should be a valid list")
    names = set()
    for place, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise invalid(f"tools.{place}", "Input should be a valid dictionary")
        kind = tool.get("type") or "custom"
        if kind == "custom":
            _check_tool(tool, f"tools.{place}.custom")
        elif not _KNOWN.fullmatch(str(kind)):
            raise invalid(
                f"tools.{place}",
                f"Input tag '{kind}' found using 'type' does not match any of the expected tags: "
                "'bash_20250124', 'custom', 'text_editor_20250728', 'web_search_20250305'",
            )
        if tool.get("name") in names:
            raise invalid("tools", "Tool names must be unique.")
        names.add(tool.get("name"))


def _check_tool(tool: Fields, path: str) -> None:
    for needed in ("name", "input_schema"):
        if needed not in tool:
            raise lacking(f"{path}.{needed}")
    only(f"{path}.", tool, _FIELDS)
    name, schema = tool["name"], tool["input_schema"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise invalid(f"{path}.name", "String should match pattern '^[a-zA-Z0-9_-]{1,128}$'")
    if "description" in tool and not isinstance(tool["description"], str):
        raise invalid(f"{path}.description", "Input should be a valid string")
    if not isinstance(schema, dict):
        raise invalid(f"{path}.input_schema", "Input should be a valid dictionary")
    if "type" not in schema:
        raise lacking(f"{path}.input_schema.type")
    if schema["type"] != "object":
        raise invalid(f"{path}.input_schema.type", "Input should be 'object'")
    if {"oneOf", "allOf", "anyOf"}.intersection(schema):
        raise invalid(
            f"{path}.input_schema",
            "input_schema does not support oneOf, allOf, or anyOf at the top level",
        )
    if tool.get("strict"):
        subset_of_anthropic(schema, f"{path}.input_schema")


def check_choice(fields: Fields, *, thinks: str) -> None:
    """Refuse a choice without tools, of none of them, or without room to think. Raises Unreadable."""
    choice, tools = fields.get("tool_choice"), fields.get("tools")
    if choice is None:
        return
    kind = choice.get("type") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or kind not in _CHOICES:
        raise invalid(
            "tool_choice",
            f"Input tag '{kind}' found using 'type' does not match any of the expected tags: "
            "'auto', 'any', 'tool', 'none'",
        )
    only(f"tool_choice.{kind}.", choice, _CHOICES[kind])
    if not isinstance(tools, list) or not tools:
        raise Unreadable("tool_choice may only be specified while providing tools.", "tool_choice")
    if kind == "tool" and choice.get("name") not in [tool.get("name") for tool in tools]:
        raise Unreadable(f"Tool '{choice.get('name')}' not found in provided tools", "tool_choice")
    if kind in ("any", "tool") and thinks == "enabled":
        raise Unreadable("Thinking may not be enabled when tool_choice forces tool use.", "tool_choice")
