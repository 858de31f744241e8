"""The way between two dialects: through the canonical conversation there, through canonical events back.

A whole reply is the collected stream: the upstream's reader makes the same events of either, and the
client's writer says them as one body or as many events. So what holds for one holds for the other.
"""

from collections.abc import Sequence

import msgspec

from proxy.errors import Fault, FaultKind, Refusal, Said
from proxy.wire import sse
from proxy.wire.bypass import Edits
from proxy.wire.codec import Codec, Facts, ReplyReader, ReplyWriter, Stamp
from proxy.wire.conversation import Conversation
from proxy.wire.envelope import encode
from proxy.wire.events import Added, Began, Closed, Collector, Counted, Event, Failed, Finished, Opened
from proxy.wire.losses import Losses
from proxy.wire.model import Usage
from proxy.wire.restoring import Restorer
from proxy.wire.stopping import Stopper
from proxy.wire.surrogates import Joiner, replaced

LETTERS = 4
"""Letters a token, where nobody has counted."""


class Translation:
    """A `Passage` between a client of one dialect and an upstream of another.

    Raises `Refusal` 400 at once where the conversation cannot be said to the upstream.
    """

    def __init__(  # noqa: PLR0913  (the two sides, what is said, and to whom; each named at the one call)
        self,
        conversation: Conversation,
        *,
        client: Codec,
        upstream: Codec,
        facts: Facts,
        edits: Edits,
        stamp: Stamp,
        losses: Losses,
    ) -> None:
        self.losses = losses
        for path in conversation.dropped:
            self.losses.drop("unknown", path)
        self._conversation = conversation
        self._client = client
        self._upstream = upstream
        self._facts = facts
        self._edits = edits
        self._stamp = stamp
        self._written = upstream.write(conversation, facts, self.losses)
        self.kept: bytes | None = None

    def request(self) -> bytes:
        """The body to send to the target."""
        body = self._written.body
        if not self._edits.include_usage:
            body.pop("stream_options", None)  # asked for by the writer of Chat, refused by some
        if self._edits.drop or self._edits.extra:
            fields = {name: msgspec.Raw(encode(value)) for name, value in body.items()}
            self._edits.apply(fields)
            return encode(fields)
        return encode(body)

    def reply(self, body: bytes) -> tuple[bytes, Usage | None]:
        """The whole reply for the client, and its usage. Raises `Fault` where it is no reply."""
        way = self._way()
        collector = Collector()
        for event in way.whole(body, streamed=self._facts.quirks.stream_only):
            collector.take(event)
        if collector.failed is not None:
            raise Fault(
                FaultKind.ERROR_IN_REPLY,
                "the reply was an error inside a 200",
                status=200,
                said=collector.failed,
            )
        if collector.finished is None:
            raise Fault(FaultKind.TRUNCATED, "the reply ended before it was whole", status=200)
        said = way.writer.whole(collector)
        self.kept = way.writer.kept
        return said, collector.usage

    def stream(self) -> "TranslatedStream":
        """A fresh stream state."""
        return TranslatedStream(self._way(), self._stamp.prompt_tokens)

    def _way(self) -> "_Way":
        return _Way(
            self._upstream.reader(self._facts),
            Restorer(self._written.origins) if self._written.origins else None,
            Stopper(self._written.stop) if self._written.stop else None,
            self._client.writer(self._conversation, self._stamp),
        )


class _Way:
    """One reply's way: read, names restored, stopped where it has to be; and the client's writer."""

    def __init__(
        self, reader: ReplyReader, restorer: Restorer | None, stopper: Stopper | None, writer: ReplyWriter
    ) -> None:
        self.reader = reader
        self.writer = writer
        self._restorer = restorer
        self._stopper = stopper
        self._joiner = Joiner()

    @property
    def met(self) -> str | None:
        """The stop sequence that the text has come to."""
        return None if self._stopper is None else self._stopper.met

    def events(self, block: bytes) -> list[bytes]:
        """The single events of a block of whole ones, with letters whole that stood half in two of them."""
        found = sse.events(block)
        if b"\\ud" in block or b"\\uD" in block:
            return [self._joiner.mended(event) for event in found]
        return found

    def turned(self, events: list[Event]) -> list[Event]:
        """Events of the upstream as the client is to see them."""
        if self._restorer is not None:
            events = self._restorer.restore(events)
        if self._stopper is not None:
            events = self._stopper.cut(events)
        return events

    def whole(self, body: bytes, *, streamed: bool) -> list[Event]:
        """All events of a reply that has come in full."""
        if not body.strip():
            raise Fault(FaultKind.EMPTY, "the reply was empty", status=200)
        if not streamed or body.lstrip()[:1] == b"{":
            return self.turned(self.reader.whole(replaced(body) if b"\\u" in body else body))
        found: list[Event] = []
        for event in self.events(body):
            found += self.reader.feed(event)
        found += self.reader.finish()
        return self.turned(found)


