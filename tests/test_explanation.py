"""Tests of `proxy.explanation`: decisions, told in words."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from fakes.chats import delta, error, reply, request, role, stream
from fakes.configs import MODEL, Tree, config
from fakes.providers import HANG, Answer
from fakes.scenes import Scene
from fakes.virtual_loop import run
from test_rehearsal import rehearsal, rehearsed

from proxy.circuit import Kind
from proxy.decision import Decision, Limited, Try
from proxy.exchange import Head
from proxy.explanation import (
    Explanation,
    Loss,
    Step,
    explained,
    outlined,
    path,
)
from proxy.health import Effect, Report
from proxy.moment import Came, Pick
from proxy.rehearsal import Rehearsed
from proxy.routing import Reason
from proxy.wire.envelope import encode
from proxy.wire.model import Endpoint

BUSY = Answer([], 503)
GOOD = Answer([reply()])


def told(scene: Scene) -> Explanation:
    """The latest of a scene, told; what is told can be read again."""
    kept = next(scene.ledger.latest())
    assert kept.snapshot is not None
    found = explained(kept.decision, kept.snapshot, "0123456789ab")
    assert found.agrees
    assert msgspec.json.decode(encode(found), type=Explanation) == found
    return found


def said(found: Rehearsed) -> Explanation:
    """What is foretold, told."""
    quotes = {limit.key: quote.said for quote in found.quotes for limit in quote.limits}
    answer = explained(
        found.decision, found.snapshot, "0123456789ab", said=quotes, waits=found.waits, answer=found.answer
    )
    assert answer.agrees
    return answer


def short(name: str | None) -> str:
    """A target by its provider and key."""
    return "" if name is None else name.replace("-model@", "")[:1]


def whys(step: Step) -> dict[str, tuple[str, str]]:
    """Why others were left out, by provider."""
    return {short(out.target): (out.reason, out.why) for out in step.left_out}


def test_a_failover_is_told_step_by_step() -> None:
    """Who was asked, how that ended, and why the others were not."""

    async def main() -> Explanation:
        scene = Scene(
            config({"a": 1, "b": 1, "c": 1}), {"a": [BUSY], "b": [Answer([2.0, reply()])], "c": [GOOD]}
        )
        await scene.ask(request())
        return told(scene)

    found = run(main())
    assert found.summary.startswith("completed (200): a/a-model@")
    assert [(one.label, one.order, one.why) for one in found.candidates] == [
        ("a/a-model", 1, "tried: status_503"),
        ("b/b-model", 2, "tried: ok"),
        ("c/c-model", None, "not needed"),
    ]
    first, second = found.steps
    assert (first.why, first.outcome, first.took, first.came) == (
        "the best by the model's strategy",
        "status_503",
        0.0,
        "tried",
    )
    assert whys(first) == {"b": ("strategy", "it comes later in the file")} | {
        "c": ("strategy", "it comes later in the file")
    }
    assert (second.outcome, second.took) == ("ok", 2.0)
    assert (found.status, found.outcome, found.error, found.supposed) == (200, "completed", None, False)
    assert (found.endpoint, found.model, found.client, found.stream) == ("chat", MODEL, "dev", False)
    assert found.at == "2027-01-15T08:00:02.000+00:00"
    assert (found.duration, found.queued, found.waits, found.answer) == (2.0, None, None, None)


def test_draws_have_their_chance() -> None:
    """By weight, among those that there was a draw for."""

    async def main() -> Explanation:
        made = config(
            {"a": 1, "b": 1, "c": 1},
            strategy="weighted",
            entries={"a": {"weight": 1}, "b": {"weight": 3}, "c": {"priority": 2}},
        )
        scene = Scene(made, {name: [GOOD] for name in "abc"})
        await scene.ask(request())
        return told(scene)

    (step,) = run(main()).steps
    picked = short(step.picked)
    chance = {"a": 0.25, "b": 0.75}[picked]
    weight = {"a": 3, "b": 1}[picked]
    assert (step.chance, step.why) == (chance, f"drawn by weight, with a chance of {chance:.1%}")
    other = "b" if picked == "a" else "a"
    assert whys(step) == {
        other: ("draw", f"the draw fell on another (its weight is {weight})"),
        "c": ("priority", "its priority is 2, and one with a lower number was there"),
    }


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        ("least_busy", "it has 2 requests in flight for its weight, and another has fewer"),
        ("least_latency", "it would take 2 s (latency times load), and another less"),
    ],
)
def test_strategies_tell_their_figures(strategy: str, words: str) -> None:
    """What a target was taken for."""

    async def main() -> Explanation:
        scene = Scene(config({"a": 1, "b": 1}, strategy=strategy), {"a": [GOOD], "b": [GOOD]})
        scene.teach(Report(Effect.SUCCESS, answered=2.0, whole=True), number=0)
        scene.teach(Report(Effect.SUCCESS, answered=0.5, whole=True), number=1)
        if strategy == "least_busy":
            for _ in range(2):
                scene.fleet.take(scene.targets[0])
        await scene.ask(request())
        return told(scene)

    (step,) = run(main()).steps
    assert (short(step.picked), step.why) == ("b", "the best by the model's strategy")
    assert whys(step) == {"a": ("strategy", words)}


async def troubled(scene: Scene, number: int, reason: Reason) -> None:
    """Bring a target into a state."""
    target = scene.targets[number]
    if reason is Reason.BACKING_OFF:
        scene.teach(Report(Effect.BACK_OFF, 30.0), number=number)
    elif reason is Reason.DRAINED:
        scene.fleet.order(target, Kind.DRAIN)
    elif reason is Reason.FULL:
        for _ in range(6):
            scene.fleet.take(target)
        scene.teach(Report(Effect.FAILURE, overload=True), number=number)
    elif reason is Reason.REFUSED:
        scene.teach(Report(Effect.QUARANTINE_KEY), number=number)
    else:
        scene.teach(*[Report(Effect.FAILURE)] * 8, number=number)
        if reason is Reason.HALF_OPEN:
            await asyncio.sleep((scene.health(number).open_until - scene.fleet.now()) / 1000 + 0.01)
            scene.fleet.outbox.open = True  # nobody grants a probe


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (Reason.BACKING_OFF, "it is backing off for another 30.0 s: the provider asked for it"),
        (Reason.DRAINED, "it is drained: an operator wants no requests to go there"),
        (Reason.FULL, "it has as many requests in flight as it may have"),
        (Reason.EJECTED, "it failed too often: its circuit is open for another "),
        (Reason.REFUSED, "its key was refused, or may not use its model; it is tried again in 300.0 s"),
        (Reason.HALF_OPEN, "its circuit is half open, and this request is not its probe"),
    ],
)
def test_why_a_target_is_not_tried_now(reason: Reason, words: str) -> None:
    """With the time that mends it, where time does."""

    async def main() -> tuple[Explanation, int]:
        scene = Scene(config({"a": 1, "b": 1}), {"a": [GOOD], "b": [GOOD]})
        await troubled(scene, 0, reason)
        await scene.ask(request())
        return told(scene), scene.fleet.now()

    found, now = run(main())
    (step,) = found.steps
    assert (short(step.picked), step.why) == ("b", "the only one left")
    assert whys(step)["a"][0] == reason
    assert whys(step)["a"][1].startswith(words)
    assert found.candidates[-1].why.startswith(words)
    (out,) = step.left_out
    timed = reason in (Reason.BACKING_OFF, Reason.EJECTED, Reason.REFUSED)
    assert (out.until is not None and out.until > now) == timed


def test_a_probe_goes_first() -> None:
    """And the others wait for it."""

    async def main() -> Explanation:
        scene = Scene(config({"a": 1, "b": 1}), {"a": [GOOD], "b": [GOOD]})
        await troubled(scene, 1, Reason.EJECTED)
        await asyncio.sleep((scene.health(1).open_until - scene.fleet.now()) / 1000 + 0.01)
        await scene.ask(request())
        return told(scene)

    (step,) = run(main()).steps
    assert (short(step.picked), step.why) == ("b", "it was its turn to be probed")
    assert whys(step) == {"a": ("probe", "another one was to be probed")}


def test_an_origin_that_failed_comes_last() -> None:
    """Another one is asked first, whatever the priorities."""
    same: Tree = {"base_url": "http://a.test/v1", "api_keys": ["a1", "a2"]}

    async def main() -> Explanation:
        scene = Scene(config({"a": same, "b": 1}, entries={"b": {"priority": 2}}), {"a": [BUSY], "b": [GOOD]})
        await scene.ask(request())
        return told(scene)

    found = run(main())
    assert found.steps[0].why.startswith("drawn by weight")
    assert found.steps[1].why == "another origin than the one that has just failed"
    assert whys(found.steps[1]) == {"a": ("origin", "its origin has just failed in this request")}


def test_who_starts_slowly_is_left_out_by_lot() -> None:
    """With its share."""

    async def main() -> list[Explanation]:
        scene = Scene(config({"a": 1, "b": 1}, strategy="weighted"), {"a": [GOOD], "b": [GOOD]})
        await troubled(scene, 0, Reason.EJECTED)
        await asyncio.sleep((scene.health(0).open_until - scene.fleet.now()) / 1000 + 0.01)
        found = []
        for _ in range(12):
            await scene.ask(request())
            found.append(told(scene))
        return found

    left = [out for found in run(main()) for step in found.steps for out in step.left_out]
    (why, *_) = [out.why for out in left if out.reason == Reason.SLOW_START]
    assert why.startswith("it starts slowly, with ")
    assert why.endswith("% of its requests: the lot left it out")


def test_keys_without_room_are_told() -> None:
    """A full one with the time it may be asked again, and one with all its places taken."""
    limited: Tree = {"base_url": "http://a.test", "api_keys": ["a1"], "limits": {"requests_per_minute": 1}}
    narrow: Tree = {"base_url": "http://b.test", "api_keys": ["b1"], "limits": {"concurrency": 1}}

    async def main() -> Explanation:
        made = config({"a": limited, "b": narrow}, queue={"max_wait": "0s"})
        scene = Scene(made, {"a": [GOOD], "b": [Answer([HANG])]})
        await scene.ask(request())
        hanging = scene.tasks.spawn(scene.pipeline.handle(scene.exchange(request())), "one")
        await asyncio.sleep(1)
        await scene.ask(request())
        found = told(scene)
        hanging.cancel()
        return found

    found = run(main())
    assert [step.came for step in found.steps] == ["full", "crowded", ""]
    assert [one.why for one in found.candidates] == [
        "its key's limits had no room",
        "its key has as many requests at one time as it may have",
    ]
    assert (found.steps[-1].picked, found.steps[-1].why) == (None, "none could be tried at that moment")
    assert whys(found.steps[-1])["a"] == (
        "later",
        f"its key had no room, and may be asked again in {whys(found.steps[-1])['a'][1].split()[-2]} s",
    )
    assert (found.status, found.outcome) == (429, "failed")
    assert found.limits[0].limit.startswith("key a@")
    assert found.limits[0].requests_per_minute == 1
    assert found.limits[1].concurrency == 1


def test_the_last_one_once_more() -> None:
    """After nobody was left."""

    async def main() -> Explanation:
        scene = Scene(config({"a": 1}), {"a": [BUSY, GOOD]})
        await scene.ask(request())
        return told(scene)

    found = run(main())
    assert [step.came for step in found.steps] == ["tried", "", "tried"]
    assert found.steps[2].why.startswith("none was left: the last one once more")
    assert found.candidates[0].order == 1
    assert found.candidates[0].why == "tried: ok"


def test_what_cannot_be_said_is_told() -> None:
    """And what was lost where it was said."""
    spoken: Tree = {"base_url": "http://b.test", "api_keys": ["b1"], "dialects": ["messages"]}

    async def main() -> tuple[Explanation, Explanation]:
        scene = Scene(config({"b": spoken, "a": 1}), {"a": [BUSY], "b": [BUSY]})
        await scene.ask(request(n=2))
        unsayable = told(scene)
        return unsayable, said(await rehearsed(scene, request(seed=5)))

    unsayable, lossy = run(main())
    assert [(one.label[:1], one.why, one.speaks) for one in unsayable.candidates] == [
        ("a", "tried: status_503", None),
        ("b", "what is asked cannot be said to it", "messages"),
    ]
    assert unsayable.steps[0].came == "unsayable"
    assert [one.lost for one in lossy.candidates if one.label[:1] == "b"] == [(Loss("seed", "dropped"),)]


def test_a_client_that_is_limited() -> None:
    """What refused it, and that nobody was asked."""

    async def main() -> Explanation:
        limited: Tree = {"limits": {"requests_per_minute": 60, "burst": 1, "tokens_per_minute": 100_000}}
        scene = Scene(config({"a": 1}, client=limited), {"a": [GOOD]})
        for _ in range(2):
            await scene.ask(request())
        return told(scene)

    found = run(main())
    assert (found.refused_by, found.retry_after) == ("requests of client dev", 1.0)
    assert found.summary == "refused (429): 429 rate_limit_exceeded"
    assert [one.why for one in found.candidates] == ["not reached: the request came to no try"]
    assert found.steps == ()
    assert [(one.limit, one.tokens_per_minute, one.window, one.said) for one in found.limits] == [
        ("client dev", 100_000, "smooth", None)
    ]


def test_what_is_supposed_is_said_as_such() -> None:
    """Who would be the first, and who would follow if those before it failed."""
    spoken: Tree = {"base_url": "http://c.test", "api_keys": ["c1"], "dialects": ["messages"]}

    async def main() -> tuple[Explanation, Explanation]:
        made = config({"c": spoken, "a": 1, "b": 1, "d": 1}, retry={"attempts": 2})
        scene = Scene(made, {name: [GOOD] for name in "abcd"})
        few = config({"a": 1})
        return said(await rehearsed(scene, request(n=2))), said(
            await rehearsed(Scene(few, {"a": [GOOD]}), request())
        )

    found, few = run(main())
    assert found.summary == "would go to a/a-model; if that fails, b/b-model"
    assert few.summary == "would go to a/a-model; if that fails, a/a-model once more"
    assert [(one.label[:1], one.order, one.why) for one in found.candidates] == [
        ("a", 1, "would be tried"),
        ("b", 2, "would be tried if those before it fail"),
        ("c", None, "what is asked cannot be said to it"),
        ("d", None, "not reached: as many were tried as one request may try"),
    ]
    assert {step.outcome for step in found.steps} == {None}
    assert (found.status, found.outcome, found.duration, found.answer) == (None, None, None, None)
    assert found.supposed


def test_what_would_be_refused_is_quoted() -> None:
    """With the answer that the client would get."""

    async def main() -> tuple[Explanation, Explanation, Explanation]:
        limited: Tree = {"limits": {"requests_per_minute": 60, "burst": 1}}
        scene = Scene(config({"a": 1}, client=limited), {"a": [GOOD]})
        await scene.ask(request())
        refused = said(await rehearsed(scene, request()))
        unknown = said(await rehearsed(scene, request("nothing")))
        waits = Scene(config({"a": 1}), {"a": [GOOD]})
        waits.teach(Report(Effect.BACK_OFF, 1.0))
        return refused, unknown, said(await rehearsed(waits, request()))

    refused, unknown, waits = run(main())
    assert refused.summary == "would be refused: 429 rate_limit_exceeded"
    read = msgspec.json.decode(encode(refused), type=Explanation)
    assert "Rate limit reached" in str(read.answer)
    assert refused.limits[0].said is not None
    assert not refused.limits[0].said.admitted
    assert (unknown.summary, unknown.candidates, unknown.limits) == (
        "would be refused: 404 model_not_found",
        (),
        (),
    )
    assert waits.summary == "would wait for a target, 1.0 s or longer"
    assert waits.waits == 1.0
    assert waits.status == 429


def test_only_who_finds_nobody_waits() -> None:
    """One that has somebody to try does not, even if it might wait for another one later."""
    limited: Tree = {
        "base_url": "http://b.test",
        "api_keys": ["b1"],
        "limits": {"requests_per_minute": 60, "burst": 1},
    }

    async def main() -> Explanation:
        scene = Scene(config({"b": limited, "a": 1}), {"a": [GOOD], "b": [GOOD]})
        await scene.ask(request())
        found = await rehearsed(scene, request())
        assert found.waits is not None
        return said(found)

    assert run(main()).waits is None


def test_a_model_that_is_addressed_directly() -> None:
    """Its targets are those of its provider, and its key's limits count."""
    limited: Tree = {
        "base_url": "http://a.test",
        "api_keys": ["a1", "a2"],
        "limits": {"requests_per_minute": 9},
    }

    async def main() -> tuple[Explanation, Explanation]:
        scene = Scene(config({"a": limited}, client={"allow_direct": True}), {"a": [BUSY, GOOD]})
        await scene.ask(request("odd/one#a"))
        tenant = scene.fleet.snapshot.tenants.named("dev")
        assert tenant is not None
        head = Head(None, b"application/json")
        return told(scene), said(await rehearsal(scene).of(Endpoint.CHAT, request("odd/one#a"), tenant, head))

    found, supposed = run(main())
    assert (found.model, len(found.candidates), found.steps[0].chance) == ("odd/one#a", 2, 0.5)
    assert {one.label for one in found.candidates} == {"a/odd/one"}
    assert [one.limit.partition("@")[0] for one in found.limits] == ["key a", "key a"]
    assert len(supposed.candidates) == 2


