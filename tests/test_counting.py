import asyncio
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from fakes.configs import MODEL, Tree, config
from fakes.providers import HANG, Answer
from fakes.scenes import HEAD, Scene
from fakes.shelves import shelves
from fakes.virtual_loop import passed, run
from private_store import PrivateStore
from responses.shelves import response
from schemas.validation import problems

from metrics import record as records
from proxy.archive import Archive
from proxy.counting import LARGEST, PATIENCE, Counting
from proxy.decision import whole
from proxy.errors import Fault, FaultKind
from proxy.exchange import Exchange, Head
from proxy.health import Effect, Report
from proxy.wire.model import Endpoint, Usage

Json = dict[str, Any]
ANTHROPIC: Tree = {"kind": "anthropic", "base_url": "http://a.test", "api_keys": ["a1"]}
OPENAI: Tree = {"kind": "openai", "base_url": "http://a.test/v1", "api_keys": ["a1"]}
CHAT: Tree = {"base_url": "http://b.test/v1", "api_keys": ["b1"]}
SAID: Json = {"messages": [{"role": "user", "content": "Hi"}]}
HI: Json = {"input": "Hi"}


def told(count: object) -> Answer:
    """A provider's count."""
    return Answer([json.dumps({"input_tokens": count, "object": "response.input_tokens"}).encode()])


class Counted:
    """One request to count, and what came of it."""

    def __init__(self, scene: Scene, exchange: Exchange) -> None:
        self.scene = scene
        self.exchange = exchange
        sink: Any = exchange.sink
        self.status: int = sink.status
        self.headers: dict[bytes, bytes] = dict(sink.headers)
        self.body: Json = json.loads(sink.body)

    @property
    def estimated(self) -> bool:
        """Whether the answer says that it is an estimate."""
        return self.headers.get(b"x-apex-warnings") == b"estimated=input_tokens"

    @property
    def sent(self) -> Json:
        """The body that the provider was asked with."""
        (call,) = self.scene.upstream.calls
        sent: Json = json.loads(call.body)
        return sent


async def counting(
    scene: Scene, endpoint: Endpoint, body: Json, head: Head = HEAD, archive: Archive | None = None
) -> Counted:
    """Count what a request would take."""
    counter = Counting(scene.fleet, scene.upstream, scene.estimator, archive or scene.archive, scene.clock)
    said = json.dumps({"model": MODEL, **body}).encode()
    exchange = scene.exchange(said, endpoint=endpoint, head=head)
    await scene.pipeline.through(exchange, counter.answer)
    return Counted(scene, exchange)


def counted(
    endpoint: Endpoint, body: Json, answer: Answer, *providers: Tree, head: Head = HEAD, **sections: Any
) -> Counted:
    """One request over these providers, of which the first answers so."""

    async def scenario() -> Counted:
        names = dict(zip("ab", providers, strict=False))
        made = config(names, **sections)
        scene = Scene(made, {"a": [answer], "b": [Answer([b"{}"])]})
        done = await counting(scene, endpoint, body, head)
        assert all(reply.closed for reply in scene.upstream.replies)
        assert scene.guard.in_flight == 0
        return done

    return run(scenario())


def test_a_provider_of_messages_counts() -> None:
    """As its SDK would be answered, with the version that the client speaks."""
    head = msgspec.structs.replace(HEAD, vendor=(("anthropic-version", "2026-10-21"),))
    got = counted(Endpoint.MESSAGES, SAID | {"max_tokens": 5, "stream": True}, told(17), ANTHROPIC, head=head)
    assert (got.status, got.body, got.estimated) == (200, {"input_tokens": 17}, False)
    assert problems("messages", "count", got.body) == []
    assert got.headers[b"x-apex-target"] == b"a/a-model"
    assert got.headers[b"x-apex-attempts"] == b"1"
    last = got.scene.last
    assert (last.target, last.provider) == ("a/a-model", "a")
    assert [(one.target, one.provider, one.outcome) for one in last.attempts] == [("a/a-model", "a", "ok")]
    (call,) = got.scene.upstream.calls
    assert call.url == "http://a.test/v1/messages/count_tokens"
    assert ("anthropic-version", "2026-10-21") in call.headers
    assert ("x-api-key", "a1") in call.headers
    assert got.sent == {"model": "a-model", **SAID}


def test_a_provider_of_responses_counts() -> None:
    """Only what its route takes is sent."""
    body = HI | {
        "instructions": "Be kind.",
        "tools": [],
        "max_output_tokens": 5,
        "store": True,
        "metadata": {},
    }
    got = counted(Endpoint.RESPONSES, body | {"background": True, "stream": False}, told(9), OPENAI)
    assert got.body == {"input_tokens": 9, "object": "response.input_tokens"}
    assert problems("responses", "count", got.body) == []
    assert got.scene.upstream.calls[0].url == "http://a.test/v1/responses/input_tokens"
    assert got.sent == {"model": "a-model", "input": "Hi", "instructions": "Be kind.", "tools": []}
    assert b"x-apex-store" not in got.headers


