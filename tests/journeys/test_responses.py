"""Stored responses over the whole application, whatever the provider speaks: kept, followed, read, ended."""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import pytest
from private_store import PrivateStore
from schemas.validation import problems, stream_problems
from stage import OTHER_KEY, Setting, Stage, play, rules
from wires import KEY, MODEL, Got, Tree, head, request

from mockprovider import Behaviour, Complaint, Match, Rule, Script
from proxy.relay import Patience

PATH = "/v1/responses"
SAID = "Hello from {}. You said: "
ACCOUNTS: dict[str, Tree] = {
    "chat": {"kind": "openai", "dialects": ["chat"]},
    "responses": {"kind": "openai", "dialects": ["responses"]},
    "messages": {"kind": "anthropic"},
}
TOOL = {
    "type": "function",
    "name": "add",
    "description": None,
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
    "strict": False,
}
SLOW = Behaviour(tokens=12, delay_events_s=0.02)
STALLED = Behaviour(tokens=12, stall_after_events=4)
BY_ID = [("GET", ""), ("GET", "?stream=true"), ("GET", "/input_items"), ("POST", "/cancel"), ("DELETE", "")]
each = pytest.mark.parametrize("dialect", ACCOUNTS)
_seeds = itertools.count(1000)

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A store."""
    with PrivateStore() as store:
        yield store.url


def journey(
    url: str | None,
    scenario: Callable[["Talk"], Awaitable[None]],
    dialect: str = "chat",
    life: Behaviour | Script | None = None,
    **config: Any,
) -> None:
    """Play a scenario before one provider, called after what it speaks; nothing may run at its end."""
    setting = Setting(
        providers={dialect: life or Behaviour()},
        accounts={dialect: ACCOUNTS[dialect]},
        config={
            "redis": {"url": url} if url else {},
            "clients": [{"name": "dev", "key": KEY}, {"name": "other", "key": OTHER_KEY}],
            **config,
        },
        seed=next(_seeds),
    )

    async def main(stage: Stage) -> None:
        await scenario(Talk(stage, dialect))
        shelf = stage.replica.shelf
        await stage.until(lambda: stage.replica.guard.in_flight == 0)
        assert shelf is None or len(shelf.runs) == 0
        numbers = await stage.metrics()
        assert numbers["apex_requests_in_flight"] == 0

    play(setting, main)


class Talk:
    """A client of one stage."""

    def __init__(self, stage: Stage, dialect: str) -> None:
        self.stage = stage
        self.dialect = dialect

    async def say(self, said: Any = "Hi", key: str = KEY, **fields: Any) -> Got:
        """Ask for a response."""
        body = {"model": MODEL, "input": said, **fields}
        return await self.stage.send(request(body, PATH, key))

    async def told(self, said: Any = "Hi", **fields: Any) -> Tree:
        """A good response, streamed or whole."""
        got = await self.say(said, **fields)
        assert got.status == 200, got.body
        if not fields.get("stream"):
            return reply(got)
        assert stream_problems("responses", got.body) == []
        last: Tree = json.loads(got.events[-2])["response"]
        return last

    async def ask(self, method: str, path: str, key: str = KEY) -> Got:
        """Ask for something by its path."""
        headers = {"authorization": f"Bearer {key}", "content-length": "0"}
        return await self.stage.send(head(method, f"{PATH}/{path}", headers) + b"\r\n", method)

    async def ends(self, id_: str) -> Tree:
        """A response that runs, once it has ended."""
        told = reply(await self.ask("GET", id_))
        async with asyncio.timeout(5.0):
            while told["status"] == "in_progress":
                await asyncio.sleep(0.02)
                told = reply(await self.ask("GET", id_))
        return told

    @property
    def heard(self) -> list[tuple[str, str]]:
        """The texts that the provider was sent last, with who said them."""
        body = json.loads(self.stage.seen(self.dialect)[-1].body)
        turns = body.get("messages") or body["input"]
        if isinstance(turns, str):
            return [("user", turns)]
        return [
            (turn["role"], content if isinstance(content, str) else "|".join(map(_text, content)))
            for turn in turns
            if (content := turn.get("content"))
        ]

    @property
    def ended(self) -> list[str]:
        """How requests have ended, as `endpoint outcome`."""
        return [f"{record.endpoint} {record.outcome}" for record in self.stage.records]

    @property
    def greeting(self) -> str:
        """What the provider says before it repeats what it was told."""
        return SAID.format(self.dialect)


def reply(got: Got) -> Tree:
    """A whole response as it should be."""
    assert got.status == 200, got.body
    assert problems("responses", "reply", got.json) == []
    told: Tree = got.json
    return told


def _text(part: Tree) -> str:
    return str(part.get("text", ""))


def text(told: Tree) -> str:
    """What a response says."""
    return "".join(part["text"] for item in told["output"] for part in item.get("content", ()))


def refused(got: Got, status: int, param: str | None = None, code: str | None = None) -> Tree:
    """The error of an answer, in the shape of the dialect."""
    assert got.status == status, got.body
    assert problems("responses", "error", got.json) == []
    assert got.error["param"] == param
    assert code is None or got.error["code"] == code
    assert got.headers["x-request-id"] == got.headers["request-id"]
    return got.error


@each
@pytest.mark.parametrize("stream", [False, True])
def test_a_response_is_kept_and_followed(url: str, dialect: str, stream: bool) -> None:
    """What was answered is what is read later; what follows it is sent with all that was said."""

    async def scenario(talk: Talk) -> None:
        first = await talk.told("one", stream=stream, metadata={"a": "b"})
        assert text(first) == talk.greeting + "one"
        assert (first["store"], first["metadata"]) == (True, {"a": "b"})
        assert reply(await talk.ask("GET", first["id"])) == first
        second = await talk.told("two", stream=stream, previous_response_id=first["id"])
        third = await talk.told("three", stream=stream, previous_response_id=second["id"])
        assert third["previous_response_id"] == second["id"]
        said = [("user", "one"), ("assistant", talk.greeting + "one"), ("user", "two")]
        assert talk.heard == [*said, ("assistant", talk.greeting + "two"), ("user", "three")]
        sent = json.loads(talk.stage.seen(dialect)[-1].body)
        assert not {"previous_response_id", "background"} & sent.keys()
        assert sent.get("store") in (None, False)

    journey(url, scenario, dialect)


@each
def test_what_was_said_can_be_listed(url: str, dialect: str) -> None:
    """All of it, page by page."""

    async def scenario(talk: Talk) -> None:
        first = await talk.told("one")
        second = await talk.told("two", previous_response_id=first["id"])
        got = await talk.ask("GET", f"{second['id']}/input_items?order=asc&limit=2")
        assert problems("responses", "input_items", got.json) == []
        assert [item["role"] for item in got.json["data"]] == ["user", "assistant"]
        after = f"&after={got.json['last_id']}"
        rest = await talk.ask("GET", f"{second['id']}/input_items?order=asc{after}")
        assert [item["content"][0]["text"] for item in rest.json["data"]] == ["two"]
        assert (got.json["has_more"], rest.json["has_more"]) == (True, False)

    journey(url, scenario, dialect)


@each
def test_calls_and_their_results_are_followed(url: str, dialect: str) -> None:
    """The call is in the store, its result in the next input."""

    async def scenario(talk: Talk) -> None:
        asked = await talk.told("add", tools=[TOOL], tool_choice="required")
        (call,) = [item for item in asked["output"] if item["type"] == "function_call"]
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "5"}
        last = {"tools": [TOOL], "previous_response_id": asked["id"]}
        done = await talk.told([result], **last)
        assert done["status"] == "completed"
        assert call["call_id"] in talk.stage.seen(dialect)[-1].body.decode()
        lost = await talk.say([{**result, "call_id": "call_other"}], **last)
        assert "call_other" in refused(lost, 400, "input")["message"]

    journey(url, scenario, dialect, rules(Rule(match=Match(nth=1), then=Behaviour(tool_calls=1))))


@each
def test_reasoning_goes_on_from_where_it_was(url: str, dialect: str) -> None:
    """Sealed as its maker gave it, and not shown again to a client that did not ask."""

    async def scenario(talk: Talk) -> None:
        thinking = {"reasoning": {"effort": "medium", "summary": "auto"}}
        first = await talk.told("one", **thinking)
        assert first["output"][0]["type"] == "reasoning"
        kept = reply(await talk.ask("GET", first["id"]))
        assert "encrypted_content" not in json.dumps(kept)
        await talk.told("two", previous_response_id=first["id"], **thinking)
        sealed = b"encrypted_content" if dialect == "responses" else b"signature"
        assert (sealed in talk.stage.seen(dialect)[-1].body) is (dialect != "chat")

    life = Behaviour(reasoning="Let me see.")
    models = {MODEL: {"providers": [{"provider": dialect, "model": THINKS[dialect]}]}}
    journey(url, scenario, dialect, life, models=models)


THINKS = {"chat": "gpt-5", "responses": "gpt-5", "messages": "claude-opus-4-8"}


@each
def test_items_can_be_referred_to(url: str, dialect: str) -> None:
    """A client that keeps its conversation names what was answered."""

    async def scenario(talk: Talk) -> None:
        first = await talk.told("one")
        reference = {"type": "item_reference", "id": first["output"][-1]["id"]}
        said = [{"role": "user", "content": "one"}, reference, {"role": "user", "content": "two"}]
        if dialect == "responses":  # its items have names of their own, which only a chain can tell
            await talk.told([reference, said[2]], previous_response_id=first["id"])
            refused(await talk.say(said), 400, "input[1].id", "invalid_value")
            return
        await talk.told(said)
        assert [text for _, text in talk.heard] == ["one", talk.greeting + "one", "two"]
        refused(await talk.say(said, key=OTHER_KEY), 400, "input[1].id", "invalid_value")

    journey(url, scenario, dialect)


@each
def test_what_is_not_to_be_stored_is_nowhere(url: str, dialect: str) -> None:
    """It cannot be read, followed or deleted, and the store has not changed."""

    async def scenario(talk: Talk) -> None:
        assert talk.stage.replica.shelf is not None
        link = talk.stage.replica.shelf.link
        before = await link.call("DBSIZE")
        told = await talk.told("secret", store=False)
        assert told["store"] is False
        streamed = await talk.told("secret", store=False, stream=True)
        for one in (told, streamed):
            for method, path in BY_ID:
                refused(await talk.ask(method, one["id"] + path), 404, code="not_found")
            after = await talk.say("more", previous_response_id=one["id"])
            refused(after, 400, "previous_response_id", "previous_response_not_found")
        assert await link.call("DBSIZE") == before

    journey(url, scenario, dialect)


@each
def test_what_is_deleted_is_gone(url: str, dialect: str) -> None:
    """With all that followed it."""

    async def scenario(talk: Talk) -> None:
        first = await talk.told("one")
        second = await talk.told("two", previous_response_id=first["id"])
        got = await talk.ask("DELETE", first["id"])
        assert (got.status, problems("responses", "deleted", got.json)) == (200, [])
        for method, path in BY_ID:
            refused(await talk.ask(method, first["id"] + path), 404, code="not_found")
        for id_ in (first["id"], second["id"]):
            got = await talk.say("three", previous_response_id=id_)
            refused(got, 400, "previous_response_id", "previous_response_not_found")
        assert reply(await talk.ask("GET", second["id"])) == second

    journey(url, scenario, dialect)


def test_nobody_elses_response_can_be_told_from_none(url: str) -> None:
    """Whatever is asked of it."""

    async def scenario(talk: Talk) -> None:
        mine = await talk.told("mine")
        ran = await talk.told("mine", background=True)
        await talk.ends(ran["id"])
        unknown = "resp_" + "f" * 24
        for method, path in BY_ID:
            answers = [
                await talk.ask(method, id_ + path, OTHER_KEY) for id_ in (mine["id"], ran["id"], unknown)
            ]
            told = [refused(got, 404, code="not_found") for got in answers]
            ids = (mine["id"], ran["id"], unknown)
            assert len({error["message"].replace(id_, "") for error, id_ in zip(told, ids, strict=True)}) == 1
        for id_ in (mine["id"], ran["id"], unknown):
            got = await talk.say("theirs", OTHER_KEY, previous_response_id=id_)
            refused(got, 400, "previous_response_id", "previous_response_not_found")
        assert reply(await talk.ask("GET", mine["id"])) == mine

    journey(url, scenario)


@each
def test_a_stream_that_breaks_is_kept_as_failed(url: str, dialect: str) -> None:
    """As its client saw it."""

    async def scenario(talk: Talk) -> None:
        got = await talk.say("one", stream=True)
        assert stream_problems("responses", got.body) == []
        last = json.loads(got.events[-2])
        assert last["type"] == "response.failed"
        assert reply(await talk.ask("GET", last["response"]["id"])) == last["response"]

    journey(url, scenario, dialect, Behaviour(tokens=12, cut_after_events=8))


# In the background.


@each
def test_a_response_runs_without_its_client(url: str, dialect: str) -> None:
    """It is answered at once, read while it runs and when it has ended, and followed."""

    async def scenario(talk: Talk) -> None:
        begun = await talk.told("one", background=True)
        assert (begun["status"], begun["background"], begun["output"]) == ("in_progress", True, [])
        early = await talk.say("two", previous_response_id=begun["id"])
        refused(early, 400, "previous_response_id", "previous_response_not_found")
        ended = await talk.ends(begun["id"])
        assert (ended["id"], ended["status"], ended["background"]) == (begun["id"], "completed", True)
        assert text(ended).startswith("Hello from")
        assert ended["usage"]["output_tokens"] > 0
        await talk.told("two", previous_response_id=begun["id"])
        assert [who for who, _ in talk.heard] == ["user", "assistant", "user"]
        await talk.stage.until(lambda: talk.ended.count("responses completed") == 2)

    journey(url, scenario, dialect, SLOW)


@each
def test_its_events_can_be_followed_and_read_again(url: str, dialect: str) -> None:
    """From wherever one was cut off: nothing is lost, and nothing comes twice."""

    async def scenario(talk: Talk) -> None:
        got = await talk.say("one", background=True, stream=True)
        assert (got.status, stream_problems("responses", got.body)) == (200, [])
        events = [json.loads(event) for event in got.events[:-1]]
        id_ = events[0]["response"]["id"]
        again = await talk.ask("GET", f"{id_}?stream=true")
        assert again.body == got.body
        for after in (0, 3, events[-1]["sequence_number"], 10_000):
            part = await talk.ask("GET", f"{id_}?stream=true&starting_after={after}")
            assert [json.loads(event) for event in part.events[:-1]] == events[after + 1 :]
            assert part.events[-1] == b"[DONE]"
        assert events[-1]["response"] == reply(await talk.ask("GET", id_))

    journey(url, scenario, dialect, SLOW)


@each
def test_a_reader_may_come_late_and_leave_early(url: str, dialect: str) -> None:
    """The response runs on."""

    async def scenario(talk: Talk) -> None:
        begun = await talk.told("one", background=True)
        wire = await talk.stage.wire()
        wire.send(
            head("GET", f"{PATH}/{begun['id']}?stream=true", {"authorization": f"Bearer {KEY}"}) + b"\r\n"
        )
        assert (await wire.head())[0] == 200
        assert b"response.created" in await wire.chunk()
        wire.reset()
        assert (await talk.ends(begun["id"]))["status"] == "completed"
        whole = await talk.ask("GET", f"{begun['id']}?stream=true")
        assert stream_problems("responses", whole.body) == []

    journey(url, scenario, dialect, SLOW)


def test_a_silent_stream_is_kept_alive(url: str) -> None:
    """While the response thinks; its end is told all the same."""
    setting = Setting(
        providers={"chat": Behaviour(delay_first_event_s=0.5)},
        config={"redis": {"url": url}},
        patience=Patience(pulse=0.1),
        seed=next(_seeds),
    )

    async def scenario(stage: Stage) -> None:
        talk = Talk(stage, "chat")
        begun = await talk.told("one", background=True)
        got = await talk.ask("GET", f"{begun['id']}?stream=true")
        assert got.body.count(b": ping\n\n") >= 3
        assert stream_problems("responses", got.body) == []

    play(setting, scenario)


@each
@pytest.mark.parametrize("how", ["cancel", "delete"])
def test_it_can_be_ended(url: str, dialect: str, how: str) -> None:
    """The provider is let go; whoever follows it is told."""

    async def scenario(talk: Talk) -> None:
        begun = await talk.told("one", background=True)
        stage = talk.stage
        await stage.until(lambda: stage.seen(dialect))
        following = asyncio.create_task(talk.ask("GET", f"{begun['id']}?stream=true"))
        await asyncio.sleep(0.05)
        if how == "cancel":
            for _ in range(2):
                got = await talk.ask("POST", f"{begun['id']}/cancel")
                assert reply(got)["status"] == "cancelled"
            assert reply(await talk.ask("GET", begun["id"]))["status"] == "cancelled"
            assert stream_problems("responses", (await following).body) == []
            assert b'"status":"cancelled"' in (await following).body
        else:
            assert (await talk.ask("DELETE", begun["id"])).json["deleted"] is True
            refused(await talk.ask("GET", begun["id"]), 404)
            assert (await following).events[-1] == b"[DONE]"
        await stage.until(lambda: stage.seen(dialect)[0].gone_at is not None)
        await stage.until(lambda: "responses client_gone" in talk.ended)

    journey(url, scenario, dialect, STALLED)


@each
def test_what_fails_in_the_background_says_why(url: str, dialect: str) -> None:
    """In the response, for nobody waits for an answer."""

    async def scenario(talk: Talk) -> None:
        begun = await talk.told("one", background=True)
        ended = await talk.ends(begun["id"])
        assert (ended["status"], ended["error"]["code"]) == ("failed", "invalid_prompt")
        assert "too strange" in ended["error"]["message"]
        events = await talk.ask("GET", f"{begun['id']}?stream=true")
        assert stream_problems("responses", events.body) == []
        refused(await talk.say("two", previous_response_id=begun["id"]), 400)

    life = Behaviour(status=400, error=Complaint(message="That is too strange."))
    journey(url, scenario, dialect, life)


def test_limits_are_known_before_it_begins(url: str) -> None:
    """A client without room is told at once; a run is one request."""

    async def scenario(talk: Talk) -> None:
        first = await talk.say("one", background=True)
        assert first.headers["x-ratelimit-remaining-requests"] == "1"
        await talk.ends(first.json["id"])
        second = await talk.say("two", background=True)
        assert second.headers["x-ratelimit-remaining-requests"] == "0"
        got = await talk.say("three", background=True)
        refused(got, 429, code="rate_limit_exceeded")
        assert "retry-after" in got.headers
        await talk.ends(second.json["id"])

    limits = {"requests_per_minute": 2, "burst": 2}
    journey(url, scenario, clients=[{"name": "dev", "key": KEY, "limits": limits}])


# Made short, and counted.


@each
def test_a_conversation_is_made_short_and_goes_on(url: str, dialect: str) -> None:
    """With calls in it; from what was sent or from what is stored."""

    async def scenario(talk: Talk) -> None:
        stored = await talk.told("one")
        call = {"type": "function_call", "call_id": "c1", "name": "add", "arguments": "{}"}
        said = [
            {"role": "user", "content": "two"},
            call,
            {"type": "function_call_output", "call_id": "c1", "output": "5"},
        ]
        for body in ({"input": said}, {"previous_response_id": stored["id"]}):
            got = await talk.stage.post({"model": MODEL, **body}, path=f"{PATH}/compact")
            assert (got.status, problems("responses", "compaction", got.json)) == (200, []), got.body
            assert got.headers["x-apex-target"].startswith(dialect)
            assert got.json["output"][-1]["type"] == "compaction"
            await talk.told([*got.json["output"], {"role": "user", "content": "three"}])
            assert talk.heard[-1][1].endswith("three")
            assert any("Hello from" in text for _, text in talk.heard)
        endpoints = [record.endpoint for record in talk.stage.records]
        assert endpoints.count("other") == 2
        refused(await talk.stage.post({"model": MODEL}, path=f"{PATH}/compact"), 400, "input")
        got = await talk.stage.post({"model": "nobody", "input": "x"}, path=f"{PATH}/compact")
        refused(got, 404, "model", "model_not_found")

    journey(url, scenario, dialect)


@each
def test_tokens_are_counted(url: str, dialect: str) -> None:
    """By the provider that speaks the dialect; what is stored counts as well."""

    async def scenario(talk: Talk) -> None:
        first = await talk.told("word " * 300)
        counts = []
        for body in ({}, {"previous_response_id": first["id"]}):
            got = await talk.stage.post({"model": MODEL, "input": "Hi", **body}, path=f"{PATH}/input_tokens")
            assert (got.status, problems("responses", "count", got.json)) == (200, []), got.body
            estimated = got.headers.get("x-apex-warnings") == "estimated=input_tokens"
            assert estimated is (dialect != "responses")
            counts.append(got.json["input_tokens"])
        assert counts[1] > counts[0] + 200
        got = await talk.stage.post(
            {"model": MODEL, "input": "Hi", "previous_response_id": "resp_x"}, path=f"{PATH}/input_tokens"
        )
        refused(got, 400, "previous_response_id", "previous_response_not_found")

    journey(url, scenario, dialect)


@each
def test_tokens_of_messages_are_counted(dialect: str) -> None:
    """In the shape of that dialect, errors too."""

    async def scenario(talk: Talk) -> None:
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
        path = "/v1/messages/count_tokens?beta=true"
        got = await talk.stage.post(body, path=path)
        assert (got.status, problems("messages", "count", got.json)) == (200, [])
        estimated = got.headers.get("x-apex-warnings") == "estimated=input_tokens"
        assert estimated is (dialect != "messages")
        for wrong, status in ((body | {"model": "nobody"}, 404), (body | {"model": 5}, 400)):
            got = await talk.stage.post(wrong, path=path)
            assert (got.status, problems("messages", "error", got.json)) == (status, [])

    journey(None, scenario, dialect)


# What is refused.

WRONG: list[tuple[Tree, int, str | None, str | None]] = [
    ({"model": "nobody"}, 404, "model", "model_not_found"),
    ({"store": "yes"}, 400, "store", "invalid_type"),
    ({"background": 1}, 400, "background", "invalid_type"),
    ({"background": True, "store": False}, 400, "background", None),
    ({"stream": "yes"}, 400, "stream", "invalid_type"),
    ({"previous_response_id": 5}, 400, "previous_response_id", "invalid_type"),
    ({"previous_response_id": "resp_x"}, 400, "previous_response_id", "previous_response_not_found"),
    ({"conversation": "conv_1"}, 400, "conversation", "unsupported_value"),
    ({"prompt": {"id": "pmpt_1"}}, 400, "prompt", "unsupported_value"),
    ({"input": [{"type": "item_reference", "id": "msg_x"}]}, 400, "input[0].id", "invalid_value"),
    ({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, 400, "input", None),
    ({"input": 5}, 400, "input", None),
]


@each
@pytest.mark.parametrize(("body", "status", "param", "code"), WRONG)
def test_what_cannot_be_stored_is_refused(
    url: str, dialect: str, body: Tree, status: int, param: str | None, code: str | None
) -> None:
    """In one shape, before any provider is asked."""

    async def scenario(talk: Talk) -> None:
        refused(
            await talk.stage.post({"model": MODEL, "input": "Hi", **body}, path=PATH), status, param, code
        )
        assert talk.stage.seen(dialect) == []

    journey(url, scenario, dialect)


def test_paths_have_their_methods(url: str) -> None:
    """What is nowhere is refused in the same shape."""

    async def scenario(talk: Talk) -> None:
        told = await talk.told("one")
        for method, path, status in (
            ("PUT", told["id"], 405),
            ("POST", told["id"], 405),
            ("GET", f"{told['id']}/cancel", 405),
            ("POST", f"{told['id']}/input_items", 405),
            ("GET", f"{told['id']}/nothing", 404),
        ):
            refused(await talk.ask(method, path), status)
        for method, path in BY_ID:
            refused(await talk.ask(method, told["id"] + path, "sk-wrong"), 401, code="invalid_api_key")
        for path, param in (("?stream=true&starting_after=x", "stream"), ("/input_items?limit=0", "limit")):
            refused(await talk.ask("GET", told["id"] + path), 400, param)
        refused(await talk.ask("POST", f"{told['id']}/cancel"), 400)

    journey(url, scenario)


# What a provider has of its own, and what a cluster has.


def test_a_provider_may_keep_its_own_state(url: str) -> None:
    """Its ids are nobody's business: responses have ours, and follow what their client says."""
    body: Mapping[str, Any] = {
        "id": "resp_theirs",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": "up",
        "previous_response_id": "resp_before",
        "store": False,
        "output": [
            {
                "type": "message",
                "id": "msg_theirs",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}],
            }
        ],
    }

    async def scenario(talk: Talk) -> None:
        first = (await talk.say("one")).json
        assert first["id"] != "resp_theirs"
        assert (first["previous_response_id"], first["store"]) == (None, True)
        second = (await talk.say("two", previous_response_id=first["id"])).json
        assert second["previous_response_id"] == first["id"]
        refused(await talk.say("x", previous_response_id="resp_theirs"), 400, "previous_response_id")
        assert (await talk.ask("GET", second["id"])).json == second

    journey(url, scenario, "responses", Behaviour(body=dict(body)))


