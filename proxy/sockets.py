"""Responses over a WebSocket: one connection, one turn after the other, each event a text message.

A client sends `response.create` with the fields of `POST /v1/responses`; what comes back are the events of
the stream. Responses that are not stored can be followed all the same, on the same connection: it knows the
latest one. With `generate` false what is said is only taken note of: the next turn goes on from there.
(Open Responses of 2026-04-24, and OpenAI's guide to the WebSocket mode: turns one by one, at most 60
minutes, `error` events with a status.)

A turn is a request like any other: authenticated, limited, recorded. What only headers can say (losses of a
translation, who answered) is not told; with `x-apex-strict` in the handshake nothing is lost. Browsers let
any page open a WebSocket to anywhere, so a handshake with an `Origin` is only taken from pages that `cors`
lets in.
"""

import asyncio
import collections
import dataclasses
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import msgspec

from metrics import record as records
from metrics.record import Record
from proxy.access import authenticate
from proxy.answers import broken, identity_headers, refusal_headers
from proxy.archive import Archive
from proxy.clock import Clock
from proxy.ends import Body, Kept
from proxy.errors import Refusal
from proxy.exchange import Exchange, Head, Headers
from proxy.pipeline import Pipeline
from proxy.reception import Reception
from proxy.responses.document import Stored
from proxy.tasks import Tasks
from proxy.wire import sse
from proxy.wire.codec import Voice
from proxy.wire.dialects import CODECS
from proxy.wire.envelope import Fields, encode
from proxy.wire.model import Dialect, Endpoint, Usage
from proxy.wire.responses import resource

PATH = "/v1/responses"
LONGEST = 3600.0
"""Seconds that a connection may be used."""

AHEAD = 8
AHEAD_LETTERS = 1024 * 1024
"""Messages, and letters of them, that may wait for a turn to end; beyond that the client waits."""

GOING_AWAY: Final = 1012
STOPPING: Final = "stopping"
"""What the server's own message that it stops has beyond a client's leaving: the turn that is on may end."""

CRASHED = Refusal(500, "The proxy failed on this request.", kind="server_error", code="internal_error")

_UNSUPPORTED: Final = ("background", "stream_id")
"""Fields that would change what happens here, in ways there are not."""

_ANY_INPUT = msgspec.Raw(b'"-"')
_object = msgspec.json.Decoder(dict[str, Any])
_fields = msgspec.json.Decoder(Fields)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class TurnSource:
    """A `Source`: the body of a request out of a `response.create` message.

    `silent`: nothing is to be generated.
    """

    def __init__(self, text: str) -> None:
        self._body = b""
        self._refusal: Refusal | None = None
        self.silent = False
        try:
            self._read(text)
        except Refusal as refusal:
            self._refusal = refusal

    async def body(self) -> bytes:
        """The body. Raises `Refusal` 400 for any other message."""
        if self._refusal is not None:
            raise self._refusal
        return self._body

    def _read(self, text: str) -> None:
        try:
            fields = _fields.decode(text)
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            raise Refusal(400, "A message must be a JSON object in text.", code="invalid_json") from None
        if bytes(fields.pop("type", b"")) != b'"response.create"':
            raise Refusal(
                400, "The type of a message must be 'response.create'.", param="type", code="invalid_value"
            )
        for name in _UNSUPPORTED:
            if bytes(fields.pop(name, b"null")) not in (b"null", b"false"):
                raise Refusal(
                    400,
                    f"'{name}' is not possible over a WebSocket here.",
                    param=name,
                    code="unsupported_value",
                )
        self.silent = bytes(fields.pop("generate", b"null")) == b"false"
        self._body = encode({**fields, "stream": True})


class SocketSink:
    """A `Sink` over a WebSocket. What would be an answer with an error status is an `error` event."""

    def __init__(self, say: Callable[[str], Awaitable[None]]) -> None:
        self._say = say
        self.started = False

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:  # noqa: ARG002  (there are none)
        """An error, for a turn is always a stream."""
        error = _object.decode(body)["error"]
        told = {**error, "code": error.get("code") or error.get("type")}
        await self._say(json.dumps({"type": "error", "status": status, "error": told}))

    async def start(self, status: int, headers: Headers) -> None:
        """A stream begins with its first event: until then an error is an answer, and has a status."""

    async def write(self, data: bytes) -> None:
        """Each event as a message."""
        for event in sse.events(data):
            said = sse.data_of(event)
            if said is not None and said.strip() != b"[DONE]":
                self.started = True
                await self._say(said.decode())

    def push(self, data: bytes) -> bool:  # noqa: ARG002  (the seam's signature)
        """Never: a message is sent by awaiting."""
        return False

    async def end(self, data: bytes = b"") -> None:
        """The last events; the connection stays."""
        await self.write(data)


