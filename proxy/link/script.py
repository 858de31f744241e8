"""What is asked of the server: a script or a command, packed once into the bytes that travel."""

from collections.abc import Sequence
from typing import Any, Protocol

import hiredis

Argument = str | bytes | int | float


class Script(Protocol):
    """A Lua script. `sha` is the hexadecimal SHA-1 of `text`, the name EVALSHA knows it by."""

    @property
    def name(self) -> str:
        """Its name, for people."""

    @property
    def text(self) -> str:
        """Its source."""

    @property
    def sha(self) -> str:
        """40 hexadecimal digits."""


def pack(*parts: Argument) -> bytes:
    """One command as RESP."""
    packed: bytes = _pack(parts)
    return packed


def pack_call(what: Script | str, keys: Sequence[Argument], args: Sequence[Argument]) -> bytes:
    """`what` over `keys` and `args`. A command of two words ("SCRIPT LOAD") is split at the space."""
    packed: bytes
    if isinstance(what, str):
        packed = _pack((*what.split(" "), *keys, *args))
    else:
        packed = _pack(("EVALSHA", what.sha, len(keys), *keys, *args))
    return packed


_pack: Any = hiredis.pack_command
