import json
from typing import Any

import pytest
from fakes.translations import events
from schemas.validation import problems, stream_problems

from proxy.errors import Refusal, Said
from proxy.wire.codec import Stamp
from proxy.wire.conversation import Conversation, Reasoning, Seal
from proxy.wire.events import (
    Added,
    Began,
    Closed,
    Collector,
    Counted,
    Event,
    Failed,
    Finished,
    Opened,
    Reason,
)
from proxy.wire.model import Dialect, Usage
from proxy.wire.responses.reply_writer import ResponsesWriter
from proxy.wire.responses.resource import echo

STAMP = Stamp("ab" * 12, 1_700_000_000, prompt_tokens=9)
ID = "resp_" + "ab" * 12
SEAL = Seal(Dialect.MESSAGES, "claude", "sig")
BROKEN = Refusal(502, "The provider failed.", kind="server_error", code="upstream_error")
REPLY: list[Event] = [
    Began("gpt-x"),
    Opened("thinking"),
    Added("hm"),
    Closed(seal=SEAL),
    Opened("text"),
    Added("Hel"),
    Added("lo"),
    Closed(),
    Opened("tool", id="c1", name="f"),
    Added('{"a":1}'),
    Closed(),
    Counted(Usage(input=3, output=4, cached=2, reasoning=1)),
    Finished("tool_use", tier="flex"),
]


def writer(*, encrypted: bool = False, **body: Any) -> ResponsesWriter:
    """For a request with these fields."""
    return ResponsesWriter(
        Conversation(
            dialect=Dialect.RESPONSES,
            turns=(),
            reasoning=Reasoning(encrypted=encrypted),
            echo=echo({"model": "alias", **body}),
        ),
        STAMP,
    )


def collected(reply: list[Event]) -> Collector:
    """The events added up."""
    found = Collector()
    for event in reply:
        found.take(event)
    return found


def kept(one: ResponsesWriter) -> dict[str, Any]:
    """What is to be stored."""
    assert one.kept is not None
    found: dict[str, Any] = json.loads(one.kept)
    return found


def test_a_stream_keeps_the_grammar() -> None:
    """A stream keeps the grammar."""
    assert stream_problems("responses", writer().write(REPLY)) == []


def test_created_comes_first_and_the_end_marker_last() -> None:
    """Created comes first and the end marker last."""
    heard = events(writer().write(REPLY))
    assert [event["type"] for event in heard[:2]] == ["response.created", "response.in_progress"]
    assert heard[-2]["type"] == "response.completed"
    assert heard[-1] == "[DONE]"


def test_events_are_numbered_from_zero() -> None:
    """Events are numbered from zero."""
    heard = events(writer().write(REPLY))[:-1]
    assert [event["sequence_number"] for event in heard] == list(range(len(heard)))


def test_every_lifecycle_event_names_the_same_response() -> None:
    """Every lifecycle event names the same response."""
    heard = [event["response"] for event in events(writer().write(REPLY))[:-1] if "response" in event]
    assert {response["id"] for response in heard} == {ID}
    assert [response["status"] for response in heard] == ["in_progress", "in_progress", "completed"]


def test_one_at_a_time_or_all_at_once_is_the_same() -> None:
    """One at a time or all at once is the same."""
    slow = writer()
    assert b"".join(slow.write([event]) for event in REPLY) == writer().write(REPLY)


def test_a_whole_reply_is_the_last_event_of_its_stream() -> None:
    """A whole reply is the last event of its stream."""
    one = writer()
    whole = json.loads(one.whole(collected(REPLY)))
    assert whole == events(writer().write(REPLY))[-2]["response"]
    assert problems("responses", "reply", whole) == []


def test_model_tier_and_usage_are_those_of_the_upstream() -> None:
    """Model tier and usage are those of the upstream."""
    whole = json.loads(writer().whole(collected(REPLY)))
    assert (whole["model"], whole["service_tier"], whole["completed_at"]) == ("gpt-x", "flex", STAMP.created)
    assert whole["usage"]["input_tokens_details"]["cached_tokens"] == 2
    assert whole["usage"]["output_tokens_details"]["reasoning_tokens"] == 1
    assert whole["usage"]["total_tokens"] == 7


