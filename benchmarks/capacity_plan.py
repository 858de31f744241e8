"""What clusters of all sizes need of a Redis by the model, and where one Redis ends. Pure.

The bounds are those of a server that is left some room: a part of the one core that commands run on, and a
part of a network of 1 Gbit/s for answers. Whatever has one hash tag stays on one shard of a Cluster: health,
presence, a single client, model or key. All other limits and stored responses spread.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from capacity_meter import CPU
from capacity_model import (
    BYTES_IN,
    BYTES_OUT,
    CALLS,
    DELIVERY,
    LISTING,
    MEMBER,
    REPLICA,
    SCOPE,
    TRANSITION,
    Load,
    total,
)

from proxy.replicas import EVERY, RELIST

SIZES = (10, 100, 1000)
RATES = (0.0, 500.0, 2000.0)

FULL = 0.7
"""The part of a core, and of the network, that is used at most."""

NETWORK = 125_000_000.0
"""Bytes a second."""

SCOPES = 3
STORED, READ_AGAIN = 0.1, 0.05
"""Of the requests: those whose response is stored, and those that a response is read for."""

LONG, OPEN = 0.1, 40.0
"""The part of the requests that stream for so many seconds."""

LIMITS = 30
"""Clients, models and keys with limits: as many as one replica can hold leases of."""

TRANSITIONS = 1.0
"""Changes a second of what the cluster knows of its providers."""

RELISTED = EVERY * RELIST
"""Seconds after which each replica asks for the members again, while some come and leave all the time."""

LEAST_SHARDS = 3
TAGGED = (REPLICA, LISTING, MEMBER, TRANSITION, DELIVERY)
"""What stays on one shard, health and presence being taken to meet on the same."""

_MOST = 1_000_000_000

Constants = Mapping[str, Mapping[str, float]]
"""By quantity, CPU among them, in microseconds."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a cluster asks for in a second.

    `lists` is the bytes of lists of members, `tagged` the part of one full shard that cannot spread.
    """

    calls: float
    bytes_in: float
    bytes_out: float
    lists: float
    connections: float
    messages: float
    core: float
    tagged: float

    @property
    def fits(self) -> bool:
        """Whether one Redis carries it."""
        return self.core <= FULL and self.bytes_out <= FULL * NETWORK

    @property
    def bound(self) -> str:
        """What is nearest to its end."""
        return "CPU" if self.core / FULL >= self.bytes_out / (FULL * NETWORK) else "bytes"


def load(replicas: int, requests: float) -> Load:
    """A second of a cluster with so many requests a second, of the mix above."""
    aged = requests * LONG * (OPEN - 10.0)
    return Load(
        replicas,
        scopes=requests * SCOPES,
        creates=requests * STORED,
        reads=requests * READ_AGAIN,
        transitions=TRANSITIONS if requests else 0.0,
        held=min(aged * SCOPES, float(replicas * LIMITS)),
        leases=aged * SCOPES,
        listings=replicas / RELISTED,
    )


def need(constants: Constants, connections: float, asked: Load) -> Need:
    """What it takes; `connections` are those of a replica."""
    amounts = asked.amounts()
    cpu, out = constants[CPU], constants[BYTES_OUT]
    tagged = {name: amounts[name] for name in TAGGED}
    return Need(
        calls=total(amounts, constants[CALLS]),
        bytes_in=total(amounts, constants[BYTES_IN]),
        bytes_out=total(amounts, out),
        lists=total({name: amounts[name] for name in (LISTING, MEMBER)}, out),
        connections=connections * asked.replicas,
        messages=amounts[DELIVERY],
        core=total(amounts, cpu) / 1e6,
        tagged=max(total(tagged, cpu) / 1e6 / FULL, total(tagged, out) / (FULL * NETWORK)),
    )


def shards(what: Need) -> int | None:
    """How many shards it takes; None where more of them do not help."""
    if what.fits:
        return 1
    if what.tagged > 1:
        return None
    fixed = what.tagged
    spread = max(what.core / FULL, what.bytes_out / (FULL * NETWORK)) - fixed
    return max(LEAST_SHARDS, math.ceil(spread + fixed))


def largest(fits: Callable[[int], bool]) -> int:
    """The largest number from 0 that fits, where all below it do."""
    low, high = 0, _MOST
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


@dataclass(frozen=True, slots=True)
class End:
    """Where something ends: at how much of what, and of what it ends."""

    what: str
    at: int
    unit: str
    of: str


def ends(constants: Constants, connections: float) -> list[End]:
    """Where a single Redis ends, and where a Cluster does."""

    def at(replicas: int, requests: float) -> Need:
        return need(constants, connections, load(replicas, requests))

    found = []
    for size in SIZES:
        most = largest(lambda requests, size=size: at(size, requests).fits)  # type: ignore[misc]
        found.append(End(f"one Redis, {size:,} replicas", most, "requests/s", at(size, most + 1).bound))
    for rate in RATES:
        most = largest(lambda replicas, rate=rate: at(replicas, rate).fits)  # type: ignore[misc]
        found.append(End(f"one Redis, {rate:,.0f} requests/s", most, "replicas", at(most + 1, rate).bound))
    each = constants[CPU][SCOPE]
    found.append(End("one client, model or key, any Cluster", int(FULL * 1e6 / each), "requests/s", "CPU"))
    most = largest(lambda replicas: at(replicas, RATES[-1]).tagged <= 1)
    tagged = Load(most + 1, transitions=TRANSITIONS, listings=(most + 1) / RELISTED)
    found.append(
        End("health and presence, any Cluster", most, "replicas", need(constants, connections, tagged).bound)
    )
    return found
