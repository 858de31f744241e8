import json
from typing import Any

import pytest
from fakes.translations import STAMP, events
from schemas.validation import problems, stream_problems

from proxy.errors import Refusal
from proxy.wire import seals
from proxy.wire.conversation import Conversation, Seal
from proxy.wire.events import Added, Began, Closed, Collector, Counted, Event, Finished, Opened, Reason
from proxy.wire.messages.reply_writer import UNSIGNED, ReplyWriter
from proxy.wire.messages.voice import MessagesVoice
from proxy.wire.model import Dialect, Usage

Json = dict[str, Any]
CONVERSATION = Conversation(dialect=Dialect.MESSAGES, turns=(), echo={"model": "assistant"})
SEAL = Seal(Dialect.RESPONSES, "gpt-5", "{}")
USAGE = Usage(input=9, output=4, cached=2)
END: list[Event] = [Counted(USAGE), Finished("stop")]


def streamed(*said: Event) -> list[Json]:
    """The events of a stream, which are valid."""
    raw = ReplyWriter(CONVERSATION, STAMP).write(said)
    assert stream_problems("messages", raw) == []
    return events(raw)


def collected(*said: Event) -> Json:
    """The whole message, which is valid."""
    collector = Collector()
    for event in said:
        collector.take(event)
    message: Json = json.loads(ReplyWriter(CONVERSATION, STAMP).whole(collector))
    assert problems("messages", "reply", message) == []
    return message


def block(*said: Event) -> tuple[list[Json], list[Json]]:
    """The events between the first and the last two, and the blocks of the whole."""
    whole: list[Event] = [Began("m"), *said, *END]
    return streamed(*whole)[1:-2], collected(*whole)["content"]


def test_a_stream() -> None:
    """Named events, one block at a time, all keys."""
    first, start, one, two, stop, delta, last = streamed(
        Began("gpt"), Opened("text"), Added("Hel"), Added("lo\n"), Closed(), *END
    )
    message = first["message"]
    assert message["id"] == f"msg_{STAMP.token}"
    assert (message["model"], message["content"]) == ("gpt", [])
    assert message["usage"]["input_tokens"] == STAMP.prompt_tokens
    assert message["usage"]["output_tokens"] == 1
    assert start["content_block"] == {"type": "text", "text": "", "citations": None}
    assert [one["delta"]["text"], two["delta"]["text"]] == ["Hel", "lo\n"]
    assert {value["index"] for value in (start, one, two, stop)} == {0}
    assert delta["delta"]["stop_reason"] == "end_turn"
    assert delta["usage"] == {
        "input_tokens": 7,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 2,
        "output_tokens": 4,
        "output_tokens_details": {"thinking_tokens": 0},
        "server_tool_use": None,
    }
    assert last == {"type": "message_stop"}


def test_a_whole_reply() -> None:
    """Says the same."""
    message = collected(
        Began(), Opened("text"), Added("Hi"), Closed(), *END[:1], Finished("stop", tier="default")
    )
    assert message["model"] == "assistant"
    assert message["content"] == [{"type": "text", "text": "Hi", "citations": None}]
    assert (message["stop_reason"], message["stop_sequence"], message["container"]) == (
        "end_turn",
        None,
        None,
    )
    assert message["usage"]["service_tier"] == "standard"
    assert (message["usage"]["input_tokens"], message["usage"]["cache_read_input_tokens"]) == (7, 2)


def test_what_is_known_of_usage_at_the_beginning() -> None:
    """Goes before the estimate."""
    first = streamed(Began("m", Usage(input=50, output=3)), *END)[0]
    assert (first["message"]["usage"]["input_tokens"], first["message"]["usage"]["output_tokens"]) == (50, 3)


def test_what_nobody_counted_is_estimated() -> None:
    """Counts are never null."""
    said: list[Event] = [Began(), Opened("text"), Added("x" * 40), Closed(), Finished("stop")]
    for usage in (streamed(*said)[-2]["usage"], collected(*said)["usage"]):
        assert (usage["input_tokens"], usage["output_tokens"]) == (STAMP.prompt_tokens, 10)


def test_a_signature_stands_last_in_its_block() -> None:
    """Packed, so that it comes back as it was."""
    told, whole = block(Opened("thinking"), Added("hm"), Closed(SEAL))
    assert [value["type"] for value in told] == [
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
    ]
    assert told[0]["content_block"] == {"type": "thinking", "thinking": "", "signature": ""}
    assert told[1]["delta"] == {"type": "thinking_delta", "thinking": "hm"}
    assert told[2]["delta"] == {"type": "signature_delta", "signature": seals.pack(SEAL)}
    assert whole == [{"type": "thinking", "thinking": "hm", "signature": seals.pack(SEAL)}]
    assert seals.unpack(whole[0]["signature"]) == SEAL


def test_thinking_that_nobody_signed_is_known_as_such() -> None:
    """By a seal that fits no model."""
    told, whole = block(Opened("thinking"), Added("hm"), Closed())
    assert told[2]["delta"]["signature"] == whole[0]["signature"] == seals.pack(UNSIGNED)


