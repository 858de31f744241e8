"""Which changes of a record health.lua publishes: the script's own rule, for those that stand in for it."""

from proxy.circuit import Record


def told(before: Record | None, after: Record | None) -> bool:
    """Whether the change from one to the other is one that others must know of. None: no record."""
    if before is None or after is None:
        return before is not after
    return _public(before) != _public(after)


def _public(record: Record) -> tuple[object, ...]:
    return (
        record.open_until,
        record.ejections,
        record.cause,
        record.closed_at,
        record.probe,
        record.probe_until,
        record.back_off_until,
        record.drained_at,
        record.restored_at,
        record.reset_at,
    )
