"""Scenario 1: 8 clients of one tenant against 3 replicas at three times its limit."""

import asyncio
import collections
import contextlib
import functools
import random
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import traffic
from ensemble import Bucket, bucket, configured, replicas, seen
from figures import Check
from harness import Child, Mock, Serve, fetch, get
from stores import standalone
from traffic import Answer, Begun, Load

CALLERS = 8
TOKENS = 120
"""What every request of `by_tokens` takes: 100 for its 400 bytes, and 20 of output."""
_EXACT = {"default": {"prompt_tokens": 100, "completion_tokens": 20, "tokens": 3}}


@dataclass(frozen=True, slots=True)
class Smooth:
    """A smooth limit: `burst` and `rate` (a second) are its own, the rest was seen. Amounts in `unit`."""

    unit: str
    statuses: dict[int, int]
    seconds: float
    burst: float
    rate: float
    admitted: float
    worst: float

    @property
    def allowed(self) -> float:
        """What burst + rate x t comes to over the whole run."""
        return self.burst + self.rate * self.seconds

    def checks(self) -> list[Check]:
        """See `Figures`."""
        share = self.admitted / self.allowed
        return [
            Check("only 200 and 429", f"{self.statuses}", "", set(self.statuses) == {200, 429}),
            Check(
                f"{self.unit} beyond rate x t, in any t",
                f"{self.worst:.1f}",
                f"<= burst {self.burst:.0f}",
                self.worst <= self.burst + 0.01,
            ),
            Check(
                f"{self.unit} admitted in {self.seconds:.1f} s",
                f"{self.admitted:.0f}",
                f"{share:.2%} >= 99 % of {self.allowed:.0f}",
                share >= 0.99,
            ),
        ]


def by_requests(seconds: float = 60.0, per_minute: int = 3000, burst: int = 300) -> Smooth:
    """Requests per minute."""
    limits = {"requests_per_minute": per_minute, "burst": burst}
    answers = _pressed(limits, 3 * per_minute / 60, seconds)
    rate, count = per_minute / 60, len(traffic.admitted(answers))
    worst, seen_ = traffic.burst(answers, rate), traffic.statuses(answers)
    return Smooth("requests", seen_, traffic.span(answers), burst, rate, count, worst)


def by_tokens(seconds: float = 60.0, per_minute: int = 360_000, burst: int = 36_000) -> Smooth:
    """Tokens per minute, where the estimate is right."""
    limits = {"tokens_per_minute": per_minute, "burst_tokens": burst}
    rate = per_minute / 60
    answers = _pressed(limits, 3 * rate / TOKENS, seconds)
    used = sum(map(traffic.tokens, traffic.admitted(answers)))
    worst = traffic.burst(answers, rate, TOKENS)
    return Smooth("tokens", traffic.statuses(answers), traffic.span(answers), burst, rate, used, worst)


@dataclass(frozen=True, slots=True)
class Strict:
    """A strict window of `limit` requests."""

    statuses: dict[int, int]
    seconds: float
    limit: int
    admitted: int
    worst: int

    def checks(self) -> list[Check]:
        """See `Figures`."""
        full = self.admitted >= 0.99 * self.limit
        return [
            Check("only 200 and 429", f"{self.statuses}", "", set(self.statuses) == {200, 429}),
            Check(
                f"requests in any 60 s of {self.seconds:.0f} s",
                str(self.worst),
                f"<= {self.limit}",
                self.worst <= self.limit,
            ),
            Check("requests admitted", str(self.admitted), f">= 99 % of {self.limit}", full),
        ]


def strict(seconds: float = 130.0, per_minute: int = 600) -> Strict:
    """A strict window, long enough to see it slide."""
    limits = {"requests_per_minute": per_minute, "window": "strict"}
    answers = _pressed(limits, 3 * per_minute / 60 if seconds > 60 else 3 * per_minute / seconds, seconds)
    count = len(traffic.admitted(answers))
    return Strict(
        traffic.statuses(answers),
        traffic.span(answers),
        per_minute,
        count,
        traffic.most_within(answers, 60.0),
    )


def _pressed(limits: Mapping[str, object], rate: float, seconds: float) -> list[Answer]:
    """What 8 clients get who send `rate` a second over 3 replicas."""
    with standalone() as store, Mock(_EXACT) as mock:
        config = configured(mock, f"redis://127.0.0.1:{store.port}", {"pressed": {"limits": limits}})
        with replicas(config) as running:
            ports = [replica.port for replica in running]
            return asyncio.run(traffic.run(Load("pressed", ports, rate, CALLERS), seconds))


