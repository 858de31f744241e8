"""How the Messages dialect says errors and keeps a stream alive.

Source: Anthropic's API reference for errors. Clients act on the type, and agents on the words of a prompt
that is too long: they shorten it and try again.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from proxy.errors import Refusal
from proxy.wire.model import Dialect

TYPES: Final[Mapping[int, str]] = MappingProxyType(
    {
        401: "authentication_error",
        402: "billing_error",
        403: "permission_error",
        404: "not_found_error",
        408: "timeout_error",
        409: "conflict_error",
        413: "request_too_large",
        429: "rate_limit_error",
        503: "overloaded_error",
        504: "timeout_error",
        529: "overloaded_error",
    }
)
"""The error type of a status; else a 5xx is an `api_error`, a 4xx an `invalid_request_error`."""

CONTEXT_LENGTH: Final = "context_length_exceeded"

_KNOWN = frozenset({*TYPES.values(), "api_error"})
_TOO_LONG = re.compile(r"maximum context length|context[ _](?:length|window|limit)", re.IGNORECASE)
_ALREADY = re.compile(r"prompt is too long|exceed context limit", re.IGNORECASE)
_NUMBER = r"(\d[\d,]*)"
_LIMIT = re.compile(
    rf"(?:maximum context length|context (?:length|window|limit))\D{{0,40}}?{_NUMBER}", re.IGNORECASE
)
_TAKEN = re.compile(
    rf"(?:resulted in|requested(?: about)?|contains(?: at least)?|has|of) {_NUMBER} (?:input )?tokens",
    re.IGNORECASE,
)
_SHARES = re.compile(
    rf"{_NUMBER} (?:in|of|from) the (?:messages|prompt|text input|input)\D+"
    rf"{_NUMBER} (?:in|of|for) the (?:completion|output)",
    re.IGNORECASE,
)
"""How compatible servers count: the bound, the prompt, and both shares of what was asked for."""

_encode = msgspec.json.Encoder().encode


class MessagesVoice:
    """See `codec.Voice`."""

    dialect = Dialect.MESSAGES
    ping = b'event: ping\ndata: {"type":"ping"}\n\n'

    def refusal(self, refusal: Refusal, request_id: str = "") -> bytes:
        """The body of an error answer, with the id that support would ask for."""
        error = {"type": _type(refusal), "message": _message(refusal)}
        return _encode(
            {"type": "error", "error": {**(refusal.extra or {}), **error}, "request_id": request_id or None}
        )

    def broken(self, refusal: Refusal, request_id: str = "") -> bytes:
        """The error event that ends a stream."""
        return b"event: error\ndata: " + self.refusal(refusal, request_id) + b"\n\n"


def _type(refusal: Refusal) -> str:
    if refusal.code == "insufficient_quota":
        return "billing_error"
    if refusal.status == 400 and refusal.kind in _KNOWN:
        return refusal.kind
    named = TYPES.get(refusal.status)
    if named is not None:
        return named
    return "api_error" if refusal.status >= 500 else "invalid_request_error"


def _message(refusal: Refusal) -> str:
    """The words of the error; of a prompt that is too long in the form that agents look for."""
    said = refusal.message
    if refusal.status != 400 or _ALREADY.search(said):
        return said
    if refusal.code != CONTEXT_LENGTH and _TOO_LONG.search(said) is None:
        return said
    limit, shares, taken = (_numbers(form, said) for form in (_LIMIT, _SHARES, _TAKEN))
    if limit and shares and shares[0] < limit[0]:
        return (
            f"input length and `max_tokens` exceed context limit: {shares[0]} + {shares[1]} > {limit[0]}, "
            "decrease input length or `max_tokens` and try again"
        )
    if limit and taken:
        return f"prompt is too long: {taken[0]} tokens > {limit[0]} maximum"
    return f"prompt is too long: {said}"


def _numbers(form: re.Pattern[str], said: str) -> list[int]:
    found = form.search(said)
    return [int(number.replace(",", "")) for number in found.groups()] if found else []
