"""Who probes where requests come only now and then: rooms and fleets of replicas that decide together."""

import asyncio
import itertools
import random

import msgspec
import pytest
from fakes.configs import MODEL, config
from fakes.virtual_loop import LoopClock, passed, run

from proxy import circuit, fleet
from proxy.circuit import NOTHING, Record
from proxy.fleet import Fleet, Turn
from proxy.health import Effect, Report
from proxy.moment import Came
from proxy.probes import GRACE
from proxy.routing import Plan
from proxy.tenants import Tenants
from proxy.throttle import _Limit
from proxy.waiting import ANSWER, Place, WaitingRoom

ROUND_TRIP = 0.002
SERVED = 0.1
"""Seconds that a provider takes."""

FAILED, FINE = Report(Effect.FAILURE), Report(Effect.SUCCESS)
HEALTH = {"failures": 2, "ejection": "1s", "slow_start": "0s"}


class Replica:
    """One of them, where requests come that get a turn and end it."""

    def __init__(self, name: str, providers: str) -> None:
        made = config(dict.fromkeys(providers, 1), strategy="ordered", health=HEALTH)
        snapshot = fleet.snapshot(made, Tenants(made.clients, b"pepper"), 7)
        self.fleet = Fleet(snapshot, LoopClock(), random.Random(1), name)
        self.room = WaitingRoom(self.fleet, made.queue)
        self.first, *_ = self.targets = snapshot.models[MODEL].targets

    def plan(self) -> Plan:
        """A request's plan."""
        return Plan(self.fleet.snapshot.models[MODEL], random.Random(1))

    async def turn(self, plan: Plan, patience: float = 2.0) -> Turn | None:
        """A turn, as the pipeline asks for it."""
        found = self.room.now(MODEL, plan)
        return found or await self.room.turn(Place(MODEL, "client", lambda: 1), plan, patience)

    def end(self, turn: Turn, report: Report = FINE) -> None:
        """What came of it."""
        self.fleet.report(turn, report)
        self.fleet.end(turn)

    async def serve(self, patience: float = 2.0) -> str:
        """A request: which provider answered it, or that none did."""
        turn = await self.turn(self.plan(), patience)
        if turn is None:
            return "nobody"
        await asyncio.sleep(SERVED)
        self.end(turn)
        return turn.target.provider

    @property
    def probing(self) -> int:
        """Its probes that are on their way."""
        return len(self.fleet._probes._flying)


class Cluster:
    """What one tells takes a round trip; then all know what came of it. `silent`: nothing comes of it."""

    def __init__(self, providers: str, replicas: int = 1) -> None:
        self.replicas = [Replica(f"r{number}", providers) for number in range(replicas)]
        self.records: dict[str, Record] = {}
        self.version = 0
        self.silent = False
        for each in self.replicas:
            self._carry(each.fleet)

    def _carry(self, teller: Fleet) -> None:
        loop = asyncio.get_running_loop()

        def leave() -> None:
            loop.call_later(ROUND_TRIP, self._decide, teller)

        teller.outbox.on_urgent(leave)
        teller.outbox.open = True

    def _decide(self, teller: Fleet) -> None:
        changes, self.version = teller.outbox.take(), self.version + 1
        if self.silent:
            return
        for change in changes:
            known = self.records.get(change.name, NOTHING)
            after = circuit.apply(known, change, teller.health.rules, teller.now())
            self.records[change.name] = msgspec.structs.replace(after, version=self.version)
        for each in self.replicas:
            each.fleet.adopt(dict(self.records), self.version)
        teller.answered(changes)

    async def eject(self) -> Replica:
        """The first target fails until it is ejected, and that is over. One of the replicas."""
        one = self.replicas[0]
        for _ in range(2):
            one.end(one.fleet.take(one.first), FAILED)
        await asyncio.sleep(1.5)
        assert one.fleet.standing(one.first).trial
        return one


@pytest.mark.parametrize("providers", ["a", "ab"])
@pytest.mark.parametrize("patience", [0.0, 2.0])
def test_who_asks_for_a_probe_is_the_probe(providers: str, patience: float) -> None:
    """With others that could serve and without, however short requests may wait: after a round trip."""

    async def scenario() -> None:
        one = await Cluster(providers).eject()
        began = passed()
        assert await one.serve(patience) == "a"
        assert passed() - began == pytest.approx(ROUND_TRIP + SERVED)
        await asyncio.sleep(2 * ROUND_TRIP)
        began = passed()
        assert await one.serve(patience) == "a"
        assert passed() - began == pytest.approx(SERVED)  # its circuit is closed: nobody is asked

    run(scenario())


@pytest.mark.parametrize("providers", ["a", "ab"])
@pytest.mark.parametrize("pause", [0.3, 1.5, 60.0])
def test_the_first_request_of_the_cluster_brings_a_target_back(providers: str, pause: float) -> None:
    """However rarely one comes, and at whichever replica each time."""

    async def scenario() -> None:
        cluster = Cluster(providers, replicas=3)
        await cluster.eject()
        for replica in (*cluster.replicas[1:], cluster.replicas[0]):
            assert await replica.serve(0.0) == "a"
            await asyncio.sleep(pause)

    run(scenario())


