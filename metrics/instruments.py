"""Where a record becomes numbers, once, at a request's end; and where all numbers are rendered.

Whatever is not about a single request is read off at the scrape (`readings`). The catalogue says what there
is. Children are kept by what they hang on, a lookup for each, for that costs more than the increment.
"""

from collections.abc import Callable, Iterable, Iterator
from types import MappingProxyType
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from metrics import catalogue
from metrics.readings import Reading, Readings
from metrics.record import COMPLETED, Record, Tokens
from metrics.tally import Count, Histogram, Spread

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OTHER = "other"
OVERLOADED = "overloaded"
UPSTREAM_OVERLOADED = "upstream_overloaded"

STATUSES: Final = frozenset(
    f"status_{code}"
    for code in (400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 520, 522, 524, 529)
)
"""Statuses of providers that have a label of their own; others have that of their class."""

REASONS: Final = frozenset(
    {
        "array_above_max_length",
        "configuration_refused",
        "context_length_exceeded",
        "duplicate_parameter",
        "empty_array",
        "host_not_allowed",
        "integer_below_min_value",
        "internal_error",
        "invalid_api_key",
        "invalid_id",
        "invalid_json",
        "invalid_request_error",
        "invalid_type",
        "invalid_value",
        "method_not_allowed",
        "missing_required_parameter",
        "model_not_found",
        "no_target_available",
        "not_found",
        "origin_not_allowed",
        OVERLOADED,
        "previous_response_not_found",
        "rate_limit_exceeded",
        "replica_silent",
        "request_timeout",
        "request_too_large",
        "shutting_down",
        "slow_client",
        "store_unavailable",
        "store_unreadable",
        "string_above_max_length",
        "thread_unsupported_request",
        "unsupported_content_encoding",
        "unsupported_content_type",
        "unsupported_endpoint",
        "unsupported_parameter",
        "unsupported_value",
        "upstream_credentials",
        "upstream_error",
        "upstream_timeout",
        "websocket_connection_limit_reached",
    }
)
"""Codes of errors that have a label of their own: all that the proxy itself gives. A provider's code may be
passed on, so there is no end."""


class Instruments(Collector):
    """All that is counted of requests, on one registry."""

    def __init__(self, registry: CollectorRegistry, version: str) -> None:
        self.registry = registry
        self.version = version
        self.in_flight = 0
        self.requests = Count(catalogue.REQUESTS)
        self.duration = Histogram(catalogue.DURATION)
        self.overhead = Histogram(catalogue.OVERHEAD)
        self.refusals = Count(catalogue.REFUSALS)
        self.first_token = Histogram(catalogue.FIRST_TOKEN)
        self.gap = Histogram(catalogue.GAP)
        self.stall = Histogram(catalogue.STALL)
        self.speed = Histogram(catalogue.SPEED)
        self.tokens = Count(catalogue.TOKENS)
        self.cost = Count(catalogue.COST)
        self.losses = Count(catalogue.LOSSES)
        self.attempts = Count(catalogue.ATTEMPTS)
        self.attempt_duration = Histogram(catalogue.ATTEMPT_DURATION)
        self.failovers = Count(catalogue.FAILOVERS)
        self.queue_wait = Histogram(catalogue.QUEUE_WAIT)
        self.redis_latency = Histogram(catalogue.REDIS_LATENCY)
        registry.register(self)
        registry.register(Readings(self._own))
        ProcessCollector(registry=registry)

    def read(self, source: Callable[[], Iterable[Reading]]) -> None:
        """Ask `source` at every scrape."""
        self.registry.register(Readings(source))

    def redis(self, link: str) -> Spread:
        """Where the durations of this link's batches go."""
        return self.redis_latency.of((link,))

    def began(self) -> None:
        """A request began."""
        self.in_flight += 1

    def observe(self, record: Record) -> None:
        """A request ended: count it."""
        self.in_flight -= 1
        model, trace, endpoint = record.model or OTHER, record.trace, record.endpoint
        labels = (endpoint, model, record.outcome)
        self.requests.add(labels)
        self.duration.of(labels).observe(record.duration, trace)
        self.overhead.of((endpoint,)).observe(max(0.0, record.duration - record.waited), trace)
        if record.error:
            self.refusals.add((endpoint, _reason(record)))
        if record.attempts:
            self._attempts(record)
        if record.queued:
            self.queue_wait.of((model,)).observe(record.queued, trace)
        if record.ttft is not None:
            self._stream(model, record)
        if record.tokens is not None:
            self._spend(model, record.tokens)
        if record.cost is not None:
            self.cost.add((model, record.provider), record.cost)
        for loss in record.losses:
            self.losses.add(loss)

    def _attempts(self, record: Record) -> None:
        last = record.attempts[-1]
        for attempt in record.attempts:
            outcome = attempt.outcome
            if outcome.startswith("status_") and outcome not in STATUSES:
                outcome = _CLASSES.get(outcome[7:8], "status_other")
            self.attempts.add((attempt.provider, outcome))
            self.attempt_duration.of((attempt.provider,)).observe(attempt.duration, record.trace)
            if attempt is not last:
                self.failovers.add((attempt.provider, outcome))

    def _stream(self, model: str, record: Record) -> None:
        """How a stream went, by the clock reads that were made anyway: two numbers for all its events."""
        assert record.ttft is not None
        trace, labels = record.trace, (model,)
        self.first_token.of(labels).observe(record.ttft, trace)
        length = record.duration - record.ttft
        if record.events > 1 and record.outcome == COMPLETED:
            self.gap.of(labels).observe(length / (record.events - 1), trace)
            self.stall.of(labels).observe(record.stalled, trace)
        if record.tokens is not None and record.tokens.output > 1 and length > 0:
            self.speed.of(labels).observe(record.tokens.output / length, trace)

    def _spend(self, model: str, tokens: Tokens) -> None:
        add = self.tokens.add
        add((model, "input"), tokens.input)
        add((model, "output"), tokens.output)
        if tokens.cached:
            add((model, "cached"), tokens.cached)
        if tokens.written:
            add((model, "written"), tokens.written)
        if tokens.reasoning:
            add((model, "reasoning"), tokens.reasoning)

    def _own(self) -> Iterator[Reading]:
        yield Reading(catalogue.IN_FLIGHT, self.in_flight)
        yield Reading(catalogue.BUILD, 1, (self.version,))

    def collect(self) -> Iterator[CounterMetricFamily | HistogramMetricFamily]:
        """What was counted."""
        for counted in vars(self).values():
            if isinstance(counted, Count | Histogram):
                yield counted.family()

    def describe(self) -> tuple[()]:
        """Nothing ahead: the catalogue is the description."""
        return ()

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics, and the content type: OpenMetrics with exemplars where that is asked for."""
        if "application/openmetrics-text" in accept:
            text: bytes = openmetrics.generate_latest(self.registry)  # type: ignore[no-untyped-call]
            return text, openmetrics.CONTENT_TYPE_LATEST
        return generate_latest(self.registry), TEXT


def _reason(record: Record) -> str:
    """Whose load it was, where that was too much: the caller is told the same of a provider and of us."""
    if record.error == OVERLOADED and record.attempts:
        return UPSTREAM_OVERLOADED
    return record.error if record.error in REASONS else OTHER


_CLASSES: Final = MappingProxyType({digit: f"status_{digit}xx" for digit in "12345"})
