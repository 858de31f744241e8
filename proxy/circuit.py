"""What is remembered against one name, and how it changes: the pure twin of `lua/health.lua`.

A name is a target, an origin or a provider key. Its record holds two things that never share a bucket: a
circuit breaker, which failures open, and a back-off window, which the provider asked for. Every change of a
record is one `Change`, applied by the script for the whole cluster, or here where Redis is away.

Times are whole milliseconds of the cluster's clock (Redis TIME), absolute. Deadlines only grow, but for a
circuit that its probe closes, and for what an operator resets: then a new epoch begins, and whatever is told
of the one before says nothing. Of orders the last one counts, whoever heard of it first.

Sources of the figures: Envoy's outlier detection (ejections that grow, 50 % here for groups are small),
Finagle's failure accrual (one probe, an ignorable result gives its place up), reliability of LLM clients:
`retry-after` of OpenAI and Anthropic is a promise about one key and model.
"""

from collections.abc import Sequence

import msgspec

from proxy.dossier import NOTHING, ORDERS, UNIT, Cause, Change, Kind, Record, Rules, State

__all__ = [
    "AHEAD",
    "NOTHING",
    "ORDERS",
    "REMEMBERED",
    "TRANSITIONS",
    "UNIT",
    "Cause",
    "Change",
    "Kind",
    "Record",
    "Rules",
    "State",
    "apply",
    "idle",
    "joined",
    "unheard",
]

SLOTS = 10
"""Parts of the window in which failures are counted."""

AHEAD = 60_000
"""Milliseconds that another clock may have been ahead; what is told of later than that is its mistake."""

REMEMBERED = 86_400_000
"""Milliseconds for which an order that is over is remembered: so long a replica may have been away."""


def apply(record: Record, change: Change, rules: Rules, now: int) -> Record:
    """`record` after `change`. Returns the same object where nothing changed."""
    if change.epoch < record.reset_at and change.kind not in _ANY_EPOCH:
        return record
    return _APPLY[change.kind](record, change, rules, now)


def _ok(record: Record, change: Change, rules: Rules, now: int) -> Record:
    """A success counts while the circuit is closed; the probe's closes it; any other is a straggler.

    Where the rate has opened it, any other may be of one that was sent there all the same: it ends the row.
    """
    if change.late:
        return msgspec.structs.replace(record, broken=0) if record.broken else record
    if record.open_until == 0:
        return msgspec.structs.replace(
            record,
            failures=0,
            broken=0 if _stale(record, rules, now) else record.broken,
            window=_counted(record.window, (change.count, 0), rules, now),
            ok_at=now,
            back_offs=0 if record.back_off_until <= now else record.back_offs,
        )
    if not _holds(record, change):
        rated = record.cause is Cause.RATE
        return msgspec.structs.replace(record, failures=0, ok_at=now) if rated else record
    return msgspec.structs.replace(
        record,
        failures=0,
        broken=0,
        window=(),
        ok_at=now,
        open_until=0,
        cause=Cause.NONE,
        closed_at=now,
        probe="",
        probe_until=0,
    )


def _fail(record: Record, change: Change, rules: Rules, now: int) -> Record:
    """A failure counts while the circuit is closed; the probe's opens it for longer; any other: see `_dying`.

    One that the same request met elsewhere before is the request's own fault, as long as others succeed here.
    """
    fine = now - record.ok_at <= rules.window or 0 <= change.age <= rules.window
    if record.open_until:
        worse = record if fine else _dying(record, change, rules)
        return _open(worse, worse.cause, change, rules, now) if _holds(record, change) else worse
    if change.repeat and fine:
        return record
    if _stale(record, rules, now):
        record = msgspec.structs.replace(record, failures=0, broken=0)
    window = _counted(record.window, (0, 1), rules, now)
    row = (record.broken if change.late else record.failures) + 1
    worse = msgspec.structs.replace(record, window=window, **{"broken" if change.late else "failures": row})
    total = sum(window[1::3]) + sum(window[2::3])
    if row >= rules.failures:
        return _open(worse, Cause.CONSECUTIVE, change, rules, now)
    if total >= rules.requests and sum(window[2::3]) * UNIT >= rules.rate * total:
        return _open(worse, Cause.RATE, change, rules, now)
    return worse


