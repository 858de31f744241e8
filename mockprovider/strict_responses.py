"""What OpenAI refuses in a Responses request as a whole: unknown fields, limits, tools, formats, the chain.

Rule: the words and the codes are OpenAI's, and `param` names the field. `x_mock` is this provider's own.
"""

import re

from mockprovider import strict_items
from mockprovider.answer import Unreadable
from mockprovider.reading import Fields, Terms
from mockprovider.strict_functions import check_format, check_function, check_use
from mockprovider.wording import (
    known_only,
    missing,
    name_checked,
    number_checked,
    too_long,
    unsupported,
    wrong_type,
)

_COUNTED = (
    "model input previous_response_id tools text reasoning truncation instructions personality conversation "
    "tool_choice parallel_tool_calls x_mock"
)
_UNCOUNTED = (
    "background context_management include max_output_tokens max_tool_calls metadata moderation prompt "
    "prompt_cache_key prompt_cache_options prompt_cache_retention safety_identifier service_tier store "
    "stream stream_options temperature top_logprobs top_p user"
)
_INCLUDED = (
    "file_search_call.results web_search_call.results web_search_call.action.sources "
    "message.input_image.image_url computer_call_output.output.image_url code_interpreter_call.outputs "
    "reasoning.encrypted_content message.output_text.logprobs"
)
_TOOLS = (
    "function custom namespace web_search web_search_preview file_search computer computer_use_preview mcp "
    "code_interpreter image_generation local_shell shell apply_patch tool_search programmatic_tool_calling"
)
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_LEAST_OUTPUT = 16
_MOST_PAIRS = 16
_REASONS = re.compile(r"(^|/)(o\d|gpt-5)", re.ASCII)


def reasons(model: str) -> bool:
    """Whether a model is one of those that reason, by its name."""
    return _REASONS.search(model) is not None


def check(fields: Fields, terms: Terms, model: str, *, counting: bool = False) -> None:
    """Refuse what OpenAI refuses; `counting` is the request for a count only. Raises Unreadable."""
    known_only("", fields, _COUNTED if counting else f"{_COUNTED} {_UNCOUNTED}")
    _check_options(fields)
    _check_sampling(fields, model)
    check_metadata(fields)
    tools = fields.get("tools")
    for place, tool in enumerate(tools if isinstance(tools, list) else ()):
        _check_tool(tool, f"tools[{place}]")
    check_use(fields)
    _check_choice(fields.get("tool_choice"), tools if isinstance(tools, list) else [])
    chain = check_chain(fields, terms)
    asked = fields.get("input")
    items = asked if isinstance(asked, list) else []
    strict_items.check(items, terms, stored=fields.get("store") is not False, chain=chain)
    _check_text(fields, items)


def check_chain(fields: Fields, terms: Terms) -> str:
    """The id of the response that this one goes on from, or nothing. Raises Unreadable."""
    chain = fields.get("previous_response_id")
    if chain is None:
        return ""
    if not isinstance(chain, str) or not chain.startswith("resp"):
        text = f"Invalid 'previous_response_id': '{chain}'. Expected an ID that begins with 'resp'."
        raise Unreadable(text, "previous_response_id", "invalid_value")
    if chain.partition("_")[2] not in terms.stored:
        text = f"Previous response with id '{chain}' not found."
        raise Unreadable(text, "previous_response_id", "previous_response_not_found")
    return chain


def _check_options(fields: Fields) -> None:
    instructions = fields.get("instructions")
    if instructions is not None and not isinstance(instructions, str):
        raise wrong_type("instructions", "a string", instructions)
    limit = fields.get("max_output_tokens")
    if limit is not None:
        number_checked("max_output_tokens", limit, _LEAST_OUTPUT, None, whole=True)
    included = fields.get("include")
    for place, value in enumerate(included if isinstance(included, list) else ()):
        if value not in _INCLUDED.split():
            raise unsupported(f"include[{place}]", _INCLUDED.split(), value)
    reasoning = fields.get("reasoning")
    if isinstance(reasoning, dict):
        known_only("reasoning.", reasoning, "effort summary generate_summary context mode")
        if reasoning.get("effort") is not None and reasoning["effort"] not in _EFFORTS:
            raise unsupported("reasoning.effort", _EFFORTS, reasoning["effort"])
        if reasoning.get("summary") not in (None, "auto", "concise", "detailed"):
            raise unsupported("reasoning.summary", ("auto", "concise", "detailed"), reasoning["summary"])
    if fields.get("truncation") not in (None, "auto", "disabled"):
        raise unsupported("truncation", ("auto", "disabled"), fields["truncation"])


