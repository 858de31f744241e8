"""Tools whose input is free text, for dialects and providers that know functions only.

Such a tool becomes a function with one string, `input`; `restoring` takes its calls apart again.
"""

from proxy.wire.conversation import Json, Tool


def arguments() -> Json:
    """The JSON Schema of the one argument."""
    return {
        "type": "object",
        "properties": {"input": {"type": "string"}},
        "required": ["input"],
        "additionalProperties": False,
    }


def described(tool: Tool) -> str:
    """A description that says what the free text has to look like."""
    shape = (tool.grammar or {}).get("grammar", tool.grammar or {})
    definition = shape.get("definition") if isinstance(shape, dict) else None
    words = [tool.description] if tool.description else []
    if isinstance(definition, str):
        words.append(f"`input` has to fit this {shape.get('syntax') or ''} grammar:\n{definition}")
    return "\n\n".join(words) or "`input` is free text."
