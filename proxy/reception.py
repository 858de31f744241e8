"""How a request begins: an exchange around the snapshot of this moment, with an id of its own.

Whoever brings a request (an HTTP connection, a WebSocket, a background run) opens its exchange here.
"""

import dataclasses
import random
from collections.abc import Callable

from metrics.record import Record
from proxy import tracing
from proxy.clock import Clock
from proxy.exchange import Exchange, Head, Sink, Source
from proxy.fleet import Fleet
from proxy.redaction import Redactor
from proxy.tracing import Tracer
from proxy.transcript import Overheard, Transcript
from proxy.wire.codec import Stamp, Voice
from proxy.wire.model import Endpoint


@dataclasses.dataclass(frozen=True, slots=True)
class Reception:
    """Opens exchanges. `number` makes their ids. What is said is overheard where the log is to have it.

    `tracer` gives them their places in traces, where traces are kept.
    """

    fleet: Fleet
    clock: Clock
    draw: random.Random
    redactor: Redactor
    number: Callable[[], str]
    tracer: Tracer | None = None

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
        caller = tracing.caller(head.forwarded) if head.forwarded else None
        if self.tracer is not None:
            record.span = self.tracer.begin(caller, of.record.span if of is not None else None)
            record.trace = record.span.trace
        elif caller is not None:
            record.trace = caller.trace
        snapshot = self.fleet.snapshot
        if snapshot.config.log.bodies:
            overheard = Overheard(snapshot.config.log.body_limit, self.redactor.excerpt)
            source = sink = Transcript(source, sink, overheard)
            record.bodies = overheard.read
        return Exchange(endpoint, voice, head, source, sink, snapshot, record, stamp)

    def stamp(self) -> Stamp:
        """What makes a reply that begins now distinct: 96 random bits, as 24 hex digits."""
        return Stamp(f"{self.draw.getrandbits(96):024x}", int(self.clock.wall()))
