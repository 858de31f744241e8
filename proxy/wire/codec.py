"""The seam of the dialects: what the pipeline asks of any of them.

A `Codec` is a client's dialect: how errors look and how a quiet connection is kept alive. A `Passage` is
one request's way to one target and back: the body to send, the reply or the stream to return. Where the
client and the target speak the same dialect the passage is `bypass`; where they differ it goes through
the canonical model of the codecs.
"""

from typing import Protocol

from proxy.errors import Refusal
from proxy.wire.model import Dialect, Stream, Usage


class Codec(Protocol):
    """A dialect as clients read it."""

    @property
    def dialect(self) -> Dialect:
        """Which dialect it is."""

    @property
    def ping(self) -> bytes:
        """An event or comment that says nothing and keeps a stream alive."""

    def refusal(self, refusal: Refusal) -> bytes:
        """The JSON body of an error answer."""

    def broken(self, refusal: Refusal) -> bytes:
        """The events that end a stream which broke after its 200, so that it is not taken for whole."""


class Passage(Protocol):
    """One request on its way to one target, and the answer's way back."""

    def request(self) -> bytes:
        """The body to send to the target."""

    def reply(self, body: bytes) -> tuple[bytes, Usage | None]:
        """The whole reply for the client, and its usage. Raises `Fault`: EMPTY, NOT_JSON, ERROR_IN_REPLY."""

    def stream(self) -> Stream:
        """A fresh stream state for one attempt."""
