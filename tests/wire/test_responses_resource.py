import json
from typing import Any

import pytest
from schemas.validation import problems

from proxy.errors import Refusal
from proxy.wire import sse
from proxy.wire.codec import Stamp
from proxy.wire.model import Usage
from proxy.wire.responses.resource import (
    echo,
    failed,
    failed_event,
    failure_code,
    lifecycle_event,
    response,
    usage_object,
)

STAMP = Stamp("ab" * 12, 1_700_000_000)


def plain(**body: Any) -> dict[str, Any]:
    """A response that has just begun, for this request."""
    return response(echo({"model": "m", **body}), STAMP, "in_progress")


def test_every_required_key_is_there() -> None:
    """Every required key is there."""
    assert (
        problems("responses", "reply", response(echo({}), STAMP, "completed", usage=usage_object(Usage())))
        == []
    )


def test_the_id_is_made_of_the_token() -> None:
    """The id is made of the token."""
    assert plain()["id"] == "resp_" + "ab" * 12


def test_what_was_not_said_has_the_defaults() -> None:
    """What was not said has the defaults."""
    said = plain()
    assert (said["temperature"], said["top_p"], said["top_logprobs"]) == (1.0, 1.0, 0)
    assert (said["store"], said["background"], said["previous_response_id"]) == (True, False, None)
    assert said["text"] == {"format": {"type": "text"}}
    assert said["reasoning"] == {"effort": None, "summary": None}
    assert (said["tool_choice"], said["metadata"], said["service_tier"]) == ("auto", {}, "default")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0.2),
        ("store", False),
        ("background", True),
        ("previous_response_id", "resp_1"),
        ("metadata", {"a": "b"}),
        ("instructions", "Be brief."),
        ("max_output_tokens", 99),
        ("max_tool_calls", 3),
        ("tool_choice", {"type": "function", "name": "f"}),
        ("safety_identifier", "ann"),
        ("service_tier", "flex"),
        ("user", "ann"),
        ("truncation", "auto"),
    ],
)
def test_what_was_said_is_repeated(name: str, value: Any) -> None:
    """What was said is repeated."""
    assert plain(**{name: value})[name] == value


def test_null_is_nothing_said() -> None:
    """Null is nothing said."""
    assert plain(temperature=None, text=None, reasoning=None, tools=None)["temperature"] == 1.0


def test_the_tier_auto_is_not_one_that_anybody_is_served_in() -> None:
    """The tier auto is not one that anybody is served in."""
    assert plain(service_tier="auto")["service_tier"] == "default"


def test_functions_have_all_their_keys() -> None:
    """Functions have all their keys."""
    tools = [{"type": "function", "name": "f"}, {"type": "custom", "name": "c"}]
    assert plain(tools=tools)["tools"] == [
        {"type": "function", "name": "f", "description": None, "parameters": None, "strict": None},
        {"type": "custom", "name": "c"},
    ]


def test_text_and_reasoning_keep_what_was_said_and_gain_what_is_required() -> None:
    """Text and reasoning keep what was said and gain what is required."""
    said = plain(
        text={"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": {}}},
        reasoning={"effort": "high", "mode": None},
    )
    assert said["text"] == {
        "verbosity": "low",
        "format": {"type": "json_schema", "name": "n", "schema": {}, "description": None, "strict": False},
    }
    assert said["reasoning"] == {"effort": "high", "summary": None}


def test_usage_has_both_details() -> None:
    """Usage has both details."""
    assert usage_object(Usage(input=10, output=5, cached=4, reasoning=3, written=2)) == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 15,
    }


@pytest.mark.parametrize(
    ("code", "told"), [("invalid_prompt", "invalid_prompt"), ("upstream_error", "server_error")]
)
def test_a_failed_response_says_why_with_a_code_of_the_closed_set(code: str, told: str) -> None:
    """A failed response says why with a code of the closed set."""
    said = failed({**plain(), "incomplete_details": {"reason": "x"}}, code, "Broken.")
    assert (said["status"], said["error"]) == ("failed", {"code": told, "message": "Broken."})
    assert said["incomplete_details"] is None
    assert problems("responses", "reply", said) == []


def test_lifecycle_events_carry_the_response() -> None:
    """Lifecycle events carry the response."""
    event = lifecycle_event("response.queued", plain(), 4)
    said = json.loads(sse.data_of(event) or b"")
    assert (sse.name_of(event), said["sequence_number"]) == (b"response.queued", 4)
    assert said["response"]["id"].startswith("resp_")
    assert sse.name_of(failed_event(plain(), 0)) == b"response.failed"


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (Refusal(400, "x", code="invalid_image"), "invalid_image"),
        (Refusal(429, "x"), "rate_limit_exceeded"),
        (Refusal(400, "x", code="other"), "invalid_prompt"),
        (Refusal(504, "x", code="upstream_timeout"), "server_error"),
    ],
)
def test_what_ended_a_reply_in_the_words_of_the_schema(refusal: Refusal, code: str) -> None:
    """What ended a reply in the words of the schema."""
    assert failure_code(refusal) == code
