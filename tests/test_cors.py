import pytest

from proxy.config.settings import Cors
from proxy.cors import CorsPolicy

PAGE = b"https://app.example"


def policy(*origins: str) -> CorsPolicy:
    """A policy for these pages."""
    return CorsPolicy(Cors(origins=origins, max_age=60))


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        (["https://app.example"], PAGE, PAGE),
        (["https://app.example"], b"https://other.example", None),
        (["https://app.example"], None, None),
        (["*"], PAGE, b"*"),
        (["*"], None, None),
    ],
)
def test_who_may_call(origins: list[str], origin: bytes | None, allowed: bytes | None) -> None:
    """Configured pages are named in the answer, others get no allowing header, preflight or not."""
    for headers in (policy(*origins).headers(origin), policy(*origins).preflight(origin)):
        assert dict(headers).get(b"access-control-allow-origin") == allowed


def test_answers_for_one_page_are_not_anothers() -> None:
    """A cache must not hand one page's answer to another, not even a refusal of the preflight."""
    assert (b"vary", b"origin") in policy("https://app.example").headers(PAGE)
    assert policy("https://app.example").preflight(b"https://other.example") == [(b"vary", b"origin")]
    assert (b"vary", b"origin") not in policy("*").headers(PAGE)


def test_a_preflight_names_everything() -> None:
    """Methods, request headers and how long to remember it."""
    headers = dict(policy("*").preflight(PAGE))
    assert b"POST" in headers[b"access-control-allow-methods"]
    assert headers[b"access-control-max-age"] == b"60"
    for name in (b"authorization", b"x-api-key", b"content-type", b"x-stainless-retry-count"):
        assert name in headers[b"access-control-allow-headers"].split(b", ")


def test_our_headers_can_be_read() -> None:
    """A page may read the headers that every answer carries."""
    exposed = dict(policy("*").headers(PAGE))[b"access-control-expose-headers"].split(b", ")
    for vendor in (b"x-ratelimit-limit-%b", b"anthropic-ratelimit-%b-limit", b"anthropic-ratelimit-%b-reset"):
        assert {vendor % b"requests", vendor % b"tokens"} <= set(exposed)
    assert {b"x-apex-store", b"x-apex-warnings"} <= set(exposed)
    assert {b"x-request-id", b"x-apex-target", b"x-apex-attempts", b"retry-after", b"x-should-retry"} <= set(
        exposed
    )


def test_pages_that_may_call_may_open_sockets() -> None:
    """And no others: nobody asks before."""
    assert policy("*").admits(PAGE)
    assert policy("https://app.example").admits(PAGE)
    assert not policy("https://app.example").admits(b"https://other.example")
