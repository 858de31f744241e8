"""Tests of `proxy.ring`: the last records, against a model that keeps everything."""

import random

import pytest

from proxy.ring import Ring


class Model:
    """A ring by another way: all that was ever put, and how much room each took."""

    def __init__(self, slots: int, size: int) -> None:
        self.size = size
        self.slots = slots
        self.puts: list[tuple[int, int, bytes]] = []
        self.head = 0

    def put(self, slot: int, record: bytes) -> None:
        """The end of the arena is skipped where a record does not fit there."""
        if len(record) > self.size:
            return
        if self.head % self.size + len(record) > self.size:
            self.head += self.size - self.head % self.size
        self.puts.append((slot, self.head, record))
        self.head += len(record)

    def get(self, slot: int) -> bytes | None:
        """The last of a slot, unless the arena has come round."""
        own = [(start, record) for at, start, record in self.puts if at == slot]
        if not own or self.head - own[-1][0] > self.size:
            return None
        return own[-1][1]

    def latest(self) -> list[int]:
        """The newest first, each slot once."""
        recent = [slot for slot, _, _ in reversed(self.puts[-self.slots :])]
        return [slot for slot in dict.fromkeys(recent) if self.get(slot) is not None]


@pytest.mark.parametrize("seed", range(60))
def test_it_is_a_dictionary_that_forgets(seed: int) -> None:
    """Whatever is put where, in whatever sizes: some larger than everything, some that end at the end."""
    draw = random.Random(seed)
    slots, size = draw.randint(1, 12), draw.randint(8, 200)
    ring, model = Ring(slots, size), Model(slots, size)
    for number in range(200):
        slot, length = draw.randrange(slots), draw.randint(1, draw.choice([4, size // 2 + 1, size + 3]))
        record = bytes([number % 256]) * length
        ring.put(slot, record)
        model.put(slot, record)
        assert [ring.get(one) for one in range(slots)] == [model.get(one) for one in range(slots)]
        assert list(ring.latest()) == model.latest()


def test_it_begins_empty() -> None:
    """Nothing is there, in no slot."""
    ring = Ring(3, 100)
    assert [ring.get(slot) for slot in range(3)] == [None, None, None]
    assert list(ring.latest()) == []
    assert repr(ring) == "<Ring 3 slots, 100 bytes>"


def test_what_is_larger_than_everything_is_not_kept() -> None:
    """And what was in its slot stays."""
    ring = Ring(2, 10)
    ring.put(0, b"x" * 10)
    ring.put(0, b"y" * 11)
    assert ring.get(0) == b"x" * 10


def test_a_record_is_never_split() -> None:
    """One that does not fit before the end begins at the beginning, over what is the oldest."""
    ring = Ring(3, 10)
    ring.put(0, b"aaaa")
    ring.put(1, b"bbbb")
    ring.put(2, b"cccc")
    assert (ring.get(0), ring.get(1), ring.get(2)) == (None, b"bbbb", b"cccc")
    assert list(ring.latest()) == [2, 1]


def test_what_comes_while_the_latest_are_told_is_not_among_them() -> None:
    """Each is told once, in its order, also where its slot is filled anew meanwhile."""
    ring = Ring(6, 1000)
    for slot in range(4):
        ring.put(slot, b"old")
    told = ring.latest()
    assert [next(told), next(told)] == [3, 2]
    ring.put(1, b"new")
    ring.put(5, b"new")
    assert list(told) == [0]


def test_what_goes_while_the_latest_are_told_is_not_among_them() -> None:
    """The arena comes round, or as many records come as there are slots."""
    ring = Ring(4, 12)
    for slot in range(3):
        ring.put(slot, b"olds")
    told = ring.latest()
    assert next(told) == 2
    ring.put(3, b"news" * 3)
    assert list(told) == []
    few = Ring(2, 1000)
    few.put(0, b"old")
    few.put(1, b"old")
    told = few.latest()
    assert next(told) == 1
    for _ in range(2):
        few.put(1, b"new")
    assert list(told) == []


def test_its_memory_is_taken_at_once() -> None:
    """It holds as many bytes as it was given, whatever is put."""
    ring = Ring(10, 64)
    for number in range(1000):
        ring.put(number % 10, bytes(number % 64 + 1))
    assert sum(len(ring.get(slot) or b"") for slot in range(10)) <= 64
