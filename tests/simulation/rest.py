"""What must be true when all faults are over for long enough and nobody asks for anything any more."""

import random
from collections import Counter
from collections.abc import Iterable

import msgspec

from proxy.circuit import Record, State
from proxy.routing import Plan
from simulation.ledger import Ledger
from simulation.replica import Replica
from simulation.store import SimStore

DRAWS = 400
"""So many requests are tried out for the shares of targets."""

TOLERATED = 0.1
"""A share may differ by so much from its weight: four standard deviations of as many draws."""


def check(ledger: Ledger, store: SimStore, replicas: Iterable[Replica]) -> None:
    """Write down what is not so."""
    _closed(ledger, store)
    for replica in replicas:
        _idle(ledger, replica)
        _agreed(ledger, store, replica)
        _weighted(ledger, replica)


def _closed(ledger: Ledger, store: SimStore) -> None:
    now = store.now()
    for name, record in store.records.items():
        if record.state(now) is not State.CLOSED or record.back_off_until > now or record.probing(now):
            ledger.broke("store", f"{name} is not well after all faults: {record}")


def _idle(ledger: Ledger, replica: Replica) -> None:
    """Whatever was taken has been given back."""
    left = {
        "in flight": replica.fleet.in_flight,
        "waiting": len(replica.waiting),
        "entered": replica.guard.in_flight,
        "probes": dict(replica.fleet._probes._flying),
        "to tell": [*replica.fleet.dirty] if replica.fleet.outbox.open else "everything",
    }
    for what, count in left.items():
        if count:
            ledger.broke(replica.name, f"{what}: {count} when nobody asks any more")


def _agreed(ledger: Ledger, store: SimStore, replica: Replica) -> None:
    """It knows exactly what the store does."""
    if replica.peers.version != store.version:
        ledger.broke(replica.name, f"knows version {replica.peers.version}, the store has {store.version}")
    for who, what in differences(store, replica):
        ledger.broke(replica.name, f"{who}: {what}")


def differences(store: SimStore, replica: Replica) -> list[tuple[str, str]]:
    """Where a replica knows another thing of a name than the store, in what all must know."""
    own, found, now = replica.fleet.health.records, [], store.now()
    for name in sorted(store.records.keys() | own.keys()):
        shared, known = store.records.get(name), own.get(name)
        window = known.back_off_until if known is not None else 0
        if shared is not None and window > max(shared.back_off_until, now):
            shared = msgspec.structs.replace(shared, back_off_until=window)  # its own, by its own clock
        if shared is None or known is None or _shared(shared, now) != _shared(known, now):
            found.append((name, f"the store has {shared}, it {known}"))
    return found


def _shared(record: Record, now: int) -> tuple[object, ...]:
    """What travels and counts: the rest of a record is the store's own."""
    return (
        record.version,
        record.open_until,
        record.ejections,
        record.cause,
        record.closed_at,
        record.probe,
        record.probe_until,
        max(record.back_off_until, now),
        (record.drained_at, record.restored_at, record.reset_at),
    )


def _weighted(ledger: Ledger, replica: Replica) -> None:
    """Every target has its full weight again."""
    fleet = replica.fleet
    for model in fleet.snapshot.models.values():
        for target in model.targets:
            standing = fleet.standing(target)
            if standing.until > fleet.now() or standing.trial or standing.share < 1.0:
                ledger.broke(replica.name, f"{target.id} is not back: {standing}, {fleet.health.records}")
    draw, model = random.Random(1), fleet.snapshot.models["even"]
    chosen: Counter[str] = Counter()
    for _ in range(DRAWS):
        picked = Plan(model, draw).next(fleet)
        chosen[picked.id if picked is not None else "nobody"] += 1
    total = sum(target.weight for target in model.targets)
    for target in model.targets:
        if abs(chosen[target.id] / DRAWS - target.weight / total) > TOLERATED:
            ledger.broke(replica.name, f"{target.id} has not its weight: {dict(chosen)}")