def _check_sampling(fields: Fields, model: str) -> None:
    for name, most in (("temperature", 2), ("top_p", 1)):
        value = fields.get(name)
        if value is None:
            continue
        number_checked(name, value, 0, most, whole=False)
        if value != 1 and reasons(model):
            raise Unreadable(f"Unsupported parameter: '{name}' is not supported with this model.", name)


def check_metadata(fields: Fields) -> None:
    """Refuse names of users that are too long, and metadata that is too much. Raises Unreadable."""
    for name in ("user", "safety_identifier", "prompt_cache_key"):
        value = fields.get(name)
        if value is not None and not isinstance(value, str):
            raise wrong_type(name, "a string", value)
        if isinstance(value, str) and len(value) > 64:
            raise too_long(name, 64, value)
    pairs = fields.get("metadata")
    if pairs is None:
        return
    if not isinstance(pairs, dict):
        raise wrong_type("metadata", "an object", pairs)
    if len(pairs) > _MOST_PAIRS:
        text = f"Invalid 'metadata': too many properties. Expected an object with at most {_MOST_PAIRS} "
        raise Unreadable(f"{text}properties.", "metadata", "object_above_max_properties")
    for key, value in pairs.items():
        if not isinstance(value, str):
            raise wrong_type(f"metadata.{key}", "a string", value)
        if len(value) > 512:
            raise too_long(f"metadata.{key}", 512, value)


def _check_tool(tool: object, param: str) -> None:
    if not isinstance(tool, dict):
        raise wrong_type(param, "an object", tool)
    kind = tool.get("type")
    if kind is None:
        raise missing(f"{param}.type")
    if kind == "function":
        if "name" not in tool:
            raise missing(f"{param}.name")
        if "parameters" not in tool:
            raise missing(f"{param}.parameters")
        strict = tool.get("strict") is not False
        check_function(tool, param, strict=strict, also="type output_schema defer_loading allowed_callers")
    elif kind == "custom":
        name_checked(f"{param}.name", tool.get("name"))
        known_only(f"{param}.", tool, "type name description format defer_loading allowed_callers")
    elif kind not in _TOOLS.split():
        raise unsupported(f"{param}.type", _TOOLS.split(), kind)


def _check_choice(choice: object, tools: list[object]) -> None:
    if choice is None or choice in ("none", "auto", "required"):
        return
    if not isinstance(choice, dict):
        raise unsupported("tool_choice", ("none", "auto", "required"), choice)
    kind = choice.get("type")
    if kind in ("function", "custom"):
        name = choice.get("name")
        if name is None:
            raise missing("tool_choice.name")
        known_only("tool_choice.", choice, "type name")
        if not any(isinstance(each, dict) and each.get("name") == name for each in tools):
            raise Unreadable(f"Tool choice '{name}' not found in 'tools' parameter.", "tool_choice")
    elif kind == "allowed_tools":
        known_only("tool_choice.", choice, "type mode tools")
    elif kind not in _TOOLS.split():
        raise unsupported("tool_choice.type", ("allowed_tools", *_TOOLS.split()), kind)


def _check_text(fields: Fields, items: list[Fields]) -> None:
    text = fields.get("text")
    if not isinstance(text, dict):
        return
    known_only("text.", text, "format verbosity")
    form = text.get("format")
    kind = form.get("type") if isinstance(form, dict) else "text"
    if kind == "json_schema" and isinstance(form, dict):
        check_format(form, "text.format")
    elif kind == "json_object":
        asked = [fields.get("input"), fields.get("instructions"), items]
        if "json" not in str(asked).lower():
            raise Unreadable(
                "Response input messages must contain the word 'json' in some form to use 'text.format' of "
                "type 'json_object'.",
                "input",
            )
    elif kind != "text":
        raise unsupported("text.format.type", ("text", "json_object", "json_schema"), kind)
