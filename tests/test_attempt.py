"""Tests of `proxy.attempt`: one try, what it tells the pipeline and what it teaches."""

import asyncio
import dataclasses
import json
import math
import random
from collections.abc import Sequence

import pytest
from fakes.chats import counted, delta, error, event, reply, request, role, stream
from fakes.clients import RecordingSink
from fakes.configs import config, target
from fakes.providers import HANG, Answer, Step
from fakes.scenes import Scene
from fakes.virtual_loop import passed, run

from metrics import record as records
from metrics.record import Tokens
from proxy import passages
from proxy.answers import answer_headers
from proxy.attempt import ERROR_BODY, ERROR_READ
from proxy.circuit import Cause, State
from proxy.errors import Fault, FaultKind
from proxy.exchange import Exchange
from proxy.health import Effect, Report
from proxy.prices import Price, Rates
from proxy.relay import Outward
from proxy.routing import Plan
from proxy.wire import envelope
from proxy.wire.model import Endpoint, Usage

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
    exchange.plan = Plan(exchange.model, random.Random(7))
    return exchange


async def make(scene: Scene, exchange: Exchange, number: int = 0) -> bool:
    """One attempt at a target as the pipeline makes it; whether it was the last."""
    assert exchange.plan is not None
    while (turn := scene.fleet.pick(exchange.plan)) and turn.target is not scene.targets[number]:
        scene.fleet.end(turn)
    assert turn is not None
    exchange.way = passages.way(exchange, turn.target, scene.admission.prompt)
    try:
        return await scene.attempts.make(exchange, turn, Outward(scene.clock.monotonic, answer_headers, None))
    finally:
        scene.fleet.end(turn)


async def _tried(answer: Answer, *, streamed: bool, age: float) -> Tried:
    scene = Scene(config({"a": 1}, timeouts=WAITS), {"a": [answer]})
    sink = RecordingSink()
    exchange = routed(scene, request(stream=streamed), sink)
    await asyncio.sleep(age)
    last = await make(scene, exchange)
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
    assert made.scene.fleet.blunders.of(made.scene.targets[0].id) == []


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
    (blunder,) = made.scene.fleet.blunders.of(made.scene.targets[0].id)
    assert (blunder.kind, blunder.count) == (outcome, 1)
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
    assert made.exchange.record.waited == took
    assert (made.fault.said.message if made.fault.said else None) == message


def test_no_secret_is_in_what_was_said() -> None:
    """The provider's key goes upstream and nowhere else."""
    settings = config({"a": {"api_keys": ["sk-provider-secret-0123"]}}, timeouts=WAITS)

    async def scenario() -> Exchange:
        scene = Scene(settings, {"a": [Answer([error("Bad key sk-provider-secret-0123.")], 401)]})
        exchange = routed(scene, request())
        await make(scene, exchange)
        return exchange

    made = run(scenario())
    said = made.faults[0].said
    assert said is not None
    assert "secret" not in repr(said)
    assert made.attempts[0].said == "Bad key [redacted]."


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer([error("No such model: A-model (a/a-model).")], 404), "No such model: A-model (a/a-model)."),
        (Answer([error("Invalid 'hunter2', said I.", code="bad")], 400), "Invalid …; bad"),
        (Answer([error("Busy", code="sk-abcdef0123", type="AKIAABCDEFGHIJKLMNOP")], 503), "Busy; [redacted]"),
        (Answer([b"<html>"], 502), ""),
        (Answer(before=[Fault(FaultKind.TLS, "the certificate was refused")]), "the certificate was refused"),
    ],
    ids=["says", "quotes", "secrets", "nothing", "way"],
)
def test_what_a_failure_was_is_told_to_operators(answer: Answer, said: str) -> None:
    """With the attempt, for the log, and with the target; nothing of what the client has said."""

    async def scenario() -> tuple[str, list[str]]:
        scene = Scene(config({"a": 1}, timeouts=WAITS), {"a": [answer]})
        exchange = routed(scene, request(user="hunter2"))
        await make(scene, exchange)
        blunders = scene.fleet.blunders.of(exchange.plan.targets[0].id) if exchange.plan else ()
        return exchange.attempts[0].said, [one.said for one in blunders]

    assert run(scenario()) == (said, [said])


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
        scene = Scene(config({"a": 1}, queue={"max_wait": 0}), {"a": [Answer(before=[HANG])]})
        scene.teach(*[Report(Effect.FAILURE)] * 5)
        opened = scene.health()
        await asyncio.sleep(scene.wait() + 0.1)
        await scene.leave(request(), 1.0)
        assert len(scene.upstream.calls) == 1
        assert scene.health() == opened
        assert scene.health().state(scene.fleet.now()) is State.HALF_OPEN

    run(scenario())


