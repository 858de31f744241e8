"""What the scripts of stored responses are to do, in Python: the same words, survivors and sums."""

import dataclasses
from collections.abc import Sequence

from proxy.responses import keyspace

OVERHEAD, EACH = 512, 64
"""What a response and an event count for beyond their bytes."""

TTL, EVENT_TTL, LEASE = 1_000_000, 300_000, 15_000
MOST = 1_000
"""The most bytes of events."""

Events = Sequence[tuple[int, int]]
"""Sequence numbers and sizes."""


@dataclasses.dataclass(frozen=True)
class Save:
    """What a save says: its mode, the size of the document, and what else the mode takes."""

    mode: str = "plain"
    size: int = 10
    replica: str = "one"
    events: Events = ()
    last: int = -1


@dataclasses.dataclass
class Run:
    """What is known of a background response."""

    replica: str
    until: int
    cancel: bool = False
    last: int = -1

    def state(self, now: int) -> str:
        """As a reader sees it."""
        if self.until == 0:
            return "ended"
        return "running" if self.until > now else "lapsed"


@dataclasses.dataclass
class Kept:
    """One response."""

    size: int
    expires: int
    run: Run | None = None
    events: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    events_until: int | None = None

    @property
    def event_bytes(self) -> int:
        """What its events count for."""
        return sum(size + EACH for _, size in self.events)

    @property
    def counts(self) -> int:
        """What it counts for."""
        return self.size + OVERHEAD + self.event_bytes


class Twin:
    """All clients. `budget` None: there is no bound over all."""

    def __init__(self, quota: int, budget: int | None) -> None:
        self.quota = quota
        self.budget = budget
        self.now = 0
        self.kept: dict[tuple[str, str], Kept] = {}
        self.deleted: set[tuple[str, str]] = set()

    def total(self, owner: str | None = None) -> int:
        """What one client counts for, or all."""
        return sum(kept.counts for (whose, _), kept in self.kept.items() if owner in (None, whose))

    def save(self, owner: str, id_: str, save: Save) -> str:
        """As responses_save.lua."""
        self._purge(owner)
        name = owner, id_
        if name in self.deleted:
            return "gone"
        kept = self.kept.get(name)
        run = kept.run if kept else None
        state = run.state(self.now) if run else "absent"
        mine = run is not None and run.replica == save.replica
        if save.mode == "begin" and run and (state == "ended" or not mine):
            return "gone"
        if save.mode == "finish" and run and (state == "ended" or not mine):
            return "stored" if mine else "gone"
        if save.mode == "bury" and run and (state != "lapsed" or run.last != save.last):
            return "gone"
        bytes_ = save.size + OVERHEAD + self._most(kept, save.events)
        if bytes_ > self.quota or (self.budget is not None and bytes_ > self.budget):
            return "too_large"
        self._fit(name, bytes_)
        kept = kept or Kept(save.size, 0)
        kept.size, kept.expires = save.size, self.now + TTL
        if save.mode != "plain":
            kept.run = kept.run or Run(save.replica, 0)
            kept.run.replica = "" if save.mode == "bury" else save.replica
            kept.run.until = self.now + LEASE if save.mode == "begin" else 0
            self._append(kept, save.events)
        self.kept[name] = kept
        return "stored"

    def append(self, owner: str, id_: str, replica: str, events: Events) -> str:
        """As responses_append.lua."""
        name = owner, id_
        kept = self.kept.get(name)
        if kept is None or kept.run is None:
            return "lost" if name in self.deleted else "absent"
        if kept.run.until == 0 or kept.run.replica != replica:
            return "lost"
        kept.run.until = self.now + LEASE
        if events:
            self._fit(name, kept.size + OVERHEAD + self._most(kept, events))
            self._append(kept, events)
        return "cancelled" if kept.run.cancel else "running"

    def cancel(self, owner: str, id_: str) -> int:
        """As responses_cancel.lua."""
        kept = self.kept.get((owner, id_))
        if kept is None or kept.run is None or kept.run.state(self.now) != "running":
            return 0
        kept.run.cancel = True
        return 1

    def delete(self, owner: str, id_: str, *, waits: bool) -> int:
        """As responses_delete.lua."""
        there = self.kept.pop((owner, id_), None) is not None
        if there or waits:
            self.deleted.add((owner, id_))
        return int(there)

    def read(self, owner: str, id_: str, after: int) -> tuple[str, int, list[tuple[int, int]]]:
        """As responses_read.lua."""
        kept = self.kept.get((owner, id_))
        if kept is None or kept.run is None:
            return "absent", -1, []
        return kept.run.state(self.now), kept.run.last, [one for one in kept.events if one[0] > after]

    def _purge(self, owner: str) -> None:
        for name, kept in list(self.kept.items()):
            if kept.expires <= self.now and (self.budget is not None or name[0] == owner):
                del self.kept[name]
            elif kept.events_until is not None and kept.events_until <= self.now and name[0] == owner:
                kept.events, kept.events_until = [], None

    @staticmethod
    def _most(kept: Kept | None, events: Events) -> int:
        bytes_ = kept.event_bytes if kept else 0
        last = 0
        for _, size in events:
            last = size + EACH
            bytes_ += last
        return min(bytes_, max(MOST, last))

    def _fit(self, name: tuple[str, str], bytes_: int) -> None:
        own = self.kept[name].counts if name in self.kept else 0
        self._drop(name, self.total(name[0]) + bytes_ - own - self.quota, name[0])
        if self.budget is not None:
            self._drop(name, self.total() + bytes_ - own - self.budget, None)

    def _drop(self, spared: tuple[str, str], over: int, owner: str | None) -> None:
        oldest = sorted(
            (kept.expires, keyspace.name(*name), name)
            for name, kept in self.kept.items()
            if owner in (None, name[0])
        )
        for _, _, name in oldest:
            if over <= 0:
                return
            if name != spared:
                over -= self.kept.pop(name).counts

    def _append(self, kept: Kept, events: Events) -> None:
        assert kept.run is not None
        for sequence, size in events:
            if sequence > kept.run.last:
                kept.events.append((sequence, size))
                kept.run.last = sequence
        while len(kept.events) > 1 and kept.event_bytes > MOST:
            del kept.events[0]
        if kept.events:
            kept.events_until = self.now + EVENT_TTL
