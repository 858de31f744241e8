"""What replicas and requests cost a Redis, as sums of counted things times a constant each. Pure.

A `Load` says what happens in a second: how many replicas live, how many requests are limited, stored, refused
by a provider. `amounts` turns it into counts of what Redis is asked for. A `Costs` has a constant for each
count, and what it costs is their sum of products. Constants are fitted on measured runs, in stages: a stage
knows the constants of those before it and finds its own by least squares.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ratelimit.store import LEASE_S

RENEWAL = LEASE_S / 3
"""Seconds between two heartbeats of a lease, and the age from which it has them."""

CALLS, BYTES_IN, BYTES_OUT = "calls", "bytes in", "bytes out"
QUANTITIES = (CALLS, BYTES_IN, BYTES_OUT)

REPLICA = "replica"
"""A second of a replica: signs of life, polls, pings."""
SCOPE = "scope"
"""One admit and one settle of a scope."""
CREATE, READ = "create", "read"
"""A stored response written; one read."""
TRANSITION = "transition"
"""A change of what is known of a target."""
DELIVERY = "delivery"
"""The same, for each replica that hears of it."""
BEAT = "beat"
"""A heartbeat for one limit."""
LEASE = "lease"
"""The same, for each lease that it renews."""
LISTING = "listing"
"""A sign of life that is answered with the list of the members."""
MEMBER = "member"
"""The same, for each member of the cluster."""

STAGES = (
    (REPLICA,),
    (SCOPE,),
    (CREATE,),
    (READ,),
    (TRANSITION, DELIVERY),
    (BEAT, LEASE),
    (LISTING, MEMBER),
)
"""Which constants are found together. A run is of one stage: the last that it has anything of."""

ABSENT = {
    CALLS: {DELIVERY, LEASE, MEMBER},
    BYTES_IN: {DELIVERY, MEMBER},
    BYTES_OUT: {LEASE},
}
"""What does not cost anything: answers are no calls, and who asks does not say who hears."""

Amounts = Mapping[str, float]
Costs = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Load:
    """A second of a cluster, or a mean one. `scopes` are admissions, one for each scope of a request.

    `held` are limits with leases older than a renewal, and `leases` those leases, one for each limit; what
    two replicas hold counts twice. `listings` are answered with all members.
    """

    replicas: int
    scopes: float = 0.0
    creates: float = 0.0
    reads: float = 0.0
    transitions: float = 0.0
    held: float = 0.0
    leases: float = 0.0
    listings: float = 0.0

    def amounts(self, seconds: float = 1.0) -> dict[str, float]:
        """How much of each there is in so many seconds."""
        each = {
            REPLICA: self.replicas,
            SCOPE: self.scopes,
            CREATE: self.creates,
            READ: self.reads,
            TRANSITION: self.transitions,
            DELIVERY: self.transitions * self.replicas,
            BEAT: self.held / RENEWAL,
            LEASE: self.leases / RENEWAL,
            LISTING: self.listings,
            MEMBER: self.listings * self.replicas,
        }
        return {name: amount * seconds for name, amount in each.items()}


@dataclass(frozen=True, slots=True)
class Observed:
    """What was measured of one stretch of time: the amounts there were, and what they cost."""

    amounts: Amounts
    costs: Costs


def total(amounts: Amounts, constants: Costs) -> float:
    """What `amounts` cost."""
    return sum(amount * constants.get(name, 0.0) for name, amount in amounts.items())


def stage_of(amounts: Amounts) -> int:
    """The stage that a run is evidence for."""
    return max(place for place, names in enumerate(STAGES) if any(amounts[name] for name in names))


def fitted(runs: Sequence[Observed], known: Mapping[str, Costs]) -> dict[str, dict[str, float]]:
    """The constants of each quantity, of all that is in `runs`; `known` are those that need no fit."""
    return {quantity: _fitted(runs, quantity, known.get(quantity, {})) for quantity in QUANTITIES}


def _fitted(runs: Sequence[Observed], quantity: str, given: Costs) -> dict[str, float]:
    known = dict(given)
    for place, names in enumerate(STAGES):
        own = [run for run in runs if stage_of(run.amounts) == place]
        sought = [name for name in names if name not in ABSENT[quantity] and name not in given]
        if own:
            rest = [run.costs[quantity] - total(run.amounts, known) for run in own]
            rows = [[run.amounts[name] for name in sought] for run in own]
            known |= zip(sought, least_squares(rows, rest), strict=True)
    return known


def least_squares(rows: Sequence[Sequence[float]], results: Sequence[float]) -> list[float]:
    """The factors of one or two columns that come nearest to `results`.

    Raises `ZeroDivisionError` where the rows do not tell them apart.
    """
    first = [row[0] for row in rows]
    if len(rows[0]) == 1:
        return [_dot(first, results) / _dot(first, first)]
    second = [row[1] for row in rows]
    a, b, c = _dot(first, first), _dot(first, second), _dot(second, second)
    x, y = _dot(first, results), _dot(second, results)
    scale = a * c - b * b
    return [(c * x - b * y) / scale, (a * y - b * x) / scale]


def _dot(left: Iterable[float], right: Iterable[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def error(predicted: float, measured: float) -> float:
    """How far off, as a share of what was measured."""
    return (predicted - measured) / measured if measured else 0.0