@pytest.mark.parametrize(
    ("answer", "streamed", "limit"),
    [
        (Answer([error()], 429), False, 4),
        (Answer([error()], 503), False, 4),
        (Answer([error()], 529), True, 4),
        (Answer(before=[HANG]), True, 4),
        (Answer([role(), HANG]), True, 4),
        (Answer([error("x", code="insufficient_quota")], 429), False, None),
        (Answer([error()], 500), False, None),
        (Answer([error()], 401), False, None),
        (Answer(before=[HANG]), False, None),
        (Answer(before=[Fault(FaultKind.RESET, "gone")]), False, None),
        (Answer([role(), delta("Hi"), HANG]), True, None),
        (Answer([reply()]), False, None),
    ],
    ids=[
        "429",
        "503",
        "529",
        "no head in time",
        "no content in time",
        "no money",
        "500",
        "401",
        "no reply in time",
        "reset",
        "stall",
        "ok",
    ],
)
def test_who_has_too_much_to_do_is_held_back_from(answer: Answer, streamed: bool, limit: int | None) -> None:
    """After a 429, 503, 529 or no first token in time; not after what has nothing to do with load."""
    made = tried(answer, streamed=streamed)
    assert made.scene.fleet.throttle.limit(made.scene.targets[0].id) == limit


@pytest.mark.parametrize(
    ("answer", "streamed", "latency"),
    [
        (Answer([2.0, reply()], before=[1.0]), False, 3.0),
        (Answer([role(), 2.0, delta("Hi"), 7.0, stream()], before=[1.0]), True, 3.0 * math.exp(-0.7)),
        (Answer(before=[HANG]), True, 20.0),
        (Answer([error()], 500, before=[1.0]), False, 0.0),
        (Answer([error()], 429, before=[1.0]), True, 0.0),
        (Answer(before=[HANG]), False, 0.0),
    ],
    ids=["whole", "stream", "never", "500", "429", "out of time"],
)
def test_how_long_it_took_to_its_first_content_is_told(
    answer: Answer, streamed: bool, latency: float
) -> None:
    """From the attempt's own start; how long was waited in vain; of a quick error nothing."""

    async def scenario() -> dict[str, float]:
        made = await _tried(answer, streamed=streamed, age=5.0)
        return made.scene.fleet.tell_loads()[1]

    name = target("a").id
    known = {name if streamed else f"{name} whole": pytest.approx(latency)} if latency else {}
    assert run(scenario()) == known


@pytest.mark.parametrize(
    ("status", "again"), [(429, True), (529, True), (500, False), (503, False), (401, False), (404, False)]
)
def test_who_asked_for_time_may_be_asked_again(status: int, again: bool) -> None:
    """A 429 or 529 leaves its target on the plan, for when its window is over."""

    async def scenario() -> None:
        made = await _tried(Answer([error()], status, {"retry-after": "9"}), streamed=False, age=0.0)
        assert made.exchange.plan is not None
        assert made.exchange.plan.open is again
        if again:
            assert made.exchange.plan.ready_at(made.scene.fleet) == made.scene.fleet.now() + 9_000

    run(scenario())


@pytest.mark.parametrize(
    ("first", "second", "counted"),
    [
        (Answer([error()], 500), Answer([error()], 500), 0),
        (Answer([error()], 503), Answer([error()], 502), 0),
        (Answer([error()], 429), Answer([error()], 500), 1),
        (Answer([error()], 408), Answer([error()], 500), 1),
        (Answer(before=[Fault(FaultKind.CONNECT, "away")]), Answer([error()], 500), 1),
        (Answer([error()], 500), Answer([b""]), 1),
        (Answer([error()]), Answer([error()]), 0),
        (Answer([error(code=429)]), Answer([error()]), 1),
    ],
    ids=[
        "both 500",
        "both 5xx",
        "after 429",
        "after 408",
        "after connect",
        "other fault",
        "both inside a 200",
        "after 429 inside a 200",
    ],
)
def test_a_5xx_that_repeats_is_the_requests_own(first: Answer, second: Answer, counted: int) -> None:
    """What two targets answer alike is not held against one that has served others lately."""

    async def scenario() -> int:
        scene = Scene(config({"a": 1, "b": 1}), {"a": [first], "b": [second]})
        scene.teach(Report(Effect.SUCCESS), number=1)
        exchange = routed(scene, request())
        await make(scene, exchange, 0)
        await make(scene, exchange, 1)
        return scene.health(1).failures

    assert run(scenario()) == counted


