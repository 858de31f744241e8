"""Who may do what, and what of a request and an answer crosses the proxy."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from stage import OTHER_KEY, Setting, Stage, play
from wires import KEY, MODEL, Got, head, request

from mockprovider import Behaviour, key_id
from proxy import operations
from proxy.archive import Archive
from proxy.detached import Detached
from proxy.endpoints import ASIDES, HOT, PROBES
from proxy.retrieval import Retrieval

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
UNKNOWN = (
    "/",
    "/v1",
    "/v1/",
    "/v1/chat",
    "/v1/files",
    "/metrics",
    "/docs",
    "/openapi.json",
    "/v1/models/x/y",
    "/v1/messages/batches",
    "/v1/responses/resp_1/x",
    "//v1/models",
)
SHAPE = {"message", "type", "param", "code"}
TWO_CLIENTS = {
    "clients": [
        {"name": "dev", "key": KEY, "allow_direct": True},
        {"name": "narrow", "key": OTHER_KEY, "models": ["open-*"]},
    ],
    "models": {
        MODEL: {"providers": [{"provider": "one", "model": "up"}]},
        "open-model": {"providers": [{"provider": "one", "model": "up"}]},
        "org/open-model": {"providers": [{"provider": "one", "model": "up"}]},
        "tag#1": {"providers": [{"provider": "one", "model": "up"}]},
    },
}


class NoRuns(Detached):
    """Nothing runs in the background."""

    def __init__(self) -> None:
        pass


def paths() -> Iterator[str]:
    """Every path the client port knows, and some that it does not."""
    app = operations.client_app(lambda: True, Retrieval(Archive(None), NoRuns()))
    for route in app.routes:
        assert isinstance(route, APIRoute)
        if route.path not in PROBES:
            yield route.path.replace("{model:path}", "some/model").replace("{id_}", "resp_1")
    yield from HOT
    yield from ASIDES
    yield from UNKNOWN


@pytest.mark.parametrize("path", sorted(set(paths())))
def test_nothing_without_a_key(path: str) -> None:
    """Every method of every path, known or not, is a 401 without a key and with a wrong one."""

    async def scenario(stage: Stage) -> None:
        for method in METHODS:
            for sent in (
                {},
                {"authorization": "Bearer wrong"},
                {"x-api-key": "wrong"},
                {"authorization": f"Basic {KEY}"},
            ):
                got = await stage.send(head(method, path, sent | {"content-length": "0"}) + b"\r\n", method)
                assert got.status == 401, (method, sent)
                assert got.headers["x-should-retry"] == "false"
                if method != "HEAD" and path.startswith("/v1/messages"):
                    said = got.json
                    assert (said["type"], said["error"]["type"]) == ("error", "authentication_error")
                elif method != "HEAD":
                    assert got.error["code"] == "invalid_api_key"
                    assert got.json["error"].keys() == SHAPE

    play(Setting(providers={"one": Behaviour()}), scenario)


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer {KEY}"},
        {"x-api-key": KEY},
        {"api-key": KEY},
        {"authorization": "Basic dTpw", "x-api-key": KEY},
    ],
    ids=str,
)
def test_three_headers_carry_a_key(headers: dict[str, str]) -> None:
    """Each of the three is taken, whatever the letters' case, and never sent on."""

    async def scenario(stage: Stage) -> None:
        assert (await stage.post(key=None, headers=headers)).status == 200
        (entry,) = stage.seen("one")
        assert entry.key_id == key_id("sk-one-0123456789")
        assert KEY not in str(dict(entry.headers))
        assert [name for name in entry.headers if "key" in name or "auth" in name] == ["authorization"]

    play(Setting(providers={"one": Behaviour()}), scenario)


def test_probes_need_no_key() -> None:
    """Both probes answer on both ports without a key, and readiness follows the replica."""

    async def scenario(stage: Stage) -> None:
        for port in (stage.port, stage.operations_port):
            for path in sorted(PROBES):
                assert (await stage.get(path, key=None, port=port)).status == 200
        stage.replica.ready = False
        for port in (stage.port, stage.operations_port):
            assert (await stage.get("/livez", key=None, port=port)).status == 200
            assert (await stage.get("/readyz", key=None, port=port)).status == 503

    play(Setting(providers={"one": Behaviour()}), scenario)


