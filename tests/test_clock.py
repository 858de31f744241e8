import time
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.clock import ClusterClock, ManualClock, SystemClock


def test_the_system_clock_reads_the_machine() -> None:
    """Its monotonic time is the one that event loops count by, its wall time is Unix time."""
    clock = SystemClock()
    before = time.monotonic()
    assert before <= clock.monotonic() <= time.monotonic()
    wall = time.time()
    assert abs(clock.wall() - wall) < 60


def test_a_manual_clock_moves_when_told() -> None:
    """Both times go forward together; only the wall clock can be set."""
    clock = ManualClock(10.0, 100.0)
    assert (clock.monotonic(), clock.wall()) == (10.0, 100.0)
    clock.advance(2.5)
    clock.step_wall(-50.0)
    assert (clock.monotonic(), clock.wall()) == (12.5, 52.5)


class Word(NamedTuple):
    """What the server says `gap` ms after the last: its question and its answer take so many ms.

    `step`: seconds by which the wall clock is set meanwhile.
    """

    gap: float
    question: float
    answer: float
    step: float


DELAYS = st.floats(0, 300) | st.sampled_from([0.0, 0.4, 1.0, 10_000.0])
WORDS = st.builds(Word, DELAYS, DELAYS, DELAYS, st.sampled_from([0.0, 0.0, 3_600.0, -3_600.0]))
HEARD = 16


class Place:
    """A replica and its server, whose clock is another by `apart` seconds."""

    def __init__(self, apart: float = 0.0) -> None:
        self.clock = ManualClock()
        self.cluster = ClusterClock(self.clock)
        self.apart = apart + 1_800_000_000.0 - 1_000.0

    @property
    def server(self) -> float:
        """The server's time in ms."""
        return (self.clock.monotonic() + self.apart) * 1000

    def ask(self, word: Word) -> None:
        """Ask for the server's time."""
        self.clock.advance((word.gap + word.question) / 1000)
        said = int(self.server)
        self.clock.step_wall(word.step)
        self.clock.advance(word.answer / 1000)
        self.cluster.heard(said)


def test_the_clusters_time_is_that_of_the_machine_at_first() -> None:
    """As it was at the start; what is done to the wall clock later is no matter."""
    place = Place()
    place.clock.step_wall(-3_600.0)
    place.clock.advance(1.5)
    assert place.cluster.now() == 1_800_000_001_500


@settings(max_examples=200, deadline=None, database=None)
@given(apart=st.floats(-90_000, 90_000), words=st.lists(WORDS, min_size=1, max_size=40), pause=DELAYS)
def test_the_clusters_time_is_never_ahead(apart: float, words: list[Word], pause: float) -> None:
    """Whatever the delays and the wall clock: late by at most what the fastest of the last answers took."""
    place = Place(apart)
    for count, word in enumerate(words, 1):
        place.ask(word)
        fastest = min(heard.answer for heard in words[max(count - HEARD, 0) : count])
        for _ in range(2):
            late = place.server - place.cluster.now()
            assert -0.001 <= late <= fastest + 2.001  # each whole millisecond is rounded down
            place.clock.advance(pause / 1000)


def test_only_the_last_answers_count() -> None:
    """So that clocks which drift apart are followed."""
    place = Place()
    place.ask(Word(0, 0, 0, 0))
    for _ in range(HEARD - 1):
        place.ask(Word(0, 0, 50, 0))
    assert place.cluster.now() == int(place.server)
    place.ask(Word(0, 0, 50, 0))
    assert place.cluster.now() == int(place.server) - 50


def test_another_server_has_another_time() -> None:
    """What the old one said counts no more, and stands until the new one has spoken."""
    place = Place()
    place.ask(Word(0, 0, 0, 0))
    before = place.cluster.now()
    place.cluster.forget()
    assert place.cluster.now() == before
    place.apart -= 3_600.0
    place.ask(Word(0, 0, 5, 0))
    assert place.cluster.now() == int(place.server) - 5
