"""What went wrong at targets: by kind, how often since the start and when last. For operators. Pure.

Kinds are the words of the log: `status_503`, `connect`, `first_token_timeout`. Both the targets and the kinds
of one are bounded: providers may answer with any number for a status.
"""

from collections.abc import Sequence

import msgspec

TARGETS = 2_000
"""The most targets remembered; the one at which nothing went wrong for the longest time makes room."""

KINDS = 24
"""The most kinds of one target; what comes then is counted as `OTHER`."""

OTHER = "other"


class Blunder(msgspec.Struct):
    """`last`: when, in ms of the cluster's clock; `said`: what was told of that beyond its kind."""

    kind: str
    count: int = 0
    last: int = 0
    said: str = ""


class Blunders:
    """Those of one replica, by target id."""

    def __init__(self) -> None:
        self._of: dict[str, dict[str, Blunder]] = {}

    def __repr__(self) -> str:
        """At how many targets."""
        return f"<Blunders at {len(self._of)}>"

    def note(self, target: str, kind: str, now: int, said: str = "") -> None:
        """An attempt at `target` has failed. `said` is bounded by who says it."""
        kinds = self._of.pop(target, {})
        self._of[target] = kinds
        if len(self._of) > TARGETS:
            del self._of[next(iter(self._of))]
        if kind not in kinds and len(kinds) >= KINDS:
            kind = OTHER
        found = kinds.setdefault(kind, Blunder(kind))
        found.count += 1
        found.last = now
        found.said = said

    def of(self, target: str) -> Sequence[Blunder]:
        """The last first."""
        return sorted(self._of.get(target, {}).values(), key=lambda one: -one.last)
