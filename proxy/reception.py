"""How a request begins: an exchange around the snapshot of this moment, with an id of its own.

Whoever brings a request (an HTTP connection, a WebSocket, a background run) opens its exchange here.
"""

import dataclasses
import random
import re
from collections.abc import Callable

from metrics.record import Record
from proxy.clock import Clock
from proxy.exchange import Exchange, Head, Sink, Source
from proxy.fleet import Fleet
from proxy.redaction import Redactor
from proxy.transcript import Overheard, Transcript
from proxy.wire.codec import Stamp, Voice
from proxy.wire.model import Endpoint

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclasses.dataclass(frozen=True, slots=True)
class Reception:
    """Opens exchanges. `number` makes their ids. What is said is overheard where the log is to have it."""

    fleet: Fleet
    clock: Clock
    draw: random.Random
    redactor: Redactor
    number: Callable[[], str]

    def open(
        self,
        endpoint: Endpoint,
        voice: Voice,
        head: Head,
        source: Source,
        sink: Sink,
        of: Exchange | None = None,
    ) -> Exchange:
        """A new exchange. What is made `of` another has that one's ids, and so has its reply."""
        request_id = of.request_id if of is not None else self.number()
        stamp = of.stamp if of is not None else self.stamp()
        record = Record(request_id, endpoint.value, self.clock.monotonic())
        record.trace = _trace(head) if head.forwarded else ""
        snapshot = self.fleet.snapshot
        if snapshot.config.log.bodies:
            overheard = Overheard(snapshot.config.log.body_limit, self.redactor.excerpt)
            source = sink = Transcript(source, sink, overheard)
            record.bodies = overheard.read
        return Exchange(endpoint, voice, head, source, sink, snapshot, record, stamp)

    def stamp(self) -> Stamp:
        """What makes a reply that begins now distinct: 96 random bits, as 24 hex digits."""
        return Stamp(f"{self.draw.getrandbits(96):024x}", int(self.clock.wall()))


def _trace(head: Head) -> str:
    """The id of the caller's trace (W3C Trace Context), where it has one."""
    for name, value in head.forwarded:
        if name == "traceparent" and (found := _TRACEPARENT.match(value)):
            return found[1]
    return ""
