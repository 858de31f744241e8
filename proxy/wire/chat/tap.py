"""A chat body and a chat stream that pass unchanged, and the tap beside them.

Of the request usage is asked for, and sealed thinking of other dialects is taken out; of the reply nothing is
changed but the usage chunk that the client did not ask for, which is withheld. The tap reads usage, errors
and the end; of most events it reads no more than that they are whole and tell nothing of the sort.
"""

import msgspec

from proxy.errors import Fault, FaultKind, Refusal
from proxy.wire import seals, sse
from proxy.wire.chat import seen as chat
from proxy.wire.chat.voice import DONE, ChatVoice
from proxy.wire.envelope import Envelope, Fields, encode
from proxy.wire.losses import Losses
from proxy.wire.model import Usage
from proxy.wire.passing import Passing
from proxy.wire.said import said as said_in

_options = msgspec.json.Decoder(dict[str, msgspec.Raw])
_messages = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_TRUE = msgspec.Raw(b"true")
_NULL = msgspec.Raw(b"null")


class ChatNative:
    """What passes between a chat client and a chat provider (or its embeddings). See `bypass.Native`."""

    kept: bytes | None = None

    def __init__(self, envelope: Envelope, *, include_usage: bool) -> None:
        self._envelope = envelope
        self._include_usage = include_usage

    def prepare(self, fields: Fields, losses: Losses) -> None:
        """Ask for usage where it would not be told; take out what only another dialect could read."""
        if self._envelope.stream:
            _ask_usage(fields, allowed=self._include_usage)
        messages = fields.get("messages")
        if messages is not None and seals.held(messages):
            fields["messages"] = _unsealed(messages, losses)

    def reply(self, body: bytes) -> tuple[bytes, Usage | None]:
        """The provider's reply, unchanged, and its usage. Raises `Fault` where it is no reply."""
        if not body.strip():
            raise Fault(FaultKind.EMPTY, "the reply was empty", status=200)
        seen = chat.reply(body)
        if seen is None:
            raise Fault(FaultKind.NOT_JSON, "the reply was not a JSON object", status=200)
        if seen.is_empty:
            said = said_in(body)
            if said is None:
                raise Fault(FaultKind.EMPTY, "the reply held no choices", status=200)
            raise Fault(
                FaultKind.ERROR_IN_REPLY, "the reply was an error inside a 200", status=200, said=said
            )
        return body, chat.usage(seen.usage)

    def stream(self) -> "ChatStream":
        """A fresh stream state."""
        return ChatStream(withhold_usage=not self._envelope.wants_usage, choices=self._envelope.choices)


def _ask_usage(fields: Fields, *, allowed: bool) -> None:
    """Ask for usage where the provider takes the field; take the field out where it does not."""
    raw = fields.get("stream_options")
    try:
        options = _options.decode(raw) if raw is not None and raw != _NULL else {}
    except msgspec.MsgspecError:
        return  # not an object: the provider refuses it in its own words
    if allowed:
        options["include_usage"] = _TRUE
    else:
        options.pop("include_usage", None)
    if options:
        fields["stream_options"] = msgspec.Raw(encode(options))
    else:
        fields.pop("stream_options", None)


def _unsealed(messages: msgspec.Raw, losses: Losses) -> msgspec.Raw:
    """The messages without the sealed thinking that this proxy gave with replies of other dialects."""
    try:
        found = _messages.decode(messages)
    except msgspec.MsgspecError:
        return messages  # no messages: the provider refuses them in its own words
    for place, message in enumerate(found):
        thoughts = message.get("thinking_blocks")
        if thoughts is not None and seals.held(thoughts):
            losses.drop("thinking", f"messages[{place}].thinking_blocks")
            del message["thinking_blocks"]
    return msgspec.Raw(encode(found))


def _is_event(rest: bytes) -> bool:
    """Whether what came after the last empty line is an event that lacks its own, and not a part of one."""
    data = sse.data_of(rest)
    return data is not None and (data.strip() == b"[DONE]" or chat.chunk(data) is not None)


class ChatStream(Passing):
    """A chat stream that passes unchanged, and the tap beside it. See `model.Stream`."""

    kept: bytes | None = None

    def __init__(self, *, withhold_usage: bool, choices: int) -> None:
        super().__init__(chat.goes_on)
        self._withhold = withhold_usage
        self._unfinished = choices
        self._finished = False

    def finish(self) -> bytes:
        """The upstream ended. A last event without its empty line counts; a missing `[DONE]` is added."""
        rest = self._splitter.rest
        last = b""
        left = sse.events(rest)
        if left and not _is_event(left[-1]):
            left.pop()
        if left:
            last = self._look(left)
            if last and not last.endswith((b"\n\n", b"\r\r")):
                last += b"\n\n"
        if self.error is not None:
            return last
        if not self.content:
            raise self._nothing(rest)
        if not self.ended and not self._finished:
            raise Fault(FaultKind.TRUNCATED, "the stream ended before its end marker", status=200)
        return last if self.ended else last + DONE

    def broken(self, refusal: Refusal, request_id: str = "") -> bytes:
        """The end of a stream that broke: what was whole, an error event, then the end marker."""
        return self._unsaid + ChatVoice().broken(refusal, request_id)

    def _nothing(self, rest: bytes) -> Fault:
        said = said_in(rest)
        if said is not None:
            return Fault(
                FaultKind.ERROR_IN_REPLY, "the reply was an error inside a 200", status=200, said=said
            )
        if rest.lstrip()[:1] in (b"<", b"{"):
            return Fault(FaultKind.NOT_JSON, "the reply was not an event stream", status=200)
        return Fault(FaultKind.EMPTY, "the stream ended without content", status=200)

    def _passed(self, event: bytes) -> bytes:
        return event if self._keep(event) else b""

    def _keep(self, event: bytes) -> bool:
        """Read one event; whether it goes on to the client. Raises `Fault` where it is not whole."""
        data = sse.data_of(event)
        if data is None:
            return self._keep_bare(event)
        self.events += 1
        if data.strip() == b"[DONE]":
            self.ended = True
            return True
        seen = chat.chunk(data)
        self.error = chat.error_in(event, seen, data)
        if self.error is not None:
            return False
        sse.check(event, data if seen is None else None)
        return seen is None or self._read(seen)

    def _keep_bare(self, event: bytes) -> bool:
        """A comment or a bare field passes, but not before content, where it says nothing of the reply."""
        if not self.content and not sse.is_event(event):
            raise Fault(FaultKind.NOT_JSON, "the reply was not an event stream", status=200)
        sse.check(event, None)
        return self.content and sse.name_of(event) != b"error"

    def _read(self, seen: chat.Chunk) -> bool:
        self.usage = chat.usage(seen.usage) or self.usage
        for choice in seen.choices or ():
            if choice.finish_reason:
                self._unfinished -= 1
                self._finished = self._unfinished <= 0
        if not self.content:
            self.content = seen.has_content
        return not (self._withhold and seen.is_usage_alone)
