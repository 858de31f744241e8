"""All state of one request: what came in, what was decided, what is on its way out.

An `Exchange` knows no ASGI: the request's head was read by whoever made it, its body comes from a
`Source`, its answer goes to a `Sink`. An HTTP reply, a WebSocket and a background response are sinks
alike.
"""

from collections.abc import MutableMapping
from typing import Protocol

import msgspec

from metrics.record import Attempt, Record
from proxy.errors import Fault, Refusal
from proxy.fleet import Snapshot
from proxy.responses.document import Stored
from proxy.routing import Plan
from proxy.targets import Model, Target
from proxy.tenants import Tenant
from proxy.wire.codec import Passage, Stamp, Voice
from proxy.wire.conversation import Conversation
from proxy.wire.envelope import Envelope
from proxy.wire.model import Endpoint, Stream, Usage
from ratelimit.quota import Decision
from ratelimit.scope import Reservation

Headers = list[tuple[bytes, bytes]]
"""Response headers, names in lower case."""


class Source(Protocol):
    """Where a request's body comes from."""

    async def body(self) -> bytes:
        """The whole body. Raises `Refusal`: 413 beyond the bound, 408 where it came too slowly."""


class Sink(Protocol):
    """Where an answer goes. Every call hands on whole events; none is ever split."""

    @property
    def started(self) -> bool:
        """Whether the status has gone out."""

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole answer at once."""

    async def start(self, status: int, headers: Headers) -> None:
        """The status and headers of a stream."""

    async def write(self, data: bytes) -> None:
        """Whole events of a stream. Waits while the client does not read."""

    def push(self, data: bytes) -> bool:
        """As `write`, where that need not wait; else False, and nothing was said."""

    async def end(self, data: bytes = b"") -> None:
        """The last events and the end."""


class Head(msgspec.Struct, frozen=True):
    """What is taken from a request's headers, and nothing else of them.

    `credential` is the client's key, `length` the announced size of the body in bytes. `forwarded` are the
    allowed headers that go upstream as they came, `vendor` those that go there only where the body passes as
    it came (Anthropic's version and betas). `strict`: nothing may be lost in translation.
    """

    credential: bytes | None = None
    content_type: bytes = b""
    content_encoding: bytes = b""
    length: int | None = None
    forwarded: tuple[tuple[str, str], ...] = ()
    vendor: tuple[tuple[str, str], ...] = ()
    strict: bool = False

    def __repr__(self) -> str:
        """What it says of the body: the rest is the client's, and its key."""
        return f"<Head {self.content_type!r} {self.length} bytes>"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """The same: what a `Struct` has of its own tells every field."""
        return [("content_type", self.content_type), ("length", self.length)]


class Way(msgspec.Struct, frozen=True):
    """How a request gets to one target: the endpoint to call, and the passage there and back.

    `native`: the body passes as it came.
    """

    endpoint: Endpoint
    passage: Passage
    native: bool


class Thread(msgspec.Struct):
    """A Responses request's place in a chain of stored ones.

    `store`: the reply is to be kept. `background`: it is made without anybody waiting for it. `previous` is
    the response it follows, `ancestors` the chain up to and with that one, oldest first. `items` is the
    request's own input, with all before it where `ancestors` cannot name that. `final` is how a background
    response ended. `local` are the responses that only this connection knows (a WebSocket's that are not
    stored). `outcome` is what became of keeping it, or what will, as far as that is known.
    """

    store: bool = False
    background: bool = False
    previous: str | None = None
    ancestors: tuple[str, ...] = ()
    items: tuple[msgspec.Raw, ...] = ()
    final: Stored | None = None
    local: MutableMapping[str, Stored] | None = None
    outcome: str | None = None


class Held(msgspec.Struct):
    """What an exchange has reserved of limits.

    `full` are the waits, in seconds, of keys without room; `crowded` says of the last that it has as many
    requests at one time as it may have. `expected` are the tokens that were to be reserved first, `refused`
    is the decision that ended it.
    """

    client: Reservation | None = None
    model: Reservation | None = None
    key: Reservation | None = None
    full: list[float] = msgspec.field(default_factory=list)
    crowded: bool = False
    expected: int = 0
    refused: Decision | None = None


class Exchange(msgspec.Struct):
    """One request from its head to its record.

    `limited` is what the limits of its client said, for the headers of the answer. `used` is what the reply
    has cost, estimated where the provider did not say. `errored` are the ids of targets that gave a 5xx.
    `unserved`: no target has answered it, or could be asked. `conversation` is the body in no dialect, once
    a translation needs it; `unsayable` holds, by target id, why it cannot be said there. `way` leads to
    the present target and back, `reply` is the stream that the client hears. `thread` is a response's place
    in what is stored, `local` are the responses that only its connection knows; `detached`: nobody waits for
    the answer, it goes where it can be read later.
    """

    endpoint: Endpoint
    voice: Voice
    head: Head
    source: Source
    sink: Sink
    snapshot: Snapshot
    record: Record
    stamp: Stamp
    tenant: Tenant | None = None
    envelope: Envelope | None = None
    model: Model | None = None
    plan: Plan | None = None
    target: Target | None = None
    committed: bool = False
    retried: bool = False
    unserved: bool = False
    held: Held = msgspec.field(default_factory=Held)
    limited: Decision | None = None
    used: Usage | None = None
    conversation: Conversation | None = None
    way: Way | None = None
    reply: Stream | None = None
    thread: Thread | None = None
    detached: bool = False
    local: MutableMapping[str, Stored] | None = None
    unsayable: dict[str, Refusal] = msgspec.field(default_factory=dict)
    faults: list[Fault] = msgspec.field(default_factory=list)
    errored: set[str] = msgspec.field(default_factory=set)

    @property
    def request_id(self) -> str:
        """The id that the caller and the log line share."""
        return self.record.request_id

    @property
    def attempts(self) -> list[Attempt]:
        """The tries so far."""
        return self.record.attempts