def test_streams_say_when_they_began() -> None:
    """And a client that has left is told of as well."""

    async def main() -> tuple[Explanation, Explanation]:
        scene = Scene(
            config({"a": 1}), {"a": [Answer([1.0, stream("Hello")]), Answer([role() + delta("Hel"), HANG])]}
        )
        await scene.ask(request(stream=True))
        whole = told(scene)
        await scene.leave(request(stream=True), 3.0)
        return whole, told(scene)

    whole, left = run(main())
    assert (whole.stream, whole.ttft, whole.steps[0].outcome) == (True, 1.0, "ok")
    assert (left.outcome, left.status, left.steps[0].outcome) == ("client_gone", 499, "cancelled")


def made(*picks: Pick, tries: Sequence[Try] = (), **more: Any) -> Decision:
    """A decision over `a`, `b`, `c`."""
    fields: dict[str, Any] = {
        "endpoint": Endpoint.CHAT,
        "asked": MODEL,
        "client": "dev",
        "at": 1.0,
        "stream": False,
        "size": 1,
        "weight": 1,
        "choices": 1,
        "max_output": None,
        "expected": 0,
        "picks": picks,
        "tries": tries,
        "limited": None,
        "outcome": "completed",
        "status": 200,
        "error": "",
        "queued": 0.0,
        "duration": 0.0,
        "ttft": None,
        "targets": ("a", "b", "c"),
    }
    return Decision(**(fields | more))


