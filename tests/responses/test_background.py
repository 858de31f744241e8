import asyncio

import pytest
from fakes.virtual_loop import run
from private_store import PrivateStore

from proxy.errors import Refusal
from proxy.link import Reason, Unavailable
from proxy.responses import keyspace
from proxy.responses.background import EVERY, BackgroundRuns, Standing
from proxy.responses.document import Stored
from proxy.responses.outbox import Event
from proxy.responses.store import LEASE_S, Outcome, ResponseStore, Rules
from responses.shelves import SCRIPTS, SETTINGS, Line, Replica, fresh_owner, replicas, response, sealer

AWAY = Unavailable(Reason.OPEN)


def begun(id_: str = "resp_1", size: int = 0) -> Stored:
    """A response that has just begun."""
    return response(id_, size=size, status="in_progress", background=True)


async def lapse(replica: Replica, owner: str, id_: str) -> None:
    """Let the lease of a response end, as if its replica had died long ago."""
    key = f"{keyspace.index(owner)}:run:{id_}"
    await replica.link.call("HSET", [key], ["until", 1])


async def read_all(replica: Replica, owner: str, id_: str = "resp_1", after: int = -1) -> list[Event]:
    """All events to the last."""
    return [event async for event in replica.following.read_events(owner, id_, after)]


def alone(*answers: object) -> tuple[Line, BackgroundRuns, list[Standing]]:
    """What runs on a line that answers so, and what was told to stop."""
    line = Line(*answers)
    store = ResponseStore(line, SCRIPTS, sealer(), Rules(SETTINGS, "one"))
    return line, BackgroundRuns(store, line), []


# Over a real store.


@pytest.mark.process
def test_a_response_is_read_anywhere_from_its_beginning_to_its_end(url: str) -> None:
    """Each as it stands by now, with the name of who runs it."""

    async def scenario() -> None:
        owner = fresh_owner()
        async with replicas(url, "one", "two") as (one, two):
            queued = response("resp_1", status="queued", background=True)
            assert await one.begin(owner, queued) is Outcome.STORED
            found = await two.following.load(owner, "resp_1")
            assert found is not None
            assert (found.status, found.replica) == ("queued", "one")
            assert await one.begin(owner, begun()) is Outcome.STORED
            assert len(one.runs) == 1
            found = await two.following.load(owner, "resp_1")
            assert found is not None
            assert found.status == "in_progress"
            done = response("resp_1", background=True)
            assert await one.runs.finish(owner, done, [(0, b"done")]) is Outcome.STORED
            assert await two.following.load(owner, "resp_1") == done
            assert (len(one.runs), one.stops) == (0, [])

    asyncio.run(scenario())


@pytest.mark.process
def test_nobody_else_can_end_it(url: str) -> None:
    """Neither a replica that does not run it, nor one that has finished it, nor another client."""

    async def scenario() -> None:
        owner, other = fresh_owner(), fresh_owner()
        async with replicas(url, "one", "two") as (one, two):
            await one.begin(owner, begun())
            assert await two.begin(owner, begun()) is Outcome.GONE
            assert await two.runs.append(owner, "resp_1", [(0, b"x")]) is Standing.LOST
            assert await two.runs.finish(owner, begun()) is Outcome.GONE
            assert await two.runs.cancel(other, "resp_1") is False
            assert await one.runs.cancel(other, "resp_1") is False
            assert await one.runs.append(other, "resp_1", [(0, b"x")]) is Standing.LOST
            assert await one.runs.finish(owner, begun(), [(0, b"x")]) is Outcome.STORED
            assert await one.runs.finish(owner, begun(), [(1, b"x")]) is Outcome.GONE
            assert await read_all(two, owner) == [(0, b"x")]
            assert await read_all(two, other) == []

    asyncio.run(scenario())


@pytest.mark.process
def test_a_cancel_is_heard_at_once(url: str) -> None:
    """By the replica that runs it, wherever it was asked for."""

    async def scenario() -> None:
        owner = fresh_owner()
        async with replicas(url, "one", "two") as (one, two):
            one.listen()
            stopped = asyncio.get_running_loop().create_future()
            await one.runs.begin(owner, begun(), stopped.set_result)
            async with asyncio.timeout(20):
                while not one.link._subscriptions[0].subscribed:  # noqa: ASYNC110  (no event)
                    await asyncio.sleep(0.005)
                assert await two.runs.cancel(owner, "resp_1") is True
                assert await stopped is Standing.CANCELLED
            assert await one.runs.finish(owner, response("resp_1", status="cancelled")) is Outcome.STORED
            assert await two.runs.cancel(owner, "resp_1") is False

    asyncio.run(scenario())


