"""Tests of `proxy.tracing`: ids in, ids out, as W3C Trace Context has them."""

import random
import re

import pytest
from fakes.configs import config

from metrics.record import Attempt, Span
from proxy import targets
from proxy.targets import Target
from proxy.tracing import Caller, Tracer, caller
from proxy.wire.model import Endpoint

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GIVEN = f"00-{TRACE}-{SPAN}-01"
STATE = ("tracestate", "a=b")
OTHER = ("openai-beta", "x")


def target() -> Target:
    """The one target of a small configuration."""
    return targets.models(config({"a": 1}))["small"].targets[0]


def tracer(sample: float = 1.0, seed: int = 7) -> Tracer:
    """A tracer with its own luck."""
    return Tracer(sample, random.Random(seed))


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (GIVEN, Caller(TRACE, SPAN, sampled=True)),
        (f"00-{TRACE}-{SPAN}-00", Caller(TRACE, SPAN, sampled=False)),
        (f"00-{TRACE}-{SPAN}-02", Caller(TRACE, SPAN, sampled=False)),
        (f"00-{TRACE}-{SPAN}-ff", Caller(TRACE, SPAN, sampled=True)),
        (f"cc-{TRACE}-{SPAN}-01-what-comes", Caller(TRACE, SPAN, sampled=True)),
        (f"cc-{TRACE}-{SPAN}-01", Caller(TRACE, SPAN, sampled=True)),
        (f"cc-{TRACE}-{SPAN}-01what", None),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (GIVEN.upper(), None),
        (f"00-{TRACE[1:]}-{SPAN}-01", None),
        (f"{GIVEN}\n", None),
        ("not a trace", None),
        ("", None),
    ],
)
def test_a_callers_trace_is_what_the_standard_writes(given: str, found: Caller | None) -> None:
    """A version that is not known yet may say more, the invalid one is none."""
    assert caller([OTHER, ("traceparent", given)]) == found


def test_two_traces_are_none() -> None:
    """Nobody could say which is meant."""
    assert caller([("traceparent", GIVEN), ("traceparent", GIVEN)]) is None
    assert caller([STATE]) is None


def test_a_request_joins_its_callers_trace() -> None:
    """Below the caller's span, and sampled as the caller has it, whatever the ratio."""
    joined = tracer(sample=0).begin(Caller(TRACE, SPAN, sampled=True))
    assert (joined.trace, joined.parent, joined.sampled) == (TRACE, SPAN, True)
    assert re.fullmatch("[0-9a-f]{16}", joined.id)
    assert joined.id != SPAN
    assert not tracer().begin(Caller(TRACE, SPAN, sampled=False)).sampled


def test_without_a_caller_a_trace_begins() -> None:
    """With ids of its own, that are never zero."""
    draw = tracer()
    spans = [draw.begin(None) for _ in range(100)]
    assert all(re.fullmatch("[0-9a-f]{32}", span.trace) for span in spans)
    assert len({span.trace for span in spans} | {span.id for span in spans}) == 200
    assert {(span.parent, span.sampled) for span in spans} == {("", True)}

    class Unlucky(random.Random):
        def getrandbits(self, k: int, /) -> int:
            return 0 * k

    unlucky = Tracer(1.0, Unlucky()).begin(None)
    assert int(unlucky.trace, 16) == int(unlucky.id, 16) == 1


@pytest.mark.parametrize("sample", [0.0, 0.25, 1.0])
def test_the_ratio_decides_by_the_traces_id(sample: float) -> None:
    """So that whoever goes by the same ratio decides alike; the binomial's deviation is far below 0.03."""
    draw = tracer(sample)
    spans = [draw.begin(None) for _ in range(4000)]
    assert sum(span.sampled for span in spans) / 4000 == pytest.approx(sample, abs=0.03)
    assert all(span.sampled == (int(span.trace[16:], 16) < sample * 2**64) for span in spans)


def test_what_is_made_of_a_request_is_in_its_trace() -> None:
    """A response in the background, and the summary of a conversation."""
    outer = tracer(sample=0).begin(None)
    inner = tracer(seed=8).begin(None, outer)
    assert (inner.trace, inner.parent, inner.sampled) == (outer.trace, "", False)
    assert inner.id != outer.id


def test_an_attempt_goes_upstream_by_its_own_id() -> None:
    """In the caller's trace, with the caller's state; the rest passes as it came."""
    draw, attempt = tracer(), Attempt("a/a-model", "a", 0.0)
    span = draw.begin(Caller(TRACE, SPAN, sampled=True))
    sent = draw.onward(span, attempt, target(), Endpoint.CHAT, (("traceparent", GIVEN), OTHER, STATE))
    assert attempt.asked is not None
    assert sent == (OTHER, STATE, ("traceparent", f"00-{TRACE}-{attempt.asked.span}-01"))
    assert attempt.asked.span not in (span.id, SPAN)
    assert (attempt.asked.kind, attempt.asked.model, attempt.asked.endpoint) == ("generic", "a-model", "chat")
    assert attempt.asked.url == "http://a.test/v1/chat/completions"


def test_a_trace_that_begins_here_has_no_foreign_state() -> None:
    """What came with a broken `traceparent` belongs to no trace."""
    draw, attempt = tracer(), Attempt("a/a-model", "a", 0.0)
    span = draw.begin(None)
    sent = draw.onward(span, attempt, target(), Endpoint.CHAT, (("traceparent", "broken"), STATE, OTHER))
    assert attempt.asked is not None
    assert sent == (OTHER, ("traceparent", f"00-{span.trace}-{attempt.asked.span}-01"))


def test_what_is_not_sampled_travels_on_and_is_not_noted() -> None:
    """Whoever comes after knows that it is not."""
    draw, attempt = tracer(), Attempt("a/a-model", "a", 0.0)
    [(name, value)] = draw.onward(Span(TRACE, SPAN, "", sampled=False), attempt, target(), Endpoint.CHAT, ())
    assert name == "traceparent"
    assert re.fullmatch(f"00-{TRACE}-[0-9a-f]{{16}}-00", value)
    assert attempt.asked is None
