"""Reasoning of this dialect as the value of a seal: what of an item it takes to send it again.

OpenAI and Azure can decrypt it for the organization that made it and for no other, so the value says in whose
account that was. The keys of one provider are taken to share it; values of before tell none, and may be
anybody's. The value comes back by way of the client, so nothing else of it is believed.
"""

import msgspec

from proxy.wire import seals
from proxy.wire.codec import Facts
from proxy.wire.conversation import Json, Seal
from proxy.wire.envelope import encode
from proxy.wire.model import Dialect


class _Own(msgspec.Struct):
    encrypted_content: str
    id: str | None = None
    account: str | None = None


_own = msgspec.json.Decoder(_Own)


def closed(name: str, encrypted: str, maker: Facts | None) -> Seal:
    """The seal of an item with this id (empty: none) and this `encrypted_content`. None made it: unknown."""
    own = {"id": name, "encrypted_content": encrypted, "account": maker.account if maker is not None else ""}
    value = encode({key: said for key, said in own.items() if said})
    return Seal(Dialect.RESPONSES, maker.model if maker is not None else None, value.decode())


def opened(seal: Seal | None, reader: Facts) -> Json | None:
    """The members that `closed` took, for who can read them; None for all others, and where it took none."""
    if seal is None or not reader.opens or not seals.fits(seal, Dialect.RESPONSES, reader.model):
        return None
    try:
        own = _own.decode(seal.value)
    except (msgspec.MsgspecError, UnicodeError):
        return None
    if not own.encrypted_content or own.account not in (None, reader.account):
        return None
    return {
        name: value for name, value in (("id", own.id), ("encrypted_content", own.encrypted_content)) if value
    }
