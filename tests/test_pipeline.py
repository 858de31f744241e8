import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from fakes.chats import DONE, counted, delta, error, event, finish, reply, request, role, stream
from fakes.clients import BodySource, RecordingSink
from fakes.configs import CLIENT_KEY, MODEL, Tree, config
from fakes.providers import HANG, Answer, Step
from fakes.scenes import HEAD, Scene
from fakes.virtual_loop import START, passed, run

from metrics import record as records
from metrics.record import Tokens
from proxy import circuit
from proxy.attempt import ERROR_READ
from proxy.circuit import Cause, Rules, State
from proxy.errors import TRANSPORT, Fault, FaultKind, Refusal
from proxy.exchange import Head
from proxy.health import Effect, Report
from proxy.pipeline import PAUSE
from proxy.wire import envelope
from proxy.wire.model import Endpoint

RULES = Rules()
QUARANTINE = RULES.quarantine / 1000
NOW = 1_800_000_000_000
"""The cluster's time when a scene begins, in ms."""

FAILED = Report(Effect.FAILURE)
GOOD = Answer([reply()])
STREAM = Answer([stream()])
HI = role() + delta("Hi")


def failing(status: int, body: bytes = b"", **headers: str) -> Answer:
    """An answer with an error status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer([body or error("No.")], status, named)


def broken(kind: FaultKind) -> Answer:
    """A send that fails."""
    return Answer(before=[Fault(kind, "it broke")])


def told(sink: RecordingSink) -> dict[str, Any]:
    """The error object of an answer."""
    found: dict[str, Any] = json.loads(sink.body)["error"]
    assert {"message", "type", "param", "code"} <= found.keys()
    return found


async def _asked(
    providers: dict[str, int | Tree], answers: dict[str, Sequence[Answer]], body: bytes, **rest: Any
) -> tuple[Scene, RecordingSink]:
    scene = Scene(config(providers, **rest), answers)
    sink = await scene.ask(body)
    assert scene.fleet.in_flight == {}
    assert all(made.closed for made in scene.upstream.replies)
    assert await scene.tasks.drain(1.0) == 0  # a ping that was about to go out is taken back
    return scene, sink


def asked(
    providers: dict[str, int | Tree], answers: dict[str, Sequence[Answer]], body: bytes = b"", **rest: Any
) -> tuple[Scene, RecordingSink]:
    """One request over these providers; what is left of it when it is over."""
    return run(_asked(providers, answers, body or request(), **rest))


def test_a_chat_goes_through() -> None:
    """The body with the target's model goes out; the reply comes back as it is, with our headers."""
    scene, sink = asked({"a": 1}, {"a": [Answer([2.0, reply()], before=[1.0])]})
    (call,) = scene.upstream.calls
    assert (call.method, call.url) == ("POST", "http://a.test/v1/chat/completions")
    assert json.loads(call.body)["model"] == "a-model"
    assert dict(call.headers)["authorization"] == "Bearer a1"
    assert CLIENT_KEY not in repr(call.headers)
    assert (sink.status, sink.body) == (200, reply())
    assert sink.header(b"x-apex-target") == b"a/a-model"
    assert sink.header(b"x-apex-attempts") == b"1"


def test_a_record_tells_the_request() -> None:
    """Every field of a completed request's record."""
    scene, _ = asked({"a": 1}, {"a": [Answer([2.0, reply()], before=[1.0])]})
    (record,) = scene.records
    assert (record.client, record.model, record.target) == ("dev", "small", "a/a-model")
    assert (record.outcome, record.status, record.error) == (records.COMPLETED, 200, "")
    assert (record.duration, record.waited, record.ttft) == (3.0, 3.0, None)
    assert (record.tokens, record.bytes_in, record.stream) == (Tokens(3, 2), len(request()), False)
    (attempt,) = record.attempts
    assert (attempt.target, attempt.provider, attempt.began) == ("a/a-model", "a", START)
    assert (attempt.duration, attempt.outcome) == (3.0, "ok")


def test_a_stream_goes_through() -> None:
    """Events as they came but for the usage nobody asked for, which is counted all the same."""
    scene, sink = asked(
        {"a": 1}, {"a": [Answer([role(), 1.0, delta("Hi"), stream("x")])]}, request(stream=True)
    )
    assert json.loads(scene.upstream.calls[0].body)["stream_options"] == {"include_usage": True}
    assert sink.body == HI + role() + delta("x") + finish() + DONE
    assert (scene.last.ttft, scene.last.tokens, scene.last.stream) == (1.0, Tokens(3, 2), True)
    assert (scene.last.outcome, scene.last.status) == (records.COMPLETED, 200)


def test_a_short_request_overtakes_a_long_one() -> None:
    """A long body is read in steps, and between two of them others have their turn."""

    async def scenario() -> None:
        scene = Scene(config({"a": 1}), {"a": [GOOD, GOOD]})
        long = request(messages=[{"role": "user", "content": "[" * 40 * envelope.PIECE}])
        first = asyncio.ensure_future(scene.ask(long))
        await asyncio.sleep(0)
        assert (await scene.ask(request())).status == 200
        assert not first.done()
        assert (await first).status == 200

    run(scenario())


def test_allowed_headers_go_upstream() -> None:
    """What the head lets through follows the target's own headers."""

    async def scenario() -> None:
        scene = Scene(config({"a": 1}), {"a": [GOOD]})
        head = Head(CLIENT_KEY.encode(), forwarded=(("traceparent", "00-1"),))
        await scene.ask(request(), head=head)
        assert scene.upstream.calls[0].headers[-1] == ("traceparent", "00-1")

    run(scenario())


