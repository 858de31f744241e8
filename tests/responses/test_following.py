import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from fakes.virtual_loop import LoopClock, passed, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.errors import Refusal
from proxy.link import Change, Link, Reason, State, Unavailable
from proxy.responses import keyspace
from proxy.responses.background import BackgroundRuns
from proxy.responses.document import encode
from proxy.responses.following import LATER, PATIENCE, STEADY, Following
from proxy.responses.store import Outcome, ResponseStore, Rules
from responses.shelves import SCRIPTS, SETTINGS, Line, bury, fresh_owner, replicas, response, sealer
from responses.test_background import begun, lapse, read_all

AWAY = Unavailable(Reason.TIMEOUT)
EVENTS = [(number, b"event %d" % number) for number in range(150)]


@pytest.mark.process
def test_a_response_whose_replica_has_gone_is_failed(url: str) -> None:
    """For every reader, and its events come to an end that says so."""

    async def scenario() -> None:
        owner = fresh_owner()
        async with replicas(url, "gone", "two", "three") as (gone, two, three):
            await gone.begin(owner, begun())
            await gone.runs.append(owner, "resp_1", EVENTS[:3])
            await lapse(two, owner, "resp_1")
            found = await two.following.load(owner, "resp_1")
            assert found is not None
            assert (found.status, found.replica) == ("failed", "gone")
            assert await three.following.load(owner, "resp_1") == found
            assert await read_all(three, owner) == [*EVENTS[:3], (3, b"failed 3")]

    asyncio.run(scenario())


@pytest.mark.process
def test_readers_who_find_it_together_declare_it_failed_once(url: str) -> None:
    """One of them is heard; all see the same."""

    async def scenario() -> None:
        owner = fresh_owner()
        async with replicas(url, "gone", "two", "three") as (gone, two, three):
            for number in range(20):
                id_ = f"resp_{number}"
                await gone.begin(owner, begun(id_))
                await lapse(gone, owner, id_)
                found, streams = await asyncio.gather(
                    asyncio.gather(*(one.following.load(owner, id_) for one in (two, three, two))),
                    asyncio.gather(*(read_all(one, owner, id_) for one in (two, three))),
                )
                assert [one.status for one in found if one is not None] == ["failed"] * 3
                assert streams == [[(0, b"failed 0")]] * 2

    asyncio.run(scenario())


@pytest.mark.process
def test_a_replica_that_was_only_slow_finds_it_failed(url: str) -> None:
    """What it has to say comes too late, and it is told to stop."""

    async def scenario() -> None:
        owner = fresh_owner()
        async with replicas(url, "slow", "two") as (slow, two):
            await slow.begin(owner, begun("resp_1"))
            await slow.begin(owner, begun("resp_2"))
            for id_ in ("resp_1", "resp_2"):
                await lapse(slow, owner, id_)
                await two.following.load(owner, id_)
            assert await slow.runs.finish(owner, response("resp_1"), EVENTS[:1]) is Outcome.GONE
            await slow.runs.beat()
            assert [id_ for id_, _ in slow.stops] == ["resp_2"]
            assert await read_all(two, owner) == [(0, b"failed 0")]

    asyncio.run(scenario())


@pytest.mark.process
def test_a_slow_replica_that_is_heard_first_goes_on(url: str) -> None:
    """A lapsed lease alone ends nothing."""

    async def scenario() -> None:
        owner = fresh_owner()
        async with replicas(url, "slow", "two") as (slow, two):
            await slow.begin(owner, begun())
            await lapse(slow, owner, "resp_1")
            own = await slow.following.load(owner, "resp_1")
            assert own is not None
            assert own.running
            done = response("resp_1", background=True)
            assert await slow.runs.finish(owner, done) is Outcome.STORED
            assert await two.following.load(owner, "resp_1") == done

    asyncio.run(scenario())


@pytest.mark.process
def test_right_after_an_outage_nobody_is_declared_dead(url: str) -> None:
    """All leases have lapsed then: those who live are given time to say so."""

    async def scenario() -> None:
        owner = fresh_owner()
        async with replicas(url, "one", "two") as (one, two):
            await one.begin(owner, begun())
            await lapse(one, owner, "resp_1")
            two.following._changed(Change(State.CLOSED, "", Reason.OPEN, ""))
            two.clock.advance(STEADY - 0.1)
            found = await two.following.load(owner, "resp_1")
            assert found is not None
            assert found.running
            two.clock.advance(0.1)
            found = await two.following.load(owner, "resp_1")
            assert found is not None
            assert found.status == "failed"

    asyncio.run(scenario())