@pytest.mark.process
def test_a_cancel_that_was_not_heard_is_found_out(url: str) -> None:
    """With the next event, or the next sign of life; told once."""

    async def scenario() -> None:
        owner = fresh_owner()
        async with replicas(url, "one", "two") as (one, two):
            await one.begin(owner, begun("resp_1"))
            await one.begin(owner, begun("resp_2"))
            assert await two.runs.cancel(owner, "resp_1")
            assert await two.runs.cancel(owner, "resp_2")
            assert await one.runs.append(owner, "resp_1", [(0, b"x")]) is Standing.CANCELLED
            await one.runs.beat()
            await one.runs.beat()
            assert sorted(one.stops) == [("resp_1", Standing.CANCELLED), ("resp_2", Standing.CANCELLED)]

    asyncio.run(scenario())


@pytest.mark.process
def test_what_is_deleted_while_it_runs_is_stopped_and_not_kept(url: str) -> None:
    """Nothing comes back."""

    async def scenario() -> None:
        owner = fresh_owner()
        async with replicas(url, "one", "two") as (one, two):
            await one.begin(owner, begun())
            await one.runs.append(owner, "resp_1", [(0, b"x")])
            assert await two.store.delete(owner, "resp_1")
            assert await one.runs.append(owner, "resp_1", [(1, b"x")]) is Standing.LOST
            assert one.stops == [("resp_1", Standing.LOST)]
            assert await one.runs.finish(owner, response("resp_1")) is Outcome.GONE
            assert await two.following.load(owner, "resp_1") is None
            assert await read_all(two, owner) == []

    asyncio.run(scenario())


@pytest.mark.process
def test_signs_of_life_renew_the_lease(url: str) -> None:
    """Events are such signs too."""

    async def scenario() -> None:
        owner = fresh_owner()
        async with replicas(url, "one", "two") as (one, two):
            await one.begin(owner, begun())
            for renew in (one.runs.beat(), one.runs.append(owner, "resp_1", [(0, b"x")])):
                await lapse(one, owner, "resp_1")
                await renew
                found = await two.following.load(owner, "resp_1")
                assert found is not None
                assert found.running

    assert EVERY * 2 < LEASE_S
    asyncio.run(scenario())


@pytest.mark.process
def test_a_server_that_has_forgotten_is_told_again(url: str) -> None:
    """After a failover that lost it, or where it was dropped to make room, it goes on."""

    async def scenario() -> None:
        owner = fresh_owner()
        async with replicas(url, "one", "two") as (one, two):
            await one.begin(owner, begun())
            await one.runs.append(owner, "resp_1", [(0, b"lost")])
            await one.link.call("FLUSHALL")
            assert await two.following.load(owner, "resp_1") is None
            assert await one.runs.append(owner, "resp_1", [(1, b"kept")]) is Standing.RUNNING
            found = await two.following.load(owner, "resp_1")
            assert found is not None
            assert found.running
            await one.runs.finish(owner, response("resp_1"), [(2, b"done")])
            assert await read_all(two, owner) == [(1, b"kept"), (2, b"done")]

    asyncio.run(scenario())


@pytest.mark.process
def test_one_that_ends_too_large_can_be_finished_otherwise(url: str) -> None:
    """It runs until it is."""

    async def scenario() -> None:
        owner = fresh_owner()
        settings = SETTINGS.model_copy(update={"max_size": 10_000})
        async with replicas(url, settings=settings) as (one,):
            await one.begin(owner, begun())
            assert await one.runs.finish(owner, response("resp_1", size=10_000)) is Outcome.TOO_LARGE
            failed = response("resp_1", status="failed")
            assert await one.runs.finish(owner, failed, [(0, b"failed")]) is Outcome.STORED
            assert await one.following.load(owner, "resp_1") == failed

    asyncio.run(scenario())


@pytest.mark.process
def test_an_outage_in_the_middle_loses_no_event() -> None:
    """Events wait with the replica, and so does the end."""

    async def scenario(server: PrivateStore) -> None:
        async with replicas(server.url, "one", "two") as (one, two):
            events = [(number, b"%d" % number) for number in range(6)]
            server.kill()
            await one.until(available=False)
            assert await one.begin("me", begun()) is Outcome.DEFERRED
            assert await one.runs.append("me", "resp_1", events[:2]) is Standing.RUNNING
            found = await one.following.load("me", "resp_1")
            assert found is not None
            assert found.running
            server.start()
            await one.until(available=True)
            await two.until(available=True)
            assert await one.runs.append("me", "resp_1", events[2:3]) is Standing.RUNNING
            assert await one.store.flush()
            await one.runs.beat()
            server.kill()
            await one.until(available=False)
            await one.runs.append("me", "resp_1", events[3:4])
            await one.runs.append("me", "resp_1", events[4:5])
            done = response("resp_1", background=True)
            assert await one.runs.finish("me", done, events[5:]) is Outcome.DEFERRED
            assert await one.following.load("me", "resp_1") == done
            server.start()
            await one.until(available=True)
            await two.until(available=True)
            assert await one.store.flush()
            assert await two.following.load("me", "resp_1") == done
            # What the first server had confirmed went with it.
            assert await read_all(two, "me") == events[3:]

    with PrivateStore() as server:
        asyncio.run(scenario(server))


