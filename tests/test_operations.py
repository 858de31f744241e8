"""Tests of `proxy.operations`: models, probes, metrics, and what the framework refuses."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from schemas.validation import problems

from metrics.instruments import Instruments
from proxy import operations
from proxy.app import Replica, Surroundings, build
from proxy.clock import ManualClock
from proxy.config.settings import Config
from proxy.endpoints import ASIDES, HOT, WHERE
from proxy.replicas import About
from proxy.retrieval import Retrieval

CONFIG = Config.model_validate(
    {
        "clients": [
            {"name": "all", "key": "sk-all-models", "allow_direct": True},
            {"name": "some", "key": "sk-some-models", "models": ["small*"]},
            {"name": "none", "key": "sk-no-models", "models": ["nothing"]},
        ],
        "providers": {"local": {"base_url": "http://127.0.0.1:9/v1"}},
        "models": {
            name: {"providers": [{"provider": "local"}]} for name in ("small", "small/fast#1", "large")
        },
    }
)


def asked(
    method: str, path: str, key: str | None = "sk-all-models", *, ready: bool = True, **more: str
) -> httpx.Response:
    """One request to the client port's application, through its edge; `more` are further headers."""

    async def main() -> httpx.Response:
        replica = build(CONFIG, Surroundings(ManualClock(), random.Random(1), {}))
        replica.ready = ready
        try:
            return await _asked(replica, method, path, key, more)
        finally:
            await replica.close()

    return asyncio.run(main())


async def _asked(
    replica: Replica, method: str, path: str, key: str | None, more: dict[str, str]
) -> httpx.Response:
    headers = {name.replace("_", "-"): value for name, value in more.items()}
    if key:
        headers["authorization"] = f"Bearer {key}"
    return await _through(replica.client_app, method, path, headers)


async def _through(
    app: Callable[..., Any], method: str, path: str, headers: dict[str, str] | None = None
) -> httpx.Response:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.request(method, path, headers=headers)


def test_models_are_listed_as_the_client_may_use_them() -> None:
    """All of them for one client, those that fit its patterns for another, in the order of the file."""
    everything = asked("GET", "/v1/models").json()
    assert everything["object"] == "list"
    assert [model["id"] for model in everything["data"]] == ["small", "small/fast#1", "large"]
    some = asked("GET", "/v1/models", "sk-some-models").json()
    assert [model["id"] for model in some["data"]] == ["small", "small/fast#1"]


@pytest.mark.parametrize("name", ["small", "small/fast%231", "large%23local", "a/b%23local"])
def test_a_model_is_found_by_its_id(name: str) -> None:
    """Ids may hold slashes and hashes; `model#provider` is one for a client that may say it."""
    found = asked("GET", f"/v1/models/{name}")
    assert found.status_code == 200
    assert found.json() == {
        "id": name.replace("%23", "#"),
        "object": "model",
        "created": 1_800_000_000,
        "owned_by": operations.OWNER,
    }


def test_models_have_the_shape_that_anthropics_sdk_knows() -> None:
    """Where it says which version it speaks; all of them on one page."""
    everything = asked("GET", "/v1/models", anthropic_version="2023-06-01").json()
    small = {
        "type": "model",
        "id": "small",
        "display_name": "small",
        "created_at": "2027-01-15T08:00:00Z",
        "max_input_tokens": None,
        "max_tokens": None,
        "capabilities": None,
    }
    assert everything["data"][0] == small
    assert [everything[name] for name in ("first_id", "last_id", "has_more")] == ["small", "large", False]
    assert asked("GET", "/v1/models/small", anthropic_version="2023-06-01").json() == small
    assert problems("messages", "models", everything) == problems("messages", "model", small) == []
    nobodys = asked("GET", "/v1/models", "sk-no-models", anthropic_version="2023-06-01").json()
    assert nobodys == {"data": [], "first_id": None, "last_id": None, "has_more": False}


def test_what_the_framework_refuses_is_told_in_the_clients_dialect() -> None:
    """Anthropic's SDK reads another shape."""
    for path, status, kind in (
        ("/v1/nothing", 404, "not_found_error"),
        ("/v1/messages", 405, "invalid_request_error"),
        ("/v1/models/nothing", 404, "not_found_error"),
    ):
        answer = asked("GET", path, anthropic_version="2023-06-01")
        assert answer.status_code == status
        said = answer.json()
        assert (said["type"], said["error"]["type"]) == ("error", kind)
        assert said["request_id"] == answer.headers["request-id"]


