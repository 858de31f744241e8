"""What the status page shows: the facts of one moment, as one replica sees them. Only shapes.

What is of this replica alone is said so; the rest is the cluster's, as far as this replica has heard.
"""

import enum
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from proxy.replicas import About


class Shape(enum.StrEnum):
    """How a target stands, in one word."""

    READY = "ready"
    SLOW_START = "slow start"
    BUSY = "busy"
    BACKING_OFF = "backing off"
    HALF_OPEN = "half open"
    EJECTED = "ejected"
    REFUSED = "refused"
    DRAINED = "drained"


OUT: Final = frozenset({Shape.BACKING_OFF, Shape.HALF_OPEN, Shape.EJECTED, Shape.REFUSED, Shape.DRAINED})
"""Those that take no requests, or none but a probe."""


class TargetSeen(msgspec.Struct, frozen=True):
    """One target. `lasts`: seconds that its shape will last, None where nobody can say.

    `spared`: it is tried in spite of that, for too many others are out. `share`: its part of the model's
    requests by weight, where that decides. `limit` is the most this replica has in flight there.
    """

    id: str
    shape: Shape
    lasts: float | None = None
    spared: bool = False
    here: int = 0
    elsewhere: int = 0
    limit: int | None = None
    first_content: float | None = None
    whole: float | None = None
    share: float | None = None
    priority: int = 1
    trouble: str = ""

    @property
    def place(self) -> str:
        """Provider and model, without the key."""
        return self.id.partition("@")[0]

    @property
    def takes(self) -> bool:
        """Whether it takes requests, at once or when it has room."""
        return self.spared or self.shape not in OUT


class ModelSeen(msgspec.Struct, frozen=True):
    """A model, its targets and how many requests wait for one.

    Of `more` targets that did not fit `more_takers` take requests.
    """

    alias: str
    strategy: str
    targets: tuple[TargetSeen, ...]
    waiting: int = 0
    more: int = 0
    more_takers: int = 0

    @property
    def count(self) -> int:
        """How many targets it has, shown or not."""
        return len(self.targets) + self.more

    @property
    def takers(self) -> int:
        """How many of them take requests."""
        return sum(target.takes for target in self.targets) + self.more_takers


class Holder(msgspec.Struct, frozen=True):
    """Something of which only so much may be used. `left` is a share of `limit`.

    `reached`: the last request that asked was refused for it, and would be still.
    """

    kind: str
    name: str
    dimension: str
    limit: int
    left: float
    reached: bool = False
    refused: int = 0


NAMED: Final = 3
"""As many of a kind are called by name."""


class Totals(msgspec.Struct, frozen=True):
    """Of everything, whether it fits or not.

    `dark` models have targets of which none takes requests; `out` are the targets that take none, by how they
    stand. The first few that are `dark` or whose limit is `reached` are named.
    """

    models: int = 0
    targets: int = 0
    takers: int = 0
    dark: int = 0
    dark_names: tuple[str, ...] = ()
    out: Mapping[Shape, int] = {}
    reached: int = 0
    reached_names: tuple[str, ...] = ()


def totals(models: Sequence[ModelSeen], limits: Iterable[Holder] = (), reached: int = 0) -> Totals:
    """What `models` come to that are not cut yet, and limits, of which so many are reached: those first."""
    dark = [model.alias for model in models if model.count and not model.takers]
    out = Counter(target.shape for model in models for target in model.targets if not target.takes)
    return Totals(
        models=len(models),
        targets=sum(model.count for model in models),
        takers=sum(model.takers for model in models),
        dark=len(dark),
        dark_names=tuple(dark[:NAMED]),
        out=dict(out),
        reached=reached,
        reached_names=tuple(f"{limit.kind} {limit.name}" for limit in limits if limit.reached)[:NAMED],
    )


def differ(members: Iterable[About]) -> bool:
    """Whether replicas do in version or configuration."""
    return len({(one.version, one.config_hash) for one in members}) > 1


class Failover(msgspec.Struct, frozen=True):
    """A request that needed more than one try, or failed. `at` is Unix time, `took` seconds."""

    request_id: str
    at: float
    model: str
    client: str
    path: str
    status: int
    outcome: str
    took: float
    rescued: bool


class Traffic(msgspec.Struct, frozen=True):
    """Of this replica. `rate`: requests a second, None before two looks; `errors`: the share that failed.

    `course`: the rates from look to look, the oldest first.
    """

    in_flight: int
    waiting: int
    rate: float | None = None
    errors: float | None = None
    course: tuple[float, ...] = ()


class Store(enum.StrEnum):
    """Where what is shared is kept."""

    SHARED = "shared"
    AWAY = "away"
    NONE = "none"


class Status(msgspec.Struct, frozen=True):
    """The cluster at one moment (`at`: Unix time). What did not fit is counted: `more_targets` and so on.

    `expected`: fewer replicas are trouble, where that is configured. `reckoned`: limits are divided by no
    fewer while the store is away, which are the most there may be. `mixed`: replicas differ.
    """

    at: float
    replica: str
    version: str
    config_hash: str
    ready: bool
    store: Store
    traffic: Traffic
    models: tuple[ModelSeen, ...]
    members: tuple[About, ...]
    live: int
    expected: int | None
    reckoned: int
    totals: Totals
    limits: tuple[Holder, ...]
    failovers: tuple[Failover, ...]
    more_targets: int = 0
    more_members: int = 0
    more_limits: int = 0
    mixed: bool = False

    @property
    def more_models(self) -> int:
        """How many models did not fit at all."""
        return self.totals.models - len(self.models)
