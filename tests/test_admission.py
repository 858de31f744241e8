"""Tests of `proxy.admission`: what is reserved, who is refused and how, and that nothing stays held."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from fakes.chats import DONE, counted, delta, error, event, finish, reply, request, role, stream
from fakes.clients import RecordingSink
from fakes.configs import MODEL, Tree, config
from fakes.providers import HANG, Answer
from fakes.scenes import Scene
from fakes.virtual_loop import passed, run

from proxy.admission import full, refused
from proxy.config.settings import Config
from proxy.demand import FIRST_OUTPUT
from proxy.errors import Fault, FaultKind
from proxy.health import Effect, Report
from proxy.wire.model import Endpoint, Usage
from ratelimit.quota import Decision, Demand, Dimension
from ratelimit.scope import Limits, Refusal

GOOD = Answer([reply()])
TOKENS = sum((3, 2))
"""What a good reply says that it has cost."""
FIRST = round(FIRST_OUTPUT)
ONE_A_SECOND = {"requests_per_minute": 60, "burst": 1}
ROOMY = {"requests_per_minute": 600, "tokens_per_minute": 100_000, "concurrency": 5}
MANY = {"client": {"limits": ROOMY}, "model": {"limits": ROOMY}}


def account(name: str = "a", **settings: Any) -> Tree:
    """A provider with one key and these settings."""
    return {"base_url": f"http://{name}.test/v1", "api_keys": [f"{name}1"], **settings}


def everywhere(**settings: Any) -> Config:
    """Roomy limits on the client, the model and the one key."""
    return config({"a": account(limits=ROOMY)}, **MANY, **settings)


def of_client(scene: Scene) -> Limits:
    """The client's limits for the one model."""
    return scene.fleet.snapshot.scopes.of_client("dev", MODEL)


def of_model(scene: Scene) -> Limits:
    """The model's limits."""
    return scene.fleet.snapshot.scopes.of_model(MODEL)


def of_key(scene: Scene, number: int = 0) -> Limits:
    """The limits of one target's key."""
    return scene.fleet.snapshot.scopes.of_key(scene.targets[number].key_id)


async def used(scene: Scene, limits: Limits) -> tuple[int, int, int]:
    """What is used of roomy limits: requests, tokens, places. In no time, so that nothing has drained."""
    left = await scene.settled(limits)
    assert left.requests is not None
    assert left.tokens is not None
    assert left.concurrency is not None
    return 600 - left.requests.remaining, 100_000 - left.tokens.remaining, 5 - left.concurrency.remaining


def prompt_of(body: bytes) -> int:
    """What the prompt of a body is expected to cost before anything is known."""
    return 1 + round(len(body) / 4)


# What is reserved.


def reserved(made: Config, body: bytes, endpoint: Endpoint = Endpoint.CHAT) -> list[Demand]:
    """The demands of one request, in order."""

    async def scenario() -> list[Demand]:
        scene = Scene(made, {"a": [GOOD], "b": [GOOD]})
        await scene.ask(body, endpoint=endpoint)
        return scene.store.admitted

    return run(scenario())


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_the_dearest_candidate_is_reserved(order: str) -> None:
    """A client pays ahead for whoever may answer; a target is asked only for its own price."""
    accounts = {
        "a": account("a", limits=ROOMY, reserve_output="none"),
        "b": account("b", limits=ROOMY, reserve_output="max_tokens"),
    }
    body = request(max_tokens=5_000)
    first = 0 if order[0] == "a" else 5_000
    demands = reserved(config({name: accounts[name] for name in order}, client={"limits": ROOMY}), body)
    assert demands == [Demand(1, prompt_of(body) + 5_000), Demand(1, prompt_of(body) + first)]


def test_who_cannot_serve_the_endpoint_is_no_candidate() -> None:
    """However dear it would be."""
    body = request(input="Hi")

    async def scenario() -> list[Demand]:
        accounts = {"a": account("a"), "b": account("b", dialects=["messages"])}
        scene = Scene(config(accounts, client={"limits": ROOMY}), {"a": [GOOD]})
        scene.estimator.learn("b/b-model", len(body), Usage(5_000, 1))
        await scene.ask(body, endpoint=Endpoint.EMBEDDINGS)
        return scene.store.admitted

    assert run(scenario()) == [Demand(1, prompt_of(body))]


def test_who_is_asked_in_another_dialect_is_a_candidate() -> None:
    """A translated request costs as much as one that passes."""
    accounts = {
        "a": account("a", reserve_output="none"),
        "b": account("b", reserve_output="max_tokens", dialects=["messages"]),
    }
    body = request(max_tokens=5_000)
    assert reserved(config(accounts, client={"limits": ROOMY}), body) == [Demand(1, prompt_of(body) + 5_000)]


