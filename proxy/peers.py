"""What replicas learn of providers, shared: the outbox of the fleet out, what the cluster decided in.

Changes leave as one script call, one at a time: what is urgent at once, successes within a tenth of a second.
The script decides and publishes; what it decided comes back with the answer, and to the others by Pub/Sub,
a round trip later. Pub/Sub keeps nothing, so every half second the version is asked for, and all of it is
read where something was missed. While Redis is away the fleet decides by itself; when it is back, what the
others know is read first, and then what was decided meanwhile is told.

Where a strategy asks what the others are busy with, a poll tells this replica's load and is answered with the
sum of all loads, twice a second made anew by whichever poll comes then: what is told does not grow with the
number of replicas. Which load of this replica is in that sum comes with it, and is taken out here.
"""

import asyncio
import contextlib
import importlib.resources
import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from proxy import latency
from proxy.circuit import Change, Kind, Record
from proxy.fleet import ENTRIES, Fleet
from proxy.link import Script, ScriptError, Unavailable
from proxy.targets import Model
from ratelimit import store

HASH = "apex:{health}"
LOADS = "apex:{health}:loads"
SUM = "apex:{health}:loads:sum"
NEXT = "apex:{health}:loads:next"
CHANNEL = "apex:{health}"

EVERY = 0.5
"""Seconds between two polls of the version, give or take a fifth."""

TOGETHER = 0.1
"""Seconds for which successes wait for each other."""

OLD = 3_000
"""Milliseconds after which what a replica said of its load counts no more."""

MOST = 512
"""Changes in one call: a script is to be short."""

UNKNOWN = -1
"""A version that nobody has: asked with it, all is told."""

AHEAD = 64
"""Messages kept that came before those they follow; beyond it all is read anew."""

SAID = 16
"""The last loads of this replica that may be in a sum: twice as many as there are polls within `OLD`."""

LATE = 4
"""How far behind the last number heard another may be: a call that was given up may run after later ones."""


class Load(msgspec.Struct, frozen=True):
    """What a replica is busy with: requests in flight by target, and seconds to the first content.

    `number` tells one load of a replica from the next.
    """

    in_flight: dict[str, int]
    latencies: dict[str, float]
    number: int = 0


class Sum(msgspec.Struct, frozen=True):
    """The loads of several replicas. Of latencies it is the sum, and how many know one (`latency.Known`)."""

    in_flight: dict[str, int]
    latencies: dict[str, tuple[float, int]]

    def without(self, load: Load) -> "Sum":
        """What is left of it without one that is in it."""
        busy = {name: count - load.in_flight.get(name, 0) for name, count in self.in_flight.items()}
        known = dict(self.latencies)
        for name, value in load.latencies.items():
            if name in known:
                total, count = known[name]
                known[name] = max(total - value, 0.0), count - 1
        return Sum(
            {name: count for name, count in busy.items() if count > 0},
            {name: sum_ for name, sum_ in known.items() if sum_[1] > 0},
        )


class Link(Protocol):
    """The link, as far as it is needed here."""

    @property
    def available(self) -> bool:
        """Whether any call can succeed."""

    @property
    def generation(self) -> int:
        """Grows when what was written may be lost."""

    async def call(self, what: Script, keys: Sequence[str], args: Sequence[str | int | bytes]) -> Any:
        """Run a script. Raises `Unavailable` and `ScriptError`."""


def load_scripts() -> dict[str, store.Script]:
    """The two scripts, by name, from the package's files."""
    folder = importlib.resources.files("proxy") / "lua"
    texts = {name: (folder / f"{name}.lua").read_text(encoding="utf-8") for name in ("health", "poll")}
    return {name: store.Script.of(name, text) for name, text in texts.items()}


