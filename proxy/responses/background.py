"""Responses that run here without their client, under a lease, with their events in a stream in Redis.

Every five seconds a replica says what it still runs, and it sends events as they come; both renew the lease.
What cannot be told while Redis is away is kept, within bounds, and told later; the stream knows what it has
already. That a response is to end is heard by Pub/Sub, or with the next word to Redis.
"""

import asyncio
import enum
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from proxy.link import Argument, Change, Link, ScriptError, Unavailable
from proxy.responses import document, keyspace
from proxy.responses.document import Stored
from proxy.responses.news import News, pause
from proxy.responses.outbox import Event, Letter, Mode
from proxy.responses.store import LEASE_S, Outcome, ResponseStore, reaching

EVERY = 5.0
"""Seconds between two signs of life."""

AT_ONCE = 64
"""Signs of life that leave together."""


class Standing(enum.StrEnum):
    """How a response stands, for who runs it."""

    RUNNING = "running"
    CANCELLED = "cancelled"
    """Its client wants no more of it: finish it."""
    LOST = "lost"
    """It was deleted, or declared failed: nothing that happens to it is kept any more."""


Stop = Callable[[Standing], None]
"""Told once that a response is to end, and why."""


class _Run:
    """A response that runs here: as it last was, and its sealed events that Redis has not confirmed."""

    def __init__(self, owner: str, stored: Stored, stop: Stop) -> None:
        self.owner = owner
        self.stored = stored
        self.name = keyspace.name(owner, stored.id)
        self.pending: deque[Event] = deque()
        self._bytes = 0
        self._stop: Stop | None = stop

    def add(self, events: Sequence[Event], most: int) -> None:
        """Note events; beyond so many bytes the oldest go."""
        for event in events:
            self.pending.append(event)
            self._bytes += len(event[1])
        while self._bytes > most and len(self.pending) > 1:
            self._forget()

    def confirmed(self, last: int) -> None:
        """Redis has the events up to this number."""
        while self.pending and self.pending[0][0] <= last:
            self._forget()

    def stop(self, why: Standing) -> None:
        """Tell whoever works on it, the first time."""
        stop, self._stop = self._stop, None
        if stop is not None:
            stop(why)

    def quiet(self) -> None:
        """It ends by itself: nobody is told any more."""
        self._stop = None

    def _forget(self) -> None:
        self._bytes -= len(self.pending.popleft()[1])


class BackgroundRuns:
    """What runs in this replica.

    Subscribe `hear` to `keyspace.CHANNEL`, with `missed`, and keep `run` running.
    """

    def __init__(self, store: ResponseStore, link: Link) -> None:
        self._store = store
        self._link = link
        self._runs: dict[str, _Run] = {}
        self._due = asyncio.Event()
        self.news = News()
        link.on_change(self._changed)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._runs)

    def __repr__(self) -> str:
        """How many there are."""
        return f"<BackgroundRuns {len(self)}>"

    def here(self, name: str) -> bool:
        """Whether this replica knows best how a response stands: it runs here, or waits to be stored."""
        return name in self._runs or self._store.outbox.find(name) is not None

    async def begin(self, owner: str, stored: Stored, stop: Stop) -> Outcome:
        """Store a response that has just begun; again, how it stands by now.

        Only where it is STORED or DEFERRED does it run.
        """
        stored = msgspec.structs.replace(stored, replica=self._store.rules.replica)
        outcome = await self._store.save(owner, stored, Mode.BEGIN)
        if outcome in (Outcome.STORED, Outcome.DEFERRED):
            run = _Run(owner, stored, stop)
            self._runs.setdefault(run.name, run).stored = stored
        return outcome

    async def append(self, owner: str, id_: str, events: Sequence[Event]) -> Standing:
        """Tell of events: sequence numbers, which grow, and bytes. While Redis is away they wait here."""
        run = self._runs.get(keyspace.name(owner, id_))
        if run is None:
            return Standing.LOST
        run.add(self._sealed(run.name, events), self._store.rules.settings.event_bytes)
        return await self._tell(run)

    async def finish(self, owner: str, stored: Stored, events: Sequence[Event] = ()) -> Outcome:
        """Store how it ended together with its last events. TOO_LARGE: it still runs, finish it otherwise."""
        run = self._runs.get(keyspace.name(owner, stored.id))
        if run is None:
            return Outcome.GONE
        run.quiet()
        last = [*run.pending, *self._sealed(run.name, events)]
        outcome = await self._store.save(owner, stored, Mode.FINISH, last)
        if outcome is not Outcome.TOO_LARGE:
            self._runs.pop(run.name, None)
            self.news.tell(run.name)
        return outcome

    async def cancel(self, owner: str, id_: str) -> bool:
        """Ask whoever runs a response, here or elsewhere, to end it; whether it runs. Raises `Refusal`."""
        run = self._runs.get(keyspace.name(owner, id_))
        if run is not None:
            run.stop(Standing.CANCELLED)
            return True
        with reaching():
            return bool(await self._store.call("cancel", owner, [id_]))

    # The line to the others.

    def hear(self, message: bytes) -> None:
        """A message of the scripts."""
        word, _, name = message.decode("utf-8", "replace").partition(" ")
        run = self._runs.get(name)
        if word == "cancel" and run is not None:
            run.stop(Standing.CANCELLED)
        self.news.tell(name)

    def missed(self) -> None:
        """Messages may have been missed: ask, now."""
        self._due.set()
        self.news.tell_all()

    async def run(self) -> None:
        """Say again and again what runs here, until cancelled."""
        while True:
            self._due.clear()
            await self.beat()
            await pause(self._due, EVERY)

    async def beat(self) -> None:
        """Say it once. What Redis knows better ends."""
        runs = tuple(self._runs.values())
        for at in range(0, len(runs), AT_ONCE):
            await asyncio.gather(*map(self._tell, runs[at : at + AT_ONCE]))

    def _changed(self, _: Change) -> None:
        if self._link.available:
            self._due.set()

    async def _tell(self, run: _Run) -> Standing:
        """Send what Redis does not know. What cannot be sent now is sent with the next word."""
        if self._store.outbox.find(run.name) is not None:
            return Standing.RUNNING  # its beginning waits there, and comes first
        events = tuple(run.pending)
        try:
            standing = await self._sent(run, events)
        except (Unavailable, ScriptError):
            return Standing.RUNNING
        if events and standing is not Standing.LOST:
            run.confirmed(events[-1][0])
        if standing is Standing.LOST:
            self._runs.pop(run.name, None)
        if standing is not Standing.RUNNING:
            run.stop(standing)
        return standing

    async def _sent(self, run: _Run, events: Sequence[Event]) -> Standing:
        """Send events, and the whole response again where Redis has forgotten it."""
        rules, settings = self._store.rules, self._store.rules.settings
        args: list[Argument] = [run.stored.id, rules.replica, round(LEASE_S * 1000)]
        args += [settings.client_quota, rules.budget, round(settings.event_ttl * 1000), settings.event_bytes]
        args += [part for event in events for part in event]
        said = await self._store.call("append", run.owner, args)
        if said != b"absent":
            return Standing(said.decode())
        sealed = await self._store.seal(document.encode(run.stored), run.name)
        letter = Letter(run.owner, run.stored.id, sealed, Mode.BEGIN, tuple(events))
        begun = await self._store.send(letter) is Outcome.STORED
        return Standing.RUNNING if begun else Standing.LOST

    def _sealed(self, name: str, events: Sequence[Event]) -> list[Event]:
        seal = self._store.sealer.seal
        return [(sequence, seal(event, keyspace.event(name, sequence))) for sequence, event in events]
