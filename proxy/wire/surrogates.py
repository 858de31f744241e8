r"""Halves of a letter: JSON escapes of lone surrogates, which are no text and fail a whole event.

A server that cuts its text at a token's end may cut an emoji in two: `"\ud83d"` ends one piece and
`"\ude00"` begins the next. Joined they are the letter again; a half that stays alone becomes U+FFFD.
"""

import re
from typing import Final

_ESCAPE: Final = re.compile(
    rb"\\(?:u(?P<high>[dD][89abAB][0-9a-fA-F]{2})(?P<pair>\\u[dD][c-fC-F][0-9a-fA-F]{2})?"
    rb"|u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
"""One escape at a time, so that the backslash of `\\\\` begins no other."""
_UNKNOWN: Final = rb"\ufffd"


def replaced(data: bytes) -> bytes:
    """JSON text in which no surrogate is alone; the very same bytes where none was."""
    return _ESCAPE.sub(lambda found: _UNKNOWN if _alone(found) else found[0], data)


class Joiner:
    """Mends the events of one stream that could not be decoded, one after the other."""

    def __init__(self) -> None:
        self._high = b""

    def mended(self, data: bytes) -> bytes:
        """The event with its halves joined to those before; one at a string's end waits for the next."""
        return _ESCAPE.sub(self._whole, data)

    def _whole(self, found: re.Match[bytes]) -> bytes:
        if not _alone(found):
            return found[0]
        if found["high"] and found.string[found.end() : found.end() + 1] == b'"':
            self._high = found[0]
            return b""
        high, self._high = self._high, b""
        begins = found.string[found.start() - 1 : found.start()] == b'"'
        return high + found[0] if high and found["low"] and begins else _UNKNOWN


def _alone(found: re.Match[bytes]) -> bool:
    return bool(found["low"] or (found["high"] and not found["pair"]))
