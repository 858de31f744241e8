import json
from typing import Any

import pytest

from proxy.errors import Fault, FaultKind, Said
from proxy.profiles import Quirks
from proxy.wire.codec import Facts
from proxy.wire.conversation import Seal
from proxy.wire.events import Added, Began, Closed, Counted, Event, Failed, Finished, Opened
from proxy.wire.model import Dialect, Usage
from proxy.wire.responses.reply_reader import ResponsesReader

Json = dict[str, Any]
USAGE = {"input_tokens": 3, "output_tokens": 2}


def event(kind: str, **fields: Any) -> bytes:
    """One event, as OpenAI writes it."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), json.dumps({"type": kind, **fields}).encode())


def created() -> bytes:
    """The first event."""
    return event("response.created", response={"id": "resp_1", "model": "gpt-x", "status": "in_progress"})


def completed(*output: Json, status: str = "completed", **fields: Any) -> bytes:
    """The last event."""
    whole = {"model": "gpt-x", "status": status, "output": list(output), "usage": USAGE, **fields}
    return event(f"response.{status}", response=whole)


def added(index: int, **item: Any) -> bytes:
    """An item begins."""
    return event("response.output_item.added", output_index=index, item=item)


def done(index: int, **item: Any) -> bytes:
    """An item is done."""
    return event("response.output_item.done", output_index=index, item=item)


def said(text: str, index: int = 0, part: int = 0) -> bytes:
    """A piece of text."""
    return event("response.output_text.delta", output_index=index, content_index=part, delta=text)


def given(text: str, index: int = 0, kind: str = "function_call_arguments") -> bytes:
    """A piece of a call's arguments."""
    return event(f"response.{kind}.delta", output_index=index, delta=text)


def thought(text: str, part: int = 0, kind: str = "reasoning_summary_text") -> bytes:
    """A piece of reasoning."""
    place = {"summary_index": part} if "summary" in kind else {"content_index": part}
    return event(f"response.{kind}.delta", output_index=0, delta=text, **place)


def call(name: str = "f", call_id: str = "c1", arguments: str = "", **fields: Any) -> Json:
    """An item of a call."""
    return {
        "type": "function_call",
        "id": f"fc_{call_id}",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        **fields,
    }


def message(*parts: Json, **fields: Any) -> Json:
    """An item of a message."""
    return {"type": "message", "id": "msg_1", "role": "assistant", "content": list(parts), **fields}


def text(words: str, **fields: Any) -> Json:
    """A part of a message."""
    return {"type": "output_text", "text": words, "annotations": [], **fields}


def reader() -> ResponsesReader:
    """For a reply of the model `m`."""
    return ResponsesReader(Facts("m", Quirks()))


def streamed(*pieces: bytes) -> list[Event]:
    """The events of a stream, but for the first and the counts."""
    one = reader()
    found = [heard for piece in pieces for heard in one.feed(piece)]
    found += one.finish()
    return _middle(found)


def whole(*output: Json, **fields: Any) -> list[Event]:
    """The events of a whole reply, likewise."""
    body = {"model": "gpt-x", "status": "completed", "output": list(output), "usage": USAGE, **fields}
    return _middle(reader().whole(json.dumps(body).encode()))


def _middle(found: list[Event]) -> list[Event]:
    assert isinstance(found[0], Began)
    assert not [one for one in found[1:] if isinstance(one, Began)]
    return [one for one in found[1:] if not isinstance(one, Counted)]


HELLO: list[Event] = [Opened("text"), Added("Hello"), Closed(), Finished("stop")]


def test_a_text_as_it_comes() -> None:
    """A text as it comes."""
    one = reader()
    assert one.feed(created()) == [Began("gpt-x")]
    assert one.feed(added(0, type="message", id="msg_1", content=[])) == []
    assert one.feed(said("Hel")) == [Opened("text"), Added("Hel")]
    assert one.feed(said("lo")) == [Added("lo")]
    assert one.feed(event("response.output_text.done", output_index=0, content_index=0, text="Hello")) == []
    assert one.feed(done(0, **message(text("Hello")))) == [Closed()]
    end = one.feed(completed(message(text("Hello")), service_tier="flex"))
    assert end == [Counted(Usage(input=3, output=2)), Finished("stop", tier="flex")]
    assert one.ended
    assert one.finish() == []


