import re

from metrics.catalogue import CATALOGUE, GROUPS, LABELS, Kind


def test_names_are_ours_and_said_once() -> None:
    """`apex_` in front, each name once, counters end with `_total` and nothing else does."""
    names = [metric.name for metric in CATALOGUE]
    assert len(set(names)) == len(names) == sum(len(metrics) for _, metrics in GROUPS)
    assert all(re.fullmatch(r"apex_[a-z_]+", name) for name in names)
    assert all((m.kind is Kind.COUNTER) == m.name.endswith("_total") for m in CATALOGUE)


def test_everything_is_described() -> None:
    """A sentence for each metric, and what the values of each label can be, for no other labels."""
    assert all(metric.help.endswith(".") for metric in CATALOGUE)
    assert {label for metric in CATALOGUE for label in metric.labels} == LABELS.keys()


def test_no_label_is_a_clients_to_choose() -> None:
    """Nothing of what grows with requests."""
    assert LABELS.keys().isdisjoint({"key", "user", "request_id", "id", "path", "text", "trace_id", "client"})


def test_histograms_have_base_units_and_rising_buckets() -> None:
    """So that quantiles can be worked out; nothing else has buckets."""
    for metric in CATALOGUE:
        assert (metric.kind is Kind.HISTOGRAM) == bool(metric.buckets)
        assert list(metric.buckets) == sorted(set(metric.buckets))
        if metric.kind is Kind.HISTOGRAM:
            assert metric.name.endswith(("_seconds", "_per_second"))


def test_samples_are_what_prometheus_stores() -> None:
    """Of a histogram three names, of anything else its own."""
    by_name = {metric.name: metric for metric in CATALOGUE}
    assert by_name["apex_ready"].samples == ("apex_ready",)
    assert by_name["apex_overhead_seconds"].samples == (
        "apex_overhead_seconds_bucket",
        "apex_overhead_seconds_sum",
        "apex_overhead_seconds_count",
    )
