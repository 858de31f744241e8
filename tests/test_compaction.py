import asyncio
import json
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from fakes.chats import error, reply
from fakes.configs import MODEL, Tree, config
from fakes.exchanges import numbers
from fakes.providers import HANG, Answer
from fakes.scenes import Scene
from fakes.shelves import shelves
from fakes.virtual_loop import run
from private_store import PrivateStore
from responses.shelves import response
from schemas.validation import problems

from metrics import record as records
from metrics.record import Tokens
from proxy.archive import Archive
from proxy.compaction import Compaction
from proxy.errors import Fault, FaultKind
from proxy.exchange import Exchange
from proxy.reception import Reception
from proxy.redaction import Redactor
from proxy.wire.model import Endpoint
from proxy.wire.responses.compacted import unpack

Json = dict[str, Any]
NATIVE: Tree = {"kind": "openai", "base_url": "http://a.test/v1", "api_keys": ["a1"]}
SAID = [
    {"role": "user", "content": "What is 2 + 3?"},
    {"type": "function_call", "call_id": "c1", "name": "add", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c1", "output": "5"},
    {"role": "assistant", "content": "It is 5."},
]


class Made:
    """A request to compact, and what came of it."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.began = 0
        self.exchange: Exchange | None = None

    def _count(self) -> None:
        self.began += 1

    async def ask(self, **body: Any) -> None:
        """Compact something."""
        scene = self.scene
        reception = Reception(scene.fleet, scene.clock, random.Random(7), Redactor(()), numbers())
        compaction = Compaction(reception, scene.pipeline.handle, self._count)
        said = json.dumps({"model": MODEL, **body}).encode()
        self.exchange = scene.exchange(said, endpoint=Endpoint.RESPONSES)
        self.exchange.record.endpoint = Endpoint.OTHER.value
        await scene.pipeline.through(self.exchange, compaction.answer)

    @property
    def status(self) -> int:
        """The status of the answer."""
        assert self.exchange is not None
        sink: Any = self.exchange.sink
        return int(sink.status)

    @property
    def headers(self) -> dict[bytes, bytes]:
        """The headers of the answer."""
        assert self.exchange is not None
        sink: Any = self.exchange.sink
        return dict(sink.headers)

    @property
    def body(self) -> Json:
        """The answer."""
        assert self.exchange is not None
        sink: Any = self.exchange.sink
        told: Json = json.loads(sink.body)
        return told


def compacted(answer: Answer, provider: int | Tree = 1, body: Json | None = None, **sections: Any) -> Made:
    """A conversation that was compacted over one provider."""

    async def scenario() -> Made:
        made = Made(Scene(config({"a": provider}, **sections), {"a": [answer]}))
        await made.ask(**({"input": SAID} if body is None else body))
        assert made.scene.guard.in_flight == 0
        assert made.scene.fleet.in_flight == {}
        assert len(made.scene.records) == 1 + made.began
        return made

    return run(scenario())


def replied(text: str, **fields: Any) -> Answer:
    """A response of a provider that speaks the dialect."""
    parts = [{"type": "output_text", "text": text}]
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": parts}
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    body = {
        "id": "resp_theirs",
        "object": "response",
        "status": "completed",
        "output": [item],
        "usage": usage,
    }
    return Answer([json.dumps(body | fields).encode()])


@pytest.mark.parametrize(
    ("answer", "provider"), [(Answer([reply("So it was.")]), 1), (replied("So it was."), NATIVE)]
)
def test_a_conversation_becomes_its_summary(answer: Answer, provider: int | Tree) -> None:
    """Whatever the provider speaks: the user's own words stay, all else is one item."""
    made = compacted(answer, provider)
    assert made.status == 200
    assert problems("responses", "compaction", made.body) == []
    first, last = made.body["output"]
    assert (first["role"], first["content"][0]["text"]) == ("user", "What is 2 + 3?")
    assert unpack(last["encrypted_content"]) == "So it was."
    assert (made.body["usage"]["input_tokens"], made.body["usage"]["output_tokens"]) == (3, 2)
    assert made.headers[b"x-apex-target"] == b"a/a-model"
    assert made.headers[b"x-apex-attempts"] == b"1"
    assert made.headers[b"content-type"] == b"application/json"
    assert b"x-apex-store" not in made.headers


def test_the_provider_is_asked_for_it() -> None:
    """With the whole conversation, and nothing else that the request may have said."""
    made = compacted(replied("So."), NATIVE, {"input": SAID, "instructions": "Be kind.", "x": 1})
    (call,) = made.scene.upstream.calls
    body = json.loads(call.body)
    assert [item.get("type", "message") for item in body["input"]] == [
        "message",
        "function_call",
        "function_call_output",
        "message",
        "message",
    ]
    assert (body["instructions"], body["store"], body["stream"]) == ("Be kind.", False, False)
    assert "x" not in body


def test_tools_that_were_called_may_not_be_called_again() -> None:
    """Messages wants them declared: a call would be no summary."""
    block = {"type": "text", "text": "So."}
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [block],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }
    provider = {"kind": "anthropic", "base_url": "http://a.test", "api_keys": ["a1"]}
    made = compacted(Answer([json.dumps(message).encode()]), provider)
    body = json.loads(made.scene.upstream.calls[0].body)
    assert [tool["name"] for tool in body["tools"]] == ["add"]
    assert body["tool_choice"] == {"type": "none"}
    assert unpack(made.body["output"][-1]["encrypted_content"]) == "So."


