import pytest
from prometheus_client import CollectorRegistry

from metrics.instruments import Instruments
from metrics.record import BROKEN, COMPLETED, Attempt, Record, Tokens


def full() -> Record:
    """A record with everything in it."""
    return Record(
        "req_1",
        "chat",
        0.0,
        model="small",
        attempts=[Attempt("a/m", "a", 0.0, 1.0, "status_503"), Attempt("b/m", "b", 1.0, 1.0, "ok")],
        tokens=Tokens(10, 5, 4, 2),
        outcome=COMPLETED,
        duration=2.0,
        waited=1.9,
        ttft=0.5,
    )


REQUEST = {"endpoint": "chat", "model": "small", "outcome": COMPLETED}


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
        ("apex_tokens_total", {"model": "small", "kind": "output"}, 10),
        ("apex_tokens_total", {"model": "small", "kind": "cached"}, 8),
        ("apex_tokens_total", {"model": "small", "kind": "reasoning"}, 4),
        ("apex_requests_in_flight", {}, 1),
        ("apex_build_info", {"version": "1.2"}, 1),
    ],
)
def test_a_record_becomes_numbers(name: str, labels: dict[str, str], value: float) -> None:
    """Two of three requests ended: each number they leave."""
    registry = CollectorRegistry()
    instruments = Instruments(registry, "1.2")
    for _ in range(3):
        instruments.began()
    instruments.observe(full())
    instruments.observe(full())
    assert registry.get_sample_value(name, labels) == pytest.approx(value)


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


def test_render() -> None:
    """All of it in Prometheus' text format."""
    text = Instruments(CollectorRegistry(), "1.2").render().decode()
    assert 'apex_build_info{version="1.2"} 1.0' in text
