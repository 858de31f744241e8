import json
from typing import Any

import pytest
from fakes.chats import DONE, counted, delta, event, finish, role, usage

from proxy.errors import Fault, FaultKind, Said
from proxy.wire import sse
from proxy.wire.chat.reply_reader import ChatReplyReader
from proxy.wire.events import Added, Began, Closed, Counted, Event, Failed, Finished, Opened
from proxy.wire.model import Usage


def said(finish_reason: str | None = None, **fields: Any) -> bytes:
    """An event with a delta of these fields."""
    return event({"choices": [{"index": 0, "delta": fields, "finish_reason": finish_reason}]})


def streamed(*events: bytes) -> list[Event]:
    """The events of a stream, as a translation reads it, but for the first."""
    reader = ChatReplyReader()
    found = [heard for block in events for one in sse.events(block) for heard in reader.feed(one)]
    found += reader.finish()
    assert isinstance(found[0], Began)
    return found[1:]


def whole(message: dict[str, Any], finish_reason: str | None = "stop", **fields: Any) -> list[Event]:
    """The events of a whole reply."""
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return ChatReplyReader().whole(json.dumps({"model": "m", "choices": [choice], **fields}).encode())


def end(*heard: Event, reason: Any = "stop") -> list[Event]:
    """These events, the end of their block, and the end."""
    return [*heard, Closed(), Finished(reason)]


HI: list[Event] = [Opened("text"), Added("Hi")]


def test_a_plain_stream() -> None:
    """The end waits for the usage that comes after the finish reason."""
    assert streamed(role(), delta("Hel"), delta("lo"), finish(), usage(), DONE) == [
        Opened("text"),
        Added("Hel"),
        Added("lo"),
        Counted(Usage(3, 2)),
        Closed(),
        Finished("stop"),
    ]


def test_a_whole_reply_is_the_same_events() -> None:
    """All at once, with nothing left out."""
    message = {
        "role": "assistant",
        "reasoning_content": "hm",
        "content": "Hi",
        "annotations": [
            {
                "type": "url_citation",
                "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 2},
            }
        ],
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
            {"id": "b", "type": "custom", "custom": {"name": "g", "input": "raw"}},
        ],
    }
    assert whole(message, "tool_calls", usage=counted(), service_tier="flex") == [
        Began("m"),
        Opened("thinking"),
        Added("hm"),
        Closed(),
        Opened("text"),
        Added("Hi"),
        Closed(citations=(("u", "t", 0, 2),)),
        Opened("tool", "a", "f"),
        Added('{"x":1}'),
        Closed(),
        Opened("tool", "b", "g", custom=True),
        Added("raw"),
        Counted(Usage(3, 2)),
        Closed(),
        Finished("tool_use", tier="flex"),
    ]


def test_the_end_marker_ends() -> None:
    """Nothing more is waited for."""
    reader = ChatReplyReader()
    reader.feed(delta("x"))
    assert not reader.ended
    assert reader.feed(DONE) == []
    assert reader.ended


@pytest.mark.parametrize("empty", [[], None])
def test_empty_calls_beside_text(empty: object) -> None:
    """They are no change of the block."""
    assert streamed(said(content="Hi", tool_calls=empty), finish()) == end(*HI)


def test_thinking_is_never_text() -> None:
    """Under either name, also where an empty text came before; of both names one is heard."""
    thought = [Opened("thinking"), Added("hm"), Closed(), *end(*HI)]
    assert streamed(role(), said(reasoning_content="hm"), delta("Hi"), finish()) == thought
    assert streamed(role(), said(reasoning="hm"), delta("Hi"), finish()) == thought
    assert streamed(said(reasoning="hm", reasoning_content="hm", content="Hi"), finish()) == thought


def test_parts_as_content() -> None:
    """Mistral's thinking is a part among the others."""
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "Hi"},
    ]
    assert streamed(said(content=[*parts, "?", {"type": "reference"}]), finish()) == [
        Opened("thinking"),
        Added("hm"),
        Closed(),
        *end(*HI),
    ]
    assert streamed(said(content={"no": "list"}), delta("Hi"), finish()) == end(*HI)


