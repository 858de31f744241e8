"""Streaming clients: so many at once, each asking again when its stream is over. Prints one line of JSON.

    python load.py URL BODY_FILE --streams 100 --seconds 4

Only what begins and ends counts as a stream; events are counted while the clock runs. The time to the
first content is from writing the request to the first event that says something, so that a proxy which
holds the opening back gains or loses nothing by it. Connections are kept.
"""

import argparse
import asyncio
import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

import httptools
import uvloop
from centiles import centile
from openloop import request_of

LAST = 2.5
"""Seconds that streams which are still open may take to end; what is left then is cut, and counts nowhere."""

_CONTENT = re.compile(rb'"content":\s?"[^"]')
_DONE = b"data: [DONE]"


@dataclass(slots=True)
class Tally:
    """What the clients have seen: `events` from the start, all else only while `counting`."""

    counting: bool = False
    stopping: bool = False
    streams: int = 0
    events: int = 0
    failed: int = 0
    first: list[float] = field(default_factory=list)


class Client(asyncio.Protocol):
    """One connection, one stream after another."""

    def __init__(self, request: bytes, tally: Tally) -> None:
        self.over = asyncio.get_running_loop().create_future()
        self._request = request
        self._tally = tally
        self._reset()

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._asked = time.perf_counter()
        self._tail = b""
        self._spoken = self._done = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as it is called
        """Ask at once."""
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._reset()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """A part of the stream."""
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Called by the parser: count the events that end here."""
        self._tally.events += (self._tail + body).count(b"\n\n")
        if not self._spoken and _CONTENT.search(body):
            self._spoken = True
            if self._tally.counting:
                self._tally.first.append(time.perf_counter() - self._asked)
        self._done = self._done or _DONE in self._tail + body
        # Long enough for a cut end marker; an event's end that was counted is not counted again.
        self._tail = b"" if body.endswith(b"\n\n") else body[-len(_DONE) :].rpartition(b"\n\n")[2]

    def on_message_complete(self) -> None:
        """Called by the parser: the stream is over."""
        good = self._parser.get_status_code() == 200 and self._done and self._spoken
        if self._tally.counting:
            self._tally.streams += good
            self._tally.failed += not good
        if self._tally.stopping:
            self._transport.close()
        elif good:
            asyncio.get_running_loop().call_soon(self._ask)
        else:
            asyncio.get_running_loop().call_later(0.05, self._ask)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (asyncio's signature)
        """The end; before it was asked for, a failure."""
        if not self._tally.stopping:
            self._tally.failed += 1
        if not self.over.done():
            self.over.set_result(None)


@dataclass(frozen=True, slots=True)
class Plan:
    """How many clients, started evenly over `warm` seconds, counted for `seconds`."""

    streams: int
    warm: float
    seconds: float


async def run(address: tuple[str, int], request: bytes, plan: Plan) -> dict[str, float]:
    """Put the load on `address` and say what came back."""
    tally = Tally()
    loop = asyncio.get_running_loop()
    clients = []
    for _ in range(plan.streams):
        _, client = await loop.create_connection(lambda: Client(request, tally), *address)
        clients.append(client)
        await asyncio.sleep(plan.warm / plan.streams)
    tally.counting = True
    began, before = time.perf_counter(), tally.events
    await asyncio.sleep(plan.seconds)
    seconds, events = time.perf_counter() - began, tally.events - before
    tally.counting = False
    tally.stopping = True
    await asyncio.wait([client.over for client in clients], timeout=LAST)
    return {"seconds": seconds, "events": events, **_told(tally)}


def _told(tally: Tally) -> dict[str, float]:
    first = sorted(tally.first)
    return {
        "streams": tally.streams,
        "failed": tally.failed,
        "all_events": tally.events,
        "first_p50": centile(first, 0.5),
        "first_p99": centile(first, 0.99),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("body", type=Path)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--warm", type=float, default=2.0)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--header", action="append", default=[])
    given = parser.parse_args()
    address, request = request_of(given.url, given.body.read_bytes(), given.header)
    plan = Plan(given.streams, given.warm, given.seconds)
    print(json.dumps(uvloop.run(run(address, request, plan))))


if __name__ == "__main__":
    main()
