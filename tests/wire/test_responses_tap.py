import json
from typing import Any

import pytest
from fakes.translations import events

from proxy.errors import Fault, FaultKind, Refusal, Said
from proxy.profiles import Quirks
from proxy.wire import envelope, seals
from proxy.wire.codec import Facts, Stamp
from proxy.wire.losses import Losses
from proxy.wire.model import Dialect, Usage
from proxy.wire.responses import sealed
from proxy.wire.responses.tap import ResponsesNative, ResponsesStream

Json = dict[str, Any]
FACTS = Facts("gpt-5", Quirks(thinks="effort"), "alpha")
STAMP = Stamp("ab" * 12, 1_700_000_000)
ID = "resp_" + "ab" * 12
BROKEN = Refusal(502, "The provider failed.", kind="server_error", code="upstream_error")
DONE = b"data: [DONE]\n\n"
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}


def native(**body: Any) -> ResponsesNative:
    """For a request with these fields."""
    seen = envelope.read(json.dumps({"model": "alias", "input": "Hi", **body}).encode(), 20)
    return ResponsesNative(seen, STAMP, FACTS)


def sent(facts: Facts = FACTS, /, **body: Any) -> Json:
    """The body as it goes to the provider."""
    raw = json.dumps({"model": "alias", "input": "Hi", **body}).encode()
    seen = envelope.read(raw, 20)
    fields = seen.fields.copy()
    ResponsesNative(seen, STAMP, facts).prepare(fields, Losses(Dialect.RESPONSES))
    found: Json = json.loads(envelope.encode(fields))
    return found


def response(status: str = "completed", **fields: Any) -> Json:
    """A response as the provider knows it."""
    return {
        "id": "resp_theirs",
        "object": "response",
        "status": status,
        "model": "gpt-x",
        "previous_response_id": None,
        "store": False,
        "output": [],
        **fields,
    }


def event(kind: str, number: int, **fields: Any) -> bytes:
    """One event as OpenAI writes it."""
    data = json.dumps({"type": kind, "sequence_number": number, **fields})
    return f"event: {kind}\ndata: {data}\n\n".encode()


CREATED = event("response.created", 0, response=response("in_progress"))
ADDED = event("response.output_item.added", 1, output_index=0, item={"type": "message", "id": "msg_1"})
DELTA = event("response.output_text.delta", 2, output_index=0, content_index=0, delta="Hel")
USAGE = {"input_tokens": 3, "output_tokens": 2}
COMPLETED = event("response.completed", 3, response=response(usage=USAGE, output=[REASONING]))


def stream(**body: Any) -> ResponsesStream:
    """The stream of such a request."""
    return native(**body).stream()


def used(one: ResponsesStream, raw: bytes) -> bytes:
    """What a stream makes of all of these bytes and their end."""
    return one.feed(raw) + one.finish()


# --- requests -----------------------------------------------------------------------------------------


def test_nothing_is_stored_at_the_provider() -> None:
    """Nothing is stored at the provider."""
    found = sent(store=True, background=True, previous_response_id="resp_1", temperature=0.5)
    assert found == {
        "model": "alias",
        "input": "Hi",
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "temperature": 0.5,
    }


def test_how_to_run_in_the_background_is_nothing_to_a_provider() -> None:
    """It sees no background: what was wished of one is named as lost, and refused where nothing may be."""
    wished = {
        "model": "m",
        "input": "Hi",
        "background": True,
        "background_options": {"completion_window": "2h"},
    }
    seen = envelope.read(json.dumps(wished).encode(), 20)
    fields, losses = seen.fields.copy(), Losses(Dialect.RESPONSES)
    ResponsesNative(seen, STAMP, FACTS).prepare(fields, losses)
    assert "background_options" not in fields
    assert losses.header() == "dropped=background_options"
    with pytest.raises(Refusal):
        ResponsesNative(seen, STAMP, FACTS).prepare(
            seen.fields.copy(), Losses(Dialect.RESPONSES, strict=True)
        )
    assert "background_options" not in sent(background_options=None)


def test_what_else_was_to_be_included_stays() -> None:
    """What else was to be included stays."""
    assert sent(include=["x"])["include"] == ["x", "reasoning.encrypted_content"]
    assert sent(include=["reasoning.encrypted_content"])["include"] == ["reasoning.encrypted_content"]
    assert sent(include=None)["include"] == ["reasoning.encrypted_content"]
    assert sent(include="all")["include"] == "all"
    assert "include" not in sent(Facts("gpt-4.1", Quirks()))


