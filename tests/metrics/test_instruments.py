import ast
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from metrics import catalogue
from metrics.instruments import REASONS, STATUSES, Instruments
from metrics.readings import Reading
from metrics.record import BROKEN, COMPLETED, REFUSED, Attempt, Record, Tokens

TRACE = "0af7651916cd43dd8448eb211c80319c"


def full() -> Record:
    """A record with everything in it."""
    return Record(
        "req_1",
        "chat",
        0.0,
        model="small",
        target="b/m",
        provider="b",
        attempts=[Attempt("a/m", "a", 0.0, 1.0, "status_503"), Attempt("b/m", "b", 1.0, 1.0, "ok")],
        tokens=Tokens(10, 6, 4, 2, 1),
        outcome=COMPLETED,
        duration=2.0,
        waited=1.9,
        queued=0.3,
        ttft=0.5,
        stalled=0.4,
        events=4,
        cost=0.25,
        trace=TRACE,
        losses=(("seed", "dropped"),),
    )


REQUEST = {"endpoint": "chat", "model": "small", "outcome": COMPLETED}
SMALL = {"model": "small"}


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("apex_requests_total", REQUEST, 2),
        ("apex_request_duration_seconds_sum", REQUEST, 4.0),
        ("apex_overhead_seconds_sum", {"endpoint": "chat"}, 0.2),
        ("apex_time_to_first_token_seconds_count", {"model": "small"}, 2),
        ("apex_upstream_attempts_total", {"provider": "a", "outcome": "status_503"}, 2),
        ("apex_upstream_attempts_total", {"provider": "b", "outcome": "ok"}, 2),
        ("apex_tokens_total", {"model": "small", "kind": "input"}, 20),
        ("apex_tokens_total", {"model": "small", "kind": "output"}, 12),
        ("apex_tokens_total", {"model": "small", "kind": "cached"}, 8),
        ("apex_tokens_total", {"model": "small", "kind": "reasoning"}, 4),
        ("apex_tokens_total", {"model": "small", "kind": "written"}, 2),
        ("apex_cost_dollars_total", {"model": "small", "provider": "b"}, 0.5),
        ("apex_failovers_total", {"provider": "a", "reason": "status_503"}, 2),
        ("apex_failovers_total", {"provider": "b", "reason": "ok"}, None),
        ("apex_upstream_attempt_duration_seconds_sum", {"provider": "a"}, 2.0),
        ("apex_inter_token_gap_seconds_sum", SMALL, 1.0),
        ("apex_longest_gap_seconds_sum", SMALL, 0.8),
        ("apex_output_tokens_per_second_sum", SMALL, 8.0),
        ("apex_queue_wait_seconds_sum", SMALL, 0.6),
        ("apex_translation_losses_total", {"field": "seed", "treatment": "dropped"}, 2),
        ("apex_requests_in_flight", {}, 1),
        ("apex_build_info", {"version": "1.2"}, 1),
    ],
)
def test_a_record_becomes_numbers(name: str, labels: dict[str, str], value: float | None) -> None:
    """Two of three requests ended: each number they leave."""
    registry = CollectorRegistry()
    instruments = Instruments(registry, "1.2")
    for _ in range(3):
        instruments.began()
    instruments.observe(full())
    instruments.observe(full())
    assert registry.get_sample_value(name, labels) == (None if value is None else pytest.approx(value))


def test_what_is_not_known_is_not_counted() -> None:
    """No tokens, no first content, no model: no sample, and the model is `other`."""
    registry = CollectorRegistry()
    instruments = Instruments(registry, "1.2")
    instruments.observe(Record("req_1", "chat", 0.0, outcome=BROKEN, duration=1.0, waited=2.0))
    instruments.observe(Record("req_2", "chat", 0.0, outcome=BROKEN, tokens=Tokens(1, 1)))
    count = registry.get_sample_value
    assert count("apex_requests_total", {"endpoint": "chat", "model": "other", "outcome": BROKEN}) == 2
    assert count("apex_overhead_seconds_sum", {"endpoint": "chat"}) == 0
    assert count("apex_time_to_first_token_seconds_count", {"model": "other"}) is None
    assert count("apex_tokens_total", {"model": "other", "kind": "cached"}) is None
    assert count("apex_tokens_total", {"model": "other", "kind": "input"}) == 1


