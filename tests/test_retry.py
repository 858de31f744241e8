import datetime as dt
import email.utils

import pytest

from proxy import retry
from proxy.errors import TRANSPORT, Fault, FaultKind, Said
from proxy.health import Effect
from proxy.retry import LONGEST, RetryBudget
from proxy.wire.responses.resource import CODES

WALL = 1_800_000_000.0


def status(number: int, said: Said | None = None, after: float | None = None) -> Fault:
    """A reply with this status."""
    return Fault(
        FaultKind.STATUS,
        f"it answered with status {number}",
        status=number,
        said=said,
        retry_after=after,
    )


def broken(kind: FaultKind) -> Fault:
    """A fault of any other kind."""
    return Fault(kind, "it broke")


def inside(said: Said | None = None) -> Fault:
    """An error inside a 200."""
    return Fault(FaultKind.ERROR_IN_REPLY, "it was an error inside a 200", status=200, said=said)


FAILURES = [500, 501, 502, 504, 520, 599, 204, 302]
CALLERS = [400, 405, 406, 410, 412, 413, 415, 422, 451]


@pytest.mark.parametrize(
    ("number", "effect", "move_on", "same", "origin", "overload"),
    [
        *((number, Effect.FAILURE, True, True, True, False) for number in FAILURES),
        *((number, Effect.NEUTRAL, False, False, False, False) for number in CALLERS),
        (401, Effect.QUARANTINE_KEY, True, False, False, False),
        (402, Effect.QUARANTINE_KEY, True, False, False, False),
        (403, Effect.QUARANTINE_MODEL, True, False, False, False),
        (404, Effect.NEUTRAL, True, False, False, False),
        (408, Effect.FAILURE, True, True, False, False),
        (409, Effect.NEUTRAL, True, True, False, False),
        (429, Effect.BACK_OFF, True, False, False, True),
        (503, Effect.FAILURE, True, True, True, True),
        (529, Effect.BACK_OFF, True, False, False, True),
    ],
)
def test_what_a_status_means(
    number: int, effect: Effect, move_on: bool, same: bool, origin: bool, overload: bool
) -> None:
    """Each status: its effect on health, whether others are tried, the same again, the origin demoted.

    And whether the target has too much to do.
    """
    assert retry.judge(status(number)) == retry.Verdict(effect, move_on, same, origin, overload)


@pytest.mark.parametrize(
    ("kind", "effect", "move_on", "same", "origin", "overload"),
    [
        *((kind, Effect.FAILURE, True, True, True, False) for kind in sorted(TRANSPORT)),
        (FaultKind.FIRST_TOKEN_TIMEOUT, Effect.FAILURE, True, True, False, True),
        (FaultKind.IDLE_TIMEOUT, Effect.FAILURE, True, True, False, False),
        (FaultKind.TOTAL_TIMEOUT, Effect.FAILURE, False, False, False, False),
        (FaultKind.OUT_OF_TIME, Effect.NEUTRAL, False, False, False, False),
        (FaultKind.ERROR_IN_REPLY, Effect.FAILURE, True, True, True, False),
        (FaultKind.EMPTY, Effect.FAILURE, True, True, False, False),
        (FaultKind.NOT_JSON, Effect.FAILURE, True, True, False, False),
        (FaultKind.TRUNCATED, Effect.FAILURE, True, True, False, False),
        (FaultKind.TOO_LARGE, Effect.NEUTRAL, False, False, False, False),
        (FaultKind.SLOW_CLIENT, Effect.NEUTRAL, False, False, False, False),
    ],
)
def test_what_a_fault_means(
    kind: FaultKind, effect: Effect, move_on: bool, same: bool, origin: bool, overload: bool
) -> None:
    """Each kind of fault but a status, in the same columns."""
    assert retry.judge(broken(kind)) == retry.Verdict(effect, move_on, same, origin, overload)


OF_PROVIDERS = {"server_error": 500, "vector_store_timeout": 500, "rate_limit_exceeded": 429}


