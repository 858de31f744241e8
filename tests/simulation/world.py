"""READ THIS FIRST: one life of a cluster, from a seed.

Five replicas share what they know through one store. For `ENDED` seconds providers fall ill, the store and
the ways to it fail, clocks are set and replicas die; then nothing fails any more. `SETTLING` later everything
has to be well: in the last seconds every request succeeds, and then all replicas know what the store knows.
What must never happen is watched all the time (`invariants`), the rest is checked at the end (`rest`).
"""

import asyncio
import dataclasses
import random

from fakes import virtual_loop

from proxy.circuit import Kind
from proxy.peers import EVERY
from simulation import faults, rest
from simulation.clients import Clients
from simulation.faults import ENDED, Event, Order, Trouble
from simulation.invariants import Flights, ReplicaWatch, StoreWatch
from simulation.ledger import BrokenError, Ledger
from simulation.link import DEADLINE, SimLink
from simulation.providers import Provider, SimUpstream
from simulation.replica import Replica
from simulation.settings import RECONNECT, REPLICAS, SETTLING, STEP, TIMEOUTS, snapshot
from simulation.store import SimStore

WELL = ENDED + SETTLING
"""Seconds after which every request succeeds."""

LASTING = WELL + 4.0

ALONE = EVERY * 1.2 + DEADLINE + 0.1
"""Seconds after which a replica knows that it is without the store: it has asked, in vain."""

LOOK = 0.1
"""Seconds between two looks at what nobody tells."""


@dataclasses.dataclass(frozen=True, slots=True)
class Life:
    """What came of a seed."""

    plan: faults.Plan
    ledger: Ledger
    requests: int
    intruders: int

    @property
    def broken(self) -> list[str]:
        """What happened that must not."""
        return self.ledger.broken


