"""The catalogue: every metric there is, with its labels and buckets and what their values can be.

What is counted and what is read off at a scrape, the page of metrics and the tests of dashboards and alerts
all go by it. Labels come from closed sets: by definition, or by configuration, where what a client makes up
is `other`. A key, a user, a request's id, a path or a text is never one.
"""

import dataclasses
import enum


class Kind(enum.StrEnum):
    """What Prometheus calls the type."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclasses.dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `name` is as it is asked for, a counter's with `_total`. `buckets` are upper bounds."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def samples(self) -> tuple[str, ...]:
        """The names of its samples."""
        if self.kind is not Kind.HISTOGRAM:
            return (self.name,)
        return tuple(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))


SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
"""Of requests and waits: from a cached embedding to a long answer."""

_OVERHEAD = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
_GAPS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2.5, 10, 60)
_SPEEDS = (1, 2.5, 5, 10, 20, 35, 50, 75, 100, 150, 200, 300, 500, 1000)
_CALLS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5)

C, G, H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM

# Requests.
REQUESTS = Metric("apex_requests_total", C, "Requests that ended.", ("endpoint", "model", "outcome"))
DURATION = Metric(
    "apex_request_duration_seconds",
    H,
    "From a request's headers to its last byte.",
    ("endpoint", "model", "outcome"),
    SECONDS,
)
OVERHEAD = Metric(
    "apex_overhead_seconds",
    H,
    "A request's duration without the time spent waiting for providers, for a turn at one, or for the "
    "request's body. A client that reads slowly counts.",
    ("endpoint",),
    _OVERHEAD,
)
IN_FLIGHT = Metric("apex_requests_in_flight", G, "Requests now being served.")
BODY_BYTES = Metric("apex_request_bytes_in_flight", G, "Bytes of request bodies now held.")
REFUSALS = Metric(
    "apex_refusals_total", C, "Requests that ended with an error, by what it was.", ("endpoint", "reason")
)
FIRST_TOKEN = Metric(
    "apex_time_to_first_token_seconds",
    H,
    "From a streamed request's headers to its first content.",
    ("model",),
    SECONDS,
)
GAP = Metric(
    "apex_inter_token_gap_seconds",
    H,
    "The mean time between two events of a stream, once a stream.",
    ("model",),
    _GAPS,
)
STALL = Metric(
    "apex_longest_gap_seconds",
    H,
    "The longest wait for a provider within a stream that had begun, once a stream.",
    ("model",),
    _GAPS,
)
SPEED = Metric(
    "apex_output_tokens_per_second",
    H,
    "Output tokens of a stream by the time from its first content to its end, once a stream.",
    ("model",),
    _SPEEDS,
)
TOKENS = Metric(
    "apex_tokens_total", C, "Tokens of finished requests as providers counted them.", ("model", "kind")
)
COST = Metric(
    "apex_cost_dollars_total",
    C,
    "What finished requests have cost, estimated from their tokens and list prices.",
    ("model", "provider"),
)
LOSSES = Metric(
    "apex_translation_losses_total",
    C,
    "Fields that answered requests have lost on the way to another dialect, by what was done.",
    ("field", "treatment"),
)

# Providers.
ATTEMPTS = Metric(
    "apex_upstream_attempts_total", C, "Attempts on targets, by how they ended.", ("provider", "outcome")
)
ATTEMPT_DURATION = Metric(
    "apex_upstream_attempt_duration_seconds",
    H,
    "From an attempt's begin to its end: of a stream, to its last event.",
    ("provider",),
    SECONDS,
)
FAILOVERS = Metric(
    "apex_failovers_total",
    C,
    "Attempts that failed and were followed by another, by the provider that failed and why.",
    ("provider", "reason"),
)
TARGET_STATE = Metric(
    "apex_target_state",
    G,
    "How a target stands: 0 may be tried, 1 backs off, 2 is half open, 3 is left alone, "
    "4 is drained by an operator.",
    ("target", "provider"),
)
TARGET_BACK_OFF = Metric(
    "apex_target_back_off_seconds",
    G,
    "Seconds that the back-off window of a target still lasts.",
    ("target", "provider"),
)
TARGET_OPEN = Metric(
    "apex_target_ejected_seconds",
    G,
    "Seconds until a target that failed may be probed.",
    ("target", "provider"),
)
TARGET_IN_FLIGHT = Metric(
    "apex_target_in_flight", G, "Requests of this replica now at a target.", ("target", "provider")
)
TARGET_BOUND = Metric(
    "apex_target_in_flight_limit",
    G,
    "How many requests this replica lets a target have, where it holds back from it.",
    ("target", "provider"),
)
MODEL_TARGETS = Metric("apex_model_targets", G, "Targets of a model.", ("model",))
MODEL_READY = Metric(
    "apex_model_targets_ready",
    G,
    "Targets of a model that may be tried now, or as soon as they have room.",
    ("model",),
)
RELOADS = Metric("apex_reloads_total", C, "Reloads of the configuration, by how they ended.", ("outcome",))

# Limits and queues.
LIMIT_DECISIONS = Metric(
    "apex_limit_decisions_total",
    C,
    "What limits have said, by whose limit it is: `admitted`, or what ran out.",
    ("scope", "name", "decision"),
)
LIMIT_REMAINING = Metric(
    "apex_limit_remaining_ratio",
    G,
    "The share of a limit that is left, as this replica saw it last; ask for the least over replicas.",
    ("scope", "name", "dimension"),
)
LIMITED_ALONE = Metric(
    "apex_limit_scopes_away", G, "Scopes that this replica limits alone, for Redis is away."
)
LIMIT_ERRORS = Metric(
    "apex_limit_store_errors_total", C, "Calls for limits that Redis answered with an error."
)
QUEUE_DEPTH = Metric("apex_queue_depth", G, "Requests that wait for a turn at a target.", ("model",))
QUEUE_WAIT = Metric(
    "apex_queue_wait_seconds", H, "How long requests that waited have waited.", ("model",), SECONDS
)

# The cluster.
REPLICAS = Metric("apex_replicas_live", G, "Replicas last seen alive.")
EXPECTED = Metric(
    "apex_replicas_expected",
    G,
    "How many there should be: `redis.expected_replicas`, or `redis.min_replicas`, if more than one.",
)
CONFIG_INFO = Metric("apex_config_info", G, "The configuration in force, by its digest; always 1.", ("hash",))
READY = Metric("apex_ready", G, "Whether this replica takes requests: 1 or 0.")
REDIS_CALLS = Metric("apex_redis_calls_total", C, "Calls sent to Redis.", ("link",))
REDIS_BATCHES = Metric("apex_redis_batches_total", C, "Batches in which they travelled.", ("link",))
REDIS_LATENCY = Metric(
    "apex_redis_batch_duration_seconds",
    H,
    "From the write of a batch to its last reply.",
    ("link",),
    _CALLS,
)
REDIS_ERRORS = Metric("apex_redis_errors_total", C, "Calls that failed, by why.", ("link", "reason"))
REDIS_REFUSED = Metric(
    "apex_redis_refused_total", C, "Calls that were not sent, for the breaker was open.", ("link",)
)
REDIS_LATE = Metric("apex_redis_late_total", C, "Replies that came after their deadline.", ("link",))
REDIS_CONNECTS = Metric("apex_redis_connects_total", C, "Connections made to Redis.", ("link",))
REDIS_BREAKER = Metric(
    "apex_redis_breaker_state", G, "The breaker before Redis: 0 closed, 1 half open, 2 open.", ("link",)
)
REDIS_AWAY = Metric(
    "apex_redis_outage", G, "Whether this replica decides alone, for Redis is away: 1 or 0.", ("link",)
)
STORED = Metric("apex_stored_responses", G, "Responses stored for clients, over the cluster.")
STORED_BYTES = Metric("apex_stored_response_bytes", G, "What they take, in bytes.")
STORE_WAITING = Metric(
    "apex_stored_responses_waiting", G, "Responses that wait in this replica until Redis is back."
)
STORE_WAITING_BYTES = Metric("apex_stored_responses_waiting_bytes", G, "What they take, in bytes.")
LAG = Metric("apex_event_loop_lag_seconds", G, "How late the event loop is, smoothed over about a second.")
LINES_DROPPED = Metric(
    "apex_log_lines_dropped_total", C, "Request lines that were dropped, for the log could not keep up."
)
TRACES_DROPPED = Metric(
    "apex_traces_dropped_total",
    C,
    "Spans that the collector did not take, or that did not fit into the queue before it. Only there with "
    "`traces.endpoint`.",
)
UNPRICED = Metric(
    "apex_targets_unpriced", G, "Targets whose price is not known, so that they cost nothing here."
)
BUILD = Metric("apex_build_info", G, "The running version; always 1.", ("version",))

GROUPS: tuple[tuple[str, tuple[Metric, ...]], ...] = (
    (
        "Requests",
        (
            REQUESTS,
            DURATION,
            OVERHEAD,
            IN_FLIGHT,
            BODY_BYTES,
            REFUSALS,
            FIRST_TOKEN,
            GAP,
            STALL,
            SPEED,
            TOKENS,
            COST,
            LOSSES,
        ),
    ),
    (
        "Providers",
        (
            ATTEMPTS,
            ATTEMPT_DURATION,
            FAILOVERS,
            TARGET_STATE,
            TARGET_BACK_OFF,
            TARGET_OPEN,
            TARGET_IN_FLIGHT,
            TARGET_BOUND,
            MODEL_TARGETS,
            MODEL_READY,
            UNPRICED,
        ),
    ),
    (
        "Limits and queues",
        (LIMIT_DECISIONS, LIMIT_REMAINING, LIMITED_ALONE, LIMIT_ERRORS, QUEUE_DEPTH, QUEUE_WAIT),
    ),
    (
        "The cluster",
        (
            REPLICAS,
            EXPECTED,
            CONFIG_INFO,
            RELOADS,
            READY,
            REDIS_CALLS,
            REDIS_BATCHES,
            REDIS_LATENCY,
            REDIS_ERRORS,
            REDIS_REFUSED,
            REDIS_LATE,
            REDIS_CONNECTS,
            REDIS_BREAKER,
            REDIS_AWAY,
            STORED,
            STORED_BYTES,
            STORE_WAITING,
            STORE_WAITING_BYTES,
            LAG,
            LINES_DROPPED,
            TRACES_DROPPED,
            BUILD,
        ),
    ),
)
"""All of them, as the page shows them."""

CATALOGUE: tuple[Metric, ...] = tuple(metric for _, metrics in GROUPS for metric in metrics)

LABELS: dict[str, str] = {
    "decision": "`admitted`, `requests`, `tokens`, `concurrency` or `outage`",
    "dimension": "`requests`, `tokens` or `concurrency`",
    "endpoint": "`chat`, `embeddings`, `responses`, `messages`, `count_tokens` (of two dialects), `models` "
    "or `other`",
    "field": "a field of the [table of dialects](dialects.md)",
    "hash": "the first digits of a digest of the configuration, the same on every replica that has it",
    "kind": "`input` (all of it), `cached` (the part of it that was read from a cache), `written` (the part "
    "that was written to one), `output` (all of it) or `reasoning` (the part of it that was not said)",
    "link": "`shared` (limits, health, who lives) or `responses` (what is stored)",
    "model": "an alias of the configuration, else `other`",
    "name": "a configured client's name, a model's alias, or a provider key's public id",
    "outcome": "of requests `completed`, `refused` (the caller's own fault), `failed` (a provider's or the "
    "proxy's), `broken` (after the stream had begun), `client_gone` or `crashed` (a bug); of attempts `ok`, "
    "`cancelled`, `no_count` (asked to count tokens, the provider gave no count) or a reason; of reloads "
    "`taken` or `refused`",
    "provider": "a provider of the configuration",
    "reason": "of attempts a fault (`connect`, `first_token_timeout`, ...), or `status_` with a usual "
    "status, else its class (`status_4xx`); of refusals a usual code, else `other`, where `overloaded` is "
    "this replica and `upstream_overloaded` a provider; of Redis why a call failed",
    "scope": "whose limit it is: `client`, `model` or `key`",
    "target": "a target of the configuration: provider, model and the public id of its key",
    "treatment": "`dropped`, `clamped` or `changed`",
    "version": "of the program",
}
"""What the values of each label can be."""