def test_a_forbidden_model_is_an_unknown_one() -> None:
    """A client cannot tell a model it may not use from one that does not exist."""

    async def scenario(stage: Stage) -> tuple[Got, ...]:
        forbidden = await stage.post(model=MODEL, key=OTHER_KEY)
        unknown = await stage.post(model="nope", key=OTHER_KEY)
        direct = await stage.post(model="up#one", key=OTHER_KEY)
        shown = await stage.get(f"/v1/models/{MODEL}", key=OTHER_KEY)
        missing = await stage.get("/v1/models/nope", key=OTHER_KEY)
        assert not stage.seen("one")
        return forbidden, unknown, direct, shown, missing

    forbidden, unknown, direct, shown, missing = play(
        Setting(providers={"one": Behaviour()}, config=TWO_CLIENTS), scenario
    )
    for got, name in (
        (forbidden, MODEL),
        (unknown, "nope"),
        (direct, "up#one"),
        (shown, MODEL),
        (missing, "nope"),
    ):
        assert got.status == 404
        assert got.error["code"] == "model_not_found"
        assert got.error["param"] == "model"
        assert got.body.replace(name.encode(), b"?") == unknown.body.replace(b"nope", b"?")
        assert varying(got) == varying(forbidden) or got in (shown, missing)
    assert shown.headers.keys() == missing.headers.keys()


def varying(got: Got) -> set[str]:
    """The names of an answer's headers."""
    return set(got.headers)


def test_a_client_sees_its_models() -> None:
    """The list holds what a client may use and nothing else."""

    async def scenario(stage: Stage) -> tuple[Any, Any]:
        everything, some = await stage.get("/v1/models"), await stage.get("/v1/models", key=OTHER_KEY)
        return everything.json, some.json

    everything, some = play(Setting(providers={"one": Behaviour()}, config=TWO_CLIENTS), scenario)
    assert [model["id"] for model in everything["data"]] == [MODEL, "open-model", "org/open-model", "tag#1"]
    assert [model["id"] for model in some["data"]] == ["open-model"]
    assert everything["object"] == "list"
    assert all(model.keys() == {"id", "object", "created", "owned_by"} for model in everything["data"])


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("org/open-model", "org/open-model"),
        ("org%2Fopen-model", "org/open-model"),
        ("org%2fopen%2dmodel", "org/open-model"),
        ("tag%231", "tag#1"),
        ("tag#1", "tag#1"),
        ("up%23one", "up#one"),
        ("deep/er%23one", "deep/er#one"),
    ],
)
def test_names_with_slash_and_hash(path: str, name: str) -> None:
    """A model's name may hold `/` and `#`, percent-encoded or raw."""

    async def scenario(stage: Stage) -> Got:
        return await stage.get(f"/v1/models/{path}")

    got = play(Setting(providers={"one": Behaviour()}, config=TWO_CLIENTS), scenario)
    assert got.status == 200
    assert got.json["id"] == name


def test_a_provider_addressed_directly() -> None:
    """`model#provider` goes to that provider under that name, for clients that may."""

    async def scenario(stage: Stage) -> None:
        got = await stage.post(model="some/other#one")
        assert got.status == 200
        assert got.headers["x-apex-target"] == "one/some/other"
        assert stage.seen("one")[0].model == "some/other"
        for name in ("x#nobody", "#one", "a\nb#one", "é#one", "a b#one", "x" * 300 + "#one", "up#", "#"):
            refused = await stage.post(model=name)
            assert refused.status == 404, name
            assert refused.error["code"] == "model_not_found"
        assert len(stage.seen("one")) == 1

    play(Setting(providers={"one": Behaviour()}, config=TWO_CLIENTS), scenario)