@pytest.mark.parametrize(
    ("said", "number"),
    [
        *((Said("x", code=code), OF_PROVIDERS.get(code, 400)) for code in sorted(CODES)),
        (Said("x", code="context_length_exceeded"), 400),
        (Said("x", kind="invalid_request_error"), 400),
        (Said("x", kind="authentication_error"), 401),
        (Said("x", kind="invalid_request_error", code="invalid_api_key"), 401),
        (Said("x", kind="billing_error"), 402),
        (Said("x", kind="permission_error"), 403),
        (Said("x", kind="not_found_error"), 404),
        (Said("x", kind="conflict_error"), 409),
        (Said("x", kind="request_too_large"), 413),
        (Said("x", kind="rate_limit_error"), 429),
        (Said("x", kind="tokens", code="rate_limit_exceeded"), 429),
        (Said("x", code="insufficient_quota"), 429),
        (Said("x", code="server_is_overloaded"), 503),
        (Said("x", kind="server_error", code="overloaded"), 503),
        (Said("x", kind="overloaded_error"), 529),
        (Said("x", kind="api_error"), 500),
        (Said("x", kind="timeout_error"), 500),
        (Said("x", kind="BadRequestError", code="400"), 400),
        (Said("x", code="429"), 429),
        (Said("x", kind="overloaded_error", code="502"), 502),
        (Said("x", code="200"), 500),
        (Said("x", code="1302"), 500),
        (Said("x", code="cancelled"), 500),
        (Said("x"), 500),
        (None, 500),
    ],
)
def test_an_error_inside_a_200_counts_as_its_status(said: Said | None, number: int) -> None:
    """By its code, then by its type: what it does to the target, and what the caller is told."""
    fault, told = inside(said), status(number, said)
    assert retry.judge(fault) == retry.judge(told)
    assert retry.server_error(fault) is retry.server_error(told)
    mine, theirs = retry.refuse(fault), retry.refuse(told)
    assert (mine.status, mine.kind, mine.code) == (theirs.status, theirs.kind, theirs.code)
    assert (mine.retry_after, mine.should_retry) == (theirs.retry_after, theirs.should_retry)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (inside(Said("No.", kind="invalid_request_error")), "upstream_error"),
        (inside(Said("No.", kind="overloaded_error")), "upstream_error"),
        (inside(Said("No.", code="rate_limit_exceeded")), "upstream_error"),
        (broken(FaultKind.RESET), "upstream_error"),
        (broken(FaultKind.IDLE_TIMEOUT), "upstream_timeout"),
        (inside(Said("No.", kind="authentication_error")), "upstream_error"),
        (inside(Said("No.", code="insufficient_quota")), "upstream_credentials"),
    ],
)
def test_what_had_begun_is_told_as_broken(fault: Fault, code: str) -> None:
    """Whoever was given content is not told that it was refused."""
    assert retry.refuse_late(fault).code == code


def test_input_that_a_moderator_flagged_is_its_callers_fault() -> None:
    """OpenRouter's 403 inside a 200 says nothing of a key or a model, before content or after it."""
    flagged = inside(Said("Your input was flagged.", code="403"))
    assert retry.judge(flagged) == retry.Verdict(Effect.NEUTRAL, move_on=False)
    assert retry.refuse(flagged).status == 400


@pytest.mark.parametrize("words", ["authentication_error", "permission_error"])
def test_credentials_that_were_good_for_content_are_not_held_back(words: str) -> None:
    """What is said of them in the midst of a stream is a failure like others; that nothing is left is not."""
    assert retry.judge(inside(Said("No.", kind=words)), begun=True).effect is Effect.FAILURE
    spent = retry.judge(inside(Said("No.", code="insufficient_quota")), begun=True)
    assert spent.effect is Effect.QUARANTINE_KEY