@pytest.mark.parametrize(
    ("policy", "fields", "bucket", "output"),
    [
        ("p90", {}, 100_000, FIRST),
        ("p90", {"max_tokens": 7}, 100_000, 7),
        ("p90", {"max_tokens": 7, "n": 3}, 100_000, 21),
        ("p90", {"max_completion_tokens": 9_999}, 100_000, FIRST),
        ("p90", {}, 100, None),
        ("p90", {"max_tokens": 9_999}, 100, None),
        ("max_tokens", {"max_tokens": 7}, 100_000, 7),
        ("max_tokens", {"max_tokens": 7, "n": 3}, 100_000, 21),
        ("max_tokens", {}, 100_000, FIRST),
        ("max_tokens", {}, 100, None),
        ("none", {"max_tokens": 7}, 100_000, 0),
    ],
)
def test_how_much_output_is_reserved(policy: str, fields: Tree, bucket: int, output: int | None) -> None:
    """By the provider's policy; a guess never asks for more than a bucket holds (None: all of it)."""
    limits = {"tokens_per_minute": 100_000, "burst_tokens": bucket}
    body = request(**fields)
    (demand,) = reserved(config({"a": account(reserve_output=policy)}, client={"limits": limits}), body)
    assert demand.tokens == (bucket if output is None else prompt_of(body) + output)


def test_embeddings_have_no_output() -> None:
    """Whatever the policy says."""
    body = request(input="Hi")
    demands = reserved(config({"a": 1}, client={"limits": ROOMY}), body, Endpoint.EMBEDDINGS)
    assert demands == [Demand(1, prompt_of(body))]


@pytest.mark.parametrize(
    ("limits", "capped"),
    [
        ({"tokens_per_minute": 100}, 100),
        ({"tokens_per_minute": 100, "window": "strict"}, 100),
        ({"tokens_per_minute": 1000, "burst_tokens": 50}, 50),
        ({"requests_per_minute": 5}, None),
    ],
)
def test_every_bucket_caps_a_guess(limits: Tree, capped: int | None) -> None:
    """The client's own, one for the model, the model's and the key's alike, in either window."""
    body = request()
    wanted = prompt_of(body) + FIRST if capped is None else capped
    for made in (
        config({"a": 1}, client={"limits": limits}),
        config({"a": 1}, client={"limits": ROOMY, "model_limits": {MODEL: limits}}),
        config({"a": 1}, model={"limits": limits}),
        config({"a": account(limits=limits)}),
    ):
        assert reserved(made, body) == [Demand(1, wanted)]


# Who is asked, and how often.