def test_the_input_is_made_fit() -> None:
    """The input is made fit."""
    assert sent(input=[{"role": "user", "content": "a", "id": "x"}])["input"] == [
        {"role": "user", "content": "a"}
    ]


def test_reasoning_that_is_left_out_is_named() -> None:
    """And refused where nothing may be lost."""
    raw = json.dumps({"model": "m", "input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}).encode()
    seen = envelope.read(raw, 20)
    losses = Losses(Dialect.RESPONSES)
    ResponsesNative(seen, STAMP, FACTS).prepare(seen.fields.copy(), losses)
    assert losses.header() == "dropped=input[]"
    with pytest.raises(Refusal) as caught:
        ResponsesNative(seen, STAMP, FACTS).prepare(seen.fields, Losses(Dialect.RESPONSES, strict=True))
    assert (caught.value.status, caught.value.param) == (400, "input[0]")


@pytest.mark.parametrize("store", [True, False])
def test_a_response_says_whether_it_is_stored(store: bool) -> None:
    """As the request does by the time it gets here, whoever said so."""
    one = native(store=store)
    told, _ = one.reply(json.dumps(response(usage=USAGE)).encode())
    assert json.loads(told)["store"] is store


def test_a_body_without_input_is_the_providers_to_refuse() -> None:
    """A body without input is the providers to refuse."""
    seen = envelope.read(b'{"model":"m"}', 20)
    fields = seen.fields.copy()
    ResponsesNative(seen, STAMP, FACTS).prepare(fields, Losses(Dialect.RESPONSES))
    assert "input" not in fields


# --- whole replies ------------------------------------------------------------------------------------


def test_a_whole_reply_gets_back_what_the_client_knows_it_by() -> None:
    """A whole reply gets back what the client knows it by."""
    one = native(previous_response_id="resp_1", metadata={"a": "b"})
    told, usage = one.reply(json.dumps(response(usage=USAGE, new_thing=[1])).encode())
    assert json.loads(told) == {
        **response(usage=USAGE, new_thing=[1]),
        "id": ID,
        "previous_response_id": "resp_1",
        "store": True,
        "background": False,
        "metadata": {"a": "b"},
    }
    assert usage == Usage(input=3, output=2)
    assert one.kept == told


def test_store_and_background_are_as_the_client_gave_them() -> None:
    """Store and background are as the client gave them."""
    told = json.loads(native(store=False, background=True).reply(json.dumps(response()).encode())[0])
    assert (told["store"], told["background"]) == (False, True)


def test_values_of_a_reply_travel_as_they_came() -> None:
    """Values of a reply travel as they came."""
    told, _ = native().reply(b'{"id":"x","status":"completed","output":[{"n": 1.0, "s":"\\u00e9"}]}')
    assert b'"output":[{"n": 1.0, "s":"\\u00e9"}]' in told


def test_kept_reasoning_is_tagged_with_its_maker() -> None:
    """And the client sees it as it came."""
    one = native()
    told, _ = one.reply(json.dumps(response(output=[REASONING])).encode())
    assert json.loads(told)["output"] == [REASONING]
    assert one.kept is not None
    seal = seals.unpack(json.loads(one.kept)["output"][0]["encrypted_content"])
    assert seal == sealed.closed("rs_1", "gAAA", FACTS)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b" ", FaultKind.EMPTY),
        (b"<html>", FaultKind.NOT_JSON),
        (b"{}", FaultKind.EMPTY),
        (b'{"output":null}', FaultKind.ERROR_IN_REPLY),
        (b'{"error":{"message":"m","code":"c"}}', FaultKind.ERROR_IN_REPLY),
        (b'{"status":"failed","output":[],"error":{"message":"m","code":"c"}}', FaultKind.ERROR_IN_REPLY),
    ],
)
def test_what_is_no_reply(body: bytes, kind: FaultKind) -> None:
    """What is no reply."""
    with pytest.raises(Fault) as caught:
        native().reply(body)
    assert caught.value.kind is kind
    if b'"c"' in body:
        assert caught.value.said == Said("m", code="c")


# --- streams ------------------------------------------------------------------------------------------


