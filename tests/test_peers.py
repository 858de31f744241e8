"""Tests of `proxy.peers`: how knowledge spreads over a real store; what that cannot show, over a script."""

import asyncio
import contextlib
import math
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest
from fakes.configs import config, targets_of
from fakes.virtual_loop import LoopClock, run
from private_store import PrivateStore

from proxy import fleet
from proxy.circuit import Cause, Change, Kind, Record, State
from proxy.clock import SystemClock
from proxy.fleet import Fleet, Turn
from proxy.health import Effect, Report
from proxy.link import Link, Reason, ScriptError, Unavailable, parse
from proxy.link.cluster import slot_of
from proxy.peers import (
    AHEAD,
    CHANNEL,
    EVERY,
    HASH,
    LATE,
    LOADS,
    MOST,
    NEXT,
    OLD,
    SAID,
    SUM,
    TOGETHER,
    UNKNOWN,
    Load,
    Peers,
    Sum,
    load_scripts,
)
from proxy.targets import Target
from proxy.tasks import Tasks
from proxy.tenants import Tenants

SCRIPTS = load_scripts()
CONFIG = config({"a": 2, "b": 1}, strategy="least_busy")
ONE, TWO, OTHER = targets_of(CONFIG)
START = 1_800_000_000_000
"""Where the clock of the virtual loop begins, in ms."""

FAILED = Report(Effect.FAILURE)
FINE = Report(Effect.SUCCESS)
LIMITED = Report(Effect.BACK_OFF, 60.0)
FAILURES = CONFIG.health.failures


def made(name: str, clock: SystemClock | LoopClock, settings: Any = CONFIG) -> Fleet:
    """A fleet in which everything is healthy."""
    view = fleet.snapshot(settings, Tenants(settings.clients, b"pepper"), 7)
    return Fleet(view, clock, random.Random(name), name)


def teach(of: Fleet, *reports: Report, target: Target = ONE) -> None:
    """Attempts at a target that ended so."""
    for report in reports:
        turn = of.take(target)
        of.report(turn, report)
        of.end(turn)


def kept_away(of: Fleet, target: Target = ONE) -> bool:
    """Whether it would not ask there now."""
    return of.standing(target).until > of.now()


# Over a real store.


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of a server of this module's own."""
    with PrivateStore() as store:
        yield store.url


