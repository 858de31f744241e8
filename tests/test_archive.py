import asyncio
import dataclasses
import itertools
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from fakes.configs import MODEL, config
from fakes.exchanges import opened
from fakes.shelves import items, shelves, shown
from private_store import PrivateStore
from responses.shelves import SETTINGS

from proxy.access import authenticate
from proxy.archive import Archive, Shelf
from proxy.config.settings import Config
from proxy.errors import Refusal
from proxy.exchange import Exchange
from proxy.responses.document import Stored
from proxy.wire.codec import Stamp
from proxy.wire.envelope import FILE
from proxy.wire.model import Endpoint

Json = dict[str, Any]
Local = dict[str, Stored]
Scenario = Callable[["Desk"], Awaitable[None]]
CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "5"}
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed"}
FOREIGN = [{"conversation": "conv_1"}, {"prompt": {"id": "pmpt_1"}}]

_asked = itertools.count()

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A store."""
    with PrivateStore() as store:
        yield store.url


class Desk:
    """An archive, and clients who ask it."""

    def __init__(self, shelf: Shelf | None, made: Config) -> None:
        self.shelf = shelf
        self.archive = Archive(shelf)
        self._config = made

    def asks(self, local: Local | None = None, client: str = "dev", **body: Any) -> Exchange:
        """A request as it has been read, with ids of its own."""
        said = json.dumps({"model": MODEL, **body}).encode()
        exchange = opened(self._config, said, Endpoint.RESPONSES)
        exchange.stamp = Stamp(f"{next(_asked):024x}", 1_800_000_000)
        authenticate(exchange)
        assert exchange.tenant is not None
        if client != "dev":
            exchange.tenant = dataclasses.replace(exchange.tenant, name=client)
        exchange.local = local
        return exchange

    async def recalls(self, local: Local | None = None, client: str = "dev", **body: Any) -> Exchange:
        """A request that has been recalled."""
        exchange = self.asks(local, client, **body)
        await self.archive.recall(exchange)
        return exchange

    async def answers(self, *output: Json, local: Local | None = None, **body: Any) -> Exchange:
        """A request that was answered; its response is named after it."""
        exchange = await self.recalls(local, **body)
        await self.archive.keep(exchange, reply(exchange, *output))
        return exchange


def reply(exchange: Exchange, *output: Any, **fields: Any) -> bytes:
    """The whole response to a request: one message unless said otherwise."""
    given = list(output) or [message(exchange)]
    base = {"id": name(exchange), "object": "response", "status": "completed", "output": given}
    return json.dumps(base | fields).encode()


def message(exchange: Exchange, text: str = "Hello") -> Json:
    """What an assistant says."""
    parts = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    id_ = f"msg_{exchange.stamp.token}_0"
    return {"type": "message", "id": id_, "role": "assistant", "status": "completed", "content": parts}


def name(exchange: Exchange) -> str:
    """The id of the response to a request."""
    return f"resp_{exchange.stamp.token}"


def sent(exchange: Exchange) -> Any:
    """The input that will be sent."""
    assert exchange.envelope is not None
    return json.loads(bytes(exchange.envelope.fields["input"]))


def texts(exchange: Exchange) -> list[str]:
    """The texts of the messages that will be sent."""
    return [part["text"] for item in sent(exchange) for part in item["content"]]


def run(url: str, scenario: Scenario, **sections: Any) -> None:
    """Play a scenario at a desk with a shelf."""

    async def main() -> None:
        async with shelves(url) as (shelf,):
            await scenario(Desk(shelf, config({"a": 1}, **sections)))

    asyncio.run(main())


def without_store(scenario: Scenario) -> None:
    """Play a scenario in a process without any store."""

    async def main() -> None:
        await scenario(Desk(None, config({"a": 1})))

    asyncio.run(main())


async def refused(
    desk: Desk, status: int, param: str | None, local: Local | None = None, **body: Any
) -> Refusal:
    """The refusal that a request gets when it is recalled."""
    with pytest.raises(Refusal) as caught:
        await desk.recalls(local, **body)
    assert (caught.value.status, caught.value.param) == (status, param)
    return caught.value


# What is kept.


def test_a_response_is_stored_with_its_input(url: str) -> None:
    """Unless it says otherwise; what is sent is what came, to the byte."""

    async def scenario(desk: Desk) -> None:
        exchange = await desk.answers(input="Hi")
        assert sent(exchange) == "Hi"
        assert exchange.thread is not None
        assert exchange.thread.outcome == "stored"
        assert desk.shelf is not None
        stored = await desk.shelf.store.load("dev", name(exchange))
        said, told = items(stored)
        assert said[0]["content"] == [{"type": "input_text", "text": "Hi"}]
        assert told == [message(exchange)]
        assert shown(stored)["id"] == name(exchange)
        assert stored is not None
        assert (stored.model, stored.status, stored.previous, stored.ancestors) == (
            MODEL,
            "completed",
            None,
            (),
        )

    run(url, scenario)


@pytest.mark.parametrize("body", [{"store": False}, {}])
def test_nothing_is_kept_where_nothing_is_to_be(url: str, body: Json) -> None:
    """The request says so, or the configuration does for those that say nothing."""

    async def scenario(desk: Desk) -> None:
        exchange = await desk.answers(input="Hi", **body)
        assert exchange.thread is not None
        assert exchange.thread.outcome is None
        assert desk.shelf is not None
        assert await desk.shelf.store.load("dev", name(exchange)) is None

    run(url, scenario, responses={"store_by_default": bool(body)})


def test_what_is_not_kept_by_default_says_so_from_then_on(url: str) -> None:
    """The reply repeats it, and sealed reasoning is given to the client, who alone can keep it."""

    async def scenario(desk: Desk) -> None:
        exchange = await desk.recalls(input="Hi")
        assert exchange.envelope is not None
        assert bytes(exchange.envelope.fields["store"]) == b"false"

    run(url, scenario, responses={"store_by_default": False})


def test_what_is_not_kept_is_not_looked_at(url: str) -> None:
    """Its input may be anything: the provider refuses it in its own words."""

    async def scenario(desk: Desk) -> None:
        exchange = await desk.recalls(input={"odd": 1}, store=False, conversation="conv_1")
        assert sent(exchange) == {"odd": 1}

    run(url, scenario)


@pytest.mark.parametrize("output", [None, "text", [5], {}])
def test_an_odd_reply_is_not_kept_and_not_lost(url: str, output: Any) -> None:
    """The client gets it; the answer says that it was not stored."""

    async def scenario(desk: Desk) -> None:
        exchange = await desk.recalls(input="Hi")
        await desk.archive.keep(exchange, reply(exchange, output=output))
        assert exchange.thread is not None
        assert exchange.thread.outcome == "failed"

    run(url, scenario)


def test_a_reply_without_a_status_is_complete(url: str) -> None:
    """Not every server says it."""

    async def scenario(desk: Desk) -> None:
        exchange = await desk.recalls(input="Hi")
        body = json.loads(reply(exchange))
        del body["status"]
        await desk.archive.keep(exchange, json.dumps(body).encode())
        assert desk.shelf is not None
        stored = await desk.shelf.store.load("dev", name(exchange))
        assert stored is not None
        assert stored.status == "completed"

    run(url, scenario)


def test_a_reply_that_is_too_large_is_answered_all_the_same(url: str) -> None:
    """And its answer says why it cannot be found again."""

    async def scenario() -> None:
        settings = SETTINGS.model_copy(update={"max_size": 2048})
        async with shelves(url, settings=settings) as (shelf,):
            exchange = await Desk(shelf, config({"a": 1})).answers(input="x" * 3000)
            assert exchange.thread is not None
            assert exchange.thread.outcome == "too_large"

    asyncio.run(scenario())


def test_no_reply_is_nothing_to_keep(url: str) -> None:
    """Nor is one of a request that has no place in any chain."""

    async def scenario(desk: Desk) -> None:
        exchange = await desk.recalls(input="Hi")
        await desk.archive.keep(exchange, None)
        exchange.thread = None
        await desk.archive.keep(exchange, b"{}")

    run(url, scenario)


# What is followed.


def test_what_is_followed_is_sent_in_front(url: str) -> None:
    """All that was said before, in order and without ids of ours, then the new input, but no instructions."""

    async def scenario(desk: Desk) -> None:
        first = await desk.answers(input="one", instructions="Be kind.")
        second = await desk.answers(input="two", previous_response_id=name(first))
        third = await desk.recalls(input="three", previous_response_id=name(second))
        assert texts(third) == ["one", "Hello", "two", "Hello", "three"]
        assert not any("id" in item for item in sent(third))
        assert third.envelope is not None
        assert "instructions" not in third.envelope.fields
        assert third.thread is not None
        assert third.thread.ancestors == (name(first), name(second))
        assert len(third.thread.items) == 1
        body = {"model": MODEL, "input": "three", "previous_response_id": name(second)}
        grown = len(json.dumps(sent(third), separators=(",", ":"))) - len('"three"')
        assert third.envelope.size == len(json.dumps(body)) + grown == third.envelope.weight

    run(url, scenario)


def test_pictures_that_were_sent_before_weigh_little(url: str) -> None:
    """What they cost has little to do with how many bytes they are."""

    async def scenario(desk: Desk) -> None:
        picture = {
            "type": "input_image",
            "image_url": "data:image/png;base64," + "A" * 100_000,
            "detail": "auto",
        }
        first = await desk.answers(input=[{"role": "user", "content": [picture]}])
        second = await desk.recalls(input="And this?", previous_response_id=name(first))
        assert second.envelope is not None
        assert second.envelope.size > 100_000
        assert FILE < second.envelope.weight < FILE + 1_000

    run(url, scenario)


def test_others_have_a_turn_while_a_long_conversation_is_weighed() -> None:
    """Where nothing else is waited for, and a short one is weighed at once."""

    async def scenario(desk: Desk) -> None:
        turns = []
        for said in ("Hi", "data:image/png;base64,AAAA " * 10_000):
            local: Local = {}
            first = await desk.answers(local=local, input=said, store=False)
            exchange = desk.asks(local, input="And?", store=False, previous_response_id=name(first))
            steps = desk.archive.recall(exchange).__await__()
            turns.append(len(list(steps)))
        assert turns[0] == 0
        assert turns[1] >= 10_000 // 256

    without_store(scenario)


def test_calls_are_answered_in_the_next_turn(url: str) -> None:
    """A result needs its call before it, which may be anywhere in the chain."""

    async def scenario(desk: Desk) -> None:
        first = await desk.answers({**CALL, "id": "fc_1", "status": "completed"}, input="one")
        second = await desk.recalls(input=[RESULT], previous_response_id=name(first))
        assert [item["type"] for item in sent(second)] == ["message", "function_call", "function_call_output"]
        lost = await refused(
            desk, 400, "input", input=[{**RESULT, "call_id": "c2"}], previous_response_id=name(first)
        )
        assert "c2" in lost.message
        await refused(desk, 400, "input", input=[RESULT])

    run(url, scenario)


def test_reasoning_is_sent_again_and_not_shown(url: str) -> None:
    """The client did not ask for what is sealed, and the model needs it."""

    async def scenario(desk: Desk) -> None:
        first = await desk.recalls(input="one")
        await desk.archive.keep(first, reply(first, REASONING, message(first)))
        assert desk.shelf is not None
        stored = await desk.shelf.store.load("dev", name(first))
        assert "encrypted_content" not in shown(stored)["output"][0]
        second = await desk.recalls(input="two", previous_response_id=name(first))
        assert sent(second)[1]["encrypted_content"] == "sealed"

    run(url, scenario)


HOSTED: list[Json] = [
    {"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "s", "tools": []},
    {
        "type": "web_search_call",
        "id": "ws_1",
        "status": "completed",
        "action": {"type": "search", "query": "q"},
    },
    {"type": "mcp_approval_request", "id": "mcpr_1", "name": "pay", "arguments": "{}", "server_label": "s"},
]
APPROVAL = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}


def test_what_its_vendor_has_run_is_known_by_its_id(url: str) -> None:
    """An approval names the request that it approves; what was named here alone goes without a name."""

    async def scenario(desk: Desk) -> None:
        first = await desk.answers(*HOSTED, input="one")
        second = await desk.answers(input=[APPROVAL], previous_response_id=name(first))
        assert sent(second)[1:] == [*HOSTED, APPROVAL]
        third = await desk.recalls(input="three", previous_response_id=name(second))
        assert sent(third)[1:5] == [*HOSTED, APPROVAL]

    run(url, scenario)


def test_it_keeps_its_id_where_it_is_referred_to(url: str) -> None:
    """As it does in a chain."""

    async def scenario(desk: Desk) -> None:
        first = await desk.answers(*HOSTED, input="one")
        said = [{"type": "item_reference", "id": "mcpr_1"}, APPROVAL]
        second = await desk.recalls(input=said, previous_response_id=name(first))
        assert sent(second)[-2:] == [HOSTED[2], APPROVAL]

    run(url, scenario)


@pytest.mark.parametrize("id_", ["resp_unknown", "resp_" + "f" * 24, "not an id", "x" * 500, "a/b", "*"])
def test_what_does_not_exist_cannot_be_followed(url: str, id_: str) -> None:
    """Whether or not it could be an id at all."""

    async def scenario(desk: Desk) -> None:
        refusal = await refused(desk, 400, "previous_response_id", input="Hi", previous_response_id=id_)
        assert refusal.code == "previous_response_not_found"
        assert len(refusal.message) < 200

    run(url, scenario)


def test_what_is_anothers_does_not_exist(url: str) -> None:
    """In the same words; not even a replay tells of it."""

    async def scenario(desk: Desk) -> None:
        first = await desk.answers(input="one")
        with pytest.raises(Refusal) as caught:
            await desk.recalls(client="other", input="two", previous_response_id=name(first))
        assert caught.value.code == "previous_response_not_found"

    run(url, scenario)


def test_what_still_runs_cannot_be_followed(url: str) -> None:
    """Nobody knows yet what it will say."""

    async def scenario(desk: Desk) -> None:
        exchange = await desk.recalls(input="one")
        assert exchange.thread is not None
        told = {"id": name(exchange), "status": "in_progress", "output": []}
        stored = desk.archive.stored(exchange, exchange.thread, told)
        assert desk.shelf is not None
        await desk.shelf.store.save("dev", stored)
        refusal = await refused(desk, 400, "previous_response_id", input="Hi", previous_response_id=stored.id)
        assert refusal.code == "previous_response_not_found"

    run(url, scenario)


def test_one_that_was_deleted_cannot_be_followed(url: str) -> None:
    """Nor what came after it: a part of the conversation would be missing. Both are named."""

    async def scenario(desk: Desk) -> None:
        first = await desk.answers(input="one")
        second = await desk.answers(input="two", previous_response_id=name(first))
        assert desk.shelf is not None
        await desk.shelf.store.delete("dev", name(first))
        gone = f"Previous response with id '{name(first)}' not found"
        for last, said in ((first, f"{gone}."), (second, f"{gone} in the chain of '{name(second)}'.")):
            refusal = await refused(
                desk, 400, "previous_response_id", input="Hi", previous_response_id=name(last)
            )
            assert (refusal.message, refusal.code) == (said, "previous_response_not_found")

    run(url, scenario)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"store": 1}, "store"),
        ({"store": "true"}, "store"),
        ({"background": "yes"}, "background"),
        ({"background": True, "store": False}, "background"),
        ({"previous_response_id": 5}, "previous_response_id"),
        ({"previous_response_id": ["resp_1"]}, "previous_response_id"),
    ],
)
def test_what_is_said_of_storing_has_its_types(url: str, body: Json, param: str) -> None:
    """And a response that nobody keeps cannot be read later."""

    async def scenario(desk: Desk) -> None:
        await refused(desk, 400, param, input="Hi", **body)

    run(url, scenario)


@pytest.mark.parametrize(
    "body", [{"previous_response_id": None}, {"previous_response_id": ""}, {"store": None}]
)
def test_null_says_nothing(url: str, body: Json) -> None:
    """Null says nothing."""

    async def scenario(desk: Desk) -> None:
        exchange = await desk.recalls(input="Hi", background=None, **body)
        assert exchange.thread is not None
        assert (exchange.thread.store, exchange.thread.previous) == (True, None)

    run(url, scenario)


@pytest.mark.parametrize("foreign", FOREIGN)
def test_what_only_its_vendor_knows_is_in_no_chain(url: str, foreign: Json) -> None:
    """It would be missing when the chain goes on somewhere else."""

    async def scenario(desk: Desk) -> None:
        (param,) = foreign
        refusal = await refused(desk, 400, param, input="Hi", **foreign)
        assert refusal.code == "unsupported_value"
        await refused(desk, 400, param, input="Hi", store=False, previous_response_id="resp_1", **foreign)
        await desk.recalls(input="Hi", store=False, **foreign)

    run(url, scenario)


# What is referred to.


def test_items_of_the_chain_can_be_referred_to(url: str) -> None:
    """The item stands where the reference stood, and is listed by its id."""

    async def scenario(desk: Desk) -> None:
        first = await desk.answers({**CALL, "id": "fc_native", "status": "completed"}, input="one")
        said = [{"type": "item_reference", "id": "fc_native"}, RESULT]
        second = await desk.recalls(input=said, previous_response_id=name(first))
        assert sent(second)[2] == {**CALL, "status": "completed"}
        assert second.thread is not None
        assert json.loads(bytes(second.thread.items[0]))["id"] == "fc_native"

    run(url, scenario)


@pytest.mark.parametrize("store", [True, False])
def test_items_of_any_response_of_ours_can_be_referred_to(url: str, store: bool) -> None:
    """Clients that keep a conversation by themselves name what was answered instead of repeating it."""

    async def scenario(desk: Desk) -> None:
        first = await desk.answers(input="one")
        second = await desk.answers(input="two")
        said = [
            {"role": "user", "content": "one"},
            {"id": message(first)["id"]},
            {"type": "item_reference", "id": f"msg_{second.stamp.token}_i0"},
            {"type": "item_reference", "id": message(second)["id"]},
        ]
        if not store:
            said[1]["type"] = "item_reference"
        third = await desk.recalls(input=said, store=store)
        assert [item["role"] for item in sent(third)] == ["user", "assistant", "user", "assistant"]
        assert sent(third)[1]["content"] == message(first)["content"]
        assert not any("id" in item for item in sent(third))

    run(url, scenario)


@pytest.mark.parametrize(
    "id_", ["msg_nobody", f"msg_{'f' * 24}_0", f"msg_{'f' * 24}_i0", "x" * 300, "msg_{}_7"]
)
def test_what_is_not_there_cannot_be_referred_to(url: str, id_: str) -> None:
    """The refusal names its place."""

    async def scenario(desk: Desk) -> None:
        first = await desk.answers(input="one")
        said = [
            {"role": "user", "content": "Hi"},
            {"type": "item_reference", "id": id_.format(first.stamp.token)},
        ]
        refusal = await refused(desk, 400, "input[1].id", input=said)
        assert refusal.code == "invalid_value"
        assert len(refusal.message) < 200

    run(url, scenario)


def test_items_without_a_good_name_are_nobodys(url: str) -> None:
    """Some servers name nothing, or oddly; that is no reason to fail."""

    async def scenario(desk: Desk) -> None:
        odd = [{"type": "odd"}, {"type": "odd", "id": {}}, {"type": "odd", "id": 5}]
        first = await desk.recalls(input="one")
        await desk.archive.keep(first, reply(first, *odd))
        said = [{"type": "item_reference", "id": f"msg_{first.stamp.token}_i0"}]
        await desk.recalls(input=said)
        second = await desk.recalls(input=said, previous_response_id=name(first))
        assert [item["type"] for item in sent(second)] == ["message", "odd", "odd", "odd", "message"]

    run(url, scenario)


def test_what_is_anothers_cannot_be_referred_to(url: str) -> None:
    """Its id tells which response it is in, and not whose."""

    async def scenario(desk: Desk) -> None:
        first = await desk.answers(input="one")
        said = [{"type": "item_reference", "id": message(first)["id"]}]
        with pytest.raises(Refusal):
            await desk.recalls(client="other", input=said)

    run(url, scenario)


# What only a connection knows.


def test_a_connection_goes_on_from_what_is_not_stored(url: str) -> None:
    """As often as it likes: the newest response carries all before it, and nothing is in the store."""

    async def scenario(desk: Desk) -> None:
        local: Local = {}
        last: Json = {}
        for text in ("one", "two", "three"):
            exchange = await desk.answers(local=local, input=text, store=False, **last)
            last = {"previous_response_id": name(exchange)}
            assert list(local) == [name(exchange)]
        fourth = await desk.recalls(local, input="four", store=False, **last)
        assert texts(fourth) == ["one", "Hello", "two", "Hello", "three", "Hello", "four"]
        assert desk.shelf is not None
        assert await desk.shelf.store.load("dev", last["previous_response_id"]) is None

    run(url, scenario)


def test_what_follows_it_may_be_stored(url: str) -> None:
    """Then the store has all of it, and others can go on from there."""

    async def scenario(desk: Desk) -> None:
        local: Local = {}
        first = await desk.answers(local=local, input="one", store=False)
        second = await desk.answers(local=local, input="two", previous_response_id=name(first))
        assert local == {}
        third = await desk.recalls(input="three", previous_response_id=name(second))
        assert texts(third) == ["one", "Hello", "two", "Hello", "three"]
        assert third.thread is not None
        assert third.thread.ancestors == (name(second),)

    run(url, scenario)


def test_it_may_follow_what_is_stored(url: str) -> None:
    """A connection goes on from a stored response without storing any more."""

    async def scenario(desk: Desk) -> None:
        local: Local = {}
        first = await desk.answers(input="one")
        second = await desk.answers(local=local, input="two", store=False, previous_response_id=name(first))
        third = await desk.recalls(local, input="three", store=False, previous_response_id=name(second))
        assert texts(third) == ["one", "Hello", "two", "Hello", "three"]

    run(url, scenario)


def test_items_that_only_the_connection_knows_can_be_referred_to(url: str) -> None:
    """Items that only the connection knows can be referred to."""

    async def scenario(desk: Desk) -> None:
        local: Local = {}
        first = await desk.answers(local=local, input="one", store=False)
        said = [{"type": "item_reference", "id": message(first)["id"]}]
        second = await desk.recalls(local, input=said, store=False)
        assert sent(second)[0]["role"] == "assistant"

    run(url, scenario)


def test_two_connections_know_nothing_of_each_other(url: str) -> None:
    """Two connections know nothing of each other."""

    async def scenario(desk: Desk) -> None:
        first = await desk.answers(local={}, input="one", store=False)
        await refused(desk, 400, "previous_response_id", {}, input="two", previous_response_id=name(first))

    run(url, scenario)


def test_a_turn_that_fails_can_be_tried_again(url: str) -> None:
    """What a connection goes on from is the latest response that did not fail."""

    async def scenario(desk: Desk) -> None:
        local: Local = {}
        first = await desk.answers(local=local, input="one", store=False)
        broken = await desk.recalls(local, input="two", store=False, previous_response_id=name(first))
        await desk.archive.keep(broken, reply(broken, status="failed", output=[]))
        again = await desk.recalls(local, input="two", store=False, previous_response_id=name(first))
        assert texts(again) == ["one", "Hello", "two"]

    run(url, scenario)


# What runs in the background, and where there is no store.


def test_a_response_in_the_background_is_not_recalled_twice(url: str) -> None:
    """The request that began it has put everything in front; its reply is left for its sink to store."""

    async def scenario(desk: Desk) -> None:
        first = await desk.answers(input="one")
        outer = await desk.recalls(input="two", previous_response_id=name(first), background=True)
        inner = desk.asks(input=sent(outer), previous_response_id=name(first), background=True)
        inner.detached, inner.thread, inner.stamp = True, outer.thread, outer.stamp
        await desk.archive.recall(inner)
        assert texts(inner) == ["one", "Hello", "two"]
        await desk.archive.keep(inner, reply(inner))
        assert inner.thread is not None
        assert inner.thread.final is not None
        assert inner.thread.final.background
        assert len(inner.thread.final.input) == 1
        assert desk.shelf is not None
        assert await desk.shelf.store.load("dev", name(inner)) is None

    run(url, scenario)


def test_without_a_store_nothing_is_kept_and_nothing_found() -> None:
    """Requests are answered all the same, and the answer says what it lacks."""

    async def scenario(desk: Desk) -> None:
        exchange = await desk.answers(input="Hi")
        assert exchange.thread is not None
        assert exchange.thread.outcome == "failed"
        refusal = await refused(desk, 503, None, input="Hi", previous_response_id="resp_1")
        assert refusal.code == "store_unavailable"
        local: Local = {}
        first = await desk.answers(local=local, input="one", store=False)
        assert texts(await desk.recalls(local, input="two", previous_response_id=name(first)))[0] == "one"

    without_store(scenario)


def test_while_the_store_is_away_the_answer_says_so() -> None:
    """It is known before there is an answer; what is followed cannot be known."""

    async def main() -> None:
        with PrivateStore() as store:
            async with shelves(store.url) as (shelf,):
                desk = Desk(shelf, config({"a": 1}))
                first = await desk.answers(input="one")
                store.kill()
                await asyncio.gather(*(desk.answers(input="away") for _ in range(3)))
                exchange = await desk.recalls(input="two")
                assert exchange.thread is not None
                assert exchange.thread.outcome == "deferred"
                await desk.archive.keep(exchange, reply(exchange))
                assert exchange.thread.outcome == "deferred"
                found = await shelf.store.load("dev", name(exchange))
                assert shown(found)["id"] == name(exchange)
                await refused(desk, 503, None, input="Hi", previous_response_id=name(first))

    asyncio.run(main())
