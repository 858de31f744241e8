import json

from fakes.translations import STAMP

from proxy.profiles import Quirks
from proxy.wire import envelope
from proxy.wire.codec import Codec, Facts
from proxy.wire.losses import Losses
from proxy.wire.model import Dialect
from proxy.wire.responses.codec import ResponsesCodec
from proxy.wire.responses.reply_reader import ResponsesReader
from proxy.wire.responses.reply_writer import ResponsesWriter


def test_it_is_a_codec() -> None:
    """Its four parts are those of the dialect."""
    codec: Codec = ResponsesCodec()
    facts = Facts("m", Quirks())
    conversation = codec.read(envelope.decode(json.dumps({"model": "a", "input": "Hi"}).encode(), 9))
    assert conversation.dialect is codec.dialect is Dialect.RESPONSES
    assert codec.write(conversation, facts, Losses(Dialect.RESPONSES)).body["model"] == "m"
    assert isinstance(codec.reader(facts), ResponsesReader)
    assert isinstance(codec.writer(conversation, STAMP), ResponsesWriter)