@pytest.mark.parametrize("order", list(itertools.permutations(ACCOUNTS, 2)))
def test_a_chain_outlives_its_provider(url: str, order: tuple[str, str]) -> None:
    """The next one, which speaks another dialect, is sent all that was said."""
    first, second = order
    dying = rules(Rule(match=Match(after_n=2), then=Behaviour(status=503)))
    setting = Setting(
        providers={first: dying, second: Behaviour()},
        accounts=ACCOUNTS,
        config={"redis": {"url": url}},
        seed=next(_seeds),
    )

    async def scenario(stage: Stage) -> None:
        talk = Talk(stage, second)
        last: Tree = {}
        for number in range(4):
            got = await talk.say(f"turn {number}", **last)
            last = {"previous_response_id": reply(got)["id"]}
            assert got.headers["x-apex-target"].startswith(first if number < 2 else second)
        users = [text for who, text in talk.heard if who == "user"]
        assert users == ["turn 0", "turn 1", "turn 2", "turn 3"]
        assert len(talk.heard) == 7

    play(setting, scenario)


def test_a_response_can_be_followed_on_another_replica(url: str) -> None:
    """Whatever one has stored, another reads; also one that ran in the background."""
    ids: list[str] = []

    async def here(talk: Talk) -> None:
        ids.append((await talk.told("one"))["id"])
        ids.append((await talk.told("two", previous_response_id=ids[0], background=True))["id"])
        await talk.ends(ids[1])

    async def there(talk: Talk) -> None:
        await talk.told("three", previous_response_id=ids[1])
        assert [text for who, text in talk.heard if who == "user"] == ["one", "two", "three"]
        got = await talk.ask("GET", f"{ids[1]}?stream=true")
        assert stream_problems("responses", got.body) == []

    journey(url, here, "messages")
    journey(url, there, "chat")