def test_the_longest_life_of_a_stream_is_nobodys_fault() -> None:
    """After content no other bound is on all of it. A stream that stalls is its provider's fault."""
    ended = retry.judge(broken(FaultKind.TOTAL_TIMEOUT), begun=True)
    assert ended == retry.Verdict(Effect.NEUTRAL, move_on=False)
    assert retry.judge(broken(FaultKind.IDLE_TIMEOUT), begun=True).effect is Effect.FAILURE


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (status(500), True),
        (status(599), True),
        (status(503), True),
        (status(499), False),
        (status(302), False),
        (broken(FaultKind.RESET), False),
    ],
)
def test_server_errors(fault: Fault, found: bool) -> None:
    """A 5xx is what a request itself may have caused; nothing else is."""
    assert retry.server_error(fault) is found


@pytest.mark.parametrize(
    "said",
    [
        Said("x", code="insufficient_quota"),
        Said("x", kind="insufficient_quota"),
        Said("x", kind="billing_error"),
    ],
)
def test_spent_money_is_the_keys(said: Said) -> None:
    """A 429 of an account without credit does not go away in a second, and has nothing to do with load."""
    verdict = retry.judge(status(429, said))
    assert (verdict.effect, verdict.overload) == (Effect.QUARANTINE_KEY, False)


@pytest.mark.parametrize(
    ("faults", "told"),
    [
        ([503], 0),
        ([503, 404], 0),
        ([503, 401, 403, 402], 0),
        ([500, 429], 1),
        ([429, 500], 1),
        ([400, 404], 0),
        ([404, 401], 1),
        ([401, 404], 1),
        ([404, 404], 1),
    ],
)
def test_which_fault_is_told(faults: list[int], told: int) -> None:
    """The last that is not about our own configuration, or else simply the last."""
    made = [status(number) for number in faults]
    assert retry.telling(made) is made[told]


def test_a_wrong_model_inside_a_200_is_not_told() -> None:
    """It is about our own configuration as well."""
    made = [status(503), inside(Said("x", kind="not_found_error"))]
    assert retry.telling(made) is made[0]


@pytest.mark.parametrize(
    ("fault", "number", "kind", "code", "after", "again"),
    [
        (status(400), 400, "invalid_request_error", None, None, None),
        (status(429), 429, "rate_limit_error", "rate_limit_exceeded", 1.0, None),
        (status(429, after=7.0), 429, "rate_limit_error", "rate_limit_exceeded", 7.0, None),
        (status(529), 503, "server_error", "overloaded", 1.0, None),
        (status(503, after=3.0), 503, "server_error", "overloaded", 3.0, None),
        (status(401), 502, "server_error", "upstream_credentials", None, False),
        (status(403), 502, "server_error", "upstream_credentials", None, False),
        (
            status(503, Said("x", code="insufficient_quota")),
            502,
            "server_error",
            "upstream_credentials",
            None,
            False,
        ),
        (status(404), 502, "server_error", "upstream_error", None, False),
        (status(500), 502, "server_error", "upstream_error", None, None),
        (status(409), 502, "server_error", "upstream_error", None, None),
        (broken(FaultKind.RESET), 502, "server_error", "upstream_error", None, None),
        (broken(FaultKind.TOO_LARGE), 502, "server_error", "upstream_error", None, None),
        (broken(FaultKind.CONNECT_TIMEOUT), 504, "server_error", "upstream_timeout", None, None),
        (broken(FaultKind.IDLE_TIMEOUT), 504, "server_error", "upstream_timeout", None, None),
        (broken(FaultKind.TOTAL_TIMEOUT), 504, "server_error", "upstream_timeout", None, None),
    ],
)
def test_what_a_caller_is_told(
    fault: Fault, number: int, kind: str, code: str | None, after: float | None, again: bool | None
) -> None:
    """Status, type, code, when to come back, and whether to come back at all."""
    refusal = retry.refuse(fault)
    assert (refusal.status, refusal.kind, refusal.code) == (number, kind, code)
    assert (refusal.retry_after, refusal.should_retry) == (after, again)


def test_the_callers_own_fault_is_passed_on() -> None:
    """A 400 keeps the provider's words, type, code, parameter and further members."""
    said = Said("Too long.", kind="t", code="c", param="p", extra={"more": 1})
    refusal = retry.refuse(status(400, said))
    assert (refusal.message, refusal.kind, refusal.code, refusal.param) == ("Too long.", "t", "c", "p")
    assert refusal.extra == {"more": 1}
    assert retry.refuse(status(422, Said("No."))).kind == "invalid_request_error"


