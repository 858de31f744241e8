"""What the benchmarks send and what is answered: bodies of a given size, the reply, the mock's script.

Rule: all measured sides get the same bytes, and the sizes are those that are named beside the figures.
"""

import json
from typing import Any

KEY = "sk-bench-0123456789abcdef"
"""The client's key, and the provider's."""

WHOLE = "bench"
"""The model of requests that are answered at once, by a fixed body."""

BURST = "bench-burst"
"""The model of streams that come as fast as they can be sent."""

PACED = "bench-paced"
"""The model of streams with a pause between events, as a provider that is thinking sends them."""

SLOW = "bench-slow"
"""The model of streams for a thousand clients: one stream every few seconds, so that the rig keeps up."""

LARGE = "bench-large"
"""The model of requests that may be large: answered at once, but not before all of them is there."""

MODELS = (WHOLE, BURST, PACED)
"""What the mock answers by a rule of its own."""

TRANSLATED = "-translated"
"""Behind a model's name: the provider is asked in another dialect than the client speaks."""

BURST_TOKENS = 100
PACED_TOKENS = 50
PACED_PAUSE = 0.04
"""Seconds between two events of a paced stream, which therefore takes two seconds."""

SLOW_TOKENS = 30
SLOW_PAUSE = 0.1
"""The same of a slow one, which takes three."""


_PROSE = b"The quick brown fox, it is said, once jumped over a very lazy dog. "
_CODE = rb"if (found[key] == \"fox\") { jump({over: dog}); } // and then on\n"


def chat_request(model: str, size: int, *, stream: bool = False, code: bool = False) -> bytes:
    """A chat request of `size` bytes, most of them in an earlier message as in a long conversation.

    With `code` that message is source text: its escapes and brackets are what the depth check has to see
    past.
    """
    body: dict[str, object] = {
        "model": model,
        "temperature": 0.7,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": ""},
            {"role": "assistant", "content": "Of course: what would you like to know?"},
            {"role": "user", "content": "What is the capital of France?"},
        ],
    }
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    empty = json.dumps(body).encode()
    words = _CODE if code else _PROSE
    room = size - len(empty)
    text = words * (room // len(words)) + b"." * (room % len(words))
    return empty.replace(b'"user", "content": ""', b'"user", "content": "' + text + b'"', 1)


def chat_reply(size: int = 800) -> bytes:
    """A whole chat reply of about `size` bytes."""
    reply: dict[str, Any] = {
        "id": "chatcmpl-00000000000000000001",
        "object": "chat.completion",
        "created": 1_800_000_000,
        "model": WHOLE,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 180,
            "completion_tokens": 90,
            "total_tokens": 270,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }
    message = reply["choices"][0]["message"]
    message["content"] = ("Paris is the capital of France. " * size)[: size - len(json.dumps(reply))]
    return json.dumps(reply).encode()


def messages_reply(size: int = 800) -> bytes:
    """The same answer as a whole Messages reply of about `size` bytes."""
    reply: dict[str, Any] = {
        "id": "msg_00000000000000000001",
        "type": "message",
        "role": "assistant",
        "model": WHOLE,
        "content": [{"type": "text", "text": "", "citations": None}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 180,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 90,
            "service_tier": "standard",
        },
    }
    block = reply["content"][0]
    block["text"] = ("Paris is the capital of France. " * size)[: size - len(json.dumps(reply))]
    return json.dumps(reply).encode()


def messages_event(text: str) -> bytes:
    """One event of a Messages stream that says `text`."""
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    return _named("content_block_delta", delta)


def messages_start() -> bytes:
    """The events with which a Messages stream begins."""
    message: dict[str, Any] = {
        "id": "msg_00000000000000000001",
        "type": "message",
        "role": "assistant",
        "model": WHOLE,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 180, "output_tokens": 1},
    }
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    return _named("message_start", {"type": "message_start", "message": message}) + _named(
        "content_block_start", block
    )


def messages_end() -> bytes:
    """The events with which it ends."""
    delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 90}}
    return (
        _named("content_block_stop", {"type": "content_block_stop", "index": 0})
        + _named("message_delta", delta)
        + _named("message_stop", {"type": "message_stop"})
    )


def _named(name: str, data: object) -> bytes:
    said = json.dumps(data, separators=(",", ":")).encode()
    return b"event: " + name.encode() + b"\ndata: " + said + b"\n\n"


def chat_event(text: str) -> bytes:
    """One stream event that says `text`."""
    chunk = {
        "id": "chatcmpl-00000000000000000001",
        "object": "chat.completion.chunk",
        "created": 1_800_000_000,
        "model": WHOLE,
        "system_fingerprint": "fp_mock",
        "choices": [{"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}],
    }
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def chat_end() -> bytes:
    """The events that end a stream: the finish reason, usage, and the end marker."""
    finish = chat_event("").replace(b'"content":""', b"").replace(b'_reason":null', b'_reason":"stop"')
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":180,"completion_tokens":90}}\n\n'
    return finish + usage + b"data: [DONE]\n\n"


def mock_script() -> str:
    """How the mock answers each of `MODELS`."""
    rules = [
        {"match": {"model": BURST}, "then": {"tokens": BURST_TOKENS}},
        {"match": {"model": WHOLE, "path": "*/messages"}, "then": {"body": messages_reply().decode()}},
        {"match": {"model": PACED}, "then": {"tokens": PACED_TOKENS, "delay_events_s": PACED_PAUSE}},
    ]
    return json.dumps({"rules": rules, "default": {"body": chat_reply().decode()}, "models": MODELS})
