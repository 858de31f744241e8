"""Tests of `proxy.wire.passing`, over a dialect of words."""

import pytest

from proxy.errors import Fault, FaultKind, Said
from proxy.wire.passing import Passing

PLAIN = b"data: more\n\n"
TELLING = b"data: note\n\n"
DROPPED = b"data: drop\n\n"
ERROR = b"data: error\n\n"
CUT = b"data: cut\n\n"
END = b"data: end\n\n"


class Stream(Passing):
    """A dialect of words. `looked` is what was read one by one; `unsaid` and `last` are what it keeps."""

    def __init__(self) -> None:
        super().__init__(lambda event: event == b"data: more")
        self.looked: list[bytes] = []

    @property
    def unsaid(self) -> bytes:
        """What was whole before a fault."""
        return self._unsaid

    @property
    def last(self) -> bytes:
        """What went on last."""
        return self._last

    def _passed(self, event: bytes) -> bytes:
        self.looked.append(event)
        if event == CUT:
            raise Fault(FaultKind.NOT_JSON, "cut", status=200)
        self.content = True
        self.ended = event == END
        self.error = Said("e") if event == ERROR else None
        return b"" if event in (DROPPED, ERROR) else event


def begun() -> Stream:
    """One that has content."""
    stream = Stream()
    assert stream.feed(PLAIN) == PLAIN
    return stream


def test_the_first_events_are_read_and_then_only_those_that_may_tell_something() -> None:
    """What is plain is not read again: it costs too much."""
    stream = begun()
    assert stream.looked == [PLAIN]
    assert stream.feed(PLAIN * 3) == PLAIN * 3
    assert stream.feed(PLAIN + TELLING + PLAIN) == PLAIN + TELLING + PLAIN
    assert (stream.looked, stream.events) == ([PLAIN, TELLING, PLAIN], 4)


def test_an_event_goes_on_when_it_is_whole() -> None:
    """Half of one waits for the other half."""
    stream = begun()
    assert stream.feed(PLAIN + PLAIN[:4]) == PLAIN
    assert stream.feed(PLAIN[4:]) == PLAIN


@pytest.mark.parametrize("stop", [END, ERROR])
def test_behind_an_end_or_an_error_nothing_is_read(stop: bytes) -> None:
    """Neither in the same read nor in the next."""
    stream = begun()
    assert stream.feed(stop + TELLING) == (END if stop == END else b"")
    assert stream.looked == [PLAIN, stop]
    if stop == END:
        assert stream.feed(PLAIN) == b""


def test_what_was_whole_before_a_fault_is_kept() -> None:
    """The end of a stream that breaks tells it before the error."""
    stream = begun()
    with pytest.raises(Fault, match="cut"):
        stream.feed(PLAIN + TELLING + DROPPED + CUT + PLAIN)
    assert (stream.unsaid, stream.last) == (PLAIN + TELLING, TELLING)


def test_what_went_on_last() -> None:
    """All that passed in one piece, or the last event that was read."""
    stream = begun()
    stream.feed(PLAIN * 2)
    assert stream.last == PLAIN * 2
    stream.feed(PLAIN + DROPPED)
    assert stream.last == PLAIN
    stream.feed(PLAIN + TELLING)
    assert stream.last == TELLING
