import asyncio

import msgspec
import pytest
from private_store import PrivateStore

from proxy.errors import Refusal
from proxy.link import Reason, ScriptError, Unavailable
from proxy.responses import keyspace, store
from proxy.responses.document import Stored
from proxy.responses.outbox import Letter
from proxy.responses.store import Outcome, ResponseStore, Rules
from responses.shelves import SCRIPTS, SETTINGS, Line, fresh_owner, replicas, response, sealer

AWAY = Unavailable(Reason.OPEN)
FULL = Unavailable(Reason.OOM)


def away(*answers: object) -> tuple[Line, ResponseStore]:
    """A store on a line that answers so."""
    line = Line(*answers)
    return line, ResponseStore(line, SCRIPTS, sealer("a"), Rules(SETTINGS, "one"))


# Over a real store.


@pytest.mark.process
def test_what_one_replica_saves_another_reads(url: str) -> None:
    """The same to the letter, hidden parts included."""

    async def scenario() -> None:
        owner = fresh_owner()
        saved = response("resp_1", output=(msgspec.Raw(b'{"sealed":"\\u00fc \\/ "}'),), model="m")
        async with replicas(url, "one", "two") as (one, two):
            assert await one.store.save(owner, saved) is Outcome.STORED
            assert await two.store.load(owner, "resp_1") == saved

    asyncio.run(scenario())


@pytest.mark.process
def test_a_response_is_its_clients_alone(url: str) -> None:
    """For anybody else it does not exist, to be read, followed or deleted, under whatever name."""

    async def scenario() -> None:
        owner, other = fresh_owner(), fresh_owner()
        async with replicas(url) as (one,):
            first = response("resp_1")
            await one.store.save(owner, first)
            await one.store.save(owner, response("resp_2", first))
            digest = keyspace.index(owner).removeprefix("apex:resp:")
            for stranger in (other, owner.upper(), "", digest):
                for id_ in ("resp_1", "resp_9"):
                    assert await one.store.load(stranger, id_) is None
                    assert await one.store.chain(stranger, id_) == id_
                    assert await one.store.delete(stranger, id_) is False
            assert await one.store.load(owner, "resp_1") == first

    asyncio.run(scenario())


@pytest.mark.process
def test_what_was_moved_to_another_client_in_redis_cannot_be_read(url: str) -> None:
    """Whose it is is part of the seal."""

    async def scenario() -> None:
        owner, other = fresh_owner(), fresh_owner()
        async with replicas(url) as (one,):
            await one.store.save(owner, response("resp_1"))
            keys = [keyspace.document(owner, "resp_1"), keyspace.document(other, "resp_1")]
            await one.link.call("COPY", keys)
            with pytest.raises(Refusal) as caught:
                await one.store.load(other, "resp_1")
            assert (caught.value.status, caught.value.code) == (500, "store_unreadable")

    asyncio.run(scenario())


@pytest.mark.process
def test_ids_that_cannot_be_ours_cost_no_call(url: str) -> None:
    """Nor do they reach what else lies under the client's keys."""

    async def scenario() -> None:
        owner = fresh_owner()
        async with replicas(url) as (one,):
            await one.store.save(owner, response("resp_1"))
            calls = one.link.counters.calls
            for id_ in ("", "a" * 129, "resp_1\n", "resp 1", "doc:resp_1", "}{", "\ud800"):
                assert await one.store.load(owner, id_) is None
                assert await one.store.chain(owner, id_) == id_
                assert await one.store.delete(owner, id_) is False
            assert one.link.counters.calls == calls

    asyncio.run(scenario())


@pytest.mark.process
@pytest.mark.parametrize("length", [1, 2, 128, 129, 130, 300])
def test_a_chain_comes_whole_and_in_order(url: str, length: int) -> None:
    """However long it is."""

    async def scenario() -> None:
        owner = fresh_owner()
        async with replicas(url) as (one,):
            saved: list[Stored] = []
            for number in range(length):
                saved.append(response(f"resp_{number}", saved[-1] if saved else None))
                await one.store.save(owner, saved[-1])
            assert await one.store.chain(owner, saved[-1].id) == tuple(saved)

    asyncio.run(scenario())