class Replica:
    """A fleet and its peers on a link of its own, with nothing in the background."""

    def __init__(self, name: str, url: str) -> None:
        self.tasks = Tasks()
        draw = random.Random(name)
        self.link = Link(
            parse(url), clock=SystemClock(), tasks=self.tasks, draw=draw, scripts=SCRIPTS.values()
        )
        self.fleet = made(name, SystemClock())
        self.peers = Peers(self.link, SCRIPTS, self.fleet, draw)
        self._changed = asyncio.Event()
        self.fleet.on_change(self._changed.set)
        self.link.on_change(lambda _: self._changed.set())

    async def share(self) -> None:
        """All of it, as `app` starts it."""
        await self.peers.poll()
        self.link.subscribe(CHANNEL, self.peers.hear, self._subscribed)
        self.tasks.spawn(self.peers.tell(), "tell")
        self.tasks.spawn(self.peers.listen(), "listen")

    async def listen(self) -> None:
        """Only to Pub/Sub: return when it does."""
        self.link.subscribe(CHANNEL, self.peers.hear, self._subscribed)
        await self.until(lambda: bool(self.link._subscriptions[0].subscribed))

    def _subscribed(self) -> None:
        self.peers.missed()
        self._changed.set()

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait for a change of the fleet or the link that makes it true."""
        async with asyncio.timeout(20):
            while not true():
                self._changed.clear()
                await self._changed.wait()

    async def available(self, *, now: bool) -> None:
        """Wait until the store is there, or is not."""
        await self.until(lambda: self.link.available is now)

    @property
    def records(self) -> dict[str, Record]:
        """What it knows."""
        return dict(self.fleet.health.records)


@contextlib.asynccontextmanager
async def cluster(url: str, *names: str) -> AsyncIterator[list[Replica]]:
    """Replicas on links to a store that holds nothing; each has asked once."""
    replicas = [Replica(name, url) for name in names]
    for replica in replicas:
        await replica.link.start()
    await replicas[0].link.call("FLUSHALL", [], [])
    try:
        for replica in replicas:
            await replica.peers.poll()
        yield replicas
    finally:
        for replica in replicas:
            await replica.link.close()
            await replica.tasks.close()


@pytest.mark.process
def test_what_one_learns_comes_by_message(url: str) -> None:
    """To those that listen, in the same version; who does not listen hears of it with the next poll."""

    async def scenario() -> None:
        async with cluster(url, "one", "two", "three") as (one, two, three):
            await two.listen()
            teach(one.fleet, LIMITED)
            teach(one.fleet, *[FAILED] * FAILURES, target=OTHER)
            await one.peers.flush()
            await two.until(lambda: kept_away(two.fleet) and kept_away(two.fleet, OTHER))
            assert two.records == one.records
            assert two.peers.version == one.peers.version > 0
            assert not kept_away(three.fleet)
            await three.peers.poll()
            assert three.records == one.records
            assert three.peers.version == one.peers.version

    asyncio.run(scenario())


@pytest.mark.process
def test_an_order_holds_for_all(url: str) -> None:
    """Also one that was given without the store, on a replica that knew less; a straggler undoes no reset."""

    async def scenario() -> None:
        async with cluster(url, "one", "two", "three") as (one, two, three):
            teach(one.fleet, LIMITED)
            teach(one.fleet, *[FAILED] * FAILURES)
            await one.peers.flush()
            await two.peers.poll()
            late = two.fleet.take(ONE)
            three.fleet.outbox.open = False
            three.fleet.order(ONE, Kind.RESET)
            three.fleet.order(TWO, Kind.DRAIN)
            assert three.fleet.dirty == {ONE.id, TWO.id}
            await three.peers.poll()
            two.fleet.report(late, Report(Effect.QUARANTINE_MODEL))
            await two.peers.flush()  # it had not heard of the reset
            for each in (one, two, three):
                await each.peers.poll()
                assert (kept_away(each.fleet), each.fleet.standing(TWO).drained) == (False, True)
                assert each.records == one.records
            one.fleet.order(TWO, Kind.RESTORE)
            await one.peers.flush()
            await three.peers.poll()
            assert not kept_away(three.fleet, TWO)

    asyncio.run(scenario())


@pytest.mark.process
def test_who_may_not_subscribe_polls(url: str) -> None:
    """Neither the one that tells nor the one that hears needs the channel."""

    async def scenario() -> None:
        async with cluster(url, "root") as (root,):
            await root.link.call(
                "ACL", ["SETUSER", "deaf"], ["on", ">secret", "~*", "+@all", "resetchannels"]
            )
            async with cluster(url.replace("unix://", "unix://deaf:secret@"), "one", "two") as (one, two):
                await two.share()
                teach(one.fleet, LIMITED)
                await one.peers.flush()
                await two.until(lambda: kept_away(two.fleet))
                assert two.records == one.records
                assert not two.link._subscriptions[0].subscribed

    asyncio.run(scenario())


@pytest.mark.process
def test_one_lease_for_one_replica(url: str) -> None:
    """All that would send a probe ask; the first is granted it, and all know whose it is."""

    async def scenario() -> None:
        async with cluster(url, "one", "two") as (one, two):
            now, _ = divmod(one.fleet.now(), 1)
            over = Record(open_until=now - 1, ejections=1, cause=Cause.CONSECUTIVE, version=1)
            await one.link.call("HSET", [HASH], [ONE.id, msgspec.json.encode(over), "@", 1])
            for replica in (one, two):
                await replica.peers.poll()
                assert replica.fleet.standing(ONE).trial == (ONE.id,)
            for replica in (one, two):
                replica.fleet.outbox.put(replica.fleet._probes.ask([ONE.id])[0])
            await one.peers.flush()
            await two.peers.flush()
            assert one.fleet.granted(ONE)
            assert not two.fleet.granted(ONE)
            await two.peers.poll()
            assert two.fleet.standing(ONE).probed_until > two.fleet.now()
            turn = one.fleet.take(ONE)
            one.fleet.report(turn, FINE)
            await one.peers.flush()
            await two.peers.poll()
            assert two.fleet.standing(ONE).trial == ()
            assert two.records == one.records

    asyncio.run(scenario())


@pytest.mark.process
def test_a_store_that_has_lost_everything_is_told_again() -> None:
    """By those that still know; who comes new then hears of it."""

    async def scenario(store: PrivateStore) -> None:
        async with cluster(store.url, "one", "two") as (one, two):
            for replica in (one, two):
                await replica.share()
            teach(one.fleet, LIMITED)
            await two.until(lambda: kept_away(two.fleet))
            generation = one.link.generation
            store.kill()
            store.start()
            new = Replica("new", store.url)
            await new.link.start()
            await new.share()
            await new.until(lambda: kept_away(new.fleet))
            assert kept_away(one.fleet)
            assert one.link.generation > generation or two.link.generation > generation
            await new.link.close()
            await new.tasks.close()

    with PrivateStore() as store:
        asyncio.run(scenario(store))


@pytest.mark.process
def test_without_the_store_everybody_decides_alone() -> None:
    """And tells it when the store is back: the others hear of it, and nobody's knowledge is lost."""

    async def scenario(store: PrivateStore) -> None:
        async with cluster(store.url, "one", "two") as (one, two):
            for replica in (one, two):
                await replica.listen()
            teach(two.fleet, FAILED, target=OTHER)
            await two.peers.flush()
            await one.until(lambda: OTHER.id in one.records)
            store.kill()
            for replica in (one, two):
                await replica.available(now=False)
                await replica.peers.poll()
            teach(one.fleet, *[FAILED] * FAILURES)
            teach(two.fleet, *[FAILED] * FAILURES, target=OTHER)
            assert kept_away(one.fleet)
            assert not kept_away(one.fleet, OTHER)
            store.start()
            for replica in (one, two, one):
                await replica.available(now=True)
                await replica.peers.poll()
            for replica in (one, two):
                assert kept_away(replica.fleet)
                assert kept_away(replica.fleet, OTHER)
                assert replica.fleet.outbox.open
                assert replica.fleet.dirty == set()

    with PrivateStore() as store:
        asyncio.run(scenario(store))


