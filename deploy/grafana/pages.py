"""The dashboards as code: `python deploy/grafana/pages.py` writes deploy/grafana/dashboards/*.json.

A page is a list of panels, each with its queries. Rates are over `$__rate_interval`, so that they fit
whatever interval Prometheus scrapes in.
"""  # noqa: INP001  (a script, not a package)

import json
from pathlib import Path

from queries import quantile, quantiles, rate, share
from shapes import Page, Panel, dashboard

OUT = Path(__file__).parent / "dashboards"
BAD = 'outcome=~"failed|broken|crashed"'
COUNTED = 'outcome!~"refused|client_gone"'
"""What an error budget is about: a caller's own faults and its leaving are not."""

_MODEL = 'model=~"$model"'
_PROVIDER = 'provider=~"$provider"'
_JUDGED = 'outcome!~"no_count|cancelled"'
"""Attempts that say whether their provider is well."""
_GOOD = ((None, "red"), (0.99, "orange"), (0.999, "green"))
_STATES = {
    0: ("ready", "green"),
    1: ("backs off", "yellow"),
    2: ("half open", "orange"),
    3: ("out", "red"),
    4: ("drained", "blue"),
}
_BREAKER = {0: ("closed", "green"), 1: ("half open", "orange"), 2: ("open", "red")}

OVERVIEW = Page(
    "apex-overview",
    "Apex: overview",
    "Traffic, success, latency and cost.",
    [
        Panel(
            "Requests",
            {"": rate("apex_requests_total", where=_MODEL)},
            "reqps",
            "stat",
            4,
        ),
        Panel(
            "Success",
            {
                "": "1 - "
                + share(
                    rate("apex_requests_total", where=f"{_MODEL}, {BAD}"),
                    rate("apex_requests_total", where=f"{_MODEL}, {COUNTED}"),
                )
            },
            "percentunit",
            "stat",
            4,
            "Of requests that were neither refused for the caller's own fault nor left by it.",
            bounds=_GOOD,
        ),
        Panel("In flight", {"": "sum(apex_requests_in_flight)"}, "short", "stat", 4),
        Panel(
            "First token, p95",
            {"": quantile(0.95, "apex_time_to_first_token_seconds", where=_MODEL)},
            "s",
            "stat",
            4,
        ),
        Panel(
            "Overhead, p99",
            {"": quantile(0.99, "apex_overhead_seconds")},
            "s",
            "stat",
            4,
            "The proxy's own part of a request's duration.",
        ),
        Panel(
            "Cost of a day",
            {"": f"sum(increase(apex_cost_dollars_total{{{_MODEL}}}[1d]))"},
            "currencyUSD",
            "stat",
            4,
            "Of the last 24 hours, at list prices.",
        ),
        Panel(
            "Requests by outcome",
            {"{{outcome}}": rate("apex_requests_total", "outcome", _MODEL)},
            "reqps",
            stacked=True,
        ),
        Panel(
            "Requests by model",
            {"{{model}}": rate("apex_requests_total", "model", _MODEL)},
            "reqps",
            stacked=True,
        ),
        Panel(
            "Requests by endpoint",
            {"{{endpoint}}": rate("apex_requests_total", "endpoint", _MODEL)},
            "reqps",
            stacked=True,
        ),
        Panel("Duration", quantiles("apex_request_duration_seconds", _MODEL), "s"),
        Panel("Overhead", quantiles("apex_overhead_seconds"), "s"),
        Panel("Errors by reason", {"{{reason}}": rate("apex_refusals_total", "reason")}, "reqps"),
        Panel(
            "Time to first token, p95",
            {"{{model}}": quantile(0.95, "apex_time_to_first_token_seconds", "model", _MODEL)},
            "s",
        ),
        Panel(
            "Gaps in streams",
            {
                "mean, p95, {{model}}": quantile(0.95, "apex_inter_token_gap_seconds", "model", _MODEL),
                "longest, p95, {{model}}": quantile(0.95, "apex_longest_gap_seconds", "model", _MODEL),
            },
            "s",
        ),
        Panel(
            "Output tokens a second of a stream, p50",
            {"{{model}}": quantile(0.5, "apex_output_tokens_per_second", "model", _MODEL)},
        ),
        Panel("Tokens a second", {"{{kind}}": rate("apex_tokens_total", "kind", _MODEL)}),
        Panel(
            "Cost an hour",
            {
                "{{model}} at {{provider}}": "3600 * "
                + rate("apex_cost_dollars_total", "model, provider", _MODEL)
            },
            "currencyUSD",
            about="At list prices; see docs/metrics.md.",
            stacked=True,
        ),
        Panel(
            "Lost in translation",
            {"{{field}} {{treatment}}": rate("apex_translation_losses_total", "field, treatment")},
            "cps",
            about="Fields that a request could not take along to another dialect.",
        ),
    ],
    {"model": "label_values(apex_model_targets, model)"},
)

