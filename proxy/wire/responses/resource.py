"""The response object: every key that the published schemas require, with the defaults of what was not said.

Source: OpenAI's OpenAPI description and the Open Responses schema (`ResponseResource`), which wants all of
them present. A response repeats most of its request; that part is made once (`echo`).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from proxy.errors import Refusal
from proxy.wire.codec import Stamp
from proxy.wire.conversation import Json
from proxy.wire.envelope import encode
from proxy.wire.model import Usage

_DEFAULTS: Final[Mapping[str, object]] = MappingProxyType(
    {
        "previous_response_id": None,
        "instructions": None,
        "tool_choice": "auto",
        "truncation": "disabled",
        "parallel_tool_calls": True,
        "top_p": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "top_logprobs": 0,
        "temperature": 1.0,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "store": True,
        "background": False,
        "service_tier": "default",
        "safety_identifier": None,
        "prompt_cache_key": None,
    }
)
_REPEATED: Final = ("user", "prompt_cache_retention", "prompt_cache_options")
"""What is repeated where it was said, and left out where it was not."""

CODES: Final = frozenset(
    {
        "server_error",
        "rate_limit_exceeded",
        "invalid_prompt",
        "data_residency_mismatch",
        "bio_policy",
        "vector_store_timeout",
        "invalid_image",
        "invalid_image_format",
        "invalid_base64_image",
        "invalid_image_url",
        "image_too_large",
        "image_too_small",
        "image_parse_error",
        "image_content_policy_violation",
        "invalid_image_mode",
        "image_file_too_large",
        "unsupported_image_media_type",
        "empty_image_file",
        "failed_to_download_image",
        "image_file_not_found",
    }
)
"""The codes of a response's `error`, a closed set."""


def echo(body: Json) -> Json:
    """What every response to this request repeats of it, `model` included. The body has been checked."""
    said = {key: body[key] for key in _DEFAULTS if body.get(key) is not None}
    if said.get("service_tier") == "auto":
        del said["service_tier"]
    return {
        "model": body.get("model", ""),
        **_DEFAULTS,
        **said,
        "tools": [_tool(tool) for tool in body.get("tools") or ()],
        "text": _text(body.get("text") or {}),
        "reasoning": {"effort": None, "summary": None, **_without_null(body.get("reasoning") or {})},
        "metadata": body.get("metadata") or {},
        **{key: body[key] for key in _REPEATED if body.get(key) is not None},
    }


def _without_null(obj: Json) -> Json:
    return {key: value for key, value in obj.items() if value is not None}


def _tool(tool: Json) -> Json:
    if tool.get("type") != "function":
        return tool
    return {"description": None, "parameters": None, "strict": None, **tool}


def _text(text: Json) -> Json:
    said = _without_null(text)
    form = said.get("format") or {"type": "text"}
    if form.get("type") == "json_schema":
        form = {"description": None, **form, "strict": bool(form.get("strict"))}
    return {**said, "format": form}


def response(echoed: Json, stamp: Stamp, status: str, **changed: object) -> Json:
    """A response object. `changed` are the members that differ from those of one that has just begun."""
    return {
        "id": response_id(stamp),
        "object": "response",
        "created_at": stamp.created,
        "completed_at": None,
        "status": status,
        "incomplete_details": None,
        "error": None,
        "output": [],
        "usage": None,
        **echoed,
        **changed,
    }


def response_id(stamp: Stamp) -> str:
    """The id by which the client knows the response."""
    return f"resp_{stamp.token}"


def usage_object(usage: Usage) -> Json:
    """Token counts; both objects of details are always there."""
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.written},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }


def failed(response: Json, code: str, message: str) -> Json:
    """The response as it is once it has failed. A code that the schema does not know is a `server_error`."""
    return {
        **response,
        "status": "failed",
        "completed_at": None,
        "incomplete_details": None,
        "error": {"code": code if code in CODES else "server_error", "message": message},
    }


def failed_event(response: Json, sequence: int) -> bytes:
    """The event `response.failed` with a response that has failed."""
    return lifecycle_event("response.failed", response, sequence)


def lifecycle_event(kind: str, response: Json, sequence: int) -> bytes:
    """An event that carries the whole response: `response.created`, `response.completed`, ..."""
    data = encode({"type": kind, "sequence_number": sequence, "response": response})
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


def failure_code(refusal: Refusal) -> str:
    """Which of the schema's error codes says best why a reply ended."""
    if refusal.code in CODES:
        return refusal.code or ""
    if refusal.status == 429:
        return "rate_limit_exceeded"
    return "invalid_prompt" if refusal.status == 400 else "server_error"
