"""Compaction in the Responses dialect: the question that makes a summary, and the object that holds it.

Our compaction items carry `ax1c.` and the summary in base64url: nothing in it is secret from the client,
whose conversation it is, and any replica and provider can go on from it.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import msgspec

from proxy.wire.codec import Stamp
from proxy.wire.conversation import Json
from proxy.wire.envelope import Fields

TAG = "ax1c."

_ASK = (
    "Summarize this conversation for an assistant that goes on with it and sees nothing else of it. Keep all "
    "facts, decisions, names, numbers, open questions and the state of the work; leave out pleasantries. "
    "Answer with the summary only."
)
_PASSED = ("model", "previous_response_id", "instructions", "prompt_cache_key", "service_tier", "reasoning")

_any = msgspec.json.Decoder()


def question(fields: Fields) -> Json:
    """The body of the request that makes the summary."""
    body: Json = {name: fields[name] for name in _PASSED if name in fields}
    said = _any.decode(fields.get("input", b"null"))
    items = said if isinstance(said, list) else [{"role": "user", "content": said}] if said else []
    ask = {"role": "user", "content": _ASK}
    return {**body, "input": [*items, ask], "store": False, "stream": False}


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


def compacted(response: Mapping[str, Any], asked: Fields, stamp: Stamp) -> Json:
    """The answer: the user's messages of what was asked, and the summary as one item."""
    given = _any.decode(asked["input"])[:-1]
    kept = [
        {**item, "type": "message", "id": f"msg_{stamp.token}{place:02d}", "status": "completed"}
        for place, item in enumerate(given)
        if item.get("role") == "user" and item.get("type", "message") == "message"
    ]
    for item in kept:
        if isinstance(item["content"], str):
            item["content"] = [{"type": "input_text", "text": item["content"]}]
    summary = {
        "type": "compaction",
        "id": f"cmp_{stamp.token}",
        "encrypted_content": pack(_text(response)),
    }
    return {
        "id": f"resp_{stamp.token}",
        "object": "response.compaction",
        "created_at": stamp.created,
        "output": [*kept, summary],
        "usage": response.get("usage"),
    }


def _text(response: Mapping[str, Any]) -> str:
    return "".join(
        part.get("text", "")
        for item in response.get("output", ())
        if item.get("type") == "message"
        for part in item.get("content", ())
    )
