"""What is known of targets that misbehave: pure arithmetic over absolute deadlines.

Three things keep a target from being picked, and they never share a bucket:

- a back-off window after a 429 or 529: the provider asked for time, for one key and upstream model;
- an ejection after consecutive failures: the circuit is open until a deadline, then half open: the next
  request is the probe, and its success closes the circuit, its failure opens it for longer;
- a quarantine of a key after a 401 or 402, of a key for one model after a 403.

A target with no entry is healthy; success costs nothing unless there is something to forget. Deadlines
are absolute and only grow. Times are monotonic seconds.
"""

import dataclasses
import enum
import random
from collections.abc import Mapping

from proxy.targets import Target

TRIP_AFTER = 5
"""Consecutive failures that open a circuit."""

EJECTION = 5.0
"""Seconds of the first ejection; the n-th in a row lasts n times as long (Envoy outlier detection)."""

EJECTION_CAP = 300.0
BACK_OFF_FIRST = 1.0
BACK_OFF_CAP = 60.0
HINT_CAP = 300.0
QUARANTINE = 300.0
ENTRIES = 10_000
"""The most targets remembered at once; a client that may address providers directly names the models."""


class Effect(enum.Enum):
    """What an attempt's end means for the health of what it was sent to."""

    SUCCESS = "success"
    NEUTRAL = "neutral"
    FAILURE = "failure"
    BACK_OFF = "back_off"
    QUARANTINE_KEY = "quarantine_key"
    QUARANTINE_MODEL = "quarantine_model"


@dataclasses.dataclass(frozen=True, slots=True)
class Trouble:
    """What is known against one target, or one origin. Deadlines in monotonic seconds, 0 where none."""

    failures: int = 0
    ejections: int = 0
    open_until: float = 0.0
    back_offs: int = 0
    back_off_until: float = 0.0
    quarantined_until: float = 0.0

    @property
    def ready_at(self) -> float:
        """When it may be tried again."""
        return max(self.open_until, self.back_off_until, self.quarantined_until)


_NONE = Trouble()


@dataclasses.dataclass(frozen=True, slots=True)
class Health:
    """Everything known at one moment. Immutable: a report makes a new one.

    `records` are kept by target id, and by origin for what is about the way there: a host that is gone is
    one failure, not one for each of its keys and models. `keys` are quarantines, by key id.
    """

    records: Mapping[str, Trouble] = dataclasses.field(default_factory=dict)
    keys: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def of(self, target: Target) -> Trouble:
        """The record of `target` itself."""
        return self.records.get(target.id, _NONE)

    def ready_at(self, target: Target) -> float:
        """When `target` may be tried again; in the past for a healthy one."""
        if not self.records and not self.keys:
            return 0.0
        own = self.records.get(target.id, _NONE)
        way = self.records.get(target.origin, _NONE)
        return max(own.ready_at, way.ready_at, self.keys.get(target.key_id, 0.0))


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """How an attempt ended.

    `hint` is the provider's own wish in seconds. `way` says that the fault was on the way to the origin
    (connection, TLS) and not the target's. `probe` says that the attempt was the probe of a half-open
    circuit, whose verdict alone closes or reopens it.
    """

    effect: Effect
    hint: float | None = None
    way: bool = False
    probe: bool = False


def apply(health: Health, target: Target, report: Report, now: float, draw: random.Random) -> Health:
    """Health after an attempt on `target` ended as `report` says.

    Returns the same object where nothing changed, so a caller can tell by identity.
    """
    match report.effect:
        case Effect.NEUTRAL:
            return release(health, target, now) if report.probe else health
        case Effect.SUCCESS:
            return _recover(health, target, now, probe=report.probe)
        case Effect.QUARANTINE_KEY:
            keys = {key: until for key, until in health.keys.items() if until > now}
            health = dataclasses.replace(health, keys=keys | {target.key_id: now + QUARANTINE})
            return release(health, target, now) if report.probe else health
        case _:
            if report.probe:
                health = release(health, target, now)  # the other one's lease too: there is no more to come
                if not report.way:
                    health = _recover_way(health, target)  # whatever the target said, the way is open
            where = target.origin if report.way else target.id
            worse = _worsen(health.records.get(where, _NONE), report, now, draw)
            return _with(health, where, worse, now)


