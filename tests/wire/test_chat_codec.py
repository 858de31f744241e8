import json

from fakes.chats import delta, finish, request

from proxy.profiles import Quirks
from proxy.wire import envelope
from proxy.wire.chat.codec import ChatCodec
from proxy.wire.codec import Codec, Facts, Stamp
from proxy.wire.events import Event
from proxy.wire.losses import Losses
from proxy.wire.model import Dialect

CODEC: Codec = ChatCodec()
FACTS = Facts("theirs", Quirks())


def test_a_body_comes_out_as_it_went_in() -> None:
    """Read and written again, a plain request is the same but for the model."""
    fields = envelope.decode(request("ours", temperature=0.5, stop=["x"]), 64)
    written = CODEC.write(CODEC.read(fields), FACTS, Losses(Dialect.CHAT))
    assert written.body == {**json.loads(request("theirs")), "temperature": 0.5, "stop": ["x"]}


def test_a_stream_comes_out_as_it_went_in() -> None:
    """Read and written again, the text and the end are the same."""
    reader = CODEC.reader(FACTS)
    events: list[Event] = [*reader.feed(delta("Hi")), *reader.feed(finish()), *reader.finish()]
    conversation = CODEC.read(envelope.decode(request("ours"), 64))
    said = CODEC.writer(conversation, Stamp("0" * 24, 1)).write(events)
    assert b'"content":"Hi"' in said
    assert b'"model":"ours"' in said
    assert said.endswith(b"data: [DONE]\n\n")