def test_a_stream_of_one_event_has_no_gaps() -> None:
    """Nor has one that broke: what was missing was not a gap. Its speed is that of what came."""
    registry = CollectorRegistry()
    instruments = Instruments(registry, "1.2")
    for record in (full(), full(), full()):
        instruments.began()
        instruments.observe(record)
    one, broken = full(), full()
    one.events, broken.outcome = 1, BROKEN
    instruments.observe(one)
    instruments.observe(broken)
    assert registry.get_sample_value("apex_inter_token_gap_seconds_count", SMALL) == 3
    assert registry.get_sample_value("apex_time_to_first_token_seconds_count", SMALL) == 5


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        ("status_429", "status_429"),
        ("status_418", "status_4xx"),
        ("status_599", "status_5xx"),
        ("status_999", "status_other"),
        ("connect_timeout", "connect_timeout"),
    ],
)
def test_a_provider_cannot_make_labels_up(outcome: str, told: str) -> None:
    """Of statuses there are a thousand."""
    registry = CollectorRegistry()
    record = Record("req_1", "chat", 0.0, attempts=[Attempt("a/m", "a", 0.0, 1.0, outcome)])
    Instruments(registry, "1.2").observe(record)
    assert registry.get_sample_value("apex_upstream_attempts_total", {"provider": "a", "outcome": told}) == 1


@pytest.mark.parametrize(
    ("error", "told"), [("rate_limit_exceeded", "rate_limit_exceeded"), ("odd", "other")]
)
def test_errors_are_told_by_usual_codes(error: str, told: str) -> None:
    """A provider's code may be anything."""
    registry = CollectorRegistry()
    Instruments(registry, "1.2").observe(Record("req_1", "chat", 0.0, outcome=REFUSED, error=error))
    assert registry.get_sample_value("apex_refusals_total", {"endpoint": "chat", "reason": told}) == 1
    assert len(REASONS) < 60
    assert len(STATUSES) < 20


def test_all_errors_of_the_proxy_itself_have_a_label() -> None:
    """Whoever looks for the reason of refusals is not told "other"."""
    source = Path(__file__).parents[2] / "proxy"
    calls = [
        {keyword.arg: keyword.value for keyword in node.keywords}
        for path in source.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"Refusal", "Said"}
    ]
    said = [made.get("code") or made.get("kind") for made in calls]
    codes = {value.value for value in said if isinstance(value, ast.Constant)} - {None}
    assert len(codes) > 30
    assert codes <= REASONS


def test_whose_load_it_was_is_told_apart() -> None:
    """A replica refuses before any attempt; a provider has been asked."""
    registry = CollectorRegistry()
    instruments = Instruments(registry, "1.2")
    instruments.observe(Record("req_1", "chat", 0.0, error="overloaded"))
    asked = Record("req_2", "chat", 0.0, error="overloaded", attempts=[Attempt("a/m", "a", 0.0)])
    instruments.observe(asked)
    for reason in ("overloaded", "upstream_overloaded"):
        labels = {"endpoint": "chat", "reason": reason}
        assert registry.get_sample_value("apex_refusals_total", labels) == 1


def test_other_things_are_read_at_the_scrape() -> None:
    """Whoever knows them is asked then, and where durations of batches go is known ahead."""
    registry = CollectorRegistry()
    instruments = Instruments(registry, "1.2")
    instruments.read(lambda: [Reading(catalogue.LAG, 0.5)])
    instruments.redis("shared").observe(0.001)
    assert registry.get_sample_value("apex_event_loop_lag_seconds") == 0.5
    assert registry.get_sample_value("apex_redis_batch_duration_seconds_count", {"link": "shared"}) == 1


def test_text_is_rendered_without_traces() -> None:
    """Prometheus' own format has no place for them."""
    instruments = Instruments(CollectorRegistry(), "1.2")
    instruments.observe(full())
    text, kind = instruments.render("text/plain")
    assert kind == "text/plain; version=0.0.4; charset=utf-8"
    assert b'apex_build_info{version="1.2"} 1.0' in text
    assert b"apex_requests_total{" in text
    assert TRACE.encode() not in text


def test_openmetrics_holds_traces() -> None:
    """Where it is asked for."""
    instruments = Instruments(CollectorRegistry(), "1.2")
    instruments.observe(full())
    text, kind = instruments.render("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert kind.startswith("application/openmetrics-text")
    assert f'le="2.5",model="small",outcome="completed"}} 1.0 # {{trace_id="{TRACE}"}} 2.0'.encode() in text
    assert text.endswith(b"# EOF\n")


def test_everything_counted_is_in_the_catalogue() -> None:
    """And nothing by another name."""
    instruments = Instruments(CollectorRegistry(), "1.2")
    record = full()
    record.error = "upstream_error"
    instruments.observe(record)
    instruments.redis("shared").observe(0.001)
    known = {name for metric in catalogue.CATALOGUE for name in metric.samples}
    told = {sample.name for family in instruments.registry.collect() for sample in family.samples}
    assert {name for name in told if not name.startswith("process_")} <= known
