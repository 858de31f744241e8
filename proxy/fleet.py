"""The owner of the snapshot: configuration, tenants, models and health behind one reference.

A request reads `fleet.snapshot` once and keeps it; whoever changes something builds a new one and swaps
it in. A target is taken for an attempt as a `Turn`, and what the attempt taught is reported with it. What is
learned goes out to the cluster through the `outbox` while somebody carries it, and what the cluster decided
comes back through `adopt`; without a carrier it is decided here, and marked, to be told later.
"""

import asyncio
import copy
import dataclasses
import random
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from proxy import bounds, circuit, latency
from proxy.blunders import Blunders
from proxy.circuit import NOTHING, ORDERS, Change, Kind, Record
from proxy.clock import Clock, ClusterClock
from proxy.health import Effect, Health, Report, Standing, lessons
from proxy.latency import Known, Latencies
from proxy.moment import Came
from proxy.outbox import Outbox, Untold
from proxy.places import Places
from proxy.probes import Probes
from proxy.routing import Plan
from proxy.snapshot import Snapshot, snapshot
from proxy.targets import Target
from proxy.throttle import Throttle
from proxy.turn import NO_PROBE, Turn, places

__all__ = ["ENTRIES", "TEND", "Fleet", "Snapshot", "Turn", "snapshot"]

ENTRIES = 10_000
"""The most names remembered; those that reloads have taken out are among them."""

TEND = 0.2
"""Seconds between two looks at the probes that are on their way."""


