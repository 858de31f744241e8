import json
from typing import Any

import msgspec
import pytest
from fakes.translations import event

from proxy.errors import Fault, FaultKind, Refusal, Said
from proxy.wire import envelope, seals
from proxy.wire.losses import Losses
from proxy.wire.messages.reply_writer import UNSIGNED
from proxy.wire.messages.tap import MessagesNative, MessagesStream
from proxy.wire.messages.voice import MessagesVoice
from proxy.wire.model import Dialect, Usage

Json = dict[str, Any]


def native(body: Json) -> MessagesNative:
    """What passes for this body."""
    return MessagesNative(envelope.read(json.dumps({"model": "m", **body}).encode(), 64))


def ev(kind: str, **fields: Any) -> bytes:
    """An event as a provider writes it."""
    return event("messages", {"type": kind, **fields})


START = ev("message_start", message={"usage": {"input_tokens": 9, "output_tokens": 1}})
PING = ev("ping")
OPEN = ev("content_block_start", index=0, content_block={"type": "text", "text": ""})
CLOSE = ev("content_block_stop", index=0)
DELTA = ev("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 4})
STOP = ev("message_stop")


def text(words: str = "Hi") -> bytes:
    """A piece of text."""
    return ev("content_block_delta", index=0, delta={"type": "text_delta", "text": words})


def test_of_the_request_only_foreign_thinking_is_taken_out() -> None:
    """All else passes as it came."""
    ours = {"type": "thinking", "thinking": "hm", "signature": seals.pack(UNSIGNED)}
    said = {"type": "text", "text": "so"}
    body: Json = {"messages": [{"role": "assistant", "content": [ours, said]}], "unheard_of": 1}
    passing = native(body)
    fields = envelope.read(json.dumps({"model": "m", **body}).encode(), 64).fields
    losses = Losses(Dialect.MESSAGES)
    passing.prepare(fields, losses)
    assert losses.header() == "dropped=thinking"
    assert fields == {
        "model": msgspec.Raw(b'"m"'),
        "messages": msgspec.Raw(b'[{"role":"assistant","content":[{"type": "text", "text": "so"}]}]'),
        "unheard_of": msgspec.Raw(b"1"),
    }


def test_a_whole_reply_passes_unchanged() -> None:
    """And its usage is read."""
    body = b'{ "content": [ {"type":"text"} ], "usage": {"input_tokens": 3, "cache_read_input_tokens": 4} }'
    assert native({}).reply(body) == (body, Usage(input=7, cached=4))
    silent = b'{"content":[],"stop_reason":"end_turn"}'
    assert native({}).reply(silent) == (silent, None)
    assert native({}).kept is None


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b" ", FaultKind.EMPTY),
        (b"<html>", FaultKind.NOT_JSON),
        (b"[]", FaultKind.NOT_JSON),
        (b"{}", FaultKind.EMPTY),
        (b'{"content":[],"stop_reason":null}', FaultKind.EMPTY),
        (b'{"type":"error","error":{"type":"api_error","message":"bad"}}', FaultKind.ERROR_IN_REPLY),
    ],
)
def test_what_is_no_reply(body: bytes, kind: FaultKind) -> None:
    """Is a fault, so that another provider is tried."""
    with pytest.raises(Fault) as caught:
        native({}).reply(body)
    assert caught.value.kind is kind


def test_a_stream_passes_unchanged() -> None:
    """Pings and all; usage is known from its first event and right at its end."""
    stream = native({}).stream()
    assert stream.feed(START + PING + OPEN) == START + PING + OPEN
    assert (stream.content, stream.usage) == (False, Usage(9, 1))
    assert stream.feed(text()) == text()
    assert stream.content
    assert stream.feed(text() + PING + text()) == text() + PING + text()
    assert not stream.ended
    assert stream.feed(CLOSE + DELTA + STOP) == CLOSE + DELTA + STOP
    assert (stream.ended, stream.usage, stream.events) == (True, Usage(9, 4), 10)
    assert stream.finish() == b""
    assert stream.kept is None


def test_whatever_the_reads_are() -> None:
    """Events leave whole."""
    said = START + OPEN + text("ü") + CLOSE + DELTA + STOP
    stream = MessagesStream()
    out = [stream.feed(said[place : place + 1]) for place in range(len(said))]
    assert b"".join(out) == said
    assert all(piece.endswith(b"\n\n") for piece in out if piece)
    assert (stream.ended, stream.usage) == (True, Usage(9, 4))