@pytest.mark.process
def test_loads_and_latencies_are_shared(url: str) -> None:
    """Each knows what all others are busy with, and not itself once more, as of the last sum of all."""

    async def scenario() -> None:
        async with cluster(url, "one", "two", "three") as (one, two, three):

            async def heard(*replicas: Replica) -> None:
                """Let all tell what they have, then make the sum anew and let these hear it."""
                for replica in (one, two, three):
                    await replica.peers.poll()
                await one.link.call("DEL", [SUM], [])
                for replica in replicas:
                    await replica.peers.poll()

            turns = [one.fleet.take(ONE), one.fleet.take(ONE), two.fleet.take(ONE)]
            one.fleet.report(turns[0], Report(Effect.SUCCESS, answered=2.0))
            await heard(one, two, three)
            assert [replica.fleet.others for replica in (one, two, three)] == [
                {ONE.id: 1},
                {ONE.id: 2},
                {ONE.id: 3},
            ]
            assert three.fleet.load(ONE) == 3 / ONE.weight
            assert three.fleet.latency(ONE, whole=False) == pytest.approx(2.0, rel=0.2)
            assert one.fleet.latencies._others == {}
            assert three.fleet.load(OTHER) == 0.0
            one.fleet.end(turns[0])
            await one.peers.poll()  # in no sum yet
            assert one.fleet.others == {ONE.id: 1}
            for replica, turn in ((one, turns[1]), (two, turns[2])):
                replica.fleet.end(turn)
            await heard(one, two, three)
            assert [replica.fleet.others for replica in (one, two, three)] == [{}, {}, {}]

    asyncio.run(scenario())


def test_all_that_polls_ask_for_is_on_one_server() -> None:
    """A cluster's scripts may only use keys of one slot."""
    assert len({slot_of(key) for key in (HASH, LOADS, SUM, NEXT)}) == 1


# Over a script.

Answer = Sequence[Any] | Exception
Told = tuple[str, list[Any]]


class Line:
    """A `peers.Link` that answers as it is told: what `answers` says for the script's name, or is away.

    While `held` is a future no answer is given.
    """

    def __init__(self) -> None:
        self.available = True
        self.generation = 0
        self.said: list[Told] = []
        self.at: list[float] = []
        self.held: asyncio.Future[None] | None = None
        self.answers: dict[str, Answer | Callable[[list[Any]], Answer]] = {
            "health": [START, b""],
            "poll": [START, b"0", [], []],
        }

    async def call(self, what: Any, keys: Sequence[str], args: Sequence[str | int | bytes]) -> Any:
        """Answer."""
        told = [SUM, NEXT] if what.name == "poll" and args[2] else []
        assert list(keys) == ([HASH] if what.name == "health" else [HASH, LOADS, *told])
        self.said.append((what.name, list(args)))
        self.at.append(asyncio.get_running_loop().time())
        answer = self.answers[what.name]
        answer = answer(list(args)) if callable(answer) else answer
        if self.held is not None:
            await self.held
        if isinstance(answer, Exception):
            raise answer
        return answer

    def told(self) -> list[list[Change]]:
        """The changes of each call so far, which are forgotten then."""
        said, self.said = self.said, []
        return [msgspec.json.decode(args[3], type=list[Change]) for name, args in said if name == "health"]


def alone(settings: Any = CONFIG) -> tuple[Line, Peers, Fleet]:
    """One replica on such a line."""
    line, of = Line(), made("me", LoopClock(), settings)
    return line, Peers(line, SCRIPTS, of, random.Random(1)), of


def message(before: int, version: int, *news: tuple[str, Record | None]) -> bytes:
    """As the script publishes it."""
    flat = [part for name, record in news for part in (name, False if record is None else record)]
    return msgspec.json.encode([before, version, START, *flat])


def polled(version: int, *records: tuple[str, Record]) -> list[Any]:
    """As `poll.lua` answers."""
    flat = [part for name, record in records for part in (name.encode(), msgspec.json.encode(record))]
    return [START, str(version).encode(), flat, []]


def opened(version: int, seconds: float = 5.0) -> Record:
    """An open circuit."""
    until = START + round(seconds * 1000)
    return Record(open_until=until, ejections=1, cause=Cause.CONSECUTIVE, version=version)


