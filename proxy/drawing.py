"""What the status page is drawn with: signs, bars, lines, and how numbers and times are told.

A sign has a shape of its own beside its colour. Words stand beside every drawing, so none is read out. Sizes
are attributes, for no style may stand in the page.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import htpy as h
from htpy import Element

from proxy.status import Shape

OK, WARN, BAD, IDLE = "ok", "warn", "bad", "idle"

SHAPES: Final[Mapping[Shape, tuple[str, str]]] = MappingProxyType(
    {
        Shape.READY: (OK, "M8 2a6 6 0 1 0 0 12A6 6 0 1 0 8 2"),
        Shape.SLOW_START: (OK, "M8 2a6 6 0 1 0 0 12A6 6 0 1 0 8 2M8 4a4 4 0 0 1 0 8z"),
        Shape.BUSY: (WARN, "M8 2a6 6 0 1 0 0 12A6 6 0 1 0 8 2M8 5a3 3 0 0 0 0 6a3 3 0 0 0 0-6"),
        Shape.BACKING_OFF: (WARN, "M3 2h4v12H3zM9 2h4v12H9z"),
        Shape.HALF_OPEN: (WARN, "M8 1l7 7-7 7-7-7zM8 4.2L4.2 8H8z"),
        Shape.EJECTED: (BAD, "M8 1.5L15 14H1z"),
        Shape.REFUSED: (BAD, "M4 1.5L8 5.5l4-4L14.5 4l-4 4 4 4L12 14.5l-4-4-4 4L1.5 12l4-4-4-4z"),
        Shape.DRAINED: (IDLE, "M2 2h12v12H2zM4.5 4.5v7h7v-7z"),
    }
)
"""How bad each state is, and its sign: no two look alike without their colour."""

_SIGNS: Final[Mapping[str, str]] = MappingProxyType(
    {
        OK: SHAPES[Shape.READY][1],
        WARN: SHAPES[Shape.HALF_OPEN][1].partition("z")[0] + "z",
        BAD: SHAPES[Shape.EJECTED][1],
        IDLE: SHAPES[Shape.DRAINED][1],
    }
)


def sign(how: str) -> Element:
    """The sign of what is so bad."""
    return drawn(_SIGNS[how])


def drawn(path: str) -> Element:
    """A sign by its outline."""
    return h.svg(".sign", viewBox="0 0 16 16", aria_hidden="true")[h.path(d=path, fill_rule="evenodd")]


def bar(share: float, how: str = OK) -> Element:
    """A share of something. Its width is an attribute: see the module."""
    width = f"{100 * min(max(share, 0.0), 1.0):.1f}"
    return h.svg(class_=f"bar {how}", viewBox="0 0 100 4", preserveAspectRatio="none", aria_hidden="true")[
        h.rect(".track", width="100", height="4"), h.rect(".part", width=width, height="4")
    ]


def clock(at: float) -> Element:
    """A time of the day."""
    moment = dt.datetime.fromtimestamp(at, dt.UTC)
    return h.time(datetime=moment.isoformat(timespec="milliseconds"))[f"{moment:%H:%M:%S} UTC"]


def figure(number: float | None) -> str:
    """A number to be taken in at a glance."""
    if number is None:
        return "—"
    return f"{number:.1f}" if number < 100 else f"{number:,.0f}"


def span(seconds: float) -> str:
    """A length of time in the unit that fits."""
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def many(count: int, noun: str) -> str:
    """A number of things."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def course(rates: Sequence[float]) -> Element:
    """The rates of the last minute as a line."""
    if len(rates) < 2:
        return h.svg(".course", viewBox="0 0 60 20", aria_hidden="true")
    top = max(*rates, 1.0)
    first = 60 - len(rates)
    points = [f"{first + place},{19 - 18 * rate / top:.1f}" for place, rate in enumerate(rates, 1)]
    return h.svg(".course", viewBox="0 0 60 20", preserveAspectRatio="none", aria_hidden="true")[
        h.polygon(points=" ".join([f"{first + 1},20", *points, "60,20"])),
        h.polyline(points=" ".join(points)),
    ]
