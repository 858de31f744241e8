"""What is remembered against one name, and what can happen to it: the nouns of `circuit`. Pure.

A name is a target, an origin or a provider key. Times are whole milliseconds of the cluster's clock, 0 means
never. A name without a record is healthy.
"""

import enum

import msgspec

UNIT = 1000
"""Shares travel as whole thousandths, so that script and twin agree to the last digit."""


class State(enum.StrEnum):
    """Of a circuit breaker. A circuit is half open by the passing of time alone."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Cause(enum.StrEnum):
    """Why a circuit was opened last."""

    NONE = ""
    CONSECUTIVE = "consecutive"
    RATE = "rate"
    REFUSED = "refused"


class Kind(enum.StrEnum):
    """What can happen to a record."""

    OK = "ok"
    FAIL = "fail"
    BACK_OFF = "back_off"
    REFUSE = "refuse"
    CLAIM = "claim"
    RENEW = "renew"
    RELEASE = "release"
    MERGE = "merge"
    DRAIN = "drain"
    RESTORE = "restore"
    RESET = "reset"


ORDERS = frozenset({Kind.DRAIN, Kind.RESTORE, Kind.RESET})
"""What operators say, of targets: take no requests, take them again, forget what is held against it; the last
also of origins and keys."""


class Rules(msgspec.Struct, frozen=True):
    """The bounds of `health` in the configuration: milliseconds, counts, and thousandths.

    `rate` of at least `requests` within `window` opens a circuit, as do `failures` in a row. `forgive` is how
    long a closed circuit must hold for one ejection to be forgotten, `slow_from` the share it begins with.
    """

    failures: int = 5
    rate: int = 500
    requests: int = 20
    window: int = 10_000
    ejection: int = 5_000
    ejection_cap: int = 300_000
    lease: int = 10_000
    slow_start: int = 30_000
    forgive: int = 60_000
    back_off: int = 1_000
    back_off_cap: int = 60_000
    hint_cap: int = 300_000
    quarantine: int = 300_000
    slow_from: int = 100


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is remembered of one name, as it is stored and published. 0 means never.

    `failures` in a row before any content, `broken` in a row after it. `window` is flat: slot, successes,
    failures, slot, ...; oldest first. `probe` is the token of who may try a half-open circuit, until
    `probe_until`. `version` grows with each change that others must know of. An operator's last orders are
    known by when they were given; `reset_at` is the epoch, and all of the record is of that.
    """

    failures: int = 0
    broken: int = 0
    window: tuple[int, ...] = ()
    ok_at: int = 0
    open_until: int = 0
    ejections: int = 0
    cause: Cause = Cause.NONE
    closed_at: int = 0
    probe: str = ""
    probe_until: int = 0
    back_offs: int = 0
    back_off_until: int = 0
    drained_at: int = 0
    restored_at: int = 0
    reset_at: int = 0
    version: int = 0

    @property
    def drained(self) -> bool:
        """Whether it takes no requests until an operator says so."""
        return self.drained_at > self.restored_at

    def state(self, now: int) -> State:
        """The circuit's state."""
        if self.open_until == 0:
            return State.CLOSED
        return State.OPEN if self.open_until > now else State.HALF_OPEN

    def probing(self, now: int) -> bool:
        """Whether somebody holds the lease of the probe."""
        return self.probe != "" and self.probe_until > now

    def matters(self, now: int) -> bool:
        """Whether it keeps anybody away."""
        return self.drained or max(self.open_until, self.back_off_until) > now


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that happened to `name`.

    `count` successes in a row. `hint` is the provider's own wish in ms. `jitter` (thousandths) was drawn by
    who tells it. `repeat` says that the request had failed elsewhere before, `age` how long ago this replica
    saw a success on the name, in ms (-1: not lately). `token` makes it the verdict of the probe. `late`: it
    says how a stream ended whose first content was told as a success. `epoch` is the `reset_at` that whoever
    tells it knew; of an order, when it was given.
    """

    kind: Kind
    name: str
    token: str = ""
    count: int = 1
    hint: int = 0
    jitter: int = UNIT
    repeat: bool = False
    age: int = -1
    late: bool = False
    epoch: int = 0
    record: Record | None = None


NOTHING = Record()
