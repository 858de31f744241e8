"""Sealed reasoning on its way through another dialect: packed with a tag that says whose it is.

A signature or encrypted reasoning is good for the model that made it and for no other; in whose account
that was, the value says itself where it matters (`responses.sealed`). In the client's dialect it travels as
`ax1.<dialect>.<model>.<value>`, model and value in base64url, so that what comes back is either the very
bytes that were sent, or known to be somebody else's and left out.
"""

import base64

import msgspec

from proxy.wire.conversation import Seal
from proxy.wire.model import Dialect

TAG = "ax1."
_DIALECTS = frozenset(dialect.value for dialect in Dialect)
MARK = b'"ax1.'
"""What a body holds if there is one of ours in it: the tag at the start of a JSON string."""

_PIECE = 128 * 1024


def held(raw: msgspec.Raw) -> bool:
    """Whether there may be one of ours in it. In bytes that is looked up several times as fast."""
    if len(raw) <= _PIECE:
        return MARK in bytes(raw)
    view = memoryview(raw)
    return any(MARK in bytes(view[at : at + _PIECE + len(MARK)]) for at in range(0, len(raw), _PIECE))


def pack(seal: Seal) -> str:
    """The seal as a client of any dialect may carry it."""
    return f"{TAG}{seal.dialect.value}.{_wrapped(seal.model or '')}.{_wrapped(seal.value)}"


def unpack(text: str) -> Seal | None:
    """A seal that `pack` made; None for any other text."""
    parts = text.split(".")
    if len(parts) != 4 or not text.startswith(TAG) or parts[1] not in _DIALECTS:
        return None
    try:
        return Seal(Dialect(parts[1]), _unwrapped(parts[2]) or None, _unwrapped(parts[3]))
    except ValueError:
        return None


def read(text: str, dialect: Dialect) -> Seal | None:
    """What a client of `dialect` sent as a seal: ours unpacked, or its own vendor's; None if empty."""
    return unpack(text) or (Seal(dialect, None, text) if text and not text.startswith(TAG) else None)


def fits(seal: Seal | None, dialect: Dialect, model: str) -> bool:
    """Whether `seal` may be sent to `model` in `dialect`: only what that very model has made."""
    return seal is not None and seal.dialect is dialect and seal.model == model


def _wrapped(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _unwrapped(text: str) -> str:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
