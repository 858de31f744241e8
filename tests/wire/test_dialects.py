import json
from typing import Any

import pytest
from fakes import speech
from fakes.translations import STAMP, event, facts

from proxy.errors import Refusal
from proxy.wire import envelope
from proxy.wire.bypass import Native
from proxy.wire.dialects import CODECS, native
from proxy.wire.envelope import Fields
from proxy.wire.losses import Losses
from proxy.wire.model import Dialect

each = pytest.mark.parametrize("dialect", list(Dialect))


def between(dialect: Dialect, *, include_usage: bool = True, **overrides: Any) -> tuple[Native, Fields]:
    """What passes between two ends of `dialect`, and the fields of a stream's request."""
    body = {**speech.plainly(dialect.value), "stream": True}
    seen = envelope.read(json.dumps(body).encode(), 16)
    known = facts(dialect.value, **overrides)
    return native(dialect, seen, STAMP, known, include_usage=include_usage), seen.fields.copy()


@each
def test_every_dialect_has_its_codec(dialect: Dialect) -> None:
    """Which speaks it."""
    assert CODECS[dialect].dialect is dialect
    assert set(CODECS) == set(Dialect)


@each
def test_every_codec_reads_its_own_requests(dialect: Dialect) -> None:
    """And says which dialect they came in."""
    fields = envelope.decode(json.dumps(speech.plainly(dialect.value)).encode(), 16)
    conversation = CODECS[dialect].read(fields)
    assert conversation.dialect is dialect
    (turn,) = conversation.turns
    assert turn.role.value == "user"


@each
def test_every_codec_refuses_in_its_own_words(dialect: Dialect) -> None:
    """In a JSON object that its SDK knows, with a kind of error and a message."""
    said = json.loads(CODECS[dialect].refusal(Refusal(404, "Not here."), "req_1"))
    assert said["error"]["message"] == "Not here."
    assert said["error"]["type"] == (
        "not_found_error" if dialect is Dialect.MESSAGES else "invalid_request_error"
    )


COMPLETED = {
    "type": "response.completed",
    "sequence_number": 0,
    "response": {"id": "resp_u", "object": "response", "status": "completed", "output": []},
}


@pytest.mark.parametrize(
    ("dialect", "end"),
    [
        (Dialect.CHAT, "[DONE]"),
        (Dialect.MESSAGES, {"type": "message_stop"}),
        (Dialect.RESPONSES, COMPLETED),
    ],
)
def test_what_passes_ends_as_its_dialect_does(dialect: Dialect, end: Any) -> None:
    """By its own marker."""
    stream = between(dialect)[0].stream()
    assert not stream.ended
    stream.feed(event(dialect.value, end))
    assert stream.ended


def test_a_chat_stream_is_asked_for_usage_where_the_provider_takes_that() -> None:
    """Some refuse to be asked."""
    for include_usage in (True, False):
        passing, fields = between(Dialect.CHAT, include_usage=include_usage)
        passing.prepare(fields, Losses(Dialect.CHAT))
        assert ("stream_options" in fields) is include_usage


@pytest.mark.parametrize(("thinks", "included"), [("effort", True), ("no", False)])
def test_sealed_reasoning_is_asked_for_where_a_model_thinks(thinks: str, included: bool) -> None:
    """Nothing is stored at the provider, so what replaying takes has to come with the reply."""
    passing, fields = between(Dialect.RESPONSES, thinks=thinks)
    passing.prepare(fields, Losses(Dialect.RESPONSES))
    assert bytes(fields["store"]) == b"false"
    assert (b"reasoning.encrypted_content" in bytes(fields.get("include", b""))) is included