@pytest.mark.parametrize(
    ("said", "content"),
    [
        (OPEN, False),
        (text(""), False),
        (PING, False),
        (b": comment\n\n", False),
        (ev("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""}), False),
        (ev("content_block_start", index=0, content_block={"type": "text", "text": "x"}), True),
        (ev("content_block_start", index=0, content_block={"type": "tool_use", "input": {}}), True),
        (ev("content_block_start", index=0, content_block={"type": "redacted_thinking", "data": "x"}), True),
        (ev("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "x"}), True),
        (ev("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": ""}), False),
        (ev("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "x"}), True),
        (ev("message_delta", delta={"stop_reason": None}), False),
        (DELTA, True),
        (STOP, True),
        (b"event: message_stop\ndata: {}\n\n", True),
    ],
)
def test_content(said: bytes, content: bool) -> None:
    """Whatever a user would miss, and the end."""
    stream = MessagesStream()
    assert stream.feed(said) == said
    assert stream.content is content


@pytest.mark.parametrize("content", [b"", text()])
@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (
            ev("error", error={"type": "overloaded_error", "message": "Busy"}),
            Said("Busy", kind="overloaded_error"),
        ),
        (b'data: {"error": {"message": "bad"}}\n\n', Said("bad")),
        (b"event: error\ndata: bad\n\n", Said("The provider reported an error.")),
    ],
)
def test_an_error_in_a_stream(content: bytes, raw: bytes, said: Said) -> None:
    """It and what follows are kept from the client: who relays says it."""
    stream = MessagesStream()
    stream.feed(content)
    assert stream.feed(PING + raw + text()) == PING
    assert stream.error == said
    assert stream.finish() == b""


def test_words_of_errors_in_text_are_text() -> None:
    """Inside a string they stand with escaped quotes."""
    stream = MessagesStream()
    stream.feed(text())
    quoted = text('"type":"error" "error": event: x')
    assert stream.feed(quoted) == quoted
    assert stream.error is None


def test_an_end_by_its_name_alone() -> None:
    """Some servers leave the type out of the data."""
    stream = MessagesStream()
    stream.feed(text())
    stream.feed(b"event: message_stop\ndata: {}\n\n")
    assert stream.ended


@pytest.mark.parametrize(
    "more", [text(), STOP, PING, ev("error", error={"message": "bad"}), PING[:-2], b"<html>\n\n"]
)
def test_what_comes_after_the_end_is_not_passed_on(more: bytes) -> None:
    """Not in the same read, nor in the next, nor when the provider hangs up: it was the end."""
    for first, then in ((STOP + more, b""), (STOP, more)):
        stream = MessagesStream()
        assert stream.feed(text() + first) == text() + STOP
        assert stream.feed(then) == b""
        assert stream.finish() == b""
        assert (stream.error, stream.events) == (None, 2)


def test_the_last_event_may_lack_its_empty_line() -> None:
    """It is given one."""
    stream = MessagesStream()
    stream.feed(text() + STOP[:-2])
    assert stream.finish() == STOP
    assert stream.ended


def to_the_end(said: bytes) -> None:
    """A stream that says this and closes."""
    stream = MessagesStream()
    stream.feed(said)
    stream.finish()


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"", FaultKind.EMPTY),
        (START + PING, FaultKind.EMPTY),
        (b"<html>", FaultKind.NOT_JSON),
        (b"<html>\n\n", FaultKind.NOT_JSON),
        (b'{"content": []}', FaultKind.NOT_JSON),
        (b'{"type":"error","error":{"type":"api_error","message":"bad"}}', FaultKind.ERROR_IN_REPLY),
        (START + text(), FaultKind.TRUNCATED),
        (text() + DELTA, FaultKind.TRUNCATED),
        (text() + b'event: message_stop\ndata: {"ty', FaultKind.TRUNCATED),
    ],
)
def test_how_streams_end_badly(said: bytes, kind: FaultKind) -> None:
    """Never as if they were whole."""
    with pytest.raises(Fault) as caught:
        to_the_end(said)
    assert caught.value.kind is kind


def test_events_that_are_none() -> None:
    """Pass, whoever may know them."""
    stream = MessagesStream()
    odd = b'data: ["x"]\n\ndata:\n\n' + b'data: {"type": 5}\n\n' + ev("unheard_of") + b"event: bare\n\n"
    assert stream.feed(odd) == odd
    assert not stream.content
    stream.feed(text())
    for end in (b"\n", b"\r\n"):
        said = (odd + text("ü") + b'event:ping\ndata:{"type":"ping"}\n\n').replace(b"\n", end)
        assert stream.feed(said) == said


@pytest.mark.parametrize(
    "bad", [text("lost")[:-20] + b"\n\n", b"event: x\ndata: \x00\xff{]\n\n", b": \xff\n\n", b"data: x\n\n"]
)
def test_what_no_client_can_read_ends_the_stream(bad: bytes) -> None:
    """What came whole before it, in the same read, is said, then an error; and nothing after it."""
    stream = MessagesStream()
    with pytest.raises(Fault) as caught:
        stream.feed(bad)
    assert caught.value.kind is FaultKind.NOT_JSON
    stream = MessagesStream()
    stream.feed(START + OPEN + text())
    with pytest.raises(Fault) as caught:
        stream.feed(text("a") + PING + bad + text("more") + DELTA + STOP)
    assert (caught.value.kind, caught.value.status) == (FaultKind.NOT_JSON, 200)
    refusal = Refusal(502, "bad")
    assert stream.broken(refusal) == text("a") + PING + MessagesVoice().broken(refusal)


def test_after_the_end_nothing_is_read() -> None:
    """Whatever a provider says then."""
    stream = MessagesStream()
    stream.feed(text())
    assert stream.feed(STOP + b"data: \xff\n\n") == STOP


def test_a_stream_that_broke() -> None:
    """Ends with an error event."""
    refusal = Refusal(502, "bad")
    assert MessagesStream().broken(refusal) == MessagesVoice().broken(refusal)