@dataclasses.dataclass(frozen=True, slots=True)
class SocketParts:
    """What sockets work with; made by `app`.

    `began` counts a turn; `observe` sees the record of a handshake that was refused.
    """

    reception: Reception
    pipeline: Pipeline
    archive: Archive
    began: Callable[[], None]
    observe: Callable[[Record], None]
    clock: Clock
    tasks: Tasks


class Sockets:
    """Serves WebSocket connections."""

    def __init__(self, parts: SocketParts) -> None:
        self._reception = parts.reception
        self._pipeline = parts.pipeline
        self._archive = parts.archive
        self._began = parts.began
        self._observe = parts.observe
        self._clock = parts.clock
        self._tasks = parts.tasks

    async def serve(self, head: Head, voice: Voice, receive: Receive, send: Send, *, welcome: bool) -> None:
        """One connection from its handshake to its end.

        A wrong key is a 401, a page that is not `welcome` a 403, and no connection. Raises `CancelledError`
        when the client has left.
        """
        await receive()
        line = _Line(receive, send, self._tasks)
        hello = self._reception.open(Endpoint.RESPONSES, voice, head, Body(b""), Kept())
        try:
            _admit(hello, welcome=welcome)
        except Refusal as refusal:
            await self._turn_away(hello, refusal, line)
            return
        await line.send({"type": "websocket.accept", "headers": identity_headers(hello)[:2]})
        try:
            await self._turns(head, voice, line)
        except asyncio.CancelledError:
            if not line.leaving:
                raise  # else the turn had its last word, and the connection ends as it should
        finally:
            line.close()
        if not line.gone:
            await line.send({"type": "websocket.close", "code": GOING_AWAY if line.leaving else 1000})

    async def _turns(self, head: Head, voice: Voice, line: "_Line") -> None:
        local: dict[str, Stored] = {}
        ends = self._clock.monotonic() + LONGEST
        while not line.gone:
            try:
                text = await self._message(line, ends)
            except TimeoutError:
                await SocketSink(line.say).answer(400, [], voice.refusal(_limit_reached(), ""))
                return
            if text is None:
                return
            source = TurnSource(text)
            turn = self._reception.open(Endpoint.RESPONSES, voice, head, source, SocketSink(line.say))
            turn.local = local
            self._began()
            pipeline = self._pipeline
            work = pipeline.through(turn, self._note) if source.silent else pipeline.handle(turn)
            running = self._tasks.spawn(work, "turn")
            await line.until(running)
            if not running.cancelled() and running.exception() is not None:
                await _crash(turn)
            if turn.record.outcome == records.CLIENT_GONE:
                line.gone = True

    async def _message(self, line: "_Line", ends: float) -> str | None:
        """The next message; None when there will be none. Raises `TimeoutError` at the end of its time."""
        left = ends - self._clock.monotonic()
        if left <= 0:
            raise TimeoutError
        async with asyncio.timeout(left):
            return await line.next()

    async def _note(self, turn: Exchange) -> None:
        """Keep what a turn says as a response without output. Raises `Refusal` 400, 503."""
        await self._archive.recall(turn)
        assert turn.envelope is not None
        fields = {**turn.envelope.fields, "input": _ANY_INPUT}
        echo = CODECS[Dialect.RESPONSES].read(fields).echo
        begun = resource.response(echo, turn.stamp, "in_progress")
        ended = {**begun, "status": "completed", "completed_at": turn.stamp.created}
        ended["usage"] = resource.usage_object(Usage())
        await self._archive.keep(turn, encode(ended))
        turn.record.status, turn.record.outcome = 200, records.COMPLETED
        events = [("response.created", begun), ("response.in_progress", begun), ("response.completed", ended)]
        for number, (kind, told) in enumerate(events):
            await turn.sink.write(resource.lifecycle_event(kind, told, number))

    async def _turn_away(self, hello: Exchange, refusal: Refusal, line: "_Line") -> None:
        """Refuse the handshake like any request (ASGI's denial response)."""
        record = hello.record
        record.status, record.outcome = refusal.status, records.REFUSED
        record.error = refusal.code or refusal.kind
        record.duration = self._clock.monotonic() - record.began
        self._began()
        self._observe(record)
        body = hello.voice.refusal(refusal, hello.request_id)
        headers = [*refusal_headers(refusal), *identity_headers(hello)]
        await line.send(
            {"type": "websocket.http.response.start", "status": refusal.status, "headers": headers}
        )
        await line.send({"type": "websocket.http.response.body", "body": body})