@pytest.mark.parametrize("number", [429, 503, 500])
def test_others_faults_quote_the_provider(number: int) -> None:
    """What the provider said is told behind our own words."""
    assert retry.refuse(status(number, Said("Too busy."))).message.endswith(": Too busy.")


def test_the_budget_allows_a_share() -> None:
    """Ten at once, then one for every five requests."""
    budget = RetryBudget(0.2)
    assert sum(budget.withdraw() for _ in range(20)) == 10
    for _ in range(1_000):
        budget.deposit()
    assert sum(budget.withdraw() for _ in range(20)) == 10
    allowed = 0
    for _ in range(1_000):
        budget.deposit()
        allowed += budget.withdraw()
    assert 190 <= allowed <= 200


def test_a_budget_of_nothing_allows_nothing() -> None:
    """Not even at the start, nor after a reload that takes it away."""
    budget = RetryBudget(0.0)
    budget.deposit()
    assert not budget.withdraw()
    budget.ratio = 0.2
    assert budget.withdraw()
    budget.ratio = 0.0
    assert not budget.withdraw()


def date(seconds: float) -> str:
    """An HTTP date so many seconds from now."""
    return email.utils.formatdate(WALL + seconds, usegmt=True)


def moment(seconds: float, hours: int = 0) -> str:
    """An RFC 3339 time so many seconds from now, as it is written so far east."""
    zone = dt.timezone(dt.timedelta(hours=hours))
    return dt.datetime.fromtimestamp(WALL + seconds, zone).isoformat()


def anthropic(what: str, remaining: int, reset: str) -> dict[str, str]:
    """What Anthropic says of one of its limits."""
    name = f"anthropic-ratelimit-{what}"
    return {f"{name}-remaining": str(remaining), f"{name}-reset": reset}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": date(30)}, 30.0),
        ({"retry-after": date(-30)}, None),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "0"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "99999"}, 99_999.0),
        ({"retry-after": "1e300"}, LONGEST),
        ({"retry-after-ms": "1e308"}, LONGEST),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m1.5s"}, 61.5),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "120ms"}, 0.12),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "12"}, 12.0),
        ({"x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "12"}, None),
        ({"x-ratelimit-remaining-tokens": "0"}, None),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "soon"}, None),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "2s",
            },
            2.0,
        ),
        (anthropic("requests", 0, moment(12.5)), 12.5),
        (anthropic("tokens", 0, moment(12)), 12.0),
        (anthropic("input-tokens", 0, moment(12).replace("+00:00", "Z")), 12.0),
        (anthropic("output-tokens", 0, moment(12, hours=2)), 12.0),
        (anthropic("tokens", 0, moment(12)) | anthropic("requests", 0, moment(30)), 30.0),
        (anthropic("tokens", 0, moment(12)) | anthropic("requests", 5, moment(30)), 12.0),
        (anthropic("tokens", 0, moment(-3)), None),
        (anthropic("tokens", 0, "soon"), None),
        (anthropic("tokens", 0, "0001-01-01"), None),
        ({"anthropic-ratelimit-tokens-remaining": "0"}, None),
        (anthropic("tokens", 0, moment(12)) | {"retry-after": "3"}, 3.0),
    ],
)
def test_hint(headers: dict[str, str], seconds: float | None) -> None:
    """How long a provider asks to be left alone, in all the ways it may say so."""
    assert retry.hint(headers, WALL) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("said", "unopened"),
    [
        (Said("No.", code="invalid_encrypted_content"), True),
        (Said("The encrypted content gAAA... could not be verified."), True),
        (Said("No.", code="invalid_value"), False),
        (None, False),
    ],
)
def test_seals_that_cannot_be_opened(said: Said | None, unopened: bool) -> None:
    """By the code, or by the words where there is none."""
    fault = Fault(FaultKind.STATUS, "it answered with status 400", status=400, said=said)
    assert retry.unopened(fault) is unopened