def claim(health: Health, target: Target, now: float, lease: float) -> Health:
    """Health once an attempt on `target` begins: the first after an ejection is the probe, alone.

    Until the probe's verdict, at most `lease` seconds, nobody else picks the target, or anything else of
    an origin that is being probed. Returns the same object where the attempt is no probe.
    """
    for name in (target.id, target.origin):
        record = health.records.get(name)
        if record is not None and record.ejections and record.open_until <= now:
            health = _with(health, name, dataclasses.replace(record, open_until=now + lease), now)
    return health


def release(health: Health, target: Target, now: float) -> Health:
    """Health after a probe of `target` ended without a verdict: the next attempt is the probe."""
    for name in (target.id, target.origin):
        record = health.records.get(name)
        if record is not None and record.open_until > now:
            health = _with(health, name, dataclasses.replace(record, open_until=now), now)
    return health


def _with(health: Health, name: str, record: Trouble, now: float) -> Health:
    return dataclasses.replace(health, records=_bounded(health.records, now) | {name: record})


def _worsen(record: Trouble, report: Report, now: float, draw: random.Random) -> Trouble:
    """`record` after a fault. A hint is heeded whatever the fault was."""
    waiting = record.back_off_until
    if report.effect is Effect.BACK_OFF or report.hint is not None:
        waiting = max(waiting, now + _back_off(record.back_offs, report.hint, draw))
    if report.effect is not Effect.FAILURE:
        return dataclasses.replace(
            record,
            back_offs=record.back_offs + (report.effect is Effect.BACK_OFF),
            back_off_until=waiting,
            quarantined_until=now + QUARANTINE
            if report.effect is Effect.QUARANTINE_MODEL
            else record.quarantined_until,
        )
    failures = record.failures + 1
    straggler = record.open_until > now and not report.probe  # sent before the circuit opened: one trip
    if failures < TRIP_AFTER or straggler:
        return dataclasses.replace(record, failures=failures, back_off_until=waiting)
    ejections = record.ejections + 1
    pause = min(EJECTION * ejections, EJECTION_CAP) * draw.uniform(0.9, 1.1)
    return dataclasses.replace(
        record, failures=failures, ejections=ejections, open_until=now + pause, back_off_until=waiting
    )


def _back_off(times: int, hint: float | None, draw: random.Random) -> float:
    """Seconds to stay away: the provider's hint, else exponential with full jitter above half."""
    if hint is not None:
        return min(hint, HINT_CAP)
    return min(BACK_OFF_FIRST * 2.0 ** min(times, 10), BACK_OFF_CAP) * draw.uniform(0.5, 1.0)


def _recover(health: Health, target: Target, now: float, *, probe: bool) -> Health:
    health = _recover_way(health, target)
    record = health.records.get(target.id)
    if record is None or (record.open_until > now and not probe):
        return health
    if max(record.back_off_until, record.quarantined_until) > now:
        # A reply that was on its way when another got a 429 does not shorten the window.
        mended = dataclasses.replace(record, failures=0, ejections=0, open_until=0.0)
        return _with(health, target.id, mended, now)
    return _without(health, target.id)


def _recover_way(health: Health, target: Target) -> Health:
    """An answer came: the way to the origin is open."""
    return _without(health, target.origin) if target.origin in health.records else health


def _without(health: Health, name: str) -> Health:
    return dataclasses.replace(
        health, records={id_: kept for id_, kept in health.records.items() if id_ != name}
    )


def _bounded(records: Mapping[str, Trouble], now: float) -> dict[str, Trouble]:
    """A copy that can take one more: what is over goes first, then what is oldest."""
    if len(records) < ENTRIES:
        return dict(records)
    waiting = [(name, record) for name, record in records.items() if record.ready_at > now]
    return dict(waiting[-ENTRIES // 2 :])