PASSED_UP = {
    "openai-beta": "assistants=v2",
    "idempotency-key": "i-1",
    "traceparent": "00-1-2-01",
    "tracestate": "a=b",
}
KEPT = {
    "cookie": "session=1",
    "x-forwarded-for": "10.1.2.3",
    "openai-organization": "org-client",
    "openai-project": "proj-client",
    "user-agent": "client/1",
    "x-mock-fault": "status=500",
    "x-stainless-lang": "python",
    "accept-encoding": "gzip",
    "referer": "http://internal/",
}


@pytest.mark.parametrize("stream", [False, True])
def test_few_headers_go_up(stream: bool) -> None:
    """Only the listed headers of a client reach a provider."""

    async def scenario(stage: Stage) -> None:
        assert (await stage.post(headers=PASSED_UP | KEPT, stream=stream)).status == 200
        sent = dict(stage.seen("one")[0].headers)
        assert {name: sent.pop(name) for name in PASSED_UP} == PASSED_UP
        assert sent.pop("accept-encoding") == "identity"
        assert sent.keys() == {"host", "authorization", "content-type", "content-length"}

    play(Setting(providers={"one": Behaviour()}), scenario)


@pytest.mark.parametrize("stream", [False, True])
def test_few_headers_come_down(stream: bool) -> None:
    """Of a provider's headers only the listed ones reach a client, its request id under a name of its own."""
    told: dict[str, str | int | float] = {
        "set-cookie": "a=b",
        "server": "cloud",
        "x-ratelimit-remaining-requests": 3,
        "x-ratelimit-limit-tokens": 100,
        "openai-organization": "org-operator",
        "openai-project": "proj",
        "cf-ray": "1",
        "strict-transport-security": "max-age=1",
        "access-control-allow-origin": "*",
        "x-request-id": "up-1",
        "openai-processing-ms": 12,
        "openai-version": "2020-10-01",
        "x-apex-target": "lie",
        "content-encoding": "identity",
    }

    async def scenario(stage: Stage) -> Got:
        return await stage.post(stream=stream)

    got = play(Setting(providers={"one": Behaviour(headers=told)}), scenario)
    ours = {"date", "content-type", "x-request-id", "request-id", "x-apex-attempts", "x-apex-target"}
    ours |= {"cache-control", "x-accel-buffering", "transfer-encoding"} if stream else {"content-length"}
    assert got.headers.keys() == ours | {"x-upstream-request-id", "openai-processing-ms", "openai-version"}
    assert got.headers["x-upstream-request-id"] == "up-1"
    assert got.headers["x-apex-target"] == "one/up"
    assert got.headers["x-request-id"] == got.headers["request-id"] != "up-1"


def test_what_cannot_be_a_header_is_left_out() -> None:
    """A provider's header value that no server may write is left out, and the answer is whole."""

    async def scenario(stage: Stage) -> Got:
        return await stage.post()

    got = play(Setting(providers={"one": Behaviour(headers={"openai-version": "caf\xe9"})}), scenario)
    assert got.status == 200
    assert "openai-version" not in got.headers


def test_the_body_passes_but_for_the_model() -> None:
    """Every field of a request reaches the provider as it was written, the model under its name there."""
    body = (
        b'{ "model" : "chat", "messages":[{"role":"user","content":"\\u00e9 \xc3\xa9"}],'
        b' "temperature":0.10, "big":12345678901234567890 }'
    )

    async def scenario(stage: Stage) -> bytes:
        await stage.send(request(body))
        return stage.seen("one")[0].body

    sent = play(Setting(providers={"one": Behaviour()}), scenario)
    assert b'"model":"up"' in sent
    for part in (
        b'[{"role":"user","content":"\\u00e9 \xc3\xa9"}]',
        b'"temperature":0.10',
        b"12345678901234567890",
    ):
        assert part in sent


def test_embeddings_and_their_streams() -> None:
    """Embeddings pass as chat does; a `stream` in them, which does not exist, breaks nothing."""

    async def scenario(stage: Stage) -> None:
        for more in ({}, {"stream": True}, {"encoding_format": "base64"}):
            got = await stage.post({"model": MODEL, "input": ["a", "b"], **more}, path="/v1/embeddings")
            assert got.status == 200
            assert len(got.json["data"]) == 2
        assert stage.effect("one") == "none"

    play(Setting(providers={"one": Behaviour()}), scenario)
