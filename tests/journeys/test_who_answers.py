"""Which target is asked: back-off windows, all out, priorities, weights and the least busy one."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from stage import Setting, Stage, play, rules
from wires import MODEL, Got, ask, request

from mockprovider import Behaviour, Match, Rule, Script, key_id

KEYS = ["sk-first-0123456789", "sk-second-012345678"]
WINDOW = 0.3
ASKED = request(ask())
LIMITED = Behaviour(status=429, headers={"retry-after-ms": WINDOW * 1000})


def models(strategy: str, *entries: dict[str, Any]) -> dict[str, Any]:
    """A configuration with one model of these entries."""
    return {"models": {MODEL: {"strategy": strategy, "providers": list(entries)}}}


def test_a_limited_key_is_left_alone_until_it_said() -> None:
    """A 429 on one key: it is not asked before its time, the other serves, then it is asked again."""
    script = rules(Rule(Match(first_n=1), LIMITED))

    async def scenario(stage: Stage) -> None:
        for _ in range(8):
            assert (await stage.post()).status == 200
        limited, *others = stage.seen("one")
        assert limited.key_id not in {entry.key_id for entry in others}
        await asyncio.sleep(WINDOW + 0.05)
        for _ in range(20):
            assert (await stage.post()).status == 200
        again = next(entry for entry in stage.seen("one")[1:] if entry.key_id == limited.key_id)
        assert again.at - limited.at >= WINDOW

    play(Setting(providers={"one": script}, accounts={"one": {"api_keys": KEYS}}), scenario)


def test_all_out() -> None:
    """With all targets backing off: a 429 at once, no provider asked, and a true time to come back."""

    async def scenario(stage: Stage) -> None:
        first = await stage.post()
        assert first.status == 429
        assert 100 < int(first.headers["retry-after-ms"]) <= int(WINDOW * 1000)  # the sooner of the two
        out = await stage.post(stream=True)
        assert out.status == 429
        assert out.error["code"] == "rate_limit_exceeded"
        assert out.attempts == 0
        assert "x-apex-target" not in out.headers
        assert 100 < int(out.headers["retry-after-ms"]) <= int(WINDOW * 1000)
        assert out.headers["retry-after"] == "1"
        await asyncio.sleep(int(out.headers["retry-after-ms"]) / 1000 + 0.03)
        assert (await stage.post()).status == 200
        assert stage.tried == ["one:ok"]

    lives: dict[str, Behaviour | Script] = {
        "one": rules(Rule(Match(first_n=1), LIMITED)),
        "two": Behaviour(status=429, headers={"retry-after-ms": 2000}),
    }
    play(Setting(providers=lives, config={"queue": {"max_wait": 0}}), scenario)


@pytest.mark.parametrize("stream", [False, True])
def test_a_short_window_is_waited_for(stream: bool) -> None:
    """With nobody else left, a request tries again when it is over, and others that come meanwhile wait."""
    window = 0.6
    limited = Behaviour(status=429, headers={"retry-after-ms": window * 1000})

    async def scenario(stage: Stage) -> None:
        async def late() -> Got:
            await stage.until(lambda: stage.effect("one") == "back_off")
            return await stage.post(stream=stream)

        first, second = await asyncio.gather(stage.post(stream=stream), late())
        assert [(got.status, got.attempts) for got in (first, second)] == [(200, 2), (200, 1)]
        refused, *others = stage.seen("one")
        assert all(entry.at - refused.at >= window for entry in others)
        assert len(others) == 2
        assert all(0.0 < record.queued <= record.waited for record in stage.records)

    play(Setting(providers={"one": rules(Rule(Match(first_n=1), limited))}), scenario)


def test_a_refused_key_is_left_alone() -> None:
    """A 401 on one key of two: that key is not asked again, and clients notice nothing."""
    script = rules(Rule(Match(key=KEYS[0]), Behaviour(status=401)))

    async def scenario(stage: Stage) -> None:
        for _ in range(12):
            assert (await stage.post()).status == 200
        asked = Counter(entry.key_id for entry in stage.seen("one"))
        assert asked == {key_id(KEYS[0]): 1, key_id(KEYS[1]): 12}

    play(Setting(providers={"one": script}, accounts={"one": {"api_keys": KEYS}}), scenario)


def test_three_attempts_and_no_more() -> None:
    """Four failing targets: three are tried, each once, and the last failure is told."""

    async def scenario(stage: Stage) -> None:
        got = await stage.post()
        assert got.status == 502
        assert got.attempts == 3
        assert stage.tried == [f"{name}:status_500" for name in ("one", "two", "three")]
        assert not stage.seen("four")

    play(Setting(providers=dict.fromkeys(("one", "two", "three", "four"), Behaviour(status=500))), scenario)


def test_the_other_keys_of_a_failed_origin_come_last() -> None:
    """After a 5xx the next target is one of another origin, though the second key stands before it."""

    async def scenario(stage: Stage) -> None:
        assert (await stage.post()).status == 200
        assert stage.tried == ["one:status_500", "two:ok"]

    lives = {"one": Behaviour(status=500), "two": Behaviour()}
    play(Setting(providers=lives, accounts={"one": {"api_keys": KEYS}}), scenario)


def test_a_failing_target_is_ejected() -> None:
    """After five failures in a row a target is not asked any more."""

    async def scenario(stage: Stage) -> None:
        for _ in range(8):
            assert (await stage.post()).status == 200
        assert len(stage.seen("one")) == 5
        assert "open" in stage.effect("one")

    play(Setting(providers={"one": Behaviour(cut_before_headers=True), "two": Behaviour()}), scenario)


def test_a_refused_connection_fails_over() -> None:
    """Nothing listens where the first provider should be: the second answers."""

    async def scenario(stage: Stage) -> None:
        await stage.mocks["one"].close()
        for stream in (False, True):
            assert (await stage.post(stream=stream)).attempts == 2
            assert stage.tried == ["one:connect", "two:ok"]

    play(Setting(providers={"one": Behaviour(), "two": Behaviour()}), scenario)


def test_a_dead_origin_is_put_aside_as_a_whole() -> None:
    """Five refused connections, whatever the key or model, and nobody tries that origin any more."""
    keys = [f"sk-one-{number:010d}" for number in range(9)]
    entries = [{"provider": "one", "model": "up"}, {"provider": "two", "model": "up"}]
    model = {"strategy": "ordered", "providers": entries}
    other = {"strategy": "ordered", "providers": [entries[0] | {"model": "down"}, entries[1]]}

    async def scenario(stage: Stage) -> None:
        await stage.mocks["one"].close()
        tried = []
        for number in range(8):
            assert (await stage.post(model=(MODEL, "other")[number % 2])).status == 200
            tried.append(len(stage.tried))
        assert tried == [2] * 5 + [1] * 3
        assert stage.effect("one") == "open"

    setting = Setting(
        providers={"one": Behaviour(), "two": Behaviour()},
        accounts={"one": {"api_keys": keys}},
        config={"models": {MODEL: model, "other": other}},
    )
    play(setting, scenario)


def test_a_stale_connection_costs_no_attempt() -> None:
    """A kept connection that dies before a byte of the answer is replaced, and nobody hears of it."""
    script = rules(Rule(Match(reused=True), Behaviour(cut_before_headers=True)))

    async def scenario(stage: Stage) -> None:
        for _ in range(4):
            got = await stage.post()
            assert got.status == 200
            assert got.attempts == 1
        assert stage.effect("one") == "none"

    play(Setting(providers={"one": script}), scenario)


def test_priorities_come_first() -> None:
    """A lower number is asked as long as it answers, whatever the weights."""

    async def scenario(stage: Stage) -> None:
        for _ in range(30):
            await stage.post()
        assert (len(stage.seen("one")), len(stage.seen("two"))) == (0, 30)

    first = {"provider": "two", "priority": 1}
    last = {"provider": "one", "priority": 2, "weight": 1000}
    lives = {"one": Behaviour(), "two": Behaviour()}
    play(Setting(providers=lives, config=models("weighted", last, first)), scenario)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_weights_are_shares(seed: int) -> None:
    """Over 300 requests a weight of 3 to 1 is a share of three quarters, and keys share evenly."""

    async def scenario(stage: Stage) -> None:
        wire = await stage.wire()
        for _ in range(300):
            wire.send(ASKED)
            assert (await wire.answer()).status == 200
        assert 195 <= len(stage.seen("one")) <= 252
        keys = Counter(entry.key_id for entry in stage.seen("one"))
        assert len(keys) == 2
        assert max(keys.values()) < 1.5 * min(keys.values())

    lives = {"one": Behaviour(), "two": Behaviour()}
    config = models("weighted", {"provider": "one", "weight": 3}, {"provider": "two"})
    accounts: dict[str, dict[str, Any]] = {"one": {"api_keys": KEYS}}
    play(Setting(providers=lives, config=config, accounts=accounts, seed=seed), scenario)


def test_least_busy() -> None:
    """Of a slow and a quick target the quick one gets most: each request goes where fewest are in flight."""

    async def scenario(stage: Stage) -> None:
        async def client() -> None:
            for _ in range(10):
                assert (await stage.post()).status == 200

        await asyncio.gather(*(client() for _ in range(8)))
        slow, quick = len(stage.seen("slow")), len(stage.seen("quick"))
        assert slow + quick == 80
        assert quick > 2 * slow

    lives = {"slow": Behaviour(delay_headers_s=0.15), "quick": Behaviour(delay_headers_s=0.01)}
    config = models("least_busy", {"provider": "slow"}, {"provider": "quick"})
    play(Setting(providers=lives, config=config), scenario)


def test_least_latency() -> None:
    """Of a slow and a quick target the quick one gets nearly all, once both are known."""

    async def scenario(stage: Stage) -> None:
        for _ in range(20):
            assert (await stage.post()).status == 200
        assert len(stage.seen("slow")) <= 4
        assert len(stage.seen("slow")) + len(stage.seen("quick")) == 20

    lives = {"slow": Behaviour(delay_headers_s=0.15), "quick": Behaviour(delay_headers_s=0.01)}
    config = models("least_latency", {"provider": "slow"}, {"provider": "quick"})
    play(Setting(providers=lives, config=config), scenario)


def test_an_ejected_target_comes_back() -> None:
    """After its ejection one request tries it, and then it serves again."""
    script = rules(Rule(Match(first_n=2), Behaviour(status=500)))
    health = {"failures": 2, "ejection": "500ms", "slow_start": 0}

    async def scenario(stage: Stage) -> None:
        for _ in range(3):
            assert (await stage.post()).status == 200
        assert (len(stage.seen("one")), stage.effect("one")) == (2, "open")
        (record,) = stage.health("one").values()
        await stage.until(lambda: stage.replica.fleet.now() > record.open_until)
        for _ in range(2):
            assert (await stage.post()).headers["x-apex-target"] == "one/up"
            assert stage.effect("one") == "none"
            await asyncio.sleep(0.005)  # the shortest slow start there is lasts a millisecond

    play(Setting(providers={"one": script, "two": Behaviour()}, config={"health": health}), scenario)