@dataclass(frozen=True, slots=True)
class Concurrency:
    """A limit on requests at one time: how many the provider had open at once."""

    statuses: dict[int, int]
    limit: int
    peak: int
    mean: float
    left: int

    def checks(self) -> list[Check]:
        """See `Figures`."""
        return [
            Check("only 200 and 429", f"{self.statuses}", "", set(self.statuses) == {200, 429}),
            Check("most at one time", str(self.peak), f"= {self.limit}", self.peak == self.limit),
            Check(
                "at one time, on average",
                f"{self.mean:.2f}",
                f">= 90 % of {self.limit}",
                self.mean >= 0.9 * self.limit,
                soft=True,
            ),
            Check("leases left", str(self.left), "= 0", self.left == 0),
        ]


TRIES = 3
"""So often the store may be late before something else is the matter."""
SETTLED = 5.0
"""Seconds within which the last settlements have arrived; a lease that nobody gives back lasts longer."""


def by_concurrency(seconds: float = 60.0, limit: int = 12, delay: float = 1.0) -> Concurrency:
    """Requests at one time, from what the provider saw.

    On a crowded machine the store may be late, and each replica then has a part of the places to itself
    whatever the others hold: another matter, so it is done again.
    """
    for _ in range(TRIES - 1):
        found, late = _crowded(seconds, limit, delay)
        if not late:
            return found
    return _crowded(seconds, limit, delay)[0]


def _crowded(seconds: float, limit: int, delay: float) -> tuple[Concurrency, bool]:
    """One run, and whether the store was late meanwhile."""
    with standalone() as store, Mock({"default": {"delay_headers_s": delay}}) as mock:
        limits = {"limits": {"concurrency": limit}}
        config = configured(mock, f"redis://127.0.0.1:{store.port}", {"pressed": limits})
        with replicas(config) as running:
            ports = [replica.port for replica in running]
            wanted = Load("pressed", ports, CALLERS * 40, CALLERS * 5, patient=True)
            answers = asyncio.run(traffic.run(wanted, seconds))
            spans = [
                (entry["at"], entry["done_at"])
                for entry in fetch(mock.port, "/_mock/requests?last=1000")["requests"]
                if entry["done_at"] is not None
            ]
            asyncio.run(seen(lambda: _clean(bucket(store, "pressed")), SETTLED))
            left = bucket(store, "pressed").held
            late = any(_missed(replica.operations) for replica in running)
    return Concurrency(traffic.statuses(answers), limit, _peak(spans), _mean(spans), left), late


def _missed(port: int) -> bool:
    """Whether the store has failed to answer the replica of that operations port in time."""
    _, page = get(port, "/metrics")
    samples = re.findall(rb'^apex_redis_(?:errors|refused)_total{link="shared".*} (\S+)$', page, re.MULTILINE)
    assert samples
    return any(float(sample) for sample in samples)


def _peak(spans: Sequence[tuple[float, float]]) -> int:
    edges = sorted([(end, -1) for _, end in spans] + [(begin, 1) for begin, _ in spans])
    running = list[int]()
    for _, step in edges:
        running.append((running[-1] if running else 0) + step)
    return max(running)


def _mean(spans: Sequence[tuple[float, float]]) -> float:
    """The average over the middle of the run: neither the first request's time nor the last one's."""
    begin, end = min(begin for begin, _ in spans), max(begin for begin, _ in spans)
    inside = sum(min(till, end) - since for since, till in spans)
    return inside / (end - begin)


@dataclass(frozen=True, slots=True)
class Drift:
    """Tokens as the limit has them and as a ledger has them, and what was left of leases."""

    whole: int
    cancelled: int
    killed: int
    errors: int
    ledger: int
    charged: float
    held: int
    leases: int
    clean_after: float | None

    @property
    def drift(self) -> float:
        """The difference as a share of the ledger."""
        return abs(self.charged - self.ledger) / self.ledger

    def checks(self) -> list[Check]:
        """See `Figures`."""
        sent = self.whole + self.cancelled + self.killed
        after = f"{self.clean_after:.1f} s" if self.clean_after is not None else "never"
        return [
            Check("other answers than 200", str(self.errors), f"= 0 of {sent}", self.errors == 0),
            Check(
                f"{self.cancelled} cancelled, {self.killed} killed: drift",
                f"{self.charged:.0f} / {self.ledger}",
                f"{self.drift:.4%} <= 0.1 %",
                self.drift <= 0.001,
            ),
            Check("leases left", str(self.held + self.leases), "= 0", self.held + self.leases == 0),
            Check("no lease left after", after, "<= 60 s", (self.clean_after or 0.0) <= 60.0),
        ]


