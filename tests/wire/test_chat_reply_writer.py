import json
from typing import Any

import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from proxy.errors import Refusal
from proxy.wire import seals, sse
from proxy.wire.chat.reply_writer import ChatReplyWriter
from proxy.wire.chat.voice import DONE, ChatVoice
from proxy.wire.codec import Stamp
from proxy.wire.conversation import Conversation, Seal
from proxy.wire.events import Added, Began, Closed, Collector, Counted, Event, Finished, Opened
from proxy.wire.model import Dialect, Usage

STAMP = Stamp("0" * 24, 1_700_000_000)
SEAL = Seal(Dialect.MESSAGES, "claude", "sig")
HI: list[Event] = [Began("m"), Opened("text"), Added("Hi"), Closed()]
STOP = Finished("stop")
USAGE = Usage(9, 5, 4, 3, 2)
COUNTED = {
    "prompt_tokens": 9,
    "completion_tokens": 5,
    "total_tokens": 14,
    "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": 4, "cache_write_tokens": 2},
    "completion_tokens_details": {
        "accepted_prediction_tokens": 0,
        "audio_tokens": 0,
        "reasoning_tokens": 3,
        "rejected_prediction_tokens": 0,
    },
}


def writer(**echo: Any) -> ChatReplyWriter:
    """For a request of which a reply repeats this."""
    return ChatReplyWriter(Conversation(dialect=Dialect.CHAT, turns=(), echo=echo), STAMP)


def streamed(*events: Event, **echo: Any) -> list[Any]:
    """The chunks of these events, decoded; the end marker as a word."""
    found = [sse.data_of(event) or b"" for event in sse.events(writer(**echo).write(events))]
    return [data.decode() if data == b"[DONE]" else json.loads(data) for data in found]


def deltas(*events: Event, **echo: Any) -> list[Any]:
    """The deltas of these events, without the first."""
    chunks = streamed(*events, **echo)[1:]
    return [chunk["choices"][0]["delta"] for chunk in chunks if chunk != "[DONE]"]


def whole(*events: Event, **echo: Any) -> dict[str, Any]:
    """The body of these events."""
    collector = Collector()
    for event in events:
        collector.take(event)
    body: dict[str, Any] = json.loads(writer(**echo).whole(collector))
    return body


def message(*events: Event, **echo: Any) -> dict[str, Any]:
    """The message of these events."""
    found: dict[str, Any] = whole(*events, **echo)["choices"][0]["message"]
    return found


def test_a_stream() -> None:
    """Every chunk has all keys that clients look for, and the same id, time and model."""
    head = {
        "id": f"chatcmpl-{STAMP.token}",
        "object": "chat.completion.chunk",
        "created": STAMP.created,
        "model": "m",
    }

    def chunk(delta: object, reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return {**head, "choices": [choice]}

    assert streamed(*HI, Counted(USAGE), STOP) == [
        chunk({"role": "assistant", "content": "", "refusal": None}),
        chunk({"content": "Hi"}),
        chunk({}, "stop"),
        "[DONE]",
    ]


def test_usage_where_it_is_asked_for() -> None:
    """In a chunk of its own at the end; null in all others."""
    *others, usage, done = streamed(*HI, Counted(USAGE), STOP, include_usage=True)
    assert [chunk["usage"] for chunk in others] == [None] * 3
    assert (usage["choices"], usage["usage"], done) == ([], COUNTED, "[DONE]")
    assert streamed(Began("m", USAGE), STOP, include_usage=True)[-2]["usage"] == COUNTED
    assert streamed(*HI, STOP, include_usage=True)[-2]["choices"]


def test_a_whole_reply() -> None:
    """All keys that the schema demands; the service tier and usage where they are known."""
    assert whole(*HI, Counted(USAGE), Finished("length", tier="flex")) == {
        "id": f"chatcmpl-{STAMP.token}",
        "object": "chat.completion",
        "created": STAMP.created,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi", "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "length",
            }
        ],
        "usage": COUNTED,
        "service_tier": "flex",
    }
    assert whole(*HI, STOP).keys().isdisjoint({"usage", "service_tier"})