def test_one_probe_is_on_its_way_in_the_cluster() -> None:
    """Of many that ask in one moment at all replicas; the others go elsewhere, at most a round trip later."""

    async def scenario() -> None:
        cluster = Cluster("ab", replicas=3)
        await cluster.eject()
        asked = [asyncio.create_task(each.serve()) for each in cluster.replicas * 4]
        most, began = 0, passed()
        for _ in range(20):
            most = max(most, sum(each.probing for each in cluster.replicas))
            await asyncio.sleep(0.001)
        assert most == 1
        assert sorted(await asyncio.gather(*asked)) == ["a"] + ["b"] * 11
        assert passed() - began <= 2 * ROUND_TRIP + SERVED

    run(scenario())


def test_only_who_asks_waits_for_the_answer() -> None:
    """Whoever comes meanwhile, or has tried another target before, goes where it can at once."""

    async def scenario() -> None:
        one = await Cluster("abc").eject()
        tried = one.plan()
        tried._left.remove(one.first)
        assert tried.next(one.fleet) is one.targets[1]
        tried.came(Came.TRIED)
        tried._left.insert(0, one.first)
        for plan, place in ((tried, 2), (one.plan(), 1)):
            turn = one.room.now(MODEL, plan)
            assert turn is not None
            assert turn.target is one.targets[place]
        assert one.fleet.awaits(one.plan())

    run(scenario())


def test_a_probe_that_another_has_is_not_waited_for() -> None:
    """Neither is it asked for."""

    async def scenario() -> None:
        one, two = (cluster := Cluster("ab", replicas=2)).replicas
        await cluster.eject()
        probe = await one.turn(one.plan())
        assert probe is not None
        assert probe.probe
        found = two.room.now(MODEL, two.plan())
        assert found is not None
        assert (found.target, len(two.fleet.outbox)) == (two.targets[1], 0)

    run(scenario())


def test_an_answer_that_does_not_come_is_not_waited_for_long() -> None:
    """Then it goes elsewhere, or is refused; and at once where it is said that nobody knows."""

    async def scenario(providers: str, expected: str) -> None:
        cluster = Cluster(providers)
        one = await cluster.eject()
        cluster.silent = True
        serving = asyncio.create_task(one.serve(0.0))
        began = passed()
        assert await serving == expected
        assert passed() - began == pytest.approx(ANSWER + SERVED * (expected != "nobody"))
        one.fleet.outbox.open = False
        one.fleet.refuse([circuit.Change(circuit.Kind.CLAIM, *next(iter(one.fleet._probes._claims.items())))])
        assert await one.serve(0.0) == "a"  # it decides by itself

    run(scenario("a", "nobody"))
    run(scenario("ab", "b"))


def test_who_leaves_while_it_is_asked_leaves_the_probe_to_the_next() -> None:
    """In this replica at once; in others when it has been given up, which is soon."""

    async def scenario(at: int, pause: float) -> None:
        cluster = Cluster("ab", replicas=2)
        one = await cluster.eject()
        leaving = asyncio.create_task(one.serve())
        await asyncio.sleep(0)
        leaving.cancel()
        tending = asyncio.create_task(one.fleet.run())
        await asyncio.sleep(pause)
        assert await cluster.replicas[at].serve() == "a"
        tending.cancel()

    run(scenario(0, 2 * ROUND_TRIP))
    run(scenario(1, GRACE / 1000 + 2 * fleet.TEND))


def test_a_probe_that_fails_is_followed_by_one_probe_for_each_ejection() -> None:
    """At one request in 1.5 s: each goes there that comes after the end of an ejection, and no other."""

    async def scenario() -> None:
        cluster = Cluster("ab", replicas=3)
        await cluster.eject()
        asked: list[bool] = []
        ejected: list[bool] = []
        for replica in itertools.islice(itertools.cycle(cluster.replicas), 30):
            standing = replica.fleet.standing(replica.first)
            ejected.append(standing.until > replica.fleet.now())
            turn = await replica.turn(replica.plan())
            assert turn is not None
            asked.append(turn.target is replica.first)
            replica.end(turn, FAILED if asked[-1] else FINE)
            await asyncio.sleep(1.5)
        assert asked == [not each for each in ejected]
        assert 4 <= sum(asked) <= 10

    run(scenario())


def test_who_waits_already_goes_before_who_has_waited_for_a_probe() -> None:
    """A place becomes free in the very moment in which nobody has said who probes."""

    async def life() -> list[str]:
        cluster = Cluster("ab")
        one = await cluster.eject()
        cluster.silent = True
        second = one.targets[1]
        one.fleet.throttle._limits[second.id] = _Limit(1.0, passed())
        held = one.fleet.take(second)
        tried = one.plan()
        tried._left.remove(one.first)
        got: list[str] = []

        async def waits(name: str, plan: Plan) -> None:
            if await one.turn(plan) is not None:
                got.append(name)

        async with asyncio.TaskGroup() as group:
            group.create_task(waits("earlier", tried))
            await asyncio.sleep(0)
            group.create_task(waits("later", one.plan()))
            await asyncio.sleep(0)
            asyncio.get_running_loop().call_later(ANSWER, one.fleet.end, held)
        return got

    assert run(life()) == ["earlier"]