def test_only_events_of_the_response_itself_are_changed() -> None:
    """Only events of the response itself are changed."""
    one = stream(previous_response_id="resp_1")
    raw = one.feed(CREATED) + one.feed(ADDED) + one.feed(DELTA) + one.feed(COMPLETED)
    assert ADDED + DELTA in raw
    heard = events(raw)
    assert [(heard[at]["response"]["id"], heard[at]["sequence_number"]) for at in (0, 3)] == [
        (ID, 0),
        (ID, 3),
    ]
    assert heard[3]["response"]["previous_response_id"] == "resp_1"
    assert heard[3]["response"]["store"] is True
    assert raw.endswith(DONE)
    assert (one.usage, one.ended, one.error, one.events) == (Usage(input=3, output=2), True, None, 4)


def test_all_at_once_is_the_same() -> None:
    """All at once is the same."""
    one, other = stream(), stream()
    pieces = [CREATED, ADDED, DELTA, COMPLETED, DONE]
    assert one.feed(b"".join(pieces)) == b"".join(other.feed(piece) for piece in pieces)


@pytest.mark.parametrize(
    ("piece", "content"),
    [
        (CREATED, False),
        (ADDED, False),
        (event("response.output_text.delta", 2, delta=""), False),
        (event("response.content_part.added", 2, part={"type": "output_text"}), False),
        (event("response.output_item.added", 2, item={"type": "reasoning"}), False),
        (event("response.web_search_call.in_progress", 2), False),
        (b": ping\n\n", False),
        (DELTA, True),
        (event("response.reasoning_summary_text.delta", 2, delta="hm"), True),
        (event("response.output_item.added", 2, item={"type": "function_call"}), True),
        (event("response.output_item.done", 2, item={"type": "message"}), True),
        (COMPLETED, True),
        (event("response.incomplete", 2, response=response("incomplete")), True),
    ],
)
def test_content(piece: bytes, content: bool) -> None:
    """Content."""
    one = stream()
    one.feed(piece)
    assert one.content is content


@pytest.mark.parametrize(
    "bad",
    [
        DELTA[:-9] + b"\n\n",
        b"event: response.output_text.delta\ndata: \x00\xff{]\n\n",
        b": \xff\n\n",
        b"data: x\n\n",
        COMPLETED[:-9] + b"\n\n",
    ],
)
def test_what_no_client_can_read_ends_the_stream(bad: bytes) -> None:
    """What came whole before it, in the same read, is said, then the failure; and nothing after it."""
    with pytest.raises(Fault) as caught:
        stream().feed(CREATED + bad)
    assert caught.value.kind is FaultKind.NOT_JSON
    one = stream()
    one.feed(CREATED + ADDED)
    one.feed(DELTA)
    whole = event("response.output_text.delta", 7, delta="ü") + event("response.content_part.done", 8)
    with pytest.raises(Fault) as caught:
        one.feed(whole + bad + DELTA + COMPLETED)
    assert (caught.value.kind, caught.value.status) == (FaultKind.NOT_JSON, 200)
    raw = one.broken(BROKEN)
    assert raw.startswith(whole)
    last = events(raw)[-2]
    assert (last["type"], last["sequence_number"]) == ("response.failed", 9)


def test_words_of_the_end_in_a_text_are_text() -> None:
    """Only what an event says it is counts."""
    one = stream()
    one.feed(CREATED + DELTA)
    quoted = event("response.output_text.delta", 3, delta='"response": "error":{')
    assert one.feed(quoted) == quoted
    assert not one.ended


@pytest.mark.parametrize("more", [DONE, DELTA, COMPLETED, event("error", 4), DELTA[:-2], b"<html>\n\n"])
def test_what_comes_after_the_end_is_not_passed_on(more: bytes) -> None:
    """Not in the same read, nor in the next, nor when the provider hangs up: it was the end."""
    for first, then in ((COMPLETED + more, b""), (COMPLETED, more)):
        one = stream()
        assert one.feed(CREATED + DELTA + first).endswith(DONE)
        kept = one.kept
        assert one.feed(then) == b""
        assert one.finish() == b""
        assert (one.error, one.kept, one.events) == (None, kept, 3)


def test_the_whole_response_is_kept() -> None:
    """The whole response is kept."""
    one = stream()
    raw = one.feed(CREATED + DELTA + COMPLETED)
    kept = json.loads(one.kept or b"")
    assert kept["id"] == ID
    assert seals.unpack(kept["output"][0]["encrypted_content"])
    assert events(raw)[-2]["response"] == {**kept, "output": [REASONING]}