def test_losses_are_told() -> None:
    """The request within was translated."""
    made = compacted(Answer([reply("So.")]), 1, {"input": SAID, "reasoning": {"effort": "high"}})
    assert b"reasoning" in made.headers.get(b"x-apex-warnings", b"")


def test_both_requests_are_recorded_and_one_is_limited() -> None:
    """The one within is the request to a model: its tokens, attempts and the client's limits are there."""
    limits = {"limits": {"requests_per_minute": 5}}
    made = compacted(Answer([1.0, reply("So.")]), client=limits)
    inner, outer = made.scene.records
    assert (inner.endpoint, inner.tokens, len(inner.attempts)) == ("responses", Tokens(3, 2), 1)
    assert (outer.endpoint, outer.tokens, outer.attempts) == ("other", None, [])
    assert (outer.outcome, outer.status, outer.model) == (records.COMPLETED, 200, MODEL)
    assert (inner.waited, outer.waited) == (1.0, 1.0)
    assert inner.request_id == outer.request_id
    assert made.scene.store.calls == ["admit client"]
    assert made.headers[b"x-ratelimit-remaining-requests"] == b"4"


@pytest.mark.parametrize(
    ("answer", "status", "code", "outcome"),
    [
        (Answer([error("No.", code="odd")], 400), 400, "odd", records.REFUSED),
        (Answer([error("No.")], 429, {"retry-after": "7"}), 429, "rate_limit_exceeded", records.FAILED),
        (Answer([error("No.")], 500), 502, "upstream_error", records.FAILED),
        (Answer(before=[Fault(FaultKind.CONNECT, "it broke")]), 502, "upstream_error", records.FAILED),
        (Answer([b"no JSON"]), 502, "upstream_error", records.FAILED),
    ],
)
def test_what_goes_wrong_within_is_answered_as_it_is(
    answer: Answer, status: int, code: str, outcome: str
) -> None:
    """And recorded so."""
    made = compacted(answer)
    assert made.status == status
    assert problems("responses", "error", made.body) == []
    assert made.body["error"]["code"] == code
    assert [record.outcome for record in made.scene.records] == [outcome] * 2
    assert [record.status for record in made.scene.records] == [status] * 2
    if status == 429:
        assert made.headers[b"retry-after"] == b"7"


@pytest.mark.parametrize(
    "answer",
    [
        replied(""),
        replied("So it w", status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
        replied("x", output=[{"type": "reasoning", "summary": []}]),
        replied("x", output=[5]),
    ],
)
def test_a_summary_that_is_none_is_no_answer(answer: Answer) -> None:
    """The conversation would be lost."""
    made = compacted(answer, NATIVE)
    assert (made.status, made.body["error"]["code"]) == (502, "upstream_error")
    assert made.scene.last.outcome == records.FAILED
    assert made.headers[b"x-apex-target"] == b"a/a-model"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "input"),
        ({"input": []}, 400, "input"),
        ({"input": SAID, "model": "nobody"}, 404, "model"),
        ({"input": {"odd": 1}}, 400, None),
        ({"input": 5}, 400, None),
        ({"input": [5]}, 400, None),
        ({"previous_response_id": "resp_1"}, 503, None),
    ],
)
def test_what_cannot_be_compacted_is_refused(body: Json, status: int, param: str | None) -> None:
    """In the words of any request of the dialect."""
    made = compacted(Answer([reply("So.")]), 1, body)
    assert made.status == status, made.body
    assert problems("responses", "error", made.body) == []
    if param is not None:
        assert made.body["error"]["param"] == param
    assert made.scene.upstream.calls == []


def test_a_client_that_leaves_ends_the_request_within() -> None:
    """Both are recorded as left."""

    async def scenario() -> None:
        made = Made(Scene(config({"a": 1}), {"a": [Answer([HANG])]}))
        task = made.scene.tasks.spawn(made.ask(input=SAID), "request")
        await asyncio.sleep(1.0)
        task.cancel()
        await asyncio.wait([task])
        assert [record.outcome for record in made.scene.records] == [records.CLIENT_GONE] * 2
        assert made.scene.upstream.replies[0].closed

    run(scenario())


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A store."""
    with PrivateStore() as store:
        yield store.url


@pytest.mark.process
def test_a_stored_chain_is_compacted(url: str) -> None:
    """With nothing but its last id; what comes of it is stored nowhere."""

    async def scenario() -> None:
        async with shelves(url) as (shelf,):
            parts = [{"type": "input_text", "text": "one"}]
            first = {"type": "message", "role": "user", "id": "msg_1", "content": parts}
            said = (msgspec.Raw(json.dumps(first).encode()),)
            await shelf.store.save("dev", response("resp_9", input=said, output=()))
            made = Made(Scene(config({"a": 1}), {"a": [Answer([reply("So.")])]}, Archive(shelf)))
            await made.ask(previous_response_id="resp_9")
            assert problems("responses", "compaction", made.body) == []
            assert [item["type"] for item in made.body["output"]] == ["message", "compaction"]
            assert made.body["output"][0]["content"] == parts
            assert await shelf.store.load("dev", made.body["id"]) is None

    asyncio.run(scenario())
