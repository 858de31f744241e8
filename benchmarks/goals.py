"""What ours is meant to reach, and whether a run did: every figure out of the run's document."""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rounds import Series

OURS, FLOOR, NGINX = "ours", "direct", "nginx"
LITELLM, PORTKEY = "LiteLLM", "Portkey"
ONE, TWO = "1 worker", "2 workers"
_BY_CPU = "by CPU time"

Levels = dict[str, Series]
Scale = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure and its bound: at least, or at most. It is missed where there is no figure, because `why`."""

    what: str
    value: float | None
    bound: float
    least: bool = False
    unit: str = ""
    why: str = "not measured"

    @property
    def met(self) -> bool:
        """Whether the figure keeps its bound."""
        if self.value is None:
            return False
        return self.value >= self.bound if self.least else self.value <= self.bound

    def figures(self) -> tuple[str, str]:
        """What was measured, and the bound in words."""
        sense = "at least" if self.least else "at most"
        measured = self.why if self.value is None else f"{self.value:,.4g}{self.unit}"
        return measured, f"{sense} {self.bound:g}{self.unit}"

    def __str__(self) -> str:
        measured, bound = self.figures()
        return f"{'met   ' if self.met else 'MISSED'} {self.what}: {measured} ({bound})"


def goals(document: dict[str, Any]) -> list[Goal]:
    """All of the sections that the run was asked for."""
    found: list[Goal] = []
    for section, make in _MADE.items():
        if section in document["sections"]:
            series = [Series(**one) for one in document["sections"][section]]
            found += make({one.level: one for one in series}, document["scale"])
    return found


def capacities(at: Series, side: str) -> list[float]:
    """Requests a second that so many workers have CPU time for, of each round."""
    count = int(side.split(maxsplit=1)[0])
    return [count / cost * 1e6 for cost in at.values(side, "cpu_us")]


def scaling(at: Series) -> float:
    """What two workers can do, in what one can."""
    return statistics.median(
        two / one for one, two in zip(capacities(at, ONE), capacities(at, TWO), strict=True)
    )


def _at(levels: Levels, level: str, *sides: str) -> Series | None:
    """A level at which all of these were measured."""
    one = levels.get(level)
    return one if one is not None and all(map(one.has, sides)) else None


def _flat_out(levels: Levels, _: Scale) -> Iterator[Goal]:
    for other, bound in ((LITELLM, 80.0), (PORTKEY, 6.0), (NGINX, 0.2)):
        what, at = f"64 connections, ours / {other}", _at(levels, "64 connections", OURS, other)
        full = at.full(OURS, other) if at else []
        if at is None or full:
            value = (
                statistics.median(one[OURS]["rate"] / one[other]["rate"] for one in full) if full else None
            )
            yield Goal(what, value, bound, least=True)
        else:
            yield Goal(f"{what}, {_BY_CPU}", at.ratio(other, OURS, "cpu_us"), bound, least=True)
    yield _more("256 connections / 64 connections", levels, ("256 connections", "64 connections"), 0.9)


def _more(what: str, levels: Levels, names: tuple[str, str], bound: float) -> Goal:
    """The rate of ours at one level in that of another; by CPU time where one of them was not its wall."""
    one, other = (_at(levels, name, OURS) for name in names)
    if one is None or other is None:
        return Goal(what, None, bound, least=True)
    if one.rig_bound(OURS) or other.rig_bound(OURS):
        value = other.median(OURS, "cpu_us") / one.median(OURS, "cpu_us")
        return Goal(f"{what}, {_BY_CPU}", value, bound, least=True)
    return Goal(what, one.median(OURS, "rate") / other.median(OURS, "rate"), bound, least=True)


def _over(what: str, at: Series | None, figure: str, bound: float) -> Goal:
    """Milliseconds of ours over the floor."""
    value = None if at is None else at.added(OURS, FLOOR, figure) / 1000
    return Goal(what, value, bound, unit=" ms")


def _fixed_rate(levels: Levels, scale: Scale) -> Iterator[Goal]:
    at = _at(levels, "1,000 requests/s", OURS, FLOOR)
    for name, figure, bound in (("p50", "p50_us", 0.6), ("p99", "p99_us", 3.0), ("p99.9", "p999_us", 10.0)):
        yield _over(f"1,000 requests/s, {name} over direct", at, figure, bound)
    made = sum(at.values(OURS, "requests")) if at else 0.0
    failed = sum(at.values(OURS, "failed")) if at else 0.0
    enough = made + failed >= scale["requests"]
    what = f"failed of {scale['requests']:,} at 1,000 requests/s"
    yield Goal(what, failed if enough else None, 0, why=f"only {made:,.0f} measured")


def _streams(levels: Levels, _: Scale) -> Iterator[Goal]:
    for name, bound in (("streams passed", 25.0), ("translated", 10.0)):
        for how in ("flat out", "paced"):
            at = _at(levels, f"100 {name}, {how}", OURS, LITELLM)
            value = None if at is None else at.ratio(OURS, LITELLM, "core_rate")
            what = f"100 {name}, {how}, events per core second, ours / {LITELLM}"
            yield Goal(what, value, bound, least=True)
    at = _at(levels, "1,000 streams passed, paced", OURS, FLOOR)
    yield _over("1,000 streams, first content p99 over direct", at, "p99_us", 5.0)


def _memory(levels: Levels, _: Scale) -> Iterator[Goal]:
    side = "ours, 1,000 streams"
    at = _at(levels, "fresh processes", side)
    idle, stream = (at.median(side, name) if at else None for name in ("idle_mib", "stream_kib"))
    yield Goal("memory, idle", idle, 90.0, unit=" MiB")
    yield Goal("memory, a stream of 1,000", stream, 64.0, unit=" KiB")


def _start(levels: Levels, _: Scale) -> Iterator[Goal]:
    at = levels.get("start to ready")
    libraries, beside, own = (
        "import fastapi, uvicorn, redis",
        "ours to ready, store beside it",
        "ours to ready, embedded store",
    )
    ratio = at.ratio(beside, libraries, "seconds") if at else None
    yield Goal("start / import of its libraries", ratio, 1.5)
    more = at.added(own, beside, "seconds") if at else None
    yield Goal("start with the embedded store, more", more, 0.2, unit=" s")


def _bodies(levels: Levels, _: Scale) -> Iterator[Goal]:
    names = "113 KB, 16 connections", "1 KB, 16 connections"
    yield _more("113 KB prompts / 1 KB prompts", levels, names, 0.4)
    alone, beside = (
        _at(levels, name, OURS) for name in ("1 KB at 200/s", "1 KB at 200/s beside 4 MB at 5/s")
    )
    value = None
    if alone is not None and beside is not None:
        value = (beside.median(OURS, "p99_us") - alone.median(OURS, "p99_us")) / 1000
    yield Goal("p99 of 1 KB requests, more beside 4 MB", value, 5.0, unit=" ms")


def _workers(levels: Levels, _: Scale) -> Iterator[Goal]:
    at = _at(levels, "1,500 requests/s", ONE, TWO)
    yield Goal("capacity of two workers / one", scaling(at) if at else None, 1.8, least=True, unit=" x")


_MADE: dict[str, Callable[[Levels, Scale], Iterator[Goal]]] = {
    "saturation": _flat_out,
    "open": _fixed_rate,
    "streams": _streams,
    "bodies": _bodies,
    "memory": _memory,
    "start": _start,
    "workers": _workers,
}
