from metrics.catalogue import Kind, Metric
from metrics.tally import Count, Histogram, Spread

COUNTED = Metric("apex_things_total", Kind.COUNTER, "Things.", ("kind",))
TIMED = Metric("apex_waits_seconds", Kind.HISTOGRAM, "Waits.", ("kind",), (0.1, 1.0))


def test_counts_add_up_by_their_labels() -> None:
    """Each label combination has a number of its own."""
    count = Count(COUNTED)
    count.add(("a",))
    count.add(("a",), 2.5)
    count.add(("b",))
    samples = {sample.labels["kind"]: sample.value for sample in count.family().samples}
    assert samples == {"a": 3.5, "b": 1}
    assert {sample.name for sample in count.family().samples} == {"apex_things_total"}


def test_a_value_on_a_bound_is_within_it() -> None:
    """Buckets are told as Prometheus wants them: each holds all that are not larger."""
    spread = Spread((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 1.0, 7.0):
        spread.observe(value)
    assert spread.buckets() == [("0.1", 2), ("1.0", 4), ("+Inf", 5)]
    assert spread.total == 8.65


def test_a_bucket_remembers_the_last_trace() -> None:
    """What has no trace leaves the last one in its place."""
    spread = Spread((1.0,))
    spread.observe(0.2, "aa")
    spread.observe(0.3, "bb")
    spread.observe(0.4)
    below, above = spread.buckets()
    assert len(below) == 3
    assert (below[2].labels, below[2].value) == ({"trace_id": "bb"}, 0.3)
    assert len(above) == 2


def test_a_histogram_has_a_spread_for_each_label_combination() -> None:
    """The same one each time."""
    histogram = Histogram(TIMED)
    histogram.of(("a",)).observe(0.5)
    histogram.of(("a",)).observe(0.5)
    histogram.of(("b",)).observe(5.0)
    samples = {
        (sample.name.removeprefix("apex_waits_seconds_"), *sample.labels.values()): sample.value
        for sample in histogram.family().samples
    }
    assert samples["count", "a"] == 2
    assert samples["sum", "a"] == 1.0
    assert samples["bucket", "b", "1.0"] == 0
    assert samples["bucket", "b", "+Inf"] == 1
