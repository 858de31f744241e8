import json

import pytest

from mockprovider.behaviour import Complaint
from mockprovider.errors import anthropic_body, anthropic_fault, encoded, openai_body, openai_fault, refusal


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


@pytest.mark.parametrize(
    ("shape", "status", "wanted"),
    [
        ("anthropic", 400, {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}),
        ("openai", 400, {"error": {"message": "no", "type": "invalid_request_error", "code": None}}),
        ("deepseek", 400, {"error": {"message": "no", "type": "invalid_request_error", "code": None}}),
        ("vllm", 400, {"object": "error", "message": "no", "type": "BadRequestError", "code": 400}),
        ("vllm", 503, {"object": "error", "message": "no", "type": "server_error", "code": 503}),
        ("dashscope", 400, {"error": {"message": "no", "type": "invalid_request_error", "code": None}}),
        ("dashscope", 429, {"code": "rate_limit_exceeded", "message": "no"}),
        ("dashscope", 500, {"code": "server_error", "message": "no"}),
    ],
)
def test_makers_have_their_own_shapes(shape: str, status: int, wanted: dict[str, object]) -> None:
    """The same refusal in each; some name the request."""
    told = json.loads(refusal(shape, status, Complaint(message="no"), "req_1"))
    assert told.pop("request_id", "") == ("req_1" if shape in ("anthropic", "dashscope") else "")
    for body in (told, told.get("error", {})):
        body.pop("param", None)
    assert told == wanted
