"""What a fault means: for the request (try on, or tell the caller) and for the target's health.

One table for all statuses, one for all other faults; an error inside a 200 counts as the status that it would
have had. Sources: OpenAI's and Anthropic's error pages for what a status means there; RFC 9110 for the rest.
Whatever the request itself caused goes back to the caller as it is; whatever another target may do better
moves on.
"""

import dataclasses
import datetime as dt
import email.utils
import math
import re
from collections.abc import Mapping, Sequence

from proxy.errors import TIMEOUTS, TRANSPORT, Fault, FaultKind, Refusal
from proxy.health import Effect
from proxy.wire.responses.resource import CODES


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from a fault.

    `move_on` says whether another target may be tried, `same` whether the same one may be as a last
    resort, `whole_origin` whether the other targets of its origin go to the end of the plan, `overload`
    whether the target has too much to do.
    """

    effect: Effect
    move_on: bool
    same: bool = False
    whole_origin: bool = False
    overload: bool = False


_FAILED = Verdict(Effect.FAILURE, move_on=True, same=True, whole_origin=True)
_ODD = Verdict(Effect.FAILURE, move_on=True, same=True)
_SLOW = Verdict(Effect.FAILURE, move_on=True, same=True, overload=True)
_BACK_OFF = Verdict(Effect.BACK_OFF, move_on=True, overload=True)
_KEY = Verdict(Effect.QUARANTINE_KEY, move_on=True)
_CALLERS = Verdict(Effect.NEUTRAL, move_on=False)
_STATUS = {
    401: _KEY,
    402: _KEY,
    403: Verdict(Effect.QUARANTINE_MODEL, move_on=True),
    404: Verdict(Effect.NEUTRAL, move_on=True),
    408: _ODD,
    409: Verdict(Effect.NEUTRAL, move_on=True, same=True),
    429: _BACK_OFF,
    503: Verdict(Effect.FAILURE, move_on=True, same=True, whole_origin=True, overload=True),
    529: _BACK_OFF,
}
_OURS = (Effect.QUARANTINE_KEY, Effect.QUARANTINE_MODEL)
_OVERLOADED = frozenset({503, 529})
_UNOPENED = ("invalid_encrypted_content", "The encrypted content ")
_SPENT = frozenset({"insufficient_quota", "billing_error"})
_PROVIDERS = frozenset({"server_error", "rate_limit_exceeded", "vector_store_timeout"})
_WORDS = {
    **dict.fromkeys(CODES - _PROVIDERS, 400),
    "content_filter": 400,
    "content_policy_violation": 400,
    "context_length_exceeded": 400,
    "cyber_policy": 400,
    "invalid_request_error": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "billing_error": 402,
    "permission_error": 403,
    "model_not_found": 404,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "insufficient_quota": 429,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "overloaded": 503,
    "server_is_overloaded": 503,
    "service_unavailable_error": 503,
    "slow_down": 503,
    "overloaded_error": 529,
}
"""With what status providers send these codes and types, where they send one."""

_NUMBER = re.compile(r"[45]\d\d", re.ASCII)
"""A code that is a status: OpenRouter's, vLLM's, Google's."""


_FLAGGED = "403"
"""What OpenRouter says inside a 200 of input that a moderator has flagged: no word on our credentials."""


def meant(fault: Fault) -> int:
    """The status of an answer, or the one that an error inside a 200 stands for; 0 for other faults.

    The code goes before the type, for that is less exact. Words that nobody knows are a 500.
    """
    if fault.kind is not FaultKind.ERROR_IN_REPLY:
        return fault.status if fault.kind is FaultKind.STATUS else 0
    code, kind = (fault.said.code or "", fault.said.kind or "") if fault.said is not None else ("", "")
    if code == _FLAGGED:
        return 400
    return _WORDS.get(code) or (int(code) if _NUMBER.fullmatch(code) else _WORDS.get(kind, 500))


def judge(fault: Fault, *, begun: bool = False) -> Verdict:
    """What follows from `fault`. `begun`: content had gone out.

    Then all the time there is ends at `max_stream` alone, and it was the operator who had enough; and what is
    said of credentials that were good for content is a failure like others.
    """
    if fault.said is not None and (fault.said.code in _SPENT or fault.said.kind in _SPENT):
        return _KEY
    status = meant(fault)
    if status:
        verdict = _STATUS.get(status) or (_CALLERS if 400 <= status < 500 else _FAILED)
        return _FAILED if begun and verdict.effect in _OURS else verdict
    if fault.kind is FaultKind.FIRST_TOKEN_TIMEOUT:
        return _SLOW
    if fault.kind is FaultKind.TOTAL_TIMEOUT:
        return Verdict(Effect.NEUTRAL if begun else Effect.FAILURE, move_on=False)
    if fault.kind in (FaultKind.TOO_LARGE, FaultKind.SLOW_CLIENT, FaultKind.OUT_OF_TIME):
        return Verdict(Effect.NEUTRAL, move_on=False)
    return _FAILED if fault.kind in TRANSPORT else _ODD


def server_error(fault: Fault) -> bool:
    """Whether it is a 5xx, be it inside a 200. What two targets answer so, the request may have caused."""
    return meant(fault) >= 500


def unopened(fault: Fault) -> bool:
    """Whether it is sealed reasoning that could not be opened. Some versions of Azure's API name no code."""
    said = fault.said
    return said is not None and (said.code == _UNOPENED[0] or said.message.startswith(_UNOPENED[1]))


