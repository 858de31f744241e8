import json
from typing import Any

import pytest
from fakes.translations import event, facts

from proxy.errors import Fault, FaultKind, Said
from proxy.wire.conversation import Seal
from proxy.wire.events import Added, Began, Closed, Counted, Event, Failed, Finished, Opened
from proxy.wire.messages.reply_reader import ReplyReader
from proxy.wire.model import Dialect, Usage

Json = dict[str, Any]
FACTS = facts("messages")
COUNT: Json = {"input_tokens": 9, "output_tokens": 1}
STOP = {"type": "message_stop"}


def began(**usage: int) -> Json:
    """The first event."""
    message = {"id": "msg_1", "model": "claude", "content": [], "usage": {**COUNT, **usage}}
    return {"type": "message_start", "message": message}


def start(block: Json, index: int = 0) -> Json:
    """A block begins."""
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(kind: str, index: int = 0, **fields: Any) -> Json:
    """It goes on."""
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def stop(index: int = 0) -> Json:
    """It ends."""
    return {"type": "content_block_stop", "index": index}


def end(reason: str = "end_turn", **more: Any) -> list[Json]:
    """The last two events."""
    said = {"stop_reason": reason, "stop_sequence": None, **more}
    return [{"type": "message_delta", "delta": said, "usage": {"output_tokens": 4}}, STOP]


def read(*said: Json) -> list[Event]:
    """All events of a stream."""
    reader = ReplyReader(FACTS)
    found = [one for value in said for one in reader.feed(event("messages", value))]
    assert reader.ended
    return found + reader.finish()


def blocks(*said: Json, reason: str = "end_turn") -> list[Event]:
    """What comes between the first count and the last."""
    found = read(began(), *said, *end(reason))
    assert isinstance(found[0], Began)
    return [one for one in found[1:] if not isinstance(one, Counted | Finished)]


def seal(value: str) -> Seal:
    """A seal of the model that is asked."""
    return Seal(Dialect.MESSAGES, FACTS.model, value)


TEXT: Json = {"type": "text", "text": ""}
THINKING: Json = {"type": "thinking", "thinking": "", "signature": ""}


def tool(name: str = "t1", **given: Any) -> Json:
    """The beginning of a call."""
    return {"type": "tool_use", "id": name, "name": "f", "input": given}


def test_a_stream() -> None:
    """What began, what was said, what it took, how it ended."""
    found = read(
        began(cache_read_input_tokens=5),
        {"type": "ping"},
        start(TEXT),
        delta("text_delta", text="Hel"),
        delta("text_delta", text=""),
        delta("text_delta", text="lo"),
        stop(),
        *end(),
    )
    assert found == [
        Began("claude", Usage(input=14, output=1, cached=5)),
        Opened("text"),
        Added("Hel"),
        Added("lo"),
        Closed(),
        Counted(Usage(input=14, output=4, cached=5)),
        Finished("stop"),
    ]


def test_thinking_is_sealed_by_its_signature() -> None:
    """For the very model that was asked; a block may have nothing but that."""
    found = blocks(
        start(THINKING),
        delta("thinking_delta", thinking="hm"),
        delta("signature_delta", signature="sig=="),
        stop(),
        start(THINKING, 1),
        delta("signature_delta", 1, signature="other"),
        stop(1),
        start({"type": "redacted_thinking", "data": "xyz"}, 2),
        stop(2),
        start(THINKING, 3),
        delta("thinking_delta", 3, thinking="unsigned"),
        stop(3),
    )
    assert found == [
        Opened("thinking"),
        Added("hm"),
        Closed(seal("sig==")),
        Opened("thinking"),
        Closed(seal("other")),
        Opened("thinking"),
        Closed(seal("xyz"), redacted=True),
        Opened("thinking"),
        Added("unsigned"),
        Closed(),
    ]


@pytest.mark.parametrize(
    ("given", "pieces", "arguments"),
    [
        ({}, ["", '{"a"', ":1}"], ['{"a"', ":1}"]),
        ({}, [], ["{}"]),
        ({}, [""], ["{}"]),
        ({"a": 1}, [], ['{"a":1}']),
    ],
)
def test_arguments_of_calls(given: Json, pieces: list[str], arguments: list[str]) -> None:
    """They come in pieces, all at once with the beginning, or not at all: then there are none."""
    said = [delta("input_json_delta", partial_json=piece) for piece in pieces]
    found = blocks(start(tool(**given)), *said, stop(), reason="tool_use")
    assert found == [Opened("tool", id="t1", name="f"), *map(Added, arguments), Closed()]


