"""Interleaved rounds: every side is measured in every round, so what disturbs the machine disturbs all.

One round of one level measures all sides, each after a warm-up, in an order that moves on by one each
time; only the first of a level, its floor, stays in front. A round in which any request failed counts for
no side, and a side that fails twice is left out of that level. Ratios are taken inside a round and their
median is told, which is steadier than the ratio of medians.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from running import Side

Figures = dict[str, float]
"""What one measurement gave, by name; a name ending in `_us` is in microseconds."""

Measure = Callable[[Side], Figures]
Check = Callable[[str, Figures], str]
"""Of a side's name and figures: why they void the round; empty where they do not."""

EXTRA = 3
"""So many voided rounds of a level are made up for."""

FULL = 0.9
"""The share of a core that a side has used where the core was its wall, and not the rig."""

STRIKES = 2
"""So many failures of one side, and its level goes on without it."""


class VoidRoundError(Exception):
    """A measurement says nothing, for the reason in the message: its round is void."""


def sound(name: str, figures: Figures) -> str:  # noqa: ARG001  (a check's signature)
    """No request failed."""
    return f"{int(figures['failed'])} failed" if figures["failed"] else ""


@dataclass(frozen=True, slots=True)
class Level:
    """One load: its name in the table, which figure is the rate, how it is measured, and on whom.

    `wall`: it is meant to use up the core of whoever is measured.
    """

    name: str
    rate: str
    measure: Measure
    sides: Sequence[Side]
    check: Check = sound
    wall: bool = False


@dataclass(slots=True)
class Series:
    """What a level gave: for each good round the figures of each side; `voided` says why others went.

    `wanted` are the good rounds that were asked for, `wall` is the level's.
    """

    level: str
    rate: str
    rounds: list[dict[str, Figures]] = field(default_factory=list)
    voided: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    wanted: int = 0
    wall: bool = False

    def sides(self) -> list[str]:
        """Who has figures in every good round."""
        return [name for name in (self.rounds[0] if self.rounds else ()) if self.has(name)]

    def has(self, side: str) -> bool:
        """Whether this side has figures in every good round."""
        return bool(self.rounds) and all(side in figures for figures in self.rounds)

    def values(self, side: str, name: str) -> list[float]:
        """One figure of one side in all good rounds."""
        return [figures[side][name] for figures in self.rounds]

    def median(self, side: str, name: str) -> float:
        """The median of that."""
        return statistics.median(self.values(side, name))

    def full(self, *sides: str) -> list[dict[str, Figures]]:
        """The rounds in which each of these had used up its core; all of them where that is not the wall."""
        return [
            figures
            for figures in self.rounds
            if not self.wall or all(figures[side]["busy"] >= FULL for side in sides)
        ]

    def rig_bound(self, side: str) -> bool:
        """Whether the rig was this side's wall, or somebody else had its core, in half of the rounds."""
        return self.wall and self.median(side, "busy") < FULL

    def ratio(self, side: str, other: str, name: str) -> float:
        """The median over the rounds of `side` divided by `other`."""
        return statistics.median(
            figures[side][name] / figures[other][name] if figures[other][name] else 0.0
            for figures in self.rounds
        )

    def added(self, side: str, other: str, name: str) -> float:
        """The median over the rounds of `side` less `other`."""
        return statistics.median(figures[side][name] - figures[other][name] for figures in self.rounds)


def run(levels: Sequence[Level], rounds: int, say: Callable[[str], None]) -> list[Series]:
    """All levels, round by round. A voided round is made up for, at most `EXTRA` times a level."""
    series = [Series(level.name, level.rate, wanted=rounds, wall=level.wall) for level in levels]
    for number in range(rounds + EXTRA):
        open_ones = [
            (level, one) for level, one in zip(levels, series, strict=True) if len(one.rounds) < rounds
        ]
        if not open_ones:
            break
        say(f"round {number + 1}: {', '.join(level.name for level, _ in open_ones)}")
        for level, one in open_ones:
            before = len(one.voided)
            _round(level, one, number)
            for why in one.voided[before:]:
                say(f"  void: {level.name}: {why}")
    return series


def _round(level: Level, series: Series, number: int) -> None:
    """One round of one level, given up at the first side that voids it."""
    floor, *others = (side for side in level.sides if side.name not in series.left_out)
    turn = number % max(len(others), 1)
    found: dict[str, Figures] = {}
    # The floor goes first: where it is no floor, the others need not be measured.
    for side in (floor, *others[turn:], *others[:turn]):
        try:
            with side.awake():
                found[side.name] = level.measure(side)
            why = level.check(side.name, found[side.name])
        except VoidRoundError as error:
            why = str(error)
        if why:
            series.voided.append(f"{side.name}: {why}")
            strikes = [reason for reason in series.voided if reason.startswith(f"{side.name}: ")]
            if len(strikes) >= STRIKES and side is not floor:
                series.left_out.append(side.name)
            return
    series.rounds.append({side.name: found[side.name] for side in (floor, *others)})
