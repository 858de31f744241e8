"""The catalogue: every metric the proxy exposes, its labels and its buckets, in one place.

Labels come from closed sets: endpoint and outcome by definition, model and provider by configuration
(anything else is `other`). Children are looked up once per label combination and kept, for the lookup
costs more than the increment.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from metrics.record import Record

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_OVERHEAD = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5)


class Instruments:
    """All instruments on one registry, and the one place where a record becomes numbers."""

    def __init__(self, registry: CollectorRegistry, version: str) -> None:
        self._registry = registry
        labels = ("endpoint", "model", "outcome")
        self.requests = Counter("apex_requests", "Requests that ended.", labels, registry=registry)
        self.duration = Histogram(
            "apex_request_duration_seconds",
            "From a request's headers to its last byte.",
            labels,
            buckets=_SECONDS,
            registry=registry,
        )
        self.overhead = Histogram(
            "apex_overhead_seconds",
            "A request's duration without the time spent waiting for providers.",
            ("endpoint",),
            buckets=_OVERHEAD,
            registry=registry,
        )
        self.first_token = Histogram(
            "apex_time_to_first_token_seconds",
            "From a streamed request's headers to its first content.",
            ("model",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.attempts = Counter(
            "apex_upstream_attempts",
            "Attempts on targets, by how they ended.",
            ("provider", "outcome"),
            registry=registry,
        )
        self.tokens = Counter(
            "apex_tokens",
            "Tokens of finished requests as providers counted them.",
            ("model", "kind"),
            registry=registry,
        )
        self.losses = Counter(
            "apex_translation_losses",
            "Fields that answered requests have lost on the way to another dialect, by what was done.",
            ("field", "treatment"),
            registry=registry,
        )
        self.in_flight = Gauge("apex_requests_in_flight", "Requests now being served.", registry=registry)
        self.replicas = Gauge("apex_replicas_live", "Replicas last seen alive.", registry=registry)
        self.away = Gauge(
            "apex_limit_scopes_away",
            "Scopes that this replica limits alone, for Redis is away.",
            registry=registry,
        )
        build = Gauge("apex_build_info", "The running version; always 1.", ("version",), registry=registry)
        build.labels(version).set(1)
        self._counters: dict[tuple[Counter, tuple[str, ...]], Counter] = {}
        self._histograms: dict[tuple[Histogram, tuple[str, ...]], Histogram] = {}

    def began(self) -> None:
        """A request began."""
        self.in_flight.inc()

    def stand(self, replicas: int, away: int) -> None:
        """How the cluster stands: replicas alive, and scopes limited here alone."""
        self.replicas.set(replicas)
        self.away.set(away)

    def observe(self, record: Record) -> None:
        """A request ended: count it."""
        self.in_flight.dec()
        model = record.model or "other"
        labels = (record.endpoint, model, record.outcome)
        self._count(self.requests, labels)
        self._time(self.duration, labels, record.duration)
        self._time(self.overhead, (record.endpoint,), max(0.0, record.duration - record.waited))
        if record.ttft is not None:
            self._time(self.first_token, (model,), record.ttft)
        for attempt in record.attempts:
            self._count(self.attempts, (attempt.provider, attempt.outcome))
        for loss in record.losses:
            self._count(self.losses, loss)
        if record.tokens is not None:
            self._spend(model, record)

    def _spend(self, model: str, record: Record) -> None:
        tokens = record.tokens
        assert tokens is not None
        self._count(self.tokens, (model, "input"), tokens.input)
        self._count(self.tokens, (model, "output"), tokens.output)
        if tokens.cached:
            self._count(self.tokens, (model, "cached"), tokens.cached)
        if tokens.reasoning:
            self._count(self.tokens, (model, "reasoning"), tokens.reasoning)

    def _count(self, counter: Counter, labels: tuple[str, ...], amount: float = 1) -> None:
        child = self._counters.get((counter, labels))
        if child is None:
            child = self._counters[counter, labels] = counter.labels(*labels)
        child.inc(amount)

    def _time(self, histogram: Histogram, labels: tuple[str, ...], seconds: float) -> None:
        child = self._histograms.get((histogram, labels))
        if child is None:
            child = self._histograms[histogram, labels] = histogram.labels(*labels)
        child.observe(seconds)

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)
