"""The reservations this replica holds open, and which limits they hold.

A reservation is settled by whoever takes it out of here, so it is settled once.
"""

from collections.abc import Sequence

import msgspec

from ratelimit.scope import Limit, Reservation


class Held(msgspec.Struct, frozen=True):
    """An open reservation: since when (seconds), and whether the local store granted it."""

    reservation: Reservation
    since: float
    local: bool = False


class OpenReservations:
    """Open reservations by id and by limit. Every operation is constant time but `by_limit`."""

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}
        self._ids: dict[str, dict[str, None]] = {}

    def __len__(self) -> int:
        """How many are open."""
        return len(self._held)

    def __contains__(self, rid: str) -> bool:
        """Whether this one is open."""
        return rid in self._held

    def add(self, held: Held) -> None:
        """Hold it until it is taken."""
        rid = held.reservation.id
        self._held[rid] = held
        for limit in held.reservation.limits:
            self._ids.setdefault(limit.key, {})[rid] = None

    def take(self, rid: str) -> Held | None:
        """Take it out, to be settled; None where somebody did."""
        held = self._held.pop(rid, None)
        if held is None:
            return None
        for limit in held.reservation.limits:
            ids = self._ids[limit.key]
            del ids[rid]
            if not ids:
                del self._ids[limit.key]
        return held

    def of(self, limit: Limit) -> tuple[str, ...]:
        """The ids that hold `limit`."""
        return tuple(self._ids.get(limit.key, ()))

    def by_limit(self, before: float) -> Sequence[tuple[Limit, Sequence[str]]]:
        """Each limit with the ids that have held it since `before` or longer."""
        found: dict[str, tuple[Limit, list[str]]] = {}
        for rid, held in self._held.items():
            if held.since <= before:
                for limit in held.reservation.limits:
                    found.setdefault(limit.key, (limit, []))[1].append(rid)
        return tuple(found.values())