def test_a_refusal_is_a_block_of_its_own() -> None:
    """The model declined in its own words."""
    assert streamed(said(refusal="No."), finish()) == end(Opened("declined"), Added("No."))


def test_pieces_of_calls() -> None:
    """Empty ids and null names of later pieces are none; an object in place of its text is written out."""
    first = {"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}
    later = {"index": 0, "id": "", "function": {"name": None, "arguments": '{"x":1}'}}
    call: list[Event] = [Opened("tool", "a", "f"), Added('{"x":1}')]
    assert streamed(said(tool_calls=[first]), said("tool_calls", tool_calls=[later])) == end(
        *call, reason="tool_use"
    )
    at_once = {"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}
    assert streamed(said("tool_calls", tool_calls=[at_once])) == end(*call, reason="tool_use")


def test_the_delta_that_begins_a_call_is_not_lost() -> None:
    """Nor is the text before it."""
    made = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
    assert streamed(delta("Hi"), said(tool_calls=[made]), finish()) == [
        *HI,
        Closed(),
        *end(Opened("tool", "a", "f"), Added("{}"), reason="tool_use"),
    ]


def test_calls_in_the_old_form() -> None:
    """A `function_call` is a call without an id."""
    pieces = [said(function_call={"name": "f", "arguments": ""}), said(function_call={"arguments": "{}"})]
    assert streamed(*pieces, said("function_call")) == end(
        Opened("tool", "", "f"), Added("{}"), reason="tool_use"
    )


@pytest.mark.parametrize("odd", [5, "x", [5], [{"function": 5}], [{}]])
def test_odd_calls_are_none(odd: object) -> None:
    """What is no call is no reason to fail, nor to say that one was made."""
    assert streamed(said("tool_calls", content="Hi", tool_calls=odd)) == end(*HI)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("max_tokens", "length"),
        ("model_length", "context_length"),
        ("content_filter", "content_filter"),
        ("tool_calls", "stop"),
        ("eos", "stop"),
    ],
)
def test_reasons(word: str, reason: str) -> None:
    """Those that are not known are an end as any; calls that nobody made are no reason."""
    assert streamed(said(word, content="Hi"))[-1] == Finished(reason)  # type: ignore[arg-type]


def test_a_call_that_was_cut_short_stays_so() -> None:
    """Its reason is the length."""
    made = {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x'}}
    assert streamed(said("length", tool_calls=[made]))[-1] == Finished("length")


@pytest.mark.parametrize("field", ["stop_reason", "matched_stop"])
@pytest.mark.parametrize(
    ("value", "ended"),
    [
        ("END", Finished("stop_sequence", "END")),
        (7, Finished("stop")),
        ("end_turn", Finished("stop")),
        (None, Finished("stop")),
    ],
)
def test_stop_sequences(field: str, value: object, ended: Finished) -> None:
    """Servers that tell which one was met are listened to."""
    choice = {"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop", field: value}
    assert streamed(event({"choices": [choice]}))[-1] == ended


@pytest.mark.parametrize("word", ["insufficient_system_resource", "error", "abort"])
def test_reasons_that_are_failures(word: str) -> None:
    """A provider that gave up has not answered, whatever it said before."""
    reader = ChatReplyReader()
    reader.feed(delta("Hi"))
    failed = reader.feed(said(word))
    assert isinstance(failed[-1], Failed)
    assert failed[-1].said.kind == "server_error"
    assert (reader.feed(delta("more")), reader.finish()) == ([], [])
    assert isinstance(whole({"content": "Hi"}, word)[-1], Failed)


AZURE = event({"choices": [], "model": "", "prompt_filter_results": [{"prompt_index": 0}]})


def test_chunks_of_azure() -> None:
    """No choices at first, no delta at last, and other choices' filters in between."""
    last = event({"choices": [{"index": 0, "finish_reason": None, "content_filter_offsets": {}}]})
    assert streamed(AZURE, delta("Hi"), last, finish(), DONE) == end(*HI)


def test_the_model_is_what_it_calls_itself() -> None:
    """An empty name is none."""
    named = event({"model": "m", "choices": [{"index": 0, "delta": {}}]})
    assert ChatReplyReader().feed(named) == [Began("m")]
    assert ChatReplyReader().feed(role()) == [Began(None)]


def test_only_the_first_answer_is_heard() -> None:
    """More than one is asked of chat providers natively only."""
    assert streamed(delta("Hi"), delta("other", 1), finish(1), finish()) == end(*HI)


def test_usage_that_is_told_again_and_again() -> None:
    """It is counted when it has changed."""
    both = {"choices": [{"index": 0, "delta": {"content": "x"}}], "usage": counted()}
    heard = streamed(event(both), event(both), finish())
    assert heard.count(Counted(Usage(3, 2))) == 1


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        (event({"error": {"message": "bad"}}), Said("bad")),
        (event({"choices": [], "error": {"message": "bad"}}), Said("bad")),
        (event({"object": "error", "message": "bad", "code": 400}), Said("bad", code="400")),
        (b'event: error\ndata: {"message": "bad"}\n\n', Said("bad")),
        (b"event: error\ndata: busy\n\n", Said("The provider reported an error.")),
    ],
)
def test_errors_inside_a_stream(bad: bytes, what: Said) -> None:
    """In every shape that servers use."""
    assert ChatReplyReader().feed(bad) == [Failed(what)]


