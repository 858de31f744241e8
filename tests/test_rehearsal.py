"""Tests of `proxy.rehearsal`: what it foretells is what then happens, and foretelling it costs nothing."""

import asyncio
import json
import random
from typing import Any

import pytest
from fakes.configs import MODEL, config
from fakes.providers import Answer
from fakes.scenes import HEAD, Scene
from fakes.virtual_loop import run

from proxy import decision
from proxy.circuit import Kind
from proxy.decision import Decision
from proxy.exchange import Exchange, Thread
from proxy.explanation import explained
from proxy.health import Effect, Report
from proxy.moment import Came
from proxy.rehearsal import Rehearsal, Rehearsed, Stock
from proxy.replaying import replayed
from proxy.wire.model import Endpoint

CHUNKS, SEEDS = 8, 1000
"""Random configurations and states, and in how many tests."""

Tree = dict[str, Any]


def rehearsal(scene: Scene) -> Rehearsal:
    """The rehearsal of a scene."""
    return Rehearsal(
        Stock(
            fleet=scene.fleet,
            limiter=scene.limiter,
            estimator=scene.estimator,
            archive=scene.archive,
            budget=scene.budget,
            redactor=scene.redactor,
            clock=scene.clock,
            lots=scene.lots,
        )
    )


async def rehearsed(scene: Scene, body: bytes, endpoint: Endpoint = Endpoint.CHAT) -> Rehearsed:
    """What would become of a request of the one client."""
    tenant = scene.fleet.snapshot.tenants.named("dev")
    assert tenant is not None
    return await rehearsal(scene).of(endpoint, body, tenant, HEAD)


