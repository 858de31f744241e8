"""Scenario 2: the store goes away in every way it can, under load, and completions do not.

Three kinds of client send at once: `tight` at three times its limit, `wide` far below its own, and `free`
without any. What limits add to an answer is the difference between `wide` and `free` at the same time on
the same replicas; what they let through is counted on `tight`.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import traffic
from ensemble import REPLICAS, Config, Faults, bucket, configured, limit_key, replicas, seen
from figures import Check
from harness import Mock, Serve
from stores import ClusterSet, SentinelSet, Store, cluster_set, sentinel_set, standalone
from traffic import Answer, Load

from proxy.link.cluster import slot_of

PER_MINUTE = 1200
RATE = PER_MINUTE / 60
BURST = 60
DETECTION = 1.0
"""Seconds after the fault in which an answer may come up to `DETECTION_MS` later."""
DETECTION_MS = 50.0
NOTICED_MS = 5.0
"""A difference between two p99 of some hundred answers that this machine makes by itself."""


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds before the fault, of the fault, and after it. `rate` is that of `wide` and of `free`."""

    before: float = 5.0
    fault: float = 10.0
    after: float = 8.0
    rate: float = 60.0

    @property
    def whole(self) -> float:
        """All of it."""
        return self.before + self.fault + self.after


SHORT = Times(2.0, 2.0, 4.5, 40.0)


@dataclass(frozen=True, slots=True)
class Phase:
    """Milliseconds that answers took at the 99th part of a hundred and in the middle: limited and free."""

    count: int
    wide: tuple[float, float]
    free: tuple[float, float]

    @property
    def added(self) -> tuple[float, float]:
        """p99 and p50 of limited answers less those of free ones."""
        return self.wide[0] - self.free[0], self.wide[1] - self.free[1]

    def __str__(self) -> str:
        """What was added."""
        return f"p50 {self.added[1]:+.1f} p99 {self.added[0]:+.1f} ms"


@dataclass(frozen=True, slots=True)
class Outage:
    """What clients saw. Times in seconds; `slack` is what the bound lets in beyond burst + rate x t."""

    statuses: dict[int, int]
    before: Phase
    first: Phase
    rest: Phase
    after: Phase
    admitted: int
    seconds: float
    worst: float
    slack: float
    during: int
    fault: float
    recovery: float | None

    def checks(self) -> list[Check]:
        """See `Figures`."""
        total = sum(self.statuses.values())
        bad = total - self.statuses.get(200, 0) - self.statuses.get(429, 0)
        back = f"{self.recovery:.2f} s" if self.recovery is not None else "never"
        share = self.admitted / (BURST + RATE * self.seconds)
        most = RATE * self.fault + BURST + self.slack
        return [
            Check("neither 200 nor 429", str(bad), f"= 0 of {total}", bad == 0),
            Check("added before", str(self.before), f"of {self.before.count}", holds=True),
            Check(
                "added in the first second",
                str(self.first),
                f"p99 <= {DETECTION_MS:.0f} ms, of {self.first.count}",
                self.first.added[0] <= DETECTION_MS + NOTICED_MS,
                soft=True,
            ),
            Check(
                "added in the rest of the fault",
                str(self.rest),
                f"p99 <= {NOTICED_MS:.0f} ms, of {self.rest.count}",
                self.rest.added[0] <= NOTICED_MS,
                soft=True,
            ),
            Check("added afterwards", str(self.after), f"of {self.after.count}", holds=True),
            Check(
                "tight, beyond rate x t in any t",
                f"{self.worst:.1f}",
                f"<= burst {BURST} + {self.slack:.0f}",
                self.worst <= BURST + self.slack + 0.01,
            ),
            Check(
                f"tight, during {self.fault:.1f} s of it",
                str(self.during),
                f"<= {most:.0f}",
                self.during <= most,
            ),
            Check(
                f"tight, in all {self.seconds:.1f} s",
                str(self.admitted),
                f"{share:.1%} >= 90 % of burst + rate x t",
                share >= 0.9,
            ),
            Check("recovery after", back, "<= 3 s", self.recovery is not None and self.recovery <= 3.0),
        ]


@dataclass(frozen=True, slots=True)
class Fault:
    """How to begin and end it (in a thread), where the state is then, and what the bound allows more.

    A second's worth: writes that were lost, and replicas that return one after the other.
    """

    begin: Callable[[], None]
    end: Callable[[], None]
    store: Callable[[], Store]
    slack: float = RATE


def killed(times: Times = Times()) -> Outage:
    """The server is killed, and started again with nothing."""
    with standalone() as store:
        fault = Fault(store.kill, lambda: _started(store), lambda: store)
        return _lived(f"redis://127.0.0.1:{store.port}", fault, times)


def hole(times: Times = Times(fault=30.0)) -> Outage:
    """The network swallows everything; no connection ends."""
    with standalone() as store, Faults(store.port) as faults:
        fault = Fault(lambda: faults.switch(hole=True), faults.switch, lambda: store)
        return _lived(faults.url, fault, times)