def closed(version: int) -> Record:
    """A circuit that a probe has closed."""
    return Record(ejections=1, closed_at=START, version=version)


def waiting(version: int, seconds: float = 5.0) -> Record:
    """A back-off window."""
    return Record(back_offs=1, back_off_until=START + round(seconds * 1000), version=version)


async def shares(line: Line, peers: Peers, *records: tuple[str, Record], version: int = 1) -> None:
    """Let it have asked once, and know all as of `version`."""
    line.answers["poll"] = polled(version, *records)
    await peers.poll()
    line.said.clear()


def known(line: Line) -> list[int]:
    """What it knew at each poll so far, which are forgotten then."""
    said, line.said = line.said, []
    return [args[0] for name, args in said if name == "poll"]


def test_messages_are_followed_from_one_version_to_the_next() -> None:
    """And what they say is known at once."""

    async def scenario() -> None:
        line, peers, of = alone()
        await shares(line, peers)
        peers.hear(message(1, 2, (ONE.id, opened(2))))
        peers.hear(message(2, 3, (TWO.id, opened(3)), (ONE.id, None)))
        assert peers.version == 3
        assert set(of.health.records) == {TWO.id}
        line.answers["poll"] = polled(3)
        await peers.poll()
        assert known(line) == [3]
        assert set(of.health.records) == {TWO.id}

    run(scenario())


def test_a_message_may_come_before_the_one_it_follows() -> None:
    """They come by two ways. The newer one of a name stays, and the version waits for the gap to close."""

    async def scenario() -> None:
        line, peers, of = alone()
        await shares(line, peers)
        peers.hear(message(3, 4, (ONE.id, closed(4)), (TWO.id, None)))
        peers.hear(message(2, 3, (ONE.id, opened(3)), (TWO.id, opened(3))))
        assert (peers.version, of.health.records) == (1, {ONE.id: closed(4)})
        peers.hear(message(1, 2, (ONE.id, opened(2))))
        assert (peers.version, of.health.records) == (4, {ONE.id: closed(4)})
        peers.hear(message(1, 2, (ONE.id, opened(2))))
        assert (peers.version, of.health.records) == (4, {ONE.id: closed(4)})

    run(scenario())


def test_what_a_lost_message_said_comes_with_the_next_poll() -> None:
    """All is read where the version is another; what was heard after that moment stays and is followed."""

    async def scenario() -> None:
        line, peers, of = alone()
        await shares(line, peers)
        peers.hear(message(2, 3, (ONE.id, opened(3))))
        peers.hear(message(3, 4, (TWO.id, opened(4)), (OTHER.id, None)))
        assert peers.version == 1
        line.answers["poll"] = polled(3, (ONE.id, opened(3)), (ONE.origin, opened(2)), (OTHER.id, opened(2)))
        await peers.poll()
        assert known(line) == [1]
        assert peers.version == 4
        assert set(of.health.records) == {ONE.id, TWO.id, ONE.origin}

    run(scenario())


def test_an_answer_that_messages_have_overtaken_says_nothing() -> None:
    """The store had not lost anything, it was asked before it knew: what is known by now stays."""

    async def scenario() -> None:
        line, peers, of = alone()
        await shares(line, peers)
        line.held = asyncio.get_running_loop().create_future()
        line.answers["poll"] = polled(2, (ONE.id, opened(2)))
        asking = asyncio.create_task(peers.poll())
        await asyncio.sleep(0)
        peers.hear(message(1, 2, (ONE.id, opened(2))))
        peers.hear(message(2, 3, (ONE.id, closed(3)), (TWO.id, waiting(3))))
        line.held.set_result(None)
        await asking
        assert peers.version == 3
        assert of.health.records == {ONE.id: closed(3), TWO.id: waiting(3)}
        assert of.dirty == set()

    run(scenario())


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\xff",
        b"hello",
        b"{}",
        b"[1, 2]",
        b'["a", "b", "c"]',
        b"[1, 2, 3, 4]",
        b'[1, 2, 3, "name"]',
        b'[1, 2, 3, "name", {"open_until": "soon"}]',
    ],
)
def test_what_cannot_be_read_is_asked_for(garbage: bytes) -> None:
    """Another version's message, or nobody's we know: everything is read anew, at once."""

    async def scenario() -> None:
        line, peers, of = alone()
        await shares(line, peers)
        listening = asyncio.create_task(peers.listen())
        await asyncio.sleep(0.01)
        line.answers["poll"] = polled(1, (ONE.id, opened(1)))
        peers.hear(garbage)
        await asyncio.sleep(0.01)
        listening.cancel()
        assert known(line) == [1, UNKNOWN]
        assert set(of.health.records) == {ONE.id}

    run(scenario())


def test_too_many_gaps_are_no_longer_waited_for() -> None:
    """Then all is read."""

    async def scenario() -> None:
        line, peers, _ = alone()
        await shares(line, peers)
        for number in range(AHEAD + 1):
            peers.hear(message(10 + 2 * number, 11 + 2 * number))
        await peers.poll()
        assert known(line) == [UNKNOWN]

    run(scenario())


