"""Tests of `metrics.traces`: what spans say, and what becomes of them where nobody takes them."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id
from structlog.testing import capture_logs

from metrics.record import (
    BROKEN,
    CLIENT_GONE,
    COMPLETED,
    CRASHED,
    FAILED,
    REFUSED,
    Asked,
    Attempt,
    Record,
    Span,
    Tokens,
)
from metrics.traces import PENDING, TURN, Outlet, Traces, resource

TRACE, CALLER, OWN, FIRST, SECOND = "0af7651916cd43dd8448eb211c80319c", "b" * 16, "1" * 16, "2" * 16, "3" * 16
AHEAD = 1_800_000_000.0
PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


def full() -> Record:
    """The record of a stream that a second provider has answered, with everything in it."""
    first = Asked(FIRST, "azure", "gpt", "responses", "https://one.test/openai/responses?api-version=1")
    second = Asked(SECOND, "anthropic", "claude", "messages", "http://two.test:8443/v1/messages")
    return Record(
        "req_1",
        "chat",
        100.0,
        client="app",
        model="small",
        stream=True,
        target="b/claude",
        provider="b",
        attempts=[
            Attempt("a/gpt", "a", 100.5, 1.0, "status_503", first),
            Attempt("b/claude", "b", 101.5, 2.0, "ok", second),
        ],
        tokens=Tokens(10, 6, 4, 2, 1),
        status=200,
        outcome=COMPLETED,
        duration=3.5,
        queued=0.25,
        ttft=2.0,
        cost=0.5,
        trace=TRACE,
        losses=(("seed", "dropped"),),
        span=Span(TRACE, OWN, CALLER, sampled=True),
    )


def traces(exporter: SpanExporter) -> Traces:
    """Traces of a replica that exports there."""
    made = Traces(Outlet(exporter), resource("gateway", "1.2", "one"), "1.2", lambda: AHEAD)
    made.start()
    return made


def told(*records: Record) -> tuple[ReadableSpan, ...]:
    """The spans of these records, as they are exported."""
    memory = InMemorySpanExporter()
    made = traces(memory)
    for record in records:
        made.observe(record)
    made.close()
    assert made.dropped == 0
    return memory.get_finished_spans()


def said(span: ReadableSpan) -> dict[str, object]:
    """The attributes of a span."""
    return dict(span.attributes or {})


def ids(span: ReadableSpan) -> tuple[str, str, str]:
    """Trace, span and parent of a span."""
    context, parent = span.context, span.parent
    assert context is not None
    return (
        format_trace_id(context.trace_id),
        format_span_id(context.span_id),
        format_span_id(parent.span_id) if parent else "",
    )


def test_a_request_is_a_span_with_one_of_each_attempt_below() -> None:
    """In the caller's trace, by the ids that went upstream, at the times of the record."""
    request, first, second = told(full())
    assert [ids(span) for span in (request, first, second)] == [
        (TRACE, OWN, CALLER),
        (TRACE, FIRST, OWN),
        (TRACE, SECOND, OWN),
    ]
    assert request.parent is not None
    assert (request.parent.is_remote, first.parent and first.parent.is_remote) == (True, False)
    assert [span.name for span in (request, first, second)] == ["chat small", "chat gpt", "chat claude"]
    assert [span.kind for span in (request, first, second)] == [
        SpanKind.SERVER,
        SpanKind.CLIENT,
        SpanKind.CLIENT,
    ]
    second_of = 1_000_000_000
    begins = [(span.start_time or 0) / second_of - AHEAD for span in (request, first, second)]
    ends = [(span.end_time or 0) / second_of - AHEAD for span in (request, first, second)]
    assert (begins, ends) == ([100.0, 100.5, 101.5], [103.5, 101.5, 103.5])


def test_a_requests_span_says_who_asked_for_what() -> None:
    """Usage is not there: whoever sums it up over a trace would count it twice."""
    assert said(told(full())[0]) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "small",
        "gen_ai.request.stream": True,
        "http.response.status_code": 200,
        "apex.request.id": "req_1",
        "apex.client": "app",
        "apex.endpoint": "chat",
        "apex.target": "b/claude",
        "apex.attempts": 2,
        "apex.outcome": "completed",
        "apex.ttft": 2.0,
        "apex.queued": 0.25,
        "apex.cost": 0.5,
        "apex.losses": ["seed dropped"],
    }


def test_an_attempts_span_says_whom_it_asked_and_what_came() -> None:
    """Of the last one also what it has used, and when its first content came."""
    _, first, second = told(full())
    assert said(first) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "azure.ai.openai",
        "gen_ai.request.model": "gpt",
        "gen_ai.request.stream": True,
        "server.address": "one.test",
        "server.port": 443,
        "http.response.status_code": 503,
        "error.type": "503",
        "apex.endpoint": "responses",
        "apex.provider": "a",
        "apex.target": "a/gpt",
        "apex.outcome": "status_503",
    }
    assert said(second) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude",
        "gen_ai.request.stream": True,
        "gen_ai.response.time_to_first_chunk": 0.5,
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 6,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.cache_write.input_tokens": 1,
        "gen_ai.usage.reasoning.output_tokens": 2,
        "server.address": "two.test",
        "server.port": 8443,
        "http.response.status_code": 200,
        "apex.endpoint": "messages",
        "apex.provider": "b",
        "apex.target": "b/claude",
        "apex.outcome": "ok",
    }
    assert [span.status.status_code for span in (first, second)] == [StatusCode.ERROR, StatusCode.UNSET]


