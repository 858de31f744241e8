"""What is read off at a scrape, and costs requests nothing: how things stand, and counts kept elsewhere."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from metrics.catalogue import Kind, Metric


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """One value of one metric, with the values of its labels in the catalogue's order."""

    metric: Metric
    value: float
    labels: tuple[str, ...] = ()


class Readings(Collector):
    """A collector over whatever `source` says at the time."""

    def __init__(self, source: Callable[[], Iterable[Reading]]) -> None:
        self._source = source

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """One family for each metric that was read."""
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for reading in self._source():
            name = reading.metric.name
            if name not in families:
                families[name] = _family(reading.metric)
            families[name].add_metric(reading.labels, reading.value)
        yield from families.values()

    def describe(self) -> tuple[()]:
        """Nothing ahead: when it is registered there may be nothing to read yet."""
        return ()


def _family(metric: Metric) -> CounterMetricFamily | GaugeMetricFamily:
    made = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    return made(metric.name, metric.help, labels=metric.labels)
