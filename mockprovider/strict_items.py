"""What OpenAI refuses in the input items of a Responses request: foreign ids, lost calls, lost reasoning.

Rule: an item's id has the prefix of its kind, a call and its output name each other, and reasoning is only
known again from what this provider sealed or stored. Ids of stored responses share their tail with it.
"""

from collections.abc import Mapping, Sequence

from mockprovider.answer import Unreadable
from mockprovider.reading import Fields, Terms
from mockprovider.seals import issued
from mockprovider.strict_parts import check_message, check_output
from mockprovider.wording import (
    known_only,
    missing,
    name_checked,
    too_long,
    unsupported,
    wrong_type,
)

_PREFIXES = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "custom_tool_call": "ctc",
    "web_search_call": "ws",
    "file_search_call": "fs",
    "computer_call": "cu",
    "image_generation_call": "ig",
    "code_interpreter_call": "ci",
    "mcp_call": "mcp",
    "mcp_list_tools": "mcpl",
    "mcp_approval_request": "mcpr",
    "local_shell_call": "lsh",
    "shell_call": "sh",
    "apply_patch_call": "apc",
    "compaction": "cmp",
}
_OTHERS = (
    "function_call_output custom_tool_call_output computer_call_output local_shell_call_output "
    "shell_call_output apply_patch_call_output mcp_approval_response item_reference tool_search_call "
    "tool_search_output additional_tools compaction_trigger program program_output"
)
_FIELDS = {
    "message": "id type role content status phase",
    "reasoning": "id type summary content encrypted_content status",
    "function_call": "id type call_id name arguments status namespace caller",
    "function_call_output": "id type call_id output status name namespace caller",
    "custom_tool_call": "id type call_id name input status namespace caller",
    "custom_tool_call_output": "id type call_id output status caller",
    "item_reference": "id type",
    "compaction": "id type encrypted_content created_by",
}
_REQUIRED = {
    "message": "role content",
    "reasoning": "summary",
    "function_call": "call_id name arguments",
    "function_call_output": "call_id output",
    "custom_tool_call": "call_id name input",
    "custom_tool_call_output": "call_id output",
    "item_reference": "id",
    "compaction": "encrypted_content",
}
_TEXTS = ("call_id", "arguments", "input")
_OUTPUTS = {
    "function_call": ("function_call_output", "function call"),
    "custom_tool_call": ("custom_tool_call_output", "custom tool call"),
}
_FOLLOWING = ("reasoning", "function_call", "custom_tool_call", "web_search_call", "compaction")
_ID_LIMIT = 64
_TAIL = 20  # what all ids of one response share, after the prefix


def check(items: Sequence[object], terms: Terms, *, stored: bool, chain: str) -> None:
    """Refuse what is wrong with the input.

    `stored` is whether the response will be; `chain` is the id of the response it goes on from, or empty.
    Raises Unreadable.
    """
    kinds = [_check_item(item, f"input[{place}]", terms, stored=stored) for place, item in enumerate(items)]
    fields = [item for item in items if isinstance(item, dict)]
    for kind, (output, name) in _OUTPUTS.items():
        _check_pairs(fields, (kind, output, name), terms if chain else None)
    _check_order(fields, kinds)


def _check_order(items: Sequence[Fields], kinds: Sequence[str]) -> None:
    """Refuse an item that comes twice, and reasoning that nothing came of."""
    seen = set()
    for place, item in enumerate(items):
        identity = item.get("id")
        if identity is not None and identity in seen:
            text = f"Duplicate item found with id {identity}. Remove duplicate items from your input"
            raise Unreadable(f"{text} and try again.", "input")
        seen.add(identity)
        after = kinds[place + 1] if place + 1 < len(kinds) else ""
        follows = after in _FOLLOWING or (after == "message" and items[place + 1].get("role") == "assistant")
        if kinds[place] == "reasoning" and not follows:
            text = f"Item '{identity}' of type 'reasoning' was provided without its required following item."
            raise Unreadable(text, "input")


def _check_item(item: object, param: str, terms: Terms, *, stored: bool) -> str:
    """The kind of an item. Raises Unreadable."""
    if not isinstance(item, dict):
        raise wrong_type(param, "an object", item)
    kind = str(item.get("type") or ("message" if "role" in item else "item_reference"))
    known = (*_PREFIXES, *_OTHERS.split())
    if kind not in known:
        raise unsupported(param, known, kind)
    needed = next((name for name in _REQUIRED.get(kind, "").split() if item.get(name) is None), None)
    if needed:
        raise missing(f"{param}.{needed}")
    if kind in _FIELDS:
        known_only(f"{param}.", item, _FIELDS[kind])
    _check_texts(item, param)
    _check_id(item.get("id"), kind, param)
    if kind == "message":
        check_message(item, param)
    elif kind == "reasoning":
        _check_reasoning(item, param, terms, stored=stored)
    elif kind in ("function_call_output", "custom_tool_call_output"):
        check_output(item["output"], f"{param}.output")
    elif kind in _OUTPUTS:
        name_checked(f"{param}.name", item["name"], 128)
    else:
        _check_remembered(item, kind, terms)
    return kind


