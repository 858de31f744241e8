"""What the records of names mean for targets: who may be tried now, and what an attempt has taught. Pure.

A target is held against three names: itself (provider, key and model), its origin, since a host that is gone
is one failure and not one for each of its keys and models, and its key. What an attempt teaches is told as
changes of these (`circuit`); what is known is read as a `Standing`.
"""

import dataclasses
import enum
import random
from collections.abc import Collection, Mapping, Sequence

import msgspec

from proxy import circuit
from proxy.circuit import NOTHING, UNIT, Cause, Change, Kind, Record, Rules, State
from proxy.targets import Target


class Effect(enum.Enum):
    """What an attempt's end means for the health of what it was sent to."""

    SUCCESS = "success"
    NEUTRAL = "neutral"
    FAILURE = "failure"
    BACK_OFF = "back_off"
    QUARANTINE_KEY = "quarantine_key"
    QUARANTINE_MODEL = "quarantine_model"


class Report(msgspec.Struct, frozen=True):
    """How an attempt ended.

    `hint` is the provider's own wish in seconds. `way` says that the fault was on the way to the origin
    (connection, TLS) and not the target's, `repeat` that another target had failed the same request before,
    `overload` that the target had too much to do, `late` that it is about the end of a stream whose first
    content was reported as a success, `reached` that it answered, whatever it said. `answered` is how long
    its first content took, in seconds, or how long was waited for it; `whole` that it was no stream.
    """

    effect: Effect
    hint: float | None = None
    way: bool = False
    repeat: bool = False
    overload: bool = False
    late: bool = False
    reached: bool = False
    answered: float | None = None
    whole: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """How a target stands at one moment, in milliseconds of the cluster's clock.

    `until`: not before then, 0 where nothing is in the way. `backing_off`: a back-off window is what ends
    last. `trial`: the names that are half open, and want a probe. `probed_until`: somebody's probe is on its
    way, by its lease. `share`: the part of its requests that it gets while it starts slowly. `rate`: nothing
    is in the way but circuits that were opened for their failure rate. `drained`: an operator wants
    no requests to go there. `refused`: the circuit that stays open longest was opened for a refusal.
    """

    until: int = 0
    backing_off: bool = False
    trial: tuple[str, ...] = ()
    probed_until: int = 0
    share: float = 1.0
    rate: bool = False
    drained: bool = False
    refused: bool = False


READY = Standing()

NEVER = 1 << 53
"""A time that no clock will tell: until an operator says so."""

DRAINED = Standing(until=NEVER, drained=True)

Epochs = tuple[int, int, int]
"""When each of a target's names was last reset, in the order of `names`; 0 means never."""

UNTOUCHED: Epochs = (0, 0, 0)


