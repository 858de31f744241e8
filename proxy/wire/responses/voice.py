"""How the Responses dialect says errors and keeps a connection alive.

Source: OpenAI's API reference for errors and streams, and the Open Responses specification, which demands
the `[DONE]` line at the end of a stream. Before a response was created an in-band error is the event `error`,
in both shapes at once: flat, as OpenAI publishes it, and nested, which is what its SDK raises.
"""

from typing import Final

from proxy.errors import Refusal
from proxy.wire.envelope import encode
from proxy.wire.model import Dialect

DONE: Final = b"data: [DONE]\n\n"


class ResponsesVoice:
    """See `codec.Voice`."""

    dialect = Dialect.RESPONSES
    ping = b": ping\n\n"

    def refusal(self, refusal: Refusal, request_id: str = "") -> bytes:  # noqa: ARG002  (other dialects name it)
        """The body of an error answer: always the four keys `message`, `type`, `param`, `code`."""
        return encode({"error": _error(refusal)})

    def broken(self, refusal: Refusal, request_id: str = "") -> bytes:  # noqa: ARG002  (other dialects name it)
        """The end of a stream in which nothing was created: the event `error`, then the end marker."""
        return error_event(refusal, 0) + DONE


def error_event(refusal: Refusal, sequence: int) -> bytes:
    """The event `error` under this sequence number."""
    data = encode(
        {
            "type": "error",
            "sequence_number": sequence,
            "code": refusal.code or refusal.kind,
            "message": refusal.message,
            "param": refusal.param,
            "error": _error(refusal),
        }
    )
    return b"event: error\ndata: " + data + b"\n\n"


def _error(refusal: Refusal) -> dict[str, object]:
    return {
        **(refusal.extra or {}),
        "message": refusal.message,
        "type": refusal.kind,
        "param": refusal.param,
        "code": refusal.code,
    }
