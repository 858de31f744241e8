"""Centiles of what was measured, by the nearest rank: always a value that was seen."""

import math
from collections.abc import Sequence


def centile(ordered: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of the sorted values do not exceed; 0 where there are none."""
    if not ordered:
        return 0.0
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1]
