from collections import OrderedDict
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.responses.outbox import Letter, Mode, Outbox

MOST, ENTRIES = 100, 4


def letter(id_: str, size: int = 10, **more: Any) -> Letter:
    """A letter of so many bytes."""
    return Letter("me", id_, b"x" * size, **more)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 5), st.integers(0, 120)),
        st.tuples(st.just("drop"), st.integers(0, 5), st.just(0)),
    )
)


@given(steps=STEPS)
def test_it_never_holds_more_than_it_may(steps: list[tuple[str, int, int]]) -> None:
    """In letters and bytes; one a response, the newest; what was promised stays."""
    box = Outbox(ENTRIES, MOST)
    kept: OrderedDict[str, Letter] = OrderedDict()
    for what, number, size in steps:
        one = letter(str(number), size)
        if what == "drop":
            assert box.drop(one.name) is (kept.pop(one.name, None) is not None)
            continue
        would = {**kept, one.name: one}
        fits = len(would) <= ENTRIES and sum(each.size for each in would.values()) <= MOST
        assert box.put(one) is fits
        if fits:
            kept[one.name] = one
        assert box.waiting() == list(kept.values())
        assert box.bytes == sum(each.size for each in kept.values())
        assert len(box) == len(kept)


def test_events_count() -> None:
    """They are most of it."""
    box = Outbox(ENTRIES, MOST)
    assert not box.put(letter("a", 10, mode=Mode.FINISH, events=((1, b"x" * 50), (2, b"x" * 50))))
    assert box.put(letter("a", 10, mode=Mode.FINISH, events=((1, b"x" * 50),)))
    assert box.bytes == 60


def test_what_was_delivered_goes_unless_it_was_replaced_meanwhile() -> None:
    """The newer one is still to be told."""
    box = Outbox(ENTRIES, MOST)
    first, second = letter("a"), letter("a", 20)
    box.put(first)
    box.put(second)
    box.delivered(first)
    assert box.find(first.name) is second
    box.delivered(second)
    assert (box.find(first.name), box.bytes) == (None, 0)


def test_the_same_id_of_two_clients_is_two_letters() -> None:
    """Whose it is is part of its name."""
    box = Outbox(ENTRIES, MOST)
    box.put(Letter("me", "a", b"1"))
    box.put(Letter("you", "a", b"2"))
    assert [one.document for one in box.waiting()] == [b"1", b"2"]