@dataclasses.dataclass(frozen=True, slots=True)
class Health:
    """Everything known at one moment, by name. Immutable: whoever learns something makes a new one."""

    rules: Rules = Rules()  # noqa: RUF009  (frozen: a default cannot be changed by anybody)
    records: Mapping[str, Record] = dataclasses.field(default_factory=dict)
    tripped: bool = dataclasses.field(init=False)
    """Whether any circuit is not closed."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "tripped", any(record.open_until for record in self.records.values()))

    def standing(self, target: Target, now: int) -> Standing:
        """How `target` stands at `now`."""
        if not self.records:
            return READY
        known = [(name, self.records[name]) for name in names(target) if name in self.records]
        if any(record.drained for _, record in known):
            return DRAINED
        return self._standing(known, now) if known else READY

    def epochs(self, target: Target) -> Epochs:
        """Of the names of `target`."""
        if not self.records:
            return UNTOUCHED
        (own, origin, key), known = names(target), self.records.get
        return (
            known(own, NOTHING).reset_at,
            known(origin, NOTHING).reset_at,
            known(key, NOTHING).reset_at,
        )

    def begun_anew(self, target: Target, since: Epochs) -> Collection[str]:
        """The names of `target` that were reset since then: what began before says nothing of them."""
        epochs = self.epochs(target)
        if epochs == since:
            return ()
        found = zip(names(target), since, epochs, strict=True)
        return [name for name, before, epoch in found if epoch > before]

    def after(self, changes: Sequence[Change], now: int) -> dict[str, Record] | None:
        """The records after `changes`; None where there are none."""
        if not changes:
            return None
        records = dict(self.records)
        for change in changes:
            records[change.name] = circuit.apply(records.get(change.name, NOTHING), change, self.rules, now)
        for name in {change.name for change in changes}:
            if circuit.idle(records[name], self.rules, now):
                del records[name]
        return records

    def _standing(self, known: list[tuple[str, Record]], now: int) -> Standing:
        until = waiting = probed = 0
        refused = False
        trial: list[str] = []
        share, causes = 1.0, set()
        for name, record in known:
            state = record.state(now)
            if state is not State.CLOSED:
                causes.add(record.cause)
            if state is State.HALF_OPEN:
                trial.append(name)
                probed = max(probed, record.probe_until if record.probing(now) else 0)
            if state is State.OPEN and record.open_until > until:
                until, refused = record.open_until, record.cause is Cause.REFUSED
            waiting = max(waiting, record.back_off_until if record.back_off_until > now else 0)
            share = min(share, self._share(record, now))
        return Standing(
            until=max(until, waiting),
            backing_off=waiting > 0 and waiting >= until,
            trial=tuple(trial),
            probed_until=probed,
            share=share,
            rate=causes == {Cause.RATE} and not waiting,
            refused=refused,
        )

    def _share(self, record: Record, now: int) -> float:
        """Slow start: a small part of its requests at first, all of them when it has held for long enough."""
        since = now - record.closed_at
        if record.closed_at == 0 or since >= self.rules.slow_start:
            return 1.0
        first = self.rules.slow_from / UNIT
        return first + (1.0 - first) * max(since, 0) / self.rules.slow_start


def names(target: Target) -> tuple[str, str, str]:
    """What is remembered of a target is held against these."""
    return (target.id, target.origin, target.key_id)


def lessons(target: Target, report: Report, tokens: Mapping[str, str], draw: random.Random) -> list[Change]:
    """What a report says of the names of `target`. `tokens`, by name: of what the attempt was the probe.

    An answer of any kind says that the way to the origin is open. A success is worth telling only of names
    that something is remembered of; that is for the caller to know.
    """
    own, origin, key = names(target)
    effect = report.effect
    if report.late and effect is Effect.SUCCESS:
        return [Change(Kind.OK, own, late=True)]
    if effect is Effect.SUCCESS:
        return [_change(Kind.OK, name, tokens) for name in (own, origin, key)]
    if effect is Effect.NEUTRAL and report.reached:
        return [_change(Kind.OK, origin, tokens), *_released(tokens, (own, key))]
    if effect is Effect.NEUTRAL:
        return _released(tokens, (own, origin, key))
    if effect is Effect.FAILURE and report.way:
        return [_failed(origin, report, tokens, draw), *_released(tokens, (own, key))]
    found = [_change(Kind.OK, origin, tokens)]
    if effect is Effect.FAILURE:
        found += [_failed(own, report, tokens, draw), *_released(tokens, (key,))]
    elif effect is Effect.QUARANTINE_KEY:
        found += [_change(Kind.REFUSE, key, tokens), *_released(tokens, (own,))]
    elif effect is Effect.QUARANTINE_MODEL:
        found += [_change(Kind.REFUSE, own, tokens), *_released(tokens, (key,))]
    else:
        found += [_change(Kind.OK, key, tokens)]
    if effect is Effect.BACK_OFF or report.hint is not None:
        found.append(_waiting(own, report, tokens if effect is Effect.BACK_OFF else {}, draw))
    return found


def _change(kind: Kind, name: str, tokens: Mapping[str, str]) -> Change:
    return Change(kind, name, tokens.get(name, ""))


def _failed(name: str, report: Report, tokens: Mapping[str, str], draw: random.Random) -> Change:
    """Ten percent either way, so that what broke together does not come back together."""
    jitter = draw.randint(UNIT * 9 // 10, UNIT * 11 // 10)
    token = tokens.get(name, "")
    return Change(Kind.FAIL, name, token, jitter=jitter, repeat=report.repeat, late=report.late)


def _waiting(name: str, report: Report, tokens: Mapping[str, str], draw: random.Random) -> Change:
    """The provider's hint, else exponential with full jitter above half."""
    hint = max(round((report.hint or 0.0) * 1000), 0)
    jitter = draw.randint(UNIT // 2, UNIT)
    return Change(Kind.BACK_OFF, name, tokens.get(name, ""), hint=hint, jitter=jitter)


def _released(tokens: Mapping[str, str], whose: tuple[str, ...]) -> list[Change]:
    return [Change(Kind.RELEASE, name, tokens[name]) for name in whose if name in tokens]
