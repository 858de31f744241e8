"""Reasoning of this dialect as the value of a seal: what of an item it takes to send it again.

The value comes back by way of the client, so nothing else of it is believed.
"""

import msgspec

from proxy.wire.conversation import Json, Seal
from proxy.wire.envelope import encode
from proxy.wire.model import Dialect


class _Own(msgspec.Struct):
    encrypted_content: str
    id: str | None = None


_own = msgspec.json.Decoder(_Own)


def closed(name: str, encrypted: str, model: str | None) -> Seal:
    """The seal of an item with this id (empty: none) and this `encrypted_content`."""
    own = {"id": name, "encrypted_content": encrypted} if name else {"encrypted_content": encrypted}
    return Seal(Dialect.RESPONSES, model, encode(own).decode())


def opened(seal: Seal) -> Json | None:
    """The members that `closed` took; None where it took none such."""
    try:
        own = _own.decode(seal.value)
    except (msgspec.MsgspecError, UnicodeError):
        return None
    if not own.encrypted_content:
        return None
    return {
        name: value for name, value in (("id", own.id), ("encrypted_content", own.encrypted_content)) if value
    }
