import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest
from fakes.configs import config
from fakes.exchanges import opened
from fakes.shelves import shelves
from private_store import PrivateStore
from responses.shelves import raw, response
from schemas.validation import problems, stream_problems

from proxy.access import authenticate
from proxy.archive import Archive, Shelf
from proxy.detached import Detached, DetachedParts
from proxy.exchange import Exchange
from proxy.operations import client_app
from proxy.relay import Patience
from proxy.responses import keyspace
from proxy.responses.background import Standing
from proxy.responses.document import Stored
from proxy.retrieval import FEW, MOST, Retrieval
from proxy.tasks import Tasks
from proxy.wire.codec import Stamp
from proxy.wire.responses import resource
from proxy.wire.responses.resource import echo, lifecycle_event
from proxy.wire.responses.voice import DONE

Json = dict[str, Any]
Scenario = Callable[["Counter"], Awaitable[None]]
BEGUN = resource.response(echo({"model": "small", "background": True}), Stamp("a" * 24, 1), "in_progress")
ENDED = resource.failed(BEGUN, "server_error", "No.")
EVENTS = [
    (0, lifecycle_event("response.created", BEGUN, 0)),
    (1, lifecycle_event("response.in_progress", BEGUN, 1)),
    (2, lifecycle_event("response.failed", ENDED, 2)),
]
ROUTES = [
    ("GET", ""),
    ("GET", "?stream=true"),
    ("DELETE", ""),
    ("GET", "/input_items"),
    ("POST", "/cancel"),
]

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A store."""
    with PrivateStore() as store:
        yield store.url


class Counter:
    """The routes, and the shelf behind them."""

    def __init__(self, shelf: Shelf | None) -> None:
        archive = Archive(shelf)
        self._shelf = shelf
        self.readers = Tasks()
        reception: Any = None  # nothing begins here

        async def never(_: Exchange) -> None:
            raise AssertionError("nothing runs here")

        parts = DetachedParts(archive, reception, never, lambda: None, Tasks(), self.readers, Patience())
        self._app = client_app(lambda: True, Retrieval(archive, Detached(parts)))

    @property
    def shelf(self) -> Shelf:
        """Where responses are."""
        assert self._shelf is not None
        return self._shelf

    async def ask(self, method: str, path: str, client: str = "dev") -> httpx.Response:
        """Ask as a client; `path` follows the one of responses."""
        exchange = opened(config({"a": 1}))
        authenticate(exchange)
        assert exchange.tenant is not None
        exchange.tenant = dataclasses.replace(exchange.tenant, name=client)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope["state"] = {"exchange": exchange}
            await self._app(scope, receive, send)

        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://proxy") as made:
            return await made.request(method, f"/v1/responses/{path}")

    async def get(self, path: str) -> Json:
        """What a good answer holds."""
        got = await self.ask("GET", path)
        assert got.status_code == 200, got.text
        told: Json = got.json()
        return told

    async def has(self, id_: str, previous: Stored | None = None, **more: Any) -> Stored:
        """Store a response; its one item of input is called `<id>_in`, that of its output `<id>_out`."""
        said = {"input": (raw(item(f"{id_}_in")),), "output": (raw(item(f"{id_}_out")),)}
        stored = response(id_, previous, **(said | more))
        await self.shelf.store.save("dev", stored)
        return stored

    async def runs(self, id_: str, count: int = 2) -> Stored:
        """A response that runs here, with so many events; it ends as soon as it is to stop."""
        begun = response(id_, status="in_progress", background=True, response=raw(BEGUN))

        def stop(why: Standing) -> None:
            self.readers.spawn(self.ends(id_, "cancelled"), "run")

        await self.shelf.runs.begin("dev", begun, stop)
        if count:
            await self.shelf.runs.append("dev", id_, EVENTS[:count])
        return begun

    async def ends(self, id_: str, status: str = "failed") -> None:
        """It ends."""
        told = raw(ENDED | {"status": status})
        stored = response(id_, status=status, background=True, response=told)
        await self.shelf.runs.finish("dev", stored, EVENTS[2:])


def item(id_: str) -> Json:
    """A message."""
    content = [{"type": "input_text", "text": id_}]
    return {"type": "message", "role": "user", "id": id_, "status": "completed", "content": content}


def run(url: str, scenario: Scenario) -> None:
    """Play a scenario over a store."""

    async def main() -> None:
        async with shelves(url) as (shelf,):
            counter = Counter(shelf)
            await scenario(counter)
            assert len(counter.readers) == 0

    asyncio.run(main())


def refusal(got: httpx.Response, status: int, param: str | None = None) -> Json:
    """The error of an answer, in the shape that clients read."""
    assert got.status_code == status, got.text
    assert problems("responses", "error", got.json()) == []
    error: Json = got.json()["error"]
    assert error["param"] == param
    return error


def test_a_response_is_read_as_it_was_answered(url: str) -> None:
    """To the byte."""

    async def scenario(counter: Counter) -> None:
        told = raw({"id": "resp_r1", "object": "response", "odd": [1.0, "\u00e9"]})
        await counter.has("resp_r1", response=told)
        got = await counter.ask("GET", "resp_r1")
        assert (got.status_code, got.content) == (200, bytes(told))
        assert got.headers["content-type"] == "application/json"
        assert (await counter.ask("GET", "resp_r1?stream=false&include=x")).content == bytes(told)

    run(url, scenario)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("id_", ["resp_none", "resp_theirs", "%20", "resp_%2e", "x" * 200])
def test_what_is_not_there_and_what_is_anothers_are_the_same(
    url: str, route: tuple[str, str], id_: str
) -> None:
    """Nothing tells them apart."""
    method, path = route

    async def scenario(counter: Counter) -> None:
        await counter.shelf.store.save("other", response("resp_theirs", background=True))
        error = refusal(await counter.ask(method, id_ + path), 404)
        assert error["code"] == "not_found"
        assert error["message"].startswith("Response with id '")
        assert len(error["message"]) < 200
        assert await counter.shelf.store.load("other", "resp_theirs") is not None

    run(url, scenario)


def test_what_is_deleted_is_gone(url: str) -> None:
    """Deleting it again finds nothing."""

    async def scenario(counter: Counter) -> None:
        await counter.has("resp_d1")
        got = await counter.ask("DELETE", "resp_d1")
        assert (got.status_code, got.json()) == (
            200,
            {"id": "resp_d1", "object": "response", "deleted": True},
        )
        assert problems("responses", "deleted", got.json()) == []
        for method, path in ROUTES:
            refusal(await counter.ask(method, "resp_d1" + path), 404)

    run(url, scenario)


def test_what_runs_is_ended_before_it_is_deleted(url: str) -> None:
    """Two who delete it at once: one has done it."""

    async def scenario(counter: Counter) -> None:
        await counter.runs("resp_d2")
        assert (await counter.get("resp_d2"))["status"] == "in_progress"
        both = await asyncio.gather(*(counter.ask("DELETE", "resp_d2") for _ in range(2)))
        assert sorted(got.status_code for got in both) == [200, 404]
        assert len(counter.shelf.runs) == 0
        refusal(await counter.ask("GET", "resp_d2"), 404)

    run(url, scenario)


def test_what_runs_can_be_cancelled(url: str) -> None:
    """As often as one likes: it is answered as it ended."""

    async def scenario(counter: Counter) -> None:
        await counter.runs("resp_c1")
        for _ in range(2):
            got = await counter.ask("POST", "resp_c1/cancel")
            assert (got.status_code, got.json()["status"]) == (200, "cancelled")
        assert (await counter.get("resp_c1"))["status"] == "cancelled"

    run(url, scenario)


def test_what_has_ended_is_answered_as_it_is(url: str) -> None:
    """Nothing is cancelled any more."""

    async def scenario(counter: Counter) -> None:
        await counter.runs("resp_c2")
        await counter.ends("resp_c2")
        got = await counter.ask("POST", "resp_c2/cancel")
        assert (got.status_code, got.json()["status"]) == (200, "failed")

    run(url, scenario)


def test_only_what_ran_in_the_background_can_be_cancelled_or_streamed(url: str) -> None:
    """The client of any other was there."""

    async def scenario(counter: Counter) -> None:
        await counter.has("resp_c3")
        refusal(await counter.ask("POST", "resp_c3/cancel"), 400)
        refusal(await counter.ask("GET", "resp_c3?stream=true"), 400, "stream")

    run(url, scenario)


def test_one_whose_replica_has_gone_is_failed(url: str) -> None:
    """Whoever looks first says so."""

    async def scenario() -> None:
        async with shelves(url, "gone", "here") as (gone, here):
            begun = await Counter(gone).runs("resp_g1")
            counter = Counter(here)
            assert (await counter.get("resp_g1"))["status"] == "in_progress"
            run_of = f"{keyspace.index('dev')}:run:{begun.id}"
            await here.link.call("HSET", [run_of], ["until", "1"])  # its lease has lapsed
            assert (await counter.get("resp_g1"))["status"] == "failed"
            got = await counter.ask("GET", "resp_g1?stream=true")
            assert stream_problems("responses", got.content) == []

    asyncio.run(scenario())


# The events of one that ran in the background.


def test_its_events_can_be_read_again(url: str) -> None:
    """From the first one or any other, to the end; behind the end there is only that."""

    async def scenario(counter: Counter) -> None:
        await counter.runs("resp_s1")
        await counter.ends("resp_s1")
        got = await counter.ask("GET", "resp_s1?stream=true")
        assert got.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert got.headers["cache-control"] == "no-cache"
        assert stream_problems("responses", got.content) == []
        assert got.content == b"".join(event for _, event in EVENTS) + DONE
        for after, left in ((0, EVENTS[1:]), (1, EVENTS[2:]), (2, []), (9, []), (2**53, [])):
            got = await counter.ask("GET", f"resp_s1?stream=true&starting_after={after}")
            assert got.content == b"".join(event for _, event in left) + DONE

    run(url, scenario)


def test_a_stream_goes_on_until_the_response_has_ended(url: str) -> None:
    """Two readers who came at different times have heard the same."""

    async def scenario(counter: Counter) -> None:
        await counter.runs("resp_s2", 1)
        early = counter.readers.spawn(counter.ask("GET", "resp_s2?stream=1"), "reader")
        await asyncio.sleep(0.05)
        await counter.shelf.runs.append("dev", "resp_s2", EVENTS[1:2])
        late = counter.readers.spawn(counter.ask("GET", "resp_s2?stream=true&starting_after=0"), "reader")
        await asyncio.sleep(0.05)
        assert not early.done()
        await counter.ends("resp_s2")
        first, second = await asyncio.gather(early, late)
        assert first.content == EVENTS[0][1] + second.content
        assert stream_problems("responses", first.content) == []

    run(url, scenario)


@pytest.mark.parametrize("after", ["-1", "x", "", "1.0", "9" * 20, "1e3", "%D9%A1", str(2**53 + 1)])
def test_where_to_start_is_a_number(url: str, after: str) -> None:
    """Where to start is a number."""

    async def scenario(counter: Counter) -> None:
        await counter.runs("resp_s3")
        await counter.ends("resp_s3")
        got = await counter.ask("GET", f"resp_s3?stream=true&starting_after={after}")
        assert refusal(got, 400, "starting_after")["code"] == "invalid_value"

    run(url, scenario)


# What was said to make it.


async def chain_of(counter: Counter, name: str, count: int = 3) -> Stored:
    """The last of so many responses that follow each other."""
    last = None
    for number in range(count):
        last = await counter.has(f"resp_{name}{number}", last)
    assert last is not None
    return last


def ids(page: Json) -> list[str]:
    """The ids of a page."""
    assert problems("responses", "input_items", page) == []
    found = [one["id"].removeprefix("resp_") for one in page["data"]]
    assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])
    return found


def test_the_history_is_a_part_of_the_input(url: str) -> None:
    """Newest first unless asked otherwise; what the response itself said is no part of it."""

    async def scenario(counter: Counter) -> None:
        last = await chain_of(counter, "a")
        everything = ["a0_in", "a0_out", "a1_in", "a1_out", "a2_in"]
        page = await counter.get(f"{last.id}/input_items?order=asc")
        assert (ids(page), page["has_more"]) == (everything, False)
        assert page["data"][0] == item("resp_a0_in")
        assert ids(await counter.get(f"{last.id}/input_items")) == everything[::-1]
        assert ids(await counter.get("resp_a0/input_items")) == ["a0_in"]
        assert (await counter.ask("DELETE", "resp_a0")).status_code == 200
        assert ids(await counter.get(f"{last.id}/input_items")) == ["a2_in"]  # a history with a hole is none

    run(url, scenario)


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 2, 5, 100])
def test_pages_follow_each_other(url: str, order: str, limit: int) -> None:
    """Each begins behind the last item of the one before."""

    async def scenario(counter: Counter) -> None:
        last = await chain_of(counter, f"b{order}{limit}x")
        whole = ids(await counter.get(f"{last.id}/input_items?order={order}"))
        seen: list[str] = []
        after, more = "", True
        while more:
            page = await counter.get(f"{last.id}/input_items?order={order}&limit={limit}{after}")
            assert len(page["data"]) <= limit
            seen += ids(page)
            more = page["has_more"]
            after = f"&after={page['last_id']}"
        assert seen == whole
        page = await counter.get(f"{last.id}/input_items?order={order}{after}")
        assert page == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}

    run(url, scenario)


def test_a_page_has_twenty_items_unless_asked_otherwise(url: str) -> None:
    """And a hundred at the most."""

    async def scenario(counter: Counter) -> None:
        said = tuple(raw(item(f"i{number}")) for number in range(MOST + 1))
        await counter.has("resp_many", input=said)
        page = await counter.get("resp_many/input_items")
        assert (len(page["data"]), page["has_more"], page["first_id"]) == (FEW, True, f"i{MOST}")
        assert len((await counter.get(f"resp_many/input_items?limit={MOST}"))["data"]) == MOST

    run(url, scenario)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=-5", "limit"),
        ("limit=x", "limit"),
        ("order=random", "order"),
        ("after=nobody", "after"),
        ("after=", "after"),
    ],
)
def test_a_page_that_cannot_be_is_refused(url: str, query: str, param: str) -> None:
    """Naming what is wrong."""

    async def scenario(counter: Counter) -> None:
        await counter.has("resp_p1")
        got = await counter.ask("GET", f"resp_p1/input_items?{query}")
        assert refusal(got, 400, param)["code"] == "invalid_value"

    run(url, scenario)


def test_what_is_left_of_a_chain_is_listed(url: str) -> None:
    """One of the responses before it was deleted: its own input is still there."""

    async def scenario(counter: Counter) -> None:
        last = await chain_of(counter, "e")
        await counter.ask("DELETE", "resp_e1")
        assert ids(await counter.get(f"{last.id}/input_items")) == ["e2_in"]

    run(url, scenario)


def test_items_without_an_id_are_listed_all_the_same(url: str) -> None:
    """Some servers name nothing."""

    async def scenario(counter: Counter) -> None:
        await counter.has("resp_n1", input=(raw({"type": "odd"}), raw({"type": "odd", "id": 5})))
        page = await counter.get("resp_n1/input_items?order=asc")
        assert (page["first_id"], page["last_id"]) == (None, 5)

    run(url, scenario)


# Nobody can know.


@pytest.mark.parametrize("route", ROUTES)
def test_without_a_store_nobody_can_know(route: tuple[str, str]) -> None:
    """That is no 404."""
    method, path = route

    async def scenario() -> None:
        error = refusal(await Counter(None).ask(method, "resp_1" + path), 503)
        assert error["code"] == "store_unavailable"

    asyncio.run(scenario())


def test_while_the_store_is_away_nobody_can_know() -> None:
    """Nor is anything deleted then. What waits here to be stored is known here."""

    async def scenario() -> None:
        with PrivateStore() as store:
            async with shelves(store.url) as (shelf,):
                counter = Counter(shelf)
                await counter.has("resp_1")
                store.kill()
                await asyncio.gather(*(counter.has(f"resp_w{number}") for number in range(4)))
                for method, path in ROUTES:
                    got = await counter.ask(method, "resp_1" + path)
                    assert refusal(got, 503)["code"] == "store_unavailable"
                    assert got.headers["retry-after"] == "1"
                assert (await counter.get("resp_w3"))["id"] == "resp_w3"
                refusal(await counter.ask("DELETE", "resp_w3"), 503)

    asyncio.run(scenario())