class Case:
    """One random configuration, what its targets have been through, and a request."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.providers = {name: self._provider() for name in "abcd"[: self.draw.randint(1, 4)]}
        entries = {
            name: {"weight": self.draw.choice([1, 2, 5]), "priority": self.draw.choice([1, 1, 1, 2])}
            for name in self.providers
        }
        self.settings = config(
            self.providers,
            entries=entries,
            strategy=self.draw.choice(["weighted", "ordered", "least_busy", "least_latency"]),
            client={"limits": self._limits()} if self.draw.random() < 0.4 else {},
            model={"limits": self._limits()} if self.draw.random() < 0.2 else {},
            queue={"max_wait": "0s"},
            retry={"attempts": self.draw.randint(1, 6)},
        )
        self.endpoint = self.draw.choice([Endpoint.CHAT, Endpoint.RESPONSES, Endpoint.MESSAGES])
        self.body = self._body()

    def _provider(self) -> Tree:
        keys = [f"k{self.draw.getrandbits(40)}" for _ in range(self.draw.randint(1, 3))]
        dialects = self.draw.choice([["chat"], ["messages"], ["responses"], ["chat", "responses"]])
        limits = {"limits": self._limits()} if self.draw.random() < 0.3 else {}
        host = self.draw.choice(["one", "two", "three"])  # some share an origin
        return {"base_url": f"http://{host}.test/v1", "api_keys": keys, "dialects": dialects, **limits}

    def _limits(self) -> Tree:
        found: Tree = {}
        if self.draw.random() < 0.6:
            found["requests_per_minute"] = self.draw.choice([1, 2, 60])
        if self.draw.random() < 0.5:
            found["tokens_per_minute"] = self.draw.choice([50, 500, 100_000])
        return found or {"concurrency": self.draw.choice([1, 2, 10])}

    def _body(self) -> bytes:
        fields: Tree = {"model": self.draw.choice([MODEL] * 12 + ["nothing"])}
        said = [{"role": "user", "content": "Say something. " * self.draw.randint(1, 30)}]
        fields["input" if self.endpoint is Endpoint.RESPONSES else "messages"] = said
        if self.endpoint is Endpoint.MESSAGES:
            fields["max_tokens"] = self.draw.choice([16, 400])
        for name, value, chance in (
            ("stream", True, 0.4),
            ("temperature", 0.5, 0.3),
            ("seed", 5, 0.2),
            ("n", 2, 0.1),
            ("top_k", 3, 0.1),
            ("tools", [{"type": "web_search"}], 0.2),
            ("logit_bias", {"50256": -100}, 0.2),
        ):
            if self.draw.random() < chance:
                fields[name] = value
        return json.dumps(fields).encode()

    async def live(self, scene: Scene) -> None:
        """Let some of the targets have a past."""
        scene.fleet.outbox.open = self.draw.random() < 0.5
        for _ in range(self.draw.choice([0, 0, 1, 3, 8])):
            number = self.draw.randrange(len(scene.targets))
            target = scene.targets[number]
            what = self.draw.randrange(8)
            if what == 0:
                scene.teach(
                    Report(Effect.BACK_OFF, float(self.draw.randint(1, 60)), overload=True), number=number
                )
            elif what == 1:
                scene.teach(*[Report(Effect.FAILURE)] * 6, number=number)
            elif what == 2:
                scene.teach(*[Report(Effect.FAILURE, way=True)] * 6, number=number)
            elif what == 3:
                scene.teach(Report(Effect.QUARANTINE_KEY), number=number)
            elif what == 4:
                scene.fleet.order(target, Kind.DRAIN)
            elif what == 5:
                seconds = self.draw.random()
                scene.teach(
                    Report(Effect.SUCCESS, answered=seconds, whole=self.draw.random() < 0.5), number=number
                )
            elif what == 6:
                scene.fleet.take(target)
            else:
                await asyncio.sleep(self.draw.choice([1.0, 7.0, 40.0]))


def effects(scene: Scene) -> tuple[object, ...]:
    """All that a request could have left behind."""
    return (
        dict(scene.fleet.in_flight),
        dict(scene.fleet.health.records),
        len(scene.fleet.outbox),
        repr(scene.fleet.throttle),
        list(scene.store.calls),
        repr(scene.limiter),
        list(scene.upstream.order),
        list(scene.records),
        list(scene.ledger.latest()),
        scene.lots.getstate(),
        len(scene.waiting),
    )


def course(made: Decision) -> list[tuple[str, Came, list[float]]]:
    """Who was picked, what came of it, and the draws."""
    ids = [*made.targets, ""]  # the last is that of a pick to which none fell
    return [(ids[pick.target], pick.came, pick.draws) for pick in made.picks]


async def foretold(seed: int) -> None:
    """Rehearse a random request, then make it, with providers that answer as it was supposed."""
    case = Case(seed)
    answers = [Answer([], 503)]
    scene = Scene(case.settings, {"one": answers, "two": answers, "three": answers})
    await case.live(scene)
    before = effects(scene)
    found = await rehearsed(scene, case.body, case.endpoint)
    assert effects(scene) == before, f"seed {seed}: it has left something behind"
    sink = await scene.ask(case.body, endpoint=case.endpoint)
    kept = next(scene.ledger.latest())
    assert course(kept.decision) == course(found.decision), f"seed {seed}"
    assert (sink.status, kept.decision.error) == (found.decision.status, found.decision.error), f"seed {seed}"
    assert kept.decision.expected == found.decision.expected, f"seed {seed}"
    for made in (found.decision, kept.decision):
        assert kept.snapshot is not None
        told = explained(made, kept.snapshot, "replica")
        assert told.agrees, f"seed {seed}"
        again = decision.encode(replayed(made, kept.snapshot))
        assert again == decision.encode(made) == decision.encode(decision.decode(again)), f"seed {seed}"
        tried = [one.target for one in told.candidates if one.order is not None]
        first = list(dict.fromkeys(name for name, came, _ in course(made) if came is Came.TRIED))
        assert tried == first, f"seed {seed}"


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_what_is_foretold_is_what_happens(chunk: int) -> None:
    """In random configurations and states, in all three dialects; and it leaves nothing behind."""
    for seed in range(chunk, SEEDS, CHUNKS):
        run(foretold(seed))


class Shelf:
    """What is stored of responses: nothing is to be kept, and this is what a request follows."""

    def __init__(self, thread: Thread | None) -> None:
        self._thread = thread

    async def recall(self, exchange: Exchange) -> None:
        """Note where it stands."""
        exchange.thread = self._thread

    async def keep(self, exchange: Exchange, kept: bytes | None) -> None:
        """Never."""
        raise AssertionError("it was kept")


@pytest.mark.parametrize(("background", "first"), [(False, "a"), (True, "b")])
def test_what_would_run_in_the_background_is_foretold_as_it_would_run(background: bool, first: str) -> None:
    """As a stream: one provider is quick with whole replies, the other with the first words."""

    async def main() -> None:
        scene = Scene(config({"a": 1, "b": 1}, strategy="least_latency"), {"a": [], "b": []})
        for number, whole, seconds in ((0, True, 1.0), (0, False, 9.0), (1, True, 9.0), (1, False, 1.0)):
            scene.teach(Report(Effect.SUCCESS, answered=seconds, whole=whole), number=number)
        shelf: Any = Shelf(Thread(store=True, background=background))
        scene.archive = shelf
        body = json.dumps({"model": MODEL, "input": "Hi", "background": background}).encode()
        found = await rehearsed(scene, body, Endpoint.RESPONSES)
        assert found.decision.targets[found.decision.picks[0].target].startswith(first)
        assert found.decision.stream is background
        assert scene.backgrounds == []

    run(main())


def test_a_response_that_follows_nothing_is_foretold() -> None:
    """Where there is nothing stored."""

    async def main() -> None:
        scene = Scene(config({"a": 1}), {"a": []})
        shelf: Any = Shelf(None)
        scene.archive = shelf
        found = await rehearsed(scene, b'{"model": "small", "input": "Hi"}', Endpoint.RESPONSES)
        assert [pick.came for pick in found.decision.picks][:1] == [Came.TRIED]

    run(main())