def test_thinking_that_is_only_a_seal() -> None:
    """Is a block without text; redacted it is one of its own; without a seal it is none."""
    told, whole = block(Opened("thinking"), Closed(SEAL))
    assert whole == [{"type": "thinking", "thinking": "", "signature": seals.pack(SEAL)}]
    assert [value["type"] for value in told] == [
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
    ]
    told, whole = block(Opened("thinking"), Closed(SEAL, redacted=True))
    assert whole == [told[0]["content_block"]] == [{"type": "redacted_thinking", "data": seals.pack(SEAL)}]
    assert block(Opened("thinking"), Closed()) == ([], [])


def test_empty_blocks_are_none() -> None:
    """An empty text would be refused when it is repeated; the next block takes its number."""
    told, whole = block(Opened("text"), Added(""), Closed(), Opened("text"), Added("a"), Closed())
    assert [value["index"] for value in told] == [0, 0, 0]
    assert [part["text"] for part in whole] == ["a"]
    assert block(Opened("text"), Closed()) == ([], [])


def test_calls() -> None:
    """Begun at once, with empty input, whatever comes of it."""
    said: list[Event] = [
        Opened("tool", id="call_1", name="f"),
        Added('{"a":'),
        Added("1}"),
        Closed(),
        Opened("tool", id="call_2", name="g"),
        Closed(),
    ]
    told, whole = block(*said)
    assert told[0]["content_block"] == {
        "type": "tool_use",
        "id": "call_1",
        "name": "f",
        "input": {},
        "caller": {"type": "direct"},
    }
    assert [value["delta"]["partial_json"] for value in told[1:3]] == ['{"a":', "1}"]
    assert [value["type"] for value in told[4:]] == ["content_block_start", "content_block_stop"]
    assert [(part["id"], part["input"]) for part in whole] == [("call_1", {"a": 1}), ("call_2", {})]


def test_ids_of_calls_are_legal_and_distinct() -> None:
    """They are repeated to whoever goes on."""
    said = [Opened("tool", id=name, name="f") for name in ("", "a", "a", "functions.f:0")]
    told, whole = block(*(event for opened in said for event in (opened, Closed())))
    ids = [part["id"] for part in whole]
    assert ids == [value["content_block"]["id"] for value in told[::2]]
    assert ids[:2] == [f"toolu_{STAMP.token}0", "a"]
    assert len(set(ids)) == 4
    assert all(name.replace("_", "").isalnum() for name in ids)


def test_citations_are_of_what_was_said() -> None:
    """With the words that are cited."""
    told, whole = block(
        Opened("text"), Added("See "), Added("this."), Closed(citations=(("https://a", "", 4, 8),))
    )
    citation = {
        "type": "web_search_result_location",
        "url": "https://a",
        "title": None,
        "cited_text": "this",
        "encrypted_index": "",
    }
    assert told[3]["delta"] == {"type": "citations_delta", "citation": citation}
    assert whole[0]["citations"] == [citation]


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("context_length", "model_context_window_exceeded"),
        ("content_filter", "refusal"),
        ("pause", "pause_turn"),
        ("tool_use", "end_turn"),
    ],
)
def test_why_it_ended(reason: Reason, said: str) -> None:
    """Calls only where there are some."""
    assert streamed(Began(), Finished(reason))[-2]["delta"]["stop_reason"] == said
    assert collected(Began(), Finished(reason))["stop_reason"] == said


def test_calls_are_a_reason() -> None:
    """Unless there is a better one."""
    call: list[Event] = [Began(), Opened("tool", id="a", name="f"), Closed()]
    assert collected(*call, Finished("stop"))["stop_reason"] == "tool_use"
    assert collected(*call, Finished("length"))["stop_reason"] == "max_tokens"


def test_the_sequence_that_ended_it() -> None:
    """Is said with its reason."""
    delta = streamed(Began(), Finished("stop_sequence", sequence="X"))[-2]["delta"]
    assert (delta["stop_reason"], delta["stop_sequence"]) == ("stop_sequence", "X")


def test_a_refusal() -> None:
    """The assistant's own words are text; what the provider explains stands apart."""
    said: list[Event] = [Began(), Opened("declined"), Added("I will not."), Closed(), *END]
    assert collected(*said)["stop_reason"] == streamed(*said)[-2]["delta"]["stop_reason"] == "refusal"
    assert collected(*said)["content"][0]["text"] == "I will not."
    details = collected(Began(), Finished("content_filter", explanation="No."))["stop_details"]
    assert details == {"type": "refusal", "category": None, "explanation": "No."}


def test_a_stream_that_broke() -> None:
    """Ends with an error event; nothing is to be stored in any case."""
    refusal = Refusal(502, "bad")
    writer = ReplyWriter(CONVERSATION, STAMP)
    assert writer.broken(refusal) == MessagesVoice().broken(refusal)
    assert writer.kept is None
