"""The nouns that all dialects share: endpoints, dialects, usage, and a stream on its way to a client."""

import enum
from typing import Final, Protocol

import msgspec

from proxy.errors import Refusal, Said


class Dialect(enum.StrEnum):
    """A wire format that clients and providers speak."""

    CHAT = "chat"
    RESPONSES = "responses"
    MESSAGES = "messages"


class Endpoint(enum.StrEnum):
    """What a client asks for. The values are metric labels, a closed set.

    `COUNT_TOKENS` is said of records alone: the request is one of the dialect that is counted.
    """

    CHAT = "chat"
    EMBEDDINGS = "embeddings"
    RESPONSES = "responses"
    MESSAGES = "messages"
    COUNT_TOKENS = "count_tokens"
    MODELS = "models"
    OTHER = "other"


DIALECT_OF = {
    Endpoint.CHAT: Dialect.CHAT,
    Endpoint.EMBEDDINGS: Dialect.CHAT,
    Endpoint.RESPONSES: Dialect.RESPONSES,
    Endpoint.MESSAGES: Dialect.MESSAGES,
}
"""The dialect an endpoint belongs to. Embeddings exist in the chat dialect alone."""


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one reply, as the provider counted them.

    `input` is all prompt tokens, `cached` the part of them that came from the provider's cache, `written`
    the part that was written to it; `output` is all completion tokens, `reasoning` the part of them that was
    thought and not said.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    reasoning: int = 0
    written: int = 0


MOST_TOKENS: Final = 2**53
"""The largest count that every reader of JSON can hold."""


def tokens(count: int | None) -> int:
    """A provider's count as one that can be: some have told negative ones."""
    if not count or count < 0:
        return 0
    return min(MOST_TOKENS, count)


class Stream(Protocol):
    """One upstream stream on its way to a client: bytes in, whole events out.

    Feed it what was read; it returns what may be sent, never a part of an event. `content` turns true
    with the first meaningful event: until then the caller holds back what `feed` returned and may still
    fail over. `ended` turns true when the dialect's own end marker was seen and nothing more will come,
    `error` is set when the provider reported one in-band; the events from that one on are not returned.
    `events` counts what was looked at. `kept` is what is to be stored of the reply, once it is whole.
    """

    content: bool
    ended: bool
    error: Said | None
    usage: Usage | None
    events: int

    @property
    def kept(self) -> bytes | None:
        """The object to store, see `codec.ReplyWriter`."""

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes and return the whole events they completed, rewritten for the client.

        Raises `Fault`: PROTOCOL where one event is larger than the bound, NOT_JSON where what came is
        no event stream at all.
        """

    def finish(self) -> bytes:
        """The upstream ended: return what is still to be sent. Raises `Fault`: EMPTY, TRUNCATED."""

    def broken(self, refusal: Refusal, request_id: str = "") -> bytes:
        """The events that end the client's stream when the upstream's broke after it began."""
