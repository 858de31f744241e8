"""The last so many small records, in memory that is taken once and never grows.

Records lie one behind the other in an arena, the newest over the oldest. Each belongs to a slot that was
chosen ahead by who keeps it, so that nothing has to be looked up: a record is there as long as its slot has
no newer one and the arena has not come round.
"""

import array
from collections.abc import Iterator


class Ring:
    """`slots` records at most, and as many as fit into `size` bytes. None is empty."""

    def __init__(self, slots: int, size: int) -> None:
        self._arena = bytearray(b"\0" * size)  # written to now, so that the process is as large as it will be
        self._size = size
        self._head = size
        self._starts = array.array("Q", bytes(8 * slots))
        self._lengths = array.array("L", bytes(array.array("L").itemsize * slots))
        self._order = array.array("L", bytes(array.array("L").itemsize * slots))
        self._puts = 0

    def __repr__(self) -> str:
        """How many slots it has, and how much room."""
        return f"<Ring {len(self._starts)} slots, {self._size} bytes>"

    def put(self, slot: int, record: bytes) -> None:
        """Keep `record` in `slot`, over what was there. One that is larger than everything is not kept."""
        length = len(record)
        if length > self._size:
            return
        place = self._head % self._size
        if place + length > self._size:  # a record is never split
            self._head += self._size - place
            place = 0
        self._arena[place : place + length] = record
        self._starts[slot] = self._head
        self._lengths[slot] = length
        self._head += length
        self._order[self._puts % len(self._order)] = slot
        self._puts += 1

    def get(self, slot: int) -> bytes | None:
        """The record in `slot`; None where there is none, or not any more."""
        start = self._starts[slot]
        if start == 0 or self._head - start > self._size:
            return None
        place = start % self._size
        return bytes(self._arena[place : place + self._lengths[slot]])

    def latest(self) -> Iterator[int]:
        """The slots of the last records, the newest first; what comes meanwhile is not among them.

        Each is looked for when it is asked for: nothing is sorted.
        """
        last, put = self._head, self._puts - 1
        while put >= max(self._puts - len(self._order), 0):
            slot = self._order[put % len(self._order)]
            start = self._starts[slot]
            if start < last:  # else the slot has a newer one, which was told or came meanwhile
                if self._head - start > self._size:
                    return
                last = start
                yield slot
            put -= 1
