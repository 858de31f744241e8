import random

import pytest

from proxy.clock import ManualClock
from proxy.link.breaker import Breaker, Jitter, State

# Each life starts closed. "+" and "-" are good and bad batches, "p" and "n" good and bad probes,
# "~" 0.1 s that pass, "_" a whole second.
LIVES = [
    ("----", State.CLOSED, "four in a row are not enough"),
    ("-----", State.OPEN, "five in a row are"),
    ("----+----", State.CLOSED, "a good one starts the row anew"),
    ("-+" * 10, State.CLOSED, "the twentieth was good: only a bad one opens"),
    ("+-" * 10, State.OPEN, "half of twenty in a second"),
    ("+-" * 9 + "+", State.CLOSED, "nineteen are too few to judge by"),
    ("+-" * 9 + "_" + "+-", State.CLOSED, "what is older than a second does not count"),
    ("+-~" * 9 + "+-", State.OPEN, "within a second it does"),
    ("++-" * 20, State.CLOSED, "a third is not half"),
    ("-----+++++++", State.OPEN, "open: what was sent before cannot close it"),
    ("-----p", State.HALF_OPEN, "a probe"),
    ("-----pp", State.HALF_OPEN, "two"),
    ("-----ppp", State.CLOSED, "three close it"),
    ("-----ppnpp", State.HALF_OPEN, "a bad one begins again"),
    ("-----ppn", State.OPEN, "and opens it"),
    ("-----ppp----", State.CLOSED, "closed with a clean record"),
    ("nnnnnnn", State.CLOSED, "probes mean nothing while closed"),
]


@pytest.mark.parametrize(("life", "state", "why"), LIVES, ids=[why for *_, why in LIVES])
def test_a_life(life: str, state: State, why: str) -> None:
    """The breaker ends each life in the state the table says."""
    clock = ManualClock()
    breaker = Breaker()
    breaker.close()
    for event in life:
        if event in "+-":
            breaker.record(clock.monotonic(), good=event == "+")
        elif event in "pn":
            breaker.probed(good=event == "p")
        else:
            clock.advance(0.1 if event == "~" else 1.001)
    assert breaker.state is state


def test_it_starts_open() -> None:
    """Nothing is known before the first connection."""
    assert Breaker().state is State.OPEN


def test_record_says_whether_it_opened() -> None:
    """Exactly the batch that was one too many is told so."""
    breaker = Breaker()
    breaker.close()
    assert [breaker.record(1.0, good=False) for _ in range(7)] == [False] * 4 + [True, False, False]


def test_delays_grow_are_spread_and_bounded() -> None:
    """Every delay is within its bounds, they grow on the whole, and two replicas differ."""
    one, other = (Jitter(random.Random(seed), 0.1, 2.0) for seed in (1, 2))
    delays = [one.next() for _ in range(200)]
    assert all(0.1 <= delay <= 2.0 for delay in delays)
    assert delays[0] <= 0.3
    assert max(delays) > 1.5
    assert delays != [other.next() for _ in range(200)]
    one.reset()
    assert one.next() <= 0.3