@pytest.mark.parametrize(
    ("name", "key"),
    [("nothing", "sk-all-models"), ("large", "sk-some-models"), ("large%23local", "sk-some-models")],
)
def test_unknown_and_forbidden_models_answer_alike(name: str, key: str) -> None:
    """Nobody learns which models others have."""
    answer = asked("GET", f"/v1/models/{name}", key)
    assert answer.status_code == 404
    assert answer.json()["error"] == {
        "message": f"The model '{name.replace('%23', '#')}' does not exist.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "allow"),
    [
        ("GET", "/v1/nothing", 404, "not_found", None),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed", "POST"),
        ("GET", "/v1/responses", 405, "method_not_allowed", "POST"),
        ("PUT", "/v1/responses/resp_1", 405, "method_not_allowed", "GET"),
        ("POST", "/v1/models", 405, "method_not_allowed", "GET"),
        ("DELETE", "/livez", 405, "method_not_allowed", "GET, HEAD"),
        ("GET", "/v1/models/", 404, "not_found", None),
        ("GET", "/docs", 404, "not_found", None),
        ("GET", "/openapi.json", 404, "not_found", None),
    ],
)
def test_what_the_framework_refuses_has_the_same_shape(
    method: str, path: str, status: int, code: str, allow: str | None
) -> None:
    """Unknown routes and wrong methods are errors like all others, with the headers of all answers."""
    answer = asked(method, path)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert answer.headers.get("allow") == allow
    assert answer.headers["x-request-id"] == answer.headers["request-id"]


@pytest.mark.parametrize("path", ["/v1/models", "/v1/nothing", "/v1/chat/completions", "/", "/docs"])
def test_nothing_is_told_without_a_key(path: str) -> None:
    """Not even which routes exist."""
    how = "send `Authorization: Bearer <key>` or `x-api-key: <key>`."
    where = f" {WHERE}" if path == "/" else ""
    for key, said in (
        (None, f"You did not provide an API key: {how}{where}"),
        ("sk-x", f"You did not provide a valid API key.{where}"),
    ):
        answer = asked("GET", path, key)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert answer.json()["error"]["message"] == said


OPENAIS = "For OpenAI's SDKs the base URL ends with /v1, right after this server's address."
ANTHROPICS = "For Anthropic's SDKs leave /v1 out of the base URL: it is this server's address alone."


@pytest.mark.parametrize(
    ("method", "path", "meant", "how"),
    [
        ("POST", "/chat/completions", "/v1/chat/completions", OPENAIS),
        ("POST", "/responses", "/v1/responses", OPENAIS),
        ("GET", "/responses/resp_1", "/v1/responses/resp_1", OPENAIS),
        ("POST", "/embeddings", "/v1/embeddings", OPENAIS),
        ("GET", "/models", "/v1/models", OPENAIS),
        ("POST", "/v1/v1/chat/completions", "/v1/chat/completions", OPENAIS),
        ("POST", "/v1/chat/completions/chat/completions", "/v1/chat/completions", OPENAIS),
        ("POST", "/v1/responses/responses/", "/v1/responses", OPENAIS),
        ("POST", "/api/v1/responses", "/v1/responses", OPENAIS),
        ("POST", "/v1/v1/messages", "/v1/messages", ANTHROPICS),
        ("POST", "/v1/v1/messages/count_tokens", "/v1/messages/count_tokens", ANTHROPICS),
        ("POST", "/messages", "/v1/messages", ANTHROPICS),
        ("POST", "/v1/messages/v1/messages", "/v1/messages", ANTHROPICS),
        ("POST", "/anthropic/v1/messages", "/v1/messages", ANTHROPICS),
        ("POST", "/openai/v1/chat/completions", "/v1/chat/completions", OPENAIS),
        ("POST", "/openai/deployments/gpt-4o/chat/completions", "/v1/chat/completions", OPENAIS),
    ],
)
def test_who_has_the_base_url_wrong_is_told_how(method: str, path: str, meant: str, how: str) -> None:
    """The first mistake with an SDK; in the dialect of the path, and only for who has a key."""
    answer = asked(method, path)
    assert answer.status_code == 404
    said = answer.json()
    assert said["error"]["message"] == f"There is nothing at {method} {path}. Did you mean {meant}? {how}"
    assert (said.get("type") == "error") is (how == ANTHROPICS)
    assert asked(method, path, None).status_code == 401


def test_models_are_told_by_who_asks() -> None:
    """Both SDKs list them; Anthropic's says which version it speaks."""
    answer = asked("GET", "/v1/v1/models", anthropic_version="2023-06-01")
    assert answer.json()["error"]["message"].endswith(f"Did you mean /v1/models? {ANTHROPICS}")
    assert asked("GET", "/v1/v1/models").json()["error"]["message"].endswith(OPENAIS)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/v1/chat/completions",
        "/v1/embeddings",
        "/v1/responses/resp_1",
        "/v1/models",
    ],
)
@pytest.mark.parametrize("slashes", ["/", "//"])
def test_a_slash_too_many_is_no_wrong_base_url(path: str, slashes: str) -> None:
    """The path without it is all there is to say."""
    method = "GET" if path == "/v1/models" else "POST"
    message = asked(method, path + slashes).json()["error"]["message"]
    assert message == f"There is nothing at {method} {path}{slashes}. Did you mean {path}?"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/messages/batches",
        "/v1/messages/batches/",
        "/v1/chat/completions/chatcmpl_1",
        "/v1/nothing",
        "/amodels",
        "/v1",
        "/v1beta/models/gemini:generateContent",
        "/admin/models",
        "/admin/limits/responses",
        "/metrics/models",
        "/files/messages",
    ],
)
def test_what_is_no_slip_gets_no_hint(path: str) -> None:
    """What is not served at all is nowhere else either; another root is another API."""
    assert asked("GET", path).json()["error"]["message"] == f"There is nothing at GET {path}."


