"""What OpenAI refuses in tools, and in what goes with them, in both of its dialects.

Rule: a function's name has a pattern, its parameters are the schema of an object, and strict means clean.
What says how tools are to be used needs tools.
"""

from mockprovider.answer import Unreadable
from mockprovider.reading import Fields
from mockprovider.strict_schema import clean_for_openai, object_for_openai
from mockprovider.wording import known_only, missing, name_checked, wrong_type


def check_function(function: Fields, param: str, *, strict: bool, also: str = "") -> None:
    """Refuse what is wrong with a function; `also` names further fields it may have. Raises Unreadable."""
    name = function.get("name")
    name_checked(f"{param}.name", name)
    known_only(f"{param}.", function, f"name description parameters strict {also}")
    description = function.get("description")
    if description is not None and not isinstance(description, str):
        raise wrong_type(f"{param}.description", "a string", description)
    schema = function.get("parameters")
    if schema is None:
        return
    if not isinstance(schema, dict):
        raise wrong_type(f"{param}.parameters", "an object", schema)

    def refused(reason: str) -> Unreadable:
        text = f"Invalid schema for function '{name}': {reason}"
        return Unreadable(text, f"{param}.parameters", "invalid_function_parameters")

    (clean_for_openai if strict else object_for_openai)(schema, refused)


def check_format(form: Fields, param: str) -> None:
    """Refuse what is wrong with a format named `json_schema`. Raises Unreadable."""
    name_checked(f"{param}.name", form.get("name"))
    known_only(f"{param}.", form, "type name description schema strict")
    schema = form.get("schema")
    if schema is None:
        raise missing(f"{param}.schema")
    if not isinstance(schema, dict):
        raise wrong_type(f"{param}.schema", "an object", schema)
    if not form.get("strict"):
        return

    def refused(reason: str) -> Unreadable:
        text = f"Invalid schema for response_format '{form['name']}': {reason}"
        return Unreadable(text, f"{param}.schema", "invalid_json_schema")

    clean_for_openai(schema, refused)


def check_use(fields: Fields) -> None:
    """Refuse `tool_choice` and `parallel_tool_calls` without tools. Raises Unreadable."""
    if fields.get("tools"):
        return
    for name in ("tool_choice", "parallel_tool_calls"):
        if fields.get(name) is not None:
            raise Unreadable(
                f"Invalid value for '{name}': '{name}' is only allowed when 'tools' are specified.", name
            )
