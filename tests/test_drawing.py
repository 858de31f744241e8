"""Tests of `proxy.drawing`: signs, bars, and how numbers are told."""

import pytest

from proxy.drawing import BAD, IDLE, OK, SHAPES, WARN, bar, clock, course, figure, many, sign, span
from proxy.status import Shape


def test_every_state_has_a_sign_of_its_own() -> None:
    """Colour is never the only one."""
    assert set(SHAPES) == set(Shape)
    assert len({outline for _, outline in SHAPES.values()}) == len(Shape)
    assert len({str(sign(how)) for how in (OK, WARN, BAD, IDLE)}) == 4


@pytest.mark.parametrize(
    ("share", "width"), [(0.0, "0.0"), (0.375, "37.5"), (1.0, "100.0"), (-1, "0.0"), (7, "100.0")]
)
def test_a_bar_is_as_long_as_the_share(share: float, width: str) -> None:
    """And never longer; it is drawn without a style, and not read out."""
    drawn = str(bar(share))
    assert f'<rect class="part" width="{width}"' in drawn
    assert 'aria-hidden="true"' in drawn
    assert "style" not in drawn


def test_the_course_of_the_last_minute() -> None:
    """The newest is at the right; nothing is drawn of a single rate, and nothing is divided by none."""
    assert "<polyline" not in str(course(()))
    assert "<polyline" not in str(course((1.0,)))
    assert 'points="59,19.0 60,1.0"' in str(course((0.0, 5.0)))
    assert 'points="59,19.0 60,19.0"' in str(course((0.0, 0.0)))
    assert 'points="1,' in str(course((1.0,) * 60))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.042, "42 ms"), (1.25, "1.2 s"), (9.94, "9.9 s"), (42.4, "42 s"), (119.0, "119 s"), (300, "5 min")],
)
def test_spans_are_told_in_the_unit_that_fits(seconds: float, said: str) -> None:
    """With as many digits as matter."""
    assert span(seconds) == said


def test_numbers_and_times() -> None:
    """A time of day says its zone, and is whole for machines."""
    assert (figure(None), figure(0.04), figure(99.94), figure(12_345.6)) == ("—", "0.0", "99.9", "12,346")
    assert (many(1, "limit"), many(2, "limit"), many(0, "limit")) == ("1 limit", "2 limits", "0 limits")
    assert str(clock(1_800_000_000.5)) == '<time datetime="2027-01-15T08:00:00.500+00:00">08:00:00 UTC</time>'