@pytest.mark.process
def test_a_hole_in_a_chain_is_named(url: str) -> None:
    """Also where it is far back."""

    async def scenario() -> None:
        owner = fresh_owner()
        async with replicas(url) as (one,):
            saved = [response("resp_0")]
            for number in range(1, 140):
                saved.append(response(f"resp_{number}", saved[-1]))
            for each in saved:
                await one.store.save(owner, each)
            await one.store.delete(owner, "resp_3")
            assert await one.store.chain(owner, "resp_139") == "resp_3"
            assert await one.store.chain(owner, "resp_2") == tuple(saved[:3])

    asyncio.run(scenario())


@pytest.mark.process
def test_what_is_deleted_is_gone_and_stays_so(url: str) -> None:
    """A save that comes late does not bring it back."""

    async def scenario() -> None:
        owner = fresh_owner()
        async with replicas(url) as (one,):
            await one.store.save(owner, response("resp_1"))
            assert await one.store.delete(owner, "resp_1") is True
            assert await one.store.load(owner, "resp_1") is None
            assert await one.store.delete(owner, "resp_1") is False
            assert await one.store.save(owner, response("resp_1")) is Outcome.GONE
            assert await one.store.load(owner, "resp_1") is None

    asyncio.run(scenario())


@pytest.mark.process
def test_large_responses_are_stored_up_to_the_cap(url: str) -> None:
    """In a thread, so that the loop is not held up."""

    async def scenario() -> None:
        owner = fresh_owner()
        settings = SETTINGS.model_copy(update={"max_size": 2**20})
        async with replicas(url, settings=settings) as (one,):
            large = response("resp_1", size=500_000)
            assert await one.store.save(owner, large) is Outcome.STORED
            assert await one.store.load(owner, "resp_1") == large
            assert await one.store.save(owner, response("resp_2", size=530_000)) is Outcome.TOO_LARGE
            assert await one.store.load(owner, "resp_2") is None

    asyncio.run(scenario())


@pytest.mark.process
def test_a_chain_beyond_all_bounds_is_refused(url: str) -> None:
    """Nobody may fill a replica's memory with what they have stored."""

    async def scenario() -> None:
        owner = fresh_owner()
        async with replicas(url) as (one,):
            last = None
            for number in range(20):
                last = response(f"resp_{number}", last, size=2**16)
                assert await one.store.save(owner, last) is Outcome.STORED
            with pytest.raises(Refusal) as caught:
                await one.store.chain(owner, "resp_19")
            assert (caught.value.status, caught.value.param) == (400, "previous_response_id")

    asyncio.run(scenario())


# While Redis is away.


@pytest.mark.process
def test_an_outage_is_outlived_in_the_outbox() -> None:
    """This replica reads its own; others say 503 and not 404; when Redis is back all of it is stored."""

    async def scenario(server: PrivateStore) -> None:
        async with replicas(server.url, "one", "two") as (one, two):
            one.tasks.spawn(one.store.run(), "outbox")
            first = response("resp_1")
            second = response("resp_2", first)
            server.kill()
            await one.until(available=False)
            await two.until(available=False)
            assert await one.store.save("me", first) is Outcome.DEFERRED
            assert await one.store.save("me", second) is Outcome.DEFERRED
            assert await one.store.load("me", "resp_1") == first
            assert await one.store.chain("me", "resp_2") == (first, second)
            for reads in (two.store.load, two.store.chain, two.store.delete, one.store.delete):
                with pytest.raises(Refusal) as caught:
                    await reads("me", "resp_1")
                assert (caught.value.status, caught.value.code) == (503, "store_unavailable")
            with pytest.raises(Refusal):
                await one.store.load("you", "resp_1")
            server.start()
            await two.until(available=True)
            async with asyncio.timeout(20):
                while await two.store.chain("me", "resp_2") != (first, second):  # noqa: ASYNC110  (no event)
                    await asyncio.sleep(0.02)
            assert len(one.store.outbox) == 0

    with PrivateStore() as server:
        asyncio.run(scenario(server))


