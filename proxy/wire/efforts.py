"""How much to think: tokens as an effort, where a provider knows efforts only."""

from typing import Final

from proxy.wire.conversation import Effort

_BOUNDS: Final[tuple[tuple[int, Effort], ...]] = ((2048, "low"), (8192, "medium"))


def effort_of(budget: int) -> Effort:
    """The effort that comes nearest to so many tokens."""
    return next((effort for below, effort in _BOUNDS if budget < below), "high")