@pytest.mark.process
def test_a_run_without_a_trace_is_failed(url: str) -> None:
    """A server that evicts may drop it and keep the document."""

    async def scenario() -> None:
        owner = fresh_owner()
        async with replicas(url, "gone", "two") as (gone, two):
            await gone.begin(owner, begun())
            await gone.link.call("DEL", [f"{keyspace.index(owner)}:run:resp_1"])
            found = await two.following.load(owner, "resp_1")
            assert found is not None
            assert found.status == "failed"

    asyncio.run(scenario())


@pytest.mark.process
def test_a_follower_sees_everything_once_and_in_order(url: str) -> None:
    """Whether it comes before, during or after, on whichever replica, from wherever it starts."""

    async def scenario() -> None:
        owner = fresh_owner()
        async with replicas(url, "one", "two", "three") as (one, two, three):
            two.listen()
            await one.begin(owner, begun())
            followers = [asyncio.create_task(read_all(each, owner)) for each in (two, three)]
            for number in range(0, 150, 30):
                await one.runs.append(owner, "resp_1", EVENTS[number : number + 30])
                followers.append(asyncio.create_task(read_all(two, owner, after=number + 3)))
                await asyncio.sleep(0.02)
            await one.runs.finish(owner, response("resp_1", background=True), [(150, b"done")])
            async with asyncio.timeout(20):
                seen = await asyncio.gather(*followers)
            expected = [*EVENTS, (150, b"done")]
            assert seen == [expected, expected, *(expected[number + 4 :] for number in range(0, 150, 30))]
            assert await read_all(three, owner) == expected
            assert await read_all(three, owner, after=149) == [(150, b"done")]
            assert await read_all(three, owner, after=150) == []
            assert await read_all(three, owner, after=2**53) == []

    asyncio.run(scenario())


class Troubled(Link):
    """A link on which calls are lost on their way there or back."""

    def __init__(self, inner: Link) -> None:
        self._inner = inner
        self.trouble = ""

    def on_change(self, listener: object) -> None:
        """Nothing ever changes."""

    async def call(self, what: Any, keys: Any = (), args: Any = ()) -> Any:
        """Run a script, or only half of it."""
        if self.trouble == "away":
            raise AWAY
        said = await self._inner.call(what, keys, args)
        if self.trouble == "lost":
            raise AWAY
        return said


CALLS = st.lists(st.tuples(st.integers(1, 8), st.sampled_from(["", "lost", "away"])), max_size=8)


