"""That everything was on: what the load counted, ours counted too, in metrics, log lines, limits and Redis.

One mismatch voids its round: a store that was late has been decided without, which is no fault of the
counting. A second at the same load voids the run.

A request makes one line, one decision and two scripts (reserve, settle). Where the load ends by cutting
its connections (wrk does) up to one request a connection is served that it does not count, and one that
is cut early may not have come to its limits: that much is the slack. Redis has a few calls a second for
health and presence besides.
"""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from proxies import Proxy, counted
from rounds import Figures, Level, VoidRoundError
from running import Side
from store import SCRIPTS, Store

SCRIPTS_A_REQUEST = 2
OTHER_SCRIPTS = 10
"""Scripts a second that are not a request's, at the most."""

_PATIENCE = 3.0


class UnprovenError(Exception):
    """Something was not on, or not all of it: the run is void."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """How often a load asked, and how often each of ours says so; over how many seconds.

    `alone` are calls to Redis that it answered too late or was not asked, so that limits were decided alone.
    """

    load: int
    slack: int
    requests: int
    lines: int
    decisions: int
    scripts: int
    alone: int
    seconds: float

    def mismatches(self) -> list[str]:
        """What does not add up, in words."""
        most = self.load + self.slack
        found = [
            f"the load counted {self.load} (and at most {self.slack} that it cut), {name} {count}"
            for name, count in (
                ("apex_requests_total", self.requests),
                ("the log's lines", self.lines),
                ("apex_limit_decisions_total", self.decisions),
            )
            if not self.load <= count <= most
        ]
        if self.lines != self.requests:
            found.append(f"apex_requests_total counted {self.requests}, the log has {self.lines} lines")
        expected = SCRIPTS_A_REQUEST * self.decisions
        spare = SCRIPTS_A_REQUEST * self.slack + round(OTHER_SCRIPTS * self.seconds)
        if not expected - SCRIPTS_A_REQUEST * self.slack <= self.scripts <= expected + spare:
            away = f" ({self.alone} calls went without it)" if self.alone else ""
            found.append(f"Redis ran {self.scripts} scripts for {self.decisions} decisions{away}")
        return found


@dataclass(frozen=True, slots=True)
class _Moment:
    requests: int
    lines: int
    decisions: int
    scripts: int
    alone: int
    at: float


class Witness:
    """Takes the counts before and after loads on one proxy."""

    def __init__(self, proxy: Proxy, store: Store) -> None:
        self.evidence: dict[str, Evidence] = {}
        self._doubted: set[str] = set()
        self._proxy = proxy
        self._store = store
        self._lines = LineCount(proxy.log, b'"event":"request"')

    def watched(self, level: Level, slack: int) -> Level:
        """The same level, with a proof each time that the proxy is measured."""
        return Level(level.name, level.rate, partial(self._measure, level, slack), level.sides, level.check)

    def _measure(self, level: Level, slack: int, side: Side) -> Figures:
        if side != self._proxy.side:
            return level.measure(side)
        before = self._moment()
        figures = level.measure(side)
        if figures["failed"]:
            return figures
        after = self._settled()
        found = Evidence(
            round(figures.get("all_requests", figures["requests"])),
            slack,
            after.requests - before.requests,
            after.lines - before.lines,
            after.decisions - before.decisions,
            after.scripts - before.scripts,
            after.alone - before.alone,
            after.at - before.at,
        )
        wrong = found.mismatches()
        if not wrong:
            self.evidence[level.name] = found
            return figures
        said = f"not everything was on: {'; '.join(wrong)}"
        if level.name in self._doubted:
            raise UnprovenError(f"{level.name}: {said}")
        self._doubted.add(level.name)
        raise VoidRoundError(said)

    def _moment(self) -> _Moment:
        metrics = self._proxy.metrics()
        return _Moment(
            int(counted(metrics, "apex_requests_total", 'endpoint="chat"')),
            self._lines.count(),
            int(counted(metrics, "apex_limit_decisions_total", 'decision="admitted"')),
            self._store.totals().calls.get(SCRIPTS, 0),
            int(counted(metrics, "apex_redis_late_total") + counted(metrics, "apex_redis_refused_total")),
            time.perf_counter(),
        )

    def _settled(self) -> _Moment:
        """The counts once they stand still: lines are written, and limits settled, after the answer."""
        late = time.perf_counter() + _PATIENCE
        last = self._moment()
        while time.perf_counter() < late:
            time.sleep(0.3)
            now = self._moment()
            if (now.requests, now.lines) == (last.requests, last.lines) and now.lines == now.requests:
                return now
            last = now
        return last


class LineCount:
    """How many lines with a word a growing file has; each part of it is read once."""

    def __init__(self, file: Path, word: bytes) -> None:
        self._file = file
        self._word = word
        self._read = 0
        self._found = 0

    def count(self) -> int:
        """As many as there are now."""
        with self._file.open("rb") as log:
            log.seek(self._read)
            whole = log.read().rpartition(b"\n")[0]
        if whole:
            self._read += len(whole) + 1
            self._found += whole.count(self._word)
        return self._found
