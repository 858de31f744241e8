"""Flavours: what the makers of chat endpoints refuse beyond what all of them do.

Rule: `generic` takes whatever makes sense; any other flavour is one maker's, with that maker's words. Fields
that a maker does not know are refused by OpenAI and passed over by the others.
"""

from collections.abc import Callable, Iterator, Sequence

from mockprovider.answer import Unreadable
from mockprovider.behaviour import Flavour
from mockprovider.reading import Fields
from mockprovider.strict_functions import check_format, check_function, check_use
from mockprovider.strict_responses import check_metadata, reasons
from mockprovider.wording import known_only, missing, name_checked, too_long

Messages = Sequence[Fields]

_OPENAI_FIELDS = (
    "audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens "
    "messages metadata modalities model moderation n parallel_tool_calls prediction presence_penalty "
    "prompt_cache_key prompt_cache_options prompt_cache_retention reasoning_effort response_format "
    "safety_identifier seed service_tier stop store stream stream_options temperature tool_choice tools "
    "top_logprobs top_p user verbosity web_search_options x_mock"
)
_OPENAI_MESSAGES = {
    "assistant": "role content refusal name audio tool_calls function_call",
    "tool": "role content tool_call_id",
}
_ID_LIMIT = 64
_DEEPSEEK = "Failed to deserialize the JSON body into the target type"
_DEEPSEEK_ROLES = ("system", "user", "assistant", "tool")


def check(fields: Fields, messages: Messages, flavour: Flavour, model: str) -> None:
    """Refuse what the maker refuses. Raises Unreadable."""
    if flavour == "generic":
        return
    for place, message in enumerate(messages):
        if message.get("role") is None:
            raise missing(f"messages[{place}].role")
    _MAKERS[flavour](fields, messages, model)


def _openai(fields: Fields, messages: Messages, model: str) -> None:
    known_only("", fields, _OPENAI_FIELDS)
    check_metadata(fields)
    _limits_of_openai(fields, model)
    _options_of_openai(fields)
    for place, message in enumerate(messages):
        allowed = _OPENAI_MESSAGES.get(str(message.get("role")), "role content name")
        known_only(f"messages[{place}].", message, allowed)
        if message.get("role") == "tool":
            _only_text(message, f"messages[{place}]")
        for number, call in enumerate(_listed(message.get("tool_calls"))):
            identity = str(call.get("id"))
            if len(identity) > _ID_LIMIT:
                raise too_long(f"messages[{place}].tool_calls[{number}].id", _ID_LIMIT, identity)
    for place, tool in enumerate(_listed(fields.get("tools"))):
        _tool_of_openai(tool, f"tools[{place}]")
    check_use(fields)
    form = _mapping(fields.get("response_format"))
    if form.get("type") == "json_schema":
        known_only("response_format.", form, "type json_schema")
        check_format(_mapping(form.get("json_schema")), "response_format.json_schema")
    _says_json(form, messages)


def _limits_of_openai(fields: Fields, model: str) -> None:
    cap, old_cap = fields.get("max_completion_tokens"), fields.get("max_tokens")
    if cap is not None and old_cap is not None:
        text = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
        raise Unreadable(text, "max_tokens")
    if not reasons(model):
        return
    if old_cap is not None:
        text = "Unsupported parameter: 'max_tokens' is not supported with this model. "
        raise Unreadable(f"{text}Use 'max_completion_tokens' instead.", "max_tokens", "unsupported_parameter")
    for name, usual in (("temperature", 1), ("top_p", 1), ("presence_penalty", 0), ("frequency_penalty", 0)):
        value = fields.get(name)
        if value not in (None, usual):
            text = f"Unsupported value: '{name}' does not support {value} with this model. "
            raise Unreadable(
                f"{text}Only the default ({usual}) value is supported.", name, "unsupported_value"
            )
    if fields.get("logprobs"):
        text = "Unsupported parameter: 'logprobs' is not supported with this model."
        raise Unreadable(text, "logprobs", "unsupported_parameter")


def _options_of_openai(fields: Fields) -> None:
    stop = fields.get("stop")
    if isinstance(stop, list) and len(stop) > 4:
        text = (
            "Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with "
        )
        raise Unreadable(f"{text}length {len(stop)} instead.", "stop", "array_above_max_length")
    if fields.get("stream_options") is not None and not fields.get("stream"):
        text = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise Unreadable(text, "stream_options")
    if fields.get("metadata") is not None and not fields.get("store"):
        raise Unreadable("The 'metadata' parameter is only allowed when 'store' is enabled.", "metadata")
    if fields.get("top_logprobs") is not None and not fields.get("logprobs"):
        text = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled."
        raise Unreadable(text, "top_logprobs")


