import json

import pytest

from mockprovider.behaviour import Complaint
from mockprovider.errors import anthropic_body, anthropic_fault, encoded, openai_body, openai_fault


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, "invalid_request_error", None),
        (401, "invalid_request_error", "invalid_api_key"),
        (422, "invalid_request_error", None),
        (429, "rate_limit_error", "rate_limit_exceeded"),
        (500, "server_error", None),
        (503, "server_error", "overloaded"),
        (599, "server_error", None),
    ],
)
def test_openai_words_follow_the_status(status: int, kind: str, code: str | None) -> None:
    """Type and code are those that OpenAI's SDK maps."""
    fault = openai_fault(status, Complaint())
    assert (fault.type, fault.code) == (kind, code)
    assert openai_body(fault)["error"] == {
        "message": fault.message,
        "type": kind,
        "param": None,
        "code": code,
    }


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, "authentication_error"),
        (418, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (529, "overloaded_error"),
    ],
)
def test_anthropic_words_follow_the_status(status: int, kind: str) -> None:
    """The type is the one that Anthropic's SDK maps."""
    assert anthropic_fault(status, Complaint()).type == kind


def test_a_complaint_replaces_the_words() -> None:
    """What a script says goes before what the status would."""
    said = Complaint(message="prompt is too long: 9 tokens > 8 maximum", type="t", code="c")
    assert openai_fault(400, said, "messages").param == "messages"
    told = json.loads(encoded(anthropic_body(anthropic_fault(400, said), "req_1")))
    assert told == {
        "type": "error",
        "error": {"type": "t", "message": said.message, "details": {"error_code": "c"}},
        "request_id": "req_1",
    }
