"""Requests at a fixed rate, whatever the answers do. Prints one line of JSON.

    python openloop.py URL BODY_FILE --rate 1000 --seconds 20
    python openloop.py URL BODY_FILE --closed 64 --seconds 5    each connection asks again when answered

A request has its moment, and its latency counts from that, not from when it was sent: a stall is felt by
all whose moment falls into it. No event loop of a library is used, for their timers are a millisecond wide:
`select` waits on the epoll descriptor, to the microsecond. How late this program itself was is told too.
"""

import argparse
import gc
import json
import select
import socket
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httptools
import samples
from centiles import centile

OPEN_AT_FIRST = 32
MOST_OPEN = 1024
PATIENCE = 15.0
"""Seconds the last answers may take."""


@dataclass(frozen=True, slots=True)
class Plan:
    """So many requests a second, for so long; those of the first `warm` seconds are not told of."""

    rate: float
    seconds: float
    warm: float

    def moments(self) -> list[float]:
        """When each is due, in seconds from the start."""
        return [number / self.rate for number in range(round(self.rate * (self.warm + self.seconds)))]


@dataclass(slots=True)
class Seen:
    """Seconds of each request: from its moment to the answer, and from its moment to the send."""

    latencies: list[float] = field(default_factory=list)
    lateness: list[float] = field(default_factory=list)
    all: int = 0
    failed: int = 0

    def told(self) -> dict[str, float]:
        """The figures, in seconds."""
        latencies, lateness = sorted(self.latencies), sorted(self.lateness)
        return {
            "requests": len(latencies),
            "all_requests": self.all,
            "failed": self.failed,
            **{f"p{share}": centile(latencies, float(f"0.{share}")) for share in (50, 99, 999)},
            "late_p99": centile(lateness, 0.99),
        }


class Connection:
    """One request at a time."""

    def __init__(self, address: tuple[str, int], request: bytes) -> None:
        self.socket = socket.create_connection(address, 5.0)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.due: float | None = None
        self._request = request
        self._left = memoryview(b"")
        self._over = False
        self._parser = httptools.HttpResponseParser(self)

    def ask(self, due: float) -> bool:
        """Send the request that is due; whether all of it went out."""
        self.due = due
        self._over = False
        self._parser = httptools.HttpResponseParser(self)
        self._left = memoryview(self._request)
        return self.push()

    def push(self) -> bool:
        """Send what is left of it; whether that was all."""
        while self._left:
            try:
                self._left = self._left[self.socket.send(self._left) :]
            except BlockingIOError:
                return False
        return True

    def pull(self) -> int | None:
        """Read what is there: the status when the answer is whole, 0 when the connection broke."""
        try:
            data = self.socket.recv(262144)
            if self.due is None:
                return 0  # the server has closed an idle connection, with a word or without
            self._parser.feed_data(data)
        except BlockingIOError:
            return None
        except (OSError, httptools.HttpParserError):
            return 0
        if not data:
            return 0
        return self._parser.get_status_code() if self._over else None

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._over = True


class Load:
    """All connections, and the requests that wait for one."""

    def __init__(self, address: tuple[str, int], request: bytes) -> None:
        self._address = address
        self._request = request
        self._epoll = select.epoll()
        self._open: dict[int, Connection] = {}
        self._idle: list[Connection] = []
        self._waiting: deque[float] = deque()
        for _ in range(OPEN_AT_FIRST):
            self._idle.append(self._connect())

    def run(self, plan: Plan) -> Seen:
        """Send all at their moments, and wait for the answers."""
        seen = Seen()
        began = time.perf_counter() + 0.01
        due = deque(began + moment for moment in plan.moments())
        counted = began + plan.warm
        over = due[-1] + PATIENCE
        while due or self._waiting or len(self._idle) < len(self._open):
            now = time.perf_counter()
            if now > over:
                break
            while due and due[0] <= now:
                self._waiting.append(due.popleft())
            self._send(seen, counted)
            pause = max(due[0] - time.perf_counter(), 0.0) if due else 0.05
            if select.select([self._epoll.fileno()], [], [], pause)[0]:
                self._receive(seen, counted)
        seen.failed += len(self._waiting) + len(self._open) - len(self._idle)
        return seen

    def saturate(self, connections: int, plan: Plan) -> Seen:
        """Ask on so many connections, each again when it has its answer; what ends after `warm` is told.

        For those whose answers take so long that a count which begins with nothing in flight would be off
        by a good part: here all is in flight when the counting begins.
        """
        seen = Seen()
        began = time.perf_counter()
        counted, over = began + plan.warm, began + plan.warm + plan.seconds
        while len(self._open) < connections:
            self._idle.append(self._connect())
        while (now := time.perf_counter()) < over:
            free = connections - (len(self._open) - len(self._idle)) - len(self._waiting)
            self._waiting.extend([now] * free)
            self._send(seen, began)
            if select.select([self._epoll.fileno()], [], [], over - now)[0]:
                self._receive(seen, 0.0 if now >= counted else over)
        return seen

    def _connect(self) -> Connection:
        made = Connection(self._address, self._request)
        self._open[made.socket.fileno()] = made
        self._epoll.register(made.socket.fileno(), select.EPOLLIN)
        return made

    def _send(self, seen: Seen, counted: float) -> None:
        while self._waiting and (self._idle or len(self._open) < MOST_OPEN):
            one = self._idle.pop() if self._idle else self._connect()
            due = self._waiting.popleft()
            if due >= counted:
                seen.lateness.append(time.perf_counter() - due)
            if not one.ask(due):
                self._epoll.modify(one.socket.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def _receive(self, seen: Seen, counted: float) -> None:
        for descriptor, what in self._epoll.poll(0):
            one = self._open[descriptor]
            if what & select.EPOLLOUT and one.push():
                self._epoll.modify(descriptor, select.EPOLLIN)
            if not what & ~select.EPOLLOUT:
                continue
            status = one.pull()
            if status is None:
                continue
            if one.due is not None and status == 200:
                seen.all += 1
                if one.due >= counted:
                    seen.latencies.append(time.perf_counter() - one.due)
            elif one.due is not None:
                seen.failed += 1
            self._free(one, broken=not status)

    def _free(self, one: Connection, *, broken: bool) -> None:
        if not broken:
            one.due = None
            self._idle.append(one)
            return
        self._epoll.unregister(one.socket.fileno())
        del self._open[one.socket.fileno()]
        if one in self._idle:
            self._idle.remove(one)
        one.socket.close()


def request_of(url: str, body: bytes, headers: list[str]) -> tuple[tuple[str, int], bytes]:
    """Where a request goes, and its bytes."""
    parts = urlsplit(url)
    lines = [
        f"POST {parts.path} HTTP/1.1",
        f"host: {parts.netloc}",
        f"authorization: Bearer {samples.KEY}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *headers,
    ]
    address = parts.hostname or "127.0.0.1", parts.port or 80
    return address, ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("body", type=Path)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--closed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warm", type=float, default=1.0)
    parser.add_argument("--header", action="append", default=[])
    given = parser.parse_args()
    load = Load(*request_of(given.url, given.body.read_bytes(), given.header))
    gc.collect()
    gc.disable()
    plan = Plan(given.rate, given.seconds, given.warm)
    seen = load.saturate(given.closed, plan) if given.closed else load.run(plan)
    print(json.dumps({**seen.told(), "seconds": given.seconds}))


if __name__ == "__main__":
    main()
