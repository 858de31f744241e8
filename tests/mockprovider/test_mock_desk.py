import json
from typing import Any

import pytest

from mockprovider.behaviour import Behaviour, Flavour
from mockprovider.desk import Desk, Request, Served, credential, route
from mockprovider.ledger import key_id
from mockprovider.script import Match, Rule, Script, load

_CHAT = "/v1/chat/completions"
_USER = [{"role": "user", "content": "hi"}]


def _serve(
    body: object = None,
    path: str = _CHAT,
    *,
    desk: Desk | None = None,
    method: str = "POST",
    headers: dict[str, str] | None = None,
) -> Served:
    data = json.dumps({"model": "m", "messages": _USER} if body is None else body).encode()
    needed = {"anthropic-version": "2023-06-01"} if "/messages" in path else {}
    request = Request(method, path, {**needed, **(headers or {})}, data)
    return (desk or Desk("x", Script())).serve(request, 0.0)


def _raw(served: Served) -> tuple[int, bytes, bytes]:
    sent = b"".join(data for _, data in served.act.steps)
    head, _, body = sent.partition(b"\r\n\r\n")
    return int(head.split()[1]), head, body


def _json(served: Served) -> tuple[int, Any]:
    status, _, body = _raw(served)
    return status, json.loads(body)


@pytest.mark.parametrize(
    ("method", "path", "wanted"),
    [
        ("POST", "/v1/chat/completions", ("chat/completions", "")),
        ("POST", "/chat/completions/", ("chat/completions", "")),
        ("POST", "/openai/deployments/gpt-x/chat/completions", ("chat/completions", "gpt-x")),
        ("POST", "/openai/deployments/models/chat/completions", ("chat/completions", "models")),
        ("POST", "/openai/deployments/e/embeddings", ("embeddings", "e")),
        ("POST", "/openai/v1/responses", ("responses", "")),
        ("POST", "/v1/responses/input_tokens", ("responses/input_tokens", "")),
        ("POST", "/v1/responses/compact", ("responses/compact", "")),
        ("POST", "/v1/messages", ("messages", "")),
        ("POST", "/anthropic/v1/messages/count_tokens", ("messages/count_tokens", "")),
        ("GET", "/v1/models", ("models", "")),
        ("GET", "/v1/models/org/name", ("models", "org/name")),
        ("GET", "/v1/chat/completions", ("", "")),
        ("POST", "/v1/models", ("", "")),
        ("GET", "/", None),
        ("POST", "/v1/completions", None),
        ("POST", "/v1/responses/resp_1", None),
    ],
)
def test_a_path_is_known_by_its_end(method: str, path: str, wanted: tuple[str, str] | None) -> None:
    """Whatever stands in front, the end of the path names the endpoint; a deployment names the model."""
    assert route(method, path) == wanted


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"authorization": "Bearer sk-a"}, "sk-a"),
        ({"x-api-key": "sk-b"}, "sk-b"),
        ({"api-key": "sk-c"}, "sk-c"),
        ({}, ""),
    ],
)
def test_the_key_is_found_in_each_dialects_header(headers: dict[str, str], key: str) -> None:
    """Three headers may carry the credential; the desk reports its id only."""
    assert credential(headers) == key
    assert _serve(headers=headers).key_id == key_id(key)


def test_every_endpoint_answers_in_its_own_shape() -> None:
    """Each path gives the object that its dialect promises."""
    wanted = [
        (_CHAT, None, "object", "chat.completion"),
        ("/v1/responses", {"model": "m", "input": "hi"}, "object", "response"),
        ("/v1/messages", {"model": "m", "max_tokens": 9, "messages": _USER}, "type", "message"),
        ("/v1/embeddings", {"model": "m", "input": "hi"}, "object", "list"),
        ("/v1/messages/count_tokens", {"model": "m", "messages": _USER}, "input_tokens", 1),
        ("/v1/responses/input_tokens", {"model": "m", "input": "hi"}, "input_tokens", 1),
        ("/v1/responses/compact", {"model": "m", "input": "hi"}, "object", "response.compaction"),
    ]
    for path, body, field, value in wanted:
        status, told = _json(_serve(body, path))
        assert (status, told[field]) == (200, value)


