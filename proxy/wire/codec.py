"""The seams of the dialects: what the pipeline and the translation ask of any of them.

    Voice        a dialect as clients read it: errors, keep-alives
    Codec        a dialect in full: bodies to conversations and back, replies to events and back
    Passage      one request's way to one target and back: `bypass` where both ends speak the same dialect,
                 `translation` where they differ

A reader never knows who is on the other side, a writer neither: they meet in the canonical model.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from proxy.errors import Refusal
from proxy.profiles import Quirks
from proxy.wire.conversation import Conversation, Json
from proxy.wire.envelope import Fields
from proxy.wire.events import Collector, Event
from proxy.wire.losses import Losses
from proxy.wire.model import Dialect, Stream, Usage
from proxy.wire.naming import Origin


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """Whom a body is written for: the upstream's name of the model, and what it takes.

    `account` is whose model it is there; `opens`: sealed reasoning that it may have made is sent to it.
    """

    model: str
    quirks: Quirks
    account: str = ""
    opens: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class Written:
    """A body for an upstream.

    `origins` maps its names of tools to the client's where they differ (`naming.origins`); `stop` are stop
    sequences that its dialect has no place for, so that the proxy has to look for them.
    """

    body: Json
    origins: Mapping[str, Origin] = dataclasses.field(default_factory=dict)
    stop: tuple[str, ...] = ()


class Stamp(msgspec.Struct, frozen=True):
    """What makes one reply distinct: 24 hex digits that go into its ids, and when it began (Unix seconds).

    `prompt_tokens` is what its prompt is estimated to take, for dialects that say it before they know.
    """

    token: str
    created: int
    prompt_tokens: int = 1


class ReplyReader(Protocol):
    """Reads one upstream reply of a dialect into events (`wire.events`), and keeps their grammar.

    `finish` is called once, when `ended` has turned true or the upstream has closed: it returns what was
    held back until then (a chat stream's `Finished` waits for its usage).
    """

    @property
    def ended(self) -> bool:
        """Whether the dialect's own end marker was seen: nothing more will come."""

    def feed(self, event: bytes) -> list[Event]:
        """One whole server-sent event."""

    def finish(self) -> list[Event]:
        """The upstream ended. Raises `Fault` TRUNCATED where its terminal marker is missing."""

    def whole(self, body: bytes) -> list[Event]:
        """A reply that is no stream. Raises `Fault`: EMPTY, NOT_JSON, ERROR_IN_REPLY."""


class ReplyWriter(Protocol):
    """Writes one reply for a client of a dialect.

    `kept` is, once the reply is whole, the object to store of it: a response with all that replaying it
    takes, also what the client is not shown. None in dialects that store nothing.
    """

    @property
    def kept(self) -> bytes | None:
        """The object to store."""

    def write(self, events: Sequence[Event]) -> bytes:
        """These events as whole server-sent events; `Finished` brings the dialect's end with it."""

    def whole(self, reply: Collector) -> bytes:
        """A collected reply as a body."""

    def broken(self, refusal: Refusal, request_id: str = "") -> bytes:
        """The events that end a stream which broke after it began."""


class Voice(Protocol):
    """A dialect as clients read it, whatever is asked."""

    @property
    def dialect(self) -> Dialect:
        """Which dialect it is."""

    @property
    def ping(self) -> bytes:
        """An event or comment that says nothing and keeps a stream alive."""

    def refusal(self, refusal: Refusal, request_id: str) -> bytes:
        """The JSON body of an error answer."""

    def broken(self, refusal: Refusal, request_id: str) -> bytes:
        """The events that end a stream which broke before anything of a reply was said."""


class Codec(Voice, Protocol):
    """A dialect in full."""

    def read(self, fields: Fields) -> Conversation:
        """A client's body as a conversation. Raises `Refusal` 400 naming the field that cannot be read."""

    def write(self, conversation: Conversation, facts: Facts, losses: Losses) -> Written:
        """A conversation as a body for an upstream. Raises `Refusal` 400 for what cannot be said to it."""

    def reader(self, facts: Facts) -> ReplyReader:
        """For one upstream reply."""

    def writer(self, conversation: Conversation, stamp: Stamp) -> ReplyWriter:
        """For one reply to a client."""


class Passage(Protocol):
    """One request on its way to one target, and the answer's way back.

    `kept` is what is to be stored of a whole reply, see `ReplyWriter`; a stream has its own.
    """

    @property
    def kept(self) -> bytes | None:
        """The object to store."""

    @property
    def losses(self) -> Losses | None:
        """What was lost on the way there; None where a body passes and nothing was."""

    def request(self) -> bytes:
        """The body to send to the target."""

    def reply(self, body: bytes) -> tuple[bytes, Usage | None]:
        """The whole reply for the client, and its usage. Raises `Fault`: EMPTY, NOT_JSON, ERROR_IN_REPLY."""

    def stream(self) -> Stream:
        """A fresh stream state for one attempt."""
