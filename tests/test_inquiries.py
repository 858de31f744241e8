import asyncio
import contextlib
import random
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakes.virtual_loop import LoopClock, run
from private_store import PrivateStore

from proxy.clock import SystemClock
from proxy.inquiries import CHANNEL, DEAF, LARGEST, MOST, PATIENCE, RATE, TRIES, Inquiries, Letter, Silence
from proxy.link import Argument, Link, Reason, ScriptError, Unavailable, parse
from proxy.tasks import Tasks

sys.path.append(str(Path(__file__).with_name("cluster")))

from stores import cluster_set, sentinel_set


class Ear:
    """A channel that is listened to, or not yet."""

    def __init__(self, handler: Callable[[bytes], None]) -> None:
        self.handler = handler
        self.subscribed = True


class Bus:
    """Redis as far as it is used: messages take a millisecond.

    `error` is what calls meet; the next `failing` of them have no answer in time.
    """

    def __init__(self) -> None:
        self.ears: dict[str, Ear] = {}
        self.sent: list[tuple[str, Letter]] = []
        self.error: Exception | None = None
        self.failing = 0
        self.calls = 0
        self.clustered = False

    def subscribe(self, channel: str, handler: Callable[[bytes], None]) -> Ear:
        """Listen."""
        self.ears[channel] = Ear(handler)
        return self.ears[channel]

    async def call(self, what: Any, keys: Sequence[Argument], args: Sequence[Argument]) -> int:
        """PUBLISH; on a Cluster whoever listens does so on another node."""
        assert (what, list(keys)) == ("PUBLISH", [])
        channel, payload = args
        assert isinstance(payload, bytes)
        self.calls += 1
        if self.failing:
            self.failing -= 1
            raise Unavailable(Reason.TIMEOUT)
        if self.error is not None:
            raise self.error
        self.sent.append((str(channel), msgspec.msgpack.decode(payload, type=Letter)))
        ear = self.ears.get(str(channel))
        if ear is None:
            return 0
        asyncio.get_running_loop().call_later(0.001, ear.handler, payload)
        return 0 if self.clustered else 1


def upper(question: bytes) -> bytes | None:
    """An answer to everything but silence."""
    return question.upper() or None


class Cluster:
    """Three replicas, which answer so."""

    def __init__(self, answer: Callable[[bytes], bytes | None] = upper) -> None:
        self.bus = Bus()
        self.tasks = Tasks()
        self.one, self.two, self.three = (
            Inquiries(self.bus, name, LoopClock(), self.tasks, answer) for name in ("one", "two", "three")
        )
        for each in (self.one, self.two, self.three):
            each.start()


def test_each_asks_each() -> None:
    """And gets the answer to what it asked; nobody else hears of it."""

    async def scenario() -> None:
        cluster = Cluster()
        asked = [
            (each, name, f"{each} asks {name}".encode())
            for each in (cluster.one, cluster.two, cluster.three)
            for name in ("one", "two", "three")
        ]
        answers = await asyncio.gather(*(each.ask(name, question) for each, name, question in asked))
        assert answers == [question.upper() for *_, question in asked]
        assert len(cluster.bus.sent) == 12
        assert repr(cluster.one) == "<Inquiries of one, 0 waiting>"

    run(scenario())


def test_what_nobody_knows() -> None:
    """The other says so at once; one's own answer needs no Redis."""

    async def scenario() -> None:
        cluster = Cluster()
        assert await cluster.one.ask("two", b"") is Silence.UNKNOWN
        assert asyncio.get_running_loop().time() == pytest.approx(1_000.002)
        cluster.bus.error = Unavailable(Reason.OPEN)
        assert await cluster.one.ask("one", b"") is Silence.UNKNOWN
        assert await cluster.one.ask("one", b"me") == b"ME"

    run(scenario())


@pytest.mark.parametrize(
    ("there", "patience"),
    [(True, PATIENCE), (False, DEAF)],
)
def test_a_replica_that_does_not_answer(there: bool, patience: float) -> None:
    """It is waited for, not as long where the server has said that nobody listens."""

    async def scenario() -> None:
        cluster = Cluster()
        if there:
            cluster.bus.subscribe(CHANNEL + "gone", lambda _: None)
        began = asyncio.get_running_loop().time()
        assert await cluster.one.ask("gone", b"who") is Silence.NOBODY
        assert asyncio.get_running_loop().time() - began == pytest.approx(patience)
        assert repr(cluster.one) == "<Inquiries of one, 0 waiting>"

    run(scenario())


def test_on_a_cluster_the_server_knows_only_its_own_listeners() -> None:
    """Nobody seems to hear, and the answer comes all the same."""

    async def scenario() -> None:
        cluster = Cluster()
        cluster.bus.clustered = True
        assert await cluster.one.ask("two", b"x") == b"X"

    run(scenario())


