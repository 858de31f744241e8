"""What is stored of a response, and what is sent of it again.

Rules: OpenAI's guide to conversation state and the Open Responses specification. The next turn is sent the
input and the output of all before it; a result of a tool must answer a call that is somewhere before it.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from proxy.errors import Refusal
from proxy.wire import reading
from proxy.wire.codec import Stamp
from proxy.wire.conversation import Json
from proxy.wire.envelope import Fields
from proxy.wire.responses.request_reader import ENCRYPTED

PREFIX: Final[Mapping[str, str]] = MappingProxyType(
    {
        "message": "msg",
        "reasoning": "rs",
        "function_call": "fc",
        "function_call_output": "fco",
        "custom_tool_call": "ctc",
        "custom_tool_call_output": "ctco",
        "compaction": "cmp",
    }
)
"""Kinds of items to which an id means nothing where they are sent again, and how it begins if made here.

To all others it does: what a vendor has run itself is known by its id, and an approval names its request.
"""

_HAVE_STATUS: Final = frozenset({"message", "function_call", "function_call_output"})
_UNFINISHED: Final = frozenset({"in_progress", "incomplete"})
_any = msgspec.json.Decoder()


def stored_input(fields: Fields, stamp: Stamp) -> list[Json]:
    """The request's own input as items, each with a type and an id. Raises `Refusal` 400."""
    said = _any.decode(fields.get("input", b"null"))
    if isinstance(said, str):
        said = [{"role": "user", "content": said}]
    given = reading.records({"input": said}, "input", "")
    taken: set[str] = set()
    items = []
    for place, item in enumerate(given):
        kept = _complete(item, f"input[{place}]")
        name = kept.get("id")
        if not isinstance(name, str) or not name or name in taken:
            name = f"{PREFIX.get(kept['type'], 'item')}_{stamp.token}_i{place}"
        taken.add(name)
        items.append({**kept, "id": name})
    return items


def _complete(item: Json, path: str) -> Json:
    """An item as it is listed: with its type, and a message's text as a part."""
    kind = reading.text(item, "type", path) or ("message" if "role" in item else "item_reference")
    kept = {"type": kind, **item} | {"type": kind}
    if kind == "message" and isinstance(kept.get("content"), str):
        part = {"type": "input_text", "text": kept["content"]}
        if kept.get("role") == "assistant":
            part = {"type": "output_text", "text": kept["content"], "annotations": [], "logprobs": []}
        kept["content"] = [part]
    if kind in _HAVE_STATUS and kept.get("status") is None:
        kept["status"] = "completed"
    return kept


def replayable(response: Mapping[str, Any]) -> list[Json]:
    """The output of a kept response as it is put in front of the next turn's input.

    A call that was cut can be answered by nobody, and reasoning is of use before what it led to only.
    """
    items = [
        item
        for item in response.get("output") or ()
        if not (str(item.get("type")).endswith("_call") and item.get("status") in _UNFINISHED)
        and not (item.get("type") == "message" and not item.get("content"))
    ]
    while items and items[-1].get("type") == "reasoning":
        items.pop()
    return items


def shown(response: Mapping[str, Any], fields: Fields) -> Json:
    """A kept response as its client sees it: sealed reasoning only where it was asked for."""
    if bytes(fields.get("store", b"")) == b"false" or ENCRYPTED.encode() in bytes(fields.get("include", b"")):
        return dict(response)
    output = [
        {key: value for key, value in item.items() if key != "encrypted_content"}
        if item.get("type") == "reasoning"
        else item
        for item in response.get("output") or ()
    ]
    return {**response, "output": output}


def check_outputs(items: Iterable[Mapping[str, Any]]) -> None:
    """Whether every result answers a call before it. Raises `Refusal` 400 naming the first that does not."""
    calls: set[str] = set()
    for item in items:
        kind, call = str(item.get("type")), item.get("call_id")
        if not isinstance(call, str):
            continue
        if kind.endswith("_call"):
            calls.add(call)
        elif kind.endswith("_call_output") and call not in calls:
            raise Refusal(
                400,
                f"No tool call found for {kind.replace('_', ' ')} with call_id {call[:100]}.",
                param="input",
            )
