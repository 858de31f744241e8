"""Redis as far as it is used: what `health.lua` and `poll.lua` do, by their pure twin, and Pub/Sub.

That script and twin are the same is tested elsewhere. Here a script is one step of the loop, as there it is
one of the server.
"""

import asyncio
import dataclasses
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec
from fakes.published import told

from proxy import circuit
from proxy.circuit import NOTHING, Change, Record, Rules
from proxy.peers import Load, Sum
from simulation.invariants import StoreWatch
from simulation.ledger import Ledger

WALL = 1_800_000_000.0
REMEMBERED = 2.0
"""Seconds of its past that a failover may go back to."""

FRESH = 500
"""Milliseconds for which a sum of loads is answered before it is made anew."""

_RULES = msgspec.json.Decoder(Rules)
_CHANGES = msgspec.json.Decoder(list[Change])


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """What goes to a replica, with the records in it for those who watch."""

    what: Any
    records: Mapping[str, Record | None]


class Listener(Protocol):
    """A link to the store."""

    def publish(self, told: Told) -> None:
        """A message of the channel."""

    def lose(self) -> None:
        """The server has closed all connections."""


class SimStore:
    """One server. `up`: it can be connected to; `hung_until`: it does nothing before."""

    def __init__(self, ledger: Ledger, watch: StoreWatch) -> None:
        self._loop = asyncio.get_running_loop()
        self._ledger = ledger
        self._watch = watch
        self._past: deque[tuple[float, dict[str, Record], int]] = deque()
        self._ahead = WALL - self._loop.time()
        self._loads: dict[str, tuple[int, Load]] = {}
        self._sum: tuple[int, bytes, Mapping[str, int]] | None = None
        self.records: dict[str, Record] = {}
        self.version = 0
        self.up = True
        self.run = 1
        self.hung_until = 0.0
        self.links: list[Listener] = []

    def now(self) -> int:
        """The server's time, in whole milliseconds."""
        return int((self._loop.time() + self._ahead) * 1000)

    def call(self, script: str, args: Sequence[str | int | bytes]) -> Told:
        """Run a script."""
        return self._health(*args) if script == "health" else self._poll(*args)

    # Faults.

    def step(self, seconds: float) -> None:
        """Somebody sets the clock."""
        self._ahead += seconds
        self._ledger.stepped()

    def stop(self) -> None:
        """It is gone, and every connection with it."""
        self.up = False
        for link in self.links:
            link.lose()

    def start(self) -> None:
        """It is there again, with what it had."""
        self.up = True

    def restart(self) -> None:
        """Another process, which knows nothing."""
        self._replace({}, 0)

    def fail_over(self, seconds: float) -> None:
        """Another server, which has not heard of what was written in the last `seconds`."""
        past = [
            (records, version) for at, records, version in self._past if at <= self._loop.time() - seconds
        ]
        self._replace(*past[-1] if past else ({}, 0))

    def _replace(self, records: dict[str, Record], version: int) -> None:
        self.stop()
        self.run += 1
        self.records, self.version = dict(records), version
        self._loads.clear()
        self._sum = None
        self._ledger.lost()
        self._watch.lost(self.records, version)
        self.start()

    # health.lua

    def _health(self, *args: Any) -> Told:
        _, rules_text, _, changes_text = args
        rules, changes, now = _RULES.decode(rules_text), _CHANGES.decode(changes_text), self.now()
        before: dict[str, Record | None] = {}
        after: dict[str, Record] = {}
        for change in changes:
            name = change.name
            if name not in before:
                before[name] = self.records.get(name)
                after[name] = before[name] or NOTHING
            old = after[name]
            after[name] = circuit.apply(old, change, rules, now)
            self._watch.applied(change, old, after[name], now)
        version = max(self.version + 1, now)
        news: dict[str, Record | None] = {}
        for name, record in after.items():
            known = before[name]
            if circuit.idle(record, rules, now):
                if known is not None:
                    del self.records[name]
                    news[name] = None
                    self._watch.forgotten(name, record, version, now)
                continue
            kept = record
            if told(known, record):
                kept = msgspec.structs.replace(record, version=version)
                news[name] = kept
                self._watch.published(name, known, kept)
            self.records[name] = kept
        if not news:
            return Told([now, b""], {})
        return self._published(news, version, now)

    def _published(self, news: Mapping[str, Record | None], version: int, now: int) -> Told:
        message: list[object] = [self.version, version, now]
        for name, record in news.items():
            message += [name, False if record is None else record]
            self._ledger.note("store", f"{version} {name}: {_brief(record, now)}")
        self._watch.versioned(self.version, version)
        self.version = version
        self._remember()
        text = msgspec.json.encode(message)
        told = Told(text, news)
        for link in self.links:
            link.publish(told)
        return Told([now, text], news)

    def _remember(self) -> None:
        now = self._loop.time()
        self._past.append((now, dict(self.records), self.version))
        while len(self._past) > 1 and self._past[1][0] < now - REMEMBERED:
            self._past.popleft()

    # poll.lua

    def _poll(self, *args: Any) -> Told:
        known, replica, load, old = args
        now = self.now()
        records: dict[str, Record | None] = dict(self.records) if known != self.version else {}
        flat: list[bytes] = []
        for name, record in records.items():
            flat += [name.encode(), msgspec.json.encode(record)]
        told = self._summed(replica, load, old) if load else []
        return Told([now, str(self.version).encode(), flat, told], records)

    def _summed(self, replica: str, load: bytes, old: int) -> list[object]:
        now = self.now()
        self._loads[replica] = (now, msgspec.json.decode(load, type=Load))
        if self._sum is None or abs(now - self._sum[0]) >= FRESH:
            self._loads = {name: said for name, said in self._loads.items() if abs(now - said[0]) <= old}
            text = msgspec.json.encode(_total([said for _, said in self._loads.values()]))
            self._sum = now, text, {name: said.number for name, (_, said) in self._loads.items()}
        begun, text, counted = self._sum
        return [begun, text, str(counted.get(replica, "")).encode()]


def _total(loads: Sequence[Load]) -> Sum:
    whole = Sum({}, {})
    for load in loads:
        for name, count in load.in_flight.items():
            whole.in_flight[name] = whole.in_flight.get(name, 0) + count
        for name, value in load.latencies.items():
            total, known = whole.latencies.get(name, (0.0, 0))
            whole.latencies[name] = total + value, known + 1
    return whole


def _brief(record: Record | None, now: int) -> str:
    """A record for people: what counts of it, in seconds from now."""
    if record is None:
        return "forgotten"
    parts = [record.state(now).value]
    if record.open_until:
        parts.append(f"until {(record.open_until - now) / 1000:+.3f} for {record.cause}")
    if record.back_off_until:
        parts.append(f"backs off until {(record.back_off_until - now) / 1000:+.3f}")
    if record.probe:
        parts.append(f"probed by {record.probe} until {(record.probe_until - now) / 1000:+.3f}")
    return ", ".join(parts)