def test_the_request_is_repeated() -> None:
    """The request is repeated."""
    whole = json.loads(writer(temperature=0.1, store=False).whole(collected(REPLY)))
    assert (whole["temperature"], whole["store"]) == (0.1, False)


def test_an_upstream_without_a_name_is_called_as_the_client_calls_it() -> None:
    """An upstream without a name is called as the client calls it."""
    assert json.loads(writer().whole(collected([Began(), Finished("stop")])))["model"] == "alias"


def test_usage_that_nobody_counted_is_estimated() -> None:
    """Usage that nobody counted is estimated."""
    reply: list[Event] = [Began(), Opened("text"), Added("x" * 9), Closed(), Finished("stop")]
    usage = json.loads(writer().whole(collected(reply)))["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (9, 3)


@pytest.mark.parametrize(
    ("reason", "status", "why"),
    [
        ("stop", "completed", None),
        ("stop_sequence", "completed", None),
        ("tool_use", "completed", None),
        ("pause", "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("context_length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
    ],
)
def test_reasons(reason: Reason, status: str, why: str | None) -> None:
    """What ended the reply is the response's status."""
    raw = writer().write([Began(), Opened("text"), Added("x"), Closed(), Finished(reason)])
    last = events(raw)[-2]
    assert last["type"] == f"response.{status}"
    assert last["response"]["incomplete_details"] == ({"reason": why} if why else None)
    assert last["response"]["output"][0]["status"] == status
    assert stream_problems("responses", raw) == []


def test_a_call_that_the_limit_cut_is_incomplete() -> None:
    """A call that the limit cut is incomplete."""
    reply: list[Event] = [
        Began(),
        Opened("tool", id="c", name="f"),
        Added('{"a'),
        Closed(),
        Finished("length"),
    ]
    assert json.loads(writer().whole(collected(reply)))["output"][0]["status"] == "incomplete"


def test_all_is_kept_and_only_what_was_asked_for_is_shown() -> None:
    """All is kept and only what was asked for is shown."""
    hidden, open_ = writer(), writer(encrypted=True)
    assert "encrypted_content" not in json.loads(hidden.whole(collected(REPLY)))["output"][0]
    assert kept(hidden)["output"][0]["encrypted_content"].startswith("ax1.messages.")
    assert json.loads(open_.whole(collected(REPLY))) == kept(open_)
    streamed = writer()
    assert b"ax1." not in streamed.write(REPLY)
    assert kept(streamed) == kept(hidden)


def test_nothing_is_kept_before_the_end() -> None:
    """Nothing is kept before the end."""
    one = writer()
    one.write(REPLY[:-1])
    assert one.kept is None


def test_a_stream_that_broke_ends_as_a_failed_response_with_what_came() -> None:
    """A stream that broke ends as a failed response with what came."""
    one = writer()
    raw = one.write(REPLY[:7]) + one.broken(BROKEN)
    last = events(raw)[-2]
    assert (last["type"], last["response"]["id"]) == ("response.failed", ID)
    assert last["response"]["error"] == {"code": "server_error", "message": "The provider failed."}
    assert last["response"]["output"][1]["content"][0]["text"] == "Hello"
    assert last["response"]["output"][1]["status"] == "incomplete"
    assert events(raw)[-1] == "[DONE]"
    assert stream_problems("responses", raw) == []
    assert kept(one)["status"] == "failed"


def test_a_stream_that_broke_before_it_began_ends_with_an_error() -> None:
    """A stream that broke before it began ends with an error."""
    one = writer()
    heard = events(one.broken(BROKEN))
    assert [heard[0]["type"], heard[0]["error"]["message"], heard[1]] == [
        "error",
        "The provider failed.",
        "[DONE]",
    ]
    assert one.kept is None


def test_a_failure_is_the_callers_to_tell() -> None:
    """A failure is the callers to tell."""
    from_upstream: list[Event] = [Failed(Said("x"))]
    assert writer().write(from_upstream) == b""


def test_text_is_written_as_it_came() -> None:
    """Text is written as it came."""
    text = 'q"\\\n\u2028é\U0001f600'
    raw = writer().write([Began(), Opened("text"), Added(text)])
    assert events(raw)[-1]["delta"] == text
