"""The decisions of one replica: numbered when a request begins, kept when it is over, found by its id.

The id of a request names the replica and the place of its decision, so that any replica can ask the right
one, and that one finds it without an index:

    req_<replica: 12 hex digits><slot: 4><random: 8>

Slots are dealt out in strides, so that ids do not count requests. What a decision needs to be understood, the
configuration it was made under, is kept with it for the last few.
"""

import random
import re
import struct
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import msgspec

from metrics.record import COMPLETED
from proxy import decision
from proxy.clock import Clock
from proxy.decision import Decision, decided
from proxy.exchange import Exchange
from proxy.replaying import served
from proxy.ring import Ring
from proxy.snapshot import Snapshot

SLOTS: Final = 50_000
"""Decisions kept by each replica; fewer where they are long, for many targets were in trouble."""

BYTES: Final = 8 * 1024 * 1024
"""What they are kept in: 167 bytes for each. One target tried where all are well takes about 110."""

ERAS: Final = 8
"""Configurations kept, with the one that holds."""

_PREFIX = "req_"
_ID = re.compile(r"req_([0-9a-f]{12})([0-9a-f]{4})([0-9a-f]{8})")
_HEAD = struct.Struct("<II")
"""Before each decision: what makes its id distinct, and the number of its configuration."""


class Address(NamedTuple):
    """What the id of a request says: the replica that took it, the slot there, and what makes it distinct."""

    replica: str
    slot: int
    mark: int


class Kept(NamedTuple):
    """A decision and what it was made under; None where that configuration is not kept any more."""

    decision: Decision
    snapshot: Snapshot | None


def address(request_id: str) -> Address | None:
    """Where the decision on a request is; None for what is no id of a request."""
    parts = _ID.fullmatch(request_id)
    return Address(parts[1], int(parts[2], 16), int(parts[3], 16)) if parts is not None else None


class Ledger:
    """Of the replica `name`: 12 hex digits. `redact` takes secrets out of what names no model."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        draw: random.Random,
        slots: int = SLOTS,
        size: int = BYTES,
        *,
        redact: Callable[[str], str] = str,
    ) -> None:
        self.name = name
        self._redact = redact
        self._clock = clock
        self._draw = draw
        self._slots = slots
        self._ring = Ring(slots, size)
        self._slot = draw.randrange(slots)
        self._stride = draw.randrange(slots // 10) * 10 + 1
        self._eras: dict[int, Snapshot] = {}
        self._era = -1

    def number(self) -> str:
        """The id of a request that begins now."""
        self._slot = (self._slot + self._stride) % self._slots
        return f"{_PREFIX}{self.name}{self._slot:04x}{self._draw.getrandbits(32):08x}"

    def keep(self, exchange: Exchange) -> None:
        """Keep the decision on a request that is over.

        Of one whose client is unknown nothing is kept, nor of one that was answered without any choice. One
        that chose nothing does not hide one that did and has the same id: that was made to answer it.
        """
        picked = exchange.plan is not None and bool(exchange.plan.picks)
        if exchange.tenant is None or (exchange.record.outcome == COMPLETED and not picked):
            return
        slot, mark = divmod(int(exchange.request_id[16:], 16), 1 << 32)
        if not picked and self._is_kept(slot, mark):
            return
        made = decided(exchange, self._clock.wall(), self._redact)
        head = _HEAD.pack(mark, self._era_of(exchange.snapshot))
        self._ring.put(slot, head + decision.encode(made))

    def _is_kept(self, slot: int, mark: int) -> bool:
        row = self._ring.get(slot)
        return row is not None and _HEAD.unpack_from(row)[0] == mark

    def find(self, request_id: str) -> Kept | None:
        """The decision on a request of this replica; None where it is not kept (any more)."""
        there = address(request_id)
        if there is None or there.replica != self.name or there.slot >= self._slots:
            return None
        found = self._read(there.slot)
        return found if found is not None and found.decision.request_id == request_id else None

    def latest(self) -> Iterator[Kept]:
        """All that are kept, the newest first."""
        found = (self._read(slot) for slot in self._ring.latest())
        return (kept for kept in found if kept is not None)

    def _read(self, slot: int) -> Kept | None:
        row = self._ring.get(slot)
        if row is None:
            return None
        mark, era = _HEAD.unpack_from(row)
        made = decision.decode(memoryview(row)[_HEAD.size :])
        snapshot = self._eras.get(era)
        request_id = f"{_PREFIX}{self.name}{slot:04x}{mark:08x}"
        if snapshot is None:
            return Kept(msgspec.structs.replace(made, request_id=request_id), None)
        model = served(made, snapshot)
        known = msgspec.structs.replace(
            made,
            request_id=request_id,
            config=snapshot.config_hash,
            targets=tuple(target.id for target in model.targets) if model is not None else (),
        )
        return Kept(known, snapshot)

    def _era_of(self, snapshot: Snapshot) -> int:
        """The number of a configuration: the newest, but for requests that began before a reload."""
        current = self._eras.get(self._era)
        if current is not None and current.config is snapshot.config:
            return self._era
        for number, known in self._eras.items():
            if known.config is snapshot.config:
                return number
        self._era += 1
        self._eras[self._era] = snapshot
        self._eras.pop(self._era - ERAS, None)
        return self._era