class Fleet:
    """Holds the snapshot, hands out turns and is told how they end.

    `name` is the replica's, `live` says how many replicas there are.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        clock: Clock,
        draw: random.Random,
        name: str = "replica",
        live: Callable[[], int] = lambda: 1,
    ) -> None:
        self.snapshot = snapshot
        self.in_flight: dict[str, int] = {}
        self.others: Mapping[str, int] = {}
        self.latencies = Latencies()
        self.throttle = Throttle(bounds.steps(snapshot.config.adaptive_concurrency))
        self.cluster_clock = ClusterClock(clock)
        self.outbox = Outbox()
        self.blunders = Blunders()
        self._untold = Untold(snapshot.health.rules)
        self.dirty = self._untold.dirty
        self.name = name
        self._clock = clock
        self._draw = draw
        self._probes = Probes(name)
        self._succeeded: dict[str, int] = {}
        self._places = Places(draw, live)
        self._live = live
        self._told: Mapping[str, int] = {}
        self._standings: dict[str, Standing] = {}
        self._standings_of: tuple[int, Health] = (0, snapshot.health)
        self._listeners: list[Callable[[], None]] = []
        self._hearers: list[Callable[[], None]] = []

    # What a pick needs to know: see `routing.Moment`.

    @property
    def health(self) -> Health:
        """The health of this moment, which moves on while a request keeps its snapshot."""
        return self.snapshot.health

    @property
    def calm(self) -> bool:
        """Whether nothing at all is known against anybody."""
        return not (self.snapshot.health.records or self.throttle or self._places)

    @property
    def tripped(self) -> bool:
        """Whether any circuit is not closed."""
        return self.snapshot.health.tripped

    def now(self) -> int:
        """The cluster's time in ms."""
        return self.cluster_clock.now()

    def standing(self, target: Target) -> Standing:
        """How it stands now."""
        now, health = self.now(), self.snapshot.health
        if self._standings_of[0] != now or self._standings_of[1] is not health:
            self._standings_of, self._standings = (now, health), {}
        standing = self._standings.get(target.id)
        if standing is None:
            standing = self._standings[target.id] = health.standing(target, now)
        if not self._places or not self._places.crowded(target.key_id):
            return standing
        until = self._places.wait(target.key_id, now)
        if until < standing.until:
            return standing
        return dataclasses.replace(
            standing, until=until, backing_off=True, rate=standing.rate and until <= now
        )

    def full(self, target: Target) -> bool:
        """Whether it has as many requests as it may have."""
        return self.throttle.full(target.id, self.in_flight.get(target.id, 0))

    def granted(self, target: Target) -> bool:
        """Whether this replica may send it its probe."""
        trial = self.standing(target).trial if self._probes else ()
        return bool(trial) and self._probes.granted(trial)

    def load(self, target: Target) -> float:
        """Requests in flight over the cluster, for its weight.

        What the others have was told a moment ago; since then they will have done as this one.
        """
        own, others = self.in_flight.get(target.id, 0), self.others.get(target.id, 0)
        since = (own - self._told.get(target.id, 0)) * (self._live() - 1)
        return max(own + others + since, own) / target.weight

    def latency(self, target: Target, *, whole: bool) -> float:
        """Seconds to its first content."""
        name, busy = latency.key(target.id, whole=whole), target.id in self.in_flight
        return self.latencies.of(name, self._clock.monotonic(), busy=busy)

    def tell_loads(self) -> tuple[dict[str, int], dict[str, float]]:
        """What this replica has in flight, by target, and what it knows of latencies: to be told now."""
        return dict(self.in_flight), self.latencies.told(self._clock.monotonic())

    def hear_loads(
        self, told: Mapping[str, int], busy: Mapping[str, int], latencies: Known, age: float = 0.0
    ) -> None:
        """What was in flight `age` seconds ago, here and at all others, and what those knew of latencies."""
        self._told, self.others = told, busy
        self.latencies.hear(latencies, self._clock.monotonic() - age)

    def renew(self, fresh: Snapshot) -> None:
        """Another configuration, from the next request on. What is known of targets stays known."""
        self.snapshot = fresh.knowing(self.health)
        self.throttle.steps = bounds.steps(fresh.config.adaptive_concurrency)
        self._untold.rules = self.health.rules
        self._changed()

    def twin(self) -> "Fleet":
        """A copy of what is known now, to try things on: nobody hears of what it does or learns."""
        twin = copy.copy(self)
        twin._part()  # noqa: SLF001  (its own kind)
        return twin

    def _part(self) -> None:
        """From here on go another way than the one that it is a copy of."""
        outbox, self.outbox, self._draw = self.outbox, Outbox(), copy.copy(self._draw)
        self.outbox.open = outbox.open
        self.blunders, self._untold = Blunders(), Untold(self.snapshot.health.rules)
        self.dirty, self._standings, self._listeners, self._hearers = self._untold.dirty, {}, [], []
        self.in_flight, self._succeeded = dict(self.in_flight), dict(self._succeeded)
        self.latencies, self.throttle = self.latencies.twin(), copy.deepcopy(self.throttle)
        self._probes, self._places = copy.deepcopy(self._probes), self._places.twin(self._draw)

    # Turns.

    def pick(self, plan: Plan, *, patient: bool = False) -> Turn | None:
        """The next of a plan, taken; None where none may be tried now.

        Where a half-open target would have been picked, its probe is asked for; it may come in a moment.
        `patient`: until it does nothing is taken for a plan of which no target was tried; see `awaits`.
        """
        asked = self.snapshot.health.tripped and self._ask(plan)
        if asked and patient and all(pick.came is not Came.TRIED for pick in plan.picks):
            return None
        chosen = plan.next(self)
        return self.take(chosen) if chosen is not None else None

    def _ask(self, plan: Plan) -> bool:
        """Ask for the probes that `plan` wants; whether the answer is still to come."""
        claims = self._probes.ask(self._trials(plan))
        self._tell(claims)
        return self._probes.awaited(claim.name for claim in claims)

    def awaits(self, plan: Plan) -> bool:
        """Whether a probe that `plan` wants is asked for, and the answer still to come: see `on_answer`."""
        return self.snapshot.health.tripped and self._probes.awaited(self._trials(plan))

    def _trials(self, plan: Plan) -> list[str]:
        return [name for target in plan.wanted(self) for name in self.standing(target).trial]

    def take(self, target: Target) -> Turn:
        """A place at `target`, whatever stands against it."""
        self.in_flight[target.id] = self.in_flight.get(target.id, 0) + 1
        probe: Mapping[str, str] = NO_PROBE
        if self._probes and self.granted(target):
            probe = self._probes.begin(self.standing(target).trial)
        first = target.limits is not None and places(target) > 0 and self._places.take(target.key_id)
        return Turn(target, self._clock.monotonic(), probe, first, epochs=self.health.epochs(target))

    def admitted(self, turn: Turn) -> None:
        """The key of its target had room for it."""
        if turn.asking:
            turn.asking = False
            self._places.answered(turn.target.key_id, self.now())
            self._changed()

    def crowded(self, target: Target) -> None:
        """Its key had no free place for a request, whose turn is over."""
        self._places.refused(target.key_id, places(target), self.now())
        self._changed()

    def report(self, turn: Turn, report: Report) -> None:
        """What the attempt taught."""
        target, busy = turn.target, self.in_flight.get(turn.target.id, 0)
        probe, turn.probe, turn.told = turn.probe, NO_PROBE, True
        if probe:
            self._probes.end(probe)
        if report.overload and target.id not in self.health.begun_anew(target, turn.epochs):
            self.throttle.overloaded(target.id, busy, turn.began, self._clock.monotonic())
        elif self.throttle and report.effect is Effect.SUCCESS and not report.late:
            self.throttle.succeeded(target.id, busy)
            self._changed()  # one more may be sent there
        if report.answered is not None:
            name = latency.key(target.id, whole=report.whole)
            self.latencies.observe(name, report.answered, self._clock.monotonic())
        if report.effect is Effect.SUCCESS:
            self._note(target.id)
            if not self.health.records:
                return
        anew = self.health.begun_anew(target, turn.epochs)
        learned = lessons(target, report, probe, self._draw)
        self._tell(change for change in learned if change.name not in anew)

    def end(self, turn: Turn) -> None:
        """The turn is over, however it went; a probe without a verdict gives its place up."""
        left = self.in_flight[turn.target.id] - 1
        if left:
            self.in_flight[turn.target.id] = left
        else:
            del self.in_flight[turn.target.id]
        self._leave(turn)
        if turn.probe:
            self._probes.end(turn.probe)
            self._tell([Change(Kind.RELEASE, name, token) for name, token in turn.probe.items()])
        self._changed()

    def _leave(self, turn: Turn) -> None:
        """Its place at the key is free."""
        most = places(turn.target)
        if most:
            if turn.asking:
                self._places.answered(turn.target.key_id, self.now())
            self._places.end(turn.target.key_id, most, self.now())

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever somebody may be picked who could not be before."""
        self._listeners.append(listener)

    # Probes.

    def on_answer(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever something that was told has been decided on, claims of probes too."""
        self._hearers.append(listener)

    async def run(self) -> None:
        """Tend the probes until cancelled."""
        while True:
            await asyncio.sleep(TEND)
            self.tend()

    def tend(self) -> None:
        """Renew the leases of the probes on their way, and give up those that nobody has used."""
        self._tell(self._probes.tend(self.now(), self.health.rules.lease))
        if self.throttle.tend(self._clock.monotonic()):
            self._changed()

    # What is known, and how it changes.

    def retire(self) -> None:
        """This replica ends: the probes it was granted and will not send are for others."""
        self._tell(self._probes.give_up())

    def order(self, target: Target, kind: Kind) -> None:
        """What an operator says of `target`: one of `circuit.ORDERS`. It holds here at once, and is told."""
        self._obey(Change(kind, target.id, epoch=self.now()))

    def reset(self, name: str) -> None:
        """The same of an origin or a key, for all its targets: it is what can be ordered of one of these."""
        self._obey(Change(Kind.RESET, name, epoch=self.now()))

    def _obey(self, order: Change) -> None:
        self._swap(self.health.after([order], self.now()))
        self._tell([order])

    def refuse(self, claims: Sequence[Change]) -> None:
        """Nobody knows what became of `claims`: they count as not granted, and a lease lapses by itself."""
        self._decided(claims, {})

    def _tell(self, changes: Iterable[Change]) -> None:
        known, now = self.health.records, self.now()
        told = []
        for change in changes:
            if change.kind is Kind.OK and change.name not in known and not change.token:
                continue  # nothing is remembered of it: there is nothing to mend
            if change.kind is Kind.FAIL and change.name in self._succeeded:
                change = _aged(change, now - self._succeeded[change.name])  # noqa: PLW2901  (the same, completed)
            epoch = known[change.name].reset_at if change.name in known else 0
            if epoch and change.kind not in ORDERS:
                change = msgspec.structs.replace(change, epoch=epoch)  # noqa: PLW2901  (the same, completed)
            told.append(change)
        if not told or not self.outbox.open:
            self.decide(told)
            return
        for change in told:
            self.outbox.put(change)
        self._untold.leaving(told)
        self._swap(self.health.after([change for change in told if change.kind in _AT_ONCE], now))

    def _note(self, name: str) -> None:
        if len(self._succeeded) >= ENTRIES:
            self._succeeded.clear()
        self._succeeded[name] = self.now()

    def decide(self, changes: Sequence[Change]) -> None:
        """Carry changes out here, for nobody else can. Orders hold already, and later ones may have come."""
        if changes:
            now = self.now()
            if self.outbox.carried:
                self.dirty.update(change.name for change in changes)
            self._swap(self.health.after([change for change in changes if change.kind not in ORDERS], now))
            self.answered(changes)

    def adopt(self, news: Mapping[str, Record | None], version: int) -> None:
        """The cluster has decided: records as of `version`, None for one that is forgotten."""
        self._swap(self._untold.adopted(self.health.records, news, (version, self.now())))

    def adopt_all(self, shared: Mapping[str, Record], version: int, *, lost: bool) -> None:
        """All that the cluster knows as of `version`. `lost`: it has forgotten something."""
        moment = (version, self.now())
        self._swap(self._untold.replaced(self.health.records, shared, moment, lost=lost))

    def doubt(self) -> None:
        """Another server speaks for the cluster: its versions are its own; what still counts is told."""
        records, now = self.health.records, self.now()
        rules = self.health.rules
        self.dirty.update(name for name, record in records.items() if not circuit.idle(record, rules, now))
        self._swap({name: msgspec.structs.replace(record, version=0) for name, record in records.items()})

    def merges(self) -> list[Change]:
        """What is marked, to be told now. If that fails it is decided here, which marks it again."""
        return self._untold.merges(self.health.records)

    def answered(self, changes: Sequence[Change]) -> None:
        """`changes` were carried out, and what came of them was adopted: a claim was granted or not."""
        self._untold.answered(changes)
        self._decided(changes, self.health.records)

    def _decided(self, changes: Sequence[Change], records: Mapping[str, Record]) -> None:
        if self._probes.answered(changes, records, self.now()):
            self._changed()
        for listener in self._hearers:
            listener()

    def _swap(self, records: dict[str, Record] | None) -> None:
        if records is None or records == self.health.records:
            return
        if len(records) > ENTRIES:
            now = self.now()
            kept = [(name, record) for name, record in records.items() if record.matters(now)]
            kept.sort(key=lambda one: one[1].drained)
            records = dict(kept[-ENTRIES // 2 :])
        before = self.health.records
        for name, record in records.items():
            if record.reset_at > before.get(name, NOTHING).reset_at:
                self.throttle.forget(name)
        health = dataclasses.replace(self.snapshot.health, records=records)
        self.snapshot = dataclasses.replace(self.snapshot, health=health)
        self._changed()

    def _changed(self) -> None:
        for listener in self._listeners:
            listener()


_AT_ONCE = frozenset({Kind.BACK_OFF, Kind.REFUSE})
"""What holds here before the cluster has heard of it: the next pick must not go there."""


def _aged(change: Change, age: int) -> Change:
    return msgspec.structs.replace(change, age=max(age, 0))