def test_a_query_stays_at_the_end_of_the_address() -> None:
    """Azure names its version there."""
    azure = {"kind": "azure", "base_url": "http://a.test", "api_keys": ["a1"], "dialects": ["responses"]}
    got = counted(Endpoint.RESPONSES, HI, told(9), azure | {"api_version": "2026-01-01"})
    path, _, query = got.scene.upstream.calls[0].url.partition("?")
    assert path.endswith("/responses/input_tokens")
    assert "api-version" in query


def test_what_only_we_can_read_is_not_sent() -> None:
    """An item of another vendor's reasoning would be refused, and is not sent when it is asked either."""
    sealed = {"type": "reasoning", "summary": [], "encrypted_content": "ax1.messages.m.eA=="}
    got = counted(Endpoint.RESPONSES, {"input": [{"role": "user", "content": "Hi"}, sealed]}, told(9), OPENAI)
    assert [item.get("role") for item in got.sent["input"]] == ["user"]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer([b'{"error": {}}'], 404), "no_count"),
        (Answer([b'{"error": {}}'], 400), "no_count"),
        (Answer([b"slow down"], 429), "no_count"),
        (Answer([b"{}"]), "no_count"),
        (Answer([b""]), "no_count"),
        (Answer([b"no JSON"]), "no_count"),
        (Answer([b"[" * 9_000]), "no_count"),
        (Answer([b"\xff"]), "no_count"),
        (told("17"), "no_count"),
        (told(None), "no_count"),
        (Answer([b" " * (LARGEST + 1)]), "no_count"),
        (Answer([Fault(FaultKind.RESET, "it broke")]), "reset"),
        (Answer(before=[Fault(FaultKind.CONNECT, "it broke")]), "connect"),
        (Answer([HANG]), "total_timeout"),
        (Answer(before=[HANG]), "total_timeout"),
    ],
)
@pytest.mark.parametrize("endpoint", [Endpoint.MESSAGES, Endpoint.RESPONSES])
def test_who_cannot_count_is_no_obstacle(answer: Answer, outcome: str, endpoint: Endpoint) -> None:
    """The answer is our own estimate, and says so; it was an attempt, but nobody's health suffers."""
    provider = ANTHROPIC if endpoint is Endpoint.MESSAGES else OPENAI
    got = counted(endpoint, SAID if endpoint is Endpoint.MESSAGES else HI, answer, provider)
    assert (got.status, got.estimated) == (200, True)
    assert 5 < got.body["input_tokens"] < 30
    assert b"x-apex-target" not in got.headers
    assert got.scene.fleet.health.records == {}
    assert got.headers[b"x-apex-attempts"] == b"1"
    assert (got.scene.last.outcome, got.scene.last.target) == (records.COMPLETED, "")
    assert [one.outcome for one in got.scene.last.attempts] == [outcome]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer([b'{"error": {"message": "my secret is no route"}}'], 404), "it answered with status 404"),
        (Answer([b"my secret"]), "the answer was no count"),
        (Answer(before=[Fault(FaultKind.DNS, "nobody knows a.test")]), "nobody knows a.test"),
        (Answer(before=[HANG]), ""),
    ],
)
def test_why_there_is_no_count_is_told_in_our_words(answer: Answer, said: str) -> None:
    """The log has them; of the provider's nothing is read."""
    got = counted(Endpoint.MESSAGES, SAID, answer, ANTHROPIC)
    assert [one.said for one in got.scene.last.attempts] == [said]


def test_a_client_that_leaves_leaves_an_attempt() -> None:
    """Which is over, and took as long as it was waited for."""

    async def scenario() -> None:
        scene = Scene(config({"a": ANTHROPIC}), {"a": [Answer(before=[HANG])]})
        task = scene.tasks.spawn(counting(scene, Endpoint.MESSAGES, SAID), "request")
        await asyncio.sleep(3)
        task.cancel()
        await asyncio.wait([task])
        (attempt,) = scene.last.attempts
        assert (attempt.target, attempt.outcome, attempt.duration) == ("a/a-model", "cancelled", 3)
        assert (scene.last.outcome, scene.last.waited) == (records.CLIENT_GONE, 3)
        kept = scene.ledger.find(scene.last.request_id)
        assert kept is not None
        assert whole(kept.decision)

    run(scenario())


def test_a_provider_that_hangs_is_waited_for_so_long() -> None:
    """The time is the provider's, and not ours."""

    async def scenario() -> None:
        scene = Scene(config({"a": ANTHROPIC}), {"a": [Answer(before=[HANG])]})
        await counting(scene, Endpoint.MESSAGES, SAID)
        assert passed() == scene.last.waited == scene.last.duration == PATIENCE

    run(scenario())


def test_the_first_that_speaks_the_dialect_is_asked() -> None:
    """Whoever would be asked first otherwise."""

    async def scenario() -> None:
        scene = Scene(config({"b": CHAT, "a": ANTHROPIC}), {"a": [told(17)], "b": []})
        got = await counting(scene, Endpoint.MESSAGES, SAID)
        assert (got.body, scene.upstream.order) == ({"input_tokens": 17}, ["a"])
        assert scene.last.target == "a/a-model"

    run(scenario())