PROVIDERS = Page(
    "apex-providers",
    "Apex: providers",
    "How providers answer, and who is left alone.",
    [
        Panel(
            "Targets",
            {"{{target}}": f"max by (target) (apex_target_state{{{_PROVIDER}}})"},
            kind="state-timeline",
            width=24,
            about="Every replica tells the same of the cluster.",
            names=_STATES,
        ),
        Panel(
            "Attempts by outcome",
            {
                "{{provider}} {{outcome}}": rate(
                    "apex_upstream_attempts_total", "provider, outcome", _PROVIDER
                )
            },
            "reqps",
            about="`no_count`: asked to count tokens, it gave no count. It may serve very well.",
        ),
        Panel(
            "Share of attempts that succeed",
            {
                "{{provider}}": share(
                    rate("apex_upstream_attempts_total", "provider", f'{_PROVIDER}, outcome="ok"'),
                    rate("apex_upstream_attempts_total", "provider", f"{_PROVIDER}, {_JUDGED}"),
                )
            },
            "percentunit",
            about="Without those that say nothing of a provider: its client left, or it cannot count tokens.",
        ),
        Panel(
            "Failovers",
            {"{{provider}} {{reason}}": rate("apex_failovers_total", "provider, reason", _PROVIDER)},
            "reqps",
            about="Attempts that failed and were followed by another.",
        ),
        Panel(
            "Attempt duration, p95",
            {"{{provider}}": quantile(0.95, "apex_upstream_attempt_duration_seconds", "provider", _PROVIDER)},
            "s",
        ),
        Panel(
            "Back-off",
            {"{{target}}": f"max by (target) (apex_target_back_off_seconds{{{_PROVIDER}}})"},
            "s",
            about="Seconds until a target that asked for time may be asked again.",
        ),
        Panel(
            "Left alone",
            {"{{target}}": f"max by (target) (apex_target_ejected_seconds{{{_PROVIDER}}})"},
            "s",
            about="Seconds until a target that failed is probed.",
        ),
        Panel(
            "Requests at targets",
            {"{{target}}": f"sum by (target) (apex_target_in_flight{{{_PROVIDER}}})"},
        ),
        Panel(
            "Bounds of requests at targets",
            {"{{target}}": f"sum by (target) (apex_target_in_flight_limit{{{_PROVIDER}}})"},
            about="Only where the proxy holds back from a target that has too much to do.",
        ),
        Panel(
            "Ready targets of models",
            {"{{model}}": "max by (model) (apex_model_targets_ready) / max by (model) (apex_model_targets)"},
            "percentunit",
        ),
    ],
    {"provider": "label_values(apex_target_state, provider)"},
)

LIMITS = Page(
    "apex-limits",
    "Apex: limits",
    "Who is near which limit, who was refused, and who waits.",
    [
        Panel(
            "Nearest to a limit",
            {
                "{{scope}} {{name}}: {{dimension}}": "bottomk(15, min by (scope, name, dimension)"
                " (apex_limit_remaining_ratio))"
            },
            "percentunit",
            "bargauge",
            12,
            "The share that is left, by the replica that has seen the least.",
            bounds=((None, "red"), (0.1, "orange"), (0.3, "green")),
        ),
        Panel(
            "What is left of clients' limits",
            {
                "{{name}}: {{dimension}}": "min by (name, dimension)"
                ' (apex_limit_remaining_ratio{scope="client"})'
            },
            "percentunit",
            width=12,
        ),
        Panel(
            "Refused",
            {
                "{{scope}} {{name}}: {{decision}}": rate(
                    "apex_limit_decisions_total", "scope, name, decision", 'decision!="admitted"'
                )
            },
            "reqps",
        ),
        Panel(
            "Admitted",
            {"{{scope}} {{name}}": rate("apex_limit_decisions_total", "scope, name", 'decision="admitted"')},
            "reqps",
        ),
        Panel(
            "Share of clients' requests that is refused",
            {
                "{{name}}": share(
                    rate("apex_limit_decisions_total", "name", 'scope="client", decision!="admitted"'),
                    rate("apex_limit_decisions_total", "name", 'scope="client"'),
                )
            },
            "percentunit",
        ),
        Panel("Requests that wait", {"{{model}}": "sum by (model) (apex_queue_depth)"}),
        Panel(
            "Wait of those that waited, p95",
            {"{{model}}": quantile(0.95, "apex_queue_wait_seconds", "model")},
            "s",
        ),
        Panel(
            "Scopes limited by replicas alone",
            {"{{instance}}": "apex_limit_scopes_away"},
            about="While Redis is away, each replica allows its part of a limit.",
        ),
    ],
)

