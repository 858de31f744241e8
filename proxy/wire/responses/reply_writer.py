"""Canonical events as a response: a stream of events, or one object, from the very same steps.

Grammar: `response.created` and `response.in_progress` come first, one of `response.completed`, `incomplete`
and `failed` last, with the whole response; every one names the same id. `[DONE]` follows, as Open Responses
demands.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from proxy.errors import Refusal
from proxy.wire.codec import Stamp
from proxy.wire.conversation import Conversation, Json
from proxy.wire.envelope import encode
from proxy.wire.events import (
    Added,
    Began,
    Closed,
    Collector,
    Counted,
    Event,
    Finished,
    Opened,
)
from proxy.wire.model import Usage
from proxy.wire.responses.output import Output, Tape
from proxy.wire.responses.resource import failed, failure_code, response, usage_object
from proxy.wire.responses.voice import DONE, error_event

_INCOMPLETE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "length": "max_output_tokens",
        "context_length": "max_output_tokens",
        "content_filter": "content_filter",
    }
)
"""The reasons for which a reply is not complete, in the dialect's words."""

_LETTERS = 4
"""Letters a token, where nobody has counted."""


class ResponsesWriter:
    """See `codec.ReplyWriter`. `kept` is the response with all sealed reasoning, shown or not."""

    def __init__(self, conversation: Conversation, stamp: Stamp) -> None:
        self.kept: bytes | None = None
        self._echo = conversation.echo
        self._stamp = stamp
        self._tape = Tape()
        self._output = Output(stamp, self._tape, sealed=conversation.reasoning.encrypted)
        self._usage: Usage | None = None
        self._began = False
        self._said = b""

    def write(self, events: Sequence[Event]) -> bytes:
        """These events as server-sent events; `Finished` brings the end marker with it."""
        for event in events:
            if type(event) is Added:
                self._output.added(event.text)
            else:
                self._take(event)
        return self._tape.take()

    def whole(self, reply: Collector) -> bytes:
        """A collected reply as one object."""
        self._tape.sound = False
        self._take(reply.began)
        for piece in reply.pieces:
            self._output.opened(piece.opened)
            self._output.added(piece.text)
            self._output.closed(piece.closed or Closed())
        self._usage = reply.usage or self._usage
        self._take(reply.finished or Finished("stop"))
        return self._said

    def broken(self, refusal: Refusal, request_id: str = "") -> bytes:  # noqa: ARG002  (other dialects name it)
        """The end of a stream that broke: `response.failed`, or `error` if nothing was created."""
        if not self._began:
            return error_event(refusal, self._tape.sequence) + DONE
        self._tape.take()
        self._tape.sound = False
        self._output.settle("incomplete")
        self._tape.sound = True
        ended = failed(self._response("failed"), failure_code(refusal), refusal.message)
        self._end("failed", ended)
        return self._tape.take()

    def _take(self, event: Event) -> None:
        match event:
            case Opened():
                self._output.opened(event)
            case Closed():
                self._output.closed(event)
            case Counted():
                self._usage = event.usage
            case Began():
                self._begin(event)
            case Finished():
                self._finish(event)

    def _begin(self, began: Began) -> None:
        self._began = True
        self._usage = began.usage
        if began.model:
            self._echo = {**self._echo, "model": began.model}
        if self._tape.sound:
            started = {"response": msgspec.Raw(encode(self._response("in_progress")))}
            self._tape.add("response.created", started)
            self._tape.add("response.in_progress", started)

    def _finish(self, finished: Finished) -> None:
        reason = _INCOMPLETE.get(finished.reason)
        status = "incomplete" if reason else "completed"
        self._output.settle(status)
        ended = self._response(
            status,
            usage=usage_object(self._usage or self._estimate()),
            completed_at=None if reason else self._stamp.created,
            incomplete_details={"reason": reason} if reason else None,
        )
        if finished.tier:
            ended["service_tier"] = finished.tier
        self._end(status, ended)

    def _end(self, status: str, ended: Json) -> None:
        """The last event, with what the client may see; what is to be stored of it."""
        self._said = self.kept = encode(ended)
        if self._output.hides:
            self._said = encode({**ended, "output": self._output.shown})
        self._tape.add(f"response.{status}", {"response": msgspec.Raw(self._said)})
        self._tape.end(DONE)

    def _response(self, status: str, **changed: object) -> Json:
        return response(self._echo, self._stamp, status, output=self._output.items, **changed)

    def _estimate(self) -> Usage:
        return Usage(input=self._stamp.prompt_tokens, output=-(-self._output.letters // _LETTERS))
