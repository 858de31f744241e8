"""No secret and no word of a prompt gets into logs, metrics, headers or errors."""

import contextlib
import http.client
import json
import re
import signal
from collections.abc import Iterator, Sequence

import pytest
from harness import KEY, MODEL, PATIENCE, Mock, Serve, configured, eventually
from lively import Operations

pytestmark = pytest.mark.process

CANARIES = {
    "client": "sk-canary-client-4f1d2c",
    "provider": "sk-canary-provider-77aa01",
    "header": "canary-header-0c0ffee0",
    "token": "sk-canary-operators-9b9b9b",
    "sealing": "Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTEyMzQ=",
    "prompt": "canary-prompt-of-a-client",
    "answer": "canary-answer-of-a-model",
}
SPEAKS_KEYS = {"default": {"text": f"it is {CANARIES['provider']} is it", "piece_bytes": 5}}
"""Streams in whose events no key is whole."""
ASKED: dict[str, dict[str, object]] = {
    "chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
    "messages": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 100},
    "responses": {"input": "hi"},
}
TELLS_ALL = {
    "rules": [
        {
            "match": {"every": 3},
            "then": {"status": 401, "error": {"message": f"Incorrect key {CANARIES['provider']}"}},
        },
        {
            "match": {"every": 2},
            "then": {"status": 503, "error": {"message": f"{CANARIES['header']} at {CANARIES['provider']}"}},
        },
    ],
    "default": {"text": CANARIES["answer"]},
}


