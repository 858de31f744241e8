import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from fakes.chats import request

from proxy.errors import Refusal
from proxy.wire import envelope
from proxy.wire.bypass import Bypass, Edits
from proxy.wire.chat.tap import ChatStream
from proxy.wire.envelope import Fields
from proxy.wire.losses import Losses
from proxy.wire.model import Dialect, Usage


class FakeNative:
    """A dialect that adds one field and hands out what it was made with."""

    kept: bytes | None = b"kept"

    def prepare(self, fields: Fields, losses: Losses) -> None:
        """Add a field that the edits may still change; take out what this dialect has no place for."""
        fields["prepared"] = msgspec.Raw(b"1")
        if fields.pop("foreign", None) is not None:
            losses.drop("thinking")

    def reply(self, body: bytes) -> tuple[bytes, Usage | None]:
        """The body, with some usage."""
        return body, Usage(1, 2)

    def stream(self) -> ChatStream:
        """Any stream."""
        return ChatStream(withhold_usage=False, choices=1)


def edits(drop: Sequence[str] = (), **extra: Any) -> Edits:
    """What a target changes."""
    raw = {name: msgspec.Raw(json.dumps(value).encode()) for name, value in extra.items()}
    return Edits(msgspec.Raw(b'"theirs"'), include_usage=True, extra=raw, drop=tuple(drop))


def passed(change: Edits, *, strict: bool = False, **fields: Any) -> Bypass:
    """The passage of a request with these fields."""
    read = envelope.read(request(**fields), 16)
    return Bypass(read, change, FakeNative(), Losses(Dialect.CHAT, strict=strict))


def sent(change: Edits, **fields: Any) -> dict[str, Any]:
    """What goes to the target, without what is always there."""
    passage = passed(change, **fields)
    body: dict[str, Any] = json.loads(passage.request())
    assert body.pop("messages")
    return body


@pytest.mark.parametrize(
    ("change", "fields", "body"),
    [
        (edits(), {}, {"model": "theirs", "prepared": 1}),
        (
            edits(drop=["seed", "absent"]),
            {"seed": 1, "user": "u"},
            {"model": "theirs", "prepared": 1, "user": "u"},
        ),
        (
            edits(top_k=5, user="ours"),
            {"user": "u"},
            {"model": "theirs", "prepared": 1, "user": "ours", "top_k": 5},
        ),
        (edits(drop=["prepared"]), {}, {"model": "theirs"}),
        (edits(prepared=2), {}, {"model": "theirs", "prepared": 2}),
    ],
)
def test_request(change: Edits, fields: dict[str, Any], body: dict[str, Any]) -> None:
    """The model, what the dialect wants and what the operator configured are changed, in this order."""
    assert sent(change, **fields) == body


def test_a_long_request_is_edited_like_a_short_one() -> None:
    """Its values are too large to be written twice, and that is all."""
    text = "x" * 2 * envelope.PIECE
    body = sent(edits(drop=["seed"], top_k=5), seed=1, user=text)
    assert body == {"model": "theirs", "prepared": 1, "user": text, "top_k": 5}


def test_one_envelope_serves_many_targets() -> None:
    """Edits for one attempt leave nothing behind for the next."""
    seen = envelope.read(request(seed=1), 16)
    Bypass(seen, edits(drop=["seed"], extra=1), FakeNative(), Losses(Dialect.CHAT)).request()
    body = json.loads(Bypass(seen, edits(), FakeNative(), Losses(Dialect.CHAT)).request())
    assert body["seed"] == 1
    assert "extra" not in body


def test_replies_are_the_dialects_own() -> None:
    """Bodies, streams and what is to be stored are what the dialect gives; nothing is lost on this way."""
    passage = passed(edits())
    assert passage.reply(b"x") == (b"x", Usage(1, 2))
    assert isinstance(passage.stream(), ChatStream)
    assert (passage.kept, passage.losses) == (b"kept", None)


def test_a_body_can_be_sent_again() -> None:
    """As it was."""
    passage = passed(edits(drop=["seed"], extra=1), seed=1)
    assert passage.request() == passage.request()


def test_what_the_dialect_takes_out_is_told() -> None:
    """Before anything is sent; or refused where nothing may be lost."""
    losses = passed(edits(), foreign=1).losses
    assert losses is not None
    assert losses.header() == "dropped=thinking"
    with pytest.raises(Refusal) as caught:
        passed(edits(), strict=True, foreign=1)
    assert (caught.value.status, caught.value.param) == (400, "thinking")
