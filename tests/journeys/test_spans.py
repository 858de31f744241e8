"""Traces, from a caller's `traceparent` to what a collector gets, over real sockets."""

import asyncio
import re
import statistics
from collections.abc import Mapping
from typing import Any

import pytest
from collector import CLIENT, ERROR, SERVER, UNSET, Collector
from fakes import speech
from stage import Setting, Stage, play
from structlog.testing import capture_logs
from wires import KEY, MODEL

from mockprovider import Behaviour
from mockprovider.behaviour import Complaint

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
JOINED = {"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "vendor=1"}
SAID = "Paris, of course."
CANARIES = {
    "prompt": "canary-prompt-of-a-client",
    "answer": "canary-answer-of-a-model",
    "error": "canary-words-of-a-provider",
    "header": "canary-header-of-an-operator",
    "collector": "canary-key-of-the-collector",
    "state": "canary-state-of-a-caller",
    "client": KEY,
}
ENTRIES = [{"provider": name, "model": f"{name}-model"} for name in ("first", "second")]


def setting(
    traces: Mapping[str, object], first: Behaviour | None = None, second: Behaviour | None = None
) -> Setting:
    """A model at two providers: one that speaks Responses, and Anthropic."""
    return Setting(
        providers={"first": first or Behaviour(status=503), "second": second or Behaviour(text=SAID)},
        accounts={
            "first": {"kind": "openai", "dialects": ["responses"], "headers": {"x-own": CANARIES["header"]}},
            "second": {"kind": "anthropic"},
        },
        config={
            "traces": traces,
            "models": {MODEL: {"strategy": "ordered", "providers": ENTRIES}},
        },
    )


def body(**fields: object) -> dict[str, Any]:
    """What a chat client asks, as a stream."""
    return {**speech.chat(), "model": MODEL, "stream": True, **fields}


def parent_of(stage: Stage, provider: str) -> list[str]:
    """The parts of the `traceparent` that a provider has got."""
    return stage.seen(provider)[0].headers["traceparent"].split("-")


def test_a_failed_over_translated_stream_is_one_trace() -> None:
    """A span of the request below its caller's, one of each attempt below that; each provider has its id."""

    async def scenario(stage: Stage) -> None:
        got = await stage.post(body(), headers=JOINED)
        assert (got.status, got.text) == (200, SAID)
        heard.update({name: parent_of(stage, name) for name in ("first", "second")})
        states.update(entry.headers.get("tracestate", "") for name in heard for entry in stage.seen(name))
        ports.update({name: mock.port for name, mock in stage.mocks.items()})
        assert stage.records[0].trace == TRACE
        ids.append(got.headers["x-request-id"])

    heard: dict[str, list[str]] = {}
    ports: dict[str, int] = {}
    ids: list[str] = []
    states: set[str] = set()
    with Collector() as collector:
        play(setting({"endpoint": collector.url, "service_name": "gateway"}), scenario)
    request, first, second = collector.spans
    assert {span.trace for span in collector.spans} == {TRACE}
    assert (request.parent, first.parent, second.parent) == (CALLER, request.id, request.id)
    assert len({request.id, first.id, second.id}) == 3
    assert [heard["first"], heard["second"]] == [
        ["00", TRACE, first.id, "01"],
        ["00", TRACE, second.id, "01"],
    ]
    assert states == {"vendor=1"}
    assert [(span.name, span.kind, span.status) for span in collector.spans] == [
        (f"chat {MODEL}", SERVER, UNSET),
        ("chat first-model", CLIENT, ERROR),
        ("chat second-model", CLIENT, UNSET),
    ]
    assert request.began <= first.began <= first.ended <= second.began <= second.ended <= request.ended
    ttft = request.attributes.pop("apex.ttft")
    chunk = second.attributes.pop("gen_ai.response.time_to_first_chunk")
    assert isinstance(ttft, float)
    assert isinstance(chunk, float)
    assert 0 < chunk < ttft < request.ended - request.began
    assert request.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": MODEL,
        "gen_ai.request.stream": True,
        "http.response.status_code": 200,
        "apex.request.id": ids[0],
        "apex.client": "dev",
        "apex.endpoint": "chat",
        "apex.target": "second/second-model",
        "apex.attempts": 2,
        "apex.outcome": "completed",
    }
    assert first.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "first-model",
        "gen_ai.request.stream": True,
        "server.address": "127.0.0.1",
        "server.port": ports["first"],
        "http.response.status_code": 503,
        "error.type": "503",
        "apex.endpoint": "responses",
        "apex.provider": "first",
        "apex.target": "first/first-model",
        "apex.outcome": "status_503",
    }
    usage = {name for name in second.attributes if name.startswith("gen_ai.usage.")}
    assert {"gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"} <= usage
    assert {name: value for name, value in second.attributes.items() if name not in usage} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "second-model",
        "gen_ai.request.stream": True,
        "server.address": "127.0.0.1",
        "server.port": ports["second"],
        "http.response.status_code": 200,
        "apex.endpoint": "messages",
        "apex.provider": "second",
        "apex.target": "second/second-model",
        "apex.outcome": "ok",
    }
    assert collector.paths == ["/v1/traces"]
    assert request.resource["service.name"] == "gateway"


def test_without_a_caller_the_trace_begins_here() -> None:
    """The same one all the way; foreign state ends with the trace it was of."""

    async def scenario(stage: Stage) -> None:
        await stage.post(body(), headers={"traceparent": "nonsense", "tracestate": "vendor=1"})
        heard.append(parent_of(stage, "second"))
        assert "tracestate" not in stage.seen("second")[0].headers
        assert stage.records[0].trace == heard[0][1]

    heard: list[list[str]] = []
    with Collector() as collector:
        play(setting({"endpoint": collector.url}), scenario)
    request, _, second = collector.spans
    assert request.parent == ""
    assert heard == [["00", request.trace, second.id, "01"]]


