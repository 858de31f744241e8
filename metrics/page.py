"""The page of metrics, made from the catalogue: `python -m metrics.page > docs/metrics.md`."""

import sys
from collections.abc import Iterator

from metrics.catalogue import GROUPS, LABELS, Kind, Metric

_INTRODUCTION = """\
# Metrics

This page is made from the program: `python -m metrics.page > docs/metrics.md`.

`GET /metrics` on the operations port gives all of them in Prometheus' text format, or as OpenMetrics with
exemplars (`trace_id`, from the caller's `traceparent`) where that is asked for. With `operations.token` set,
it wants `Authorization: Bearer <token>`. Each replica speaks for itself, and so does each worker, at an
operations port of its own: sum counters over them. What the cluster has in common (`apex_replicas_live`,
`apex_target_state`, `apex_stored_responses`) every replica tells alike: take the greatest.

What a request takes is counted when it is over; gauges are read off at the scrape. Units are seconds, bytes,
tokens and dollars. The dashboards under `deploy/grafana` and the alerts under `deploy/prometheus` use nothing
else; [operations.md](operations.md) says what each alert means. Beside these there are the usual
`process_` metrics of the process (memory, CPU time, open files).
"""

_COSTS = """\
## Costs

A request's cost is its tokens at list prices: those that the `genai-prices` package knew when the
configuration was read, or those of the entry ([`price`](configuration.md)). Discounts, batches and what is
not billed by the token are unknown to it, and so are models that a client addresses directly and that no
alias leads to. It is in `apex_cost_dollars_total`, in the request's log line, and in the header `x-apex-cost`
where `costs.header` says so (not of streams, whose headers go out before their usage is known).
"""


def render() -> str:
    """The whole page, in Markdown."""
    groups = "\n".join(_group(title, metrics) for title, metrics in GROUPS)
    labels = "\n".join(f"| `{name}` | {values} |" for name, values in sorted(LABELS.items()))
    return f"{_INTRODUCTION}\n{groups}\n## Labels\n\n| Label | Values |\n|---|---|\n{labels}\n\n{_COSTS}"


def _group(title: str, metrics: tuple[Metric, ...]) -> str:
    head = "| Metric | Type | Labels | Meaning |\n|---|---|---|---|"
    return "\n".join([f"## {title}", "", head, *map(_row, metrics), "", *_buckets(metrics)])


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |"


def _buckets(metrics: tuple[Metric, ...]) -> Iterator[str]:
    """The bounds of the histograms, told once for those that have the same."""
    told: dict[tuple[float, ...], list[str]] = {}
    for metric in metrics:
        if metric.kind is Kind.HISTOGRAM:
            told.setdefault(metric.buckets, []).append(f"`{metric.name}`")
    for bounds, names in told.items():
        yield f"Buckets of {', '.join(names)}: {', '.join(f'{bound:g}' for bound in bounds)}.\n"


if __name__ == "__main__":
    sys.stdout.write(render())
