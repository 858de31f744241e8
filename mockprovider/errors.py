"""How a provider words its refusals: the two shapes of error bodies, and what goes with each status.

Rule: the OpenAI shape has all four keys, the Anthropic shape names the request, and some makers of chat
endpoints have their own. All are as SDKs parse them, so a proxy that reads an error by type or code is tested
against the true words.
"""

from dataclasses import dataclass

import msgspec

from mockprovider.behaviour import Complaint


@dataclass(frozen=True, slots=True)
class Fault:
    """One refusal: an HTTP status and what is said."""

    status: int
    message: str
    type: str
    code: str | None = None
    param: str | None = None


_OPENAI = {
    400: ("Your request is invalid.", "invalid_request_error", None),
    401: ("Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
    402: ("You exceeded your current quota.", "insufficient_quota", "insufficient_quota"),
    403: ("You are not allowed to use this model.", "invalid_request_error", "model_not_allowed"),
    404: (
        "The model does not exist or you do not have access to it.",
        "invalid_request_error",
        "model_not_found",
    ),
    405: ("Method not allowed.", "invalid_request_error", None),
    408: ("Request timed out.", "server_error", "timeout"),
    413: ("The request is too large.", "invalid_request_error", "request_too_large"),
    429: ("Rate limit reached for requests.", "rate_limit_error", "rate_limit_exceeded"),
    503: ("The engine is currently overloaded, please try again later.", "server_error", "overloaded"),
}
_OPENAI_OTHER = ("The server had an error while processing your request.", "server_error", None)
_ANTHROPIC = {
    400: ("invalid_request_error", "Your request is invalid."),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your credit balance is too low to access the API."),
    403: ("permission_error", "Your API key does not have permission to use the specified resource."),
    404: ("not_found_error", "The requested resource could not be found."),
    405: ("invalid_request_error", "Method not allowed."),
    413: ("request_too_large", "Request exceeds the maximum allowed number of bytes."),
    429: ("rate_limit_error", "This request would exceed your rate limit."),
    504: ("timeout_error", "Request timed out."),
    529: ("overloaded_error", "Overloaded"),
}
_ANTHROPIC_OTHER = ("api_error", "Internal server error")


def openai_fault(status: int, said: Complaint, param: str | None = None) -> Fault:
    """The refusal that goes with a status at OpenAI, with the words of `said` where it has any."""
    message, kind, code = _OPENAI.get(status, _OPENAI_OTHER)
    if status >= 500:
        kind = "server_error"
    elif status not in _OPENAI:
        kind = "invalid_request_error"
    return Fault(status, said.message or message, said.type or kind, said.code or code, param)


def anthropic_fault(status: int, said: Complaint) -> Fault:
    """The refusal that goes with a status at Anthropic, with the words of `said` where it has any."""
    other = _ANTHROPIC_OTHER if status >= 500 else _ANTHROPIC[400]
    kind, message = _ANTHROPIC.get(status, other)
    return Fault(status, said.message or message, said.type or kind, said.code)


def openai_body(fault: Fault) -> dict[str, object]:
    """`{"error": {...}}` with all four keys."""
    return {"error": {"message": fault.message, "type": fault.type, "param": fault.param, "code": fault.code}}


def anthropic_body(fault: Fault, request_id: str) -> dict[str, object]:
    """`{"type": "error", "error": {...}, "request_id": ...}`."""
    error: dict[str, object] = {"type": fault.type, "message": fault.message}
    if fault.code is not None:
        error["details"] = {"error_code": fault.code}
    return {"type": "error", "error": error, "request_id": request_id}


def refusal(shape: str, status: int, said: Complaint, request_id: str, param: str | None = None) -> bytes:
    """The body of an error; `shape` is `anthropic` or a flavour, most of which are alike."""
    if shape == "anthropic":
        return encoded(anthropic_body(anthropic_fault(status, said), request_id))
    fault = openai_fault(status, said, param)
    if shape == "vllm":
        return encoded(_vllm_body(fault))
    if shape == "dashscope":
        return encoded(_dashscope_body(fault, request_id))
    return encoded(openai_body(fault))


def _vllm_body(fault: Fault) -> dict[str, object]:
    """Not wrapped, with the status as its code."""
    kind = "BadRequestError" if fault.status == 400 else fault.type
    told = {"message": fault.message, "type": kind, "param": fault.param, "code": fault.status}
    return {"object": "error", **told}


def _dashscope_body(fault: Fault, request_id: str) -> dict[str, object]:
    """OpenAI's from the endpoint, and a flat one from the gateway before it."""
    if fault.status == 429 or fault.status >= 500:
        return {"code": fault.code or fault.type, "message": fault.message, "request_id": request_id}
    return {**openai_body(fault), "request_id": request_id}


def encoded(body: dict[str, object]) -> bytes:
    """A body as JSON bytes."""
    return msgspec.json.encode(body)