class World:
    """All parts of one life."""

    def __init__(self, plan: faults.Plan) -> None:
        self.plan = plan
        self.ledger = Ledger()
        self._watch = StoreWatch(self.ledger)
        self.store = SimStore(self.ledger, self._watch)
        self.store.up = not plan.without
        self.replicas: dict[int, Replica] = {}
        self.flights = Flights(
            self.ledger, self.store, lambda: [replica.fleet for replica in self.replicas.values()]
        )
        self.providers = {
            name: Provider(name, episodes, random.Random(f"{name} {plan.seed}"))
            for name, episodes in plan.episodes.items()
        }
        self.clients = Clients(
            random.Random(f"clients {plan.seed}"), self.replicas, lambda: self.ledger.now >= WELL
        )
        self._loop = asyncio.get_running_loop()
        self._born = 0
        self._weather = plan.weather
        self._versions: dict[str, tuple[int, int]] = {}
        self._waited: dict[str, frozenset[int]] = {}
        self._unused: frozenset[str] = frozenset()
        self._works: list[asyncio.Task[None]] = []

    def _born_at(self, number: int) -> None:
        """A new replica takes the place of that number."""
        self._born += 1
        name = f"r{number}.{self._born}"
        draw = random.Random(f"{name} {self.plan.seed}")
        view = snapshot(self.plan.strategy)
        link = SimLink(
            name, self.store, self._weather, random.Random(f"link {name} {self.plan.seed}"), self.ledger
        )
        targets = {target.id: target for model in view.models.values() for target in model.targets}
        upstream = SimUpstream(self.providers, targets.values(), self.ledger, self.flights)
        replica = Replica(name, view, link, upstream, draw, self.ledger)
        replica.watched(ReplicaWatch(self.ledger, self._watch, replica.fleet, view.health.rules))
        self.replicas[number] = replica
        self.ledger.troubled()
        replica.start()

    async def live(self) -> None:
        """From the beginning to the end, or to what must not happen."""
        for number in range(REPLICAS):
            self._born_at(number)
        if self.plan.without:
            self._loop.call_later(2.0, self.store.start)
        for event in self.plan.events:
            self._loop.call_later(event.at, self._happen, event)
        for order in self.plan.orders:
            self._loop.call_later(order.at, self._order, order)
        self._loop.call_later(ENDED, self._calm)
        self._loop.call_later(ENDED + RECONNECT + STEP, self._restore)
        asking = asyncio.create_task(self.clients.run())
        looking = asyncio.create_task(self._look())
        try:
            async with asyncio.timeout(LASTING):
                await self.ledger.ended.wait()
        except TimeoutError:
            asking.cancel()
            await asyncio.sleep(TIMEOUTS["total"] + TIMEOUTS["max_stream"])
            self._rest()
        finally:
            for task in (asking, looking, *self._works):
                task.cancel()
            for replica in self.replicas.values():
                await replica.close()

    def _rest(self) -> None:
        for replica in self.replicas.values():
            if replica.busy:
                self.ledger.broke(replica.name, f"{replica.busy} requests never end")
        rest.check(self.ledger, self.store, self.replicas.values())

    # Faults.

    def _happen(self, event: Event) -> None:
        self.ledger.note(
            "fate", f"{event.trouble} of {event.replica} by {event.by:.3f} for {event.lasting:.3f} s"
        )
        replica = self.replicas.get(event.replica)
        if event.trouble is Trouble.STEP:
            self.store.step(event.by)
        elif event.trouble is Trouble.HUNG:
            self.store.hung_until = max(self.store.hung_until, self._loop.time() + event.lasting)
        elif event.trouble is Trouble.AWAY:
            self.store.stop()
            self._loop.call_later(event.lasting, self.store.start)
        elif event.trouble is Trouble.RESTART:
            self.store.restart()
        elif event.trouble is Trouble.FAILOVER:
            self.store.fail_over(event.by)
        elif replica is None:
            return
        elif event.trouble is Trouble.WALL:
            replica.clock.off += event.by
        elif event.trouble is Trouble.CUT:
            replica.link.cut(silent=event.silent)
            self._loop.call_later(event.lasting, replica.link.mend)
        else:
            self._works.append(asyncio.create_task(self._crash(event, replica)))

    async def _crash(self, event: Event, replica: Replica) -> None:
        del self.replicas[event.replica]
        await replica.crash()
        await asyncio.sleep(event.lasting)
        self._born_at(event.replica)

    def _order(self, order: Order) -> None:
        if self.replicas:
            replica = self.replicas.get(order.replica) or next(iter(self.replicas.values()))
            replica.order(order.target, order.kind, order.shared)

    def _restore(self) -> None:
        """An operator looks: an order may be lost with who was told, or have crossed another one."""
        replica = next(iter(self.replicas.values()))
        for number, target in enumerate(replica.targets):
            if any(each.fleet.standing(target).drained for each in self.replicas.values()):
                replica.order(number, Kind.RESTORE)

    def _calm(self) -> None:
        """Nothing fails any more."""
        self.ledger.note("fate", "the faults are over")
        self._weather = self.plan.weather.calmed
        self.store.up = True
        self.store.hung_until = 0.0
        for replica in self.replicas.values():
            replica.link.mend()
            replica.link.weather = self._weather

    # Looks.

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            for replica in self.replicas.values():
                self._alive(replica)
                self._version(replica)
                self._left_behind(replica)
                self._alike(replica)
                self._alone(replica)
            self._leases()

    def _alive(self, replica: Replica) -> None:
        """What runs in the background never ends."""
        for task in replica.background:
            if task.done():
                error = None if task.cancelled() else task.exception()
                self.ledger.broke(replica.name, f"{task.get_name()} has ended with {error!r}")

    def _version(self, replica: Replica) -> None:
        """The version that a replica knows only grows, but once for each loss of data."""
        version, falls = self._versions.get(replica.name, (0, 0))
        if replica.peers.version < version:
            falls += 1
        if falls > self.ledger.losses:
            self.ledger.broke(replica.name, f"knew version {version} and knows {replica.peers.version}")
        self._versions[replica.name] = (replica.peers.version, falls)

    def _left_behind(self, replica: Replica) -> None:
        """Nobody waits while a target of its plan is free: not at two looks in a row."""
        waiting = [waiter for queue in replica.waiting._queues.values() for waiter in queue.candidates()]
        fleet, now = replica.fleet, replica.fleet.now()
        free = frozenset(
            id(waiter)
            for waiter in waiting
            for target in (*waiter.plan._left, *waiter.plan._again)
            if fleet.standing(target).until <= now
            and not fleet.standing(target).trial
            and not fleet.full(target)
            and waiter.plan._after.get(target.id, 0) <= now
        )
        if free & self._waited.get(replica.name, frozenset()) and self.ledger.calm:
            self.ledger.broke(replica.name, "somebody waits for a target that is free")
        self._waited[replica.name] = free

    def _alone(self, replica: Replica) -> None:
        """Without the store it decides by itself."""
        if replica.link.away > ALONE and (replica.fleet.outbox.open or len(replica.fleet.outbox)):
            self.ledger.broke(replica.name, "is without the store, and waits for it to decide")

    def _leases(self) -> None:
        """Whoever holds a lease is about to use it, or has crashed: not so at two looks in a row."""
        now, unused = self.store.now(), set()
        for name, record in self.store.records.items():
            holder = record.probe.rpartition(".")[0]
            for replica in self.replicas.values():
                probes = replica.fleet._probes
                used = {**probes._claims, **probes._flying}.get(
                    name
                ) == record.probe or name in probes._grants
                if replica.name == holder and record.probing(now) and not used and not replica.telling:
                    unused.add(record.probe)
        if self._unused & unused and self.ledger.calm:
            self.ledger.broke("store", f"nobody uses the lease {min(self._unused & unused)}")
        self._unused = frozenset(unused)

    def _alike(self, replica: Replica) -> None:
        """Whoever knows the store's version knows what is in it, but for what it has just learned itself."""
        settled = self.ledger.calm and not self.ledger.skewed and not replica.telling
        if settled and replica.peers.version == self.store.version:
            for name, what in rest.differences(self.store, replica):
                self.ledger.broke(replica.name, f"knows version {self.store.version}, but of {name} {what}")


async def _live(plan: faults.Plan) -> Life:
    loop = asyncio.get_running_loop()
    world = World(plan)
    loop.set_exception_handler(lambda _, context: world.ledger.broke("loop", f"{context}"))
    await world.live()
    intruders = sum(provider.intruders for provider in world.providers.values())
    return Life(plan, world.ledger, world.clients.made, intruders)


def live(seed: int) -> Life:
    """The life of `seed`."""
    try:
        return virtual_loop.run(_live(faults.plan(seed)))
    except Exception as error:
        error.add_note(again(seed))
        raise


def again(seed: int) -> str:
    """How to see it once more."""
    return f"replay it: python tests/simulation/run.py --seed {seed}"


def check(seed: int) -> Life:
    """The life of `seed`, in which nothing happens that must not. Raises `BrokenError`."""
    life = live(seed)
    if life.broken:
        raise BrokenError(f"seed {seed}: {life.broken[0]}\n{again(seed)}\n{life.ledger.told(last=40)}")
    return life
