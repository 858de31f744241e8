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
class TargetHealth:
    """One target's record. All deadlines in monotonic seconds, 0 where there is none."""

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


_HEALTHY = TargetHealth()


@dataclasses.dataclass(frozen=True, slots=True)
class Health:
    """Everything known at one moment. Immutable: a report makes a new one."""

    targets: Mapping[str, TargetHealth] = dataclasses.field(default_factory=dict)
    keys: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Key id -> quarantined until."""

    def of(self, target: Target) -> TargetHealth:
        """The record of `target`."""
        return self.targets.get(target.id, _HEALTHY)

    def ready_at(self, target: Target) -> float:
        """When `target` may be tried again; in the past for a healthy one."""
        if not self.targets and not self.keys:
            return 0.0
        record = self.targets.get(target.id, _HEALTHY)
        return max(record.ready_at, self.keys.get(target.key_id, 0.0))


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """How an attempt ended.

    `hint` is the provider's own wish in seconds, for a back-off. `probe` says that the attempt was the
    probe of a half-open circuit, whose verdict alone closes or reopens it.
    """

    effect: Effect
    hint: float | None = None
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
            return dataclasses.replace(health, keys=keys | {target.key_id: now + QUARANTINE})
        case _:
            return _with(health, target, _worsen(health.of(target), report, now, draw), now)


def claim(health: Health, target: Target, now: float, lease: float) -> Health:
    """Health once an attempt on `target` begins: the first after an ejection is the probe, alone.

    Until the probe's verdict, at most `lease` seconds, nobody else picks the target. Returns the same
    object where the attempt is no probe.
    """
    record = health.targets.get(target.id)
    if record is None or not record.ejections or record.open_until > now:
        return health
    return _with(health, target, dataclasses.replace(record, open_until=now + lease), now)


def release(health: Health, target: Target, now: float) -> Health:
    """Health after a probe of `target` ended without a verdict: the next attempt is the probe."""
    record = health.targets.get(target.id)
    if record is None or record.open_until <= now:
        return health
    return _with(health, target, dataclasses.replace(record, open_until=now), now)


def _with(health: Health, target: Target, record: TargetHealth, now: float) -> Health:
    return dataclasses.replace(health, targets=_bounded(health.targets, now) | {target.id: record})


def _worsen(record: TargetHealth, report: Report, now: float, draw: random.Random) -> TargetHealth:
    if report.effect is Effect.BACK_OFF:
        until = now + _back_off(record.back_offs, report.hint, draw)
        return dataclasses.replace(
            record, back_offs=record.back_offs + 1, back_off_until=max(record.back_off_until, until)
        )
    if report.effect is Effect.QUARANTINE_MODEL:
        return dataclasses.replace(record, quarantined_until=now + QUARANTINE)
    failures = record.failures + 1
    straggler = record.open_until > now and not report.probe  # sent before the circuit opened: one trip
    if failures < TRIP_AFTER or straggler:
        return dataclasses.replace(record, failures=failures)
    ejections = record.ejections + 1
    pause = min(EJECTION * ejections, EJECTION_CAP) * draw.uniform(0.9, 1.1)
    return dataclasses.replace(record, failures=failures, ejections=ejections, open_until=now + pause)


def _back_off(times: int, hint: float | None, draw: random.Random) -> float:
    """Seconds to stay away: the provider's hint, else exponential with full jitter above half."""
    if hint is not None:
        return min(hint, HINT_CAP)
    return min(BACK_OFF_FIRST * 2.0 ** min(times, 10), BACK_OFF_CAP) * draw.uniform(0.5, 1.0)


def _recover(health: Health, target: Target, now: float, *, probe: bool) -> Health:
    record = health.targets.get(target.id)
    if record is None or (record.open_until > now and not probe):
        return health
    waiting = max(record.back_off_until, record.quarantined_until) > now
    if waiting:  # a reply that was on its way when another got a 429 does not shorten the window
        return _with(
            health, target, dataclasses.replace(record, failures=0, ejections=0, open_until=0.0), now
        )
    rest = {id_: kept for id_, kept in health.targets.items() if id_ != target.id}
    return dataclasses.replace(health, targets=rest)


def _bounded(targets: Mapping[str, TargetHealth], now: float) -> dict[str, TargetHealth]:
    if len(targets) < ENTRIES:
        return dict(targets)
    return {id_: record for id_, record in targets.items() if record.ready_at > now}