def test_another_server_is_told_what_still_counts() -> None:
    """Whatever its versions are: they are its own. Who has closed a circuit meanwhile is believed."""

    async def scenario() -> None:
        line, peers, of = alone()
        records = [(ONE.id, opened(700)), (TWO.id, waiting(700)), (OTHER.id, closed(700))]
        await shares(line, peers, *records, version=700)
        line.generation += 1
        fresh = Record(failures=1, version=903)
        line.answers["poll"] = polled(903, (TWO.origin, opened(903)), (ONE.id, fresh))
        await peers.poll()
        (told,) = line.told()
        assert {ONE.id, TWO.id} <= {change.name for change in told if change.kind is Kind.MERGE}
        assert kept_away(of)
        assert {ONE.id, TWO.id, TWO.origin} <= of.health.records.keys()
        peers.hear(message(903, 904, (ONE.id, closed(904)), (TWO.id, None)))
        assert peers.version == 904
        assert of.health.records[ONE.id] == closed(904)
        assert kept_away(of, TWO)  # a window that is known never shrinks

    run(scenario())


def test_a_store_that_was_emptied_is_told_what_still_counts() -> None:
    """The same server, whose version is lower than it was."""

    async def scenario() -> None:
        line, peers, of = alone()
        await shares(line, peers, (ONE.id, opened(700)), (OTHER.id, closed(700)), version=700)
        line.answers["poll"] = polled(0)
        await peers.poll()
        assert [change.name for change in line.told()[0]] == [ONE.id]
        assert (set(of.health.records), peers.version) == ({ONE.id}, 0)

    run(scenario())


@pytest.mark.parametrize("error", [Unavailable(Reason.TIMEOUT), ScriptError("WRONGTYPE")])
def test_what_could_not_be_told_is_decided_here(error: Exception) -> None:
    """All that was to be told, and from then on everything; it is told when the store answers again."""

    async def scenario() -> None:
        line, peers, of = alone()
        await shares(line, peers)
        line.answers["health"] = error
        teach(of, *[FAILED] * FAILURES)
        assert not kept_away(of)
        await peers.flush()
        assert kept_away(of)
        assert repr(peers) == "<Peers alone, version 1, 0 to tell>"
        teach(of, LIMITED, target=OTHER)
        assert kept_away(of, OTHER)
        line.said.clear()
        line.answers["health"] = [START, b""]
        await peers.poll()
        merges = {change.name: change.record for change in line.told()[0]}
        assert set(merges) == {ONE.id, OTHER.id}
        assert merges[ONE.id] == of.health.records[ONE.id]
        assert of.dirty == set()
        assert repr(peers) == "<Peers shared, version 1, 0 to tell>"

    run(scenario())


def test_what_was_decided_alone_outlives_what_is_read() -> None:
    """The cluster knows the name, perhaps in a newer version: the later deadline counts until it is told."""

    async def scenario() -> None:
        line, peers, of = alone()
        await shares(line, peers, (ONE.id, closed(1)), (TWO.id, closed(1)))
        line.answers["poll"] = Unavailable(Reason.OPEN)
        await peers.poll()
        teach(of, *[FAILED] * FAILURES)
        teach(of, *[FAILED] * FAILURES, target=TWO)
        until = of.standing(ONE).until
        peers.hear(message(1, 2, (ONE.id, closed(2))))
        assert of.standing(ONE).until == until
        line.answers["poll"] = polled(3, (ONE.id, closed(2)), (TWO.id, opened(3, 900)))
        await peers.poll()
        assert of.standing(ONE).until == until
        assert of.standing(TWO).until == START + 900_000
        (told,) = line.told()
        assert {change.name for change in told} == {ONE.id, TWO.id}

    run(scenario())


def test_what_the_cluster_makes_of_it_is_read_at_once() -> None:
    """It may know better, and say nothing."""

    async def scenario() -> None:
        line, peers, of = alone()
        await shares(line, peers)
        line.answers["poll"] = Unavailable(Reason.OPEN)
        listening = asyncio.create_task(peers.listen())
        await asyncio.sleep(0)
        teach(of, FAILED)
        line.answers["poll"] = polled(1)
        await asyncio.sleep(2 * EVERY)
        listening.cancel()
        assert of.health.records == {}
        assert known(line)[:4] == [1, 1, UNKNOWN, 1]

    run(scenario())


def test_what_was_forgotten_alone_is_read_again() -> None:
    """What nothing stands against any more, as seen from here, may still count elsewhere."""

    async def scenario() -> None:
        line, peers, of = alone()
        quiet = Record(ok_at=START, version=1)
        await shares(line, peers, (ONE.id, quiet))
        line.answers["poll"] = Unavailable(Reason.OPEN)
        await peers.poll()
        teach(of, FINE)
        assert of.health.records == {}
        line.answers["poll"] = polled(1, (ONE.id, quiet))
        line.said.clear()
        await peers.poll()
        await peers.poll()
        assert known(line) == [1, UNKNOWN]
        assert of.health.records == {ONE.id: quiet}

    run(scenario())


