"""Tests of `proxy.replaying`: the same configuration gives the same, another one what its docstring says."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from fakes.chats import delta, error, reply, request, role, stream
from fakes.configs import MODEL, Tree, config
from fakes.providers import Answer, Step
from fakes.scenes import Scene
from fakes.virtual_loop import run
from test_rehearsal import CHUNKS, SEEDS, Case

from proxy import decision, fleet
from proxy.config.settings import Config
from proxy.decision import Decision
from proxy.errors import Fault, FaultKind
from proxy.explanation import explained, path
from proxy.health import Effect, Report
from proxy.ledger import Kept
from proxy.moment import Came, Pick, Sight
from proxy.rehearsal import viewed
from proxy.replaying import replayed
from proxy.routing import MOST, Plan
from proxy.tenants import Tenants
from proxy.wire.model import Endpoint

BUSY = Answer([], 503)
GOOD = Answer([reply()])
WRONG = Answer([error("Wrong.")], 400)
lines = msgspec.json.Decoder(Decision)


def mixed(draw: random.Random, *, streams: bool) -> list[Answer]:
    """What a provider answers, one after another: well, badly, hardly, not at all."""
    words = [role(), delta("Hel"), delta("lo")]
    cut: list[Step] = [*words[: draw.randint(0, 3)], Fault(FaultKind.RESET, "cut")]
    kinds = [
        Answer([stream("Hello") if streams else reply()]),
        Answer([stream("Hello") if streams else reply()], before=[draw.random()]),
        BUSY,
        Answer([error()], 500),
        Answer([error()], 404),
        Answer([error()], 400),
        Answer([error(code="insufficient_quota")], 429),
        Answer([], 429, {"retry-after": str(draw.choice([0, 1, 30]))}),
        Answer(before=[Fault(FaultKind.CONNECT, "no")]),
        Answer(before=[0.3, Fault(FaultKind.DNS, "no")]),
        Answer(cut),
        Answer([b"<html>"]),
        Answer([]),
    ]
    return [draw.choice(kinds) for _ in range(6)]


async def lived(seed: int, **sections: Any) -> tuple[Scene, list[Kept]]:
    """Random requests at a random replica whose providers answer in mixed ways; what was decided."""
    case = Case(seed)
    streams = b'"stream": true' in case.body
    hosts = ("one", "two", "three")
    made = case.settings.model_copy(update=sections)
    scene = Scene(made, {host: mixed(case.draw, streams=streams) for host in hosts})
    await case.live(scene)
    for _ in range(case.draw.randint(1, 4)):
        await scene.ask(case.body, endpoint=case.endpoint)
    return scene, list(scene.ledger.latest())


def waiting() -> Any:
    """A queue in which requests wait."""
    return config({"a": 1}, queue={"max_wait": "5s"}).queue


async def same(seed: int) -> None:
    """What was decided is decided again, to the byte; also from a line of JSON."""
    sections = {"queue": waiting()} if seed % 3 == 0 else {}
    _, kept = await lived(seed, **sections)
    assert kept
    for one in kept:
        assert one.snapshot is not None
        written = decision.encode(one.decision)
        assert decision.encode(replayed(one.decision, one.snapshot)) == written, f"seed {seed}"
        read = lines.decode(msgspec.json.encode(one.decision))
        assert decision.encode(read) == written, f"seed {seed}"
        view = viewed(one.snapshot.config)
        assert decision.encode(replayed(read, view)) == written, f"seed {seed}"
        assert explained(one.decision, one.snapshot, "replica").agrees, f"seed {seed}"
        tried = [pick for pick in one.decision.picks if pick.came is Came.TRIED]
        assert len(tried) == len(one.decision.tries), f"seed {seed}"
        assert len(one.decision.picks) < MOST, f"seed {seed}"


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_the_same_configuration_gives_the_same(chunk: int) -> None:
    """Byte for byte, whatever the providers did."""
    for seed in range(chunk, SEEDS, CHUNKS):
        run(same(seed))


def changed(made: Config, draw: random.Random) -> Config:
    """Another configuration: weights, priorities, strategy, entries, tries, models or clients are others."""
    model = made.models[MODEL]
    entries = list(model.providers)
    what = draw.randrange(8)
    if what == 0:
        entries = [one.model_copy(update={"weight": draw.choice([1, 3, 9])}) for one in entries]
    elif what == 1:
        entries = [one.model_copy(update={"priority": draw.choice([1, 2])}) for one in entries]
    elif what == 2 and len(entries) > 1:
        entries.pop(draw.randrange(len(entries)))
    elif what == 3:
        entries.reverse()
    elif what == 4:
        return made.model_copy(
            update={"retry": made.retry.model_copy(update={"attempts": draw.randint(1, 6)})}
        )
    elif what == 5:
        return made.model_copy(update={"models": {"other": model}})
    elif what == 6:
        return made.model_copy(update={"clients": ()})
    strategy = draw.choice(["weighted", "ordered", "least_busy", "least_latency"])
    other = model.model_copy(update={"providers": tuple(entries), "strategy": strategy})
    return made.model_copy(update={"models": {MODEL: other}})


async def otherwise(seed: int) -> None:
    """Under another configuration nothing is made up: what was tried is as it was, the rest is open."""
    _, kept = await lived(seed)
    draw = random.Random(seed)
    for one in kept:
        assert one.snapshot is not None
        was = one.decision
        view = viewed(changed(one.snapshot.config, draw))
        now = replayed(was, view)
        assert now.config == view.config_hash
        assert path(now)
        assert decision.encode(replayed(was, view)) == decision.encode(now), "it is the same each time"
        assert decision.encode(lines.decode(msgspec.json.encode(now))) == decision.encode(now)
        if not view.config.clients:  # then it is open to all, and nobody has that name
            assert (now.outcome, now.status, list(now.picks)) == ("refused", 401, [])
            continue
        if MODEL not in view.models:
            expected = was.error if not was.targets else "model_not_found"
            expected_status = was.status if not was.targets else 404
            assert (now.status, now.error, list(now.picks)) == (expected_status, expected, [])
            continue
        tries = {id(one) for one in was.tries}
        assert all(id(one) in tries for one in now.tries), "an answer that was never given"
        assert len(now.tries) <= max(view.config.retry.attempts, len(was.tries))
        ids = {target.id for target in view.models[MODEL].targets}
        assert set(now.targets) <= ids
        assert all(-1 <= pick.target < len(now.targets) for pick in now.picks)
        if now.outcome == "completed":
            assert now.tries[-1].outcome == "ok"
        if now.outcome == was.outcome == "failed" and now.status:
            assert list(now.tries) == list(was.tries) or now.tries[-1].ends
        assert now.outcome in (was.outcome, "open", "failed")


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_another_configuration_makes_nothing_up(chunk: int) -> None:
    """Random scenes under random changes."""
    for seed in range(chunk, SEEDS // 4, CHUNKS):
        run(otherwise(seed))


KEYS: Tree = {"a": 1, "b": 1, "c": 1}


def after(now: Config, answers: Sequence[Answer], **was: Any) -> tuple[Decision, Decision]:
    """One request to `a`, `b`, `c` in that order with these answers, and the same under `now`."""

    async def main() -> Decision:
        scene = Scene(config(KEYS, **was), {name: [one] for name, one in zip("abc", answers, strict=True)})
        await scene.ask(request())
        return next(scene.ledger.latest()).decision

    made = run(main())
    return made, replayed(made, viewed(now))


def short(made: Decision) -> str:
    """Its path, without models and keys."""
    said = path(made)
    for target in made.targets:
        said = said.replace(target, target[0])
    return said


def test_an_order_that_is_known_is_told_to_its_end() -> None:
    """What each of them answered then is what it answers now."""
    made, now = after(config({"b": 1, "a": 1, "c": 1}), [BUSY, GOOD, GOOD])
    assert (short(made), short(now)) == ("a status_503 > b ok", "b ok")
    assert (now.outcome, now.status) == ("completed", 200)


def test_who_was_not_asked_then_is_not_known() -> None:
    """There the course ends, however it ended then."""
    made, now = after(config({"c": 1, "a": 1, "b": 1}), [BUSY, GOOD, GOOD])
    assert (short(now), now.outcome, now.status, now.ttft) == ("c ?", "open", 0, None)
    made, now = after(config({"a": 1, "c": 1}), [BUSY, GOOD, GOOD])
    assert short(now) == "a status_503 > c ?"
    made, now = after(config({"a": 1, "d": 1}), [BUSY, WRONG, GOOD])
    assert (made.status, short(now)) == (400, "a status_503 > d ?")


def test_who_finds_nobody_where_it_found_somebody_is_not_known() -> None:
    """It would wait, or try the last one once more: it did not complete, as it did then."""
    made, now = after(config({"a": 1}), [BUSY, GOOD, GOOD])
    assert (made.outcome, now.outcome, short(now)) == ("completed", "open", "a status_503 > ?")


def test_a_fault_that_ended_it_ends_it_now() -> None:
    """Whoever else there is."""
    made, now = after(config({"b": 1, "c": 1}), [BUSY, WRONG, GOOD])
    assert (made.status, now.status, short(now)) == (400, 400, "b status_400 > 400 invalid_request_error")


def test_fewer_tries_fail_earlier() -> None:
    """What it would have been told then hangs on all its faults, and is not said."""
    made, now = after(config(KEYS, retry={"attempts": 1}), [BUSY, GOOD, GOOD])
    assert (short(made), short(now)) == ("a status_503 > b ok", "a status_503 > failed")
    assert (now.outcome, now.status, now.error) == ("failed", 0, "")


def test_more_tries_lead_to_who_knows() -> None:
    """There was another, or there was none and one of them would have been tried once more."""
    was = {"retry": {"attempts": 2}}
    made, now = after(config(KEYS, retry={"attempts": 3}), [BUSY, BUSY, GOOD], **was)
    assert short(made) == "a status_503 > b status_503 > 503 overloaded"
    assert short(now) == "a status_503 > b status_503 > ?"
    made, now = after(config(KEYS, retry={"attempts": 2}), [BUSY, BUSY, GOOD], **was)
    assert decision.encode(now) == decision.encode(made)


def test_the_last_one_once_more_is_known_only_of_that_one() -> None:
    """Where another one is the last, nobody knows how it would have fared the second time."""

    async def main() -> Decision:
        answers = {"a": [BUSY], "b": [BUSY, GOOD]}
        scene = Scene(config({"a": 1, "b": 1}), answers)
        await scene.ask(request())
        return next(scene.ledger.latest()).decision

    made = run(main())
    assert short(made) == "a status_503 > b status_503 > b ok"
    assert short(replayed(made, viewed(config({"b": 1, "a": 1})))) == "b status_503 > a status_503 > ?"
    assert short(replayed(made, viewed(config({"b": 1})))) == "b status_503 > b ok"
    assert short(replayed(made, viewed(config({"a": 1, "b": 1}, strategy="weighted")))) == short(made)


def test_a_stream_that_broke_breaks_again() -> None:
    """The client has a part of it: nobody else is tried, whatever the fault means before that."""

    async def main() -> tuple[Decision, Decision]:
        cut = Answer([role() + delta("Hel"), Fault(FaultKind.RESET, "cut")])
        scene = Scene(config({"a": 1, "b": 1}), {"a": [BUSY], "b": [cut]})
        await scene.ask(request(stream=True))
        made = next(scene.ledger.latest()).decision
        return made, replayed(made, viewed(config({"b": 1, "a": 1})))

    made, now = run(main())
    assert (made.outcome, made.tries[-1].ends) == ("broken", True)
    assert (now.outcome, short(now)) == ("broken", "b reset > 502 upstream_error")


def test_who_is_gone_is_refused() -> None:
    """A client, a model, and what a model serves."""
    made, now = after(config(KEYS, clients=[]), [GOOD, GOOD, GOOD])
    assert (now.outcome, now.status, now.error, now.picks) == ("refused", 401, "invalid_api_key", ())
    made, now = after(config(KEYS, models={}), [GOOD, GOOD, GOOD])
    assert (made.status, now.status, now.error, now.targets) == (200, 404, "model_not_found", ())
    made, now = after(config(KEYS, client={"models": ["other"]}), [GOOD, GOOD, GOOD])
    assert (now.status, now.error) == (404, "model_not_found")
    spoken = {"base_url": "http://a.test", "dialects": ["messages"]}
    view = viewed(config({"a": spoken}))
    embedding = msgspec.structs.replace(made, endpoint=Endpoint.EMBEDDINGS)
    now = replayed(embedding, view)
    assert (now.status, now.error) == (400, "unsupported_endpoint")
    again = replayed(now, view)
    assert decision.encode(again) == decision.encode(now)
    assert replayed(now, viewed(config(KEYS))).outcome == "open"


def test_a_model_that_was_none_leads_to_who_knows() -> None:
    """One that is configured now, or allowed, or may be addressed directly."""

    async def main(made: Config, name: str) -> Decision:
        scene = Scene(made, {"a": [GOOD]})
        await scene.ask(request(name))
        return next(scene.ledger.latest()).decision

    for was, name, now in (
        (config({"a": 1}, models={}), MODEL, config({"a": 1})),
        (config({"a": 1}, client={"models": ["x"]}), MODEL, config({"a": 1})),
        (config({"a": 1}), "m#a", config({"a": 1}, client={"allow_direct": True})),
    ):
        made = run(main(was, name))
        assert (made.error, list(made.targets)) == ("model_not_found", [])
        assert decision.encode(replayed(made, viewed(was))) == decision.encode(made)
        told = replayed(made, viewed(now))
        assert (told.outcome, path(told), len(told.targets)) == ("open", "?", 1)


def test_what_was_wrong_with_a_request_stays_wrong() -> None:
    """It is not kept what it was."""

    async def main() -> Decision:
        scene = Scene(config({"a": 1}), {"a": [GOOD]})
        await scene.ask(b"no JSON")
        return next(scene.ledger.latest()).decision

    made = run(main())
    now = replayed(made, viewed(config({"b": 1})))
    assert (now.status, now.error) == (made.status, made.error) == (400, "invalid_request_error")


def test_limits_refuse_what_they_refused() -> None:
    """A client's and a model's, also where another target would have been the first."""

    async def main(**limited: Any) -> Decision:
        scene = Scene(config({"a": 1, "b": 1}, **limited), {"a": [GOOD], "b": [GOOD]})
        for _ in range(2):
            await scene.ask(request())
        return next(scene.ledger.latest()).decision

    limits = {"limits": {"requests_per_minute": 1}}
    for made in (run(main(client=limits)), run(main(model=limits))):
        assert made.limited is not None
        now = replayed(made, viewed(config({"b": 1, "a": 1})))
        assert (now.status, now.error, now.limited) == (429, "rate_limit_exceeded", made.limited)


def test_a_key_without_room_has_none_now() -> None:
    """Until the time that was told then."""

    async def main() -> Decision:
        limited = {"base_url": "http://a.test", "api_keys": ["a1"], "limits": {"requests_per_minute": 1}}
        scene = Scene(config({"a": limited, "b": 1}), {"a": [GOOD], "b": [GOOD]})
        for _ in range(2):
            await scene.ask(request())
        return next(scene.ledger.latest()).decision

    made = run(main())
    assert [pick.came for pick in made.picks] == [Came.FULL, Came.TRIED]
    assert short(made) == "b ok"
    now = replayed(made, viewed(config({"b": 1, "a": 1})))
    assert [pick.came for pick in now.picks] == [Came.TRIED]
    assert short(replayed(made, viewed(config({"a": 1})))) == "?"


def crowded(keys: int, requests: int) -> list[Kept]:
    """Requests that wait for keys which may have one request at a time, all of them full for long."""

    async def main() -> list[Kept]:
        names = "ab"[:keys]
        limited = {
            name: {"base_url": f"http://{name}.test", "api_keys": [name], "limits": {"concurrency": 1}}
            for name in names
        }
        made = config(limited, queue={"max_wait": "20s"})
        scene = Scene(made, {name: [Answer([3.0, reply()])] for name in names})
        scene.tasks.spawn(scene.limiter.run(), "limiter")
        await asyncio.gather(*(scene.ask(request()) for _ in range(requests)))
        await scene.tasks.close()
        return list(scene.ledger.latest())

    return run(main())


@pytest.mark.parametrize("keys", [1, 2])
def test_a_long_wait_is_not_a_long_decision(keys: int) -> None:
    """A full key is asked again and again: what changed nothing is not noted, and the same comes of it."""
    kept = crowded(keys, 5)
    assert len(kept) == 5
    assert {one.decision.outcome for one in kept} == {"completed"}
    for one in kept:
        made = one.decision
        assert len(made.picks) <= 2 * keys + 1
        assert one.snapshot is not None
        assert explained(made, one.snapshot, "replica").agrees
        assert decision.encode(replayed(made, one.snapshot)) == decision.encode(made)


def test_no_decision_grows_beyond_measure() -> None:
    """A key whose room others take each time: picks beyond a number take the place of the last."""

    async def main() -> Plan:
        scene = Scene(config({"a": 2}), {"a": [GOOD]})
        plan = Plan(scene.fleet.snapshot.models[MODEL], random.Random(1))
        for _ in range(1000):
            chosen = plan.next(scene.fleet)
            if chosen is None:
                await asyncio.sleep(1.0)
                continue
            plan.came(Came.FULL, scene.fleet.now() + 500)
            plan.give_back(chosen, scene.fleet.now() + 500)
        return plan

    plan = run(main())
    assert len(plan.picks) == MOST


def test_a_listener_hears_why() -> None:
    """Of each pick, who was left out."""
    heard: list[tuple[int, str, str]] = []

    async def main() -> Kept:
        scene = Scene(config({"a": 1, "b": 1}), {"a": [BUSY], "b": [GOOD]})
        await scene.ask(request())
        return next(scene.ledger.latest())

    kept = run(main())
    assert kept.snapshot is not None
    replayed(
        kept.decision,
        kept.snapshot,
        lambda number, target, why, _: heard.append((number, target.provider, why)),
    )
    assert heard == [(0, "b", "strategy")]


def exact(kept: Kept) -> bool:
    """Whether the same configuration gives the same of it, to the byte, and it can be told."""
    assert kept.snapshot is not None
    again = replayed(kept.decision, kept.snapshot)
    same = decision.encode(again) == decision.encode(kept.decision)
    return same and explained(kept.decision, kept.snapshot, "replica").agrees


def test_a_reload_in_between_changes_nothing_of_a_request() -> None:
    """It keeps the bound of what may be ejected that it began under."""

    async def main() -> Kept:
        rules: dict[str, Any] = {"queue": {"max_wait": "0s"}}
        providers = dict.fromkeys("abcd", 1)
        scene = Scene(
            config(providers, health={"max_ejected": 0.5}, **rules), {name: [GOOD] for name in "abcd"}
        )
        for number in range(2):
            for _ in range(15):
                scene.teach(Report(Effect.SUCCESS, answered=0.1), Report(Effect.FAILURE), number=number)
        exchange = scene.exchange(request())
        other = config(providers, health={"max_ejected": 0.0}, **rules)
        scene.fleet.renew(fleet.snapshot(other, Tenants(other.clients, b"pepper"), 1))
        await scene.pipeline.handle(exchange)
        kept = scene.ledger.find(exchange.request_id)
        assert kept is not None
        return kept

    kept = run(main())
    assert kept.decision.outcome == "completed"
    assert exact(kept)


@pytest.mark.parametrize("keys", [3, 80])
def test_many_targets_that_could_not_be_asked(keys: int) -> None:
    """Each of them was taken off the plan: none is forgotten."""

    async def main() -> list[Kept]:
        names = [f"k{number}" for number in range(keys)]
        other = {"base_url": "http://a.test/v1", "api_keys": names, "dialects": ["messages"]}
        scene = Scene(config({"a": other, "b": 1}), {"a": [GOOD], "b": [GOOD]})
        await scene.ask(request(n=2, tools=[{"type": "web_search"}]))
        return list(scene.ledger.latest())

    (kept,) = run(main())
    assert len(kept.decision.picks) == keys + 1
    assert exact(kept)


def test_a_model_that_is_named_like_a_host_keeps_its_name() -> None:
    """Though hosts are secrets: what is in the configuration is no key that somebody sent."""

    async def main() -> list[Kept]:
        made = config(
            {"small": {"base_url": "http://small.test:1/v1", "api_keys": ["k"], "dialects": ["messages"]}}
        )
        scene = Scene(made, {"small": [GOOD]})
        await scene.ask(request(), endpoint=Endpoint.EMBEDDINGS)
        return list(scene.ledger.latest())

    (kept,) = run(main())
    assert (kept.decision.asked, kept.decision.status) == (MODEL, 400)
    assert exact(kept)


@pytest.mark.parametrize(
    "broken",
    [
        {"targets": ()},
        {"tries": ()},
        {"picks": [Pick(0, sights={7: Sight()}, came=Came.TRIED)]},
        {"picks": [Pick(7, came=Came.TRIED)]},
    ],
)
def test_what_was_cut_or_edited_is_not_whole(broken: dict[str, Any]) -> None:
    """Whoever reads decisions from a file asks first."""

    async def main() -> Decision:
        scene = Scene(config({"a": 1}), {"a": [GOOD]})
        await scene.ask(request())
        return next(scene.ledger.latest()).decision

    made = run(main())
    assert decision.whole(made)
    assert not decision.whole(msgspec.structs.replace(made, **broken))