def test_a_model_without_a_name_of_its_own() -> None:
    """It is called what the client calls it."""
    assert whole(Began(), STOP, model="alias")["model"] == "alias"
    assert streamed(Began(), model="alias")[0]["model"] == "alias"


CALLS: list[Event] = [
    Opened("tool", "a", "f"),
    Added('{"x"'),
    Added(":1}"),
    Closed(),
    Opened("tool", "", "now"),
    Closed(),
    Opened("tool", "c", "g", custom=True),
    Added("raw"),
    Closed(),
]


def test_calls_in_a_stream() -> None:
    """Id and name come once; an id that is missing is made; no arguments are an empty object."""

    def begun(index: int, name: str, called: str) -> dict[str, Any]:
        function = {"name": called, "arguments": ""}
        return {"tool_calls": [{"index": index, "id": name, "type": "function", "function": function}]}

    def piece(index: int, text: str) -> dict[str, Any]:
        return {"tool_calls": [{"index": index, "function": {"arguments": text}}]}

    custom = {"index": 2, "id": "c", "type": "custom", "custom": {"name": "g", "input": ""}}
    assert deltas(*HI, *CALLS) == [
        {"content": "Hi"},
        begun(0, "a", "f"),
        piece(0, '{"x"'),
        piece(0, ":1}"),
        begun(1, f"call_{STAMP.token}1", "now"),
        piece(1, "{}"),
        {"tool_calls": [custom]},
        {"tool_calls": [{"index": 2, "custom": {"input": "raw"}}]},
    ]


def test_calls_of_a_whole_reply() -> None:
    """There is no content beside them unless something was said."""
    found = message(Began("m"), *CALLS, Finished("tool_use"))
    assert found["content"] is None
    assert found["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {
            "id": f"call_{STAMP.token}1",
            "type": "function",
            "function": {"name": "now", "arguments": "{}"},
        },
        {"id": "c", "type": "custom", "custom": {"name": "g", "input": "raw"}},
    ]
    assert message(*HI, *CALLS, Finished("tool_use"))["content"] == "Hi"
    assert message(Began("m"), STOP)["content"] == ""


def test_the_old_form_of_calls() -> None:
    """Who declared functions is answered so; there is room for one call."""
    events = [Began("m"), *CALLS[:6], Finished("tool_use")]
    assert deltas(*events[:-1], legacy=True) == [
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": '{"x"'}},
        {"function_call": {"arguments": ":1}"}},
    ]
    assert streamed(*events, legacy=True)[-2]["choices"][0]["finish_reason"] == "function_call"
    choice = whole(*events, legacy=True)["choices"][0]
    assert choice["message"]["function_call"] == {"name": "f", "arguments": '{"x":1}'}
    assert choice["finish_reason"] == "function_call"
    assert "tool_calls" not in choice["message"]


def test_thinking_and_its_seal() -> None:
    """The text while it comes, then the whole block with what makes it good to replay."""
    thought: list[Event] = [Opened("thinking"), Added("h"), Added("m"), Closed(SEAL)]
    hidden: list[Event] = [Opened("thinking"), Closed(SEAL, redacted=True)]
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": seals.pack(SEAL)},
        {"type": "redacted_thinking", "data": seals.pack(SEAL)},
    ]
    assert deltas(Began("m"), *thought, *hidden) == [
        {"reasoning_content": "h"},
        {"reasoning_content": "m"},
        {"thinking_blocks": [{"index": 0, **blocks[0]}]},
        {"thinking_blocks": [{"index": 1, **blocks[1]}]},
    ]
    found = message(Began("m"), *thought, *hidden, STOP)
    assert (found["reasoning_content"], found["thinking_blocks"]) == ("hm", blocks)


