"""That everything was on: what the load counted, ours counted too, in metrics, log lines, limits and Redis.

A round in which a limit was decided without the store is void, and so is one with a mismatch. With a second
one ours is left out of that load, and its goals are missed.

A request makes one line; a completed one has been decided on, and made two scripts (reserve, settle). What
ours counts is held against ours without slack. Only the load's own count has some: where it ends by cutting
its connections (wrk does) up to one request a connection is served that it does not count, and one that is
cut may not have come to its limits. Redis has a few calls a second for health and presence besides.
"""

import time
from dataclasses import dataclass, replace
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
    """What comes through ours is not what the provider sent: the run is void."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """How often a load asked, and how often each of ours says so; over how many seconds.

    `slack` is how many more requests the load may have made than it counted. `completed` are of `requests`.
    `alone` are calls to Redis that it answered too late or was not asked, so that limits were decided alone.
    """

    load: int
    slack: int
    requests: int
    completed: int
    lines: int
    decisions: int
    scripts: int
    alone: int
    seconds: float

    def mismatches(self) -> list[str]:
        """What does not add up, in words."""
        found = []
        if not self.load <= self.requests <= self.load + self.slack:
            found.append(
                f"the load counted {self.load} (and at most {self.slack} that it cut), "
                f"apex_requests_total {self.requests}"
            )
        if self.completed < self.load:
            found.append(f"the load counted {self.load}, ours completed {self.completed}")
        if self.lines != self.requests:
            found.append(f"apex_requests_total counted {self.requests}, the log has {self.lines} lines")
        if not self.completed <= self.decisions <= self.requests:
            found.append(
                f"apex_limit_decisions_total counted {self.decisions} for {self.completed} completed of "
                f"{self.requests} requests"
            )
        least = SCRIPTS_A_REQUEST * self.completed
        most = SCRIPTS_A_REQUEST * self.requests + round(OTHER_SCRIPTS * self.seconds)
        if not least <= self.scripts <= most:
            found.append(f"Redis ran {self.scripts} scripts for {self.completed} completed requests")
        return found


@dataclass(frozen=True, slots=True)
class _Moment:
    requests: int
    completed: int
    lines: int
    decisions: int
    scripts: int
    alone: int
    at: float


class Witness:
    """Takes the counts before and after loads on one proxy."""

    def __init__(self, proxy: Proxy, store: Store) -> None:
        self.evidence: dict[str, Evidence] = {}
        self._proxy = proxy
        self._store = store
        self._lines = LineCount(proxy.log, b'"event":"request"')

    def watched(self, level: Level, slack: int) -> Level:
        """The same level, with a proof each time that the proxy is measured."""
        return replace(level, measure=partial(self._measure, level, slack))

    def _measure(self, level: Level, slack: int, side: Side) -> Figures:
        if side != self._proxy.side:
            return level.measure(side)
        before = self._moment()
        figures = level.measure(side)
        if figures["failed"]:
            return figures
        found = self._settled(before, round(figures.get("all_requests", figures["requests"])), slack)
        if found.alone:
            raise VoidRoundError(f"{found.alone} calls to the store were late or not made")
        wrong = found.mismatches()
        if wrong:
            raise VoidRoundError(f"not everything was on: {'; '.join(wrong)}")
        self.evidence[level.name] = found
        return figures

    def _moment(self) -> _Moment:
        metrics = self._proxy.metrics()
        return _Moment(
            int(counted(metrics, "apex_requests_total", 'endpoint="chat"')),
            int(counted(metrics, "apex_requests_total", 'outcome="completed"')),
            self._lines.count(),
            int(counted(metrics, "apex_limit_decisions_total", 'decision="admitted"')),
            self._store.totals().calls.get(SCRIPTS, 0),
            int(counted(metrics, "apex_redis_late_total") + counted(metrics, "apex_redis_refused_total")),
            time.perf_counter(),
        )

    def _settled(self, before: _Moment, load: int, slack: int) -> Evidence:
        """The counts once they agree and stand still: lines come, and limits settle, after the answer."""
        late = time.perf_counter() + _PATIENCE
        last = self._moment()
        while True:
            time.sleep(0.3)
            now = self._moment()
            found = Evidence(
                load,
                slack,
                now.requests - before.requests,
                now.completed - before.completed,
                now.lines - before.lines,
                now.decisions - before.decisions,
                now.scripts - before.scripts,
                now.alone - before.alone,
                now.at - before.at,
            )
            still = (now.requests, now.lines) == (last.requests, last.lines)
            if (still and not found.mismatches()) or time.perf_counter() > late:
                return found
            last = now


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
