"""The chat dialect in full."""

from proxy.wire.chat import request_reader, request_writer
from proxy.wire.chat.reply_reader import ChatReplyReader
from proxy.wire.chat.reply_writer import ChatReplyWriter
from proxy.wire.chat.voice import ChatVoice
from proxy.wire.codec import Facts, Stamp, Written
from proxy.wire.conversation import Conversation
from proxy.wire.envelope import Fields
from proxy.wire.losses import Losses


class ChatCodec(ChatVoice):
    """See `codec.Codec`."""

    def read(self, fields: Fields) -> Conversation:
        """A client's body as a conversation. Raises `Refusal` 400."""
        return request_reader.read(fields)

    def write(self, conversation: Conversation, facts: Facts, losses: Losses) -> Written:
        """A conversation as a body for an upstream. Raises `Refusal` 400."""
        return request_writer.write(conversation, facts, losses)

    def reader(self, facts: Facts) -> ChatReplyReader:  # noqa: ARG002  (other dialects seal what this model thinks)
        """For one upstream reply."""
        return ChatReplyReader()

    def writer(self, conversation: Conversation, stamp: Stamp) -> ChatReplyWriter:
        """For one reply to a client."""
        return ChatReplyWriter(conversation, stamp)