def test_models_have_two_shapes() -> None:
    """The `anthropic-version` header decides the shape of the list; the ids are the script's."""
    desk = Desk("x", Script(models=("a", "b")))
    assert _json(_serve(path="/v1/models", method="GET", desk=desk))[1]["object"] == "list"
    anthropic = _json(
        _serve(path="/v1/models", method="GET", desk=desk, headers={"anthropic-version": "2023-06-01"})
    )
    assert anthropic[1]["first_id"] == "a"


@pytest.mark.parametrize(
    ("path", "method", "body", "status", "words"),
    [
        ("/nowhere", "POST", None, 404, "Unknown request URL"),
        (_CHAT, "GET", None, 405, "Not allowed"),
        (_CHAT, "POST", {"model": "m"}, 400, "messages"),
        ("/v1/embeddings", "POST", {"model": "m"}, 400, "input"),
        ("/v1/responses/input_tokens", "POST", {}, 400, "model"),
        (_CHAT, "POST", {"model": "m#stauts=1", "messages": _USER}, 400, "stauts"),
        (_CHAT, "POST", {"model": "m", "messages": _USER, "x_mock": {"no": 1}}, 400, "unknown field 'no'"),
    ],
)
def test_what_cannot_be_served_is_an_openai_error(
    path: str, method: str, body: object, status: int, words: str
) -> None:
    """Unknown paths, wrong methods, bad bodies and wrong faults are errors of the usual shape."""
    found, told = _json(_serve(body, path, method=method))
    assert found == status
    assert words in told["error"]["message"]


def test_a_bad_message_request_is_an_anthropic_error() -> None:
    """The Messages path answers errors in its own shape."""
    status, told = _json(_serve({"model": "m", "messages": _USER}, "/v1/messages"))
    assert (status, told["type"], told["error"]["type"]) == (400, "error", "invalid_request_error")
    served = _serve(
        {"model": "m", "max_tokens": 1, "messages": _USER},
        "/v1/messages",
        headers={"x-mock-fault": "status=529"},
    )
    assert _json(served)[1]["error"]["type"] == "overloaded_error"
    assert b"\r\nrequest-id: req_" in _raw(served)[1]


@pytest.mark.parametrize(("dialect", "served"), [("chat", "/v1/embeddings"), ("messages", "/v1/models")])
def test_dialects_can_be_restricted(dialect: str, served: str) -> None:
    """A provider that speaks one dialect answers 404 to the others."""
    desk = Desk("x", Script(), dialects=[dialect])
    assert _raw(_serve({}, "/v1/responses", desk=desk))[0] == 404
    method = "GET" if served.endswith("models") else "POST"
    assert _raw(_serve({"model": "m", "input": "a"}, served, desk=desk, method=method))[0] == 200
    with pytest.raises(ValueError, match="allowed: chat, messages, responses"):
        Desk("x", Script(), dialects=["chatt"])


