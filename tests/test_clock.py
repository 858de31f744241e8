import time

from proxy.clock import ManualClock, SystemClock


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