def test_what_spans_say_is_documented() -> None:
    """Each attribute has its line."""
    failed = full()
    failed.outcome, failed.error = BROKEN, "upstream_error"
    page = PAGE.read_text(encoding="utf-8")
    for span in told(full(), failed):
        assert {name for name in said(span) if f"`{name}`" not in page} == set()


def test_spans_say_whose_they_are() -> None:
    """The service, its version, and the replica as one of its instances."""
    request, *_ = told(full())
    assert request.resource.attributes["service.name"] == "gateway"
    assert request.resource.attributes["service.version"] == "1.2"
    assert request.resource.attributes["service.instance.id"] == "one"
    assert request.instrumentation_scope is not None
    assert (request.instrumentation_scope.name, request.instrumentation_scope.version) == (
        "apex-ai-proxy",
        "1.2",
    )


def test_a_trace_that_begins_here_has_a_root() -> None:
    """No caller, no parent."""
    record = full()
    record.span = Span(TRACE, OWN, "", sampled=True)
    assert ids(told(record)[0]) == (TRACE, OWN, "")


def test_what_asks_no_model_or_is_not_sampled_has_no_spans() -> None:
    """Lists of models, counts of tokens, what the ratio leaves out, what came before there were traces."""
    others = [full() for _ in range(4)]
    others[0].endpoint, others[1].endpoint = "models", "other"
    others[2].span = Span(TRACE, OWN, "", sampled=False)
    others[3].span = None
    assert told(*others) == ()


def test_embeddings_go_by_their_own_name() -> None:
    """And a request for a model that there is not by none."""
    record = full()
    record.endpoint, record.model, record.stream = "embeddings", "", False
    record.attempts = []
    [request] = told(record)
    assert request.name == said(request)["gen_ai.operation.name"] == "embeddings"
    assert "gen_ai.request.model" not in said(request)


def test_an_attempt_that_was_never_sent_has_no_span() -> None:
    """It has no id that anybody would have heard of."""
    record = full()
    record.attempts[0].asked = None
    assert [span.name for span in told(record)] == ["chat small", "chat claude"]


@pytest.mark.parametrize(
    ("outcome", "status", "error", "code", "kind", "own"),
    [
        (COMPLETED, 200, "", StatusCode.UNSET, None, None),
        (REFUSED, 429, "rate_limit_exceeded", StatusCode.UNSET, None, "rate_limit_exceeded"),
        (FAILED, 429, "sk-secret-of-a-provider", StatusCode.UNSET, None, "429"),
        (FAILED, 502, "upstream_error", StatusCode.ERROR, "upstream_error", "upstream_error"),
        (FAILED, 502, "sk-secret-of-a-provider", StatusCode.ERROR, "502", "502"),
        (BROKEN, 200, "upstream_error", StatusCode.ERROR, "upstream_error", "upstream_error"),
        (CRASHED, 0, "", StatusCode.ERROR, "_OTHER", None),
        (CLIENT_GONE, 499, "", StatusCode.UNSET, None, None),
    ],
)
def test_a_request_is_an_error_where_it_is_a_servers(
    outcome: str, status: int, error: str, code: StatusCode, kind: str | None, own: str | None
) -> None:
    """A caller's own fault is none; what a provider calls its error is not repeated."""
    record = full()
    record.outcome, record.status, record.error = outcome, status, error
    request = told(record)[0]
    assert (request.status.status_code, request.status.description) == (code, None)
    assert (said(request).get("error.type"), said(request).get("apex.error")) == (kind, own)
    assert said(request).get("http.response.status_code") == (status if status not in (0, 499) else None)


@pytest.mark.parametrize(
    ("outcome", "code", "kind", "status"),
    [
        ("ok", StatusCode.UNSET, None, 200),
        ("cancelled", StatusCode.UNSET, None, None),
        ("slow_client", StatusCode.UNSET, None, None),
        ("status_429", StatusCode.ERROR, "429", 429),
        ("connect", StatusCode.ERROR, "connect", None),
        ("first_token_timeout", StatusCode.ERROR, "first_token_timeout", None),
    ],
)
def test_an_attempt_is_an_error_where_the_provider_failed(
    outcome: str, code: StatusCode, kind: str | None, status: int | None
) -> None:
    """Whoever leaves is not to blame for it, nor is the provider."""
    record = full()
    record.attempts[0].outcome = outcome
    first = told(record)[1]
    assert first.status.status_code is code
    assert (said(first).get("error.type"), said(first).get("http.response.status_code")) == (kind, status)