def test_a_whole_reply_is_the_same_events() -> None:
    """A whole reply is the same events."""
    items = [
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "hm"}],
            "encrypted_content": "gAAA",
        },
        message(text("Hello"), {"type": "refusal", "refusal": "no"}),
        call(arguments='{"a":1}'),
        {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c2", "name": "p", "input": "raw"},
    ]
    expected: list[Event] = [
        Opened("thinking"),
        Added("hm"),
        Closed(seal=Seal(Dialect.RESPONSES, "m", '{"id":"rs_1","encrypted_content":"gAAA"}')),
        Opened("text"),
        Added("Hello"),
        Closed(),
        Opened("declined"),
        Added("no"),
        Closed(),
        Opened("tool", id="c1", name="f"),
        Added('{"a":1}'),
        Closed(),
        Opened("tool", id="c2", name="p", custom=True),
        Added("raw"),
        Closed(),
        Finished("tool_use"),
    ]
    assert whole(*items) == expected
    assert streamed(created(), completed(*items)) == expected
    assert (
        streamed(created(), *(done(place, **item) for place, item in enumerate(items)), completed())
        == expected
    )


@pytest.mark.parametrize(
    "pieces",
    [
        [event("response.output_text.done", output_index=0, content_index=0, text="Hello")],
        [event("response.content_part.done", output_index=0, content_index=0, part=text("Hello"))],
        [done(0, **message(text("Hello")))],
        [said("Hel"), event("response.output_text.done", output_index=0, content_index=0, text="Hello")],
        [said("Hel"), done(0, **message(text("Hello")))],
        [said("Hel"), said("lo")],
        [],
    ],
)
def test_what_no_delta_told_comes_with_the_end(pieces: list[bytes]) -> None:
    """What no delta told comes with the end."""
    found = streamed(created(), *pieces, completed(message(text("Hello"))))
    assert "".join(one.text for one in found if isinstance(one, Added)) == "Hello"
    assert [one for one in found if not isinstance(one, Added)] == [HELLO[0], *HELLO[2:]]


def test_a_stream_without_its_beginning() -> None:
    """A stream without its beginning."""
    assert streamed(said("Hello"), completed()) == HELLO


def test_what_comes_after_the_end_says_nothing() -> None:
    """What comes after the end says nothing."""
    one = reader()
    one.feed(completed())
    assert one.feed(said("x")) == []
    assert one.feed(b"data: [DONE]\n\n") == []


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"overloaded", Said("The provider reported an error.")),
        (b'"overloaded"', Said("The provider reported an error.")),
        (b'{"code": "c", "message": "m"}', Said("m", code="c")),
    ],
)
def test_an_error_by_its_name_alone(data: bytes, said: Said) -> None:
    """It is the provider's error, whatever its data is, and no stream that ends too early."""
    reader = ResponsesReader(Facts("gpt-x", Quirks()))
    reader.feed(created())
    assert reader.feed(b"event: error\ndata: " + data + b"\n\n") == [Failed(said)]
    assert reader.finish() == []


def test_comments_and_unknown_events_say_nothing() -> None:
    """Comments and unknown events say nothing."""
    noise = [b": ping\n\n", event("response.new_thing", output_index=0), b"data: {\n\n", said("")]
    noise.append(event("response.output_text.delta", output_index=0, delta=3))
    assert streamed(created(), *noise, said("Hello"), completed()) == HELLO


def test_parts_of_a_message_are_blocks() -> None:
    """Parts of a message are blocks."""
    pieces = [said("a"), said("b", part=1), done(0, **message(text("a"), text("b")))]
    assert streamed(created(), *pieces, completed()) == [
        Opened("text"),
        Added("a"),
        Closed(),
        Opened("text"),
        Added("b"),
        Closed(),
        Finished("stop"),
    ]


def test_a_refusal() -> None:
    """A refusal."""
    piece = event("response.refusal.delta", output_index=0, content_index=0, delta="no")
    last = event("response.refusal.done", output_index=0, content_index=0, refusal="no way")
    assert streamed(created(), piece, last, completed()) == [
        Opened("declined"),
        Added("no"),
        Added(" way"),
        Closed(),
        Finished("stop"),
    ]


def test_interleaved_calls_come_one_after_the_other() -> None:
    """The first is told as it comes, the other once it is done."""
    one = reader()
    one.feed(created())
    assert one.feed(added(0, **call("f", "c1"))) == [Opened("tool", id="c1", name="f")]
    assert one.feed(added(1, **call("g", "c2"))) == []
    assert one.feed(given('{"b"', 1)) == []
    assert one.feed(given('{"a"', 0)) == [Added('{"a"')]
    assert one.feed(given(":2}", 1)) == []
    assert one.feed(given(":1}", 0)) == [Added(":1}")]
    assert one.feed(done(0, **call("f", "c1", '{"a":1}'))) == [
        Closed(),
        Opened("tool", id="c2", name="g"),
        Added('{"b":2}'),
    ]
    assert one.feed(done(1, **call("g", "c2", '{"b":2}'))) == [Closed()]