MESSAGE = [{"role": "user", "content": "Hi"}]
ASKED: dict[str, dict[str, object]] = {
    "chat": {"messages": MESSAGE},
    "messages": {"messages": MESSAGE},
    "responses": {"input": "Hi", "max_tokens": None},
}
ENDPOINTS = {"chat": Endpoint.CHAT, "messages": Endpoint.MESSAGES, "responses": Endpoint.RESPONSES}


def sse(kind: str, **fields: object) -> bytes:
    """A named event."""
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), json.dumps({"type": kind, **fields}).encode())


def response_failed(code: str) -> bytes:
    """A Responses stream that fails before it says anything."""
    response = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "output": []}
    broke = {"status": "failed", "error": {"code": code, "message": "No."}}
    return sse("response.created", sequence_number=0, response={**response, "status": "in_progress"}) + sse(
        "response.failed", sequence_number=1, response={**response, **broke}
    )


def message_failed(kind: str) -> bytes:
    """A Messages stream that is an error."""
    return sse("error", error={"type": kind, "message": "No."})


def chat_failed(kind: str) -> bytes:
    """A Chat stream that is an error."""
    return event({"error": {"message": "No.", "type": kind}})


@pytest.mark.parametrize(
    ("dialect", "said", "status", "code", "health"),
    [
        ("responses", response_failed("failed_to_download_image"), 400, "failed_to_download_image", ""),
        ("responses", response_failed("rate_limit_exceeded"), 429, "rate_limit_exceeded", "window"),
        ("responses", response_failed("server_error"), 502, "upstream_error", "failure"),
        ("responses", sse("error", code="invalid_prompt", message="No."), 400, "invalid_prompt", ""),
        ("messages", message_failed("overloaded_error"), 529, "overloaded_error", "window"),
        ("messages", message_failed("rate_limit_error"), 429, "rate_limit_error", "window"),
        ("messages", message_failed("invalid_request_error"), 400, "invalid_request_error", ""),
        ("messages", message_failed("authentication_error"), 502, "api_error", "refused"),
        ("messages", message_failed("api_error"), 502, "api_error", "failure"),
        ("chat", chat_failed("invalid_request_error"), 400, "invalid_request_error", ""),
        ("chat", chat_failed("server_error"), 502, "upstream_error", "failure"),
        ("chat", event({"error": {"message": "No.", "code": 429}}), 429, "rate_limit_exceeded", "window"),
    ],
)
def test_an_error_inside_a_200_is_what_it_says(
    dialect: str, said: bytes, status: int, code: str, health: str
) -> None:
    """A caller's own fault is told at once and blames nobody; all else moves on, and is held against one."""

    async def scenario() -> None:
        providers = {name: {"api_keys": [f"{name}1"], "dialects": [dialect]} for name in "ab"}
        settings = config(providers, retry={"attempts": 2})
        scene = Scene(settings, {name: [Answer([said])] for name in "ab"})
        sink = await scene.ask(
            json.dumps({"model": "small", "stream": True, "max_tokens": 5, **ASKED[dialect]}).encode(),
            endpoint=ENDPOINTS[dialect],
        )
        told = json.loads(sink.body)["error"]
        assert (sink.status, told.get("code") or told["type"]) == (status, code)
        assert scene.upstream.order == (["a:a1", "b:b1"] if health else ["a:a1"])
        assert scene.last.outcome == (records.FAILED if health else records.REFUSED)
        seen = {"failure": scene.health().failures, "window": scene.health().back_offs}
        seen["refused"] = scene.key().cause is Cause.REFUSED
        assert [word for word, found in seen.items() if found] == ([health] if health else [])

    run(scenario())