def test_citations_of_the_web() -> None:
    """Each is of the whole block, and there once; those of documents are not carried."""
    web = {"type": "web_search_result_location", "url": "https://a", "title": "A", "cited_text": "x"}
    page = {"type": "page_location", "document_title": "D", "cited_text": "x"}
    found = blocks(
        start(TEXT),
        delta("text_delta", text="cited"),
        *(delta("citations_delta", citation=citation) for citation in (web, page, web)),
        stop(),
    )
    assert found == [Opened("text"), Added("cited"), Closed(citations=(("https://a", "A", 0, 5),))]


def test_blocks_of_the_providers_own_tools_are_passed_over() -> None:
    """With all that is said of them."""
    search = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
    found = blocks(
        start(search),
        delta("input_json_delta", partial_json="{}"),
        stop(),
        start({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}, 1),
        stop(1),
        start(TEXT, 2),
        delta("text_delta", 2, text="x"),
        stop(2),
    )
    assert found == [Opened("text"), Added("x"), Closed()]


def test_a_later_block_waits_for_the_open_one() -> None:
    """Servers that run two calls at a time are read one after the other."""
    found = blocks(
        start(tool("a")),
        start(tool("b"), 1),
        delta("input_json_delta", 1, partial_json='{"b":'),
        delta("input_json_delta", 0, partial_json="{}"),
        start(tool("c"), 2),
        delta("input_json_delta", 1, partial_json="1}"),
        stop(1),
        stop(0),
        delta("input_json_delta", 2, partial_json="[]"),
        stop(2),
        reason="tool_use",
    )
    assert found == [
        Opened("tool", id="a", name="f"),
        Added("{}"),
        Closed(),
        Opened("tool", id="b", name="f"),
        Added('{"b":'),
        Added("1}"),
        Closed(),
        Opened("tool", id="c", name="f"),
        Added("[]"),
        Closed(),
    ]


def test_a_block_that_never_ends_ends_with_the_message() -> None:
    """Or with another of its number."""
    found = blocks(start(TEXT), delta("text_delta", text="a"), start(tool()))
    assert found == [
        Opened("text"),
        Added("a"),
        Closed(),
        Opened("tool", id="t1", name="f"),
        Added("{}"),
        Closed(),
    ]
    assert blocks(start(TEXT), delta("text_delta", text="a"), start(TEXT, 1)) == [
        Opened("text"),
        Added("a"),
        Closed(),
        Opened("text"),
        Closed(),
    ]


def test_a_block_that_never_began() -> None:
    """Its deltas say what it is; a call without its name cannot be guessed."""
    found = blocks(
        delta("thinking_delta", thinking="hm"),
        stop(),
        delta("text_delta", 1, text="a"),
        stop(1),
        delta("input_json_delta", 2, partial_json="{}"),
        stop(2),
    )
    assert found == [Opened("thinking"), Added("hm"), Closed(), Opened("text"), Added("a"), Closed()]


def test_a_message_that_never_began() -> None:
    """There is one beginning all the same; a second one is none."""
    assert read(start(TEXT), began(), stop(), STOP) == [
        Began(),
        Opened("text"),
        Closed(),
        Finished("stop"),
    ]
    assert read(*end())[0] == Began()


def test_loose_events() -> None:
    """No index is the open block, no type is the event's name, and what is no event is nothing."""
    reader = ReplyReader(FACTS)
    said = [
        b": comment\n\n",
        b"data: nonsense\n\n",
        b'data: {"type": "unheard_of"}\n\n',
        b'event: message_start\r\ndata: {"message": {"usage": {"input_tokens": "many"}}}\r\n\r\n',
        event("messages", start(TEXT, 5)),
        b'data: {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "a"}}\n\n',
        b'data: {"type": "content_block_delta", "index": 5, "delta": {"type": "x", "text": null}}\n\n',
        b'data: {"type": "content_block_delta", "index": 5, "delta": null}\n\n',
        b'data: {"type": "content_block_stop", "index": 9}\n\n',
        b'data: {"type": "content_block_stop"}\n\n',
    ]
    found = [one for single in said for one in reader.feed(single)]
    assert found == [Began(), Opened("text"), Added("a"), Closed()]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "context_length"),
        ("pause_turn", "pause"),
        ("refusal", "content_filter"),
        ("tool_use", "stop"),
        ("unheard_of", "stop"),
        (None, "stop"),
    ],
)
def test_why_it_ended(reason: str, expected: str) -> None:
    """An unknown reason, or calls where there were none, is an end like any other."""
    last = read(began(), *end(reason))[-1]
    assert isinstance(last, Finished)
    assert last.reason == expected


