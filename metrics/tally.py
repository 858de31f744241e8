"""What is counted on a request's way: plain numbers, turned into Prometheus' families only at a scrape.

One thread counts and is asked, that of the event loop, so nothing is locked. Observing is a search in a
dozen buckets and three additions; the library's own instruments take three times as long. An exemplar is the
last value of its bucket that had a trace, so that a slow request can be looked up by it.
"""

import bisect
import math

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.samples import Exemplar

from metrics.catalogue import Metric

Labels = tuple[str, ...]


class Count:
    """A counter by its labels."""

    __slots__ = ("metric", "values")

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.values: dict[Labels, float] = {}

    def add(self, labels: Labels, amount: float = 1) -> None:
        """Count `amount` more."""
        self.values[labels] = self.values.get(labels, 0) + amount

    def family(self) -> CounterMetricFamily:
        """What it stands at."""
        family = CounterMetricFamily(self.metric.name, self.metric.help, labels=self.metric.labels)
        for labels, value in self.values.items():
            family.add_metric(labels, value)
        return family


class Spread:
    """The values of one label combination, by bucket. `total` is their sum."""

    __slots__ = ("_bounds", "_counts", "_traces", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._traces: dict[int, tuple[str, float]] = {}
        self.total = 0.0

    def observe(self, value: float, trace: str = "") -> None:
        """Count a value; `trace` is the id of the trace that it belongs to."""
        place = bisect.bisect_left(self._bounds, value)
        self._counts[place] += 1
        self.total += value
        if trace:
            self._traces[place] = trace, value

    def buckets(self) -> list[tuple[str, float] | tuple[str, float, Exemplar]]:
        """Upper bound, how many were at most that, and a trace of one of them."""
        told: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
        count = 0
        for place, (bound, more) in enumerate(zip((*self._bounds, math.inf), self._counts, strict=True)):
            count += more
            text = "+Inf" if bound == math.inf else str(float(bound))
            seen = self._traces.get(place)
            if seen is None:
                told.append((text, count))
            else:
                told.append((text, count, Exemplar({"trace_id": seen[0]}, seen[1], None)))
        return told


class Histogram:
    """Spreads by their labels."""

    __slots__ = ("_spreads", "metric")

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self._spreads: dict[Labels, Spread] = {}

    def of(self, labels: Labels) -> Spread:
        """The spread of these labels."""
        spread = self._spreads.get(labels)
        if spread is None:
            spread = self._spreads[labels] = Spread(self.metric.buckets)
        return spread

    def family(self) -> HistogramMetricFamily:
        """What it stands at."""
        family = HistogramMetricFamily(self.metric.name, self.metric.help, labels=self.metric.labels)
        for labels, spread in self._spreads.items():
            family.add_metric(labels, spread.buckets(), spread.total)
        return family