@pytest.mark.parametrize(
    ("said", "failures", "window"),
    [
        ({"message": "No.", "type": "invalid_request_error"}, 0, False),
        ({"message": "No.", "type": "rate_limit_error"}, 0, True),
        ({"message": "No.", "code": 529}, 0, True),
        ({"message": "No.", "type": "server_error"}, 1, False),
        ({"message": "No."}, 1, False),
    ],
)
def test_what_an_error_after_content_teaches(said: dict[str, object], failures: int, window: bool) -> None:
    """The client is told of a stream that broke, whatever it was; the target is held to what it said."""

    async def scenario() -> None:
        answer = Answer([role(), delta("Hi"), event({"error": said})])
        scene = Scene(config({"a": 1, "b": 1}), {"a": [answer], "b": [answer]})
        sink = await scene.ask(request(stream=True))
        assert b'"upstream_error"' in sink.body
        assert (scene.last.outcome, scene.last.status) == (records.BROKEN, 502)
        assert scene.outcomes == ["error_in_reply"]
        assert (scene.health().broken, scene.health().back_offs > 0) == (failures, window)

    run(scenario())


@pytest.mark.parametrize(
    ("life", "outcome", "broken"),
    [
        ([1.0, delta("and on")] * 70, "total_timeout", 0),
        ([1.0, delta("and on"), HANG], "idle_timeout", 1),
    ],
    ids=["endless", "stall"],
)
def test_a_stream_cut_at_its_longest_life_is_no_failure(
    life: Sequence[Step], outcome: str, broken: int
) -> None:
    """The bound is the operator's, and the provider did nothing wrong; of a stall that cannot be said."""

    async def scenario() -> None:
        timeouts = {"max_stream": "60s", "idle": "10s"}
        scene = Scene(config({"a": 1}, timeouts=timeouts), {"a": [Answer([role(), *life])]})
        sink = await scene.ask(request(stream=True))
        assert b'"upstream_timeout"' in sink.body
        assert (scene.outcomes, scene.health().broken) == ([outcome], broken)

    run(scenario())


def test_a_5xx_of_the_same_target_twice_counts_twice() -> None:
    """Nobody else has failed there."""

    async def scenario() -> int:
        scene = Scene(config({"a": 1}), {"a": [Answer([error()], 500)]})
        scene.teach(Report(Effect.SUCCESS))
        await scene.ask(request())
        assert scene.outcomes == ["status_500", "status_500"]
        return scene.health().failures

    assert run(scenario()) == 2


def test_usage_is_noted_even_if_the_client_leaves_before_its_answer() -> None:
    """A whole reply that had come has been used."""

    async def scenario() -> Exchange:
        scene = Scene(config({"a": 1}), {"a": [Answer([reply()])]})
        exchange = routed(scene, request(), RecordingSink([HANG]))
        task = asyncio.create_task(make(scene, exchange))
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


def test_a_stream_that_is_cut_has_used_what_was_seen_of_it() -> None:
    """Some providers count at a stream's beginning: leaving early must not be a way around a limit."""
    early = {"choices": [], "usage": counted(3, 1)}
    made = tried(
        Answer([role() + delta("a") + event(early) + delta("b") * 40, Fault(FaultKind.RESET, "reset")]),
        streamed=True,
    )
    assert made.exchange.used is not None
    assert made.exchange.used.input == 3
    assert made.exchange.used.output > 40


@pytest.mark.parametrize(
    ("answer", "streamed", "cost"),
    [
        (Answer([reply()]), False, 14.0),
        (Answer([stream()]), True, 14.0),
        (Answer([json.dumps({"choices": [{"message": {"content": "Hi"}}]}).encode()]), False, None),
        (Answer(status=503), False, None),
    ],
)
def test_what_it_costs_is_noted(answer: Answer, streamed: bool, cost: float | None) -> None:
    """Of what the provider counted, at its price; an answer's head can say it."""

    async def scenario() -> tuple[Exchange, float | None]:
        made = config({"a": 1}, costs={"header": True})
        scene, sink = Scene(made, {"a": [answer]}), RecordingSink()
        scene.attempts._prices.renew({"a/a-model": Price(Rates(2e6, 4e6))})
        exchange = routed(scene, request(stream=streamed), sink)
        await make(scene, exchange)
        said = sink.header(b"x-apex-cost") if sink.started else None
        return exchange, float(said) if said else None

    exchange, said = run(scenario())
    assert (exchange.record.cost, exchange.record.provider) == (cost, "a")
    assert said == (None if streamed else cost)


def test_the_events_of_a_stream_are_counted() -> None:
    """For the mean time between them."""
    made = tried(Answer([role(), delta("Hi"), delta("you"), Fault(FaultKind.RESET, "gone")]), streamed=True)
    assert made.exchange.record.events == 3