class _Line:
    """The client at the other end, heard also while a turn is on: one that leaves ends it.

    `gone`: there is nobody any more. `leaving`: the server closes when the turn is over.
    """

    def __init__(self, receive: Receive, send: Send, tasks: Tasks) -> None:
        self._receive = receive
        self._send = send
        self._tasks = tasks
        self._waiting: collections.deque[str] = collections.deque()
        self._letters = 0
        self._hearing: asyncio.Task[Message] | None = None
        self.gone = False
        self.leaving = False

    async def send(self, message: Message) -> None:
        """Send. Raises `CancelledError` where nobody is there any more."""
        try:
            await self._send(message)
        except OSError:  # so says ASGI that the client has left
            raise asyncio.CancelledError from None

    async def say(self, text: str) -> None:
        """Send a text."""
        await self.send({"type": "websocket.send", "text": text})

    @property
    def _open(self) -> bool:
        """Whether another turn may come."""
        return not self.gone and not self.leaving

    @property
    def _full(self) -> bool:
        return len(self._waiting) >= AHEAD or self._letters >= AHEAD_LETTERS

    async def next(self) -> str | None:
        """The next text message; None when there will be none."""
        while self._open and not self._waiting:
            self._note(await self._listen())
        if not self._open:
            return None
        text = self._waiting.popleft()
        self._letters -= len(text)
        return text

    async def until(self, turn: asyncio.Task[None]) -> None:
        """Wait for `turn`. A message that comes meanwhile waits for its end; the client's leaving ends it."""
        try:
            while not turn.done() and not self.gone and not self._full:
                hearing = self._listen()
                await asyncio.wait({turn, hearing}, return_when=asyncio.FIRST_COMPLETED)
                if hearing.done():
                    self._note(hearing.result())
            if self.gone:
                turn.cancel()
            await asyncio.wait({turn})
        except asyncio.CancelledError:
            turn.cancel()
            await asyncio.wait({turn})  # it has a last word to say
            raise

    def close(self) -> None:
        """Hear no more."""
        if self._hearing is not None:
            self._hearing.cancel()

    def _note(self, message: Message) -> None:
        self._hearing = None
        if message["type"] == "websocket.disconnect":
            self.leaving = STOPPING in message
            self.gone = not self.leaving
        else:
            text = str(message.get("text") or "")
            self._waiting.append(text)
            self._letters += len(text)

    def _listen(self) -> asyncio.Task[Message]:
        if self._hearing is None:
            self._hearing = self._tasks.spawn(self._hear(), "socket")
        return self._hearing

    async def _hear(self) -> Message:
        return await self._receive()


def _admit(hello: Exchange, *, welcome: bool) -> None:
    """Let a handshake pass. Raises `Refusal` 401, 403."""
    if not welcome:
        raise Refusal(403, "Pages of this origin may not connect.", code="origin_not_allowed")
    authenticate(hello)


async def _crash(turn: Exchange) -> None:
    """Tell of a bug as the turn's stage demands: as an answer, or as the end of a stream."""
    if turn.sink.started:
        await turn.sink.end(broken(turn, CRASHED))
    else:
        await turn.sink.answer(500, [], turn.voice.refusal(CRASHED, turn.request_id))


def _limit_reached() -> Refusal:
    return Refusal(
        400,
        "This connection has been open for 60 minutes; open a new one.",
        code="websocket_connection_limit_reached",
    )