def telling(faults: Sequence[Fault]) -> Fault:
    """The fault that a caller is told of: the last that is about the request or a provider's state.

    Wrong deployments and refused keys say something of our configuration; they speak only if all do.
    """
    for fault in reversed(faults):
        verdict = judge(fault)
        if verdict.effect not in _OURS and meant(fault) != 404:
            return fault
    return faults[-1]


def refuse(fault: Fault) -> Refusal:
    """What the caller is told when `fault` was the last word."""
    if fault.kind in TIMEOUTS:
        return Refusal(
            504,
            f"The provider did not answer in time ({fault.detail}).",
            kind="server_error",
            code="upstream_timeout",
        )
    verdict, status = judge(fault), meant(fault)
    if verdict is _CALLERS:
        return _passed_on(fault, status)
    if verdict.effect in _OURS:
        return credentials_refused()
    if status in _OVERLOADED:
        return Refusal(
            503,
            f"The provider is overloaded{_quoted(fault)}.",
            kind="server_error",
            code="overloaded",
            retry_after=fault.retry_after or 1.0,
        )
    if verdict.effect is Effect.BACK_OFF:
        return _limited(fault)
    return _failed(fault)


def refuse_late(fault: Fault) -> Refusal:
    """What the caller is told when `fault` broke what had begun: that it failed, whatever was meant.

    Who was given content was not refused it, and nobody else can be asked for the rest.
    """
    if fault.kind in TIMEOUTS or judge(fault, begun=True).effect in _OURS:
        return refuse(fault)
    return _failed(fault)


def credentials_refused() -> Refusal:
    """What the caller is told where the proxy's own keys are refused, or out of credit."""
    return Refusal(
        502,
        "The provider did not accept the proxy's own credentials.",
        kind="server_error",
        code="upstream_credentials",
        should_retry=False,
    )


def _passed_on(fault: Fault, status: int) -> Refusal:
    said = fault.said
    if said is None:
        return Refusal(status, f"The provider refused the request with status {status}.")
    return Refusal(
        status,
        said.message,
        kind=said.kind or "invalid_request_error",
        code=said.code,
        param=said.param,
        extra=said.extra,
    )


def _failed(fault: Fault) -> Refusal:
    return Refusal(
        502,
        f"The provider failed: {fault.detail}{_quoted(fault)}.",
        kind="server_error",
        code="upstream_error",
        should_retry=False if meant(fault) == 404 else None,
    )


def _limited(fault: Fault) -> Refusal:
    return Refusal(
        429,
        f"The provider's rate limit is reached{_quoted(fault)}.",
        kind="rate_limit_error",
        code="rate_limit_exceeded",
        retry_after=fault.retry_after or 1.0,
    )


def _quoted(fault: Fault) -> str:
    return f": {fault.said.message.rstrip('.')}" if fault.said is not None else ""


class RetryBudget:
    """How many last-resort retries on the same target are allowed: a share of all requests.

    A bucket of `floor` tokens that each request fills by `ratio` and each retry empties by one, so a
    dead upstream cannot be hit much more often than it is asked for (Finagle's and Envoy's retry budget).
    A ratio of 0 allows none at all.
    """

    def __init__(self, ratio: float, floor: float = 10.0) -> None:
        self.ratio = ratio
        self._cap = self._tokens = floor

    def deposit(self) -> None:
        """A request began."""
        self._tokens = min(self._cap, self._tokens + self.ratio)

    def withdraw(self) -> bool:
        """Take one retry; whether there was one left."""
        if not self.ratio or self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


LONGEST = 1e9
"""The most seconds that a hint can say, some thirty years: what is beyond would overflow as milliseconds."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def hint(headers: Mapping[str, str], wall: float) -> float | None:
    """How long a provider asks to be left alone, in seconds; None where it does not say.

    `retry-after-ms`, then `retry-after` (seconds or an HTTP date, RFC 9110 10.2.3), then the reset of
    the rate-limit dimensions whose `remaining` is 0: OpenAI's are durations, Anthropic's RFC 3339 times.
    Values that are not positive and finite say nothing; `wall` is Unix time for dates.
    """
    found = _number(headers.get("retry-after-ms"))
    if found is not None:
        return _sane(found / 1000)
    after = headers.get("retry-after")
    if after is not None:
        seconds = _number(after)
        return _sane(seconds if seconds is not None else _until(after, wall))
    resets = [
        _duration(headers.get(f"x-ratelimit-reset-{what}"))
        for what in ("requests", "tokens")
        if _number(headers.get(f"x-ratelimit-remaining-{what}")) == 0
    ]
    resets += [
        _moment(headers.get(f"anthropic-ratelimit-{what}-reset"), wall)
        for what in ("requests", "tokens", "input-tokens", "output-tokens")
        if _number(headers.get(f"anthropic-ratelimit-{what}-remaining")) == 0
    ]
    return _sane(max((reset for reset in resets if reset is not None), default=None))


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def _until(date: str, wall: float) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() - wall
    except (ValueError, OverflowError):
        return None


def _moment(text: str | None, wall: float) -> float | None:
    """Seconds until an RFC 3339 time."""
    try:
        return dt.datetime.fromisoformat(text).timestamp() - wall if text is not None else None
    except ValueError:
        return None


def _duration(text: str | None) -> float | None:
    """Seconds of a Go duration such as `6m0s`, `1.5s` or `120ms`, or of a bare number."""
    if text is None:
        return None
    number = _number(text)
    if number is not None:
        return number
    parts = _DURATION.findall(text)
    return sum(float(amount) * _UNIT[unit] for amount, unit in parts) if parts else None


def _sane(seconds: float | None) -> float | None:
    if seconds is None or not math.isfinite(seconds) or seconds <= 0:
        return None
    return min(seconds, LONGEST)