def test_arguments_that_come_with_done_alone() -> None:
    """Arguments that come with done alone."""
    last = event("response.function_call_arguments.done", output_index=0, arguments='{"a":1}')
    expected = [Opened("tool", id="c1", name="f"), Added('{"a":1}'), Closed(), Finished("tool_use")]
    assert streamed(created(), added(0, **call()), last, completed()) == expected
    assert (
        streamed(created(), added(0, **call()), done(0, **call(arguments='{"a":1}')), completed()) == expected
    )


def test_a_call_that_was_never_announced_gets_its_name_with_its_end() -> None:
    """A call that was never announced gets its name with its end."""
    pieces = [given('{"a"'), given(":1}"), done(0, **call(arguments='{"a":1}'))]
    assert streamed(created(), *pieces, completed()) == [
        Opened("tool", id="c1", name="f"),
        Added('{"a":1}'),
        Closed(),
        Finished("tool_use"),
    ]


def test_a_call_of_a_namespace_in_free_text() -> None:
    """A call of a namespace in free text."""
    item = {
        "type": "custom_tool_call",
        "id": "ctc_1",
        "call_id": "c",
        "name": "p",
        "namespace": "ns",
        "input": "",
    }
    pieces = [
        added(0, **item),
        given("raw", kind="custom_tool_call_input"),
        done(0, **{**item, "input": "raw"}),
    ]
    assert streamed(created(), *pieces, completed())[:2] == [
        Opened("tool", id="c", name="p", custom=True, namespace="ns"),
        Added("raw"),
    ]


def test_items_that_are_all_numbered_alike_are_told_apart() -> None:
    """Items that are all numbered alike are told apart."""
    pieces = [
        added(0, **call("f", "c1")),
        given('{"a":1}'),
        done(0, **call("f", "c1", '{"a":1}')),
        added(0, **call("g", "c2")),
        given('{"b":2}'),
        done(0, **call("g", "c2", '{"b":2}')),
    ]
    end = completed(call("f", "c1", '{"a":1}'), call("g", "c2", '{"b":2}'))
    assert streamed(created(), *pieces, end) == [
        Opened("tool", id="c1", name="f"),
        Added('{"a":1}'),
        Closed(),
        Opened("tool", id="c2", name="g"),
        Added('{"b":2}'),
        Closed(),
        Finished("tool_use"),
    ]


def test_parts_of_a_summary_are_paragraphs() -> None:
    """Parts of a summary are paragraphs."""
    pieces = [added(0, type="reasoning", id="rs_1", summary=[]), thought("a"), thought("b"), thought("c", 1)]
    summary = [{"type": "summary_text", "text": "ab"}, {"type": "summary_text", "text": "c"}]
    end = done(0, type="reasoning", id="rs_1", summary=summary)
    assert streamed(created(), *pieces, end, completed()) == [
        Opened("thinking"),
        Added("a"),
        Added("b"),
        Added("\n\nc"),
        Closed(),
        Finished("stop"),
    ]
    assert whole({"type": "reasoning", "id": "rs_1", "summary": summary})[1] == Added("ab\n\nc")


@pytest.mark.parametrize("kind", ["reasoning_text", "reasoning"])
def test_reasoning_in_plain_text(kind: str) -> None:
    """Reasoning in plain text."""
    assert streamed(created(), thought("hm", kind=kind), completed())[:2] == [Opened("thinking"), Added("hm")]
    content = [{"type": "reasoning_text", "text": "hm"}]
    assert whole({"type": "reasoning", "summary": [], "content": content})[1] == Added("hm")


def test_reasoning_that_is_told_twice_is_heard_once() -> None:
    """Reasoning that is told twice is heard once."""
    pieces = [thought("hm", kind="reasoning_text"), thought("short")]
    item = {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "short"}],
        "content": [{"type": "reasoning_text", "text": "hmm"}],
    }
    assert streamed(created(), *pieces, done(0, **item), completed())[:3] == [
        Opened("thinking"),
        Added("hm"),
        Added("m"),
    ]


def test_reasoning_that_is_only_sealed_is_a_block_and_none_at_all_is_not() -> None:
    """Reasoning that is only sealed is a block and none at all is not."""
    sealed = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    assert [type(one) for one in whole(sealed)] == [Opened, Closed, Finished]
    empty = {"type": "reasoning", "id": "rs_1", "summary": []}
    assert whole(empty) == [Finished("stop")]
    pieces = [added(0, **empty), done(0, **empty), said("Hello", 1)]
    assert streamed(created(), *pieces, completed()) == HELLO