def slow(times: Times = Times()) -> Outage:
    """Every reply comes 200 ms late."""
    with standalone() as store, Faults(store.port) as faults:
        fault = Fault(lambda: faults.switch(delay_s=0.1), faults.switch, lambda: store)
        return _lived(faults.url, fault, times)


def failover(times: Times = Times(fault=1.0, after=12.0)) -> Outage:
    """The primary is killed and the sentinels choose another."""
    with sentinel_set() as servers:
        fault = Fault(servers.primary.kill, lambda: _chosen(servers), lambda: _primary(servers))
        return _lived(servers.url, fault, times)


def moved(times: Times = Times(fault=2.0)) -> Outage:
    """The slot of the limit moves to another primary of a Cluster."""
    with cluster_set() as servers:
        key = limit_key("tight")
        slot, source = slot_of(key), servers.owner_of(key)
        target = next(node for node in servers.primaries if node is not source)
        fault = Fault(
            lambda: servers.open_slot(slot, source, target),
            lambda: _carried(servers, slot, source, target),
            lambda: servers.owner_of(limit_key("wide")),
            slack=0.0,
        )
        return _lived(servers.url, fault, times)


def _started(store: Store) -> None:
    store.start()


def _chosen(servers: SentinelSet) -> None:
    """Wait for the new primary. It was the sentinels' time, not ours."""
    old = servers.primary.port
    deadline = time.monotonic() + 20.0
    while servers.master_port() == old or _primary(servers).ask("ROLE")[0] != b"master":
        assert time.monotonic() < deadline, "no failover"
        time.sleep(0.02)


def _primary(servers: SentinelSet) -> Store:
    port = servers.master_port()
    return next(store for store in (servers.primary, *servers.replicas) if store.port == port)


def _carried(servers: ClusterSet, slot: int, source: Store, target: Store) -> None:
    servers.carry_keys(slot, source, target)
    servers.close_slot(slot, source, target)


@contextlib.contextmanager
def _staged(url: str) -> Iterator[list[Serve]]:
    clients: dict[str, dict[str, object]] = {
        "tight": {"limits": {"requests_per_minute": PER_MINUTE, "burst": BURST}},
        "wide": {"limits": {"requests_per_minute": 1_000_000, "tokens_per_minute": 1_000_000_000}},
        "free": {},
    }
    with Mock({"default": {"delay_headers_s": 0.03, "tokens": 3}}) as mock:
        config: Config = configured(mock, url, clients)
        with replicas(config) as running:
            yield running


def _lived(url: str, fault: Fault, times: Times) -> Outage:
    with _staged(url) as running:
        time.sleep(2.5)  # each replica has heard of the others
        return asyncio.run(_live(running, fault, times))


async def _live(running: Sequence[Serve], fault: Fault, times: Times) -> Outage:
    ports = [replica.port for replica in running]
    loads = [
        Load("tight", ports, 3 * RATE),
        Load("wide", ports, times.rate, 12),
        Load("free", ports, times.rate, 12),
    ]
    running_load = asyncio.get_running_loop().create_task(traffic.run_all(loads, times.whole))
    await asyncio.sleep(times.before)
    begun = time.monotonic()
    await asyncio.to_thread(fault.begin)
    await asyncio.sleep(times.fault)
    await asyncio.to_thread(fault.end)
    ended = time.monotonic()
    recovery = await _recovery(fault)
    answers = await running_load
    tight = [answer for answer in answers if answer.client == "tight"]
    good = traffic.admitted(tight)
    return Outage(
        statuses=traffic.statuses(answers),
        before=_phase(answers, 0.0, begun),
        first=_phase(answers, begun, begun + DETECTION),
        rest=_phase(answers, begun + DETECTION, ended),
        after=_phase(answers, ended, float("inf")),
        admitted=len(good),
        seconds=traffic.span(tight),
        worst=traffic.burst(tight, RATE),
        slack=fault.slack,
        during=sum(begun <= answer.sent and answer.done <= ended for answer in good),
        fault=ended - begun,
        recovery=recovery,
    )


async def _recovery(fault: Fault) -> float | None:
    """Seconds until each replica was seen to hold a lease of `wide` in the store, of a new request."""
    known: set[str] = set()
    fresh: set[str] = set()

    def returned() -> bool:
        leases = set(bucket(fault.store(), "wide").leases)
        fresh.update(rid.partition(".")[0] for rid in leases - known if not rid.endswith("l"))
        known.update(leases)
        return len(fresh) == REPLICAS

    with contextlib.suppress(OSError):
        known.update(bucket(fault.store(), "wide").leases)
    return await seen(returned, 10.0)


def _phase(answers: Sequence[Answer], since: float, till: float) -> Phase:
    def of(client: str) -> list[float]:
        return [
            answer.took * 1000
            for answer in answers
            if answer.client == client and answer.status == 200 and since <= answer.sent < till
        ]

    wide, free = of("wide"), of("free")
    return Phase(len(wide), _ranks(wide), _ranks(free))


def _ranks(values: Sequence[float]) -> tuple[float, float]:
    return traffic.percentile(values, 0.99), traffic.percentile(values, 0.5)
