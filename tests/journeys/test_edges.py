"""What surrounds requests: CORS, metrics that agree with what was asked, and secrets that stay secret."""

import io
import json

import pytest
import structlog
from stage import Setting, Stage, play, rules
from wires import KEY, MODEL, Got, ask, head, request

from metrics import logs
from mockprovider import Behaviour, Complaint, Match, Rule, Script
from proxy.clock import SystemClock

ORIGIN = "https://app.example.com"
CORS = {"cors": {"origins": [ORIGIN]}}
PREFLIGHT = {
    "origin": ORIGIN,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type",
}
AUTH = {"authorization": f"Bearer {KEY}"}


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/embeddings", "/v1/models", "/v1/models/x", "/nothing"]
)
def test_preflight(path: str) -> None:
    """Every route answers a preflight without a key, and says all that a page may send."""

    async def scenario(stage: Stage) -> Got:
        return await stage.send(head("OPTIONS", path, PREFLIGHT) + b"\r\n", "OPTIONS")

    got = play(Setting(providers={"one": Behaviour()}, config=CORS), scenario)
    assert got.status == 204
    assert got.headers["access-control-allow-origin"] == ORIGIN
    assert "POST" in got.headers["access-control-allow-methods"]
    assert "authorization" in got.headers["access-control-allow-headers"]
    assert got.headers["vary"] == "origin"
    assert got.headers["x-request-id"] == got.headers["request-id"]
    assert "content-length" not in got.headers


@pytest.mark.parametrize("origin", [ORIGIN, "https://evil.example.com", None])
@pytest.mark.parametrize("stream", [False, True])
def test_pages_may_read_answers(origin: str | None, stream: bool) -> None:
    """Good answers, streams, refusals and framework errors alike can be read by a page that may call."""

    async def scenario(stage: Stage) -> list[Got]:
        sent = {"origin": origin} if origin else {}
        return [
            await stage.post(headers=sent, stream=stream),
            await stage.post(headers=sent, stream=stream, model="nope"),
            await stage.post(headers=sent, key="wrong"),
            await stage.send(head("GET", "/v1/models", AUTH | sent) + b"\r\n", "GET"),
            await stage.send(head("GET", "/v1/nothing", AUTH | sent) + b"\r\n", "GET"),
            await stage.send(head("GET", "/v1/chat/completions", AUTH | sent) + b"\r\n", "GET"),
        ]

    gots = play(Setting(providers={"one": Behaviour()}, config=CORS), scenario)
    assert [got.status for got in gots] == [200, 404, 401, 200, 404, 405]
    for got in gots:
        allowed = ORIGIN if origin == ORIGIN else None
        assert got.headers.get("access-control-allow-origin") == allowed
        exposed = got.headers.get("access-control-expose-headers", "")
        assert ("x-apex-target" in exposed) == (allowed is not None)


def test_no_cors_unless_configured() -> None:
    """Without the setting there is no such header, and a preflight is a request without a key."""

    async def scenario(stage: Stage) -> list[Got]:
        return [
            await stage.send(head("OPTIONS", "/v1/chat/completions", PREFLIGHT) + b"\r\n", "OPTIONS"),
            await stage.post(headers={"origin": ORIGIN}),
        ]

    gots = play(Setting(providers={"one": Behaviour()}), scenario)
    assert [got.status for got in gots] == [401, 200]
    assert not [name for got in gots for name in got.headers if name.startswith("access-control")]


def test_metrics_agree_with_what_was_asked() -> None:
    """After a mixed handful of requests the numbers on the operations port are those of the requests."""

    async def scenario(stage: Stage) -> dict[str, float]:
        for stream in (False, True, False):
            assert (await stage.post(stream=stream)).status == 200
        assert (await stage.post(model="nope")).status == 404
        assert (await stage.post(key="wrong")).status == 401
        await stage.post({"model": MODEL, "input": "a"}, path="/v1/embeddings")
        await stage.until(lambda: len(stage.records) == 6)
        assert len({record.request_id for record in stage.records}) == 6
        return await stage.metrics()

    lives: dict[str, Behaviour | Script] = {
        "one": rules(Rule(Match(nth=1), Behaviour(status=500))),
        "two": Behaviour(prompt_tokens=100, completion_tokens=10, cached_tokens=4),
    }
    numbers = play(Setting(providers=lives), scenario)

    def requests(endpoint: str, model: str, outcome: str) -> float:
        return numbers[f'apex_requests_total{{endpoint="{endpoint}",model="{model}",outcome="{outcome}"}}']

    assert requests("chat", MODEL, "completed") == 3
    assert requests("chat", "other", "refused") == 2
    assert requests("embeddings", MODEL, "completed") == 1
    assert numbers["apex_requests_in_flight"] == 0
    assert numbers['apex_upstream_attempts_total{outcome="status_500",provider="one"}'] == 1
    assert numbers['apex_upstream_attempts_total{outcome="ok",provider="two"}'] == 1
    assert numbers['apex_upstream_attempts_total{outcome="ok",provider="one"}'] == 3
    assert numbers[f'apex_tokens_total{{kind="cached",model="{MODEL}"}}'] == 4
    assert numbers[f'apex_tokens_total{{kind="input",model="{MODEL}"}}'] > 100
    assert numbers[f'apex_time_to_first_token_seconds_count{{model="{MODEL}"}}'] == 1
    assert numbers['apex_overhead_seconds_count{endpoint="chat"}'] == 5


