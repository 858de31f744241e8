import json

import pytest

from proxy.errors import Refusal
from proxy.wire import sse
from proxy.wire.messages.voice import MessagesVoice
from proxy.wire.model import Dialect

VOICE = MessagesVoice()


def told(refusal: Refusal) -> dict[str, object]:
    """The error object of a body."""
    body = json.loads(VOICE.refusal(refusal, "req_1"))
    assert (body["type"], body["request_id"]) == ("error", "req_1")
    error: dict[str, object] = body["error"]
    return error


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (405, "invalid_request_error"),
        (408, "timeout_error"),
        (409, "conflict_error"),
        (413, "request_too_large"),
        (422, "invalid_request_error"),
        (429, "rate_limit_error"),
        (499, "invalid_request_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
def test_the_type_follows_from_the_status(status: int, kind: str) -> None:
    """Whatever OpenAI would call it."""
    assert told(Refusal(status, "bad", kind="server_error")) == {"type": kind, "message": "bad"}


def test_a_provider_of_this_dialect_is_believed() -> None:
    """Its own type passes with a 400, and what else it says of the error."""
    refusal = Refusal(400, "no", kind="billing_error", extra={"details": {"error_code": "x"}, "message": "y"})
    assert told(refusal) == {"type": "billing_error", "message": "no", "details": {"error_code": "x"}}


def test_an_empty_account_is_no_rate_limit() -> None:
    """Waiting would not help."""
    assert told(Refusal(429, "no", code="insufficient_quota"))["type"] == "billing_error"


def test_without_an_id_there_is_null() -> None:
    """The key is required."""
    assert json.loads(VOICE.refusal(Refusal(400, "bad")))["request_id"] is None


OPENAI = "This model's maximum context length is 4096 tokens. However, "
SHARED = OPENAI + "you requested {} tokens ({} in the messages, 1000 in the completion)."
BOTH = "input length and `max_tokens` exceed context limit: 4000 + 1000 > 4096, "
VAGUE = "Your input exceeds the context window of this model."


@pytest.mark.parametrize(
    ("said", "told_of"),
    [
        (
            f"{OPENAI}your messages resulted in 5,123 tokens.",
            "prompt is too long: 5123 tokens > 4096 maximum",
        ),
        (SHARED.format(5000, 4000), f"{BOTH}decrease input length or `max_tokens` and try again"),
        (SHARED.format(6000, 5000), "prompt is too long: 6000 tokens > 4096 maximum"),
        (VAGUE, f"prompt is too long: {VAGUE}"),
        ("prompt is too long: 5 tokens > 4 maximum", "prompt is too long: 5 tokens > 4 maximum"),
        ("'a' is wrong", "'a' is wrong"),
    ],
)
def test_agents_know_a_prompt_that_is_too_long(said: str, told_of: str) -> None:
    """They look for these words to shorten it."""
    assert told(Refusal(400, said))["message"] == told_of


def test_the_code_says_so_too() -> None:
    """Where the words do not."""
    refusal = Refusal(400, "Too much.", code="context_length_exceeded")
    assert told(refusal)["message"] == "prompt is too long: Too much."


def test_other_statuses_keep_their_words() -> None:
    """Only a 400 is about the prompt."""
    assert told(Refusal(502, "context window"))["message"] == "context window"


def test_a_broken_stream_ends_with_its_error() -> None:
    """One named event, the last."""
    refusal = Refusal(502, "bad")
    (event,) = sse.events(VOICE.broken(refusal, "req_1"))
    assert sse.name_of(event) == b"error"
    assert sse.data_of(event) == VOICE.refusal(refusal, "req_1")


def test_a_ping_is_an_event() -> None:
    """Clients of this dialect know it."""
    (event,) = sse.events(VOICE.ping)
    assert (sse.name_of(event), sse.data_of(event)) == (b"ping", b'{"type":"ping"}')
    assert VOICE.dialect is Dialect.MESSAGES