@pytest.mark.parametrize(
    ("answer", "reason", "status"),
    [
        (failing(500), "status_500", 502),
        (failing(502), "status_502", 502),
        (failing(503), "status_503", 503),
        (failing(504), "status_504", 502),
        (failing(408), "status_408", 502),
        (failing(409), "status_409", 502),
        (failing(429), "status_429", 429),
        (failing(529), "status_529", 503),
        (failing(401), "status_401", 502),
        (failing(402), "status_402", 502),
        (failing(403), "status_403", 502),
        (failing(404), "status_404", 502),
        (failing(302), "status_302", 502),
        *((broken(kind), kind.value, 502) for kind in (FaultKind.DNS, FaultKind.CONNECT, FaultKind.TLS)),
        (broken(FaultKind.CONNECT_TIMEOUT), "connect_timeout", 504),
        (broken(FaultKind.RESET), "reset", 502),
        (broken(FaultKind.PROTOCOL), "protocol", 502),
        (Answer([]), "empty", 502),
        (Answer([b"<html></html>"]), "not_json", 502),
        (Answer([error("bad")]), "error_in_reply", 502),
        (Answer([b'{"cho', Fault(FaultKind.TRUNCATED, "cut")]), "truncated", 502),
    ],
)
def test_another_target_answers(answer: Answer, reason: str, status: int) -> None:
    """Whatever another target may do better leads there; if that fails the same way, this is told."""
    for body, good in ((request(), GOOD), (request(stream=True), STREAM)):
        scene, sink = asked({"a": 1, "b": 1}, {"a": [answer], "b": [good]}, body)
        assert scene.upstream.order == ["a:a1", "b:b1"]
        assert (sink.status, scene.outcomes) == (200, [reason, "ok"])
        assert sink.header(b"x-apex-attempts") == b"2"
    scene, sink = asked({"a": 1, "b": 1}, {"a": [answer], "b": [answer]})
    assert (sink.status, scene.last.status, scene.last.outcome) == (status, status, records.FAILED)
    assert "a.test" not in told(sink)["message"]


@pytest.mark.parametrize("status", [400, 413, 415, 422])
@pytest.mark.parametrize("streamed", [False, True])
def test_the_callers_fault_goes_back(status: int, streamed: bool) -> None:
    """A request that is wrong is wrong everywhere: one attempt, the provider's words, nobody's health."""
    answer = failing(status, error("Too long.", type="t", code="c", param="p", more=1))
    scene, sink = asked({"a": 1, "b": 1}, {"a": [answer], "b": [GOOD]}, request(stream=streamed))
    assert scene.upstream.order == ["a:a1"]
    assert sink.status == status
    assert told(sink) == {"message": "Too long.", "type": "t", "code": "c", "param": "p", "more": 1}
    assert scene.fleet.health.records == {}
    assert scene.last.outcome == records.REFUSED


@pytest.mark.parametrize(
    ("answer", "failures", "back_off", "quarantine", "key"),
    [
        (failing(503), 1, 0, 0, 0),
        (failing(408), 1, 0, 0, 0),
        (broken(FaultKind.CONNECT), 0, 0, 0, 0),
        (failing(503, retry_after="9"), 1, 9, 0, 0),
        (failing(500, retry_after_ms="1500"), 1, 1.5, 0, 0),
        (Answer([]), 1, 0, 0, 0),
        (failing(404), 0, 0, 0, 0),
        (failing(409), 0, 0, 0, 0),
        (failing(429, retry_after="30"), 0, 30, 0, 0),
        (failing(429, retry_after_ms="1500", retry_after="30"), 0, 1.5, 0, 0),
        (failing(529, retry_after="9"), 0, 9, 0, 0),
        (failing(403), 0, 0, QUARANTINE, 0),
        (failing(401), 0, 0, 0, QUARANTINE),
        (failing(402), 0, 0, 0, QUARANTINE),
        (failing(429, error("x", code="insufficient_quota")), 0, 0, 0, QUARANTINE),
    ],
)
def test_what_a_fault_does_to_health(
    answer: Answer, failures: int, back_off: float, quarantine: float, key: float
) -> None:
    """Failures count; a 429 makes a window; refused credentials are put aside: each in its own place."""
    scene, _ = asked({"a": 1, "b": 1}, {"a": [answer], "b": [GOOD]})
    found = scene.health()
    assert found.failures == failures
    assert found.back_off_until == (NOW + back_off * 1000 if back_off else 0)
    for record, seconds in ((found, quarantine), (scene.key(), key)):
        assert record.open_until == (NOW + seconds * 1000 if seconds else 0)
        assert record.cause == (Cause.REFUSED if seconds else Cause.NONE)
    assert (scene.health(1), scene.key(1), scene.way(1)) == (circuit.NOTHING,) * 3


@pytest.mark.parametrize("kind", sorted(TRANSPORT))
def test_a_fault_on_the_way_is_the_origins(kind: FaultKind) -> None:
    """It says nothing of the target."""
    scene, _ = asked({"a": 1, "b": 1}, {"a": [broken(kind)], "b": [GOOD]})
    assert (scene.way().failures, scene.health()) == (1, circuit.NOTHING)


def test_a_dead_origin_is_one_failure() -> None:
    """Five refused connections put all its keys aside; one probe asks for all; any answer recovers all."""

    async def scenario() -> None:
        refused = broken(FaultKind.CONNECT)
        answers = {"a": [*[refused] * RULES.failures, Answer([5.0, reply()]), GOOD], "b": [GOOD]}
        scene = Scene(config({"a": 9, "b": 1}), answers)
        for _ in range(RULES.failures + 3):
            assert (await scene.ask(request())).status == 200
        assert len(set(scene.upstream.order) - {"b:b1"}) > 1
        assert scene.upstream.order[-3:] == ["b:b1"] * 3
        assert scene.upstream.order.count("b:b1") == RULES.failures + 3
        await asyncio.sleep(6)
        probe = scene.tasks.spawn(scene.ask(request()), "probe")
        await asyncio.sleep(1)
        for _ in range(3):
            await scene.ask(request())
        assert scene.upstream.order[-4].startswith("a:")
        assert scene.upstream.order[-3:] == ["b:b1"] * 3
        assert (await probe).header(b"x-apex-target") == b"a/a-model"
        assert {scene.fleet.standing(target).trial for target in scene.targets} == {()}
        await asyncio.sleep(RULES.slow_start / 1000)
        assert (await scene.ask(request())).header(b"x-apex-target") == b"a/a-model"

    run(scenario())


def test_a_hint_of_any_fault_is_heeded() -> None:
    """A 503 with a time to come back is not asked again before it, not even as a last resort."""

    async def scenario() -> None:
        scene = Scene(config({"a": 1}), {"a": [failing(503, retry_after="9"), GOOD]})
        first = await scene.ask(request())
        assert (first.status, first.header(b"retry-after")) == (503, b"9")
        await asyncio.sleep(5)
        second = await scene.ask(request())
        assert (second.header(b"x-apex-attempts"), second.header(b"retry-after")) == (b"0", b"4")
        await asyncio.sleep(3)
        assert (await scene.ask(request())).status == 200
        assert len(scene.upstream.order) == 2
        assert passed() == pytest.approx(9, abs=0.01)

    run(scenario())


DEEP = b'{"error": {"message": "No.", "more": ' + b'{"a":[' * 300 + b"1" + b"]}" * 300 + b"}}"


