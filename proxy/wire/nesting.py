"""How deep a JSON text is nested, without decoding it."""

import itertools
import re

_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))
_ONE_KIND = bytes.maketrans(b"{}", b"[]")

_RUN = re.compile(rb"\[+|\]+")
_ROUNDS = 8
_FEW = 4096  # brackets; a round that takes fewer costs more than to count the runs
INTRICATE = 1024 * 1024
"""The most brackets, and quotes of strings with brackets, in a body whose depth is checked."""


class Nesting:
    """How deep brackets are nested, brackets inside strings not counted; a text is fed piece by piece.

    All in C: escaped quotes are removed, then all but brackets (of one kind from here on) and quotes, then
    the strings. What is left, closed at both ends, is either too few brackets to matter or loses its
    innermost pairs round by round, which is a level a round, and is counted run by run once the runs are
    few. More than `INTRICATE` of what is left counts as too deep: to look closer would hold everybody else
    up.
    """

    __slots__ = ("_depth", "_escaping", "_inside", "_left", "_limit", "_quotes", "too_deep")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._depth = 0
        self._inside = 0  # a string: 1
        self._escaping = b""  # the backslash that the last piece ended with
        self._left = INTRICATE  # brackets
        self._quotes = INTRICATE
        self.too_deep = False

    def feed(self, piece: bytes) -> None:
        """Look at the next piece."""
        if self._escaping:
            piece = self._escaping + piece
            self._escaping = b""
        if b"\\" in piece:
            if (len(piece) - len(piece.rstrip(b"\\"))) % 2:
                self._escaping = b"\\"
                piece = piece[:-1]
            piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        marks = piece.translate(_ONE_KIND, _STRUCTURE).replace(b'""', b"")
        parts = marks.split(b'"')
        brackets = b"".join(parts[self._inside :: 2])
        self._inside = (self._inside + len(parts) - 1) % 2
        self._quotes -= len(parts) - 1
        self._left -= len(brackets)
        depth = self._depth + 2 * brackets.count(b"[") - len(brackets)
        closed = b"".join((b"[" * self._depth, brackets, b"]" * depth))
        self.too_deep = min(self._quotes, self._left) < 0 or self._exceeds(closed)
        self._depth = max(depth, 0)

    def _exceeds(self, brackets: bytes) -> bool:
        """Whether the limit is passed within them. What closes more than was opened is no JSON anyway."""
        rest, taken = brackets, 0
        while taken < _ROUNDS:
            if len(rest) <= self._limit - taken:
                return False
            before, rest = len(rest), rest.replace(b"[]", b"")
            taken += 1
            if before - len(rest) < _FEW:
                break
        runs = (len(run) if run.startswith(b"[") else -len(run) for run in _RUN.findall(rest))
        heights = list(itertools.accumulate(runs, initial=0))
        return max(heights) - min(heights) + taken > self._limit
