"""The way through for a client and a provider that speak the same dialect: bytes pass, few are changed.

Of the request only the top level is decoded; `model` is replaced, the operator's `drop_params` and
`extra_body` are applied, and what the dialect's own `Native` wants. Of the reply nothing is changed but what
that does: a bounded tap beside the stream reads usage, errors and the end.
"""

import dataclasses
from collections.abc import Mapping
from typing import Protocol

import msgspec

from proxy.wire.envelope import PIECE, Envelope, Fields, body_of, encode
from proxy.wire.losses import Losses
from proxy.wire.model import Stream, Usage


@dataclasses.dataclass(frozen=True, slots=True)
class Edits:
    """What an operator's config changes in every body sent to one target."""

    model: msgspec.Raw
    include_usage: bool
    extra: Mapping[str, msgspec.Raw]
    drop: tuple[str, ...]

    def apply(self, fields: Fields) -> None:
        """Change the fields of a body that is about to be sent."""
        fields["model"] = self.model
        for name in self.drop:
            fields.pop(name, None)
        if self.extra:
            fields.update(self.extra)


class Native(Protocol):
    """What a dialect does with what passes between two ends of its own."""

    def prepare(self, fields: Fields, losses: Losses) -> None:
        """Change the request's fields as the dialect needs it, and note in `losses` what is taken out."""

    @property
    def kept(self) -> bytes | None:
        """What is to be stored of a whole reply, see `codec.ReplyWriter`."""

    def reply(self, body: bytes) -> tuple[bytes, Usage | None]:
        """The reply for the client, and its usage. Raises `Fault` where it is no reply."""

    def stream(self) -> Stream:
        """A fresh stream state."""


class Bypass:
    """A `Passage` in which both ends speak the same dialect.

    Raises `Refusal` 400 at once where something would be lost and `losses` are strict.
    """

    __slots__ = ("_edits", "_fields", "_long", "_native", "losses", "reply", "stream")

    def __init__(self, envelope: Envelope, edits: Edits, native: Native, losses: Losses) -> None:
        self._fields = envelope.fields.copy()
        self._long = envelope.size > PIECE
        native.prepare(self._fields, losses)
        self.losses = losses if losses.fields else None
        self._edits = edits
        self._native = native
        self.reply = native.reply
        self.stream = native.stream

    @property
    def kept(self) -> bytes | None:
        """What is to be stored of a whole reply."""
        return self._native.kept

    def request(self) -> bytes:
        """The client's body with the dialect's and the target's edits."""
        self._edits.apply(self._fields)
        return body_of(self._fields) if self._long else encode(self._fields)