@pytest.mark.parametrize("status", [500, 400])
def test_an_error_nested_without_end_is_no_bug(status: int) -> None:
    """However deep a provider's error goes, it counts as any other; what is passed on of it is bounded."""
    scene, sink = asked({"a": 1, "b": 1}, {"a": [failing(status, DEEP)], "b": [GOOD]})
    assert scene.outcomes[0] == f"status_{status}"
    assert sink.status == (200 if status == 500 else 400)
    assert len(sink.body) < 1000


@pytest.mark.parametrize("digits", [30, 5_000])
def test_huge_numbers_are_the_providers_to_refuse(digits: int) -> None:
    """A number no machine word holds, beside a second `model` further down, is passed on as it came."""
    number = b"9" * digits
    body = b'{"model":"small","seed":%b,"n":%b,"x":{"model":%b}}' % (number, number, number)
    scene, sink = asked({"a": 1}, {"a": [GOOD]}, body)
    assert sink.status == 200
    assert scene.upstream.calls[0].body == body.replace(b'"small"', b'"a-model"')
    _, sink = asked({"a": 1}, {"a": [failing(400, b'{"error":{"message":"No.","n":%b}}' % number)]})
    assert sink.status == 400


def test_a_window_keeps_others_away() -> None:
    """What one request learns of a key the next one respects, and tries again when it is over."""

    async def scenario() -> None:
        limited = failing(429, retry_after="30")
        scene = Scene(config({"a": 2}), {"a": [limited, GOOD]})
        for _ in range(9):
            assert (await scene.ask(request())).status == 200
        out, other = scene.upstream.order[:2]
        assert scene.upstream.order[2:] == [other] * 8
        await asyncio.sleep(30)
        for _ in range(20):
            assert (await scene.ask(request())).status == 200
        assert set(scene.upstream.order[10:]) == {out, other}

    run(scenario())


def test_when_all_are_out() -> None:
    """429 with the time of the earliest, without asking anybody."""

    async def scenario() -> None:
        scene = Scene(
            config({"a": 2}),
            {"a:a1": [failing(429, retry_after="30")], "a:a2": [failing(429, retry_after="20")]},
        )
        first = await scene.ask(request())
        assert (first.status, first.header(b"retry-after")) == (429, b"20")
        await asyncio.sleep(5)
        second = await scene.ask(request())
        assert len(scene.upstream.order) == 2
        assert (second.status, told(second)["code"]) == (429, "rate_limit_exceeded")
        assert (second.header(b"retry-after"), second.header(b"retry-after-ms")) == (b"15", b"15000")
        assert (scene.last.outcome, scene.last.attempts) == (records.FAILED, [])

    run(scenario())


def test_an_origin_that_fails_goes_to_the_end() -> None:
    """After a 5xx or a transport error the other keys of that origin wait behind everybody else."""
    for answer in (failing(503), broken(FaultKind.CONNECT)):
        scene, _ = asked({"a": 2, "b": 1}, {"a": [answer], "b": [answer]})
        assert scene.upstream.order[1] == "b:b1"
        assert sorted(scene.upstream.order) == ["a:a1", "a:a2", "b:b1"]


@pytest.mark.parametrize("answer", [failing(429), failing(401), failing(408), Answer([])])
def test_other_faults_say_nothing_of_the_origin(answer: Answer) -> None:
    """The next key of the same provider is next."""
    scene, _ = asked({"a": 2, "b": 1}, {"a": [answer, GOOD]})
    assert sorted(scene.upstream.order) == ["a:a1", "a:a2"]


@pytest.mark.parametrize("attempts", [1, 2, 3])
def test_attempts_are_bounded(attempts: int) -> None:
    """However many targets there are."""
    names = "abcd"
    scene, sink = asked(
        dict.fromkeys(names, 1), {name: [failing(500)] for name in names}, retry={"attempts": attempts}
    )
    assert len(scene.upstream.order) == len(scene.last.attempts) == attempts
    assert sink.header(b"x-apex-attempts") == b"%d" % attempts


def test_the_last_resort() -> None:
    """With nobody else left, the same target once more after a short pause."""
    scene, sink = asked({"a": 1}, {"a": [failing(503), GOOD]})
    assert (scene.upstream.order, sink.status) == (["a:a1", "a:a1"], 200)
    first, second = scene.last.attempts
    assert 0 <= second.began - first.began <= PAUSE
    assert scene.last.waited == pytest.approx(scene.last.duration)


def test_the_last_resort_is_one_retry() -> None:
    """And within the attempts: a target is not hammered."""
    scene, sink = asked({"a": 1}, {"a": [failing(503)]})
    assert (len(scene.upstream.order), sink.status) == (2, 503)
    scene, _ = asked({"a": 2}, {"a": [failing(503)]}, retry={"attempts": 5})
    assert sorted(scene.upstream.order[:2]) == ["a:a1", "a:a2"]
    assert scene.upstream.order[2:] == scene.upstream.order[1:2]


@pytest.mark.parametrize(
    "answer",
    [failing(429, retry_after="9"), failing(401), failing(403), failing(404), failing(400)],
)
def test_no_last_resort_where_it_cannot_help(answer: Answer) -> None:
    """The same key will be refused the same way."""
    scene, _ = asked({"a": 1}, {"a": [answer]})
    assert len(scene.upstream.order) == 1


def test_the_last_resort_has_a_budget() -> None:
    """Ten at once, then one for each five requests, so that an outage is not doubled."""

    async def scenario() -> None:
        scene = Scene(config({"a": 1}), {"a": [Answer([]), failing(409)]})
        for _ in range(60):
            await scene.ask(request())
        assert 10 + 60 // 5 - 1 <= len(scene.upstream.order) - 60 <= 10 + 60 // 5 + 1

    run(scenario())


def test_no_last_resort_on_an_open_circuit() -> None:
    """The failure that ejects a target also ends its chances."""

    async def scenario() -> None:
        scene = Scene(config({"a": 1}), {"a": [failing(500)]})
        scene.teach(*[FAILED] * (RULES.failures - 1))
        sink = await scene.ask(request())
        assert (len(scene.upstream.order), sink.status) == (1, 502)

    run(scenario())


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [(503, 404, 503), (404, 503, 503), (401, 404, 502), (404, 404, 502), (429, 401, 429), (403, 500, 502)],
)
def test_what_is_told_of_several_faults(first: int, second: int, status: int) -> None:
    """The last that is not about our own configuration."""
    _, sink = asked({"a": 1, "b": 1}, {"a": [failing(first)], "b": [failing(second)]}, retry={"attempts": 2})
    assert sink.status == status


