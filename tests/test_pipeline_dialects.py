"""Tests of `proxy.pipeline` where the two ends speak different dialects, or what is asked cannot be said."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from fakes import speech
from fakes.chats import delta, error, reply, role, stream
from fakes.clients import RecordingSink
from fakes.configs import MODEL, Tree, config
from fakes.providers import Answer
from fakes.scenes import HEAD, Scene
from fakes.virtual_loop import run
from schemas.validation import problems, stream_problems

from metrics import record as records
from metrics.record import Tokens
from proxy.health import Effect, Report
from proxy.wire.model import Endpoint

CHAT, RESPONSES, MESSAGES = Endpoint.CHAT, Endpoint.RESPONSES, Endpoint.MESSAGES
ANTHROPIC = {"kind": "anthropic", "api_keys": ["k2"], "base_url": "http://b.test"}
OPENAI = {"api_keys": ["k1"]}
VENDOR = (("anthropic-version", "2026-10-21"), ("anthropic-beta", "one"))
BODIES = {CHAT: speech.chat, RESPONSES: speech.responses, MESSAGES: speech.messages}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 2},
}
SAID = Answer([json.dumps(MESSAGE).encode()])


def body(endpoint: Endpoint, **fields: Any) -> bytes:
    """A request of a client."""
    return json.dumps({**BODIES[endpoint](), "model": MODEL, **fields}).encode()


def asked(
    endpoint: Endpoint,
    providers: Mapping[str, Tree],
    answers: Mapping[str, Sequence[Answer]],
    sent: bytes = b"",
    **rest: Any,
) -> tuple[Scene, RecordingSink]:
    """One request; what is left of it when it is over."""

    async def scenario() -> tuple[Scene, RecordingSink]:
        scene = Scene(config(providers, **rest), answers)
        head = msgspec.structs.replace(HEAD, vendor=VENDOR)
        sink = await scene.ask(sent or body(endpoint), endpoint=endpoint, head=head)
        assert scene.fleet.in_flight == {}
        return scene, sink

    return run(scenario())


def failure(sink: RecordingSink) -> tuple[int, str, str]:
    """Status, type and code or message of an error answer."""
    said = json.loads(sink.body)["error"]
    return sink.status, said["type"], said.get("code", said["message"])


@pytest.mark.parametrize("endpoint", [MESSAGES, RESPONSES])
def test_a_chat_provider_answers_clients_of_every_dialect(endpoint: Endpoint) -> None:
    """Its own address and words there, the client's here; usage is counted as ever."""
    scene, sink = asked(endpoint, {"a": OPENAI}, {"a": [Answer([reply()])]})
    (call,) = scene.upstream.calls
    assert call.url == "http://a.test/v1/chat/completions"
    sent = json.loads(call.body)
    assert (sent["model"], sent["messages"]) == ("a-model", [{"role": "user", "content": "Hi"}])
    assert sink.status == 200
    assert problems(endpoint.value, "reply", json.loads(sink.body)) == []
    assert b"Hello" in sink.body
    assert (scene.last.tokens, scene.last.outcome) == (Tokens(3, 2), records.COMPLETED)
    assert scene.last.endpoint == endpoint.value


@pytest.mark.parametrize("endpoint", [MESSAGES, RESPONSES])
def test_its_streams_are_streams_of_every_dialect(endpoint: Endpoint) -> None:
    """Whole ones, with their end."""
    scene, sink = asked(endpoint, {"a": OPENAI}, {"a": [Answer([stream()])]}, body(endpoint, stream=True))
    assert stream_problems(endpoint.value, sink.body) == []
    assert (sink.kinds[0], sink.kinds[-1], scene.last.tokens) == ("start", "end", Tokens(3, 2))


