"""Interleaved rounds: every side is measured in every round, so what disturbs the machine disturbs all.

One round of one level measures all sides, each after a warm-up, in an order that moves on by one each
time. A round in which any request failed counts for no side. Ratios are taken inside a round and their
median is told, which is steadier than the ratio of medians.
"""

import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import samples
from running import Side, pinned
from sides import ROOT, Bench

Figures = dict[str, float]
"""What one measurement gave, by name; a name ending in `_us` is in microseconds."""

Measure = Callable[[Side], Figures]


@dataclass(frozen=True, slots=True)
class Level:
    """One load: its name in the table, which figure is the rate, and how it is measured."""

    name: str
    rate: str
    measure: Measure


@dataclass(slots=True)
class Series:
    """What a level gave: for each good round the figures of each side; `voided` says why others went."""

    level: str
    rate: str
    rounds: list[dict[str, Figures]] = field(default_factory=list)
    voided: list[str] = field(default_factory=list)

    def values(self, side: str, name: str) -> list[float]:
        """One figure of one side in all good rounds."""
        return [figures[side][name] for figures in self.rounds]

    def median(self, side: str, name: str) -> float:
        """The median of that."""
        return statistics.median(self.values(side, name))

    def ratio(self, side: str, other: str, name: str) -> float:
        """The median over the rounds of `side` divided by `other`."""
        return statistics.median(
            figures[side][name] / figures[other][name] if figures[other][name] else 0.0
            for figures in self.rounds
        )


def run(
    sides: Sequence[Side], levels: Sequence[Level], rounds: int, say: Callable[[str], None]
) -> list[Series]:
    """All levels, round by round. A voided round is made up for, at most `rounds` times a level."""
    series = [Series(level.name, level.rate) for level in levels]
    for number in range(2 * rounds):
        open_ones = [
            (level, one) for level, one in zip(levels, series, strict=True) if len(one.rounds) < rounds
        ]
        if not open_ones:
            break
        say(f"round {number + 1}: {', '.join(level.name for level, _ in open_ones)}")
        order = [*sides[number % len(sides) :], *sides[: number % len(sides)]]
        for level, one in open_ones:
            _round({side.name: level.measure(side) for side in order}, one)
    return series


def _round(figures: dict[str, Figures], series: Series) -> None:
    failed = {name: int(found["failed"]) for name, found in figures.items() if found["failed"]}
    if failed:
        series.voided.append(", ".join(f"{name}: {count} failed" for name, count in failed.items()))
    else:
        series.rounds.append(figures)


def requests(bench: Bench, connections: int, seconds: float, warm: float) -> Level:
    """Plain requests of 1 KB from wrk, on so many connections, for whole seconds, as wrk counts them."""
    body = _body(bench, samples.WHOLE, stream=False)

    def load(side: Side, duration: float) -> Figures:
        script = str(ROOT / "benchmarks" / "wrk.lua")
        options = ["-t1", f"-c{connections}", f"-d{math.ceil(duration)}s", "--timeout", "10s", "-s", script]
        return _told(bench, ["wrk", *options, side.url, "--", str(body), samples.KEY])

    def measure(side: Side) -> Figures:
        load(side, warm)
        before = side.cpu()
        found = load(side, seconds)
        spent = side.cpu() - before
        return {
            "rate": found["requests"] / found["seconds"],
            "cpu_us": spent / found["requests"] * 1e6 if found["requests"] else 0.0,
            "busy": spent / found["seconds"],
            "p50_us": found["p50"] * 1e6,
            "p99_us": found["p99"] * 1e6,
            "failed": found["failed"] or float(not found["requests"]),
        }

    return Level(f"{connections} connections", "requests/s", measure)


def streams(bench: Bench, model: str, clients: int, seconds: float) -> Level:
    """So many streams at once, from our own clients."""
    body = _body(bench, model, stream=True)
    paced = model == samples.PACED
    warm = samples.PACED_TOKENS * samples.PACED_PAUSE if paced else 1.0

    def measure(side: Side) -> Figures:
        before, began = side.cpu(), time.perf_counter()
        arguments = [sys.executable, str(ROOT / "benchmarks" / "load.py"), side.url, str(body)]
        options = [f"--streams={clients}", f"--warm={warm}", f"--seconds={seconds}"]
        found = _told(bench, [*arguments, *options])
        spent = side.cpu() - before
        return {
            "rate": found["events"] / found["seconds"],
            "streams": found["streams"] / found["seconds"],
            "cpu_us": spent / found["all_events"] * 1e6 if found["all_events"] else 0.0,
            "busy": spent / (time.perf_counter() - began),
            "p50_us": found["first_p50"] * 1e6,
            "p99_us": found["first_p99"] * 1e6,
            "memory_mib": side.memory(),
            "failed": found["failed"] or float(not found["streams"]),
        }

    return Level(f"{clients} streams, {'paced' if paced else 'no pause'}", "events/s", measure)


def _body(bench: Bench, model: str, *, stream: bool) -> Path:
    file = bench.folder / f"{model}.json"
    file.write_bytes(samples.chat_request(model, 1024, stream=stream))
    return file


def _told(bench: Bench, arguments: Sequence[str]) -> Figures:
    """Run a load on the other core; the JSON of the last line it prints."""
    done = subprocess.run(pinned(bench.other, arguments), check=True, capture_output=True, text=True)
    found: Figures = json.loads(done.stdout.strip().rpartition("\n")[2])
    return found
