"""The Responses dialect in full: its voice, its readers and its writers."""

from proxy.wire.codec import Facts, Stamp, Written
from proxy.wire.conversation import Conversation
from proxy.wire.envelope import Fields
from proxy.wire.losses import Losses
from proxy.wire.responses import request_reader, request_writer
from proxy.wire.responses.reply_reader import ResponsesReader
from proxy.wire.responses.reply_writer import ResponsesWriter
from proxy.wire.responses.voice import ResponsesVoice


class ResponsesCodec(ResponsesVoice):
    """See `codec.Codec`."""

    def read(self, fields: Fields) -> Conversation:
        """A client's body as a conversation."""
        return request_reader.read(fields)

    def write(self, conversation: Conversation, facts: Facts, losses: Losses) -> Written:
        """A conversation as a body for a provider."""
        return request_writer.write(conversation, facts, losses)

    def reader(self, facts: Facts) -> ResponsesReader:
        """For one reply of a provider."""
        return ResponsesReader(facts)

    def writer(self, conversation: Conversation, stamp: Stamp) -> ResponsesWriter:
        """For one reply to a client."""
        return ResponsesWriter(conversation, stamp)