@pytest.mark.process
def test_what_waits_can_be_deleted_once_redis_is_back(url: str) -> None:
    """And does not come back, though its save may still be on the way."""

    async def scenario() -> None:
        owner = fresh_owner()
        async with replicas(url) as (one,):
            letter = Letter(owner, "resp_1", b"sealed")
            assert one.store.outbox.put(letter)
            assert await one.store.delete(owner, "resp_1") is True
            assert await one.store.load(owner, "resp_1") is None
            assert await one.store.send(letter) is Outcome.GONE

    asyncio.run(scenario())


def test_a_full_outbox_says_so() -> None:
    """What was promised before is kept."""

    async def scenario() -> None:
        line = Line(AWAY, AWAY, AWAY)
        settings = SETTINGS.model_copy(update={"outbox_entries": 1})
        shelf = ResponseStore(line, SCRIPTS, sealer(), Rules(settings, "one"))
        assert await shelf.save("me", response("resp_1")) is Outcome.DEFERRED
        assert await shelf.save("me", response("resp_2")) is Outcome.FAILED
        assert await shelf.save("me", response("resp_1", status="failed")) is Outcome.DEFERRED
        found = await shelf.load("me", "resp_1")
        assert found is not None
        assert found.status == "failed"
        assert repr(shelf) == "<ResponseStore 1 waiting>"

    asyncio.run(scenario())


def test_other_rules_and_keys_hold_from_the_next_response_on() -> None:
    """What was promised by the old ones is kept, and read as long as there is its key."""

    async def scenario() -> None:
        line = Line(AWAY, AWAY, AWAY)
        shelf = ResponseStore(line, SCRIPTS, sealer("a"), Rules(SETTINGS, "one"))
        assert await shelf.save("me", response("resp_1")) is Outcome.DEFERRED
        settings = SETTINGS.model_copy(update={"outbox_entries": 1})
        shelf.renew(sealer("b", "a"), Rules(settings, "one"))
        assert await shelf.save("me", response("resp_2")) is Outcome.FAILED
        assert await shelf.load("me", "resp_1") is not None

    asyncio.run(scenario())


def test_a_newer_save_replaces_what_waits() -> None:
    """The older one must not come after it."""

    async def scenario() -> None:
        _, shelf = away(AWAY, b"stored")
        assert await shelf.save("me", response("resp_1", status="in_progress")) is Outcome.DEFERRED
        assert await shelf.save("me", response("resp_1")) is Outcome.STORED
        assert len(shelf.outbox) == 0

    asyncio.run(scenario())


def test_flushing_stops_where_redis_refuses_and_keeps_the_rest() -> None:
    """In their order; what is refused for good is dropped."""

    async def scenario() -> None:
        line, shelf = away(AWAY, AWAY, AWAY, b"stored", FULL, b"gone", ScriptError("WRONGTYPE"))
        for number in range(3):
            await shelf.save("me", response(f"resp_{number}"))
        assert await shelf.flush() is False
        assert [letter.id for letter in shelf.outbox.waiting()] == ["resp_1", "resp_2"]
        assert await shelf.flush() is True
        assert len(shelf.outbox) == 0
        assert [args[0] for _, _, args in line.said[3:]] == ["resp_0", "resp_1", "resp_1", "resp_2"]

    asyncio.run(scenario())


def test_a_store_that_answers_with_errors_ends_no_request() -> None:
    """A foreign value under a key of ours: not stored, and not tried again."""

    async def scenario() -> None:
        line, shelf = away(ScriptError("WRONGTYPE"))
        assert await shelf.save("me", response("resp_1")) is Outcome.FAILED
        assert len(line.said) == 1
        line, shelf = away(*[b"again"] * store.ROUNDS)
        assert await shelf.save("me", response("resp_1")) is Outcome.FAILED

    asyncio.run(scenario())


def test_a_document_of_strangers_is_an_error_and_not_absent() -> None:
    """Of another version, damaged, or sealed with a key that has gone."""

    async def scenario() -> None:
        for sealed in (b"x", b"\x01\x00{}", sealer("b").seal(msgspec.json.encode(response("resp_1")), b"x")):
            _, shelf = away([sealed])
            with pytest.raises(Refusal) as caught:
                await shelf.load("me", "resp_1")
            assert (caught.value.status, caught.value.code) == (500, "store_unreadable")

    asyncio.run(scenario())
