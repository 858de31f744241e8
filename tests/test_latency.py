import math

import pytest

from proxy import latency
from proxy.latency import DECAY, Latencies, key


def test_streams_and_whole_replies_are_kept_apart() -> None:
    """Under different names."""
    assert (key("t", whole=False), key("t", whole=True)) == ("t", "t whole")


def test_who_is_unknown_takes_no_time() -> None:
    """So that it is tried."""
    assert Latencies().of("t", 0.0) == 0.0
    assert Latencies().told(0.0) == {}


def test_a_peak_counts_at_once_and_better_times_slowly() -> None:
    """A sample above the average replaces it, one below moves it by the time since the last."""
    one = Latencies()
    one.observe("t", 1.0, 0.0)
    one.observe("t", 5.0, 0.0)
    assert one.of("t", 0.0) == 5.0
    one.observe("t", 1.0, 0.0)
    assert one.of("t", 0.0) == 5.0  # no time has passed: it weighs nothing
    one.observe("t", 1.0, DECAY)
    assert one.of("t", DECAY) == pytest.approx(1.0 + 4.0 / math.e)
    one.observe("t", 1.0, 1_000.0)
    assert one.of("t", 1_000.0) == pytest.approx(1.0)


def test_silence_lets_it_fall() -> None:
    """A target that was slow is tried again some day; a clock that does not move lets nothing fall."""
    one = Latencies()
    one.observe("t", 2.0, 100.0)
    assert one.of("t", 100.0 + DECAY) == pytest.approx(2.0 / math.e)
    assert one.of("t", 100.0 + 30 * DECAY) < 1e-9
    assert one.of("t", 99.0) == 2.0
    assert one.told(100.0 + DECAY) == {"t": pytest.approx(2.0 / math.e)}


def test_what_has_fallen_to_nothing_is_not_told_on() -> None:
    """Else it would count in the mean of all for ever: nine who asked long ago, and one just now."""
    asked = [(f"r{number}", 0.0) for number in range(9)] + [("new", 200.0)]
    told = []
    for _, when in asked:
        one = Latencies()
        one.observe("t", 4.0, when)
        told.append(one.told(200.0))
    assert told == [{}] * 9 + [{"t": 4.0}]


def test_it_is_told_to_the_microsecond() -> None:
    """And no less than one."""
    one = Latencies()
    one.observe("t", 2.0000004, 0.0)
    one.observe("u", 0.000001, 0.0)
    one.observe("v", 0.0000004, 0.0)
    assert one.told(0.0) == {"t": 2.0, "u": 0.000001}


def test_the_silence_of_who_is_busy_is_no_good_news() -> None:
    """While requests are there its average stands, here and at the others'."""
    one = Latencies()
    one.observe("t", 2.0, 0.0)
    one.hear({"t": (1.0, 1), "u": (6.0, 2)}, 0.0)
    assert (one.of("t", 50.0, busy=True), one.of("u", 50.0, busy=True)) == (2.0, 3.0)
    assert one.of("t", 50.0) < 0.1


def test_what_the_others_know_counts_too() -> None:
    """The mean of those that know it, or what is known here, whichever is worse; it falls as well."""
    one = Latencies()
    one.observe("t", 1.0, 0.0)
    one.hear({"t": (8.0, 2), "u": (3.0, 1)}, 0.0)
    assert (one.of("t", 0.0), one.of("u", 0.0)) == (4.0, 3.0)
    assert one.of("u", DECAY) == pytest.approx(3.0 / math.e)
    assert one.told(0.0) == {"t": 1.0}  # only what was seen here is told on
    one.hear({"t": (0.5, 1)}, 0.0)
    assert (one.of("t", 0.0), one.of("u", 0.0)) == (1.0, 0.0)


def test_what_the_others_know_is_as_old_as_it_is() -> None:
    """Heard again later it has not risen: it fell since it was told."""
    one = Latencies()
    for _ in range(2):
        one.hear({"t": (4.0, 2)}, 100.0)
        assert one.of("t", 100.0 + DECAY) == pytest.approx(2.0 / math.e)


def test_what_is_remembered_is_bounded() -> None:
    """With many targets the first one seen is forgotten."""
    one = Latencies()
    for number in range(latency.ENTRIES + 1):
        one.observe(f"t{number}", 1.0, 0.0)
    one.observe("t1", 2.0, 0.0)
    assert (one.of("t0", 0.0), one.of("t1", 0.0), one.of(f"t{latency.ENTRIES}", 0.0)) == (0.0, 2.0, 1.0)
