"""Clients of every dialect over providers of every kind, on real sockets."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fakes import speech
from private_store import PrivateStore
from schemas.validation import problems, stream_problems
from stage import OTHER_KEY, Setting, Stage, play
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from wires import KEY, MODEL, Got, Tree, head

from mockprovider import Behaviour

PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages"}
BODIES = {"chat": speech.chat, "responses": speech.responses, "messages": speech.messages}
SAID = "Paris, of course."
ACCOUNTS: dict[str, Tree] = {
    "chat": {"kind": "generic"},
    "responses": {"kind": "openai", "dialects": ["responses"]},
    "messages": {"kind": "anthropic"},
}
"""A provider for each dialect."""

CLIENTS = [{"name": "dev", "key": KEY}, {"name": "other", "key": OTHER_KEY}]
ANTHROPIC = {"anthropic-version": "2023-06-01"}


def over(*dialects: str, life: Behaviour | None = None, model: str = "up", **config: Any) -> Setting:
    """A stage with a provider for each of these dialects, in this order."""
    entries = [{"provider": name, "model": model} for name in dialects]
    return Setting(
        providers=dict.fromkeys(dialects, life or Behaviour(text=SAID)),
        accounts={name: ACCOUNTS[name] for name in dialects},
        config={
            "clients": CLIENTS,
            "models": {MODEL: {"strategy": "ordered", "providers": entries}},
            **config,
        },
    )


def body(client: str, **fields: Any) -> Tree:
    """A request of a client."""
    return {**BODIES[client](), "model": MODEL, **fields}


def texts(value: Any) -> list[str]:
    """All texts of a reply or an input, wherever they stand."""
    if isinstance(value, dict):
        own = [value["text"]] if isinstance(value.get("text"), str) else []
        own += [value["content"]] if isinstance(value.get("content"), str) else []
        return own + [text for item in value.values() for text in texts(item)]
    return [text for item in value for text in texts(item)] if isinstance(value, list) else []


@pytest.mark.parametrize("upstream", ACCOUNTS)
@pytest.mark.parametrize("client", PATHS)
def test_any_client_over_any_provider(client: str, upstream: str) -> None:
    """Whole and streamed; the provider hears its own dialect, at its own address, with its own key."""

    async def scenario(stage: Stage) -> None:
        whole = await stage.post(body(client), path=PATHS[client])
        assert (whole.status, SAID in texts(whole.json)) == (200, True)
        assert problems(client, "reply", whole.json) == []
        streamed = await stage.post(body(client, stream=True), path=PATHS[client])
        assert streamed.headers["content-type"].startswith("text/event-stream")
        assert stream_problems(client, streamed.body) == []
        assert all(entry.path == PATHS[upstream] for entry in stage.seen(upstream))
        assert [entry.key_id for entry in stage.seen(upstream)] == [stage.seen(upstream)[0].key_id] * 2
        assert "x-apex-warnings" not in whole.headers
        counts = [record.tokens.output if record.tokens else 0 for record in stage.records]
        assert counts[0] == counts[1] > 0

    play(over(upstream), scenario)


@pytest.mark.parametrize("client", PATHS)
def test_a_failover_crosses_dialects(client: str) -> None:
    """Two providers fail, each in its own dialect; the third answers in its own, and the client in its."""
    setting = over("responses", "messages", "chat")
    failing = Behaviour(status=500)
    setting = Setting(
        providers={"responses": failing, "messages": failing, "chat": Behaviour(text=SAID)},
        accounts=setting.accounts,
        config=setting.config,
    )

    async def scenario(stage: Stage) -> None:
        got = await stage.post(body(client), path=PATHS[client])
        assert (got.status, got.attempts, got.headers["x-apex-target"]) == (200, 3, "chat/up")
        assert problems(client, "reply", got.json) == []
        assert SAID in texts(got.json)

    play(setting, scenario)


@pytest.mark.parametrize("client", PATHS)
def test_a_providers_error_is_told_in_the_clients_dialect(client: str) -> None:
    """With its message, whoever said it."""

    async def scenario(stage: Stage) -> None:
        got = await stage.post(body(client), path=PATHS[client])
        assert got.status == 400
        assert problems(client, "error", got.json) == []

    play(over("chat", life=Behaviour(status=400)), scenario)


def test_what_is_lost_is_named_refused_or_counted() -> None:
    """In the header; as a 400 for who wants all or nothing; in the metrics."""

    async def scenario(stage: Stage) -> None:
        got = await stage.post(body("chat", seed=7, logit_bias={"50": 1}))
        assert got.headers["x-apex-warnings"] == "dropped=seed,logit_bias"
        strict = await stage.post(body("chat", seed=7), headers={"x-apex-strict": "1"})
        assert (strict.status, strict.error["param"]) == (400, "seed")
        assert len(stage.seen("messages")) == 1
        lost = {name: value for name, value in (await stage.metrics()).items() if "losses" in name}
        assert [value for name, value in lost.items() if "total{" in name and "seed" in name] == [1.0]

    play(over("messages"), scenario)


@pytest.mark.parametrize("path", ["/v1/messages?beta=true", "/v1/messages"])
def test_anthropics_own_headers_go_to_anthropic(path: str) -> None:
    """The version and the betas of its SDK."""

    async def scenario(stage: Stage) -> None:
        sent = {"anthropic-version": "2026-10-21", "anthropic-beta": "one,two"}
        assert (await stage.post(body("messages"), path=path, headers=sent)).status == 200
        (entry,) = stage.seen("messages")
        assert {name: entry.headers[name] for name in sent} == sent
        assert entry.headers["x-api-key"] == "sk-messages-0123456789"

    play(over("messages"), scenario)


@pytest.mark.parametrize(
    ("path", "client", "upstream", "estimated"),
    [
        ("/v1/messages/count_tokens", "messages", "messages", False),
        ("/v1/messages/count_tokens", "messages", "chat", True),
        ("/v1/responses/input_tokens", "responses", "responses", False),
        ("/v1/responses/input_tokens", "responses", "messages", True),
    ],
)
def test_tokens_are_counted(path: str, client: str, upstream: str, estimated: bool) -> None:
    """By the provider where it speaks the dialect, else estimated, and then the answer says so."""

    async def scenario(stage: Stage) -> None:
        asked = body(client)
        asked.pop("max_tokens", None)
        got = await stage.post(asked, path=path)
        assert (got.status, got.json["input_tokens"] > 0) == (200, True)
        assert problems(client, "count", got.json) == []
        assert ("x-apex-warnings" in got.headers) is estimated
        assert [entry.path for entry in stage.seen(upstream)] == ([] if estimated else [path])

    play(over(upstream), scenario)


def test_a_conversation_is_made_short_by_any_provider() -> None:
    """The answer's items stand for it in a later request."""

    async def scenario(stage: Stage) -> None:
        got = await stage.post(body("responses"), path="/v1/responses/compact")
        assert got.status == 200, got.body
        assert problems("responses", "compaction", got.json) == []
        later = body("responses", input=[*got.json["output"], speech.user("And now?")], store=False)
        assert (await stage.post(later, path=PATHS["responses"])).status == 200
        assert SAID in stage.seen("messages")[1].body.decode()

    play(over("messages"), scenario)