@pytest.mark.parametrize(("sample", "flag"), [(1, "00"), (0, None)])
def test_what_is_not_sampled_is_passed_on_and_not_told(sample: int, flag: str | None) -> None:
    """By its caller's flag, or by the ratio where nobody says."""
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-{flag}"} if flag else {}

    async def scenario(stage: Stage) -> None:
        assert (await stage.post(body(), headers=headers)).status == 200
        heard.append(parent_of(stage, "second"))

    heard: list[list[str]] = []
    with Collector() as collector:
        play(setting({"endpoint": collector.url, "sample": sample}), scenario)
    assert collector.bodies == []
    assert re.fullmatch("[0-9a-f]{16}", heard[0][2])
    assert (heard[0][3], heard[0][2] != CALLER) == ("00", True)


def test_without_traces_headers_pass_as_they_came() -> None:
    """Nothing is added, nothing is changed."""

    async def scenario(stage: Stage) -> None:
        await stage.post(body(), headers=JOINED)
        await stage.post(body())
        for name in ("first", "second"):
            headers = stage.seen(name)[0].headers
            assert {key: headers[key] for key in JOINED} == JOINED
        assert "traceparent" not in stage.seen("second")[1].headers
        assert [record.trace for record in stage.records] == [TRACE, ""]
        assert not [name for name in await stage.metrics() if name.startswith("apex_traces")]

    play(setting({}), scenario)


def test_what_is_made_of_a_request_is_in_its_trace() -> None:
    """The summary that a model writes of a long conversation."""

    async def scenario(stage: Stage) -> None:
        asked = {"model": MODEL, "input": [speech.user("Hi")]}
        got = await stage.post(asked, path="/v1/responses/compact", headers=JOINED)
        assert got.status == 200
        assert {record.trace for record in stage.records} == {TRACE}

    with Collector() as collector:
        play(setting({"endpoint": collector.url}), scenario)
    assert [(span.name, span.trace) for span in collector.spans if span.kind == SERVER] == [
        (f"chat {MODEL}", TRACE)
    ]
    assert collector.spans[0].parent == CALLER


def test_canaries_are_in_no_span() -> None:
    """No prompt, no answer, no word of a provider's, no key, no header: over all bytes that were exported."""
    told = Complaint(
        message=f"{CANARIES['error']} {CANARIES['header']} sk-first-0123456789", code=CANARIES["error"]
    )
    headers = {**JOINED, "tracestate": f"vendor={CANARIES['state']}"}
    asked = body(messages=[speech.user(CANARIES["prompt"])], user=CANARIES["prompt"], stream=False)

    async def scenario(stage: Stage) -> None:
        assert (await stage.post(asked, headers=headers)).status == 200
        assert (await stage.post({**asked, "stream": True}, headers=headers)).status == 200
        await stage.post({**asked, "model": CANARIES["prompt"]}, headers=headers)
        await stage.post(asked, headers=headers, key="sk-canary-of-a-stranger")
        assert CANARIES["prompt"] in str(stage.seen("second")[0].body)

    async def refused(stage: Stage) -> None:
        got = await stage.post(asked, headers=headers)
        assert (got.status, CANARIES["error"] in got.body.decode()) == (400, True)

    with Collector() as collector:
        traces = {"endpoint": collector.url, "headers": {"x-key": CANARIES["collector"]}}
        failing = Behaviour(status=503, error=told)
        play(setting(traces, failing, Behaviour(text=CANARIES["answer"])), scenario)
        play(setting(traces, Behaviour(status=400, error=told)), refused)
    assert {head["x-key"] for head in collector.heads} == {CANARIES["collector"]}
    assert len([span for span in collector.spans if span.kind == SERVER]) == 5
    exported = b"".join(collector.bodies)
    secrets = [*CANARIES.values(), "sk-first-0123456789", "sk-second-0123456789", "sk-canary-of-a-stranger"]
    assert [secret for secret in secrets if secret.encode() in exported] == []


@pytest.mark.parametrize("dead", ["nobody listens", "it refuses", "it hangs"])
def test_requests_do_not_wait_for_a_collector(dead: str) -> None:
    """They are answered as fast as without traces; it is told once, and what is lost is counted."""

    async def timed(stage: Stage) -> float:
        took = []
        for _ in range(30):
            began = asyncio.get_running_loop().time()
            assert (await stage.post(body())).status == 200
            took.append(asyncio.get_running_loop().time() - began)
        return statistics.median(took)

    async def scenario(stage: Stage) -> float:
        median = await timed(stage)
        if dead != "it hangs":
            await stage.until(lambda: [line for line in lines if line["event"] == "traces_not_exported"], 5.0)
            assert (await timed(stage)) > 0
            dropped = (await stage.metrics())["apex_traces_dropped_total"]
            assert dropped >= 60
        return median

    plain = play(setting({}, second=Behaviour(text=SAID)), timed)
    with Collector(status=401) as collector, capture_logs() as lines:
        if dead == "it hangs":
            collector.hold.clear()
        url = "http://127.0.0.1:9" if dead == "nobody listens" else collector.url
        median = play(setting({"endpoint": url, "timeout": 0.5}), scenario)
    assert median < plain + 0.02
    assert [line for line in lines if line["event"] == "traces_exported_again"] == []
    told = [line["reason"] for line in lines if line["event"] == "traces_not_exported"]
    assert told == ["status 401" if dead == "it refuses" else "no answer"]