def asked(port: int, path: str, body: object, key: str) -> tuple[str, bytes]:
    """The headers and the body of an answer."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        sent = body if isinstance(body, str) else json.dumps(body)
        connection.request("POST", path, sent, headers)
        answer = connection.getresponse()
        return str(answer.getheaders()), answer.read()


def refusals(proxy: Serve, config: dict[str, object], bearer: str) -> list[bytes]:
    """What a reload answers to configurations with a slip beside each secret; the log has it too."""
    url = f"redis:/user:{CANARIES['token']}"
    key, header = {"key": f"{CANARIES['client']} x", "name": "app"}, {"x-secret": f"{CANARIES['header']}\n"}
    slips: list[dict[str, object]] = [
        {"operations": {"port": 0, "token": f"{CANARIES['token']} x"}},
        {"redis": {"url": url, "responses_url": f"http://:{CANARIES['token']}/x@host:x"}},
        {"clients": [key], "responses": {"keys": [{"id": "1", "key": CANARIES["sealing"] + "x"}]}},
        {"providers": {"mock": {"base_url": url, "api_key": f"{CANARIES['provider']} x", "headers": header}}},
    ]
    answers: list[bytes] = []
    for slip in slips:
        proxy.rewrite(config | slip)
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", proxy.operations)) as connection:
            connection.request("POST", "/admin/reload", headers={"authorization": bearer})
            answer = connection.getresponse()
            assert answer.status == 422
            answers.append(answer.read())
        proxy.signal(signal.SIGHUP)
        proxy.event("reload_refused")
    return answers


def administered(proxy: Serve, ids: Sequence[str]) -> dict[str, str]:
    """What the operations port says to all that operators ask and order, rightly or not; by the question."""
    told: dict[str, str] = {}
    auth = {"authorization": f"Bearer {CANARIES['token']}"}

    def ask(method: str, path: str, body: str | None = None) -> str:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", proxy.operations)) as connection:
            connection.request(method, path, body, auth)
            answer = connection.getresponse()
            said = f"{answer.status} {answer.getheaders()} {answer.read().decode()}"
        told[f"{method} {path} {body or ''}"] = said
        return said

    for path in ("targets", "replicas", "limits/app", "decisions", "decisions?format=lines&limit=1000"):
        assert ask("GET", f"/admin/{path}").startswith("200")
    for request_id in ids:
        assert ask("GET", f"/admin/decisions/{request_id}")[:3] in ("200", "404")
    for body in bodies():
        for endpoint in ("chat", "responses", "messages"):
            ask("POST", f"/admin/explain?client=app&endpoint={endpoint}", body)
        ask("POST", f"/admin/explain?client={CANARIES['client']}", body)
    for order in ("drain", "restore", "reset", CANARIES["token"]):
        ask("POST", f"/admin/targets/mock/chat/{order}")
        ask("POST", f"/admin/targets/{CANARIES['provider']}/{order}")
    for path in ("limits/KEY", "decisions/KEY", "decisions/req_KEY", "decisions?limit=KEY"):
        ask("GET", f"/admin/{path.replace('KEY', CANARIES['client'])}")
    return told


def bodies() -> Iterator[str]:
    """Requests that quote a key wherever one can be quoted."""
    for what in ("client", "provider", "token"):
        key = CANARIES[what]
        said = [{"role": "user", "content": f"{CANARIES['prompt']} {key}"}]
        tool = {"type": "function", "name": "f", "function": {"name": key}, "description": key}
        whole = {"messages": said, "input": said, "max_tokens": 9, "user": key, "metadata": {key: key}}
        for model in ("chat", "spare", key):
            for stream in (False, True):
                yield json.dumps({**whole, "model": model, "stream": stream, "tools": [tool], key: key})
                yield json.dumps({**whole, "model": model, "stream": stream})
        yield json.dumps({"model": [key]})
        yield f'{{"model": "chat", "{key}'
        yield f'"{key}"'


def test_canaries_stay_where_they_are() -> None:
    """Whatever providers say of them, whatever goes wrong."""
    with Mock(TELLS_ALL) as mock:
        config: dict[str, object] = {
            "listen": {"port": 0},
            "operations": {"port": 0, "token": CANARIES["token"]},
            "clients": [{"name": "app", "key": CANARIES["client"], "limits": {"requests_per_minute": 600}}],
            "providers": {
                "mock": {
                    "base_url": f"http://127.0.0.1:{mock.port}/v1",
                    "api_key": CANARIES["provider"],
                    "headers": {"x-secret": CANARIES["header"]},
                },
                "spare": {
                    "base_url": f"http://127.0.0.1:{mock.port}/v1",
                    "api_key": f"{CANARIES['provider']}-2",
                    "dialects": ["messages"],
                },
            },
            "models": {
                "chat": {"providers": [{"provider": "mock"}]},
                "spare": {"providers": [{"provider": "spare"}]},
            },
            "responses": {"keys": [{"id": "1", "key": CANARIES["sealing"]}]},
            "costs": {"header": True},
            "log": {"level": "debug"},
        }
        with Serve(config) as proxy:
            heads, errors = [], []
            chat = {"model": "chat", "messages": [{"role": "user", "content": CANARIES["prompt"]}]}
            for number in range(30):
                key = CANARIES["client"] if number % 5 else CANARIES["token"]
                model = "chat" if number % 7 else CANARIES["client"]
                body = chat | {"stream": number % 2 == 0, "model": model, "user": CANARIES["prompt"]}
                head, said = asked(proxy.port, "/v1/chat/completions", body, key)
                heads.append(head)
                if b"choices" not in said and model == "chat":
                    errors.append(said.decode())
            asked(
                proxy.port,
                "/v1/responses",
                {"model": "chat", "input": CANARIES["prompt"]},
                CANARIES["client"],
            )
            eventually(lambda: len(proxy.events("request")) >= 25)
            operations = Operations((proxy.operations,))
            auth = {"authorization": f"Bearer {CANARIES['token']}"}
            told = [
                operations.get(proxy.operations, path, **auth, **more).decode()
                for path in ("/metrics", "/admin/targets", "/admin/replicas")
                for more in ({}, {"accept": "application/openmetrics-text"})
            ]
            ids = re.findall(r"'x-request-id', '(\w+)'", str(heads))
            admin = administered(proxy, ids)
            refused = str(refusals(proxy, config, auth["authorization"]))
            assert proxy.stop() == 0
            lines = "\n".join([*proxy.err, *proxy.out])
    everything = {"log": lines, "metrics": str(told), "headers": str(heads), "errors": str(errors)}
    everything |= admin
    everything["refusals"] = refused
    found = [
        (where, what)
        for where, text in everything.items()
        for what, canary in CANARIES.items()
        if canary in text
    ]
    assert errors
    assert len(ids) == 30
    assert any("would go to" in said for said in admin.values())
    assert "request" in lines
    assert found == []


def test_providers_that_quote_a_prompt_bring_it_into_no_log() -> None:
    """The client is told what they say; operators are told the words that errors are made of."""
    quoting = {
        "status": 503,
        "error": {"message": f"Cannot say '{CANARIES['prompt']}' now", "code": "no_words"},
    }
    with Mock({"default": quoting}) as mock, Serve(configured(mock)) as proxy:
        body = {"model": MODEL, "messages": [{"role": "user", "content": f"Say {CANARIES['prompt']}."}]}
        _, answer = asked(proxy.port, "/v1/chat/completions", body, KEY)
        eventually(lambda: len(proxy.events("request")) == 1)
        (line,) = proxy.events("request")
        targets = Operations((proxy.operations,)).get(proxy.operations, "/admin/targets").decode()
        assert proxy.stop() == 0
    assert CANARIES["prompt"] in answer.decode()
    assert all("Cannot … now; " in failure and "no_words" in failure for failure in line["failures"])
    assert "no_words" in targets
    assert CANARIES["prompt"] not in "\n".join([*proxy.err, *proxy.out, targets])


@pytest.mark.parametrize("stream", [True, False])
def test_bodies_in_the_log_hold_no_key(*, stream: bool) -> None:
    """However many pieces a model says it in, and however a client writes it."""
    with Mock(SPEAKS_KEYS) as mock:
        bodies = {"bodies": True, "body_limit": 65_536}
        with Serve(
            configured(mock, log=bodies, clients=[{"name": "app", "key": CANARIES["client"]}])
        ) as proxy:
            written = "".join(f"\\u{ord(character):04x}" for character in CANARIES["client"])
            for path, body in ASKED.items():
                more = {"model": MODEL, "stream": stream, "metadata": {"user_id": "KEY"}}
                said = json.dumps(body | more).replace("KEY", written)
                _, answer = asked(proxy.port, f"/v1/{path}", said, CANARIES["client"])
                assert (CANARIES["provider"].encode() in answer) is (not stream or path == "responses")
            eventually(lambda: len(proxy.events("request")) == len(ASKED))
            lines = proxy.events("request")
            assert proxy.stop() == 0
    assert {line["status"] for line in lines} == {200}
    assert all("it is [redacted] is it" in line["body_out"] for line in lines)
    assert all('"user_id": "[redacted]"' in line["body_in"] for line in lines)
    log = "".join(map(str, lines))
    assert [what for what, canary in CANARIES.items() if canary in log] == []