class Peers:
    """The fleet's line to those of the other replicas. `version` is what is known of the cluster's."""

    def __init__(self, link: Link, scripts: Mapping[str, Script], fleet: Fleet, draw: random.Random) -> None:
        self._link = link
        self._scripts = scripts
        self._fleet = fleet
        self._draw = draw
        self._news = asyncio.Event()
        self._stale = asyncio.Event()
        self._ahead: dict[int, int] = {}
        self._gone: dict[str, int] = {}
        self._generation = link.generation
        self._rules = (fleet.health.rules, msgspec.json.encode(fleet.health.rules))
        self._read_message = msgspec.json.Decoder(list[Any])
        self._read_sum = msgspec.json.Decoder(Sum)
        self._read_record = msgspec.json.Decoder(Record)
        self._asked = (fleet.snapshot.models, _shared(fleet.snapshot.models))
        self._said: dict[int, Load] = {}
        self._number = 0
        self._all = True
        self.version = 0
        fleet.outbox.on_urgent(self._news.set)

    def __repr__(self) -> str:
        """What is known and what waits."""
        state = "shared" if self._fleet.outbox.open else "alone"
        return f"<Peers {state}, version {self.version}, {len(self._fleet.outbox)} to tell>"

    # Out.

    async def tell(self) -> None:
        """Carry what waits in the outbox to the cluster, until cancelled."""
        while True:
            if not self._fleet.outbox.urgent:
                await self._pause(self._news, TOGETHER)
            self._news.clear()
            await self.flush()

    async def flush(self) -> None:
        """Carry it once."""
        changes = self._fleet.outbox.take()
        while changes:
            batch, changes = changes[:MOST], changes[MOST:]
            if not await self._carry(batch):
                self._alone([*batch, *changes])
                return

    def _alone(self, changes: Sequence[Change]) -> None:
        """Redis did not take `changes`: from now on the fleet decides, and what waited is decided as well.

        But for claims while others may reach it: they may have been granted there.
        """
        self._fleet.outbox.open = False
        untold = [*changes, *self._fleet.outbox.take()]
        claims = [change for change in untold if change.kind is Kind.CLAIM and self._link.available]
        self._fleet.refuse(claims)
        self._fleet.decide([change for change in untold if change not in claims])

    async def _carry(self, changes: Sequence[Change]) -> bool:
        self._recognise()
        args: list[str | int | bytes] = [CHANNEL, self._told_rules(), ENTRIES, msgspec.json.encode(changes)]
        try:
            now, message = await self._link.call(self._scripts["health"], [HASH], args)
        except (Unavailable, ScriptError):
            return False
        self._fleet.cluster_clock.heard(now)
        if message:
            self.hear(message)
        self._fleet.answered(changes)
        return True

    def _told_rules(self) -> bytes:
        """The bounds of health as the script reads them; a reload may change them."""
        rules = self._fleet.health.rules
        if self._rules[0] is not rules:
            self._rules = (rules, msgspec.json.encode(rules))
        return self._rules[1]

    # In.

    def hear(self, message: bytes) -> None:
        """A message of the script: what changed, and from which version to which."""
        self._recognise()
        try:
            self._hear(message)
        except (msgspec.MsgspecError, ValueError, TypeError):  # another version's, or nobody's we know
            self.missed()

    def _hear(self, message: bytes) -> None:
        before, version, _, *news = self._read_message.decode(message)
        changed: dict[str, Record | None] = {}
        for name, told in zip(news[::2], news[1::2], strict=True):
            if told is False:
                self._gone[name] = version
                changed[name] = None
            elif self._gone.get(name, 0) < version:
                changed[name] = msgspec.convert(told, Record)
        self._fleet.adopt(changed, version)
        self._follow(before, version)

    def _follow(self, before: int, version: int) -> None:
        """Messages come by two ways, so one may come before the one that it follows."""
        if version <= self.version:
            return
        self._ahead[before] = version
        self._catch_up()
        if len(self._ahead) > AHEAD:
            self.missed()

    def _catch_up(self) -> None:
        while self.version in self._ahead:
            self.version = self._ahead.pop(self.version)
        if len(self._gone) > AHEAD:
            self._gone = {name: when for name, when in self._gone.items() if when > self.version}

    def missed(self) -> None:
        """Something may have been missed: ask for all of it, now."""
        self._all = True
        self._stale.set()

    async def listen(self) -> None:
        """Poll until cancelled."""
        while True:
            self._stale.clear()
            await self.poll()
            await self._pause(self._stale, EVERY * self._draw.uniform(0.8, 1.2))

    async def poll(self) -> None:
        """Ask for the version, and for all that is known where it is another. Tell and hear loads."""
        self._recognise()
        known, before = UNKNOWN if self._all else self.version, self.version
        load = self._load()
        keys = [HASH, LOADS, SUM, NEXT] if load is not None else [HASH, LOADS]
        said = msgspec.json.encode(load) if load is not None else b""
        args: list[str | int | bytes] = [known, self._fleet.name, said, OLD]
        try:
            now, version, records, told = await self._link.call(self._scripts["poll"], keys, args)
        except (Unavailable, ScriptError):
            if self._fleet.outbox.open:
                self._alone([])
            return
        self._fleet.cluster_clock.heard(now)
        overtaken = before <= int(version) < self.version  # by messages, which have told more since
        if int(version) != known and not overtaken:
            self._adopt_all(int(version), records)
        self._hear_loads(load, now, told)
        await self._return()

    def _recognise(self) -> None:
        """Another server answers, or the same without its data: its versions say nothing of the old ones."""
        if self._link.generation == self._generation:
            return
        self._generation = self._link.generation
        self._fleet.cluster_clock.forget()
        self._fleet.doubt()
        self._ahead.clear()
        self._gone.clear()
        self._all = True
        self.version = 0

    def _adopt_all(self, version: int, records: Sequence[bytes]) -> None:
        """All that the cluster knows. What came meanwhile by message is newer, and stays."""
        lost = version < self.version
        self._gone = {name: when for name, when in self._gone.items() if when > version and not lost}
        shared: dict[str, Record] = {}
        for name, record in zip(records[::2], records[1::2], strict=True):
            with contextlib.suppress(msgspec.MsgspecError, ValueError):  # another version's: as if not there
                if name.decode() not in self._gone:
                    shared[name.decode()] = self._read_record.decode(record)
        self._fleet.adopt_all(shared, version, lost=lost)
        self.version = version
        self._all = False
        self._ahead = {before: after for before, after in self._ahead.items() if before >= version}
        self._catch_up()

    async def _return(self) -> None:
        """Redis is there: tell what was decided without it, or what it has lost, and share from now on."""
        decided = bool(self._fleet.dirty)
        merges = self._fleet.merges()
        for at in range(0, len(merges), MOST):
            if not await self._carry(merges[at : at + MOST]):
                self._fleet.decide(merges[at:])
                return
        if decided:
            self.missed()  # the cluster has its own view of what was decided here: see what comes of it
        self._fleet.outbox.open = True

    # Loads.

    def _load(self) -> Load | None:
        """What is told now; None where no strategy asks for it."""
        shared = self._shared()
        if not shared:
            return None
        self._number += 1
        busy, latencies = self._fleet.tell_loads()
        load = Load(
            {name: count for name, count in busy.items() if name in shared},
            {name: value for name, value in latencies.items() if name in shared},
            self._number,
        )
        self._said[load.number] = load
        if len(self._said) > SAID:
            del self._said[next(iter(self._said))]
        return load

    def _shared(self) -> Collection[str]:
        """Of which names loads are told; a reload may change them."""
        models = self._fleet.snapshot.models
        if self._asked[0] is not models:
            self._asked = (models, _shared(models))
        return self._asked[1]

    def _hear_loads(self, load: Load | None, now: int, told: Sequence[Any]) -> None:
        """What was told back when `load` was: when the sum was begun, the sum, and which of ours is in it.

        Where nobody knows what is in it, what was heard before stays: the next one is made in half a second.
        """
        if load is None:
            self._fleet.hear_loads({}, {}, {})
        elif told:
            with contextlib.suppress(msgspec.MsgspecError, KeyError):  # another version's; said too long ago
                begun, text, number = told
                whole = self._read_sum.decode(text)
                own = self._said[int(number)] if number else Load({}, {})
                others = whole.without(own)
                then = own.in_flight if number else load.in_flight
                self._said = {each: said for each, said in self._said.items() if each >= own.number - LATE}
                self._fleet.hear_loads(then, others.in_flight, others.latencies, max(now - begun, 0) / 1000)

    @staticmethod
    async def _pause(event: asyncio.Event, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return


def _shared(models: Mapping[str, Model]) -> frozenset[str]:
    """Of which names loads are told: of the targets of those models whose strategy asks for them."""
    asking = (model for model in models.values() if model.strategy in _SHARED)
    return frozenset(
        latency.key(target.id, whole=whole)
        for model in asking
        for target in model.targets
        for whole in (False, True)
    )


_SHARED = frozenset({"least_busy", "least_latency"})