def test_models_have_the_shape_of_the_sdk_that_asks() -> None:
    """Anthropic's with its version, OpenAI's without."""

    async def scenario(stage: Stage) -> None:
        request = head("GET", "/v1/models", {"authorization": f"Bearer {KEY}", **ANTHROPIC}) + b"\r\n"
        theirs = await stage.send(request, "GET")
        assert problems("messages", "models", theirs.json) == []
        assert (await stage.get("/v1/models")).json["object"] == "list"

    play(over("chat"), scenario)


# Stored responses.


@pytest.fixture
def stored() -> Iterator[Tree]:
    """The `redis` section over a private store."""
    with PrivateStore() as store:
        yield {"url": store.url}


async def follow(stage: Stage, id_: str | None, **fields: Any) -> Got:
    """A response to a question, after another response."""
    after = {"previous_response_id": id_} if id_ else {}
    return await stage.post(body("responses", input="And?", **after, **fields), path=PATHS["responses"])


def test_a_chain_goes_on_over_another_provider(stored: Tree) -> None:
    """The whole history goes up each time, and no provider is told of it."""
    setting = over("responses", "messages", redis=stored)

    async def scenario(stage: Stage) -> None:
        first = await follow(stage, None)
        assert (first.status, first.headers["x-apex-target"]) == (200, "responses/up")
        await stage.mocks["responses"].close()
        second = await follow(stage, first.json["id"], stream=True)
        assert second.headers["x-apex-target"] == "messages/up"
        last = json.loads(second.events[-2])
        assert (last["type"], second.events[-1]) == ("response.completed", b"[DONE]")
        (entry,) = stage.seen("messages")
        said = json.loads(entry.body)["messages"]
        assert [turn["role"] for turn in said] == ["user", "assistant", "user"]
        assert SAID in texts(said[1])
        assert first.json["id"] not in entry.body.decode()
        items = await stage.get(f"/v1/responses/{last['response']['id']}/input_items?order=asc")
        assert problems("responses", "input_items", items.json) == []
        assert [item["role"] for item in items.json["data"]] == ["user", "assistant", "user"]

    play(setting, scenario)