def test_more_of_the_end() -> None:
    """The sequence that was met, what a refusal says, and the tier."""
    assert read(began(), *end("stop_sequence", stop_sequence="X"))[-1] == Finished(
        "stop_sequence", sequence="X"
    )
    details = {"type": "refusal", "category": "bio", "explanation": "No."}
    assert read(began(), *end("refusal", stop_details=details))[-1] == Finished(
        "content_filter", explanation="No."
    )
    first = began()
    first["message"]["usage"]["service_tier"] = "priority"
    assert read(first, start(tool()), stop(), *end("end_turn"))[-1] == Finished("tool_use", tier="priority")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (
            b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Busy"}}\n\n',
            Said("Busy", kind="overloaded_error"),
        ),
        (b'data: {"error": {"message": "bad"}}\n\n', Said("bad")),
        (b"event: error\ndata: broken\n\n", Said("The provider reported an error.")),
    ],
)
def test_an_error_in_a_stream(raw: bytes, said: Said) -> None:
    """Whatever form it has; nothing is missing after it."""
    reader = ReplyReader(FACTS)
    assert reader.feed(raw) == [Failed(said)]
    assert reader.finish() == []


def test_a_stream_that_was_cut() -> None:
    """Only its own end marker makes it whole."""
    reader = ReplyReader(FACTS)
    for value in (began(), *end()[:1]):
        reader.feed(event("messages", value))
    assert not reader.ended
    with pytest.raises(Fault) as caught:
        reader.finish()
    assert caught.value.kind is FaultKind.TRUNCATED


def test_a_whole_reply_is_the_same_events() -> None:
    """Collected they cannot differ from a stream's."""
    web = {"type": "web_search_result_location", "url": "https://a", "title": None}
    message = {
        "type": "message",
        "model": "claude",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "redacted_thinking", "data": "xyz"},
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": 1}},
            {"type": "text", "text": "Hello", "citations": [web]},
            tool(a=1),
            tool("t2"),
            5,
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": COUNT,
    }
    assert ReplyReader(FACTS).whole(json.dumps(message).encode()) == [
        Began("claude", Usage(9, 1)),
        Opened("thinking"),
        Added("hm"),
        Closed(seal("sig")),
        Opened("thinking"),
        Closed(seal("xyz"), redacted=True),
        Opened("text"),
        Added("Hello"),
        Closed(citations=(("https://a", "", 0, 5),)),
        Opened("tool", id="t1", name="f"),
        Added('{"a":1}'),
        Closed(),
        Opened("tool", id="t2", name="f"),
        Added("{}"),
        Closed(),
        Counted(Usage(9, 1)),
        Finished("tool_use"),
    ]


def test_a_whole_reply_may_say_nothing() -> None:
    """A model that has nothing to add ends its turn with no content."""
    assert ReplyReader(FACTS).whole(b'{"content": [], "stop_reason": "end_turn"}') == [
        Began(),
        Finished("stop"),
    ]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>", FaultKind.NOT_JSON),
        (b"[1]", FaultKind.NOT_JSON),
        (b"{}", FaultKind.EMPTY),
        (b'{"content": []}', FaultKind.EMPTY),
        (b'{"content": "x", "stop_reason": "end_turn"}', FaultKind.EMPTY),
        (b'{"type": "error", "error": {"type": "api_error", "message": "bad"}}', FaultKind.ERROR_IN_REPLY),
    ],
)
def test_what_is_no_reply(body: bytes, kind: FaultKind) -> None:
    """Says what it is instead."""
    with pytest.raises(Fault) as caught:
        ReplyReader(FACTS).whole(body)
    assert caught.value.kind is kind