TRIED = [Pick(0, came=Came.TRIED), Pick(1, came=Came.TRIED)]
TRIES = [Try("status_503", 503), Try("ok")]


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        (made(*TRIED, tries=TRIES), "a status_503 > b ok"),
        (made(*TRIED, tries=TRIES, supposed=True, outcome="failed", status=503, error="x"), "a > b > 503 x"),
        (
            made(TRIED[0], tries=TRIES[:1], outcome="failed", status=503, error="overloaded"),
            "a status_503 > 503 overloaded",
        ),
        (made(TRIED[0], tries=TRIES[:1], outcome="failed", status=0), "a status_503 > failed"),
        (made(TRIED[0], Pick(2), tries=TRIES[:1], outcome="open", status=0), "a status_503 > c ?"),
        (made(TRIED[0], Pick(-1), tries=TRIES[:1], outcome="open", status=0), "a status_503 > ?"),
        (made(TRIED[0], tries=TRIES[:1], outcome="open", status=0), "a status_503 > ?"),
        (made(Pick(0, came=Came.UNSAYABLE), Pick(2), outcome="open", status=0), "c ?"),
        (made(outcome="open", status=0), "?"),
        (made(outcome="refused", status=404, error="model_not_found"), "404 model_not_found"),
        (made(*TRIED, tries=TRIES, targets=()), "200"),
        (made(Pick(0, came=Came.TRIED), tries=()), "a"),
    ],
)
def test_a_path_in_one_line(decision: Decision, expected: str) -> None:
    """Who was tried, how that ended, and the end; `?` for what nobody knows."""
    assert path(decision) == expected