def test_a_response_is_its_clients_own(stored: Tree) -> None:
    """Absent and foreign are alike; what is deleted is gone."""

    async def scenario(stage: Stage) -> None:
        made = (await follow(stage, None)).json
        path = f"/v1/responses/{made['id']}"
        assert (await stage.get(path)).json == made
        foreign, absent = await stage.get(path, key=OTHER_KEY), await stage.get("/v1/responses/resp_0")
        assert (foreign.status, absent.status) == (404, 404)
        assert foreign.body.replace(made["id"].encode(), b"resp_0") == absent.body
        delete = head("DELETE", path, {"authorization": f"Bearer {KEY}"}) + b"\r\n"
        gone = await stage.send(delete, "DELETE")
        assert (gone.status, problems("responses", "deleted", gone.json)) == (200, [])
        assert (await stage.get(path)).status == 404
        assert (await follow(stage, made["id"])).error["code"] == "previous_response_not_found"
        kept = (await follow(stage, None, store=False)).json
        assert (await stage.get(f"/v1/responses/{kept['id']}")).status == 404

    play(over("chat", redis=stored), scenario)


def test_a_response_in_the_background_is_read_when_it_is_done(stored: Tree) -> None:
    """It begins at once, can be polled, and its events be read again from any of them on."""

    async def scenario(stage: Stage) -> None:
        begun = await follow(stage, None, background=True)
        assert begun.status == 200, begun.body
        assert begun.json["status"] in ("queued", "in_progress")
        path = f"/v1/responses/{begun.json['id']}"
        events = (await stage.get(f"{path}?stream=true")).events  # to the end, which is waited for
        assert [json.loads(event)["sequence_number"] for event in events[:-1]] == list(range(len(events) - 1))
        found = (await stage.get(path)).json
        assert (found["status"], SAID in texts(found)) == ("completed", True)
        assert (json.loads(events[-2])["response"], events[-1]) == (found, b"[DONE]")
        rest = (await stage.get(f"{path}?stream=true&starting_after=1")).events
        assert rest == events[2:]

    play(over("messages", redis=stored), scenario)


# WebSockets.


def test_turns_over_a_websocket() -> None:
    """One after the other, each following the one before, which is stored nowhere."""

    async def scenario(stage: Stage) -> None:
        url, key = f"ws://127.0.0.1:{stage.port}/v1/responses", {"authorization": f"Bearer {KEY}"}
        with pytest.raises(InvalidStatus) as caught:
            await connect(url, additional_headers={"authorization": "Bearer wrong"})
        assert caught.value.response.status_code == 401
        previous: str | None = None
        async with connect(url, additional_headers=key) as socket:
            for _ in range(2):
                create = {"type": "response.create", "model": MODEL, "input": "And?", "store": False}
                await socket.send(json.dumps({**create, "previous_response_id": previous}))
                while (event := json.loads(await socket.recv()))["type"] != "response.completed":
                    assert problems("responses", "event", event) == []
                previous = event["response"]["id"]
            await socket.send("no")
            refused = json.loads(await socket.recv())
            assert (refused["type"], refused["status"]) == ("error", 400)
        assert [len(json.loads(entry.body)["messages"]) for entry in stage.seen("chat")] == [1, 3]

    play(over("chat"), scenario)
