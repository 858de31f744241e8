"""What a scenario found: figures, and the bounds they are held against."""

import dataclasses
from typing import Protocol


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One figure and its bound, in words, and whether it holds.

    `soft`: a matter of this machine's speed, so a busy machine may fail it; a short run only prints it.
    """

    what: str
    figure: str
    bound: str
    holds: bool
    soft: bool = False


class Figures(Protocol):
    """What a scenario returns: a dataclass of figures that knows its bounds."""

    def checks(self) -> list[Check]:
        """Every figure that has a bound."""


def failed(figures: Figures, *, soft: bool = False) -> list[Check]:
    """The checks that do not hold; the soft ones only where asked for."""
    return [check for check in figures.checks() if not check.holds and (soft or not check.soft)]


def table(name: str, figures: Figures) -> str:
    """The checks of one scenario as lines of a table."""
    lines = []
    for check in figures.checks():
        mark = "ok  " if check.holds else "slow" if check.soft else "FAIL"
        lines.append(f"{mark} {name:<22} {check.what:<46} {check.figure:>22}  {check.bound}")
    return "\n".join(lines)