def _dying(record: Record, change: Change, rules: Rules) -> Record:
    """A circuit that its rate has opened is kept open by failures in a row from now on.

    They count once nothing has succeeded for a whole window. Until then some in a row may fail by chance, of
    many of whom half fail, or were sent before it opened. No deadline hangs on this: what ends even later can
    only end its being spared. How a stream ends says nothing, for its first content was a success.
    """
    if record.cause is not Cause.RATE or change.late:
        return record
    row = record.failures + 1
    if row < rules.failures:
        return msgspec.structs.replace(record, failures=row)
    return msgspec.structs.replace(record, failures=0, cause=Cause.CONSECUTIVE)


def _open(record: Record, cause: Cause, change: Change, rules: Rules, now: int) -> Record:
    """Eject: n times as long the n-th time, less what a circuit that held has made forgotten."""
    ejections = _ejections(record, rules, now) + 1
    pause = min(rules.ejection * ejections * change.jitter // UNIT, rules.ejection_cap)
    return msgspec.structs.replace(
        record,
        failures=record.failures if record.open_until else 0,
        broken=0,
        window=(),
        open_until=max(record.open_until, now + pause),
        ejections=ejections,
        cause=cause,
        closed_at=0,
        probe="",
        probe_until=0,
    )


def _back_off(record: Record, change: Change, rules: Rules, now: int) -> Record:
    """A window, only ever extended. Several refusals in one window without a hint are one."""
    if _holds(record, change):
        record = msgspec.structs.replace(record, probe="", probe_until=0)
    inside = record.back_off_until > now
    back_offs = _back_offs(record, rules, now)
    if change.hint > 0:
        wait = min(change.hint, rules.hint_cap)
    elif inside:
        return record
    else:
        wait = min(rules.back_off * 2 ** min(back_offs, 10), rules.back_off_cap) * change.jitter // UNIT
    return msgspec.structs.replace(
        record,
        back_offs=back_offs if inside else back_offs + 1,
        back_off_until=max(record.back_off_until, now + wait),
    )


def _refuse(record: Record, _change: Change, rules: Rules, now: int) -> Record:
    """Credentials were not accepted: out for the quarantine, whatever else is known."""
    return msgspec.structs.replace(
        record,
        failures=0,
        broken=0,
        window=(),
        open_until=max(record.open_until, now + rules.quarantine),
        ejections=_ejections(record, rules, now),
        cause=Cause.REFUSED,
        closed_at=0,
        probe="",
        probe_until=0,
    )


def _claim(record: Record, change: Change, rules: Rules, now: int) -> Record:
    """The lease of the probe goes to the first who asks."""
    free = record.state(now) is State.HALF_OPEN and not record.probing(now) and not record.drained
    if not free or record.back_off_until > now or not change.token:
        return record
    return msgspec.structs.replace(record, probe=change.token, probe_until=now + rules.lease)


def _renew(record: Record, change: Change, rules: Rules, now: int) -> Record:
    if not _holds(record, change):
        return record
    return msgspec.structs.replace(record, probe_until=now + rules.lease)


def _release(record: Record, change: Change, _rules: Rules, _now: int) -> Record:
    return msgspec.structs.replace(record, probe="", probe_until=0) if _holds(record, change) else record


def _drain(record: Record, change: Change, _rules: Rules, _now: int) -> Record:
    """Nothing new goes there. The order is later than any that is known, by whatever clock it was given."""
    at = max(change.epoch, record.drained_at, record.restored_at + 1)
    return msgspec.structs.replace(record, drained_at=at)


def _restore(record: Record, change: Change, _rules: Rules, _now: int) -> Record:
    return msgspec.structs.replace(
        record, restored_at=max(change.epoch, record.drained_at, record.restored_at)
    )


def _reset(record: Record, change: Change, _rules: Rules, _now: int) -> Record:
    """Another epoch: nothing is held against the name. Whether it is drained is another matter."""
    return _anew(record, max(change.epoch, record.reset_at + 1))


def _anew(record: Record, reset_at: int) -> Record:
    return Record(
        drained_at=record.drained_at,
        restored_at=record.restored_at,
        reset_at=reset_at,
        version=record.version,
    )


def _merge(record: Record, change: Change, rules: Rules, now: int) -> Record:
    """What was learned without Redis: the later deadlines, the later return, and nothing of a probe.

    No deadline is longer than this clock could have made it: who told may have had another.
    """
    told = change.record or NOTHING
    record = msgspec.structs.replace(
        record,
        drained_at=max(record.drained_at, told.drained_at),
        restored_at=max(record.restored_at, told.restored_at),
    )
    if told.reset_at < record.reset_at:
        return record
    if told.reset_at > record.reset_at:
        record = _anew(record, told.reset_at)
    longest = now + max(rules.ejection_cap, rules.quarantine) + AHEAD
    open_until = min(told.open_until, longest)
    record = msgspec.structs.replace(
        record,
        back_offs=max(_back_offs(record, rules, now), _back_offs(told, rules, now)),
        back_off_until=max(record.back_off_until, min(told.back_off_until, now + rules.hint_cap + AHEAD)),
    )
    if open_until > max(record.open_until, record.closed_at):
        return msgspec.structs.replace(
            record,
            failures=record.failures if record.open_until else 0,
            broken=0,
            open_until=open_until,
            ejections=max(_ejections(record, rules, now), told.ejections),
            cause=told.cause,
            closed_at=0,
            probe="",
            probe_until=0,
        )
    if record.open_until == 0 and told.closed_at > record.closed_at:
        return msgspec.structs.replace(record, ejections=told.ejections, closed_at=told.closed_at)
    if record.open_until and told.open_until:
        return msgspec.structs.replace(record, ejections=max(record.ejections, told.ejections))
    return record


_APPLY = {
    Kind.OK: _ok,
    Kind.FAIL: _fail,
    Kind.BACK_OFF: _back_off,
    Kind.REFUSE: _refuse,
    Kind.CLAIM: _claim,
    Kind.RENEW: _renew,
    Kind.RELEASE: _release,
    Kind.MERGE: _merge,
    Kind.DRAIN: _drain,
    Kind.RESTORE: _restore,
    Kind.RESET: _reset,
}

_ANY_EPOCH = ORDERS | {Kind.MERGE}
"""What is heard whatever its teller knew of resets: it says itself when it is from."""


def _holds(record: Record, change: Change) -> bool:
    return change.token != "" and change.token == record.probe


def _ejections(record: Record, rules: Rules, now: int) -> int:
    """How many still count: each `forgive` for which its circuit has held makes one forgotten."""
    forgotten = (now - record.closed_at) // rules.forgive if record.closed_at else 0
    return max(record.ejections - max(forgotten, 0), 0)


def _back_offs(record: Record, rules: Rules, now: int) -> int:
    """How many in a row: a window that has been over for long enough is no part of it."""
    return record.back_offs if now < record.back_off_until + rules.back_off_cap else 0


def _stale(record: Record, rules: Rules, now: int) -> bool:
    """Whether nothing was counted for so long that a row of failures is none."""
    last = record.window[-3] * max(rules.window // SLOTS, 1) if record.window else 0
    return now - last >= rules.forgive


def _counted(window: Sequence[int], more: tuple[int, int], rules: Rules, now: int) -> tuple[int, ...]:
    """`window` without what is too old, and with so many successes and failures more."""
    slot = now // max(rules.window // SLOTS, 1)
    kept = [
        (window[at], window[at + 1], window[at + 2])
        for at in range(0, len(window), 3)
        if slot - SLOTS < window[at] <= slot
    ]
    if kept and kept[-1][0] == slot:
        last = kept.pop()
        more = (last[1] + more[0], last[2] + more[1])
    kept.append((slot, *more))
    return tuple(figure for entry in kept for figure in entry)


def joined(kept: Record, told: Record, rules: Rules, now: int, *, untold: bool) -> Record:
    """What the cluster told of a name, for a replica that knew `kept` of it.

    A window that is known never shrinks, but by a reset. `untold`: what was decided there holds until the
    cluster has heard.
    """
    if untold:
        return _merge(told, Change(Kind.MERGE, "", record=kept), rules, now)
    if kept.reset_at < told.reset_at or kept.back_off_until <= told.back_off_until:
        return told
    return msgspec.structs.replace(told, back_off_until=kept.back_off_until)


def unheard(kept: Record, told: Record, now: int) -> bool:
    """Whether the cluster tells less of orders than is known here: it has not heard of them, or lost them.

    Not so where it may have forgotten what was over for long enough, by a clock that is ahead of ours.
    """
    newer = (
        kept.reset_at > told.reset_at
        or kept.drained_at > told.drained_at
        or kept.restored_at > told.restored_at
    )
    return newer and _ordered(kept, now + AHEAD)


def _ordered(record: Record, now: int) -> bool:
    """Whether an operator's order holds, or did lately."""
    last = max(record.restored_at, record.reset_at)
    return record.drained or (last > 0 and now < last + REMEMBERED)


def idle(record: Record, rules: Rules, now: int) -> bool:
    """Whether nothing in it matters any more, so that it may be forgotten."""
    if record.open_until or record.back_off_until > now or _ordered(record, now):
        return False
    if (record.failures or record.broken) and not _stale(record, rules, now):
        return False
    slot = now // max(rules.window // SLOTS, 1)
    failed = any(
        record.window[at + 2] and record.window[at] > slot - SLOTS for at in range(0, len(record.window), 3)
    )
    steady = record.closed_at + max(rules.slow_start, rules.forgive * record.ejections)
    return not failed and not _back_offs(record, rules, now) and (record.closed_at == 0 or now >= steady)


TRANSITIONS: Sequence[tuple[State, str, State]] = (
    (State.CLOSED, "failures in a row, or the failure rate within the window", State.OPEN),
    (State.CLOSED, "credentials refused (401, 402, 403)", State.OPEN),
    (State.OPEN, "the ejection or quarantine is over", State.HALF_OPEN),
    (State.OPEN, "credentials refused by a request from before (the later deadline counts)", State.OPEN),
    (State.HALF_OPEN, "the probe succeeds (slow start)", State.CLOSED),
    (State.HALF_OPEN, "the probe fails (ejected for longer)", State.OPEN),
    (State.HALF_OPEN, "credentials refused", State.OPEN),
    (State.HALF_OPEN, "no verdict (the probe's client left, or its lease lapsed)", State.HALF_OPEN),
    (State.CLOSED, "another replica opened it while it was without Redis", State.OPEN),
    (State.OPEN, "another replica opened it for longer while it was without Redis", State.OPEN),
    (State.HALF_OPEN, "another replica opened it while it was without Redis", State.OPEN),
    (
        State.CLOSED,
        "another replica had opened it, and was without Redis until that was over",
        State.HALF_OPEN,
    ),
    (State.OPEN, "an operator resets it", State.CLOSED),
    (State.HALF_OPEN, "an operator resets it", State.CLOSED),
)
"""Every way a circuit can go: from, why, to. docs/health.md draws it; the tests hold the code to it."""
