"""The record of one request: filled along its path, rendered once at its end.

Everything here is fit for a log: no key, no header, and no text of a prompt or an answer unless that is
asked for. Durations are in seconds, sizes in bytes. Fields that become metric labels hold values of closed
sets only.
"""

import dataclasses
from collections.abc import Callable, Mapping

import msgspec

COMPLETED = "completed"
REFUSED = "refused"
FAILED = "failed"
BROKEN = "broken"
CLIENT_GONE = "client_gone"
CRASHED = "crashed"

OUTCOMES = (COMPLETED, REFUSED, FAILED, BROKEN, CLIENT_GONE, CRASHED)
"""How a request can end: answered; refused for the caller's own fault; failed for a provider's or ours;
broken after the stream had begun; left by the client; ended by a bug."""


class Span(msgspec.Struct, frozen=True):
    """A request's place in a trace, where traces are kept: 32 hex digits of the trace, 16 of its own `id`.

    `parent` is the caller's span, "" where the trace begins here. What is not `sampled` is told nowhere; its
    ids travel on all the same.
    """

    trace: str
    id: str
    parent: str
    sampled: bool


class Asked(msgspec.Struct, frozen=True):
    """What an attempt's span says beyond its record: its id, the kind of provider, what was called there."""

    span: str
    kind: str
    model: str
    endpoint: str
    url: str


class Attempt(msgspec.Struct):
    """One try on one target. `began` is monotonic.

    `outcome` is `ok`, `cancelled`, the fault's reason, or `no_count` where tokens were to be counted and none
    was told. `asked` is there where it was sent and its request is traced. `said` is what is told of a fault
    beyond its reason, "" where that says it all: our words, or those of a provider's that errors are made of.
    """

    target: str
    provider: str
    began: float
    duration: float = 0.0
    outcome: str = "cancelled"
    asked: Asked | None = None
    said: str = ""


class Tokens(msgspec.Struct):
    """Token counts as the provider reported them; see `wire.model.Usage`."""

    input: int = 0
    output: int = 0
    cached: int = 0
    reasoning: int = 0
    written: int = 0


@dataclasses.dataclass(slots=True)
class Record:
    """All that is said of one request.

    `model` is the configured alias, "" where the request named none that exists; `provider` is that of
    `target`. `waited` is the time spent waiting for upstreams and for the request's body, so that `duration -
    waited` is the proxy's own part; `queued` is the part of it spent in the queue for one. `losses` are
    (field, treatment) of what was lost in translation, from closed sets. `ttft` is the time from the
    request's start to the first content sent, None where there was none; `stalled` the longest wait for the
    provider after that, `events` how many a stream had. `cost` is in dollars, None where nobody knows.
    `trace` is the id of its trace, 32 hex digits: the caller's, or with `span` its own; else "". `bodies`
    tells what was said, without secrets, where the log is to have that; it may take its time.
    """

    request_id: str
    endpoint: str
    began: float
    client: str = ""
    model: str = ""
    stream: bool = False
    target: str = ""
    provider: str = ""
    attempts: list[Attempt] = dataclasses.field(default_factory=list)
    tokens: Tokens | None = None
    status: int = 0
    outcome: str = CRASHED
    error: str = ""
    duration: float = 0.0
    waited: float = 0.0
    queued: float = 0.0
    ttft: float | None = None
    stalled: float = 0.0
    events: int = 0
    cost: float | None = None
    trace: str = ""
    bytes_in: int = 0
    losses: tuple[tuple[str, str], ...] = ()
    bodies: Callable[[], Mapping[str, str]] | None = None
    span: Span | None = None