@pytest.mark.parametrize("error", [Unavailable(Reason.OPEN), ScriptError("ERR unknown command")])
def test_without_redis_nothing_is_waited_for(error: Exception) -> None:
    """Nor before it listens to its own channel, where the answer would come."""

    async def scenario() -> None:
        cluster = Cluster()
        cluster.bus.error = error
        assert await cluster.one.ask("two", b"x") is Silence.AWAY
        cluster.bus.error = None
        cluster.bus.ears[CHANNEL + "one"].subscribed = False
        assert await cluster.one.ask("two", b"x") is Silence.AWAY
        mute = Inquiries(cluster.bus, "mute", LoopClock(), cluster.tasks, upper)
        assert await mute.ask("two", b"x") is Silence.AWAY
        assert cluster.bus.sent == []
        assert asyncio.get_running_loop().time() == 1_000.0

    run(scenario())


def test_one_late_call_does_not_mean_that_redis_is_away() -> None:
    """The question is sent once more, and so is the answer; two in a row do."""

    async def scenario() -> None:
        cluster = Cluster()
        cluster.bus.failing = 1
        assert await cluster.one.ask("two", b"x") == b"X"
        asking = asyncio.create_task(cluster.one.ask("two", b"x"))
        await asyncio.sleep(0)
        cluster.bus.failing = 1
        assert await asking == b"X"
        cluster.bus.failing = TRIES
        assert await cluster.one.ask("two", b"x") is Silence.AWAY
        assert (cluster.bus.failing, cluster.bus.calls) == (0, 3 + 3 + TRIES)

    run(scenario())


def test_what_redis_forbids_is_not_tried_again() -> None:
    """It would be forbidden again."""

    async def scenario() -> None:
        cluster = Cluster()
        cluster.bus.error = ScriptError("NOPERM no permission to access the channel")
        assert await cluster.one.ask("two", b"x") is Silence.AWAY
        assert cluster.bus.calls == 1

    run(scenario())


def test_a_question_that_was_carried_twice_is_answered_once() -> None:
    """Nobody hears of the second answer."""

    async def scenario() -> None:
        cluster = Cluster()
        asking = asyncio.create_task(cluster.one.ask("two", b"x"))
        await asyncio.sleep(0)
        channel, question = cluster.bus.sent[0]
        cluster.bus.ears[channel].handler(msgspec.msgpack.encode(question))
        assert await asking == b"X"
        await asyncio.sleep(1)
        assert [letter.body for _, letter in cluster.bus.sent] == [b"x", b"X", b"X"]
        assert await cluster.one.ask("two", b"y") == b"Y"

    run(scenario())


def test_an_answer_that_cannot_be_sent_is_lost() -> None:
    """And whoever answers lives on."""

    async def scenario() -> None:
        cluster = Cluster()
        asking = asyncio.create_task(cluster.one.ask("two", b"x"))
        await asyncio.sleep(0)
        cluster.bus.error = Unavailable(Reason.TIMEOUT)
        assert await asking is Silence.NOBODY
        cluster.bus.error = None
        assert await cluster.one.ask("two", b"x") == b"X"

    run(scenario())


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xc1",
        b"hello",
        msgspec.msgpack.encode([1, "three"]),
        msgspec.msgpack.encode(["1", "three", b""]),
        msgspec.msgpack.encode([1, "three", None]),
        msgspec.msgpack.encode([1 << 63, "", b"x"]),
        msgspec.msgpack.encode([1, "", b"x" * (LARGEST + 2_000)]),
        b"\x93\x01\xa2\xff\xff\xc4\x01x",
    ],
)
def test_what_is_no_letter_is_dropped(message: bytes) -> None:
    """As is an answer to what nobody asked."""

    async def scenario() -> None:
        cluster = Cluster()
        cluster.two.hear(message)
        await asyncio.sleep(0)
        assert (len(cluster.tasks), cluster.bus.sent) == (0, [])
        assert await cluster.one.ask("two", b"x") == b"X"

    run(scenario())


def test_a_second_answer_is_dropped() -> None:
    """As is one that comes too late."""

    async def scenario() -> None:
        cluster = Cluster()
        asking = asyncio.create_task(cluster.one.ask("two", b"x"))
        await asyncio.sleep(0)
        number = cluster.bus.sent[0][1].id
        for body in (b"first", b"second"):
            cluster.one.hear(msgspec.msgpack.encode(Letter(number, "", body)))
        assert await asking == b"first"
        await asyncio.sleep(1)
        assert await cluster.one.ask("two", b"y") == b"Y"

    run(scenario())