# Alone.


def test_an_answer_that_was_lost_doubles_nothing() -> None:
    """The same events are said again until they are confirmed."""

    async def scenario() -> None:
        lost = Unavailable(Reason.TIMEOUT)
        line, runs, stops = alone(b"stored", lost, lost, b"running", b"running")
        await runs.begin("me", begun(), stops.append)
        for number in range(3):
            await runs.append("me", "resp_1", [(number, b"%d" % number)])
        await runs.beat()
        told = [[arg for arg in args[7:] if isinstance(arg, int)] for _, _, args in line.said[1:]]
        assert told == [[0], [0, 1], [0, 1, 2], []]
        assert (stops, repr(runs)) == ([], "<BackgroundRuns 1>")

    asyncio.run(scenario())


def test_what_waits_here_is_bounded() -> None:
    """The oldest events go first, never the last."""

    async def scenario() -> None:
        settings = SETTINGS.model_copy(update={"event_bytes": 1_024})
        line = Line(b"stored", *[AWAY] * 30, b"running", b"running")
        store = ResponseStore(line, SCRIPTS, sealer(), Rules(settings, "one"))
        runs = BackgroundRuns(store, line)
        await runs.begin("me", begun(), lambda _: None)
        for number in range(30):
            await runs.append("me", "resp_1", [(number, b"x" * 98)])
        await runs.append("me", "resp_1", [(30, b"x" * 98)])
        assert [arg for arg in line.said[-1][2][7:] if isinstance(arg, int)] == list(range(21, 31))
        await runs.append("me", "resp_1", [(31, b"x"), (32, bytes(range(256)) * 8)])
        assert [arg for arg in line.said[-1][2][7:] if isinstance(arg, int)] in ([31, 32], [32])

    asyncio.run(scenario())


def test_one_that_could_not_be_stored_does_not_run() -> None:
    """Its client is told so instead."""

    async def scenario() -> None:
        _, runs, stops = alone(b"too_large")
        assert await runs.begin("me", begun(), stops.append) is Outcome.TOO_LARGE
        assert len(runs) == 0
        assert await runs.append("me", "resp_1", []) is Standing.LOST

    asyncio.run(scenario())


def test_one_that_cannot_be_begun_again_is_lost() -> None:
    """It was deleted just then."""

    async def scenario() -> None:
        _, runs, stops = alone(b"stored", b"absent", b"gone")
        await runs.begin("me", begun(), stops.append)
        assert await runs.append("me", "resp_1", [(0, b"x")]) is Standing.LOST
        assert (stops, len(runs)) == ([Standing.LOST], 0)

    asyncio.run(scenario())


def test_cancelling_what_runs_here_needs_no_redis() -> None:
    """Else it is 503: nobody knows whether it would be heard."""

    async def scenario() -> None:
        _, runs, stops = alone(b"stored", AWAY)
        await runs.begin("me", begun(), stops.append)
        assert await runs.cancel("me", "resp_1")
        assert await runs.cancel("me", "resp_1")
        assert stops == [Standing.CANCELLED]
        with pytest.raises(Refusal) as caught:
            await runs.cancel("me", "resp_2")
        assert caught.value.status == 503

    asyncio.run(scenario())


def test_messages_of_others_stop_nothing_here() -> None:
    """Nor do strange ones."""

    async def scenario() -> None:
        _, runs, stops = alone(b"stored")
        await runs.begin("me", begun(), stops.append)
        name = keyspace.name("me", "resp_1")
        theirs = keyspace.name("you", "resp_1")
        for message in (f"ended {name}", "cancel", f"cancel {name}2", f"cancel {theirs}", "", "\xff"):
            runs.hear(message.encode("latin-1"))
        assert stops == []
        runs.hear(f"cancel {name}".encode())
        assert stops == [Standing.CANCELLED]

    asyncio.run(scenario())


def test_signs_of_life_are_given_in_time() -> None:
    """Every five seconds, and at once where something may have been missed."""

    async def scenario() -> None:
        line, runs, stops = alone(b"stored", *[b"running"] * 20)
        await runs.begin("me", begun(), stops.append)
        task = asyncio.create_task(runs.run())
        await asyncio.sleep(6 * EVERY + 0.5)
        assert len(line.said) == 1 + 7
        runs.missed()
        await asyncio.sleep(0.1)
        assert len(line.said) == 1 + 8
        task.cancel()

    run(scenario())