CANARY = "sk-canary-5f1d2c3b4a"
SPOKEN = {
    "a refusal": Behaviour(status=400, error=Complaint(message=f"Wrong key {CANARY} at %HOST%", code=CANARY)),
    "a failure": Behaviour(status=500, error=Complaint(message=f"Wrong key {CANARY}", type=CANARY)),
    "a key refused": Behaviour(status=401, error=Complaint(message=f"Incorrect API key provided: {CANARY}.")),
    "a limit": Behaviour(status=429, error=Complaint(message=f"Limit of {CANARY} at %HOST%")),
    "an error in a 200": Behaviour(error_after_events=0, error=Complaint(message=CANARY)),
    "an error in a stream": Behaviour(
        error_after_events=3, delay_events_s=0.02, error=Complaint(message=CANARY)
    ),
    "an odd error": Behaviour(status=422, body={"error": {"message": "no", CANARY: [CANARY, {"x": CANARY}]}}),
    "a plain error": Behaviour(status=422, body={"message": CANARY, "code": CANARY}),
    "a web page": Behaviour(status=502, body=f"<html>{CANARY}</html>"),
    "a header": Behaviour(headers={"x-canary": CANARY, "set-cookie": CANARY}),
    "a cut": Behaviour(cut_before_headers=True),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("spoken", SPOKEN)
def test_a_canary_is_never_seen(spoken: str, stream: bool) -> None:
    """A key in the configuration, in the client's header and in the provider's words comes out nowhere."""
    lines = io.StringIO()

    async def scenario(stage: Stage) -> str:
        logs.configure(lines, "debug", SystemClock().wall, pretty=False)
        stage.replica.request_log.start()
        gots = [
            await stage.post(key=CANARY, stream=stream),
            await stage.post(key=CANARY + "x", stream=stream),
        ]
        assert [entry.key_id for entry in stage.seen("one")]
        await stage.until(lambda: len(stage.records) == 2)
        numbers = await stage.get("/metrics", key=None, port=stage.operations_port)
        snapshot = stage.replica.fleet.snapshot
        shown = [repr(got) for got in gots] + [numbers.body.decode(), repr(snapshot), str(snapshot.config)]
        shown += [repr(stage.records), repr(snapshot.models), repr(snapshot.tenants), repr(snapshot.health)]
        port = str(stage.mocks["one"].port)
        for got in gots:
            assert port not in repr(got.body)
        return "\n".join(shown)

    setting = Setting(
        providers={"one": SPOKEN[spoken]},
        config={"clients": [{"name": "dev", "key": CANARY}], "log": {"bodies": True}},
        accounts={
            "one": {"api_keys": [CANARY], "headers": {"x-extra": CANARY}, "extra_body": {"user": CANARY}}
        },
    )
    try:
        shown = play(setting, scenario)
    finally:
        structlog.reset_defaults()
    assert CANARY not in shown
    assert '"status"' in lines.getvalue()
    assert CANARY not in lines.getvalue()


def test_extra_body_is_sent_all_the_same() -> None:
    """What must not be shown is sent: the operator's own fields and headers reach the provider."""

    async def scenario(stage: Stage) -> None:
        await stage.send(request(ask(user="client", seed=1)))
        (entry,) = stage.seen("one")
        assert json.loads(entry.body)["user"] == CANARY
        assert "seed" not in json.loads(entry.body)
        assert entry.headers["x-extra"] == CANARY

    account = {"headers": {"x-extra": CANARY}, "extra_body": {"user": CANARY}, "drop_params": ["seed"]}
    play(Setting(providers={"one": Behaviour()}, accounts={"one": account}), scenario)