class TranslatedStream:
    """A stream that is said anew in the client's dialect. See `model.Stream`.

    `prompt` is what its prompt is estimated to take, in tokens. Where the proxy itself looks for stop
    sequences the first one ends the stream, and with it the upstream's work; nobody has counted by then.
    """

    def __init__(self, way: _Way, prompt: int) -> None:
        self.content = False
        self.ended = False
        self.error: Said | None = None
        self.usage: Usage | None = None
        self.events = 0
        self._way = way
        self._prompt = prompt
        self._letters = 0
        self._unsaid = b""
        self._splitter = sse.Splitter()
        self._seen = False

    def feed(self, data: bytes) -> bytes:
        """The client's events for what `data` completed."""
        block = self._splitter.whole(data)
        return self._say(self._way.events(block)) if block else b""

    def finish(self) -> bytes:
        """The upstream ended. Raises `Fault`: EMPTY, TRUNCATED."""
        rest = self._splitter.rest
        out = self._say(self._way.events(rest)) if sse.data_of(rest) is not None else b""
        if self.error is not None or self.ended:
            return out
        if not self._seen and not self.content:
            raise _nothing(rest)
        return self._end(out)

    @property
    def kept(self) -> bytes | None:
        """What is to be stored of the reply."""
        return self._way.writer.kept

    def broken(self, refusal: Refusal, request_id: str = "") -> bytes:
        """The events that end the client's stream when the upstream's broke, after what came of it last."""
        return self._unsaid + self._way.writer.broken(refusal, request_id)

    def _say(self, events: Sequence[bytes]) -> bytes:
        if self.ended:
            return b""
        found: list[Event] = []
        for event in events:
            self.events += 1
            try:
                read = self._way.reader.feed(event)
                if not read:
                    sse.check(event, sse.data_of(event))
            except Fault:
                self._unsaid = self._write(self._way.turned(found))
                raise
            found += read
        out = self._write(self._way.turned(found)) if found else b""
        if self.error is not None or self.ended:
            return out
        if self._way.met is not None:
            return out + self._cut(self._way.met)
        if self._way.reader.ended:
            return self._end(out)
        return out

    def _end(self, out: bytes) -> bytes:
        """`out` and what the reader held back; `out` is told also where that turns out to be broken."""
        self._unsaid = out
        out += self._write(self._way.turned(self._way.reader.finish()))
        self._unsaid = b""
        return out

    def _cut(self, met: str) -> bytes:
        """The end of a reply at a stop sequence. What nobody counted is estimated for the client alone."""
        self.content = self.ended = True
        end: list[Event] = [Finished("stop_sequence", sequence=met)]
        if self.usage is None:
            end.insert(0, Counted(Usage(input=self._prompt, output=-(-self._letters // LETTERS))))
        return self._way.writer.write(end)

    def _write(self, events: list[Event]) -> bytes:
        for place, event in enumerate(events):
            if type(event) is Added:
                self._letters += len(event.text)
                self.content = self.content or bool(event.text)
            else:
                self._notice(event)
            if self.error is not None:
                return self._way.writer.write(events[:place])
        return self._way.writer.write(events) if events else b""

    def _notice(self, event: Event) -> None:
        self._seen = True
        match event:
            case Opened():
                self.content = self.content or event.kind == "tool"
            case Closed():
                self.content = self.content or event.seal is not None
            case Counted():
                self.usage = event.usage
            case Began():
                self.usage = event.usage or self.usage
            case Finished():
                self.content = self.ended = True
            case Failed():
                self.error = event.said


def _nothing(rest: bytes) -> Fault:
    if rest.lstrip()[:1] in (b"<", b"{"):
        return Fault(FaultKind.NOT_JSON, "the reply was not an event stream", status=200)
    return Fault(FaultKind.EMPTY, "the stream ended without content", status=200)