def test_who_comes_to_look_is_told_where_the_api_is() -> None:
    """At the root, with a key as without one."""
    assert asked("GET", "/").json()["error"]["message"] == f"There is nothing at GET /. {WHERE}"
    assert "/v1/chat/completions, /v1/responses, /v1/messages" in WHERE


@pytest.mark.parametrize("ready", [True, False])
def test_probes_need_no_key(ready: bool) -> None:
    """Alive is alive; ready is what the replica says."""
    assert asked("GET", "/livez", None, ready=ready).text == "ok\n"
    probe = asked("GET", "/readyz", None, ready=ready)
    assert (probe.status_code, probe.text) == ((200, "ok\n") if ready else (503, "draining\n"))
    assert asked("HEAD", "/livez", None, ready=ready).status_code == 200
    assert asked("HEAD", "/readyz", None, ready=ready).status_code == probe.status_code
    assert asked("HEAD", "/v1/models", None).status_code == 401


class NoRetrieval(Retrieval):
    """Without the routes of stored responses."""

    def __init__(self) -> None:
        pass

    def attach(self, app: FastAPI) -> None:
        """There are none."""


@pytest.mark.parametrize("path", [*HOT, *ASIDES])
def test_the_hot_routes_never_come_here(path: str) -> None:
    """The framework only knows them to refuse other methods; a POST that came by is an error."""
    app = operations.client_app(lambda: True, NoRetrieval())
    answer = asyncio.run(_through(app, "POST", path))
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


TOKEN = "sk-operators-0123"


async def _members() -> Sequence[About]:
    return About("me", "1.2.3", "abc", 5, 2), About("other", "1.2.3", "abc", 6)


def operations_app(
    ready: bool = True, token: str | None = None, prepared: Callable[[], None] = lambda: None
) -> FastAPI:
    """The application of an operations port."""

    async def prepare() -> None:
        prepared()

    watched = operations.Watched(Instruments(CollectorRegistry(), "1.2.3"), _members, prepare)
    return operations.operations_app(lambda: ready, watched, token)


def watched(path: str, app: FastAPI | None = None, method: str = "GET", **headers: str) -> httpx.Response:
    """One request to it."""
    return asyncio.run(_through(app or operations_app(), method, path, headers))


def test_the_operations_port_has_metrics_and_probes() -> None:
    """Metrics are in Prometheus' text form; the probes are those of the client port."""
    answer = watched("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'apex_build_info{version="1.2.3"} 1.0' in answer.text
    seen = watched("/admin/replicas").json()["replicas"]
    assert [one["id"] for one in seen] == ["me", "other"]
    assert watched("/readyz", operations_app(ready=False)).status_code == 503
    assert watched("/livez", operations_app(ready=False)).status_code == 200
    assert watched("/v1/models").json()["error"]["code"] == "not_found"


def test_metrics_are_openmetrics_for_who_asks() -> None:
    """Prometheus does, where it keeps exemplars."""
    answer = watched("/metrics", accept="application/openmetrics-text;version=1.0.0;q=0.5")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_what_a_scrape_needs_is_asked_for_first() -> None:
    """Once a scrape, and for nothing else."""
    asked: list[int] = []
    app = operations_app(prepared=lambda: asked.append(1))
    watched("/admin/replicas", app)
    assert asked == []
    watched("/metrics", app)
    assert asked == [1]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/metrics"),
        ("GET", "/admin/targets"),
        ("GET", "/admin/replicas"),
        ("GET", "/x"),
        ("POST", "/admin/reload"),
    ],
)
@pytest.mark.parametrize("given", [None, "Bearer sk-operators-012", "Bearer ", "Basic sk-operators-0123"])
def test_operators_call_with_a_token(method: str, path: str, given: str | None) -> None:
    """Without it nothing is told, not even which routes exist."""
    headers = {"authorization": given} if given else {}
    answer = watched(path, operations_app(token=TOKEN), method, **headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert "apex_" not in answer.text


def test_with_the_token_all_of_it_is_there() -> None:
    """And what is not there is not found."""
    app, auth = operations_app(token=TOKEN), f"Bearer {TOKEN}"
    for path, status in (("/metrics", 200), ("/admin/replicas", 200), ("/x", 404)):
        assert watched(path, app, authorization=auth).status_code == status


def test_probes_want_no_token() -> None:
    """Who asks whether a replica lives has none."""
    app = operations_app(token=TOKEN)
    for method in ("GET", "HEAD"):
        assert [watched(path, app, method).status_code for path in ("/livez", "/readyz")] == [200, 200]
    assert watched("/metrics", app, "HEAD").status_code == 401
    assert "Did you mean" not in watched("/models").text  # nor is it the port for clients