def ejecting(answers: Sequence[Answer], **rest: Any) -> Scene:
    """One target whose circuit is open."""
    scene = Scene(config({"a": 1}, **rest), {"a": answers})
    scene.teach(*[FAILED] * RULES.failures)
    return scene


def test_one_probe_of_a_half_open_circuit() -> None:
    """After the ejection one request goes through; others wait, here in vain; its success opens the way."""

    async def scenario() -> None:
        scene = ejecting([Answer([5.0, reply()]), GOOD])
        assert (await scene.ask(request())).status == 503
        await asyncio.sleep(6)
        probe = scene.tasks.spawn(scene.ask(request()), "probe")
        await asyncio.sleep(1)
        other = await scene.ask(request())
        assert (other.status, other.header(b"retry-after"), passed()) == (503, b"1", 9)
        assert (await probe).status == 200
        assert scene.health().state(scene.fleet.now()) is State.CLOSED
        assert (await scene.ask(request())).status == 200
        assert len(scene.upstream.order) == 2

    run(scenario())


def test_a_failed_probe_ejects_for_longer() -> None:
    """And is not tried again at once as a last resort."""

    async def scenario() -> None:
        scene = ejecting([failing(500)])
        await asyncio.sleep(6)
        await scene.ask(request())
        assert len(scene.upstream.order) == 1
        assert 9 <= scene.wait() <= 11

    run(scenario())


@pytest.mark.parametrize("status", [429, 401, 403, 404, 400, 500])
def test_no_probe_keeps_its_place(status: int) -> None:
    """However a probe ends, its lease ends with it; what it learned is what keeps others away."""

    async def scenario() -> None:
        scene = ejecting([failing(status, retry_after="5"), GOOD])
        await asyncio.sleep(6)
        assert (await scene.ask(request())).header(b"x-apex-attempts") == b"1"
        assert scene.health().probe == ""
        last = QUARANTINE if status in (401, 403) else 12
        assert scene.wait() <= last
        await asyncio.sleep(last)
        assert (await scene.ask(request())).status == 200
        standing = scene.fleet.standing(scene.targets[0])
        assert (standing.until, standing.trial, standing.share) == (0, (), 0.1)

    run(scenario())


# Waiting.


def limited(seconds: float) -> Answer:
    """A 429 that asks for so many seconds."""
    return failing(429, retry_after_ms=str(round(seconds * 1000)))


@pytest.mark.parametrize("status", [429, 529])
def test_a_window_that_is_soon_over_is_waited_for(status: int) -> None:
    """With nobody else left, the same request tries again when it is over; the time is nobody's fault."""
    scene, sink = asked({"a": 1}, {"a": [failing(status, retry_after_ms="1500"), GOOD]})
    assert (sink.status, scene.outcomes) == (200, [f"status_{status}", "ok"])
    record = scene.last
    assert record.duration == pytest.approx(1.5, abs=0.005)
    assert record.queued == pytest.approx(1.5, abs=0.005)
    assert record.waited == record.queued


def test_what_needs_no_waiting_does_not_wait() -> None:
    """Nor does it say that it has."""
    scene, _ = asked({"a": 1, "b": 1}, {"a": [failing(500)], "b": [Answer([reply()], before=[3.0])]})
    assert (scene.last.queued, scene.last.waited) == (0.0, 3.0)


def test_nobody_waits_while_another_is_left() -> None:
    """The window of the one is no matter where the other serves; of two windows the shorter counts."""
    scene, _ = asked({"a": 1, "b": 1}, {"a": [limited(0.5)], "b": [GOOD]})
    assert (scene.upstream.order, scene.last.duration) == (["a:a1", "b:b1"], 0.0)
    scene, sink = asked({"a": 1, "b": 1}, {"a": [limited(1.5)], "b": [limited(0.5), GOOD]})
    assert (scene.upstream.order, sink.status) == (["a:a1", "b:b1", "b:b1"], 200)
    assert scene.last.duration == pytest.approx(0.5, abs=0.005)


@pytest.mark.parametrize(
    ("windows", "rest", "tries", "took", "told_ms"),
    [
        ([2.5], {}, 1, 0.0, 2_500),
        ([0.5], {"queue": {"max_wait": 0}}, 1, 0.0, 500),
        ([0.5], {"queue": {"max_wait": "400ms"}}, 1, 0.0, 500),
        ([1.5], {"timeouts": {"total": "1s"}}, 1, 0.0, 1_500),
        ([1.5, 1.0], {}, 2, 1.5, 1_000),
        ([0.5, 0.5, 0.75], {}, 3, 1.0, 750),
        ([0.5, 0.5, 0.75], {"retry": {"attempts": 2}}, 2, 0.5, 500),
    ],
    ids=["too long", "no waiting", "short patience", "no time left", "in all", "attempts", "two attempts"],
)
def test_nobody_waits_in_vain(
    windows: list[float], rest: dict[str, Any], tries: int, took: float, told_ms: int
) -> None:
    """Waiting is bounded over the whole request, by its own time and by its attempts; it ends at once."""
    scene, sink = asked({"a": 1}, {"a": [limited(window) for window in windows]}, **rest)
    assert scene.outcomes == ["status_429"] * tries
    assert scene.last.duration == pytest.approx(took, abs=0.01)
    assert (sink.status, told(sink)["code"]) == (429, "rate_limit_exceeded")
    assert int(sink.header(b"retry-after-ms") or 0) == pytest.approx(told_ms, abs=2)


def test_others_wait_for_the_same_window() -> None:
    """Who comes while everybody is out makes no attempt before there is somebody."""

    async def scenario() -> None:
        scene = Scene(config({"a": 1}), {"a": [limited(1.5), GOOD]})
        first = scene.tasks.spawn(scene.ask(request()), "first")
        await asyncio.sleep(0.5)
        second = scene.tasks.spawn(scene.ask(request()), "second")
        await asyncio.sleep(0.9)
        assert (len(scene.upstream.order), len(scene.waiting)) == (1, 2)
        assert [sink.status for sink in await asyncio.gather(first, second)] == [200, 200]
        assert passed() == pytest.approx(1.5, abs=0.005)
        assert [scene.records[place].queued for place in (0, 1)] == pytest.approx([1.5, 1.0], abs=0.005)
        assert [len(record.attempts) for record in scene.records] == [2, 1]
        assert len(scene.waiting) == 0

    run(scenario())


