import json

from proxy.errors import Refusal
from proxy.wire import sse
from proxy.wire.responses.voice import DONE, ResponsesVoice, error_event

REFUSAL = Refusal(429, "Slow down.", kind="rate_limit_error", code="rate_limit_exceeded", extra={"hint": 1})


def test_an_error_has_all_four_keys_and_what_a_provider_added() -> None:
    """An error has all four keys and what a provider added."""
    assert json.loads(ResponsesVoice().refusal(REFUSAL)) == {
        "error": {
            "message": "Slow down.",
            "type": "rate_limit_error",
            "param": None,
            "code": "rate_limit_exceeded",
            "hint": 1,
        }
    }


def test_an_error_in_a_stream_has_both_shapes() -> None:
    """OpenAI publishes the flat one; its SDK raises only for the nested one."""
    event = error_event(REFUSAL, 3)
    said = json.loads(sse.data_of(event) or b"")
    assert sse.name_of(event) == b"error"
    assert (said["type"], said["sequence_number"], said["param"]) == ("error", 3, None)
    assert said["message"] == said["error"]["message"] == "Slow down."
    assert said["code"] == said["error"]["code"] == "rate_limit_exceeded"


def test_an_error_without_a_code_says_its_kind() -> None:
    """An error without a code says its kind."""
    said = json.loads(sse.data_of(error_event(Refusal(500, "x", kind="server_error"), 0)) or b"")
    assert said["code"] == "server_error"


def test_a_stream_that_never_began_ends_with_an_error_and_the_end_marker() -> None:
    """A stream that never began ends with an error and the end marker."""
    broken = ResponsesVoice().broken(REFUSAL)
    assert broken.startswith(b"event: error\n")
    assert broken.endswith(DONE)


def test_a_ping_is_a_comment() -> None:
    """A ping is a comment."""
    assert sse.data_of(ResponsesVoice().ping) is None
