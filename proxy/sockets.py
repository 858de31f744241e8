"""Responses over a WebSocket: one connection, one turn after the other, each event a text message.

A client sends `response.create` with the fields of `POST /v1/responses`; what comes back are the events of
the stream. Responses that are not stored can be followed all the same, on the same connection: it knows the
latest one. (Open Responses of 2026-04-24, and OpenAI's guide to the WebSocket mode: turns one by one, at
most 60 minutes, `error` events with a status.)
"""

import asyncio
import collections
import dataclasses
import json
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any

import msgspec

from proxy.access import authenticate
from proxy.answers import identity_headers, refusal_headers
from proxy.clock import Clock
from proxy.ends import Body, Kept
from proxy.errors import Refusal
from proxy.exchange import Exchange, Head, Headers
from proxy.reception import Reception
from proxy.responses.document import Stored
from proxy.tasks import Tasks
from proxy.wire import sse
from proxy.wire.codec import Voice
from proxy.wire.envelope import encode
from proxy.wire.model import Endpoint

PATH = "/v1/responses"
LONGEST = 3600.0
"""Seconds that a connection may be used."""

AHEAD = 16
"""Messages that may wait for a turn to end; beyond that the client waits."""

CRASHED = Refusal(500, "The proxy failed on this request.", kind="server_error", code="internal_error")

_GOING_AWAY = 1012
_object = msgspec.json.Decoder(dict[str, Any])

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class SocketSink:
    """A `Sink` over a WebSocket. What would be an answer with an error status is an `error` event."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:  # noqa: ARG002  (there are none)
        """An error, for a turn is always a stream."""
        self.started = True
        error = _object.decode(body).get("error")
        await self._say({"type": "error", "status": status, "error": error})

    async def start(self, status: int, headers: Headers) -> None:  # noqa: ARG002  (there are none)
        """The stream begins."""
        self.started = True

    async def write(self, data: bytes) -> None:
        """Each event as a message."""
        for event in sse.events(data):
            said = sse.data_of(event)
            if said is not None and said.strip() != b"[DONE]":
                await self._send({"type": "websocket.send", "text": said.decode()})

    async def end(self, data: bytes = b"") -> None:
        """The last events; the connection stays."""
        await self.write(data)

    async def _say(self, event: dict[str, Any]) -> None:
        await self._send({"type": "websocket.send", "text": json.dumps(event)})


@dataclasses.dataclass(frozen=True, slots=True)
class SocketParts:
    """What sockets work with; made by `app`. `began` counts a turn, `handle` is the pipeline's."""

    reception: Reception
    handle: Callable[[Exchange], Coroutine[Any, Any, None]]
    began: Callable[[], None]
    clock: Clock
    tasks: Tasks


class Sockets:
    """Serves WebSocket connections."""

    def __init__(self, parts: SocketParts) -> None:
        self._reception = parts.reception
        self._handle = parts.handle
        self._began = parts.began
        self._clock = parts.clock
        self._tasks = parts.tasks

    async def serve(self, head: Head, voice: Voice, receive: Receive, send: Send) -> None:
        """One connection from its handshake to its end. A wrong key is a 401, and no connection."""
        await receive()
        hello = self._reception.open(Endpoint.RESPONSES, voice, head, Body(b""), Kept())
        try:
            authenticate(hello)
        except Refusal as refusal:
            await _turn_away(hello, refusal, send)
            return
        await send({"type": "websocket.accept", "headers": identity_headers(hello)[:2]})
        line = _Line(receive, self._tasks)
        try:
            await self._turns(head, voice, line, send)
        finally:
            line.close()
        if not line.gone:
            await send({"type": "websocket.close", "code": _GOING_AWAY if line.leaving else 1000})

    async def _turns(self, head: Head, voice: Voice, line: "_Line", send: Send) -> None:
        local: dict[str, Stored] = {}
        ends = self._clock.monotonic() + LONGEST
        while (text := await line.next()) is not None:
            sink = SocketSink(send)
            if self._clock.monotonic() >= ends:
                await sink.answer(400, [], _limit_reached(voice))
                break
            try:
                body = _created(text)
            except Refusal as refusal:
                await sink.answer(refusal.status, [], voice.refusal(refusal, ""))
                continue
            turn = self._reception.open(Endpoint.RESPONSES, voice, head, Body(body), sink)
            turn.local = local
            self._began()
            running = self._tasks.spawn(self._handle(turn), "turn")
            await line.until(running)
            if not running.cancelled() and running.exception() is not None:
                await sink.end(voice.broken(CRASHED, turn.request_id))


class _Line:
    """The client's messages, heard also while a turn is on: a client that leaves ends it.

    `gone`: there is nobody any more. `leaving`: the server closes when the turn is over.
    """

    def __init__(self, receive: Receive, tasks: Tasks) -> None:
        self._receive = receive
        self._tasks = tasks
        self._waiting: collections.deque[str] = collections.deque()
        self._hearing: asyncio.Task[Message] | None = None
        self.gone = False
        self.leaving = False

    @property
    def open(self) -> bool:
        """Whether another turn may come."""
        return not self.gone and not self.leaving

    async def next(self) -> str | None:
        """The next text message; None when there will be none."""
        while self.open and not self._waiting:
            self._note(await self._listen())
        return self._waiting.popleft() if self.open else None

    async def until(self, turn: asyncio.Task[None]) -> None:
        """Wait for `turn`. A message that comes meanwhile waits for its end; the client's leaving ends it."""
        try:
            while not turn.done() and self.open and len(self._waiting) < AHEAD:
                hearing = self._listen()
                await asyncio.wait({turn, hearing}, return_when=asyncio.FIRST_COMPLETED)
                if hearing.done():
                    self._note(hearing.result())
            if self.gone:
                turn.cancel()
            await asyncio.wait({turn})
        except asyncio.CancelledError:
            turn.cancel()
            raise

    def close(self) -> None:
        """Hear no more."""
        if self._hearing is not None:
            self._hearing.cancel()

    def _note(self, message: Message) -> None:
        self._hearing = None
        if message["type"] == "websocket.disconnect":
            self.leaving = message.get("code") == _GOING_AWAY
            self.gone = not self.leaving
        else:
            self._waiting.append(str(message.get("text") or ""))

    def _listen(self) -> asyncio.Task[Message]:
        if self._hearing is None:
            self._hearing = self._tasks.spawn(self._hear(), "socket")
        return self._hearing

    async def _hear(self) -> Message:
        return await self._receive()


def _created(text: str) -> bytes:
    """The body of a request out of a `response.create` event. Raises `Refusal` 400."""
    try:
        event = _object.decode(text.encode())
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        raise Refusal(400, "A message must be a JSON object in text.", code="invalid_json") from None
    if event.pop("type", None) != "response.create":
        raise Refusal(400, "The type of a message must be 'response.create'.", param="type")
    if event.pop("background", None):
        raise Refusal(400, "'background' is not possible over a WebSocket.", param="background")
    return encode({**event, "stream": True})


def _limit_reached(voice: Voice) -> bytes:
    refusal = Refusal(
        400,
        "This connection has been open for 60 minutes; open a new one.",
        code="websocket_connection_limit_reached",
    )
    return voice.refusal(refusal, "")


async def _turn_away(exchange: Exchange, refusal: Refusal, send: Send) -> None:
    """Refuse the handshake like any request (ASGI's denial response)."""
    body = exchange.voice.refusal(refusal, exchange.request_id)
    headers = [*refusal_headers(refusal), *identity_headers(exchange)]
    await send({"type": "websocket.http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