def test_what_is_anthropics_own_goes_to_anthropics_dialect_alone() -> None:
    """A client's version and betas go where its body goes as it came; else the version all models take."""
    for endpoint, named in ((MESSAGES, VENDOR), (CHAT, (("anthropic-version", "2023-06-01"),))):
        scene, sink = asked(endpoint, {"b": ANTHROPIC}, {"b": [SAID]})
        (call,) = scene.upstream.calls
        assert (sink.status, call.url) == (200, "http://b.test/v1/messages")
        assert tuple(pair for pair in call.headers if pair[0].startswith("anthropic-")) == named
        assert dict(call.headers)["x-api-key"] == "k2"
    scene, _ = asked(MESSAGES, {"a": OPENAI}, {"a": [Answer([reply()])]})
    assert not [name for name, _ in scene.upstream.calls[0].headers if name.startswith("anthropic-")]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_failover_crosses_dialects(streamed: bool) -> None:
    """Until the first content: the client cannot tell who spoke what."""
    failing = Answer([role()]) if streamed else Answer([error()], 500)
    scene, sink = asked(
        CHAT,
        {"a": OPENAI, "b": {**ANTHROPIC, "kind": "generic", "dialects": ["responses"]}},
        {"a": [failing], "b": [Answer([_response(streamed)])]},
        body(CHAT, stream=streamed),
    )
    assert (len(scene.outcomes), scene.outcomes[1], scene.last.target) == (2, "ok", "b/b-model")
    if streamed:
        assert stream_problems("chat", sink.body) == []
    else:
        assert problems("chat", "reply", json.loads(sink.body)) == []
    assert b"Hello" in sink.body


def _response(streamed: bool) -> bytes:
    text = {"type": "output_text", "text": "Hello", "annotations": []}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text]}
    whole = speech.response_of(item)
    if not streamed:
        return json.dumps(whole).encode()
    begun = {"type": "response.created", "response": {**whole, "status": "in_progress", "output": []}}
    where = {"output_index": 0, "content_index": 0, "item_id": "msg_1"}
    events: list[Tree] = [
        begun,
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.content_part.added", **where, "part": {**text, "text": ""}},
        {"type": "response.output_text.delta", **where, "delta": "Hello", "logprobs": []},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": whole},
    ]
    said = [
        f"event: {e['type']}\ndata: {json.dumps({**e, 'sequence_number': n})}\n\n"
        for n, e in enumerate(events)
    ]
    return "".join(said).encode()


THINKER = {"kind": "openai", "api_keys": ["k1"], "dialects": ["responses"]}
UNOPENED = Answer(
    [error("The encrypted content gAAA could not be verified.", code="invalid_encrypted_content")], 400
)
CARRIED: Tree = {
    "input": [
        speech.user("Hi"),
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
        {"type": "message", "id": "msg_1", "role": "assistant", "content": "Hello"},
        speech.user("And?"),
    ],
    "store": False,
}


@pytest.mark.parametrize("streamed", [False, True])
def test_reasoning_that_cannot_be_opened_is_left_out_in_a_second_sending(streamed: bool) -> None:
    """What a client carries as it came may be another account's; that it was left out is told."""
    answers = [UNOPENED, Answer([_response(streamed)])]
    carried = body(RESPONSES, **CARRIED, stream=streamed)
    scene, sink = asked(RESPONSES, {"a": THINKER}, {"a": answers}, carried)
    first, second = (json.loads(call.body)["input"] for call in scene.upstream.calls)
    assert [item.get("type") for item in first] == [None, "reasoning", "message", None]
    assert second == [first[0], {k: v for k, v in first[2].items() if k != "id"}, first[3]]
    assert b"Hello" in sink.body
    assert (scene.outcomes, scene.last.losses) == (["ok"], (("thinking", "dropped"),))
    assert sink.header(b"x-apex-warnings") == b"dropped=input[]"


def test_there_is_no_third_sending() -> None:
    """What cannot be opened then is a compaction of another account, and there is no going on without it."""
    scene, sink = asked(RESPONSES, {"a": THINKER}, {"a": [UNOPENED, UNOPENED]}, body(RESPONSES, **CARRIED))
    assert len(scene.upstream.calls) == 2
    assert failure(sink) == (400, "invalid_request_error", "invalid_encrypted_content")