STALLED = 7
"""Events of a stream that never ends: one who leaves it has seen so many."""
_UNEQUAL = {
    "rules": [
        {"match": {"model": "stalling"}, "then": {"tokens": 50, "stall_after_events": STALLED}},
        {"match": {"model": "long"}, "then": {"prompt_tokens": 900, "completion_tokens": 2000, "tokens": 5}},
        {"match": {"model": "short"}, "then": {"prompt_tokens": 12, "completion_tokens": 1, "tokens": 5}},
    ],
    "default": {"prompt_tokens": 60, "completion_tokens": 300, "tokens": 5},
}
_MODELS = ("stalling", "long", "short", "middling")
_ENDLESS = {"tokens_per_minute": 1, "burst_tokens": 1_000_000_000, "requests_per_minute": 100_000}
"""A bucket that drains a token a minute, so that its level is the sum of all that was charged."""
_STALLED_COST = 1 + traffic.PAD // 4 + STALLED
"""What a stream that was left is charged: its prompt's estimate, never learned from, and its events."""


def drift(requests: int = 2000, seed: int = 7) -> Drift:
    """Estimates far from the use, 10 % of the requests cancelled, 1 % of a killed client."""
    killed, cancelled = requests // 100, requests // 10
    whole = requests - killed - cancelled
    with standalone() as store, Mock(_UNEQUAL) as mock:
        config = configured(
            mock, f"redis://127.0.0.1:{store.port}", {"ledger": {"limits": _ENDLESS}}, *_MODELS
        )
        with replicas(config) as running:
            ports = [replica.port for replica in running]
            answers, left = asyncio.run(_mixed(ports, whole, cancelled, random.Random(seed)))
            _killed(running, killed)
            clean = asyncio.run(seen(lambda: _clean(bucket(store, "ledger")), 75.0))
            found = bucket(store, "ledger")
    good = traffic.admitted(answers)
    ledger = sum(map(traffic.tokens, good)) + _STALLED_COST * (cancelled + killed)
    errors = len(answers) - len(good) + cancelled - left
    return Drift(len(good), left, killed, errors, ledger, found.tokens, found.held, len(found.leases), clean)


def _clean(found: Bucket) -> bool:
    return found.held == 0 and not found.leases


async def _mixed(
    ports: Sequence[int], whole: int, cancelled: int, draw: random.Random
) -> tuple[list[Answer], int]:
    """`whole` requests to their end and `cancelled` streams that are left; the answers, and how many left."""
    kinds = ["whole"] * whole + ["left"] * cancelled
    draw.shuffle(kinds)
    todo = iter(kinds)
    answers: list[Answer] = []
    left = collections.Counter[bool]()

    async def caller(number: int) -> None:
        wires = [traffic.Wire(port) for port in ports]
        for turn, kind in enumerate(todo, number):
            wire = wires[turn % len(wires)]
            if kind == "left":
                left[await _leave(wire.port)] += 1
                continue
            payload = traffic.request(
                "ledger",
                draw.choice(_MODELS[1:]),
                stream=draw.random() < 0.5,
                cap=draw.choice((20, 4000)),
                size=draw.randrange(300, 3000),
            )
            answers.append(await traffic.ask(wire, "ledger", payload))
        for wire in wires:
            wire.close()

    await asyncio.gather(*map(caller, range(CALLERS)))
    return answers, left[True]


async def _leave(port: int) -> bool:
    """Open a stream that stalls, read all that comes, and go; whether it came."""
    begun = Begun(port)
    reading = asyncio.get_running_loop().create_task(traffic.stream("ledger", port, "stalling", begun))
    came = await _until(lambda: begun.events == STALLED)
    reading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reading
    return came


async def _until(holds: Callable[[], bool]) -> bool:
    for _ in range(1000):
        if holds():
            return True
        await asyncio.sleep(0.005)
    return False


def _killed(running: Sequence[Serve], count: int) -> None:
    """Streams of a client process that dies without a word."""
    held = str(Path(traffic.__file__).with_name("holder.py"))
    if not count:
        return
    with contextlib.ExitStack() as stack:
        children = [
            stack.enter_context(
                Child(sys.executable, held, str(replica.port), "ledger", "stalling", str(part), str(STALLED))
            )
            for number, replica in enumerate(running)
            if (part := count // len(running) + (number < count % len(running)))
        ]
        for child in children:
            child.until(functools.partial(_spoken, child))
        for child in children:
            child.signal(signal.SIGKILL)


def _spoken(child: Child) -> str | None:
    return next(iter(child.out), None)