def _check_remembered(item: Fields, kind: str, terms: Terms) -> None:
    if kind == "compaction" and not issued("compaction", terms.name, str(item["encrypted_content"])):
        raise _unverified("compaction item")
    if kind == "item_reference" and not _is_stored(str(item["id"]), terms):
        raise Unreadable(f"Item with id '{item['id']}' not found.", "input", status=404)


def _check_texts(item: Fields, param: str) -> None:
    for name in _TEXTS:
        value = item.get(name)
        if value is not None and not isinstance(value, str):
            raise wrong_type(f"{param}.{name}", "a string", value)
    status = item.get("status", "completed")
    if status is None:
        raise wrong_type(f"{param}.status", "one of 'in_progress', 'completed', or 'incomplete'", None)
    if status not in ("in_progress", "completed", "incomplete", "failed"):
        raise unsupported(f"{param}.status", ("in_progress", "completed", "incomplete"), status)
    call = item.get("call_id")
    if call == "":
        text = (
            f"Invalid '{param}.call_id': empty string. Expected a string with minimum length 1, but got an "
        )
        raise Unreadable(f"{text}empty string instead.", f"{param}.call_id", "empty_string")
    if isinstance(call, str) and len(call) > _ID_LIMIT:
        raise too_long(f"{param}.call_id", _ID_LIMIT, call)


def _check_id(identity: object, kind: str, param: str) -> None:
    if identity is None:
        return
    if not isinstance(identity, str):
        raise wrong_type(f"{param}.id", "a string", identity)
    if len(identity) > _ID_LIMIT:
        raise too_long(f"{param}.id", _ID_LIMIT, identity)
    prefix = _PREFIXES.get(kind, "")
    if not identity.startswith(prefix):
        text = f"Invalid '{param}.id': '{identity}'. Expected an ID that begins with '{prefix}'."
        raise Unreadable(text, f"{param}.id", "invalid_value")


def _check_reasoning(item: Fields, param: str, terms: Terms, *, stored: bool) -> None:
    summary = item["summary"]
    if not isinstance(summary, list):
        raise wrong_type(f"{param}.summary", "an array", summary)
    for place, part in enumerate(summary):
        if not isinstance(part, dict) or part.get("type") != "summary_text":
            raise unsupported(f"{param}.summary[{place}]", ("summary_text",), part)
    sealed = item.get("encrypted_content")
    if sealed is not None:
        if not issued("reasoning", terms.name, str(sealed)):
            raise _unverified(f"item {item.get('id')}")
        return
    identity = item.get("id")
    if identity is None:
        raise missing(f"{param}.id")
    if not stored:
        text = (
            f"Item with id '{identity}' not found. Items are not persisted when `store` is set to false. "
            "Try again with `store` set to true, or remove this item from your input."
        )
        raise Unreadable(text, "input", status=404)
    if not _is_stored(str(identity), terms):
        raise Unreadable(f"Item with id '{identity}' not found.", "input", status=404)


def _unverified(what: str) -> Unreadable:
    text = (
        f"The encrypted content for {what} could not be verified. Reason: Encrypted content could not be "
        "decrypted or parsed."
    )
    return Unreadable(text, "input", "invalid_encrypted_content")


def _is_stored(identity: str, terms: Terms) -> bool:
    return identity.partition("_")[2][:_TAIL] in terms.stored


def _check_pairs(items: Sequence[Fields], kinds: tuple[str, str, str], chained: Terms | None) -> None:
    """Refuse outputs without their call and calls without their output; a chain may hold what is not here."""
    call, output, name = kinds
    called: dict[str, Mapping[str, object]] = {}
    answered = set()
    for item in items:
        identity = str(item.get("call_id"))
        if item.get("type") == call:
            called[identity] = item
        elif item.get("type") == output:
            answered.add(identity)
            if identity not in called and not (chained and _is_stored(identity, chained)):
                raise Unreadable(f"No tool call found for {name} output with call_id {identity}.", "input")
    left = next((identity for identity in called if identity not in answered), None)
    if left is not None:
        raise Unreadable(f"No tool output found for {name} {left}.", "input")
