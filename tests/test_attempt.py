"""Tests of `proxy.attempt`: one try, what it tells the pipeline and what it teaches."""

import asyncio
import dataclasses
import json
import random
from collections.abc import Sequence

import pytest
from fakes.chats import counted, delta, error, event, reply, request, role, stream
from fakes.clients import RecordingSink
from fakes.configs import config
from fakes.providers import HANG, Answer, Step
from fakes.scenes import Scene
from fakes.virtual_loop import passed, run

from metrics import record as records
from metrics.record import Tokens
from proxy.answers import answer_headers
from proxy.attempt import ERROR_BODY, ERROR_READ
from proxy.errors import Fault, FaultKind
from proxy.exchange import Exchange
from proxy.health import TRIP_AFTER
from proxy.relay import Outward
from proxy.routing import Plan
from proxy.wire import envelope
from proxy.wire.model import Usage

WAITS = {"first_token": "20s", "total": "60s", "idle": "10s"}


@dataclasses.dataclass(frozen=True)
class Tried:
    """What became of one attempt."""

    scene: Scene
    exchange: Exchange
    sink: RecordingSink
    last: bool
    took: float

    @property
    def outcome(self) -> str:
        """How it ended, in a word."""
        return self.exchange.attempts[-1].outcome

    @property
    def fault(self) -> Fault:
        """Why it failed."""
        return self.exchange.faults[-1]


def routed(scene: Scene, body: bytes, sink: RecordingSink | None = None) -> Exchange:
    """A request that has come as far as its first attempt."""
    exchange = scene.exchange(body, sink=sink)
    exchange.envelope = envelope.read(body, 16)
    exchange.model = scene.fleet.snapshot.models["small"]
    exchange.plan = Plan(exchange.model, random.Random(7), scene.fleet.in_flight)
    return exchange


async def _tried(answer: Answer, *, streamed: bool, age: float) -> Tried:
    scene = Scene(config({"a": 1}, timeouts=WAITS), {"a": [answer]})
    sink = RecordingSink()
    exchange = routed(scene, request(stream=streamed), sink)
    await asyncio.sleep(age)
    out = Outward(scene.clock.monotonic, answer_headers, None)
    last = await scene.attempts.make(exchange, scene.targets[0], out)
    assert scene.fleet.in_flight == {}
    assert all(made.closed for made in scene.upstream.replies)
    return Tried(scene, exchange, sink, last, passed() - age)


def tried(answer: Answer, *, streamed: bool = False, age: float = 0.0) -> Tried:
    """One attempt of a request that is `age` seconds old."""
    return run(_tried(answer, streamed=streamed, age=age))


@pytest.mark.parametrize(
    ("answer", "streamed"), [(Answer([1.0, reply()]), False), (Answer([1.0, stream()]), True)]
)
def test_a_good_one_ends_the_request(answer: Answer, streamed: bool) -> None:
    """It is completed, measured, and its target is in good health."""
    made = tried(answer, streamed=streamed)
    assert made.last
    record = made.exchange.record
    assert (record.outcome, record.status, record.target) == (records.COMPLETED, 200, "a/a-model")
    assert (made.outcome, made.exchange.attempts[0].duration, record.waited) == ("ok", 1.0, 1.0)
    assert (made.exchange.used, record.tokens) == (Usage(3, 2), Tokens(3, 2))
    assert made.exchange.target is made.scene.targets[0]
    assert made.exchange.faults == []


@pytest.mark.parametrize(
    ("answer", "outcome", "last"),
    [
        (Answer(before=[Fault(FaultKind.CONNECT, "away")]), "connect", False),
        (Answer([error()], 500), "status_500", False),
        (Answer([error()], 429), "status_429", False),
        (Answer([error()], 401), "status_401", False),
        (Answer([error()], 400), "status_400", True),
        (Answer([b""]), "empty", False),
        (Answer([b"<html>"]), "not_json", False),
        (Answer([error()]), "error_in_reply", False),
    ],
)
def test_a_bad_one_says_whether_another_may_help(answer: Answer, outcome: str, last: bool) -> None:
    """Its fault is kept for the verdict; the request is not completed and nothing was said."""
    made = tried(answer)
    assert (made.outcome, made.last) == (outcome, last)
    assert made.fault.reason == outcome
    assert made.exchange.record.outcome != records.COMPLETED
    assert made.sink.calls == []
    assert made.exchange.used is None


@pytest.mark.parametrize(
    "rest",
    [
        [Fault(FaultKind.RESET, "gone")],
        [event({"error": {"message": "bad"}})],
        [HANG],
        [],
    ],
)
def test_what_breaks_after_content_is_the_last(rest: Sequence[Step]) -> None:
    """There is no way back; what was seen is what was used."""
    made = tried(Answer([role(), delta("Hi"), *rest]), streamed=True)
    assert made.last
    assert made.exchange.committed
    assert made.outcome != "ok"
    assert made.exchange.used is not None
    assert made.exchange.used.output >= 2
    assert made.exchange.record.tokens is None