def test_nothing_is_sent_again_that_would_be_the_same() -> None:
    """A vendor's compaction is no reasoning that could be left out."""
    sealed = {"input": [{"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAA"}]}
    scene, sink = asked(RESPONSES, {"a": THINKER}, {"a": [UNOPENED]}, body(RESPONSES, **sealed))
    assert len(scene.upstream.calls) == 1
    assert failure(sink) == (400, "invalid_request_error", "invalid_encrypted_content")


def test_reasoning_is_not_left_out_where_nothing_may_be_lost() -> None:
    """The provider's refusal goes back as it is."""
    scene, sink = asked(
        RESPONSES, {"a": THINKER}, {"a": [UNOPENED]}, body(RESPONSES, **CARRIED), translation={"strict": True}
    )
    assert len(scene.upstream.calls) == 1
    assert failure(sink) == (400, "invalid_request_error", "invalid_encrypted_content")


def test_what_was_lost_is_told_and_counted() -> None:
    """In the header of the answer and in the record; of the target that answered."""
    scene, sink = asked(CHAT, {"b": ANTHROPIC}, {"b": [SAID]}, body(CHAT, seed=7))
    assert sink.header(b"x-apex-warnings") == b"dropped=seed"
    assert scene.last.losses == (("seed", "dropped"),)
    scene, sink = asked(
        CHAT,
        {"b": ANTHROPIC, "a": OPENAI},
        {"b": [Answer([error()], 500)], "a": [Answer([reply()])]},
        body(CHAT, seed=7),
    )
    assert (sink.header(b"x-apex-warnings"), scene.last.losses) == (None, ())


def test_who_cannot_be_told_is_passed_over() -> None:
    """It is no attempt, and its health has nothing to do with it."""
    scene, sink = asked(CHAT, {"b": ANTHROPIC, "a": OPENAI}, {"a": [Answer([reply()])]}, body(CHAT, n=2))
    assert (sink.status, scene.upstream.order, scene.outcomes) == (200, ["a:k1"], ["ok"])
    assert scene.health(0).failures == 0


@pytest.mark.parametrize("spoken", [MESSAGES, CHAT])
def test_what_can_be_said_to_nobody_is_the_callers(spoken: Endpoint) -> None:
    """A 400 that names the field, in the caller's dialect; nobody is asked, and no limit is used."""
    limits = {"requests_per_minute": 60}
    fields: Tree = {"n": 2} if spoken is CHAT else {"container": {"id": "c1"}}
    provider = ANTHROPIC if spoken is CHAT else OPENAI

    async def scenario() -> None:
        scene = Scene(config({"b": provider}, client={"limits": limits}), {})
        sink = await scene.ask(body(spoken, **fields), endpoint=spoken)
        status, kind, _ = failure(sink)
        assert (status, kind) == (400, "invalid_request_error")
        assert next(iter(fields)) in json.loads(sink.body)["error"]["message"]
        assert (scene.upstream.calls, scene.outcomes) == ([], [])
        assert scene.last.outcome == records.REFUSED
        left = await scene.settled(scene.fleet.snapshot.scopes.of_client("dev", MODEL))
        assert left.requests is not None
        assert left.requests.remaining == 60

    run(scenario())


def test_who_could_be_told_but_is_not_there_is_worth_coming_back_for() -> None:
    """The one target that can say it is out: 503, and no word of what the other cannot say."""

    async def scenario() -> None:
        scene = Scene(config({"b": ANTHROPIC, "a": OPENAI}), {})
        scene.teach(*[Report(Effect.FAILURE)] * 5, number=1)
        sink = await scene.ask(body(CHAT, n=2))
        assert failure(sink)[::2] == (503, "no_target_available")
        assert scene.last.outcome == records.FAILED

    run(scenario())


@pytest.mark.parametrize(("endpoint", "status"), [(MESSAGES, 529), (RESPONSES, 503), (CHAT, 503)])
def test_an_overloaded_provider_is_told_in_the_callers_words(endpoint: Endpoint, status: int) -> None:
    """With the status that the caller's SDK knows, in answer and record."""
    scene, sink = asked(endpoint, {"a": OPENAI}, {"a": [Answer([error()], 503)]})
    assert (sink.status, scene.last.status) == (status, status)
    kind = failure(sink)[1]
    assert kind == ("overloaded_error" if endpoint is MESSAGES else "server_error")
    assert sink.header(b"retry-after") is not None