def test_an_outline_where_the_configuration_is_gone() -> None:
    """Nothing of targets, for nobody knows which they were; it does not claim to be whole."""
    found = outlined(
        made(*TRIED, tries=TRIES, targets=(), limited=Limited("tokens", "client dev", 2.5)), "0123456789ab"
    )
    assert (found.summary, found.agrees, found.candidates, found.steps) == ("completed (200)", False, (), ())
    assert (found.refused_by, found.retry_after) == ("tokens of client dev", 2.5)
    assert outlined(made(outcome="failed", status=503, error="x"), "r").summary == "failed (503 x)"
    assert msgspec.json.decode(encode(found), type=Explanation) == found


def test_picked_and_not_asked() -> None:
    """Its model's limits refused it at that moment."""

    async def main() -> Explanation:
        limited: Tree = {"limits": {"requests_per_minute": 60, "burst": 1}}
        scene = Scene(config({"a": 1, "b": 1}, model=limited), {"a": [GOOD], "b": [GOOD]})
        for _ in range(2):
            await scene.ask(request())
        return told(scene)

    found = run(main())
    assert found.refused_by == f"requests of model {MODEL}"
    assert [one.why for one in found.candidates] == [
        "picked, and not asked",
        "not reached: the request came to no try",
    ]


def test_a_refusal_of_the_provider_s_is_told() -> None:
    """With its code, and nothing that was said."""

    async def main() -> Explanation:
        scene = Scene(config({"a": 1}), {"a": [Answer([error("My prompt was bad.", code="too_bad")], 400)]})
        await scene.ask(request())
        return told(scene)

    found = run(main())
    assert (found.status, found.error, found.outcome) == (400, "too_bad", "refused")
    assert b"prompt" not in encode(found)