def _tool_of_openai(tool: Fields, param: str) -> None:
    kind = tool.get("type")
    inner = _mapping(tool.get(str(kind)))
    known_only(f"{param}.", tool, f"type {kind}")
    if kind == "custom":
        name_checked(f"{param}.custom.name", inner.get("name"))
        known_only(f"{param}.custom.", inner, "name description format")
    else:
        check_function(inner, f"{param}.function", strict=inner.get("strict") is True)


def _only_text(message: Fields, param: str) -> None:
    for number, part in enumerate(_listed(message.get("content"))):
        if part.get("type") != "text":
            text = f"Invalid value: '{part.get('type')}'. Supported values are: 'text'."
            raise Unreadable(text, f"{param}.content[{number}].type", "invalid_value")


def _deepseek(fields: Fields, messages: Messages, model: str) -> None:
    form = _mapping(fields.get("response_format"))
    if form.get("type") == "json_schema":
        raise Unreadable("This response_format type is unavailable now")
    _says_json(form, messages)
    thinks = "reasoner" in model or _mapping(fields.get("thinking")).get("type") == "enabled"
    for place, message in enumerate(messages):
        role = message.get("role")
        if role not in _DEEPSEEK_ROLES:
            roles = ", ".join(f"`{each}`" for each in _DEEPSEEK_ROLES)
            raise Unreadable(
                f"{_DEEPSEEK}: messages[{place}].role: unknown variant `{role}`, expected one of {roles}"
            )
        for part in _listed(message.get("content")):
            if part.get("type") != "text":
                raise Unreadable(
                    f"{_DEEPSEEK}: messages[{place}]: unknown variant `{part.get('type')}`, expected `text`"
                )
        if thinks and message.get("tool_calls") and not isinstance(message.get("reasoning_content"), str):
            raise Unreadable(
                f"Missing `reasoning_content` field in the assistant message at message index {place}."
            )
    for place, tool in enumerate(_listed(fields.get("tools"))):
        if tool.get("type") != "function":
            raise Unreadable(
                f"{_DEEPSEEK}: tools[{place}].type: unknown variant `{tool.get('type')}`, expected `function`"
            )
    if thinks and fields.get("tool_choice") not in (None, "auto", "none"):
        raise Unreadable(f"{model} does not support this tool_choice")


def _dashscope(fields: Fields, messages: Messages, model: str) -> None:  # noqa: ARG001  (one signature for all)
    code = "invalid_parameter_error"
    for place, message in enumerate(messages):
        if message.get("role") == "developer":
            allowed = "['system', 'assistant', 'user', 'tool', 'function']"
            raise Unreadable(f"developer is not one of {allowed} - 'messages.{place}.role'", code=code)
    _says_json(_mapping(fields.get("response_format")), messages, code)
    if fields.get("enable_thinking") and fields.get("tool_choice") not in (None, "auto", "none"):
        text = "The tool_choice parameter does not support being set to required or object in thinking mode"
        raise Unreadable(text, code=code)


def _vllm(fields: Fields, messages: Messages, model: str) -> None:  # noqa: ARG001  (one signature for all)
    for place, message in enumerate(messages):
        if message.get("role") == "system" and place:
            raise Unreadable("System message must be at the beginning.")
        if message.get("role") == "developer":
            raise Unreadable("Unexpected message role.")
    if fields.get("tool_choice") not in (None, "none") and not fields.get("tools"):
        raise Unreadable("When using `tool_choice`, `tools` must be set.")


_MAKERS: dict[str, Callable[[Fields, Messages, str], None]] = {
    "openai": _openai,
    "deepseek": _deepseek,
    "dashscope": _dashscope,
    "vllm": _vllm,
}


def _says_json(form: Fields, messages: Messages, code: str | None = None) -> None:
    """Refuse to write JSON that the prompt does not mention."""
    if form.get("type") == "json_object" and "json" not in str([m.get("content") for m in messages]).lower():
        raise Unreadable(
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type "
            "'json_object'.",
            "messages",
            code,
        )


def _listed(value: object) -> Iterator[Fields]:
    """The mappings in a list; nothing for anything else."""
    return (each for each in (value if isinstance(value, list) else ()) if isinstance(each, dict))


def _mapping(value: object) -> Fields:
    return value if isinstance(value, dict) else {}
