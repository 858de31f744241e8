"""Bodies of the chat dialect, as clients and providers write them."""

import json
from typing import Any

from .configs import MODEL

DONE = b"data: [DONE]\n\n"


def request(model: str = MODEL, **fields: Any) -> bytes:
    """A request body."""
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "Hi"}], **fields}).encode()


def event(value: object) -> bytes:
    """One event with `value` as its data."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def role() -> bytes:
    """The first event of a stream, which says nothing yet."""
    return event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})


def delta(text: str, index: int = 0) -> bytes:
    """An event with content."""
    return event({"choices": [{"index": index, "delta": {"content": text}}]})


def finish(index: int = 0) -> bytes:
    """The last event of a choice."""
    return event({"choices": [{"index": index, "delta": {}, "finish_reason": "stop"}]})


def counted(prompt: int = 3, completion: int = 2) -> dict[str, int]:
    """A usage object."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def usage() -> bytes:
    """The extra usage event."""
    return event({"choices": [], "usage": counted()})


def stream(*words: str) -> bytes:
    """A whole good stream."""
    return role() + b"".join(map(delta, words or ("Hello",))) + finish() + usage() + DONE


def reply(text: str = "Hello") -> bytes:
    """A whole good reply."""
    message = {"role": "assistant", "content": text}
    return json.dumps(
        {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": counted()}
    ).encode()


def error(message: str = "No.", **fields: Any) -> bytes:
    """An error body."""
    return json.dumps({"error": {"message": message, **fields}}).encode()
