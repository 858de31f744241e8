"""What every chat endpoint refuses: messages that are none, calls without their results, tools that are none.

Rule: only what none of them takes is refused here, so that a client may add fields of its own; what one maker
refuses is told in `flavours`.
"""

from collections.abc import Mapping, Sequence

from mockprovider.answer import Unreadable
from mockprovider.reading import Fields
from mockprovider.wording import missing, name_checked, unsupported, wrong_type

_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_PARTS = ("text", "image_url", "input_audio", "file", "refusal", "audio", "video_url")
_HELD = {"text": "text", "image_url": "image_url", "input_audio": "input_audio", "file": "file"}


def check(messages: Sequence[Fields], tools: Sequence[object], functions: Sequence[object]) -> None:
    """Refuse what is wrong with the messages and the tools. Raises Unreadable."""
    for place, message in enumerate(messages):
        _check_message(message, f"messages[{place}]")
    _check_pairs(messages)
    for place, tool in enumerate(tools):
        _check_tool(tool, f"tools[{place}]")
    for place, function in enumerate(functions):
        _check_function(function, f"functions[{place}]")


def _check_message(message: Fields, param: str) -> None:
    role = message.get("role")
    if role is None:
        return  # some take it for the user's; those that do not are flavours
    if role not in _ROLES:
        raise unsupported(f"{param}.role", _ROLES, role)
    _check_content(message, param)
    calls = message.get("tool_calls")
    if calls is not None and not isinstance(calls, list):
        raise wrong_type(f"{param}.tool_calls", "an array of objects", calls)
    for place, call in enumerate(calls or ()):
        _check_call(call, f"{param}.tool_calls[{place}]")
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        raise missing(f"{param}.tool_call_id")


def _check_content(message: Fields, param: str) -> None:
    content = message.get("content")
    if isinstance(content, list):
        for place, part in enumerate(content):
            _check_part(part, f"{param}.content[{place}]")
    elif content is None:
        if message["role"] != "assistant" or not (
            message.keys() & {"tool_calls", "function_call", "refusal", "audio"}
        ):
            raise Unreadable("Invalid value for 'content': expected a string, got null.", f"{param}.content")
    elif not isinstance(content, str):
        raise wrong_type(f"{param}.content", "one of a string or array of objects", content)


def _check_part(part: object, param: str) -> None:
    if not isinstance(part, dict):
        raise wrong_type(param, "an object", part)
    kind = part.get("type")
    if kind not in _PARTS:
        raise unsupported(f"{param}.type", _PARTS, kind)
    held = _HELD.get(kind)
    if held and part.get(held) is None:
        raise missing(f"{param}.{held}")
    if kind == "text" and not isinstance(part["text"], str):
        raise wrong_type(f"{param}.text", "a string", part["text"])
    if kind in ("image_url", "file") and not isinstance(part[kind], dict):
        raise wrong_type(f"{param}.{kind}", "an object", part[kind])


def _check_call(call: object, param: str) -> None:
    if not isinstance(call, dict):
        raise wrong_type(param, "an object", call)
    if not isinstance(call.get("id"), str) or not call["id"]:
        raise missing(f"{param}.id")
    kind = call.get("type")
    if kind not in ("function", "custom"):
        raise unsupported(f"{param}.type", ("function", "custom"), kind)
    inner = call.get(kind)
    if not isinstance(inner, dict):
        raise missing(f"{param}.{kind}")
    name_checked(f"{param}.{kind}.name", inner.get("name"))
    said = "arguments" if kind == "function" else "input"
    if not isinstance(inner.get(said), str):
        raise wrong_type(f"{param}.{kind}.{said}", "a string", inner.get(said))


def _check_pairs(messages: Sequence[Fields]) -> None:
    """Refuse results without their call and calls without their results, right after them."""
    open_ids: list[str] = []
    opened = 0
    for place, message in enumerate(messages):
        if message.get("role") == "tool":
            identity = str(message["tool_call_id"])
            if identity not in open_ids:
                raise Unreadable(
                    "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.",
                    f"messages.[{place}].role",
                )
            open_ids.remove(identity)
            continue
        _check_answered(open_ids, opened)
        calls = message.get("tool_calls")
        open_ids = [call["id"] for call in calls] if isinstance(calls, list) else []
        opened = place
    _check_answered(open_ids, opened)


def _check_answered(open_ids: list[str], place: int) -> None:
    if open_ids:
        raise Unreadable(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            "'tool_call_id'. The following tool_call_ids did not have response messages: "
            f"{', '.join(open_ids)}",
            f"messages.[{place}].role",
        )


def _check_tool(tool: object, param: str) -> None:
    if not isinstance(tool, dict):
        raise wrong_type(param, "an object", tool)
    kind = tool.get("type")
    if kind not in ("function", "custom"):
        raise unsupported(f"{param}.type", ("function", "custom"), kind)
    if kind == "function":
        _check_function(tool.get(kind), f"{param}.function")
    else:
        inner = tool.get(kind)
        name_checked(f"{param}.custom.name", inner.get("name") if isinstance(inner, dict) else None)


def _check_function(function: object, param: str) -> None:
    if not isinstance(function, Mapping):
        raise missing(param)
    name = function.get("name")
    name_checked(f"{param}.name", name)
    schema = function.get("parameters", {})
    kind = schema.get("type", "object") if isinstance(schema, Mapping) else None
    if not isinstance(schema, Mapping) or kind != "object":
        found = "null" if kind is None else f'"{kind}"'
        text = f"Invalid schema for function '{name}': schema must be a JSON Schema of 'type: \"object\"', "
        raise Unreadable(f"{text}got 'type: {found}'.", f"{param}.parameters", "invalid_function_parameters")