NOTE = {"type": "url_citation", "url": "https://a", "title": "A", "start_index": 0, "end_index": 3}


def test_citations_come_with_the_end_of_their_text() -> None:
    """Citations come with the end of their text."""
    expected = Closed(citations=(("https://a", "A", 0, 3),))
    other = {"type": "file_citation", "file_id": "f"}
    assert whole(message(text("see", annotations=[other, NOTE])))[2] == expected
    noted = event("response.output_text.annotation.added", output_index=0, content_index=0, annotation=NOTE)
    assert streamed(created(), said("see"), noted, done(0, **message()), completed())[2] == expected


@pytest.mark.parametrize(
    ("why", "reason"),
    [("max_output_tokens", "length"), ("content_filter", "content_filter"), (None, "length")],
)
def test_an_incomplete_response_says_why(why: str | None, reason: str) -> None:
    """An incomplete response says why."""
    details = {"reason": why} if why else None
    last = whole(message(text("x")), status="incomplete", incomplete_details=details)[-1]
    assert isinstance(last, Finished)
    assert last.reason == reason


def test_a_call_that_was_cut_leaves_the_limit_as_the_reason() -> None:
    """A call that was cut leaves the limit as the reason."""
    end = completed(status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    assert streamed(created(), added(0, **call()), given('{"a'), end)[-2:] == [Closed(), Finished("length")]


def test_items_of_hosted_tools_are_passed_over() -> None:
    """Items of hosted tools are passed over."""
    assert (
        whole({"type": "web_search_call", "id": "ws_1", "status": "completed"}, message(text("Hello")))
        == HELLO
    )


@pytest.mark.parametrize(
    "piece",
    [
        event("response.failed", response={"status": "failed", "error": {"code": "c", "message": "m"}}),
        event("error", code="c", message="m", param=None),
        event("error", error={"code": "c", "message": "m"}),
        b'data: {"error": {"code": "c", "message": "m"}}\n\n',
    ],
)
def test_errors_in_a_stream(piece: bytes) -> None:
    """Errors in a stream."""
    one = reader()
    one.feed(created())
    assert one.feed(piece) == [Failed(Said("m", code="c"))]
    assert one.ended


def test_errors_instead_of_a_reply() -> None:
    """Errors instead of a reply."""
    failed = {"status": "failed", "output": [], "error": {"code": "c", "message": "m"}}
    for body in (failed, {"error": {"code": "c", "message": "m"}}):
        assert reader().whole(json.dumps(body).encode()) == [Failed(Said("m", code="c"))]


def test_a_cancelled_response_has_failed() -> None:
    """A cancelled response has failed."""
    assert isinstance(reader().feed(completed(status="cancelled"))[-1], Failed)


def test_a_stream_without_its_end_is_truncated() -> None:
    """A stream without its end is truncated."""
    one = reader()
    one.feed(created())
    one.feed(said("Hel"))
    one.feed(b"data: [DONE]\n\n")
    with pytest.raises(Fault) as caught:
        one.finish()
    assert caught.value.kind is FaultKind.TRUNCATED


@pytest.mark.parametrize(
    ("body", "kind"), [(b"<html>", FaultKind.NOT_JSON), (b"[]", FaultKind.NOT_JSON), (b"{}", FaultKind.EMPTY)]
)
def test_what_is_no_reply(body: bytes, kind: FaultKind) -> None:
    """What is no reply."""
    with pytest.raises(Fault) as caught:
        reader().whole(body)
    assert caught.value.kind is kind


def test_members_of_other_types_break_nothing() -> None:
    """Members of other types break nothing."""
    odd: list[Json] = [
        {"type": "message", "content": "x"},
        {"type": "message", "content": [3, {"type": "output_text", "text": None}]},
        {"type": "reasoning", "summary": "x", "content": [3]},
        {"type": "function_call", "call_id": 3, "name": "f", "arguments": {}},
    ]
    assert whole(*odd)[-1] == Finished("tool_use")
    strange = event("response.output_item.added", output_index="a", item=3)
    assert streamed(created(), strange, said("Hello"), completed()) == HELLO


def test_a_call_that_never_gets_a_name_is_a_fault() -> None:
    """Nobody could answer it."""
    with pytest.raises(Fault) as caught:
        whole(call(name=""))
    assert caught.value.kind is FaultKind.NOT_JSON


def test_a_whole_text_that_differs_from_its_deltas_adds_nothing() -> None:
    """What was told cannot be taken back, and half of another text makes no sense behind it."""
    found = streamed(created(), said("Hello"), done(0, **message(text("Goodbye, all"))), completed())
    assert [event.text for event in found if isinstance(event, Added)] == ["Hello"]