def test_thinking_without_a_seal() -> None:
    """It is shown, and that is all."""
    thought: list[Event] = [Began("m"), Opened("thinking"), Added("hm"), Closed()]
    assert deltas(*thought) == [{"reasoning_content": "hm"}]
    assert "thinking_blocks" not in message(*thought, STOP)
    assert "reasoning_content" not in message(*HI, STOP)


def test_refusals() -> None:
    """The model's own words, or the provider's where the model said nothing."""
    declined: list[Event] = [Began("m"), Opened("declined"), Added("No."), Closed()]
    assert deltas(*declined) == [{"refusal": "No."}]
    found = message(*declined, STOP)
    assert (found["content"], found["refusal"]) == (None, "No.")
    filtered = Finished("content_filter", explanation="Not allowed.")
    assert deltas(Began("m"), filtered)[0] == {"refusal": "Not allowed."}
    assert message(Began("m"), filtered)["refusal"] == "Not allowed."
    assert message(*HI, filtered)["refusal"] is None
    assert streamed(*HI, filtered)[-2]["choices"][0] == {
        "index": 0,
        "delta": {},
        "logprobs": None,
        "finish_reason": "content_filter",
    }


def test_citations_count_from_the_start_of_all_text() -> None:
    """A chat message has one content, whatever blocks it was made of."""
    cited: list[Event] = [*HI, Opened("text"), Added("there"), Closed(citations=(("u", "t", 1, 5),))]
    cite = {
        "type": "url_citation",
        "url_citation": {"url": "u", "title": "t", "start_index": 3, "end_index": 7},
    }
    assert deltas(*cited)[-1] == {"annotations": [{"index": 0, **cite}]}
    assert message(*cited, STOP)["annotations"] == [cite]


def test_the_official_sdk_adds_a_stream_up() -> None:
    """Several seals and citations, each once and in order."""
    cited = (("u", "t", 0, 1), ("v", "t", 1, 2))
    events: list[Event] = [
        Began("m"),
        *(Opened("thinking"), Added("h"), Closed(SEAL)),
        *(Opened("text"), Added("Hi"), Closed(citations=cited)),
        *(Opened("thinking"), Closed(SEAL, redacted=True)),
        *(Opened("text"), Added("there"), Closed(citations=cited[:1])),
        STOP,
    ]
    state = ChatCompletionStreamState()
    for chunk in streamed(*events)[:-1]:
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
    added: Any = state.get_final_completion().choices[0].message.to_dict()
    expected = message(*events)
    assert (added["content"], added["reasoning_content"]) == ("Hithere", "h")
    for name in ("thinking_blocks", "annotations"):
        assert added[name] == [{"index": place, **entry} for place, entry in enumerate(expected[name])]
    assert [cite["url_citation"]["start_index"] for cite in added["annotations"]] == [0, 1, 2]


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("stop", "stop"),
        ("stop_sequence", "stop"),
        ("pause", "stop"),
        ("length", "length"),
        ("context_length", "length"),
        ("tool_use", "tool_calls"),
        ("content_filter", "content_filter"),
    ],
)
def test_reasons(reason: Any, said: str) -> None:
    """All that the schema does not know are said in its words."""
    assert whole(*HI, Finished(reason))["choices"][0]["finish_reason"] == said


def test_text_is_escaped() -> None:
    """Whatever was said is one line of JSON."""
    assert deltas(Began("m"), Opened("text"), Added('"\n\\ü')) == [{"content": '"\n\\ü'}]


def test_events_go_out_in_any_portions() -> None:
    """One at a time or all at once: the same bytes."""
    events = [*HI, *CALLS, Finished("tool_use")]
    single = writer()
    assert b"".join(single.write([event]) for event in events) == writer().write(events)


def test_a_broken_stream() -> None:
    """It ends with its error and the end marker; nothing is stored of any reply."""
    refusal = Refusal(502, "bad")
    assert writer().broken(refusal) == b"data: " + ChatVoice().refusal(refusal) + b"\n\n" + DONE
    assert writer().kept is None
