"""What must never happen, watched while it would.

    store     a back-off window never shrinks; a circuit is closed, or its end brought forward, by its probe
              alone, but for a reset, which nothing from before it undoes; one lease at a time; versions grow.
              Where data was lost it begins anew.
    replica   the same of what it knows; it calls nobody inside a window that it has heard of, nor who is
              drained; it never forgets an order, whatever the store loses
    flights   while the store has been at hand for all, one probe of a name is on its way at most

What a replica has heard is written down by the link and the providers, not asked of the replica.
"""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from proxy.circuit import NOTHING, ORDERS, Cause, Change, Kind, Record, Rules, State
from proxy.fleet import Fleet
from proxy.health import Epochs, names
from proxy.targets import Target
from simulation.ledger import Ledger
from simulation.settings import TIMEOUTS

GIVES_UP = {Kind.OK, Kind.FAIL, Kind.BACK_OFF, Kind.RELEASE}
"""What the holder of a lease says to end it."""

OUTLIVED = 1000 * (TIMEOUTS["total"] + TIMEOUTS["max_stream"])
"""Milliseconds after which a request of before is over."""

LATE = 0.1
"""Seconds by which a replica's idea of the cluster's time may be mended at once."""


class StoreWatch:
    """Sees every change of the store's records. `closed` are the versions at which circuits were closed."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._leases: dict[str, tuple[str, int]] = {}
        self._version = 0
        self.closed: dict[str, int] = {}

    def _broke(self, what: str) -> None:
        self._ledger.broke("store", what)

    def applied(self, change: Change, before: Record, after: Record, now: int) -> None:
        """One change was carried out."""
        if before is after:
            return
        if _undone(before, after):
            self._broke(f"{change} undid an order: {before}, now {after}")
        if after.reset_at > before.reset_at:
            self._leases.pop(change.name, None)
            if change.kind not in (Kind.RESET, Kind.MERGE):
                self._broke(f"{change} began another epoch")
            return
        if change.kind not in (*ORDERS, Kind.MERGE) and change.epoch < before.reset_at:
            self._broke(f"{change} is from before the reset of {before}: {after}")
        if after.back_off_until < before.back_off_until:
            self._broke(f"{change} made the back-off window of {before} shorter: {after}")
        verdict = change.token != "" and change.token == before.probe
        if after.open_until < before.open_until:
            fell_back = change.kind is Kind.FAIL and after.open_until > now and self._ledger.stepped_at > 0
            if not verdict or not (change.kind is Kind.OK or fell_back):
                self._broke(f"{change} opened {before} sooner: {after}")
        self._lease(change, before, after, now, verdict=verdict)

    def _lease(self, change: Change, before: Record, after: Record, now: int, *, verdict: bool) -> None:
        name = change.name
        if after.probe not in ("", before.probe):
            _, until = self._leases.get(name, ("", 0))
            if change.kind is not Kind.CLAIM or until > now:
                self._broke(f"{change} took a lease that is held: {before}")
            if before.state(now) is not State.HALF_OPEN or before.back_off_until > now or before.drained:
                self._broke(f"{change} was granted for {before}")
        if before.probe and not after.probe:
            kept_out = change.kind is Kind.REFUSE or (
                change.kind is Kind.MERGE and after.open_until > before.open_until
            )
            if not kept_out and not (verdict and change.kind in GIVES_UP):
                self._broke(f"{change} took the lease of {before} away")
        if after.probe:
            self._leases[name] = (after.probe, after.probe_until)
        else:
            self._leases.pop(name, None)

    def forgotten(self, name: str, record: Record, version: int, now: int) -> None:
        """A record was dropped for there was nothing in it."""
        if record.open_until or record.back_off_until > now or record.probe or _undone(record, NOTHING):
            self._broke(f"{name} is forgotten too soon: {record}")
        self.closed[name] = version

    def published(self, name: str, before: Record | None, after: Record) -> None:
        """A record was changed for all."""
        if before is not None and after.open_until < before.open_until:
            self.closed[name] = after.version

    def versioned(self, old: int, new: int) -> None:
        """The version moves on."""
        if not self._version <= old < new:
            self._broke(f"version {new} after {max(self._version, old)}")
        self._version = new

    def lost(self, left: Mapping[str, Record], version: int) -> None:
        """Only this is left of all that was known."""
        self._leases = {name: (each.probe, each.probe_until) for name, each in left.items() if each.probe}
        self._version = version


def _undone(before: Record, after: Record) -> bool:
    """Whether an order that was known is not known any more: a life is shorter than they are remembered."""
    return (
        after.drained_at < before.drained_at
        or after.restored_at < before.restored_at
        or after.reset_at < before.reset_at
    )


@dataclasses.dataclass(slots=True)
class _Orders:
    """What a replica knows of the orders on a name, and since when."""

    drained_at: int = 0
    restored_at: int = 0
    reset_at: int = 0
    learned: float = 0.0


@dataclasses.dataclass(slots=True)
class _Window:
    """A back-off window that a replica knows of: its end, and the one known before this moment.

    The end is told in ms of the cluster and in seconds of the loop, for clocks are set: it is over by either.
    """

    until: int = 0
    ends: float = 0.0
    learned: float = 0.0
    before: int = 0


class ReplicaWatch:
    """Sees what one replica hears, what it makes of that, and whom it calls."""

    def __init__(self, ledger: Ledger, store: StoreWatch, fleet: Fleet, rules: Rules) -> None:
        self._ledger = ledger
        self._store = store
        self._fleet = fleet
        self._rules = rules
        self._loop = asyncio.get_running_loop()
        self._seen: Mapping[str, Record] = fleet.health.records
        self._windows: dict[str, _Window] = {}
        self._orders: dict[str, _Orders] = {}
        self._asked: dict[str, float] = {}
        self._denied: dict[str, float] = {}
        self._losses = ledger.losses
        self._versions: dict[str, int] = {}
        self._opened: dict[str, Record] = {}
        fleet.on_change(self._changed)

    def _broke(self, what: str) -> None:
        self._ledger.broke(self._fleet.name, what)

    # What it hears.

    def heard(self, records: Mapping[str, Record | None]) -> None:
        """Records have reached it."""
        for name, told in records.items():
            record = self._current(name, told) if told is not None else None
            if record is not None and record.back_off_until:
                self._learn(name, record.back_off_until)
            known = self._opened.get(name, NOTHING)
            if record is None:
                self._opened.pop(name, None)
            elif record.version >= known.version:
                self._opened[name] = record

    def ordered(self, name: str) -> None:
        """An operator has told it something of a name: that holds at once."""
        self._current(name, self._fleet.health.records[name])

    def _current(self, name: str, record: Record) -> Record:
        """What counts of a record, and what no longer does of what was known before."""
        orders = self._orders.setdefault(name, _Orders())
        if record.reset_at > orders.reset_at:
            for known in (self._windows, self._asked, self._denied, self._opened):
                known.pop(name, None)
        if record.drained_at > orders.drained_at:
            orders.learned = self._loop.time()
        stale = record.reset_at < orders.reset_at
        orders.drained_at = max(orders.drained_at, record.drained_at)
        orders.restored_at = max(orders.restored_at, record.restored_at)
        orders.reset_at = max(orders.reset_at, record.reset_at)
        return Record(version=record.version) if stale else record

    def refused(self, target: Target, hint: float | None, epochs: Epochs) -> None:
        """A provider has answered it with 429; without a hint the wait is at least half of the usual.

        Where the target was reset since these `epochs`, that is of the time before.
        """
        if epochs[0] < self._epochs(target)[0]:
            return
        now = self._fleet.now()
        if hint is None:
            if self._windows.get(target.id, _Window()).until <= now:
                self._learn(target.id, now + self._rules.back_off // 2)
            return
        wait = min(round(hint * 1000), self._rules.hint_cap)
        self._learn(target.id, now + wait)
        self._asked[target.id] = max(self._asked.get(target.id, 0.0), self._loop.time() + wait / 1000)

    def denied(self, target: Target, epochs: Epochs) -> None:
        """A provider has not accepted the key; where that was reset since, it says nothing of it."""
        if epochs[2] < self._epochs(target)[2]:
            return
        self._denied[target.key_id] = self._loop.time() + self._rules.quarantine / 1000

    def _learn(self, name: str, until: int) -> None:
        window = self._windows.setdefault(name, _Window())
        if until > window.until:
            if self._loop.time() > window.learned:
                window.before = window.until
            window.until, window.learned = until, self._loop.time()
            window.ends = window.learned + (until - self._fleet.now()) / 1000

    def _epochs(self, target: Target) -> Epochs:
        own, origin, key = (self._orders.get(name, _Orders()).reset_at for name in names(target))
        return own, origin, key

    # What it does.

    def calls(self, target: Target) -> Epochs:
        """It sends a request there; when its names were last reset, as far as it knows."""
        orders = self._orders.get(target.id, _Orders())
        if orders.drained_at > orders.restored_at and orders.learned < self._loop.time():
            self._broke(f"calls {target.id}, which is drained")
        now, time = self._fleet.now(), self._loop.time()
        window = self._windows.get(target.id, _Window())
        known = window.until if window.learned < time else window.before
        if known > now and window.ends > time and not self._ledger.torn:
            self._broke(f"calls {target.id} {known - now} ms before the end of a back-off window it knows")
        left = max(self._asked.get(target.id, 0.0), self._denied.get(target.key_id, 0.0)) - time
        if left > LATE and self._ledger.stepped_at < 0 and self._ledger.calm:
            self._broke(f"calls {target.id} {left:.3f} s before it may")
        for name in names(target):
            record = self._opened.get(name, NOTHING)
            if record.open_until > now and record.cause is not Cause.RATE and not self._ledger.losses:
                self._broke(f"calls {target.id} although it has heard that {name} is open: {record}")
        return self._epochs(target)

    # What it knows.

    def _changed(self) -> None:
        """Its records may have changed: only so as is allowed."""
        records, seen = self._fleet.health.records, self._seen
        if records is seen:
            return
        self._seen = records
        now = self._fleet.now()
        for name, before in seen.items():
            after = records.get(name)
            if after is before:
                continue
            self._compare(name, before, after or NOTHING, now)

    def _compare(self, name: str, before: Record, after: Record, now: int) -> None:
        if after is not NOTHING and after.version < before.version and not self._ledger.losses:
            self._broke(f"{name} is older than it was: {before}, now {after}")
        if _undone(before, after):
            self._broke(f"an order on {name} is forgotten: {before}, now {after}")
        if after.reset_at > before.reset_at:
            return
        if self._ledger.skewed:
            return  # it has timed by one clock, and is told by another
        if before.back_off_until > now and after.back_off_until < before.back_off_until:
            self._broke(f"the back-off window of {name} is shorter: {before}, now {after}")
        if before.open_until > now and after.open_until < before.open_until:
            closed = self._store.closed.get(name, 0)
            if closed <= before.version:
                self._broke(f"{name} opens sooner, and no probe of it has succeeded: {before}, now {after}")


class Probing(Protocol):
    """The store, as far as it is needed here."""

    records: dict[str, Record]

    def now(self) -> int:
        """Its time."""


class Flights:
    """Sees all calls of all replicas to providers, from their beginning to their end."""

    def __init__(self, ledger: Ledger, store: Probing, fleets: Callable[[], Iterable[Fleet]]) -> None:
        self._ledger = ledger
        self._store = store
        self._fleets = fleets
        self._probes: Counter[tuple[str, int]] = Counter()

    def begin(self, who: str, target: Target) -> list[tuple[str, int]]:
        """A call begins; what is to be given to `end`. A call to what is half open is a probe."""
        now, found = self._store.now(), []
        for name in names(target):
            record = self._store.records.get(name, NOTHING)
            if self._reset(who, name) > record.reset_at:
                continue  # it was told so, and the store was not yet
            if record.state(now) is State.HALF_OPEN and record.cause is not Cause.RATE:
                found.append((name, record.open_until))
        self._probes.update(found)
        if self._ledger.calm:
            for probe in found:
                if self._probes[probe] > 1:
                    self._ledger.broke(who, f"sends another probe of {probe[0]} while one is on its way")
            self._tokens(who)
        return found

    def _reset(self, who: str, name: str) -> int:
        """When a replica believes that a name was last reset."""
        known = [fleet.health.records.get(name, NOTHING) for fleet in self._fleets() if fleet.name == who]
        return max((record.reset_at for record in known), default=0)

    def _tokens(self, who: str) -> None:
        """What replicas believe that they probe, name by name. A reset may leave a probe of before it."""
        flying = Counter(name for fleet in self._fleets() for name in fleet._probes._flying)
        for name, count in flying.items():
            reset_at = self._store.records.get(name, NOTHING).reset_at
            if count > 1 and reset_at + OUTLIVED < self._store.now():
                self._ledger.broke(who, f"{count} replicas probe {name}")

    def end(self, probes: Iterable[tuple[str, int]]) -> None:
        """The call has ended."""
        for probe in probes:
            self._probes[probe] -= 1
            if not self._probes[probe]:
                del self._probes[probe]