CLUSTER = Page(
    "apex-cluster",
    "Apex: cluster",
    "Replicas, Redis, and what is stored.",
    [
        Panel("Replicas ready", {"": "sum(apex_ready)"}, kind="stat", width=4),
        Panel("Replicas that Redis knows", {"": "max(apex_replicas_live)"}, kind="stat", width=4),
        Panel(
            "Configurations",
            {"": "count(count by (hash) (apex_config_info))"},
            kind="stat",
            width=4,
            about="More than one for long: a reload has not reached everybody.",
            bounds=((None, "green"), (2, "orange")),
        ),
        Panel(
            "Versions",
            {"": "count(count by (version) (apex_build_info))"},
            kind="stat",
            width=4,
            bounds=((None, "green"), (2, "orange")),
        ),
        Panel("Stored responses", {"": "max(apex_stored_responses)"}, kind="stat", width=4),
        Panel("Stored bytes", {"": "max(apex_stored_response_bytes)"}, "bytes", "stat", 4),
        Panel(
            "Redis",
            {"{{instance}} {{link}}": "apex_redis_breaker_state"},
            kind="state-timeline",
            width=24,
            about="The breaker of each replica before Redis.",
            names=_BREAKER,
        ),
        Panel("Event loop lag", {"{{instance}}": "apex_event_loop_lag_seconds"}, "s"),
        Panel(
            "CPU",
            {"{{instance}}": 'rate(process_cpu_seconds_total{job="apex"}[$__rate_interval])'},
            "percentunit",
            about="Of one core: a replica can use one.",
        ),
        Panel("Memory", {"{{instance}}": 'process_resident_memory_bytes{job="apex"}'}, "bytes"),
        Panel("Requests in flight", {"{{instance}}": "apex_requests_in_flight"}),
        Panel("Bytes of requests in flight", {"{{instance}}": "apex_request_bytes_in_flight"}, "bytes"),
        Panel("Requests", {"{{instance}}": rate("apex_requests_total", "instance")}, "reqps"),
        Panel(
            "Redis calls",
            {
                "calls, {{link}}": rate("apex_redis_calls_total", "link"),
                "batches, {{link}}": rate("apex_redis_batches_total", "link"),
            },
            "ops",
        ),
        Panel(
            "Redis latency, p50 and p99",
            {
                "p50, {{link}}": quantile(0.5, "apex_redis_batch_duration_seconds", "link"),
                "p99, {{link}}": quantile(0.99, "apex_redis_batch_duration_seconds", "link"),
            },
            "s",
        ),
        Panel(
            "Redis trouble",
            {
                "{{link}}: {{reason}}": rate("apex_redis_errors_total", "link, reason"),
                "{{link}}: not sent": rate("apex_redis_refused_total", "link"),
                "{{link}}: late": rate("apex_redis_late_total", "link"),
                "{{link}}: connects": rate("apex_redis_connects_total", "link"),
            },
            "cps",
        ),
        Panel(
            "Responses that wait for Redis",
            {"{{instance}}": "apex_stored_responses_waiting"},
            about="Promised to clients and kept in a replica's memory.",
        ),
        Panel(
            "Log lines dropped",
            {"{{instance}}": rate("apex_log_lines_dropped_total", "instance")},
            "cps",
            about="The log's reader cannot keep up.",
        ),
        Panel(
            "Reloads",
            {"{{outcome}}": "sum by (outcome) (increase(apex_reloads_total[5m]))"},
            about="One that is refused changes nothing; the log of the replica says why.",
        ),
        Panel("Targets without a price", {"": "max(apex_targets_unpriced)"}),
    ],
)

PAGES = (OVERVIEW, PROVIDERS, LIMITS, CLUSTER)


def written(page: Page) -> str:
    """The text of its file."""
    return json.dumps(dashboard(page), indent=1) + "\n"


def main() -> None:
    """Write all of them."""
    for page in PAGES:
        (OUT / f"{page.uid.removeprefix('apex-')}.json").write_text(written(page), encoding="utf-8")


if __name__ == "__main__":
    main()