def test_a_client_may_leave_while_it_waits() -> None:
    """It is out of the queue at once, and whoever waits behind it is not held up."""

    async def scenario() -> None:
        scene = Scene(config({"a": 1}), {"a": [GOOD]})
        scene.teach(Report(Effect.BACK_OFF, 1.5))
        leaving = scene.tasks.spawn(scene.ask(request()), "leaving")
        staying = scene.tasks.spawn(scene.ask(request()), "staying")
        await asyncio.sleep(1.0)
        leaving.cancel()
        await asyncio.wait([leaving])
        assert (scene.last.outcome, scene.last.attempts, scene.last.queued) == (records.CLIENT_GONE, [], 1.0)
        assert len(scene.waiting) == 1
        assert (await staying).status == 200
        assert (len(scene.upstream.order), scene.fleet.in_flight) == (1, {})

    run(scenario())


@pytest.mark.parametrize("took", [1.5, 5.0])
def test_a_full_target_is_waited_for(took: float) -> None:
    """Four at a time after a sign of overload: the fifth has its turn when one is over, or is refused."""

    async def scenario() -> None:
        scene = Scene(config({"a": 1}), {"a": [Answer([reply()], before=[took])]})
        scene.teach(Report(Effect.NEUTRAL, overload=True))
        busy = [scene.tasks.spawn(scene.ask(request()), "busy") for _ in range(4)]
        await asyncio.sleep(0)
        fifth = await scene.ask(request())
        if took < 2.0:
            assert (fifth.status, passed()) == (200, 2 * took)
            assert scene.last.queued == took
        else:
            assert (fifth.status, told(fifth)["code"], passed()) == (503, "no_target_available", 2.0)
            assert fifth.header(b"retry-after-ms") == b"1000"
        assert [sink.status for sink in await asyncio.gather(*busy)] == [200] * 4

    run(scenario())


def test_who_waits_for_a_probe_has_its_turn_with_its_success() -> None:
    """A stream's first content is enough, however long it goes on."""

    async def scenario() -> None:
        scene = ejecting([Answer([role(), 1.0, delta("Hi"), 60.0, stream()]), GOOD])
        await asyncio.sleep(6)
        probe = scene.tasks.spawn(scene.ask(request(stream=True)), "probe")
        await asyncio.sleep(0.5)
        assert (await scene.ask(request())).status == 200
        assert passed() == 7.0
        assert scene.health().state(scene.fleet.now()) is State.CLOSED
        assert not probe.done()
        assert (await probe).status == 200
        assert scene.health().state(scene.fleet.now()) is State.CLOSED

    run(scenario())


def test_a_probes_stream_that_breaks_is_a_failure_like_any_other() -> None:
    """Its circuit was closed with the first content; what comes after is counted anew."""

    async def scenario() -> None:
        scene = ejecting([Answer([HI, Fault(FaultKind.TRUNCATED, "cut")])])
        await asyncio.sleep(6)
        await scene.ask(request(stream=True))
        assert scene.outcomes == ["truncated"]
        assert (scene.health().broken, scene.health().open_until) == (1, 0)

    run(scenario())


def test_who_waits_for_a_probe_is_the_next_one_if_its_client_leaves() -> None:
    """The place is free at once."""

    async def scenario() -> None:
        scene = ejecting([Answer(before=[HANG]), GOOD])
        await asyncio.sleep(6)
        probe = scene.tasks.spawn(scene.ask(request()), "probe")
        await asyncio.sleep(0.5)
        waiting = scene.tasks.spawn(scene.ask(request()), "waiting")
        await asyncio.sleep(0.5)
        probe.cancel()
        assert (await waiting).status == 200
        assert passed() == 7.0
        assert scene.health().state(scene.fleet.now()) is State.CLOSED

    run(scenario())


def test_who_waits_for_a_probe_that_fails_is_refused() -> None:
    """Nobody is sent where it is known to fail; what is told is what is left of the longer ejection."""

    async def scenario() -> None:
        scene = ejecting([Answer([error("No.")], 500, before=[1.0]), GOOD])
        await asyncio.sleep(6)
        probe = scene.tasks.spawn(scene.ask(request()), "probe")
        await asyncio.sleep(0.5)
        sink = await scene.ask(request())
        assert ((await probe).status, passed()) == (502, 7.0)  # as soon as waiting is in vain
        assert (sink.status, told(sink)["code"]) == (503, "no_target_available")
        assert 9_000 <= int(sink.header(b"retry-after-ms") or 0) <= 11_000
        assert len(scene.upstream.order) == 1

    run(scenario())


OUT = Report(Effect.BACK_OFF, 30.0)


