"""What a provider's error says, in any of the shapes they use.

Source: OpenAI's and Anthropic's API references for errors, and the looser forms that compatible servers
send (vLLM's unwrapped error, DashScope's `{code, message}`).
"""

from typing import Any

import msgspec

from proxy.errors import Said

_any = msgspec.json.Decoder()


def said(body: bytes) -> Said | None:
    """What an error body says, in any of the shapes providers use; None where it is not an error.

    `{"error": {...}}`, `{"error": "text"}`, `{"message": ..., "code": ...}` without a wrapper.
    """
    try:
        value = _any.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None
    if not isinstance(value, dict):
        return None
    error = value.get("error")
    if isinstance(error, str) and error:
        return Said(error, code=_word(value.get("code")))
    if isinstance(error, dict):
        return _said(error)
    if "choices" not in value and "data" not in value and isinstance(value.get("message"), str):
        return _said(value)
    return None


def reported(data: bytes) -> Said:
    """What an event says that is an error by its name, whatever its data is."""
    return said(data) or Said("The provider reported an error.")


def _said(error: dict[str, Any]) -> Said:
    known = ("message", "type", "code", "param", "object", "request_id")
    return Said(
        message=_word(error.get("message")) or "The provider reported an error without a message.",
        kind=_word(error.get("type")),
        code=_word(error.get("code")),
        param=_word(error.get("param")),
        extra={name: value for name, value in error.items() if name not in known} or None,
    )


def _word(value: object) -> str | None:
    if value is None or value == "" or isinstance(value, bool | dict | list):
        return None
    return str(value)