def test_a_request_brings_its_own_fault() -> None:
    """Header, body field and model suffix each set the behaviour, in this order, before any rule."""
    desk = Desk("x", Script((Rule(Match(), Behaviour(status=501)),)))
    header = {"x-mock-fault": '{"status": 502}'}
    body: dict[str, object] = {"model": "m#status=504", "messages": _USER}
    assert _raw(_serve({**body, "x_mock": {"status": 503}}, desk=desk, headers=header))[0] == 502
    assert _raw(_serve({**body, "x_mock": {"status": 503}}, desk=desk))[0] == 503
    assert _raw(_serve({**body, "x_mock": "status=505"}, desk=desk))[0] == 505
    assert _raw(_serve({**body, "x_mock": None}, desk=desk))[0] == 504
    assert _raw(_serve({**body, "model": "m"}, desk=desk))[0] == 501


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (_CHAT, {"messages": _USER}),
        ("/v1/responses", {"input": "hi"}),
        ("/v1/messages", {"max_tokens": 5, "messages": _USER}),
        ("/v1/embeddings", {"input": "hi"}),
    ],
)
def test_a_suffix_is_not_part_of_the_models_name(path: str, body: dict[str, object]) -> None:
    """The reply and the ledger name the model without its fault."""
    served = _serve({**body, "model": "m#delay_headers_s=0.5"}, path)
    assert served.model == "m"
    assert served.act.steps[0][0] == 0.5
    assert _json(served)[1]["model"] == "m"


def test_rules_see_the_request() -> None:
    """Key, model, path and stream of a request decide which rule holds."""
    desk = Desk(
        "x",
        load(
            """
            rules:
              - match: {key: sk-revoked}
                then: {status: 401}
              - match: {path: "*/embeddings"}
                then: {status: 404}
              - match: {stream: true, model: "m*"}
                then: {status: 429, headers: {retry-after: 7}}
            """
        ),
    )
    assert _raw(_serve(desk=desk, headers={"authorization": "Bearer sk-revoked"}))[0] == 401
    assert _raw(_serve({"model": "m", "input": "a"}, "/v1/embeddings", desk=desk))[0] == 404
    status, head, _ = _raw(_serve({"model": "m", "stream": True, "messages": _USER}, desk=desk))
    assert (status, b"\r\nretry-after: 7" in head) == (429, True)
    assert _raw(_serve(desk=desk))[0] == 200


def test_a_stored_response_can_be_gone_on_from() -> None:
    """By its id, for as long as it is among the newest; what was not stored or failed is not known."""
    desk = Desk("x", Script())

    def respond(**fields: object) -> tuple[int, Any]:
        return _json(_serve({"model": "m", "input": "hi", **fields}, "/v1/responses", desk=desk))

    kept, lost = respond()[1]["id"], respond(store=False)[1]["id"]
    respond(x_mock={"status": 500})
    assert respond(previous_response_id=kept)[0] == 200
    for unknown in (lost, "resp_" + "0" * 19 + "3"):
        status, told = respond(previous_response_id=unknown)
        assert (status, told["error"]["code"]) == (400, "previous_response_not_found")
        assert told["error"]["param"] == "previous_response_id"
    for _ in range(1000):
        respond()
    assert respond(previous_response_id=kept)[0] == 400


def test_a_refusal_may_have_its_own_status() -> None:
    """An item that is not found is a 404 in the usual shape."""
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": []}
    status, told = _json(_serve({"model": "m", "input": [reasoning], "store": False}, "/v1/responses"))
    assert (status, told["error"]["param"]) == (404, "input")
    assert "Item with id 'rs_1' not found" in told["error"]["message"]


@pytest.mark.parametrize("fixed", [None, "vllm"])
def test_the_flavour_is_the_scripts_unless_it_is_fixed(fixed: Flavour | None) -> None:
    """It decides what chat refuses and in which shape; the other dialects have only one."""
    desk = Desk("x", Script(flavour="deepseek"), flavour=fixed)
    body = {"model": "m", "messages": [{"role": "developer", "content": "hi"}]}
    status, told = _json(_serve(body, desk=desk))
    assert status == 400
    assert ("error" in told, told.get("object")) == ((True, None) if fixed is None else (False, "error"))
    status, told = _json(_serve({"model": "m", "messages": _USER, "x_mock": {"status": 500}}, desk=desk))
    assert ("error" in told) == (fixed is None)
    assert "error" in _json(_serve({"model": "m"}, "/v1/responses", desk=desk))[1]


