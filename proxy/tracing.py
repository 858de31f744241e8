"""Which trace a request belongs to, and the header that takes it upstream (W3C Trace Context, level 1).

Only ids are made on a request's way. What is told under them is made of its record, when it is over: see
`metrics.traces`.
"""

import dataclasses
import random
import re
from collections.abc import Sequence

from metrics.record import Asked, Attempt, Span
from proxy.targets import Target
from proxy.wire.model import Endpoint

PARENT, STATE = "traceparent", "tracestate"

_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
_SAMPLED = 0x01
_LOW = (1 << 64) - 1

Headers = Sequence[tuple[str, str]]


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """What a caller says of its trace: the ids of the trace and of its span, and whether it is sampled."""

    trace: str
    span: str
    sampled: bool


def caller(headers: Headers) -> Caller | None:
    """The caller's trace; None where there is none, or where it is not what the standard writes.

    Two of them are none. A later version may say more at the end, the first may not.
    """
    given = [value for name, value in headers if name == PARENT]
    found = _TRACEPARENT.fullmatch(given[0]) if len(given) == 1 else None
    if found is None or (found[1] == "00" and found[5] is not None):
        return None
    return Caller(found[2], found[3], bool(int(found[4], 16) & _SAMPLED))


class Tracer:
    """Gives requests and attempts their places in traces.

    A request goes by what its caller says of sampling; one that begins a trace is sampled by the ratio
    `sample`, by the last 64 bits of its id, as OpenTelemetry's sampler does.
    """

    def __init__(self, sample: float, draw: random.Random) -> None:
        self._below = round(sample * (_LOW + 1))
        self._draw = draw

    def begin(self, said: Caller | None, of: Span | None = None) -> Span:
        """The span of a request. What is made `of` another is in that one's trace."""
        own = self._id()
        if of is not None:
            return Span(of.trace, own, of.parent, of.sampled)
        if said is not None:
            return Span(said.trace, own, said.span, said.sampled)
        bits = self._draw.getrandbits(128) or 1
        return Span(f"{bits:032x}", own, "", bits & _LOW < self._below)

    def onward(
        self, span: Span, attempt: Attempt, target: Target, endpoint: Endpoint, forwarded: Headers
    ) -> tuple[tuple[str, str], ...]:
        """The headers that go upstream instead of `forwarded`; the attempt notes under which id, and where.

        The caller's `tracestate` belongs to its trace, and ends where another one begins.
        """
        own = self._id()
        if span.sampled:
            attempt.asked = Asked(own, target.kind, target.model, endpoint.value, target.urls[endpoint])
        parent = (PARENT, f"00-{span.trace}-{own}-{span.sampled:02x}")
        if not forwarded:
            return (parent,)
        gone = (PARENT,) if span.parent else (PARENT, STATE)
        return (*(header for header in forwarded if header[0] not in gone), parent)

    def _id(self) -> str:
        """A new span's id: 64 random bits that are not all zero."""
        return f"{self._draw.getrandbits(64) or 1:016x}"