def test_an_answer_that_fails_stops_nobody() -> None:
    """Whoever asked waits in vain; the next question is answered."""

    def answer(question: bytes) -> bytes:
        if question == b"bad":
            raise ValueError(question)
        return b"good"

    async def scenario() -> None:
        cluster = Cluster(answer)
        assert await cluster.one.ask("two", b"bad") is Silence.NOBODY
        assert await cluster.one.ask("two", b"x") == b"good"

    run(scenario())


def test_sizes_are_bounded() -> None:
    """Of questions and of answers."""

    async def scenario() -> None:
        cluster = Cluster(lambda question: bytes(int(question)))
        assert await cluster.one.ask("two", b" " * LARGEST + b"1") is Silence.BUSY
        assert await cluster.one.ask("two", str(LARGEST).encode()) == bytes(LARGEST)
        assert await cluster.one.ask("two", str(LARGEST + 1).encode()) is Silence.UNKNOWN

    run(scenario())


def test_a_flood_is_bounded() -> None:
    """Here so many wait at a time; there so many are answered in a second, whoever asks."""

    async def scenario() -> None:
        cluster = Cluster()
        found = await asyncio.gather(*(cluster.one.ask("two", b"x") for _ in range(MOST + 1)))
        assert found.count(b"X") == RATE
        assert found.count(Silence.NOBODY) == MOST - RATE
        assert found[MOST] is Silence.BUSY
        assert await cluster.three.ask("two", b"x") == b"X"  # two seconds later

    run(scenario())


# Over real servers.


@contextlib.asynccontextmanager
async def replicas(url: str, *names: str) -> AsyncIterator[list[Inquiries]]:
    """Replicas on links of their own, which listen; each answers with its name and what it was asked."""
    tasks, links, found = Tasks(), [], []
    for name in names:
        link = Link(parse(url), clock=SystemClock(), tasks=tasks, draw=random.Random(name))
        links.append(link)
        await link.start(5.0)

        def answer(question: bytes, name: str = name) -> bytes | None:
            return name.encode() + b" " + question if question else None

        found.append(Inquiries(link, name, SystemClock(), tasks, answer))
        found[-1].start()
    try:
        async with asyncio.timeout(20):
            while not all(link._subscriptions[0].subscribed for link in links):  # noqa: ASYNC110  (no event)
                await asyncio.sleep(0.005)
        yield found
    finally:
        for link in links:
            await link.close()
        await tasks.close()


async def each_asks_each(url: str) -> None:
    """All of three, all at once, with questions and answers as large as they may be."""
    names = ("one", "two", "three")
    async with replicas(url, *names) as found:
        large = random.Random(1).randbytes(64 * 1024)
        for question in (b"hello", large):
            for asker in found:
                answers = [await asker.ask(name, question) for name in names]
                assert answers == [name.encode() + b" " + question for name in names]
        many = [(asker, name, str(n).encode()) for n in range(4) for asker in found for name in names]
        answers = await asyncio.gather(*(asker.ask(name, question) for asker, name, question in many))
        assert answers == [name.encode() + b" " + question for _, name, question in many]
        assert await found[0].ask("two", b"") is Silence.UNKNOWN
        assert await found[0].ask("nobody", b"x") is Silence.NOBODY


@pytest.fixture(scope="module")
def store() -> Iterator[PrivateStore]:
    """A server of this module's own."""
    with PrivateStore() as store:
        yield store


@pytest.mark.process
def test_three_ask_each_other_over_a_server(store: PrivateStore) -> None:
    """As with the bus above."""
    asyncio.run(each_asks_each(store.url))


@pytest.mark.process
def test_a_server_that_goes_and_comes_back(store: PrivateStore) -> None:
    """Meanwhile nobody waits for an answer; then it goes on by itself."""

    async def scenario() -> None:
        async with replicas(store.url, "one", "two") as (one, _):
            store.kill()
            async with asyncio.timeout(20):
                while await one.ask("two", b"x") is not Silence.AWAY:
                    pass
            store.start()
            async with asyncio.timeout(20):
                while await one.ask("two", b"x") != b"two x":  # noqa: ASYNC110  (what is waited for is no event)
                    await asyncio.sleep(0.01)

    asyncio.run(scenario())


@pytest.mark.cluster
@pytest.mark.timeout(120)
def test_three_ask_each_other_over_a_cluster() -> None:
    """Whichever nodes they happen to listen at."""
    with cluster_set() as cluster:
        asyncio.run(each_asks_each(cluster.url))


@pytest.mark.cluster
@pytest.mark.timeout(120)
def test_three_ask_each_other_behind_sentinels() -> None:
    """At the primary."""
    with sentinel_set() as sentinels:
        asyncio.run(each_asks_each(sentinels.url))