@pytest.mark.parametrize(
    ("endpoint", "last"), [(MESSAGES, "error"), (RESPONSES, "response.failed"), (CHAT, "[DONE]")]
)
def test_a_broken_stream_ends_in_the_callers_dialect(endpoint: Endpoint, last: str) -> None:
    """Never as if it were whole, whoever spoke at the other end."""
    scene, sink = asked(
        endpoint, {"a": OPENAI}, {"a": [Answer([role() + delta("Hel")])]}, body(endpoint, stream=True)
    )
    assert last in sink.calls[-1].data.decode().rsplit("event: ", 1)[-1]
    assert scene.last.outcome == records.BROKEN
    if endpoint is not CHAT:  # what passes is the scripted provider's own, and it is brief
        assert stream_problems(endpoint.value, sink.body) == []


def test_a_bad_key_and_a_bad_body_are_told_in_the_callers_dialect() -> None:
    """Before anything is known of the request but where it came in."""

    async def scenario() -> None:
        scene = Scene(config({"a": 1}), {})
        nobody = await scene.ask(b"", endpoint=MESSAGES, head=msgspec.structs.replace(HEAD, credential=b"x"))
        assert failure(nobody)[:2] == (401, "authentication_error")
        broken = await scene.ask(b"{", endpoint=MESSAGES)
        assert failure(broken)[:2] == (400, "invalid_request_error")
        missing = await scene.ask(body(MESSAGES, model="none"), endpoint=MESSAGES)
        assert failure(missing)[:2] == (404, "not_found_error")

    run(scenario())


def test_a_response_in_the_background_is_begun_and_not_waited_for() -> None:
    """Whoever runs such responses gets it when it is read and routed; what runs there goes the usual way."""

    async def scenario() -> None:
        scene = Scene(config({"a": 1}), {"a": [Answer([reply()])]})
        sink = RecordingSink()
        await scene.ask(body(RESPONSES, background=True), endpoint=RESPONSES, sink=sink)
        (begun,) = scene.backgrounds
        assert (sink.calls, scene.upstream.calls, begun.model is not None) == ([], [], True)
        inner = scene.exchange(body(RESPONSES, background=True), endpoint=RESPONSES, sink=sink)
        inner.detached = True
        await scene.pipeline.handle(inner)
        assert (len(scene.backgrounds), len(scene.upstream.calls)) == (1, 1)

    run(scenario())


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"previous_response_id": "resp_1"}, 503, None),
        ({"previous_response_id": 5}, 400, "invalid_type"),
        ({"background": True, "store": False}, 400, None),
        ({"store": "yes"}, 400, "invalid_type"),
    ],
)
def test_what_a_response_follows_is_recalled_first(fields: Tree, status: int, code: str | None) -> None:
    """Without it there is nothing to send; here nothing is stored at all."""
    scene, sink = asked(RESPONSES, {"a": OPENAI}, {}, body(RESPONSES, **fields))
    assert sink.status == status
    assert code is None or failure(sink)[2] == code
    assert scene.upstream.calls == []


def test_a_client_that_leaves_while_it_is_translated_leaves_nothing_behind() -> None:
    """The provider's reply is closed, and no turn is held."""

    async def scenario() -> None:
        scene = Scene(config({"a": 1}), {"a": [Answer([delta("Hel"), 60.0])]})
        sink = RecordingSink()
        exchange = scene.exchange(body(MESSAGES, stream=True), endpoint=MESSAGES, sink=sink)
        task = scene.tasks.spawn(scene.pipeline.handle(exchange), "request")
        await asyncio.sleep(5.0)
        task.cancel()
        await asyncio.wait([task])
        assert (scene.fleet.in_flight, scene.last.outcome) == ({}, records.CLIENT_GONE)
        assert all(made.closed for made in scene.upstream.replies)
        assert b"Hel" in sink.body

    run(scenario())