# Where it is stored, and where not.


def test_the_answer_says_where_it_is_stored(url: str) -> None:
    """Nothing where all is well; why not otherwise."""

    async def scenario(talk: Talk) -> None:
        assert "x-apex-store" not in (await talk.say("one")).headers
        assert "x-apex-store" not in (await talk.say("one", store=False)).headers
        large = await talk.say("x" * 5000)
        assert (large.status, large.headers["x-apex-store"]) == (200, "too_large")
        refused(await talk.ask("GET", large.json["id"]), 404)
        refused(await talk.say("x" * 5000, background=True), 413, code="request_too_large")

    journey(url, scenario, responses={"max_size": 4096})


def test_without_a_store_responses_are_answered() -> None:
    """And nothing is promised."""

    async def scenario(talk: Talk) -> None:
        got = await talk.say("one")
        assert (got.status, got.headers["x-apex-store"]) == (200, "failed")
        for method, path in BY_ID:
            refused(await talk.ask(method, got.json["id"] + path), 503, code="store_unavailable")
        refused(await talk.say("two", previous_response_id=got.json["id"]), 503, code="store_unavailable")
        refused(await talk.say("two", background=True), 503, code="store_unavailable")

    journey(None, scenario)


@each
def test_while_the_store_is_away_responses_are_answered(dialect: str) -> None:
    """They are kept here until it is back; what nobody can know is a 503."""
    with PrivateStore() as store:

        async def scenario(talk: Talk) -> None:
            before = await talk.told("before")
            store.kill()
            shelf = talk.stage.replica.shelf
            assert shelf is not None
            await talk.say("notices")
            await talk.stage.until(lambda: not shelf.link.available)
            got = await talk.say("one")
            assert (got.status, got.headers["x-apex-store"]) == (200, "deferred")
            assert reply(await talk.ask("GET", got.json["id"])) == got.json
            streamed = await talk.say("one", stream=True)
            assert (streamed.status, streamed.headers["x-apex-store"]) == (200, "deferred")
            begun = await talk.say("two", background=True)
            assert (begun.status, begun.headers["x-apex-store"]) == (200, "deferred")
            await talk.told("three", previous_response_id=got.json["id"])
            for method, path in BY_ID:
                refused(await talk.ask(method, before["id"] + path), 503, code="store_unavailable")
            refused(await talk.say("x", previous_response_id=before["id"]), 503, code="store_unavailable")
            assert (await talk.told("free", store=False))["status"] == "completed"
            assert (await talk.ends(begun.json["id"]))["status"] == "completed"
            store.start()
            await talk.stage.until(lambda: shelf.link.available and not shelf.store.outbox, 10.0)
            assert reply(await talk.ask("GET", got.json["id"])) == got.json
            assert reply(await talk.ask("GET", begun.json["id"]))["status"] == "completed"

        journey(store.url, scenario, dialect)


def test_metrics_know_only_what_they_know(url: str) -> None:
    """No id and no path is a label; everything that began has ended."""

    async def scenario(talk: Talk) -> None:
        told = await talk.told("one")
        await talk.ends((await talk.told("one", background=True))["id"])
        for method, path in BY_ID:
            await talk.ask(method, told["id"] + path)
        await talk.stage.post({"model": MODEL, "input": "Hi"}, path=f"{PATH}/compact")
        await talk.stage.post({"model": MODEL, "input": "Hi"}, path=f"{PATH}/input_tokens")
        numbers = await talk.stage.metrics()
        labels = {
            name.partition('endpoint="')[2].partition('"')[0] for name in numbers if "endpoint=" in name
        }
        assert labels == {"responses", "other", "count_tokens"}
        total = sum(value for name, value in numbers.items() if name.startswith("apex_requests_total"))
        assert total == len(talk.stage.records)
        assert talk.ended.count("responses completed") == 3  # of which one ran in another one's stead
        assert told["id"] not in "".join(numbers)

    journey(url, scenario)
