import json

from proxy.errors import Refusal
from proxy.wire import sse
from proxy.wire.chat.voice import DONE, ChatVoice
from proxy.wire.model import Dialect


def test_a_refusal_has_all_four_keys() -> None:
    """SDKs read `message`, `type`, `param` and `code`; a provider's further members never replace them."""
    refusal = Refusal(400, "bad", code="c", extra={"more": 1, "message": "other"})
    assert json.loads(ChatVoice().refusal(refusal)) == {
        "error": {"more": 1, "message": "bad", "type": "invalid_request_error", "param": None, "code": "c"}
    }


def test_a_broken_stream_ends_with_its_error() -> None:
    """An error event, then the end marker: nobody takes it for a whole answer, nobody waits on."""
    voice = ChatVoice()
    refusal = Refusal(502, "bad")
    assert sse.events(voice.broken(refusal)) == [b"data: " + voice.refusal(refusal) + b"\n\n", DONE]
    assert (voice.dialect, voice.ping) == (Dialect.CHAT, b": ping\n\n")