def test_what_is_decided_while_it_is_told_is_told_as_well() -> None:
    """The next time."""

    async def scenario() -> None:
        line, peers, of = alone()
        await shares(line, peers)
        line.answers["poll"] = Unavailable(Reason.OPEN)
        await peers.poll()
        teach(of, *[FAILED] * FAILURES)
        line.answers["poll"] = polled(1)
        line.held = asyncio.get_running_loop().create_future()
        returning = asyncio.create_task(peers.poll())
        await asyncio.sleep(0)
        line.held.set_result(None)
        line.held = asyncio.get_running_loop().create_future()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        teach(of, LIMITED)
        line.held.set_result(None)
        await returning
        first, *rest = line.told()
        assert first[0].record is not None
        assert first[0].record.back_off_until == 0
        assert rest == []
        assert of.dirty == {ONE.id}
        await peers.poll()
        (again,) = line.told()
        assert again[0].record == of.health.records[ONE.id]
        assert of.dirty == set()

    run(scenario())


def test_what_could_not_be_told_on_return_stays_marked() -> None:
    """The store came back for a moment only."""

    async def scenario() -> None:
        line, peers, of = alone()
        await shares(line, peers)
        line.answers["poll"] = Unavailable(Reason.OPEN)
        await peers.poll()
        teach(of, *[FAILED] * FAILURES)
        record = of.health.records[ONE.id]
        line.answers |= {"poll": polled(1), "health": Unavailable(Reason.TIMEOUT)}
        await peers.poll()
        assert not of.outbox.open
        assert (of.dirty, of.health.records) == ({ONE.id}, {ONE.id: record})

    run(scenario())


def test_a_refusal_holds_until_the_cluster_has_heard_of_it() -> None:
    """A message that was on its way before does not end it."""

    async def scenario() -> None:
        line, peers, of = alone()
        await shares(line, peers, (ONE.key_id, closed(1)))
        teach(of, Report(Effect.QUARANTINE_KEY))
        until = of.standing(ONE).until
        peers.hear(message(1, 2, (ONE.key_id, Record(failures=1, version=2))))
        assert of.standing(ONE).until == until > START
        line.answers["health"] = [START, message(2, 3, (ONE.key_id, opened(3, 900)))]
        await peers.flush()
        assert of.health.records[ONE.key_id] == opened(3, 900)
        peers.hear(message(3, 4, (ONE.key_id, closed(4))))
        assert of.health.records[ONE.key_id] == closed(4)

    run(scenario())


def test_many_changes_leave_in_several_calls() -> None:
    """A script is to be short. What fails takes what would have followed with it, in its order."""

    async def scenario() -> None:
        line, peers, of = alone()
        await shares(line, peers)
        changes = [Change(Kind.FAIL, f"n{number}") for number in range(2 * MOST + 1)]
        for change in changes:
            of.outbox.put(change)
        await peers.flush()
        batches = line.told()
        assert [len(batch) for batch in batches] == [MOST, MOST, 1]
        assert [change for batch in batches for change in batch] == changes
        for change in changes:
            of.outbox.put(change)
        answers: Iterator[Answer] = iter([[START, b""], Unavailable(Reason.TIMEOUT)])
        line.answers["health"] = lambda _: next(answers)
        await peers.flush()
        assert [len(batch) for batch in line.told()] == [MOST, MOST]
        assert of.dirty == {change.name for change in changes[MOST:]}

    run(scenario())


def test_the_script_decides_by_the_bounds_of_the_moment() -> None:
    """A reload may change them; then the next call says so."""

    async def scenario() -> None:
        line, peers, of = alone()
        await shares(line, peers)
        told = []
        other = config({"a": 2}, health={"failures": 9})
        for view in (None, fleet.snapshot(other, Tenants(other.clients, b"pepper"), 7)):
            if view is not None:
                of.renew(view)
            of.outbox.put(Change(Kind.FAIL, "n"))
            await peers.flush()
            [(_, args)] = [said for said in line.said if said[0] == "health"]
            told.append(msgspec.json.decode(args[1])["failures"])
            line.said.clear()
        assert told == [FAILURES, 9]

    run(scenario())


def test_successes_wait_for_each_other_and_nothing_else_waits() -> None:
    """They are one change with a count; a failure leaves in the same moment, with what waited."""

    async def scenario() -> None:
        line, peers, of = alone()
        await shares(line, peers, (ONE.id, Record(failures=1, version=1)))
        loop = asyncio.get_running_loop()
        telling = asyncio.create_task(peers.tell())
        await asyncio.sleep(0)
        began = loop.time()
        for _ in range(3):
            teach(of, FINE)
        await asyncio.sleep(TOGETHER * 0.9)
        assert line.said == []
        await asyncio.sleep(TOGETHER * 0.2)
        assert line.told() == [[Change(Kind.OK, ONE.id, count=3)]]
        teach(of, FINE)
        teach(of, FAILED)
        await asyncio.sleep(0.001)
        telling.cancel()
        assert [[change.kind for change in batch] for batch in line.told()] == [[Kind.OK, Kind.FAIL]]
        assert line.at[-1] - began < TOGETHER * 1.2

    run(scenario())


