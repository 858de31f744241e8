import json

import pytest

from proxy.wire import deltas


def stream(*events: object) -> bytes:
    """Events, as they are sent."""
    return b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in events)


def chosen(index: int = 0, **delta: object) -> dict[str, object]:
    """A chunk of a chat with this delta."""
    return {"choices": [{"index": index, "delta": delta}]}


def called(index: int, **function: str) -> dict[str, object]:
    """A chunk with a piece of a call."""
    return chosen(tool_calls=[{"index": index, "function": function}])


def test_chats() -> None:
    """Choices and calls are told apart, whatever comes between their pieces."""
    said = stream(
        chosen(role="assistant", content=""),
        chosen(content="sk-"),
        chosen(1, content="other"),
        chosen(reasoning_content="hm"),
        chosen(content="abc"),
        called(0, name="f", arguments=""),
        called(0, arguments='{"a"'),
        called(1, arguments="{}"),
        called(0, arguments=":1}"),
        chosen(function_call={"name": "g"}),
        {"choices": [{"index": 0, "text": "old"}, 5], "usage": None},
        {"choices": None},
    )
    assert deltas.texts(said + b"data: [DONE]\n\n") == [
        ("content", "sk-abc"),
        ("content", "other"),
        ("reasoning_content", "hm"),
        ("name", "f"),
        ("arguments", '{"a":1}'),
        ("arguments", "{}"),
        ("name", "g"),
        ("text", "old"),
    ]


def test_messages() -> None:
    """Blocks are told apart by their index."""
    said = stream(
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "sk-"}},
        {"type": "ping"},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "abc"}},
        {"type": "content_block_delta", "index": 2, "delta": {"type": "x", "partial_json": "{}"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
    )
    assert deltas.texts(said) == [("thinking", "hm"), ("text", "sk-abc"), ("partial_json", "{}")]


def test_responses() -> None:
    """What an event brings is said by its type; what repeats the whole is left out."""
    text = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0}
    said = stream(
        text | {"delta": "sk-"},
        text | {"delta": "other", "content_index": 1},
        text | {"delta": "abc", "logprobs": [{"token": "abc"}]},
        {"type": "response.output_text.done", "text": "sk-abc"},
        {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": "{}"},
    )
    assert deltas.texts(said) == [
        ("output_text", "sk-abc"),
        ("output_text", "other"),
        ("function_call_arguments", "{}"),
    ]


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ({"error": {"message": "no"}}, '{"message":"no"}'),
        ({"type": "error", "error": {"message": "no"}}, '{"message":"no"}'),
        ({"type": "error", "message": "no"}, '{"type":"error","message":"no"}'),
        ({"type": "response.failed", "response": {"error": {"code": "x"}}}, '{"code":"x"}'),
    ],
)
def test_errors_are_told(event: object, told: str) -> None:
    """In the shape of each dialect."""
    assert deltas.texts(stream(event)) == [("error", told)]


def test_what_cannot_be_read_is_left_out() -> None:
    """Half an event, a comment, what is no object."""
    said = b': hi\n\ndata: 1\n\nevent: x\n\ndata: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: {"cho'
    assert deltas.texts(said) == [("content", "a")]
    assert deltas.texts(b"") == []


def test_streams_are_known_by_their_beginning() -> None:
    """Also where a byte order mark or a comment comes first."""
    assert all(map(deltas.is_stream, (b"data: 1", b"\nevent: x", b": hi", b"\xef\xbb\xbfdata: 1")))
    assert not any(map(deltas.is_stream, (b"", b'{"data": 1}', b"[]")))
