import json

from fakes.translations import STAMP, facts

from proxy.wire import envelope
from proxy.wire.events import Collector
from proxy.wire.losses import Losses
from proxy.wire.messages.codec import MessagesCodec
from proxy.wire.model import Dialect

CODEC = MessagesCodec()


def test_a_request_there_and_back() -> None:
    """What is read is written as it was."""
    body = {
        "model": "claude-sonnet-4-5",
        "max_tokens": 100,
        "messages": [
            {"role": "user", "content": "q"},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "so"},
                    {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
                ],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "1"}]},
        ],
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "stop_sequences": ["X"],
        "temperature": 0.5,
        "stream": True,
    }
    conversation = CODEC.read(envelope.decode(json.dumps(body).encode(), 64))
    losses = Losses(CODEC.dialect)
    written = CODEC.write(conversation, facts("messages"), losses)
    assert written.body == body
    assert losses.header() == ""
    assert CODEC.dialect is Dialect.MESSAGES


def test_a_reply_there_and_back() -> None:
    """With its own id, and a model's name."""
    reply = {
        "model": "claude",
        "content": [{"type": "text", "text": "Hi", "citations": None}],
        "stop_reason": "max_tokens",
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }
    conversation = CODEC.read(envelope.decode(b'{"model":"m","max_tokens":1,"messages":[]}', 64))
    collector = Collector()
    for event in CODEC.reader(facts("messages")).whole(json.dumps(reply).encode()):
        collector.take(event)
    said = json.loads(CODEC.writer(conversation, STAMP).whole(collector))
    assert {name: said[name] for name in ("model", "content", "stop_reason")} == {
        name: reply[name] for name in ("model", "content", "stop_reason")
    }
