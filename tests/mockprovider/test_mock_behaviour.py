import random

import msgspec
import pytest

from mockprovider.behaviour import HEALTHY, Behaviour, Delay


@pytest.mark.parametrize(
    ("delay", "elapsed_s", "count", "wanted"),
    [
        (Delay(0.01, 0.51, over_s=10), 0, 1, 0.01),
        (Delay(0.01, 0.51, over_s=10), 5, 1, 0.26),
        (Delay(0.01, 0.51, over_s=10), 10, 1, 0.51),
        (Delay(0.01, 0.51, over_s=10), 99, 1, 0.51),
        (Delay(0.01, 0.51, over_s=10), -3, 1, 0.01),
        (Delay(1.0, 0.0, over_n=4), 0, 1, 1.0),
        (Delay(1.0, 0.0, over_n=4), 0, 3, 0.5),
        (Delay(1.0, 0.0, over_n=4), 0, 9, 0.0),
    ],
)
def test_a_ramp_goes_from_its_start_to_its_end_and_stays(
    delay: Delay, elapsed_s: float, count: int, wanted: float
) -> None:
    """A ramp by time or by requests is linear and never leaves its two ends."""
    assert delay.at(elapsed_s, count, random.Random(1)) == pytest.approx(wanted)


def test_a_delay_without_a_ramp_is_drawn_anew_each_time() -> None:
    """Without a ramp each wait is drawn between the ends, the same for the same seed."""
    delay = Delay(0.2, 0.4)
    one, other = random.Random(7), random.Random(7)
    drawn = [delay.at(0, 1, one) for _ in range(50)]
    assert drawn == [delay.at(0, 1, other) for _ in range(50)]
    assert all(0.2 <= wait <= 0.4 for wait in drawn)
    assert len(set(drawn)) > 40


@pytest.mark.parametrize(
    "fields",
    [
        {"cut_after_events": 1, "stall_after_events": 2},
        {"cut_before_headers": True, "stall_before_headers": True},
        {"framing": "chunked", "content_length_delta": 3},
        {"status": 100},
        {"write_bytes": []},
        {"write_bytes": 0},
        {"delay_headers_s": -1},
    ],
)
def test_what_contradicts_itself_or_makes_no_sense_is_refused(fields: dict[str, object]) -> None:
    """A behaviour that cannot be performed is an error, not a guess."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(fields, Behaviour)


@pytest.mark.parametrize(
    ("behaviour", "cuts", "stalls", "silent", "events", "size"),
    [
        (HEALTHY, False, False, False, None, None),
        (Behaviour(cut_before_headers=True), True, False, True, None, None),
        (Behaviour(cut_after_events=0), True, False, False, 0, None),
        (Behaviour(cut_after_bytes=9), True, False, False, None, 9),
        (Behaviour(stall_before_headers=True), False, True, True, None, None),
        (Behaviour(stall_after_events=2), False, True, False, 2, None),
        (Behaviour(stall_after_bytes=0), False, True, False, None, 0),
    ],
)
def test_breaks_are_summed_up(
    behaviour: Behaviour, cuts: bool, stalls: bool, silent: bool, events: int | None, size: int | None
) -> None:
    """The properties say which kind of break a behaviour has and where; 0 is a place too."""
    assert (behaviour.cuts, behaviour.stalls, behaviour.silent) == (cuts, stalls, silent)
    assert (behaviour.event_limit, behaviour.byte_limit) == (events, size)
