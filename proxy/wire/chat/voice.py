"""How the chat dialect says errors and keeps a connection alive.

Source: OpenAI's API reference for errors; a comment of server-sent events is ignored by every client.
"""

import msgspec

from proxy.errors import Refusal
from proxy.wire.model import Dialect

DONE = b"data: [DONE]\n\n"

_encode = msgspec.json.Encoder().encode


class ChatVoice:
    """See `codec.Voice`."""

    dialect = Dialect.CHAT
    ping = b": ping\n\n"

    def refusal(self, refusal: Refusal, request_id: str = "") -> bytes:  # noqa: ARG002  (other dialects name it)
        """The body of an error answer: always the four keys `message`, `type`, `param`, `code`."""
        error = {
            "message": refusal.message,
            "type": refusal.kind,
            "param": refusal.param,
            "code": refusal.code,
        }
        return _encode({"error": {**(refusal.extra or {}), **error}})

    def broken(self, refusal: Refusal, request_id: str = "") -> bytes:
        """The end of a stream that broke after it began: an error event, then the end marker."""
        return b"data: " + self.refusal(refusal, request_id) + b"\n\n" + DONE
