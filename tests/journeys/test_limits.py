"""Limits over real sockets, in one process and over the embedded store: who is let in, and what is said."""

import asyncio
import os
import re
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import unquote

import pytest
import stage as stages
from stage import OTHER_KEY, Setting, Stage, rules
from wires import KEY, MODEL, Got, Tree, ask, head, request

from mockprovider import Behaviour, Match, Rule
from proxy.commands.process import store_of
from proxy.config.settings import Config

_T = TypeVar("_T")

TRIES = 5
"""So often a store may be late before something else is the matter."""

CLIENT = {"name": "dev", "key": KEY}
RATE = {"x-ratelimit", "retry-after", "x-should-retry"}
LEAKS = {
    "x-ratelimit-limit-requests": "31337",
    "x-ratelimit-remaining-requests": "31336",
    "anthropic-ratelimit-requests-remaining": "31335",
}


def play(setting: Setting, scenario: Callable[[Stage], Awaitable[_T]]) -> _T:
    """What comes of a scenario while the store answers in time."""
    (found,) = play_each(setting, scenario, 1)
    return found


def play_each(setting: Setting, scenario: Callable[[Stage], Awaitable[_T]], replicas: int) -> list[_T]:
    """The same on so many replicas, one after the other, over one store.

    On a crowded machine the store may be late. Limits are then a replica's own share, which begins with next
    to nothing: another matter, with tests of its own. So this is played again, from an empty store.
    """
    for _ in range(TRIES):
        _empty(setting.config["redis"])
        late = False

        async def watched(stage: Stage) -> _T:
            nonlocal late
            before = _misses(stage)
            try:
                return await scenario(stage)
            finally:
                late = late or _misses(stage) > before

        try:
            found = [stages.play(setting, watched) for _ in range(replicas)]
        except AssertionError:
            if not late:
                raise
        else:
            if not late:
                return found
    raise AssertionError(f"the store was late {TRIES} times")


def _misses(stage: Stage) -> int:
    """Calls that the store has not answered in time."""
    link = stage.replica.link
    return link.counters.errors.total() + link.counters.refused if link is not None else 0


def _empty(redis: Tree) -> None:
    """Let the store forget everything."""
    if "url" in redis:
        with socket.socket(socket.AF_UNIX) as wire:
            wire.settimeout(5)
            wire.connect(unquote(redis["url"].removeprefix("unix://")))
            wire.sendall(b"FLUSHALL\r\n")
            assert wire.recv(64) == b"+OK\r\n"


@pytest.fixture(params=["memory", "embedded"])
def redis(request: pytest.FixtureRequest) -> Iterator[Tree]:
    """The `redis` section: no server, so that limits hold in the process, or a private one."""
    if request.param == "memory":
        yield {}
        return
    store = store_of(Config(), dict(os.environ))
    assert store is not None
    try:
        store.start()
        asyncio.run(store.ready())
        yield {"url": store.url}
    finally:
        store.stop()


def limited(
    redis: Tree,
    *,
    client: Tree | None = None,
    model: Tree | None = None,
    key: Tree | None = None,
    life: Behaviour | None = None,
    **config: Any,
) -> Setting:
    """A stage with two providers and limits on its client, its model, or the key of the first provider."""
    entries = [{"provider": name, "model": "up"} for name in ("one", "two")]
    return Setting(
        providers={"one": life or Behaviour(headers=dict(LEAKS)), "two": Behaviour()},
        accounts={"one": {"limits": key}} if key else {},
        config={
            "redis": redis,
            "clients": [
                {**CLIENT, **({"limits": client} if client else {})},
                {"name": "other", "key": OTHER_KEY},
            ],
            "models": {
                MODEL: {"strategy": "ordered", "providers": entries, **({"limits": model} if model else {})}
            },
            **config,
        },
    )


def about_limits(got: Got) -> Mapping[str, str]:
    """The headers that are about limits."""
    return {name: value for name, value in got.headers.items() if "ratelimit" in name or name in RATE}