def test_the_version_is_asked_for_every_half_second() -> None:
    """Give or take a fifth, so that replicas do not ask together; after a new subscription at once."""

    async def scenario() -> None:
        line, peers, _ = alone()
        listening = asyncio.create_task(peers.listen())
        await asyncio.sleep(60)
        line.said.clear()
        peers.missed()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        listening.cancel()
        assert known(line) == [UNKNOWN]
        pauses = [after - before for before, after in zip(line.at, line.at[1:-1], strict=False)]
        assert len(pauses) == pytest.approx(60 / EVERY, rel=0.1)
        assert min(pauses) >= EVERY * 0.8
        assert max(pauses) <= EVERY * 1.2 + 1e-6
        assert max(pauses) - min(pauses) > EVERY * 0.2

    run(scenario())


def test_what_is_missed_while_it_asks_is_asked_for() -> None:
    """The answer may be older than the subscription."""

    async def scenario() -> None:
        line, peers, _ = alone()
        await shares(line, peers)
        line.held = asyncio.get_running_loop().create_future()
        listening = asyncio.create_task(peers.listen())
        await asyncio.sleep(0)
        peers.missed()
        line.held.set_result(None)
        await asyncio.sleep(0.01)
        listening.cancel()
        assert known(line) == [1, UNKNOWN]

    run(scenario())


def test_a_probe_is_granted_by_the_answer() -> None:
    """What a claim came to is adopted first; one that nobody could decide on is decided here."""

    async def scenario() -> None:
        line, peers, of = alone()
        over = Record(open_until=START - 1, ejections=1, cause=Cause.CONSECUTIVE, version=1)
        await shares(line, peers, (ONE.id, over), (OTHER.id, over))
        (claim,) = of._probes.ask([ONE.id])
        of.outbox.put(claim)
        granted = msgspec.structs.replace(over, probe=claim.token, probe_until=START + 9_000, version=2)
        line.answers["health"] = [START, message(1, 2, (ONE.id, granted))]
        await peers.flush()
        assert of.granted(ONE)
        line.answers["health"] = Unavailable(Reason.TIMEOUT)
        of.outbox.put(of._probes.ask([OTHER.id])[0])
        await peers.flush()
        assert not of.granted(OTHER)  # others may reach the store, and it may have been granted there
        line.available = False
        of.outbox.put(of._probes.ask([OTHER.id])[0])
        await peers.flush()
        assert of.granted(OTHER)
        assert of.health.records[OTHER.id].state(of.now()) is State.HALF_OPEN

    run(scenario())


def test_loads_are_told_where_a_strategy_asks_for_them() -> None:
    """What is in flight here, and how long targets take; nothing where nobody would look at it."""

    async def scenario() -> None:
        line, peers, of = alone()
        turn: Turn = of.take(ONE)
        of.report(turn, Report(Effect.SUCCESS, answered=2.0000004))
        await peers.poll()
        ((_, (version, name, load, old)),) = line.said
        assert (version, name, old) == (UNKNOWN, "me", OLD)
        assert msgspec.json.decode(load, type=Load) == Load({ONE.id: 1}, {ONE.id: 2.0}, 1)
        of.renew(fleet.snapshot(config({"a": 2, "b": 1}), of.snapshot.tenants, 8))
        of.hear_loads({}, {ONE.id: 1}, {TWO.id: (1.0, 1)})
        await peers.poll()
        assert line.said[1][1][2] == b""
        assert (of.others, of.latency(TWO, whole=False)) == ({}, 0.0)

    run(scenario())


def test_only_loads_that_a_strategy_asks_for_are_told() -> None:
    """Not of targets that none of its models has, nor of those that a reload has taken out."""

    async def scenario() -> None:
        line, peers, of = alone()
        for target in (ONE, TWO, OTHER):
            of.report(of.take(target), Report(Effect.SUCCESS, answered=1.0))
            of.report(of.take(target), Report(Effect.SUCCESS, answered=2.0, whole=True))
        entries = [{"provider": name, "model": f"{name}-model"} for name in "ab"]
        settings = config(
            {"a": 1, "b": 1},
            models={
                "asks": {"strategy": "least_latency", "providers": entries[:1]},
                "other": {"strategy": "weighted", "providers": entries},
            },
        )
        of.renew(fleet.snapshot(settings, of.snapshot.tenants, 8))
        await peers.poll()
        ((_, (_, _, load, _)),) = line.said
        assert msgspec.json.decode(load, type=Load) == Load(
            {ONE.id: 2}, {ONE.id: 1.0, f"{ONE.id} whole": 2.0}, 1
        )

    run(scenario())