@pytest.mark.parametrize(
    ("streamed", "age", "kind", "took"),
    [
        (True, 0.0, FaultKind.FIRST_TOKEN_TIMEOUT, 20.0),
        (True, 30.0, FaultKind.FIRST_TOKEN_TIMEOUT, 20.0),
        (True, 50.0, FaultKind.OUT_OF_TIME, 10.0),
        (False, 0.0, FaultKind.TOTAL_TIMEOUT, 60.0),
        (False, 20.0, FaultKind.TOTAL_TIMEOUT, 40.0),
        (False, 50.0, FaultKind.OUT_OF_TIME, 10.0),
    ],
)
def test_how_long_one_may_take(streamed: bool, age: float, kind: FaultKind, took: float) -> None:
    """A stream has so long for its first content each time, everything so long in all."""
    made = tried(Answer(before=[HANG]), streamed=streamed, age=age)
    assert made.fault.kind is kind
    assert made.took == pytest.approx(took)
    assert made.exchange.attempts[0].duration == pytest.approx(took)


@pytest.mark.parametrize(
    ("steps", "message", "took"),
    [
        ([error("Busy.")], "Busy.", 0.0),
        ([1.0, error("Busy.")], "Busy.", 1.0),
        ([HANG], None, ERROR_READ),
        ([Fault(FaultKind.RESET, "gone")], None, 0.0),
        ([b""], None, 0.0),
        ([b"<html>busy</html>"], None, 0.0),
        ([error("x" * ERROR_BODY)], None, 0.0),
    ],
    ids=["says", "says late", "never", "reset", "nothing", "html", "too much"],
)
def test_what_a_provider_says_of_its_error(steps: Sequence[Step], message: str | None, took: float) -> None:
    """Within a bound of time and size; its status counts without a word."""
    made = tried(Answer(steps, 503, {"retry-after": "7"}))
    assert (made.fault.status, made.fault.retry_after, made.took) == (503, 7.0, took)
    assert (made.fault.said.message if made.fault.said else None) == message


def test_no_secret_is_in_what_was_said() -> None:
    """The provider's key goes upstream and nowhere else."""
    settings = config({"a": {"api_keys": ["sk-provider-secret-0123"]}}, timeouts=WAITS)

    async def scenario() -> Exchange:
        scene = Scene(settings, {"a": [Answer([error("Bad key sk-provider-secret-0123.")], 401)]})
        exchange = routed(scene, request())
        out = Outward(scene.clock.monotonic, answer_headers, None)
        await scene.attempts.make(exchange, scene.targets[0], out)
        return exchange

    said = run(scenario()).faults[0].said
    assert said is not None
    assert "secret" not in repr(said)


def test_a_whole_origin_that_failed_comes_last() -> None:
    """Another provider goes before the second key of one that could not be reached."""

    async def scenario() -> list[str]:
        scene = Scene(config({"a": 2, "b": 1}), {"a": [Answer([b"no"], 500)], "b": [Answer([reply()])]})
        await scene.ask(request())
        return scene.upstream.order

    assert run(scenario()) == ["a:a1", "b:b1"]


def test_a_probe_that_was_left_teaches_nothing() -> None:
    """Its place is free for the next one, and the target neither better nor worse for it."""

    async def scenario() -> None:
        down = Answer([b"no"], 500)
        scene = Scene(
            config({"a": 1}, retry={"attempts": 1}), {"a": [down] * TRIP_AFTER + [Answer(before=[HANG])]}
        )
        for _ in range(TRIP_AFTER):
            await scene.ask(request())
        assert scene.health().open_until
        await asyncio.sleep(scene.health().open_until - scene.clock.monotonic() + 0.1)
        await scene.leave(request(), 1.0)
        assert len(scene.upstream.calls) == TRIP_AFTER + 1
        assert scene.fleet.health.ready_at(scene.targets[0]) <= scene.clock.monotonic()

    run(scenario())


def test_usage_is_noted_even_if_the_client_leaves_before_its_answer() -> None:
    """A whole reply that had come has been used."""

    async def scenario() -> Exchange:
        scene = Scene(config({"a": 1}), {"a": [Answer([reply()])]})
        exchange = routed(scene, request(), RecordingSink([HANG]))
        out = Outward(scene.clock.monotonic, answer_headers, None)
        task = asyncio.create_task(scene.attempts.make(exchange, scene.targets[0], out))
        await asyncio.sleep(1.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert scene.fleet.in_flight == {}
        return exchange

    assert run(scenario()).used == Usage(3, 2)


def test_a_reply_without_usage_is_estimated() -> None:
    """By its request's size; the record does not claim to know."""
    made = tried(Answer([json.dumps({"choices": [{"message": {"content": "Hi"}}]}).encode()]))
    assert made.exchange.used == Usage(1 + round(len(request(stream=False)) / 4), 1)
    assert made.exchange.record.tokens is None


def test_reported_usage_goes_before_what_was_seen() -> None:
    """A stream cut after its usage is charged what the provider counted."""
    usage = event({"choices": [], "usage": counted(30, 20)})
    made = tried(Answer([role(), delta("Hi"), usage, Fault(FaultKind.RESET, "gone")]), streamed=True)
    assert made.exchange.used == Usage(30, 20)