def refused(got: Got) -> Got:
    """It is a 429 with a body that clients understand and a time to come back."""
    assert got.status == 429, got.body
    assert (got.error["type"], got.error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    after = int(got.headers["retry-after-ms"])
    assert int(got.headers["retry-after"]) == -(-after // 1000)
    return got


def test_a_client_has_so_many_requests(redis: Tree) -> None:
    """What is left is counted down, the rest is refused; another client is not touched."""

    async def scenario(stage: Stage) -> None:
        for left in (2, 1, 0):
            got = await stage.post()
            assert got.status == 200
            assert got.headers["x-ratelimit-limit-requests"] == "6"
            assert got.headers["x-ratelimit-remaining-requests"] == str(left)
            assert "31337" not in got.headers.values()
        got = refused(await stage.post())
        assert 9_000 < int(got.headers["retry-after-ms"]) <= 10_000
        assert got.headers["x-ratelimit-remaining-requests"] == "0"
        assert re.fullmatch(r"30s|29(\.\d+)?s", got.headers["x-ratelimit-reset-requests"])
        assert (stage.records[-1].outcome, stage.records[-1].attempts) == ("refused", [])
        other = await stage.post(key=OTHER_KEY)
        assert other.status == 200
        assert about_limits(other) == {}
        assert len(stage.seen("one")) == 4

    play(limited(redis, client={"requests_per_minute": 6, "burst": 3}), scenario)


def test_when_to_come_back_is_true(redis: Tree) -> None:
    """Just before the time that was told it is still too early; at that time it is not."""

    async def scenario(stage: Stage) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert (await stage.post()).status == 200
        got = refused(await stage.post())
        wait = int(got.headers["retry-after-ms"]) / 1000
        assert 0.999 - (loop.time() - began) < wait <= 1
        await asyncio.sleep(wait - 0.25)
        refused(await stage.post())
        await asyncio.sleep(0.3)
        assert (await stage.post()).status == 200

    play(limited(redis, client={"requests_per_minute": 60, "burst": 1}), scenario)


@pytest.mark.parametrize("stream", [False, True])
def test_tokens_are_charged_as_they_were_used(redis: Tree, stream: bool) -> None:
    """Far less than was reserved: what is left afterwards says so, whole or streamed."""

    async def scenario(stage: Stage) -> None:
        first = await stage.post(stream=stream)
        assert first.status == 200
        reserved = 6_000 - int(first.headers["x-ratelimit-remaining-tokens"])
        assert reserved > 250
        await asyncio.sleep(0.1)
        second = await stage.post(stream=stream)
        used = 6_000 - int(second.headers["x-ratelimit-remaining-tokens"]) - reserved
        assert 5 <= used <= 45  # 45 used, of which a hundred a second drain

    life = Behaviour(prompt_tokens=30, completion_tokens=15)
    play(limited(redis, client={"tokens_per_minute": 6_000}, life=life), scenario)


def test_a_request_beyond_its_bucket_is_refused_for_good(redis: Tree) -> None:
    """No time to come back, and a plain no to trying again; smaller ones go through."""

    async def scenario(stage: Stage) -> None:
        got = await stage.post(padding="x" * 10_000)
        assert got.status == 429
        assert got.error["code"] == "rate_limit_exceeded"
        assert got.headers["x-should-retry"] == "false"
        assert "retry-after" not in got.headers
        assert (await stage.post()).status == 200

    play(limited(redis, client={"tokens_per_minute": 1_000}), scenario)


@pytest.mark.parametrize("leaves", [False, True])
def test_a_client_has_so_many_requests_at_one_time(redis: Tree, leaves: bool) -> None:
    """The place of a stream is free when it is over, or when its client has left."""

    async def scenario(stage: Stage) -> None:
        wire = await stage.wire()
        wire.send(request(ask(stream=True)))
        await wire.head()
        assert int(refused(await stage.post()).headers["retry-after-ms"]) <= 1000
        if leaves:
            wire.reset()
        else:
            while await wire.chunk():
                pass
        await stage.until(lambda: len(stage.records) == 2)
        got = await stage.post()
        while got.status != 200:  # the place is given back in the background
            await asyncio.sleep(0.02)
            got = await stage.post()

    life = Behaviour(tokens=20, delay_events_s=0.02)
    play(limited(redis, client={"concurrency": 1}, life=life), scenario)


def test_the_models_limit_is_everybodys(redis: Tree) -> None:
    """One client uses it up, the other is refused."""

    async def scenario(stage: Stage) -> None:
        assert (await stage.post()).status == 200
        got = refused(await stage.post(key=OTHER_KEY))
        assert "the model's" in got.error["message"]
        assert "x-ratelimit-limit-requests" not in got.headers

    play(limited(redis, model={"requests_per_minute": 6, "burst": 1}), scenario)


@pytest.mark.parametrize("stream", [False, True])
def test_a_full_key_means_the_next_provider(redis: Tree, stream: bool) -> None:
    """The first takes what it may, the second the rest, at the first attempt each."""

    async def scenario(stage: Stage) -> None:
        for number in range(5):
            got = await stage.post(stream=stream)
            assert (got.status, got.attempts) == (200, 1)
            assert got.headers["x-apex-target"] == ("one/up" if number < 2 else "two/up")
        assert (len(stage.seen("one")), len(stage.seen("two"))) == (2, 3)
        assert stage.effect("one") == "none"

    play(limited(redis, key={"requests_per_minute": 6, "burst": 2}), scenario)


def test_a_key_that_its_provider_calls_empty_is_full(redis: Tree) -> None:
    """Its own count is believed where it is lower than ours."""

    async def scenario(stage: Stage) -> None:
        assert (await stage.post()).headers["x-apex-target"] == "one/up"
        await asyncio.sleep(0.1)
        assert (await stage.post()).headers["x-apex-target"] == "two/up"

    life = Behaviour(headers={"x-ratelimit-remaining-requests": "0"})
    play(limited(redis, key={"requests_per_minute": 60}, life=life), scenario)


def test_a_failover_is_limited_where_it_lands(redis: Tree) -> None:
    """Two failures move on; the second provider's own limit holds for those that come over."""

    async def scenario(stage: Stage) -> list[int]:
        return [(await stage.post()).status for _ in range(3)]

    setting = limited(redis)
    moved = Setting(
        providers={"one": Behaviour(status=500), "two": Behaviour()},
        accounts={"two": {"limits": {"requests_per_minute": 6, "burst": 2}}},
        config=setting.config,
    )
    assert play(moved, scenario) == [200, 200, 502]


def test_embeddings_are_limited_alike(redis: Tree) -> None:
    """And reserve no output."""

    async def scenario(stage: Stage) -> None:
        body = {"model": MODEL, "input": "Hello there"}
        got = await stage.post(body, path="/v1/embeddings")
        assert got.status == 200
        assert int(got.headers["x-ratelimit-remaining-tokens"]) > 6_000 - 50
        refused(await stage.post(body, path="/v1/embeddings"))

    play(limited(redis, client={"requests_per_minute": 6, "burst": 1, "tokens_per_minute": 6_000}), scenario)


def test_limits_of_clients_hold_for_single_models(redis: Tree) -> None:
    """Other models of the same client go on."""

    async def scenario(stage: Stage) -> list[int]:
        return [(await stage.post(ask(model=name))).status for name in (MODEL, MODEL, "spare")]

    setting = limited(redis)
    entries = [{"provider": "one", "model": "up"}]
    client = {**CLIENT, "model_limits": {MODEL: {"requests_per_minute": 6, "burst": 1}}}
    models = {name: {"providers": entries} for name in (MODEL, "spare")}
    split = Setting(
        providers={"one": Behaviour()}, config={**setting.config, "clients": [client], "models": models}
    )
    assert play(split, scenario) == [200, 429, 200]


def test_failed_requests_pay_no_tokens(redis: Tree) -> None:
    """A provider that fails has cost nothing but the requests."""

    async def scenario(stage: Stage) -> None:
        for _ in range(2):
            assert (await stage.post()).status == 502
            await asyncio.sleep(0.05)
        got = await stage.post()
        assert got.status == 200
        assert int(got.headers["x-ratelimit-remaining-requests"]) == 57
        assert int(got.headers["x-ratelimit-remaining-tokens"]) > 6_000 - 300

    setting = limited(redis, client={"requests_per_minute": 60, "tokens_per_minute": 6_000})
    failing = Rule(match=Match(first_n=2), then=Behaviour(status=500))
    config = {
        **setting.config,
        "retry": {"attempts": 1},
        "models": {MODEL: {"providers": [{"provider": "one", "model": "up"}]}},
    }
    play(Setting(providers={"one": rules(failing)}, config=config), scenario)


def test_an_overloaded_replica_refuses_before_the_body() -> None:
    """503 with a time to come back while the body has not been sent; later it is welcome."""

    async def scenario(stage: Stage) -> None:
        first = await stage.wire()
        first.send(request(ask(stream=True)))
        await first.head()
        wire = await stage.wire()
        auth = {
            "authorization": f"Bearer {KEY}",
            "content-type": "application/json",
            "content-length": "99999",
        }
        wire.send(head("POST", "/v1/chat/completions", auth) + b"\r\n")
        got = await asyncio.wait_for(wire.answer(), 2)
        assert (got.status, got.error["code"]) == (503, "overloaded")
        assert (got.headers["retry-after"], got.headers["retry-after-ms"]) == ("1", "1000")
        await first.close()
        await stage.until(lambda: stage.replica.guard.in_flight == 0)
        assert (await stage.post()).status == 200

    life = Behaviour(tokens=50, delay_events_s=0.02)
    play(limited({}, life=life, overload={"max_in_flight": 1}), scenario)


def test_replicas_on_one_store_share_a_limit() -> None:
    """What one has let in, another does not let in again."""
    store = store_of(Config(), dict(os.environ))
    assert store is not None
    try:
        store.start()
        setting = limited({"url": store.url}, client={"requests_per_minute": 6, "burst": 3})

        async def scenario(stage: Stage) -> list[int]:
            return [(await stage.post()).status for _ in range(3)]

        asyncio.run(store.ready())
        assert play_each(setting, scenario, 2) == [[200, 200, 200], [429, 429, 429]]
    finally:
        store.stop()
