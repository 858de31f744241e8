"""What ours is meant to reach, and whether a run did: every figure out of the run's document."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rounds import Series

OURS, FLOOR, NGINX = "ours", "direct", "nginx"
LITELLM, PORTKEY = "LiteLLM", "Portkey"


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure and its bound: at least, or at most."""

    what: str
    value: float
    bound: float
    least: bool = False
    unit: str = ""

    @property
    def met(self) -> bool:
        """Whether the figure keeps its bound."""
        return self.value >= self.bound if self.least else self.value <= self.bound

    def figures(self) -> tuple[str, str]:
        """What was measured, and the bound in words."""
        sense = "at least" if self.least else "at most"
        return f"{self.value:,.3g}{self.unit}", f"{sense} {self.bound:g}{self.unit}"

    def __str__(self) -> str:
        measured, bound = self.figures()
        return f"{'met   ' if self.met else 'MISSED'} {self.what}: {measured} ({bound})"


def goals(document: dict[str, Any]) -> list[Goal]:
    """All that the run has figures for."""
    levels = {
        one["level"]: Series(**one)
        for section in document["sections"].values()
        for one in section
        if one["rounds"]
    }
    made = (_flat_out, _fixed_rate, _streams, _memory, _start, _bodies)
    return [goal for make in made for goal in make(levels)]


def _flat_out(levels: dict[str, Series]) -> Iterator[Goal]:
    at = levels.get("64 connections")
    if at is None or not at.has(NGINX):
        return
    for other, bound in ((LITELLM, 80.0), (PORTKEY, 6.0), (NGINX, 0.2)):
        if at.has(other):
            yield Goal(f"64 connections, ours / {other}", at.ratio(OURS, other, "rate"), bound, least=True)
    wide = levels.get("256 connections")
    if wide is not None and wide.has(OURS):
        value = wide.median(OURS, "rate") / at.median(OURS, "rate")
        yield Goal("256 connections / 64 connections", value, 0.9, least=True)


def _fixed_rate(levels: dict[str, Series]) -> Iterator[Goal]:
    at = levels.get("1,000 requests/s")
    if at is None or not at.has(OURS):
        return
    for name, figure, bound in (("p50", "p50_us", 0.6), ("p99", "p99_us", 3.0), ("p99.9", "p999_us", 10.0)):
        added = at.added(OURS, FLOOR, figure) / 1000
        yield Goal(f"1,000 requests/s, {name} over direct", added, bound, unit=" ms")
    failed = sum(float(why.split()[1]) for why in at.voided if why.startswith("ours: ") and "failed" in why)
    yield Goal(f"failed of {sum(at.values(OURS, 'requests')):,.0f} at 1,000 requests/s", failed, 0)


def _streams(levels: dict[str, Series]) -> Iterator[Goal]:
    for name, bound in (("passed", 25.0), ("translated", 10.0)):
        for level, one in levels.items():
            if f"{name}, flat out" in level and one.has(OURS) and one.has(LITELLM):
                value = one.ratio(OURS, LITELLM, "core_rate")
                yield Goal(f"{level}, events per core second, ours / {LITELLM}", value, bound, least=True)
    paced = levels.get("1,000 streams passed, paced")
    if paced is not None and paced.has(OURS):
        value = paced.added(OURS, FLOOR, "p99_us") / 1000
        yield Goal("1,000 streams, first content p99 over direct", value, 5.0, unit=" ms")


def _memory(levels: dict[str, Series]) -> Iterator[Goal]:
    side = "ours, 1,000 streams"
    at = levels.get("fresh processes")
    if at is not None and at.has(side):
        yield Goal("memory, idle", at.median(side, "idle_mib"), 90.0, unit=" MiB")
        yield Goal("memory, a stream of 1,000", at.median(side, "stream_kib"), 64.0, unit=" KiB")


def _start(levels: dict[str, Series]) -> Iterator[Goal]:
    at = levels.get("start to ready")
    if at is None:
        return
    libraries, beside, own = (name for name in at.sides() if "LiteLLM" not in name)
    yield Goal("start / import of its libraries", at.ratio(beside, libraries, "seconds"), 1.5)
    yield Goal("start with the embedded store, more", at.added(own, beside, "seconds"), 0.2, unit=" s")


def _bodies(levels: dict[str, Series]) -> Iterator[Goal]:
    small, large = levels.get("1 KB, 16 connections"), levels.get("113 KB, 16 connections")
    if small is not None and large is not None and small.has(OURS) and large.has(OURS):
        value = large.median(OURS, "rate") / small.median(OURS, "rate")
        yield Goal("113 KB prompts / 1 KB prompts", value, 0.4, least=True)
    alone, beside = levels.get("1 KB at 200/s"), levels.get("1 KB at 200/s beside 4 MB at 5/s")
    if alone is not None and beside is not None and alone.has(OURS) and beside.has(OURS):
        value = (beside.median(OURS, "p99_us") - alone.median(OURS, "p99_us")) / 1000
        yield Goal("p99 of 1 KB requests, more beside 4 MB", value, 5.0, unit=" ms")
