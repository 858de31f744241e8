from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Refusal, Said
from proxy.wire.events import Added, Began, Closed, Counted, Event, Failed, Finished, Opened
from proxy.wire.model import Usage
from proxy.wire.stopping import LONGEST, MOST, Stopper, bounded

MET = Finished("stop_sequence", "END")
COUNT = Counted(Usage(1, 2))


def cut(events: Sequence[Event], *sequences: str) -> list[Event]:
    """The events one after the other, as a stream brings them."""
    stopper = Stopper(sequences or ["END"])
    return [seen for event in events for seen in stopper.cut([event])]


def text(*pieces: str) -> list[Event]:
    """A reply of one text in these pieces."""
    return [Began("m"), Opened("text"), *map(Added, pieces), Closed(), Finished("stop")]


def said(events: Sequence[Event]) -> str:
    """All text of a reply."""
    return "".join(event.text for event in events if isinstance(event, Added))


def test_the_text_ends_before_the_sequence() -> None:
    """Its block ends, and which sequence it was is told."""
    assert cut(text("ab", "cENDd", "e")) == [
        Began("m"),
        Opened("text"),
        Added("ab"),
        Added("c"),
        Closed(),
        MET,
    ]


def test_a_text_without_a_sequence() -> None:
    """What was held back as a possible beginning comes out."""
    events = cut(text("aE", "N", "x", "E"))
    assert said(events) == "aENxE"
    assert events[-1] == Finished("stop")


def test_only_what_may_be_a_beginning_is_held_back() -> None:
    """A piece without one passes at once."""
    stopper = Stopper(["END"])
    stopper.cut([Opened("text")])
    assert stopper.cut([Added("abc")]) == [Added("abc")]
    assert stopper.cut([Added("EN")]) == []
    assert stopper.cut([Added("x")]) == [Added("ENx")]


@given(
    words=st.text("ENDx", max_size=30),
    sequences=st.lists(st.text("ENDx", min_size=1, max_size=4), min_size=1, max_size=3),
    size=st.integers(1, 5),
)
def test_pieces_change_nothing(words: str, sequences: list[str], size: int) -> None:
    """The text ends before the sequence that is whole first, however it came."""
    pieces = [words[at : at + size] for at in range(0, len(words), size)]
    ends = [
        (words.find(sequence) + len(sequence), -len(sequence)) for sequence in sequences if sequence in words
    ]
    assert said(cut(text(*pieces), *sequences)) == (words[: sum(min(ends))] if ends else words)


def test_a_count_amid_the_text() -> None:
    """It neither ends what is held back nor is it lost."""
    assert cut([Opened("text"), Added("E"), COUNT, Added("ND"), Closed(), Finished("stop")]) == [
        Opened("text"),
        COUNT,
        Closed(),
        MET,
    ]


def test_usage_counts_after_the_end() -> None:
    """What was thrown away has been paid for; the tier is told."""
    assert cut([Opened("text"), Added("END"), Closed(), COUNT, Finished("length", tier="flex")])[2:] == [
        COUNT,
        Finished("stop_sequence", "END", "flex"),
    ]


@pytest.mark.parametrize("kind", ["thinking", "tool", "declined"])
def test_only_text_counts(kind: str) -> None:
    """Not thinking, not the arguments of calls."""
    events: list[Event] = [Opened(kind), Added("END"), Closed(), Finished("stop")]  # type: ignore[arg-type]
    assert cut(events) == events


def test_later_blocks_are_cut_off() -> None:
    """Calls that came after it were never asked for."""
    call: list[Event] = [Opened("tool", "1", "f"), Added("{}"), Closed()]
    events: list[Event] = [Opened("text"), Added("END"), Closed(), *call]
    assert cut([*events, Finished("tool_use")]) == [Opened("text"), Closed(), MET]


def test_a_failure_after_the_end() -> None:
    """What was asked for is there already."""
    failed = Failed(Said("bad"))
    assert cut([Opened("text"), Added("aEND"), failed])[-1] == MET
    assert cut([Opened("text"), Added("a"), failed])[-1] == failed


def test_empty_sequences_stop_nothing() -> None:
    """Else every answer would be empty."""
    assert said(cut(text("abc"), "")) == "abc"


def test_what_is_held_back_is_the_longest_beginning() -> None:
    """Of any of the sequences; nothing of the longest where another begins earlier."""
    stopper = Stopper(["ababc", "bx"])
    stopper.cut([Opened("text")])
    assert stopper.cut([Added("zabab")]) == [Added("z")]
    assert stopper.cut([Added("ab")]) == [Added("ab")]
    assert stopper.cut([Added("y")]) == [Added("ababy")]


@pytest.mark.parametrize(
    ("sequences", "code"),
    [
        (("x",) * (MOST + 1), "array_above_max_length"),
        (("x", "y" * (LONGEST + 1)), "string_above_max_length"),
    ],
)
def test_too_many_or_too_long_to_be_looked_for(sequences: tuple[str, ...], code: str) -> None:
    """Every piece of a text is searched for all of them."""
    with pytest.raises(Refusal) as caught:
        bounded(sequences, "stop")
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, "stop", code)


def test_as_many_and_as_long_as_can_be() -> None:
    """Pass as they are; so do none."""
    sequences = ("x" * LONGEST,) * MOST
    assert bounded(sequences, "stop") is sequences
    assert bounded((), "stop") == ()