@pytest.mark.parametrize(
    "nothing", [b": busy\n\n", b"data:\n\n", b"data: keep-alive\n\n", b"event: note\n\n"]
)
def test_what_says_nothing(nothing: bytes) -> None:
    """Comments, names alone and words that are no JSON keep a connection alive."""
    assert ChatReplyReader().feed(nothing) == []


def test_half_an_event_is_a_fault() -> None:
    """What it said would be missing from the answer."""
    with pytest.raises(Fault) as caught:
        ChatReplyReader().feed(b'data: {"choices": [{"del\n\n')
    assert caught.value.kind is FaultKind.NOT_JSON


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        ([], FaultKind.EMPTY),
        ([role()], FaultKind.EMPTY),
        ([role(), DONE], FaultKind.EMPTY),
        ([delta("Hi")], FaultKind.TRUNCATED),
    ],
)
def test_streams_that_end_badly(events: list[bytes], kind: FaultKind) -> None:
    """An end that was not said is none."""
    reader = ChatReplyReader()
    for one in events:
        reader.feed(one)
    with pytest.raises(Fault) as caught:
        reader.finish()
    assert (caught.value.kind, caught.value.status) == (kind, 200)


def test_either_end_will_do() -> None:
    """A finish reason without the marker, or the marker without a reason."""
    assert streamed(delta("Hi"), finish()) == end(*HI)
    assert streamed(delta("Hi"), DONE) == end(*HI)
    made = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
    assert streamed(said(tool_calls=[made]), DONE)[-1] == Finished("tool_use")


def test_an_answer_of_nothing() -> None:
    """It has a reason to be empty."""
    assert whole({"content": ""}) == [Began("m"), Finished("stop")]
    assert whole({"content": "Hi"}, None)[-1] == Finished("stop")


@pytest.mark.parametrize(
    ("body", "kind", "what"),
    [
        (b"<html>", FaultKind.NOT_JSON, None),
        (b"[]", FaultKind.NOT_JSON, None),
        (b'{"choices": 5}', FaultKind.NOT_JSON, None),
        (b"{}", FaultKind.EMPTY, None),
        (b'{"choices": []}', FaultKind.EMPTY, None),
        (b'{"error": {"message": "bad"}}', FaultKind.ERROR_IN_REPLY, Said("bad")),
        (b'{"object": "error", "message": "bad"}', FaultKind.ERROR_IN_REPLY, Said("bad")),
    ],
)
def test_what_is_no_reply(body: bytes, kind: FaultKind, what: Said | None) -> None:
    """A 200 that answers nothing is a fault."""
    with pytest.raises(Fault) as caught:
        ChatReplyReader().whole(body)
    assert (caught.value.kind, caught.value.said) == (kind, what)


def test_blank_lines_before_a_reply() -> None:
    """DeepSeek keeps a connection alive with them."""
    body = b"\n\n\n" + json.dumps({"choices": [{"message": {"content": "Hi"}}]}).encode()
    assert ChatReplyReader().whole(body)[1:] == end(*HI)
