"""Compaction in the Responses dialect: the question that makes a summary, and the object that holds it.

Our compaction items carry `ax1c.` and the summary in base64url: nothing in it is secret from the client,
whose conversation it is, and any replica and provider can go on from it.
"""

import base64
import binascii

import msgspec

from proxy.wire import reading
from proxy.wire.codec import Stamp
from proxy.wire.conversation import Json
from proxy.wire.envelope import Fields
from proxy.wire.model import Usage
from proxy.wire.responses.resource import response_id, usage_object

TAG = "ax1c."

_ASK = (
    "Summarize this conversation for an assistant that goes on with it and sees nothing else of it. Keep all "
    "facts, decisions, names, numbers, open questions and the state of the work; leave out pleasantries. "
    "Answer with the summary only."
)
_PASSED = (
    "model",
    "previous_response_id",
    "instructions",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "service_tier",
    "reasoning",
)

_any = msgspec.json.Decoder()


class _Reply(msgspec.Struct):
    """As much of the response as the summary is in. Servers put odd things beside it."""

    status: str
    output: list[object]


_reply = msgspec.json.Decoder(_Reply)


def question(fields: Fields) -> Json:
    """The body of the request that makes the summary. Raises `Refusal` 400 where there is no input."""
    body: Json = {name: fields[name] for name in _PASSED if name in fields}
    said = _any.decode(fields.get("input", b"null"))
    if not said and "previous_response_id" not in body:
        raise reading.missing("input")
    items = said if isinstance(said, list) else [{"role": "user", "content": said}] if said else []
    ask = {"role": "user", "content": _ASK}
    return {**body, "input": [*items, ask], "store": False, "stream": False}


def summary(body: bytes) -> str | None:
    """The summary out of the response to the question; None where it is cut or there is none."""
    try:
        reply = _reply.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None
    if reply.status != "completed":
        return None
    messages = [item for item in _records(reply.output) if item.get("type") == "message"]
    texts = [part.get("text") for item in messages for part in _records(item.get("content"))]
    return "".join(text for text in texts if isinstance(text, str)) or None


def pack(summary: str) -> str:
    """A summary as the `encrypted_content` of a compaction item."""
    return TAG + base64.urlsafe_b64encode(summary.encode()).decode()


def unpack(text: str) -> str | None:
    """The summary that `pack` packed; None for anybody else's."""
    if not text.startswith(TAG):
        return None
    try:
        return base64.b64decode(text[len(TAG) :], altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError):
        return None


def compacted(said: str, asked: Fields, usage: Usage, stamp: Stamp) -> Json:
    """The answer: the user's messages of what was asked, and the summary `said` as one item."""
    given = _any.decode(asked["input"])[:-1]
    kept = [
        {**item, "type": "message", "id": f"msg_{stamp.token}_i{place}", "status": "completed"}
        for place, item in enumerate(given)
        if isinstance(item, dict) and item.get("role") == "user" and item.get("type", "message") == "message"
    ]
    for item in kept:
        if isinstance(item.get("content"), str):
            item["content"] = [{"type": "input_text", "text": item["content"]}]
    sealed = {"type": "compaction", "id": f"cmp_{stamp.token}", "encrypted_content": pack(said)}
    return {
        "id": response_id(stamp),
        "object": "response.compaction",
        "created_at": stamp.created,
        "output": [*kept, sealed],
        "usage": usage_object(usage),
    }


def _records(value: object) -> list[Json]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