def summed(of: Sum, number: int = 0, begun: int = START) -> list[Any]:
    """As `poll.lua` answers where a load is told."""
    return [START, b"0", [], [begun, msgspec.json.encode(of), str(number).encode() if number else b""]]


def test_what_one_has_told_oneself_is_taken_out_of_the_sum() -> None:
    """As it was counted, not as it is by now; the mean of a latency is that of the others."""

    async def scenario() -> None:
        line, peers, of = alone()
        of.report(of.take(ONE), Report(Effect.SUCCESS, answered=2.0))
        of.report(of.take(OTHER), Report(Effect.SUCCESS, answered=0.5))
        await peers.poll()
        of.take(ONE)
        everybody = Sum(
            {ONE.id: 6, TWO.id: 1, OTHER.id: 1}, {ONE.id: (12.0, 3), TWO.id: (4.0, 2), OTHER.id: (0.5, 1)}
        )
        line.answers["poll"] = summed(everybody, 1, START - 10_000)
        await peers.poll()
        assert of.others == {ONE.id: 5, TWO.id: 1}
        assert of.load(ONE) == 7 / ONE.weight
        assert of.latencies._others.keys() == {ONE.id, TWO.id}
        assert of.latency(ONE, whole=False) == 5.0  # it is busy, so its silence is no good news
        assert of.latency(TWO, whole=False) == pytest.approx(2.0 / math.e)
        line.answers["poll"] = summed(everybody, 2)
        await peers.poll()
        assert of.others == {ONE.id: 4, TWO.id: 1}

    run(scenario())


def test_a_sum_without_ones_own_load_is_that_of_the_others() -> None:
    """One has come since, was silent for too long, or the store has lost everything."""

    async def scenario() -> None:
        line, peers, of = alone()
        of.take(ONE)
        for _ in range(2):
            line.answers["poll"] = summed(Sum({ONE.id: 3}, {ONE.id: (4.0, 2)}), begun=START + 1)
            await peers.poll()
            assert of.others == {ONE.id: 3}
            assert of.load(ONE) == 4 / ONE.weight
            assert of.latency(ONE, whole=False) == 2.0

    run(scenario())


def test_what_was_heard_stays_where_a_sum_says_nothing() -> None:
    """None is made yet, nobody can read it, or what is in it was told too long ago or by nobody here."""

    async def scenario() -> None:
        line, peers, of = alone()
        line.answers["poll"] = summed(Sum({ONE.id: 3}, {}))
        await peers.poll()
        for answer in (
            [START, b"0", [], []],
            [START, b"0", [], [START, b"{", b""]],
            summed(Sum({ONE.id: 9}, {}), 77),
        ):
            line.answers["poll"] = answer
            await peers.poll()
            assert of.others == {ONE.id: 3}

    run(scenario())


def test_an_answer_that_was_lost_makes_no_difference() -> None:
    """The load may have come there: which one is in a sum is said by the sum."""

    async def scenario() -> None:
        line, peers, of = alone()
        for number in (1, 2, 3):
            of.take(ONE)
            line.answers["poll"] = Unavailable(Reason.TIMEOUT)
            await peers.poll()
            for counted in range(1, number + 1):
                line.answers["poll"] = summed(Sum({ONE.id: 10}, {}), counted)
                await peers.poll()
                assert of.others == {ONE.id: 10 - peers._said[counted].in_flight[ONE.id]}
        for _ in range(SAID):
            await peers.poll()
        assert len(peers._said) == SAID

    run(scenario())


def test_what_one_has_said_is_kept_while_it_may_be_in_a_sum() -> None:
    """Longer than a load is counted; what is far behind one that was heard comes no more."""
    assert SAID * EVERY * 0.8 * 1000 > OLD

    async def scenario() -> None:
        line, peers, _ = alone()
        for _ in range(SAID - 1):
            await peers.poll()
        line.answers["poll"] = summed(Sum({}, {}), SAID - 1)
        await peers.poll()
        assert sorted(peers._said) == list(range(SAID - 1 - LATE, SAID + 1))
        line.answers["poll"] = summed(Sum({}, {}))
        await peers.poll()
        assert sorted(peers._said) == list(range(SAID - 1 - LATE, SAID + 2))

    run(scenario())


def test_the_cluster_clock_is_set_by_every_answer() -> None:
    """That of the store, and of another store from its first word on."""

    async def scenario() -> None:
        line, peers, of = alone()
        line.answers["poll"] = [START + 60_000, b"0", [], []]
        await peers.poll()
        assert of.now() == START + 60_000
        line.answers["health"] = [START + 90_000, b""]
        teach(of, FAILED)
        await peers.flush()
        assert of.now() == START + 90_000
        line.generation += 1
        line.answers["poll"] = [START + 1_000, b"0", [], []]
        await peers.poll()
        assert of.now() == START + 1_000

    run(scenario())