@pytest.mark.parametrize(
    ("first", "second", "status", "code", "least", "most"),
    [
        ([OUT], [OUT], 429, "rate_limit_exceeded", 30_000, 30_000),
        ([FAILED] * 5, [FAILED] * 5, 503, "no_target_available", 4_500, 5_500),
        ([FAILED] * 5, [OUT], 503, "no_target_available", 4_500, 5_500),
        ([FAILED] * 5, [Report(Effect.BACK_OFF, 3.0)], 429, "rate_limit_exceeded", 3_000, 3_000),
        ([FAILED] * 5, [Report(Effect.QUARANTINE_KEY)], 503, "no_target_available", 4_500, 5_500),
        ([Report(Effect.QUARANTINE_MODEL)], [OUT], 429, "rate_limit_exceeded", 30_000, 30_000),
        (
            [Report(Effect.QUARANTINE_KEY)] * 2,
            [Report(Effect.QUARANTINE_MODEL)],
            502,
            "upstream_credentials",
            3e5,
            3e5,
        ),
        ([Report(Effect.FAILURE, 30.0, way=True)] * 5, [OUT], 503, "no_target_available", 4_500, 5_500),
    ],
    ids=[
        "both back off",
        "both ejected",
        "ejection sooner",
        "window sooner",
        "quarantine later",
        "refused model later",
        "refused keys",
        "dead origin",
    ],
)
def test_what_is_told_when_nobody_can_be_asked(
    first: list[Report], second: list[Report], status: int, code: str, least: int, most: int
) -> None:
    """429 where a limit keeps the first away, else 503; and when the first of all may be asked."""

    async def scenario() -> None:
        scene = Scene(config({"a": 1, "b": 1}), {})
        scene.teach(*first)
        scene.teach(*second, number=1)
        sink = await scene.ask(request())
        assert (sink.status, told(sink)["code"]) == (status, code)
        told_ms = int(sink.header(b"retry-after-ms") or 0)
        assert least <= told_ms <= most
        assert int(sink.header(b"retry-after") or 0) == -(-told_ms // 1000)
        assert sink.header(b"x-should-retry") == (b"false" if status == 502 else None)
        assert (scene.upstream.order, passed()) == ([], 0)

    run(scenario())


@pytest.mark.parametrize(
    ("answer", "before", "status", "least", "most"),
    [
        (failing(500), 4, 502, 4_500, 5_500),
        (failing(503), 4, 503, 4_500, 5_500),
        (failing(503, retry_after="9"), 0, 503, 9_000, 9_000),
        (failing(500, retry_after="9"), 0, 502, 9_000, 9_000),
        (failing(500, retry_after="9"), 4, 502, 9_000, 9_000),
        (failing(529, retry_after="9"), 0, 503, 9_000, 9_000),
        (failing(429, retry_after="9"), 0, 429, 9_000, 9_000),
        (failing(429, retry_after="999"), 0, 429, 300_000, 300_000),
        (failing(401), 0, 502, 300_000, 300_000),
        (failing(403), 0, 502, 300_000, 300_000),
        (Answer([]), 4, 502, 4_500, 5_500),
        (failing(500), 0, 502, 0, 0),
        (failing(404), 0, 502, 0, 0),
        (failing(400), 4, 400, 0, 0),
    ],
)
def test_what_is_told_after_faults(answer: Answer, before: int, status: int, least: int, most: int) -> None:
    """Where all targets are out now, a 5xx too says when the first is back; else nobody knows a time."""

    async def scenario() -> None:
        scene = Scene(config({"a": 1}), {"a": [answer]})
        scene.teach(*[FAILED] * before)
        sink = await scene.ask(request())
        assert sink.status == status
        assert least <= int(sink.header(b"retry-after-ms") or 0) <= most

    run(scenario())


def test_what_is_told_after_faults_where_another_is_probed() -> None:
    """Nobody knows when a probe is answered: a second, though the fault itself had named no time."""

    async def scenario() -> None:
        scene = Scene(config({"a": 1, "b": 1}), {"a": [failing(500)], "b": [Answer(before=[HANG])]})
        scene.teach(*[FAILED] * 5, number=1)
        await asyncio.sleep(6)
        probe = scene.tasks.spawn(scene.ask(request()), "probe")
        await asyncio.sleep(0)
        scene.teach(*[FAILED] * 4)
        sink = await scene.ask(request())
        assert (scene.upstream.order, sink.status) == (["b:b1", "a:a1"], 502)
        assert sink.header(b"retry-after-ms") == b"1000"
        probe.cancel()
        await asyncio.wait([probe])

    run(scenario())


def test_a_failure_rate_never_takes_the_only_target_away() -> None:
    """It goes on serving what it can; a circuit that failures in a row have opened does not."""

    async def scenario() -> None:
        scene = Scene(config({"a": 1}), {"a": [GOOD]})
        scene.teach(FAILED, Report(Effect.SUCCESS))
        scene.teach(*[FAILED, Report(Effect.SUCCESS)] * 10)
        assert (scene.health().cause, scene.wait() > 4) == (Cause.RATE, True)
        assert (await scene.ask(request())).status == 200
        assert passed() == 0

    run(scenario())


def test_a_failure_rate_takes_half_of_the_targets_away() -> None:
    """And no more, however many fail."""

    async def scenario() -> None:
        scene = Scene(
            config(dict.fromkeys("abcd", 1), strategy="weighted"), {name: [GOOD] for name in "abcd"}
        )
        for number in range(3):
            scene.teach(*[FAILED, Report(Effect.SUCCESS)] * 11, number=number)
        for _ in range(60):
            assert (await scene.ask(request())).status == 200
        assert len(set(scene.upstream.order)) == 2
        assert "d:d1" in scene.upstream.order

    run(scenario())


# Clients that leave.


STAGES: dict[str, tuple[bytes, Answer, list[float]]] = {
    "waiting for the head": (request(), Answer([reply()], before=[HANG]), []),
    "reading a reply": (request(), Answer([b"{", HANG]), []),
    "reading an error": (request(), Answer([HANG], 500), []),
    "answering": (request(), GOOD, [HANG]),
    "before content": (request(stream=True), Answer([role(), HANG]), []),
    "in a stream": (request(stream=True), Answer([HI, HANG]), []),
    "sending the head": (request(stream=True), STREAM, [HANG]),
    "sending events": (request(stream=True), Answer([HI, stream()]), [0.0, HANG]),
    "sending the end": (request(stream=True), Answer([HI, stream()]), [0.0, 0.0, HANG]),
}


@pytest.mark.parametrize(("body", "answer", "delays"), STAGES.values(), ids=STAGES.keys())
def test_a_client_may_leave_at_any_moment(body: bytes, answer: Answer, delays: list[float]) -> None:
    """The upstream is closed, nothing is in flight, the probe's place is free, the record says who left.

    A stream that had begun was a success for its probe.
    """

    async def scenario() -> None:
        scene = ejecting([answer])
        await asyncio.sleep(6)
        sink = await scene.leave(body, 1.0, RecordingSink(delays))
        assert all(made.closed for made in scene.upstream.replies)
        assert scene.fleet.in_flight == {}
        begun = b'"stream"' in body and sink.started
        assert scene.health().state(scene.fleet.now()) is (State.CLOSED if begun else State.HALF_OPEN)
        assert scene.health().probe == ""
        assert (scene.last.outcome, scene.last.status) == (records.CLIENT_GONE, 499)
        assert scene.outcomes == ["cancelled"]
        assert not sink.ended
        await asyncio.sleep(100)
        assert len(scene.tasks) == 0

    run(scenario())


def test_a_client_may_leave_during_the_pause() -> None:
    """Between two attempts as well."""

    async def scenario() -> None:
        scene = Scene(config({"a": 1}), {"a": [failing(503), Answer(before=[HANG])]})
        task = scene.tasks.spawn(scene.ask(request()), "request")
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert len(scene.upstream.calls) == 1
        assert (scene.last.outcome, scene.outcomes) == (records.CLIENT_GONE, ["status_503"])

    run(scenario())


def test_a_client_may_leave_before_its_body_is_there() -> None:
    """No attempt was made, and the record exists."""

    async def scenario() -> None:
        scene = Scene(config({"a": 1}), {})
        task = scene.tasks.spawn(scene.ask(BodySource(request(), delay=9.0)), "request")
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        assert (scene.last.outcome, scene.last.attempts) == (records.CLIENT_GONE, [])

    run(scenario())


@pytest.mark.parametrize(
    ("streamed", "answers", "reasons", "status", "took"),
    [
        (True, [Answer(before=[HANG]), STREAM], ["first_token_timeout", "ok"], 200, 60),
        (True, [Answer([role(), HANG]), STREAM], ["first_token_timeout", "ok"], 200, 60),
        (
            True,
            [Answer(before=[HANG]), Answer(before=[HANG])],
            ["first_token_timeout", "out_of_time"],
            504,
            100,
        ),
        (False, [Answer(before=[HANG]), GOOD], ["total_timeout"], 504, 100),
        (False, [Answer([b"{", HANG]), GOOD], ["total_timeout"], 504, 100),
        (False, [Answer([90.0, reply()])], ["ok"], 200, 90),
        (False, [Answer([HANG], 500), GOOD], ["status_500", "ok"], 200, ERROR_READ),
        (False, [Answer([Fault(FaultKind.RESET, "gone")], 500), GOOD], ["status_500", "ok"], 200, 0),
        (False, [Answer([b"x" * 70_000], 500), GOOD], ["status_500", "ok"], 200, 0),
    ],
)
def test_timeouts(
    streamed: bool, answers: list[Answer], reasons: list[str], status: int, took: float
) -> None:
    """A first token bounds each attempt of a stream, the total all of them; an error's body a moment."""

    async def scenario() -> None:
        names = "ab"[: len(answers)]
        made = config(dict.fromkeys(names, 1), timeouts={"first_token": 60, "total": 100})
        scene = Scene(made, {name: [answer] for name, answer in zip(names, answers, strict=True)})
        sink = await scene.ask(request(stream=streamed))
        assert scene.outcomes == reasons
        assert scene.last.status == status
        assert passed() == took
        assert sink.ended

    run(scenario())


@pytest.mark.parametrize(
    ("steps", "status", "code"),
    [
        ([event({"error": {"message": "bad"}})], 502, "upstream_error"),
        ([], 502, "upstream_error"),
        ([Fault(FaultKind.RESET, "gone")], 502, "upstream_error"),
        ([HANG], 504, "upstream_timeout"),
    ],
)
def test_a_stream_that_breaks_says_so(steps: list[Step], status: int, code: str) -> None:
    """After the commit nobody else is asked: an error event, then the end marker."""
    scene, sink = asked({"a": 1, "b": 1}, {"a": [Answer([HI, *steps])], "b": [STREAM]}, request(stream=True))
    assert scene.upstream.order == ["a:a1"]
    assert sink.status == 200
    last, end = sink.calls[-1].data.split(b"\n\n", 1)
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == code
    assert end == DONE
    assert (scene.last.outcome, scene.last.status, scene.last.error) == (records.BROKEN, status, code)
    assert (scene.health().broken + scene.way().broken, scene.health().failures) == (1, 0)


def test_usage_of_a_broken_stream_counts() -> None:
    """What was seen was paid for."""
    seen = event({"choices": [{"index": 0, "delta": {"content": "x"}}], "usage": counted(8, 1)})
    scene, _ = asked({"a": 1}, {"a": [Answer([seen, Fault(FaultKind.RESET, "gone")])]}, request(stream=True))
    assert scene.last.tokens == Tokens(8, 1)


def test_failover_goes_on_under_an_early_head() -> None:
    """After 15 s the 200 and pings go out; another target may still answer, and a comment says who."""
    scene, sink = asked(
        {"a": 1, "b": 1}, {"a": [Answer([role(), 20.0])], "b": [STREAM]}, request(stream=True)
    )
    assert scene.outcomes == ["empty", "ok"]
    assert sink.calls[0].at == START + 15
    assert [call.data for call in sink.calls[1:3]] == [
        b": ping\n\n",
        b": x-apex-target: b/b-model; x-apex-attempts: 2\n\n",
    ]
    assert sink.body.endswith(DONE)


def test_a_final_failure_under_an_early_head_is_in_band() -> None:
    """The status has gone out, so the error is an event."""
    scene, sink = asked(
        {"a": 1}, {"a": [Answer([role(), 20.0])]}, request(stream=True), retry={"attempts": 1}
    )
    assert b'"upstream_error"' in sink.body
    assert sink.body.endswith(DONE)
    assert (scene.last.outcome, scene.last.status) == (records.FAILED, 502)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_client_that_does_not_read_is_given_up(streamed: bool) -> None:
    """Nothing more is said to it, and the provider is not blamed."""

    async def scenario() -> None:
        scene = Scene(config({"a": 1, "b": 1}), {"a": [STREAM if streamed else GOOD], "b": [GOOD]})
        sink = await scene.ask(request(stream=streamed), sink=RecordingSink([HANG]))
        assert scene.upstream.order == ["a:a1"]
        assert (scene.last.outcome, scene.last.status) == (records.CLIENT_GONE, 499)
        assert scene.last.error == "slow_client"
        assert sink.kinds == (["start", "write"] if streamed else ["answer"])  # one ping waits, too
        assert scene.health().failures == 0

    run(scenario())


def test_a_client_that_does_not_read_its_error_is_given_up() -> None:
    """An answer of ours waits no longer than anybody's."""

    async def scenario() -> None:
        scene = Scene(config({"a": 1}), {"a": [failing(400)]})
        await scene.ask(request(), sink=RecordingSink([HANG]))
        assert (scene.last.outcome, scene.last.error, passed()) == (records.CLIENT_GONE, "slow_client", 60)

    run(scenario())


DIRECT = {"name": "dev", "keys": [CLIENT_KEY], "models": ["*"], "allow_direct": True}
NARROW = {"name": "dev", "keys": [CLIENT_KEY], "models": ["other*"]}


@pytest.mark.parametrize(
    ("head", "body", "client", "status", "code"),
    [
        (Head(), request(), DIRECT, 401, "invalid_api_key"),
        (Head(b"sk-unknown"), request(), DIRECT, 401, "invalid_api_key"),
        (Head(HEAD.credential, b"text/plain"), request(), DIRECT, 400, "unsupported_content_type"),
        (Head(HEAD.credential, b"", b"gzip"), request(), DIRECT, 400, "unsupported_content_encoding"),
        (HEAD, b"{", DIRECT, 400, "invalid_request_error"),
        (HEAD, BodySource(Refusal(413, "Big.", code="large")), DIRECT, 413, "large"),
        (HEAD, request("unknown"), DIRECT, 404, "model_not_found"),
        (HEAD, request(), NARROW, 404, "model_not_found"),
        (HEAD, request("m#a"), NARROW, 404, "model_not_found"),
        (HEAD, request("m#nobody"), DIRECT, 404, "model_not_found"),
        (HEAD, request("#a"), DIRECT, 404, "model_not_found"),
        (HEAD, request("m\n#a"), DIRECT, 404, "model_not_found"),
        (HEAD, request(".#a"), DIRECT, 404, "model_not_found"),
        (HEAD, request("..#a"), DIRECT, 404, "model_not_found"),
    ],
)
def test_refusals_before_any_attempt(
    head: Head, body: bytes | BodySource, client: Tree, status: int, code: str
) -> None:
    """What is refused here costs no provider anything."""

    async def scenario() -> None:
        scene = Scene(config({"a": 1}, clients=[client]), {})
        sink = await scene.ask(body, head=head)
        assert sink.status == status
        assert scene.last.error == code
        assert scene.last.outcome == records.REFUSED
        assert sink.header(b"x-apex-attempts") == b"0"
        assert told(sink)["message"]

    run(scenario())


def test_unknown_and_forbidden_models_answer_alike() -> None:
    """Nobody learns which models others may use."""

    async def scenario(client: Tree, name: str) -> bytes:
        scene = Scene(config({"a": 1}, clients=[client]), {})
        return (await scene.ask(request(name))).body.replace(name.encode(), b"")

    assert run(scenario(NARROW, "small")) == run(scenario(DIRECT, "absent"))


@pytest.mark.parametrize("content_type", [b"", b"application/json", b"Application/JSON ; charset=utf-8"])
def test_content_types_that_are_taken(content_type: bytes) -> None:
    """JSON by any spelling, or nothing said."""

    async def scenario() -> int:
        scene = Scene(config({"a": 1}), {"a": [GOOD]})
        return (await scene.ask(request(), head=Head(HEAD.credential, content_type, b"identity"))).status

    assert run(scenario()) == 200


def test_a_provider_addressed_directly() -> None:
    """`model#provider` of a client that may: the model goes there as it is, and is no metric label."""
    scene, sink = asked({"a": 1}, {"a": [GOOD]}, request("org/some#model#a"), clients=[DIRECT])
    assert sink.status == 200
    assert json.loads(scene.upstream.calls[0].body)["model"] == "org/some#model"
    assert (scene.last.model, scene.last.target) == ("", "a/org/some#model")


@pytest.mark.parametrize("answer", [GOOD, failing(400), failing(500), Answer([error("bad")])])
def test_no_answer_tells_a_host(answer: Answer) -> None:
    """An entry with an address of its own is known by its kind, to clients and in the records."""
    entry = {"base_url": "http://hidden.test/v1", "api_key": "k9", "model": "m"}
    scene, sink = asked({"a": 1}, {"hidden": [answer]}, models={MODEL: {"providers": [entry]}})
    assert sink.header(b"x-apex-target") == b"generic/m"
    assert b"hidden" not in repr((sink.headers, sink.body)).encode()
    assert "hidden" not in repr(scene.records)


def test_an_endpoint_that_nobody_serves() -> None:
    """Embeddings are not translated: a model whose providers speak another dialect says so."""

    async def scenario() -> None:
        scene = Scene(config({"a": {"dialects": ["messages"], "api_keys": ["a1"]}}), {})
        sink = await scene.ask(request(), endpoint=Endpoint.EMBEDDINGS)
        assert (sink.status, told(sink)["code"]) == (400, "unsupported_endpoint")
        assert scene.upstream.calls == []

    run(scenario())


def test_embeddings() -> None:
    """They go to their own address and are never a stream."""

    async def scenario() -> None:
        body = b'{"data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 4}}'
        scene = Scene(config({"a": 1}), {"a": [Answer([body])]})
        sink = await scene.ask(request(stream=True), endpoint=Endpoint.EMBEDDINGS)
        assert scene.upstream.calls[0].url == "http://a.test/v1/embeddings"
        assert (sink.body, sink.kinds, scene.last.tokens) == (body, ["answer"], Tokens(4, 0))

    run(scenario())


def test_what_a_provider_says_is_cleaned() -> None:
    """Its error may repeat our key or its address; the caller sees neither."""
    scene, sink = asked(
        {"a": {"api_keys": ["provider-key-1"]}},
        {"a": [failing(400, error("provider-key-1 is bad at http://a.test/v1", more="provider-key-1"))]},
    )
    assert b"provider-key-1" not in sink.body
    assert b"a.test" not in sink.body
    assert sink.body.count(b"[redacted]") == 3
    assert "provider-key-1" not in repr(scene.last)


def test_a_bug_leaves_nothing_behind() -> None:
    """Its exception passes on, the record says crashed, and the target's count is right."""

    async def scenario() -> None:
        scene = Scene(config({"a": 1}), {})
        with pytest.raises(KeyError):
            await scene.ask(request())
        assert scene.last.outcome == records.CRASHED
        assert scene.fleet.in_flight == {}

    run(scenario())


def test_a_providers_own_total_bounds_its_attempt_alone() -> None:
    """It is counted from the attempt's start, and the next provider has the rest of the request's time."""
    providers: dict[str, int | Tree] = {"a": {"api_keys": ["a1"], "timeouts": {"total": "10s"}}, "b": 1}

    async def scenario() -> None:
        made = config(providers, timeouts={"total": "100s"})
        scene = Scene(made, {"a": [Answer(before=[HANG])], "b": [Answer([reply()], before=[60.0])]})
        sink = await scene.ask(request())
        assert sink.status == 200
        assert scene.outcomes == ["first_token_timeout", "ok"]
        assert passed() == pytest.approx(70.0)

    run(scenario())


@pytest.mark.parametrize("streamed", [False, True])
def test_what_is_cut_when_the_proxy_stops_is_told_so(streamed: bool) -> None:
    """Not the client has left: a 503 before the status, an error event after it."""

    async def scenario() -> None:
        life = Answer([role() + delta("Hi"), HANG]) if streamed else Answer(before=[HANG])
        scene = Scene(config({"a": 1}), {"a": [life]})
        sink = RecordingSink()
        exchange = scene.exchange(request(stream=streamed), sink=sink)
        task = asyncio.create_task(scene.pipeline.handle(exchange))
        await asyncio.sleep(1.0)
        scene.stopping = True
        task.cancel()
        await task
        assert b'"shutting_down"' in sink.body
        assert scene.records[-1].outcome == ("broken" if streamed else "failed")

    run(scenario())