@pytest.mark.parametrize(
    ("kind", "url", "name"),
    [
        ("openai", "https://x/v1/chat/completions", "openai"),
        ("azure", "https://x/openai/deployments/d/chat/completions", "azure.ai.openai"),
        ("azure", "https://x/models/chat/completions", "azure.ai.inference"),
        ("mistral", "https://x/v1/chat/completions", "mistral_ai"),
        ("deepseek", "https://x/chat/completions", "deepseek"),
        ("dashscope", "https://x/v1/chat/completions", "dashscope"),
        ("generic", "https://x/v1/chat/completions", "a"),
    ],
)
def test_providers_have_the_conventions_names(kind: str, url: str, name: str) -> None:
    """Of a server that may be anybody's it is the operator's name for it."""
    record = full()
    record.attempts[0].asked = Asked(FIRST, kind, "m", "chat", url)
    assert said(told(record)[1])["gen_ai.provider.name"] == name


class Scripted(SpanExporter):
    """An exporter that does as it is told: `act` gives the result of each export, by its number."""

    def __init__(self, act: Callable[[int], SpanExportResult]) -> None:
        self.calls = 0
        self.ended = threading.Event()
        self._act = act

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """As scripted."""
        self.calls += 1
        return self._act(self.calls)

    def shutdown(self) -> None:
        """Remember it."""
        self.ended.set()


def test_an_exporter_goes_through_all_spans_in_their_order() -> None:
    """However many turns that takes."""
    names: list[str] = []

    class Going(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            names.extend(span.name for span in spans)
            return SpanExportResult.SUCCESS

    made = traces(Going())
    for _ in range(TURN):
        made.observe(full())
    made.close()
    assert names == ["chat small", "chat gpt", "chat claude"] * TURN


def test_a_failure_is_told_once_and_counted_until_it_is_over() -> None:
    """With its reason; then it is told that it is over."""
    good, bad = SpanExportResult.SUCCESS, SpanExportResult.FAILURE
    results = MappingProxyType({1: good, 2: bad, 3: bad, 4: good, 5: good})
    outlet = Outlet(Scripted(results.__getitem__), lambda: "status 401")
    spans = told(full())
    with capture_logs() as lines:
        for _ in results:
            outlet.export(spans)
    assert (outlet.taken, outlet.lost, outlet.failing) == (15, 6, False)
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("traces_not_exported", "warning"),
        ("traces_exported_again", "info"),
    ]
    assert (lines[0]["reason"], lines[1]["dropped"]) == ("status 401", 6)


def test_an_exporter_that_breaks_has_lost_its_spans() -> None:
    """Whatever it raises is the SDK's to catch."""

    def broken(_: int) -> SpanExportResult:
        raise OSError("broken")

    outlet = Outlet(Scripted(broken))
    with pytest.raises(OSError, match="broken"), capture_logs():
        outlet.export(told(full()))
    assert (outlet.taken, outlet.lost) == (3, 3)


def test_beyond_the_bound_spans_are_dropped_and_counted() -> None:
    """Whole requests of them, while the collector takes its time; nobody waits."""
    release = threading.Event()

    def slow(_: int) -> SpanExportResult:
        release.wait()
        return SpanExportResult.SUCCESS

    made = traces(Scripted(slow))
    for _ in range(PENDING):
        made.observe(full())
    dropped = made.dropped
    assert 3 * PENDING - dropped >= PENDING - 2
    assert dropped % 3 == 0
    assert [reading.value for reading in made.read()] == [dropped]
    release.set()
    made.close()
    assert made.dropped == dropped


def test_a_collector_that_hangs_is_left_behind_at_the_end() -> None:
    """It is told to give up, and nobody waits until it does."""
    begun = threading.Event()

    def hang(_: int) -> SpanExportResult:
        begun.set()
        exporter.ended.wait()
        return SpanExportResult.FAILURE

    exporter = Scripted(hang)
    made = traces(exporter)
    for _ in range(200):
        made.observe(full())
    begun.wait()
    with capture_logs():
        made.close(patience=0.01)
    assert exporter.ended.is_set()


def test_a_collector_that_failed_is_not_waited_for_at_the_end() -> None:
    """What an exporter would try again is given up at once."""
    exporter = Scripted(lambda _: SpanExportResult.FAILURE)
    outlet = Outlet(exporter)
    with capture_logs():
        outlet.export(told(full()))
        made = Traces(outlet, resource("gateway", "1.2", "one"), "1.2", lambda: AHEAD)
        made.start()
        made.close()
    assert exporter.ended.is_set()


def test_nothing_is_observed_but_between_start_and_end() -> None:
    """A replica that never started has no thread, and its end nothing to do."""
    memory = InMemorySpanExporter()
    made = Traces(Outlet(memory), resource("gateway", "1.2", "one"), "1.2", lambda: AHEAD)
    made.observe(full())
    made.close()
    assert memory.get_finished_spans() == ()