@pytest.mark.parametrize(
    ("made", "calls"),
    [
        (config({"a": 1}), []),
        (config({"a": 1}, client={"limits": ROOMY}), ["client"]),
        (config({"a": 1}, client={"model_limits": {MODEL: ROOMY}}), ["client"]),
        (config({"a": 1}, client={"limits": ROOMY, "model_limits": {MODEL: ROOMY}}), ["client"]),
        (config({"a": 1}, client={"model_limits": {"other": ROOMY}}), []),
        (config({"a": 1}, model={"limits": ROOMY}), ["model"]),
        (config({"a": account(limits=ROOMY)}), ["key"]),
        (everywhere(), ["client", "model", "key"]),
    ],
    ids=["none", "client", "client model", "both", "other model", "model", "key", "all"],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_one_admit_and_one_settle_for_each_scope(made: Config, calls: list[str], streamed: bool) -> None:
    """And no call at all for a request that nothing limits."""

    async def scenario() -> None:
        scene = Scene(made, {"a": [Answer([stream() if streamed else reply()])]})
        assert (await scene.ask(request(stream=streamed))).status == 200
        await scene.limiter.flush()
        await scene.limiter.flush()
        assert scene.store.calls == [*(f"admit {c}" for c in calls), *(f"settle {c}" for c in calls)]
        assert scene.store.ended == [Demand(1, TOKENS)] * len(calls)

    run(scenario())


def test_the_model_and_the_key_are_asked_at_one_time() -> None:
    """Two scopes, one round trip."""

    async def scenario() -> float:
        scene = Scene(everywhere(), {"a": [GOOD]})
        scene.store.after = 1.0
        await scene.ask(request())
        return passed()

    assert run(scenario()) == 2.0


# Who is refused, and how.


def told(sink: RecordingSink) -> tuple[dict[str, Any], dict[str, str]]:
    """The error of an answer and the headers that are about limits."""
    names = ("retry-after", "x-should-retry", "x-ratelimit")
    headers = {
        name.decode(): value.decode() for name, value in sink.headers if name.decode().startswith(names)
    }
    found: dict[str, Any] = json.loads(sink.body)["error"]
    return found, headers


LARGE = request(padding="x" * 1_000)
NEEDED = f"This request needs about {prompt_of(LARGE)} tokens:"


def second(made: Config, body: bytes = b"", **answer: Any) -> tuple[Scene, RecordingSink]:
    """Two requests at one moment: what the second was told."""

    async def scenario() -> tuple[Scene, RecordingSink]:
        scene = Scene(made, {"a": [Answer([reply()], **answer)], "b": [GOOD]})
        assert (await scene.ask(request())).status == 200
        await scene.limiter.flush()
        return scene, await scene.ask(body or request())

    return run(scenario())


@pytest.mark.parametrize(
    ("limits", "what", "headers"),
    [
        (
            {"requests_per_minute": 60, "burst": 1},
            "your requests per minute. Try again in 1.0 s.",
            {
                "retry-after": "1",
                "retry-after-ms": "1000",
                "x-ratelimit-limit-requests": "60",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "1s",
            },
        ),
        (
            {"requests_per_minute": 40, "burst": 1},
            "your requests per minute. Try again in 1.5 s.",
            {
                "retry-after": "2",
                "retry-after-ms": "1500",
                "x-ratelimit-limit-requests": "40",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "1.5s",
            },
        ),
        (
            {"requests_per_minute": 1},
            "your requests per minute. Try again in 60.0 s.",
            {
                "retry-after": "60",
                "retry-after-ms": "60000",
                "x-ratelimit-limit-requests": "1",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "1m0s",
            },
        ),
        (
            {"requests_per_minute": 1, "window": "strict"},
            "your requests per minute. Try again in 61.0 s.",
            {
                "retry-after": "61",
                "retry-after-ms": "61000",
                "x-should-retry": "false",
                "x-ratelimit-limit-requests": "1",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "1m1s",
            },
        ),
        (
            {"requests_per_minute": 600, "burst": 1, "tokens_per_minute": 6_000},
            "your requests per minute. Try again in 0.1 s.",
            {
                "retry-after": "1",
                "retry-after-ms": "100",
                "x-ratelimit-limit-requests": "600",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "100ms",
                "x-ratelimit-limit-tokens": "6000",
                "x-ratelimit-remaining-tokens": "5995",
                "x-ratelimit-reset-tokens": "50ms",
            },
        ),
    ],
    ids=["a second", "a part of one", "a minute", "strict", "two dimensions"],
)
def test_a_client_at_its_limit_is_told_when_to_come_back(
    limits: Tree, what: str, headers: dict[str, str]
) -> None:
    """429 in OpenAI's shape, the times exact, resets as Go writes them; the provider hears nothing of it."""
    scene, sink = second(config({"a": 1}, client={"limits": limits}))
    said, about = told(sink)
    assert sink.status == 429
    assert said["message"] == f"Rate limit reached: {what}"
    assert (said["type"], said["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert about == headers
    assert (len(scene.upstream.calls), scene.last.attempts, scene.last.outcome) == (1, [], "refused")


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("client", f"{NEEDED} your limit of tokens per minute never allows more than 50 at once."),
        ("model", f"{NEEDED} the model's limit of tokens per minute never allows more than 50 at once."),
        ("key", "This request is larger than the limit of any provider key for this model ever allows."),
    ],
)
def test_what_can_never_fit_is_not_told_to_come_back(where: str, message: str) -> None:
    """No time at all, a plain no to trying again, and the figures but for a key's; no store is asked."""
    limits = {"tokens_per_minute": 60_000, "burst_tokens": 50}
    made = {
        "client": config({"a": 1}, client={"limits": limits}),
        "model": config({"a": 1}, model={"limits": limits}),
        "key": config({"a": account(limits=limits)}),
    }[where]

    async def scenario() -> None:
        scene = Scene(made, {"a": [GOOD]})
        sink = await scene.ask(LARGE)
        said, headers = told(sink)
        assert (sink.status, said["code"]) == (429, "rate_limit_exceeded")
        assert said["message"] == message
        assert headers == {"x-should-retry": "false"}
        assert (scene.store.calls, scene.upstream.calls) == ([], [])

    run(scenario())


def test_concurrency_is_refused_and_freed() -> None:
    """A place is taken until the request is over, and can be had at once then."""

    async def scenario() -> None:
        scene = Scene(
            config({"a": 1}, client={"limits": {"concurrency": 1}}), {"a": [Answer([9.0, reply()])]}
        )
        first = asyncio.create_task(scene.ask(request()))
        await asyncio.sleep(1.0)
        sink = await scene.ask(request())
        assert (sink.status, sink.header(b"retry-after-ms")) == (429, b"1000")
        assert "your requests at one time" in told(sink)[0]["message"]
        assert (await first).status == 200
        await scene.limiter.flush()
        assert (await scene.ask(request())).status == 200

    run(scenario())


@pytest.mark.parametrize("streamed", [False, True])
def test_a_good_answer_says_what_is_left(streamed: bool) -> None:
    """The client's own limits, never the provider's, whatever it says of them."""
    theirs = {
        "x-ratelimit-limit-requests": "9999",
        "x-ratelimit-remaining-requests": "9998",
        "x-ratelimit-remaining-tokens": "77",
        "anthropic-ratelimit-requests-limit": "50",
        "ratelimit": "limit=1",
        "retry-after": "5",
    }

    async def scenario(limits: Tree) -> dict[str, str]:
        answer = Answer([stream() if streamed else reply()], headers=theirs)
        scene = Scene(config({"a": 1}, client=limits), {"a": [answer]})
        sink = await scene.ask(request(stream=streamed))
        assert sink.status == 200
        return {name.decode(): value.decode() for name, value in sink.headers if b"r" in name}

    with_limits = run(scenario({"limits": {"requests_per_minute": 10}}))
    assert {name: value for name, value in with_limits.items() if "ratelimit" in name} == {
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-remaining-requests": "9",
        "x-ratelimit-reset-requests": "6s",
    }
    assert not [name for name in run(scenario({})) if "ratelimit" in name or name == "retry-after"]


def test_a_client_has_limits_for_single_models() -> None:
    """They hold beside its own, and the tighter of both is told."""
    client = {"limits": {"requests_per_minute": 600}, "model_limits": {MODEL: ONE_A_SECOND}}
    _, sink = second(config({"a": 1}, client=client))
    assert sink.status == 429
    assert sink.header(b"x-ratelimit-limit-requests") == b"60"
    _, sink = second(config({"a": 1}, client={"model_limits": {"other": ONE_A_SECOND}}))
    assert sink.status == 200


@pytest.mark.parametrize(
    ("limits", "status", "message"),
    [
        ({"requests_per_minute": 60}, 429, "your requests per minute"),  # a share begins empty
        ({"requests_per_minute": 60, "on_outage": "deny"}, 429, "cannot be counted at the moment"),
        ({"requests_per_minute": 60, "on_outage": "allow"}, 200, ""),
    ],
)
def test_without_the_store_a_limit_does_as_it_says(limits: Tree, status: int, message: str) -> None:
    """A share of it, nothing, or everything; never a 5xx."""

    async def scenario() -> RecordingSink:
        scene = Scene(config({"a": 1}, client={"limits": limits}), {"a": [GOOD]})
        scene.store.away = True
        return await scene.ask(request())

    sink = run(scenario())
    assert sink.status == status
    assert message in json.loads(sink.body).get("error", {}).get("message", "")


@pytest.mark.parametrize("by", [*Dimension, None])
def test_every_reason_has_words(by: Dimension | None) -> None:
    """And a time, unless none helps."""
    decision = Decision(False, by, "client dev", 0.25)
    refusal = refused(Refusal((), Demand(), decision), "your")
    assert (refusal.status, refusal.retry_after, refusal.should_retry) == (429, 0.25, None)
    assert "dev" not in refusal.message
    never = refused(Refusal((), Demand(), Decision(False, by, never_fits=True)), "your")
    assert (never.status, never.retry_after, never.should_retry) == (429, None, False)


@pytest.mark.parametrize(
    ("waits", "after", "again"),
    [
        ([5.0, 0.5, 9.0], 0.5, None),
        ([float("inf"), 3.0], 3.0, None),
        ([float("inf"), float("inf")], None, False),
    ],
)
def test_full_keys_say_when_the_first_has_room(
    waits: Sequence[float], after: float | None, again: bool | None
) -> None:
    """One that never has room does not count, unless none ever has."""
    refusal = full(waits)
    assert (refusal.status, refusal.retry_after, refusal.should_retry) == (429, after, again)


# Keys.


def test_a_full_key_means_the_next_target() -> None:
    """It is no refusal and no attempt; the one without limits takes what it cannot."""
    made = config({"a": account(limits=ONE_A_SECOND), "b": 1})
    scene, sink = second(made)
    assert (sink.status, sink.header(b"x-apex-attempts")) == (200, b"1")
    assert scene.upstream.order == ["a:a1", "b:b1"]
    assert scene.outcomes == ["ok"]
    assert scene.health(0).failures == 0


def test_full_keys_do_not_use_up_the_attempts() -> None:
    """Three full ones before one with room, and only one attempt allowed."""

    async def scenario() -> None:
        accounts: dict[str, int | Tree] = {
            "a": account(api_keys=["a1", "a2", "a3"], limits={"concurrency": 1}),
            "b": 1,
        }
        scene = Scene(config(accounts, retry={"attempts": 1}), {"a": [Answer(before=[50.0])], "b": [GOOD]})
        waiting = [asyncio.create_task(scene.ask(request())) for _ in range(3)]
        await asyncio.sleep(1.0)
        assert (await scene.ask(request())).status == 200
        assert sorted(scene.upstream.order) == ["a:a1", "a:a2", "a:a3", "b:b1"]
        assert scene.outcomes == ["ok"]
        await asyncio.wait(waiting)

    run(scenario())


def every(seconds: int) -> Tree:
    """Limits that let one request in, and another after so many seconds."""
    return {"requests_per_minute": 60 // seconds, "burst": 1}


def test_when_all_keys_are_full_the_first_to_have_room_is_told() -> None:
    """429 with the shortest wait, and what was taken of the client is given back."""

    async def scenario() -> None:
        accounts = {"a": account("a", limits=every(10)), "b": account("b", limits=every(4))}
        scene = Scene(config(accounts, client={"limits": ROOMY}), {"a": [GOOD], "b": [GOOD]})
        for _ in range(2):
            assert (await scene.ask(request())).status == 200
        before = await used(scene, of_client(scene))
        sink = await scene.ask(request())
        assert (sink.status, sink.header(b"retry-after-ms")) == (429, b"4000")
        assert "all provider keys" in told(sink)[0]["message"]
        assert (scene.last.attempts, scene.last.outcome) == ([], "failed")
        assert await used(scene, of_client(scene)) == before
        assert passed() == 0

    run(scenario())


def test_a_key_that_has_room_soon_is_waited_for() -> None:
    """It is asked again in its time, by the same request, whose attempts it does not use up."""

    async def scenario() -> None:
        accounts = {"a": account("a", limits=every(10)), "b": account("b", limits=ONE_A_SECOND)}
        scene = Scene(config(accounts, retry={"attempts": 1}), {"a": [GOOD], "b": [GOOD]})
        for _ in range(3):
            assert (await scene.ask(request())).status == 200
        assert scene.upstream.order == ["a:a1", "b:b1", "b:b1"]
        assert passed() == pytest.approx(1.0, abs=0.01)
        assert scene.outcomes == ["ok"]
        assert scene.last.queued == pytest.approx(1.0, abs=0.01)

    run(scenario())


def test_a_key_without_a_free_place_is_waited_for() -> None:
    """Who waits has the place when the request that held it ends, as soon as that is settled."""

    async def scenario() -> None:
        made = config({"a": account(limits={"concurrency": 1})})
        scene = Scene(made, {"a": [Answer([reply()], before=[1.5])]})
        first = asyncio.create_task(scene.ask(request()))
        settling = asyncio.create_task(scene.limiter.run())
        await asyncio.sleep(0.5)
        assert (await scene.ask(request())).status == 200
        assert 3.0 <= passed() <= 3.2
        assert (await first).status == 200
        settling.cancel()
        await asyncio.wait([settling])

    run(scenario())


def test_a_key_whose_places_stay_taken_is_a_limit() -> None:
    """429 after as long as requests wait, and a second to come back: nobody knows when one is free."""

    async def scenario() -> None:
        made = config({"a": account(limits={"concurrency": 1})})
        scene = Scene(made, {"a": [Answer(before=[9.0])]})
        first = asyncio.create_task(scene.ask(request()))
        await asyncio.sleep(0.5)
        sink = await scene.ask(request())
        assert (sink.status, told(sink)[0]["code"]) == (429, "rate_limit_exceeded")
        assert told(sink)[1] == {"retry-after": "1", "retry-after-ms": "1000"}
        assert passed() == pytest.approx(2.5, abs=0.05)
        await first

    run(scenario())


def test_a_full_key_is_not_told_where_another_comes_sooner() -> None:
    """It is an ejection that keeps the first away, and no limit."""

    async def scenario() -> None:
        made = config({"a": account(limits=every(60)), "b": 1})
        scene = Scene(made, {"a": [GOOD], "b": [GOOD]})
        scene.teach(*[Report(Effect.FAILURE)] * 5, number=1)
        assert (await scene.ask(request())).status == 200
        sink = await scene.ask(request())
        assert (sink.status, told(sink)[0]["code"]) == (503, "no_target_available")
        assert 4_500 <= int(told(sink)[1]["retry-after-ms"]) <= 5_500

    run(scenario())


def test_a_key_that_never_has_room_has_no_part_in_the_time() -> None:
    """The other one says when to come back; alone it says never."""

    async def scenario() -> None:
        small = account("a", limits={"tokens_per_minute": 60_000, "burst_tokens": 50})
        scene = Scene(config({"a": small, "b": account("b", limits=every(10))}), {"b": [GOOD]})
        large = request(padding="x" * 1_000)
        assert (await scene.ask(large)).status == 200
        sink = await scene.ask(large)
        assert (sink.status, told(sink)[1]) == (429, {"retry-after": "10", "retry-after-ms": "10000"})

    run(scenario())


def test_a_full_key_after_a_failure_is_not_what_is_told() -> None:
    """What a provider has said explains more than a limit of ours."""

    async def scenario() -> None:
        made = config({"a": 1, "b": account("b", limits={"concurrency": 1})})
        scene = Scene(made, {"a": [Answer([error("No.")], 500)], "b": [Answer(before=[9.0])]})
        waiting = asyncio.create_task(scene.ask(request()))
        await asyncio.sleep(1.0)
        assert (await scene.ask(request())).status == 502
        await waiting

    run(scenario())


def test_a_failover_asks_the_next_targets_limits() -> None:
    """The client's and the model's are asked once, the key's for every attempt."""

    async def scenario() -> None:
        accounts = {name: account(name, limits=ROOMY) for name in "ab"}
        scene = Scene(config(accounts, **MANY), {"a": [Answer([error()], 500)], "b": [GOOD]})
        assert (await scene.ask(request())).status == 200
        assert scene.store.calls == ["admit client", "admit model", "admit key", "admit key"]
        assert await used(scene, of_key(scene, 0)) == (1, 0, 0)
        for limits in (of_client(scene), of_model(scene), of_key(scene, 1)):
            assert await used(scene, limits) == (1, TOKENS, 0)

    run(scenario())


@pytest.mark.parametrize(
    ("answer", "requests"),
    [
        (Answer(before=[Fault(FaultKind.CONNECT, "away")]), 0),
        (Answer(before=[Fault(FaultKind.DNS, "away")]), 0),
        (Answer([error()], 500), 1),
        (Answer([error()], 429), 1),
        (Answer([error()], 400), 1),
        (Answer([b"{}"]), 1),
        (Answer(before=[HANG]), 1),
    ],
    ids=["connect", "dns", "500", "429", "400", "empty", "timeout"],
)
def test_an_attempt_that_failed(answer: Answer, requests: int) -> None:
    """Counts as a request of its key if it got there; only one that was too slow may have been billed."""

    async def scenario() -> None:
        made = everywhere(timeouts={"total": "5s"}, retry={"attempts": 1})
        scene = Scene(made, {"a": [answer]})
        assert (await scene.ask(request())).status >= 400
        left = await scene.settled(of_key(scene))
        assert left.requests is not None
        assert left.concurrency is not None
        kept = [demand for demand in scene.store.ended if demand.tokens]
        assert len(kept) == (scene.outcomes == ["total_timeout"])
        assert [demand.requests for demand in scene.store.ended] == [requests] * 3
        assert left.concurrency.remaining == 5

    run(scenario())


# Refused by the model.


def test_the_models_limit_refuses_for_everybody() -> None:
    """No other target would help; what was taken of the client and the key is given back."""

    async def scenario() -> None:
        accounts: dict[str, int | Tree] = {"a": account(limits=ROOMY), "b": 1}
        made = config(accounts, client={"limits": ROOMY}, model={"limits": ONE_A_SECOND})
        scene = Scene(made, {"a": [GOOD], "b": [GOOD]})
        await scene.ask(request())
        before = await used(scene, of_client(scene)), await used(scene, of_key(scene))
        sink = await scene.ask(request())
        assert (sink.status, sink.header(b"retry-after-ms")) == (429, b"1000")
        assert "the model's requests per minute" in told(sink)[0]["message"]
        assert sink.header(b"x-ratelimit-limit-requests") == b"600"  # the client's own
        assert (len(scene.upstream.calls), scene.last.attempts) == (1, [])
        assert (await used(scene, of_client(scene)), await used(scene, of_key(scene))) == before

    run(scenario())


# What is settled.


@pytest.mark.parametrize(
    ("body", "answer", "tokens"),
    [
        (request(), GOOD, TOKENS),
        (request(stream=True), Answer([stream("a", "b", "c")]), TOKENS),
        (request(), Answer([json.dumps({"choices": [{}], "usage": counted(10**15, 1)}).encode()]), 10**9),
        (request(), Answer([json.dumps({"choices": [{}], "usage": counted(-9, 1)}).encode()]), 1),
    ],
    ids=["whole", "stream", "absurd", "negative"],
)
def test_settled_once_to_what_was_used(body: bytes, answer: Answer, tokens: int) -> None:
    """Every scope the same, once, however often it is settled; no provider's count can break it."""

    async def scenario() -> None:
        scene = Scene(everywhere(), {"a": [answer]})
        exchange = scene.exchange(body)
        await scene.pipeline.handle(exchange)
        scene.admission.settle(exchange)
        await scene.limiter.flush()
        assert scene.store.ended == [Demand(1, tokens)] * 3
        assert len(scene.store.calls) == 6

    run(scenario())


@pytest.mark.parametrize(
    ("steps", "body", "output"),
    [
        ([role(), delta("a"), delta("b") * 3, Fault(FaultKind.RESET, "gone")], request(stream=True), 5),
        ([role(), delta("a"), event({"error": {"message": "bad"}})], request(stream=True), 3),
        ([role() + delta("a") + finish() + DONE], request(stream=True), 4),
        ([json.dumps({"choices": [{"message": {"content": "Hi"}}]}).encode()], request(), 1),
    ],
    ids=["reset", "error", "without usage", "whole without usage"],
)
def test_what_was_seen_is_settled_where_nobody_counted(
    steps: Sequence[bytes | Fault], body: bytes, output: int
) -> None:
    """The prompt by its size, and a token for each event of a stream; nothing is learned from that."""

    async def scenario() -> None:
        scene = Scene(everywhere(), {"a": [Answer(steps)]})
        sink = await scene.ask(body)
        assert sink.status == 200
        await scene.limiter.flush()
        assert scene.store.ended == [Demand(1, prompt_of(body) + output)] * 3
        assert scene.estimator.parts("a/a-model", 0, None, scene.targets[0].output_policy) == (1, FIRST)

    run(scenario())


def test_what_was_used_is_learned() -> None:
    """The next expectation is nearer to it."""

    async def scenario() -> None:
        scene = Scene(everywhere(), {"a": [GOOD]})
        for _ in range(3):
            await scene.ask(request(padding="x" * 1_000))
            await scene.limiter.flush()
        expected = [demand.tokens for demand in scene.store.admitted]
        assert expected[0] > expected[3] > expected[6]

    run(scenario())


# Clients that leave.


@pytest.mark.parametrize(
    ("after", "where"),
    [
        (0.5, "before the client's limits decide"),
        (1.5, "before their decision is told"),
        (2.5, "before the model's and the key's decide"),
        (3.5, "before theirs is told"),
        (4.5, "while it is sent"),
        (5.5, "before content"),
        (6.5, "after content"),
    ],
)
def test_a_client_that_leaves_holds_nothing(after: float, where: str) -> None:
    """At every wait on the way: all places are free, and only what was sent is charged."""

    async def scenario() -> None:
        answer = Answer([1.0, role() + delta("a"), HANG], before=[1.0])
        scene = Scene(everywhere(), {"a": [answer]})
        scene.store.before = scene.store.after = 1.0
        await scene.leave(request(stream=True), after)
        scene.store.before = scene.store.after = 0.0
        sent = bool(scene.upstream.calls)
        assert sent == (after > 4.0), where
        await scene.limiter.flush()
        for limits in (of_client(scene), of_model(scene), of_key(scene)):
            left = await scene.settled(limits)
            assert left.concurrency is not None
            assert left.concurrency.remaining == 5
            assert left.requests is not None
            assert left.requests.remaining == 600 or sent
        charged = [demand for demand in scene.store.ended if demand.requests]
        assert len(charged) == (3 if sent else 0)
        seen = prompt_of(request(stream=True)) + 2
        # Before content nobody knows what it has cost: the reservation stands. After it, what was seen.
        assert all(demand.tokens == seen if after > 6.0 else demand.tokens > seen for demand in charged)
        assert repr(scene.limiter).startswith("<Limiter [0 held, 0 to settle")

    run(scenario())


def test_a_client_that_leaves_while_its_answer_is_written_has_used_it() -> None:
    """A whole reply had come, with its usage: not to wait for it is no way around a limit."""

    async def scenario() -> list[Demand]:
        scene = Scene(everywhere(), {"a": [GOOD]})
        await scene.leave(request(), 1.0, RecordingSink([HANG]))
        await scene.limiter.flush()
        return scene.store.ended

    assert run(scenario()) == [Demand(1, TOKENS)] * 3


# What providers say of their own limits.


@pytest.mark.parametrize(
    ("headers", "requests", "tokens"),
    [
        ({}, 599, 100_000 - TOKENS),
        ({"x-ratelimit-remaining-requests": "7"}, 7, 100_000 - TOKENS),
        ({"x-ratelimit-remaining-tokens": "70"}, 599, 70),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-remaining-tokens": "0"}, 0, 0),
        ({"x-ratelimit-remaining-requests": "9000000"}, 599, 100_000 - TOKENS),
        ({"x-ratelimit-remaining-requests": "-1"}, 599, 100_000 - TOKENS),
        ({"x-ratelimit-remaining-requests": "many"}, 599, 100_000 - TOKENS),
        ({"x-ratelimit-remaining-requests": "9" * 99}, 599, 100_000 - TOKENS),
    ],
)
@pytest.mark.parametrize("status", [200, 500])
def test_what_a_provider_says_only_lowers(
    headers: Mapping[str, str], requests: int, tokens: int, status: int
) -> None:
    """Of its key alone, and whether or not it answered well; what cannot be read says nothing."""

    async def scenario() -> None:
        scene = Scene(everywhere(retry={"attempts": 1}), {"a": [Answer([reply()], status, headers)]})
        await scene.ask(request())
        cost = TOKENS if status == 200 else 0
        left = await scene.settled(of_key(scene))
        assert left.requests is not None
        assert left.tokens is not None
        assert left.requests.remaining == requests
        assert left.tokens.remaining == (tokens if tokens < 1_000 else 100_000 - cost)
        assert await used(scene, of_model(scene)) == (1, cost, 0)

    run(scenario())


def test_a_key_without_limits_takes_no_hint() -> None:
    """Nothing is kept for it, and nothing asked."""

    async def scenario() -> list[str]:
        answer = Answer([reply()], headers={"x-ratelimit-remaining-requests": "0"})
        scene = Scene(config({"a": 1}), {"a": [answer]})
        await scene.ask(request())
        await scene.limiter.flush()
        return scene.store.calls

    assert run(scenario()) == []


def test_a_key_that_says_it_is_empty_is_passed_over() -> None:
    """The next request goes to the next target."""
    made = config({"a": account(limits=ROOMY), "b": 1})
    scene, sink = second(made, headers={"x-ratelimit-remaining-requests": "0"})
    assert sink.status == 200
    assert scene.upstream.order == ["a:a1", "b:b1"]


def test_a_stream_that_was_not_counted_has_its_events() -> None:
    """The prompt by size, plus the events."""

    async def scenario() -> Usage:
        scene = Scene(config({"a": 1}), {"a": [GOOD]})
        exchange = scene.exchange(request())
        await scene.pipeline.handle(exchange)
        return scene.admission.seen(exchange, scene.targets[0], 12)

    assert run(scenario()).output == 12


def test_what_limits_say_is_dated_by_when_they_said_it() -> None:
    """Not by when its request began: that of the next key is asked when the one before has failed, late."""

    async def scenario() -> None:
        made = config({"a": account(), "b": account("b", limits=ROOMY)}, timeouts={"total": "90s"})
        scene = Scene(made, {"a": [Answer([error()], 500, before=[61.0])], "b": [GOOD]})
        began = scene.clock.monotonic()
        await scene.ask(request())
        (noted,) = scene.admission.allowances.of.values()
        assert noted.at - began == pytest.approx(61.0, abs=0.5)

    run(scenario())


def test_what_limits_say_is_noted() -> None:
    """Of the client, the model and the key, by their configured names."""

    async def scenario() -> None:
        made = config({"a": account(limits=ROOMY)}, client={"limits": ONE_A_SECOND}, model={"limits": ROOMY})
        scene = Scene(made, {"a": [GOOD]})
        for _ in range(2):
            await scene.ask(request())
        noted = {holder: seen.decisions for holder, seen in scene.admission.allowances.of.items()}
        assert noted == {
            ("client", "dev"): {"admitted": 1, "requests": 1},
            ("model", MODEL): {"admitted": 1},
            ("key", scene.targets[0].key_id): {"admitted": 1},
        }

    run(scenario())