def test_nothing_is_kept_before_the_end() -> None:
    """Nothing is kept before the end."""
    one = stream()
    one.feed(CREATED + DELTA)
    assert one.kept is None


@pytest.mark.parametrize("before", [b"", CREATED + DELTA])
@pytest.mark.parametrize(
    "piece",
    [
        event("response.failed", 3, response=response("failed", error={"code": "c", "message": "m"})),
        event("error", 3, code="c", message="m"),
        event("error", 3, error={"code": "c", "message": "m"}),
        b'data: {"error": {"code": "c", "message": "m"}}\n\n',
        b'event: error\ndata: {"code": "c", "message": "m"}\n\n',
    ],
)
def test_an_error_is_not_passed_on_but_told(before: bytes, piece: bytes) -> None:
    """An error is not passed on but told."""
    one = stream()
    one.feed(before)
    assert one.feed(piece + DONE) == b""
    assert one.error == Said("m", code="c")
    assert not one.ended


@pytest.mark.parametrize("before", [b"", CREATED + DELTA])
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"overloaded", Said("The provider reported an error.")),
        (b'"overloaded"', Said("The provider reported an error.")),
        (b'{"type": 5, "error": {"message": "m", "code": "c"}}', Said("m", code="c")),
    ],
)
def test_an_error_by_its_name_alone(before: bytes, data: bytes, said: Said) -> None:
    """It is the provider's error, whatever its data is, and not an event that nobody can read."""
    one = stream()
    one.feed(before)
    assert one.feed(b"event: error\ndata: " + data + b"\n\n" + DELTA) == b""
    assert (one.error, one.ended) == (said, False)


def test_what_came_before_an_error_is_passed_on() -> None:
    """What came before an error is passed on."""
    one = stream()
    one.feed(CREATED + DELTA)
    assert one.feed(DELTA + event("error", 3, code="c", message="m")) == DELTA


def test_a_stream_that_broke_ends_under_the_right_id_and_number() -> None:
    """A stream that broke ends under the right id and number."""
    one = stream(previous_response_id="resp_1")
    raw = one.feed(CREATED + ADDED) + one.feed(DELTA) + one.broken(BROKEN)
    last = events(raw)[-2]
    assert (last["type"], last["sequence_number"]) == ("response.failed", 3)
    assert (last["response"]["id"], last["response"]["status"]) == (ID, "failed")
    assert last["response"]["error"] == {"code": "server_error", "message": "The provider failed."}
    assert raw.endswith(DONE)
    assert one.kept is not None
    assert json.loads(one.kept)["status"] == "failed"


def test_a_stream_that_broke_before_it_began_ends_with_an_error() -> None:
    """A stream that broke before it began ends with an error."""
    one = stream()
    assert [heard if isinstance(heard, str) else heard["type"] for heard in events(one.broken(BROKEN))] == [
        "error",
        "[DONE]",
    ]
    assert one.kept is None


def test_a_last_event_without_its_empty_line_counts() -> None:
    """A last event without its empty line counts."""
    one = stream()
    one.feed(CREATED + DELTA + COMPLETED[:-2])
    assert one.finish().endswith(DONE)
    assert one.ended


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"", FaultKind.EMPTY),
        (CREATED, FaultKind.EMPTY),
        (CREATED + DELTA, FaultKind.TRUNCATED),
        (CREATED + DELTA + DONE, FaultKind.TRUNCATED),
        (b'{"error":{"message":"m"}}', FaultKind.ERROR_IN_REPLY),
        (b"<html></html>", FaultKind.NOT_JSON),
        (b"<html>\n\n</html>", FaultKind.NOT_JSON),
    ],
)
def test_streams_without_an_end(raw: bytes, kind: FaultKind) -> None:
    """Streams without an end."""
    with pytest.raises(Fault) as caught:
        used(stream(), raw)
    assert caught.value.kind is kind


def test_comments_pass_once_there_is_content() -> None:
    """Comments pass once there is content."""
    one = stream()
    assert one.feed(b": busy\n\n") == b""
    one.feed(CREATED + DELTA)
    assert one.feed(b": busy\n\n") == b": busy\n\n"


def test_events_that_are_not_what_they_say_pass_as_they_came() -> None:
    """Events that are not what they say pass as they came."""
    one = stream()
    for odd in (event("response.created", 0), event("response.created", 0, response=3), b"data: [1]\n\n"):
        assert one.feed(odd) == odd