def test_priorities_hold_before_the_order_of_the_configuration() -> None:
    """Of those that can count, and for estimates."""

    async def scenario() -> None:
        other = ANTHROPIC | {"base_url": "http://b.test"}
        made = config({"b": other, "a": ANTHROPIC}, entries={"b": {"priority": 2}})
        scene = Scene(made, {"a": [told(17), Answer([b"{}"])], "b": []})
        await counting(scene, Endpoint.MESSAGES, SAID)
        for _ in range(200):
            scene.estimator.learn("a/a-model", 4000, Usage(input=2000))
        got = await counting(
            scene, Endpoint.MESSAGES, {"messages": [{"role": "user", "content": "x" * 4000}]}
        )
        assert 2000 < got.body["input_tokens"] < 2100
        assert scene.upstream.order == ["a", "a"]

    run(scenario())


def test_where_nobody_speaks_it_it_is_estimated() -> None:
    """From what requests of that size took there."""

    async def scenario() -> None:
        scene = Scene(config({"b": CHAT}), {"b": []})
        body = {"messages": [{"role": "user", "content": "x" * 4000}]}
        first = await counting(scene, Endpoint.MESSAGES, body)
        assert 1000 < first.body["input_tokens"] < 1100
        for _ in range(200):
            scene.estimator.learn("b/b-model", 4000, Usage(input=2000))
        second = await counting(scene, Endpoint.MESSAGES, body)
        assert 2000 < second.body["input_tokens"] < 2100
        assert (second.headers[b"x-apex-attempts"], scene.last.attempts) == (b"0", [])
        assert scene.upstream.calls == []

    run(scenario())


@pytest.mark.parametrize("effect", [Effect.BACK_OFF, Effect.QUARANTINE_KEY])
def test_who_is_not_to_be_asked_is_not(effect: Effect) -> None:
    """Whatever stands against it."""

    async def scenario() -> None:
        scene = Scene(config({"a": ANTHROPIC}), {"a": [told(17)]})
        scene.teach(Report(effect, 30.0))
        assert (await counting(scene, Endpoint.MESSAGES, SAID)).estimated
        assert scene.upstream.calls == []

    run(scenario())


def test_it_costs_nothing_of_the_clients_limits() -> None:
    """And is recorded as what it is."""
    limits = {"limits": {"requests_per_minute": 1}}
    got = counted(Endpoint.MESSAGES, SAID, told(17), ANTHROPIC, client=limits)
    assert got.scene.store.calls == []
    assert (got.scene.last.client, got.scene.last.status, got.scene.last.tokens) == ("dev", 200, None)


@pytest.mark.parametrize(
    ("endpoint", "body", "status", "param"),
    [
        (Endpoint.MESSAGES, SAID | {"model": "nobody"}, 404, None),
        (Endpoint.MESSAGES, SAID | {"model": 5}, 400, None),
        (Endpoint.RESPONSES, HI | {"model": "nobody"}, 404, "model"),
        (Endpoint.RESPONSES, HI | {"previous_response_id": 5}, 400, "previous_response_id"),
        (Endpoint.RESPONSES, HI | {"previous_response_id": "resp_1"}, 503, None),
    ],
)
def test_what_cannot_be_counted_is_refused(
    endpoint: Endpoint, body: Json, status: int, param: str | None
) -> None:
    """In the caller's shape."""
    got = counted(endpoint, body, told(17), ANTHROPIC)
    assert got.status == status
    assert problems("messages" if endpoint is Endpoint.MESSAGES else "responses", "error", got.body) == []
    assert got.body["error"].get("param") == param


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A store."""
    with PrivateStore() as store:
        yield store.url


@pytest.mark.process
@pytest.mark.parametrize("provider", [OPENAI, CHAT | {"base_url": "http://a.test/v1"}])
def test_what_is_followed_is_counted_as_well(url: str, provider: Tree) -> None:
    """The provider is sent all of it, and an estimate is made of all of it."""

    async def scenario() -> None:
        async with shelves(url) as (shelf,):
            long = {"type": "message", "role": "user", "id": "msg_1", "content": "x" * 4000}
            await shelf.store.save(
                "dev", response("resp_1", input=(msgspec.Raw(json.dumps(long).encode()),), output=())
            )
            scene = Scene(config({"a": provider}), {"a": [told(1009)]})
            body = HI | {"previous_response_id": "resp_1"}
            got = await counting(scene, Endpoint.RESPONSES, body, archive=Archive(shelf))
            assert 1000 < got.body["input_tokens"] < 1200
            if provider is OPENAI:
                assert len(got.sent["input"]) == 2
                assert "previous_response_id" not in got.sent
            gone = await counting(
                scene, Endpoint.RESPONSES, HI | {"previous_response_id": "resp_2"}, archive=Archive(shelf)
            )
            assert gone.body["error"]["code"] == "previous_response_not_found"

    asyncio.run(scenario())
