"""The Messages dialect in full. See `codec.Codec`."""

from proxy.wire.codec import Facts, Stamp, Written
from proxy.wire.conversation import Conversation
from proxy.wire.envelope import Fields
from proxy.wire.losses import Losses
from proxy.wire.messages import request_reader, request_writer
from proxy.wire.messages.reply_reader import ReplyReader
from proxy.wire.messages.reply_writer import ReplyWriter
from proxy.wire.messages.voice import MessagesVoice


class MessagesCodec(MessagesVoice):
    """Bodies to conversations and back, replies to events and back."""

    def read(self, fields: Fields) -> Conversation:
        """A client's body as a conversation."""
        return request_reader.read(fields)

    def write(self, conversation: Conversation, facts: Facts, losses: Losses) -> Written:
        """A conversation as a body for an upstream."""
        return request_writer.write(conversation, facts, losses)

    def reader(self, facts: Facts) -> ReplyReader:
        """For one upstream reply."""
        return ReplyReader(facts)

    def writer(self, conversation: Conversation, stamp: Stamp) -> ReplyWriter:
        """For one reply to a client."""
        return ReplyWriter(conversation, stamp)
