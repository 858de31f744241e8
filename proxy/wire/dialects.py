"""All dialects in one place: the codec of each, and what passes between two ends of the same.

Who asks for a dialect by name asks here; the codecs know nothing of each other.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from proxy.wire.bypass import Native
from proxy.wire.chat.codec import ChatCodec
from proxy.wire.chat.tap import ChatNative
from proxy.wire.codec import Codec, Facts, Stamp
from proxy.wire.envelope import Envelope
from proxy.wire.messages.codec import MessagesCodec
from proxy.wire.messages.tap import MessagesNative
from proxy.wire.model import Dialect
from proxy.wire.responses.codec import ResponsesCodec
from proxy.wire.responses.tap import ResponsesNative

CODECS: Final[Mapping[Dialect, Codec]] = MappingProxyType(
    {
        Dialect.CHAT: ChatCodec(),
        Dialect.RESPONSES: ResponsesCodec(),
        Dialect.MESSAGES: MessagesCodec(),
    }
)


def native(
    dialect: Dialect, envelope: Envelope, stamp: Stamp, facts: Facts, *, include_usage: bool
) -> Native:
    """What passes between a client and a provider of `dialect`; `facts` are of the model there."""
    if dialect is Dialect.RESPONSES:
        return ResponsesNative(envelope, stamp, facts)
    if dialect is Dialect.MESSAGES:
        return MessagesNative(envelope)
    return ChatNative(envelope, include_usage=include_usage)
