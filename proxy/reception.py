"""How a request begins: an exchange around the snapshot of this moment, with an id of its own.

Whoever brings a request (an HTTP connection, a WebSocket, a background run) opens its exchange here.
"""

import dataclasses
import random

from metrics.record import Record
from proxy.clock import Clock
from proxy.exchange import Exchange, Head, Sink, Source
from proxy.fleet import Fleet
from proxy.wire.codec import Stamp, Voice
from proxy.wire.model import Endpoint


@dataclasses.dataclass(frozen=True, slots=True)
class Reception:
    """Opens exchanges."""

    fleet: Fleet
    clock: Clock
    draw: random.Random

    def open(
        self,
        endpoint: Endpoint,
        voice: Voice,
        head: Head,
        source: Source,
        sink: Sink,
        stamp: Stamp | None = None,
    ) -> Exchange:
        """A new exchange. With the `stamp` of another its reply has that one's ids, its record its own."""
        stamp = stamp or self.stamp()
        record = Record(f"req_{stamp.token}", endpoint.value, self.clock.monotonic())
        return Exchange(endpoint, voice, head, source, sink, self.fleet.snapshot, record, stamp)

    def stamp(self) -> Stamp:
        """What makes a reply that begins now distinct: 96 random bits, as 24 hex digits."""
        return Stamp(f"{self.draw.getrandbits(96):024x}", int(self.clock.wall()))