@pytest.mark.process
@settings(
    max_examples=25,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(calls=CALLS, after=st.integers(-1, 20))
def test_however_it_is_told_it_is_read_right(url: str, calls: list[tuple[int, str]], after: int) -> None:
    """Said twice, cut elsewhere, answered to nobody: no event is lost and none doubled."""

    async def scenario() -> None:
        owner = fresh_owner()
        async with replicas(url, "one", "two") as (one, two):
            line = Troubled(one.link)
            store = ResponseStore(line, SCRIPTS, one.store.sealer, one.store.rules)
            runs = BackgroundRuns(store, line)
            assert await runs.begin(owner, begun(), lambda _: None) is Outcome.STORED
            told = 0
            for count, line.trouble in calls:
                await runs.append(owner, "resp_1", EVENTS[told : told + count])
                told += count
            line.trouble = ""
            done = response("resp_1", background=True)
            assert await runs.finish(owner, done, [(told, b"done")]) is Outcome.STORED
            expected = [*EVENTS[:told], (told, b"done")]
            assert await read_all(two, owner, after=after) == expected[after + 1 :]

    asyncio.run(scenario())


@pytest.mark.process
def test_events_that_have_expired_end_a_stream(url: str) -> None:
    """The response itself is still there."""

    async def scenario() -> None:
        owner = fresh_owner()
        async with replicas(url) as (one,):
            await one.begin(owner, begun())
            await one.runs.finish(owner, response("resp_1", background=True), EVENTS[:2])
            index = keyspace.index(owner)
            await one.link.call("DEL", [f"{index}:events:resp_1", f"{index}:run:resp_1"])
            assert await read_all(one, owner) == []
            assert await read_all(one, owner, "resp_9") == []

    asyncio.run(scenario())


@pytest.mark.process
def test_a_strange_event_is_an_error(url: str) -> None:
    """And not passed on."""

    async def scenario() -> None:
        owner = fresh_owner()
        async with replicas(url) as (one,):
            await one.begin(owner, begun())
            await one.link.call("XADD", [f"{keyspace.index(owner)}:events:resp_1"], ["1-0", "e", "?"])
            with pytest.raises(Refusal) as caught:
                await read_all(one, owner)
            assert caught.value.code == "store_unreadable"

    asyncio.run(scenario())


@pytest.mark.process
def test_an_outcome_is_waited_for(url: str) -> None:
    """For as long as one may; of the end one hears at once."""

    async def scenario() -> None:
        owner = fresh_owner()
        async with replicas(url, "one", "two") as (one, two):
            await one.begin(owner, begun())
            found = await two.following.outcome(owner, "resp_1", 0.0)
            assert found is not None
            assert found.running
            waiting = asyncio.create_task(two.following.outcome(owner, "resp_1", 60.0))
            await asyncio.sleep(0)
            done = response("resp_1", status="cancelled", background=True)
            await one.runs.finish(owner, done)
            async with asyncio.timeout(20):
                assert await waiting == done
            assert await two.following.outcome(owner, "resp_2", 60.0) is None

    asyncio.run(scenario())


# On a line that answers as it is told.


def follower(*answers: object) -> tuple[Line, Following]:
    """A reader in virtual time."""
    line = Line(*answers)
    store = ResponseStore(line, SCRIPTS, sealer(), Rules(SETTINGS, "one"))
    return line, Following(store, BackgroundRuns(store, line), line, LoopClock(), bury)


def told(state: bytes, *sequences: int) -> list[object]:
    """What responses_read.lua says."""
    name = keyspace.name("me", "resp_1")
    names = [b"%d-0" % (at + 1) for at in sequences]
    events = [sealer().seal(b"%d" % at, keyspace.event(name, at)) for at in sequences]
    flat = [part for pair in zip(names, events, strict=True) for part in pair]
    return [state, max(sequences, default=-1), *flat]


async def followed(reader: Following) -> list[int]:
    """The numbers of all events."""
    return [sequence async for sequence, _ in reader.read_events("me", "resp_1")]


def test_an_outage_in_the_middle_of_a_stream_is_waited_out() -> None:
    """Nothing is missing or doubled after it."""

    async def scenario() -> None:
        line, reader = follower(told(b"running", 0, 1), *[AWAY] * 40, told(b"ended", 2))
        assert await followed(reader) == [0, 1, 2]
        assert line.said[-1][2][1] == "3-0"

    run(scenario())


@pytest.mark.parametrize(
    ("before", "seconds"), [([], 0.0), ([told(b"running", 0)], PATIENCE)], ids=["at once", "in the middle"]
)
def test_an_outage_that_lasts_is_told(before: list[object], seconds: float) -> None:
    """At once where nothing was told yet."""

    async def scenario() -> None:
        _, reader = follower(*before, *[AWAY] * 1_000)
        with pytest.raises(Refusal) as caught:
            await followed(reader)
        assert caught.value.status == 503
        assert seconds <= passed() <= seconds + 1.0

    run(scenario())


def test_a_silent_stream_is_looked_at_less_often() -> None:
    """But often enough."""

    async def scenario() -> None:
        _, reader = follower(told(b"running", 0), *[told(b"running")] * 400, told(b"ended", 1))
        assert await followed(reader) == [0, 1]
        assert 400 * LATER * 0.95 < passed() < 400 * LATER

    run(scenario())


@pytest.mark.parametrize("word", ["ended", "cancel"])
def test_a_message_ends_the_wait(word: str) -> None:
    """A reader does not sit out its pause."""

    async def scenario(hear: Callable[[Following], None]) -> None:
        _, reader = follower(told(b"running", 0), told(b"ended", 1))
        asyncio.get_running_loop().call_later(0.01, hear, reader)
        assert await followed(reader) == [0, 1]
        assert passed() < 0.02

    message = f"{word} {keyspace.name('me', 'resp_1')}".encode()
    run(scenario(lambda reader: reader._runs.hear(message)))


def test_a_reader_that_leaves_leaves_nothing() -> None:
    """Nobody is told any more."""

    async def scenario() -> None:
        _, reader = follower(told(b"running", 0, 1))
        events = reader.read_events("me", "resp_1")
        assert await anext(events) == (0, b"0")
        await events.aclose()
        assert repr(reader._runs.news) == "<News of 0>"

    run(scenario())


def test_a_failure_that_cannot_be_stored_is_503() -> None:
    """Nothing waits in the outbox for it: the next reader finds it."""

    async def scenario() -> None:
        sealed = sealer().seal(encode(begun()), keyspace.name("me", "resp_1").encode())
        _, reader = follower([sealed], told(b"lapsed", 4), AWAY)
        await asyncio.sleep(STEADY)
        with pytest.raises(Refusal) as caught:
            await reader.load("me", "resp_1")
        assert caught.value.status == 503
        assert len(reader._store.outbox) == 0

    run(scenario())


def test_what_does_not_run_in_the_background_is_not_looked_after() -> None:
    """It costs no call."""

    async def scenario() -> None:
        _, reader = follower()
        for stored in (response("resp_1"), msgspec.structs.replace(begun(), background=False)):
            assert await reader.checked("me", stored) is stored

    run(scenario())