def test_headers_are_part_of_the_terms() -> None:
    """The version is needed for Messages, and a beta brings its fields."""
    body = {"model": "m", "max_tokens": 9, "messages": _USER, "context_management": {}}
    assert _raw(_serve(body, "/v1/messages", headers={"anthropic-version": ""}))[0] == 400
    assert _raw(_serve(body, "/v1/messages"))[0] == 400
    assert (
        _raw(_serve(body, "/v1/messages", headers={"anthropic-beta": "context-management-2025-06-27"}))[0]
        == 200
    )


@pytest.mark.parametrize(
    ("fault", "status", "kind", "body"),
    [
        ({"html": True}, 200, b"text/html", b"<html>"),
        ({"html": True, "status": 502}, 502, b"text/html", b"<html>"),
        ({"body": "plain"}, 200, b"application/json", b"plain"),
        ({"body": {"a": 1}, "status": 418}, 418, b"application/json", b'{"a":1}'),
        ({"garbage": "noise"}, 200, b"application/json", b"<<<"),
        ({"garbage": "truncated"}, 200, b"application/json", b'{"id"'),
        ({"error_after_events": 0}, 200, b"application/json", b'{"error":'),
        ({"empty": "body"}, 200, b"application/json", b""),
        ({"empty": "stream"}, 200, b"application/json", b""),
    ],
)
def test_a_plain_reply_can_be_replaced(
    fault: dict[str, object], status: int, kind: bytes, body: bytes
) -> None:
    """Web pages, raw bodies, garbage, errors inside a 200 and nothing at all."""
    found, head, sent = _raw(_serve({"model": "m", "messages": _USER, "x_mock": fault}))
    assert found == status
    assert b"content-type: " + kind in head
    assert sent.startswith(body)
    assert bool(sent) == bool(body)


def test_an_empty_lifecycle_has_everything_but_content() -> None:
    """The plain reply is well formed and says nothing."""
    told = _json(_serve({"model": "m", "messages": _USER, "x_mock": {"empty": "lifecycle"}}))[1]
    assert told["choices"][0]["message"]["content"] == ""
    assert told["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (_CHAT, {"messages": _USER}),
        ("/v1/responses", {"input": "hi"}),
        ("/v1/messages", {"max_tokens": 50, "messages": _USER}),
    ],
)
@pytest.mark.parametrize("sent", [0, 3])
def test_an_error_inside_a_stream_follows_the_events_before_it(
    path: str, body: dict[str, object], sent: int
) -> None:
    """After n events comes the dialect's own error, and nothing of the answer after it."""
    request = {
        **body,
        "model": "m",
        "stream": True,
        "x_mock": {"error_after_events": sent, "error": {"message": "boom"}},
    }
    status, head, data = _raw(_serve(request, path))
    events = [event for event in data.split(b"\n\n") if b"data: {" in event]
    assert status == 200
    assert b"text/event-stream" in head
    assert len(events) == sent + 1
    assert b"boom" in events[-1]
    assert data.endswith(b"0\r\n\r\n")


def test_a_raw_body_can_be_a_stream() -> None:
    """A script's body for a streaming request goes out as event stream, byte by byte as it is."""
    request = {"model": "m", "stream": True, "messages": _USER, "x_mock": {"body": "data: x\n\n"}}
    _, head, data = _raw(_serve(request))
    assert b"text/event-stream" in head
    assert b"data: x\n\n" in data


def test_replies_differ_and_lives_do_not() -> None:
    """Each reply has its own ids; a new desk with the same seed gives the same bytes again."""
    one, other = Desk("x", Script(), seed=3), Desk("x", Script(), seed=3)
    first, second = _raw(_serve(desk=one)), _raw(_serve(desk=one))
    assert first != second
    assert [_raw(_serve(desk=other)), _raw(_serve(desk=other))] == [first, second]


def test_a_request_does_not_show_its_headers() -> None:
    """A credential is not part of a repr."""
    assert "sk-secret" not in repr(Request("POST", "/", {"authorization": "Bearer sk-secret"}, b"sk-secret"))
