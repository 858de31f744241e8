"""Where traces leave, put together out of a configuration; nowhere unless it names a collector.

The one place that loads OpenTelemetry. It is an extra, which need not be installed, and takes its time and
its memory: so `metrics.traces`, the module that is written with it, is imported here by its name, when it is
wanted, and nowhere else.
"""

import importlib
import importlib.util
import random
from collections.abc import Callable, Iterable
from typing import Protocol

from metrics.readings import Reading
from metrics.record import Record
from proxy.clock import Clock
from proxy.config.problems import Problem
from proxy.config.traces import Traces as Settings
from proxy.tracing import Tracer

EXTRA = ".[traces]"
NEEDED = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
"""The packages of the extra, by what is imported of them."""


class Traces(Protocol):
    """What a replica knows of `metrics.traces.Traces`."""

    def start(self) -> None:
        """Start the thread that exports."""

    def observe(self, record: Record) -> None:
        """A request ended."""

    def read(self) -> Iterable[Reading]:
        """What is told at a scrape."""

    def close(self) -> None:
        """Export what is left, within some seconds."""


def installed(name: str) -> bool:
    """Whether a module could be imported."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # a package that it would be in
        return False


def missing(settings: Settings, has: Callable[[str], bool] = installed) -> Problem | None:
    """What has to be installed for these settings, if anything has."""
    if settings.endpoint is None or all(map(has, NEEDED)):
        return None
    return Problem(
        "traces.endpoint", f"traces need OpenTelemetry, which is not installed: pip install '{EXTRA}'", ""
    )


def traces(settings: Settings, replica: str, version: str, clock: Clock) -> Traces | None:
    """What makes spans of records and exports them; None where nothing is traced."""
    if settings.endpoint is None:
        return None
    module = importlib.import_module("metrics.traces")
    outlet = module.over_http(settings.url, settings.headers, settings.timeout)
    whose = module.resource(settings.service_name, version, replica)
    made: Traces = module.Traces(outlet, whose, version, lambda: clock.wall() - clock.monotonic())
    return made


def tracer(settings: Settings, draw: random.Random) -> Tracer | None:
    """What gives requests their places in traces; None where nothing is traced.

    It draws for itself: what is decided on a request's way hangs on no trace.
    """
    if settings.endpoint is None:
        return None
    return Tracer(settings.sample, random.Random(draw.getrandbits(64)))  # noqa: S311  (ids are no secrets)
