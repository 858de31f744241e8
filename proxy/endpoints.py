"""The hot way in: from an ASGI request to an exchange and back.

`Edge` is the outermost ASGI application. The POST endpoints that carry the traffic go from here straight
into the pipeline, past the framework's stack, which costs more than all of our own work; everything else
goes through authentication to the FastAPI application. This is one of the three places that may catch
every exception: a bug is a 500 in the caller's dialect, and a line in the log.
"""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import structlog

from metrics import record as records
from metrics.record import Record
from proxy.access import authenticate
from proxy.answers import broken, identity_headers, refusal_headers, status_of
from proxy.clock import Clock
from proxy.config.settings import Bounds
from proxy.cors import CorsPolicy
from proxy.cycle import DIRECT, SOON, Awaited, Direct
from proxy.ends import Body
from proxy.errors import Refusal
from proxy.exchange import Exchange, Head, Headers
from proxy.fleet import Fleet
from proxy.pipeline import Pipeline, shutting_down
from proxy.reception import Reception
from proxy.sockets import CRASHED, Sockets
from proxy.wire.codec import Voice
from proxy.wire.dialects import CODECS
from proxy.wire.model import DIALECT_OF, Dialect, Endpoint

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

HOT = {
    "/v1/chat/completions": Endpoint.CHAT,
    "/v1/responses": Endpoint.RESPONSES,
    "/v1/messages": Endpoint.MESSAGES,
    "/v1/embeddings": Endpoint.EMBEDDINGS,
}
ASIDES = {
    "/v1/messages/count_tokens": Endpoint.MESSAGES,
    "/v1/responses/input_tokens": Endpoint.RESPONSES,
    "/v1/responses/compact": Endpoint.RESPONSES,
}
"""What is read and routed like a request, and answered otherwise than by one attempt after another."""

RECORDED = {
    "/v1/messages/count_tokens": Endpoint.COUNT_TOKENS,
    "/v1/responses/input_tokens": Endpoint.COUNT_TOKENS,
    "/v1/responses/compact": Endpoint.OTHER,
}
"""What they are called in logs and metrics: the request for a summary is one to `responses` within."""

WHERE = f"The API is at {', '.join(HOT)} and /v1/models."
"""What is said at the root, where browsers and people come first."""

PROBES = frozenset({"/livez", "/readyz"})
_POSTS = HOT | ASIDES
_VENDOR = frozenset({b"anthropic-version", b"anthropic-beta"})
"""Request headers that go upstream only where the body passes as it came."""

_FORWARDED = frozenset({b"openai-beta", b"idempotency-key", b"traceparent", b"tracestate"})
"""Request headers that go upstream as they came; all others stay here."""

_CREDENTIALS = frozenset({b"x-api-key", b"api-key"})
_BODY = frozenset({b"content-type", b"content-length", b"content-encoding"})
_READ = _FORWARDED | _VENDOR | _CREDENTIALS | _BODY | {b"authorization", b"x-apex-strict"}
_log = structlog.get_logger("edge")


class HttpSource:
    """A request body from an ASGI connection. `record` is told how long was waited for it, where that was."""

    __slots__ = ("_announced", "_bounds", "_direct", "record")

    def __init__(self, direct: Direct, bounds: Bounds, announced: int | None) -> None:
        self._direct = direct
        self._bounds = bounds
        self._announced = announced
        self.record: Record | None = None

    async def body(self) -> bytes:
        """The whole body. Raises `Refusal` 413 or 408; a client that leaves meanwhile cancels the task."""
        if self._announced is not None and self._announced > self._bounds.body:
            raise _too_large(self._bounds)
        if (body := self._direct.whole()) is not None:
            return self._within(body)  # it came along with its head, as most do: no need for a timer
        loop = asyncio.get_running_loop()
        began = loop.time()
        until = began + self._bounds.body_read
        try:
            message = await self._direct.receive_by(until)
            if message["type"] == "http.request" and not message.get("more_body", False):
                return self._within(message.get("body", b""))
            return await self._rest(message, until)
        except TimeoutError:
            raise Refusal(408, "The request body did not arrive in time.", code="request_timeout") from None
        finally:
            if self.record is not None:
                self.record.waited += loop.time() - began

    async def _rest(self, message: Mapping[str, Any], until: float) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            if message["type"] == "http.disconnect":
                raise asyncio.CancelledError
            part = message.get("body", b"")
            size += len(part)
            if size > self._bounds.body:
                raise _too_large(self._bounds)
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)
            message = await self._direct.receive_by(until)

    def _within(self, body: bytes) -> bytes:
        if len(body) > self._bounds.body:
            raise _too_large(self._bounds)
        return body


class HttpSink:
    """An answer over an ASGI connection. After the end, writes say nothing."""

    __slots__ = ("_direct", "_ended", "_extra", "_send", "push", "started")

    def __init__(self, send: Send, extra: Headers, direct: Direct) -> None:
        self._send = send
        self._extra = extra
        self._direct = direct
        self.push: Callable[[bytes], bool] = direct.push
        """Whole events, if the connection takes them at once. After the end it does not."""
        self.started = False
        self._ended = False

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Status, headers and the whole body."""
        self.started = self._ended = True
        headers = [*headers, *self._extra]
        if not self._direct.answer(status, headers, body):
            headers.append((b"content-length", b"%d" % len(body)))
            await self._send({"type": "http.response.start", "status": status, "headers": headers})
            await self._send({"type": "http.response.body", "body": body})

    async def start(self, status: int, headers: Headers) -> None:
        """Status and headers of a stream; they leave with what is written first."""
        self.started = True
        headers = [*headers, *self._extra]
        if not self._direct.begin(status, headers):
            start = {"type": "http.response.start", "status": status, "headers": headers, SOON: True}
            await self._send(start)

    async def write(self, data: bytes) -> None:
        """Whole events."""
        if not self._ended and not self.push(data):
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        """The last events and the end."""
        if not self._ended:
            self._ended = True
            if not self._direct.push(data, last=True):
                await self._send({"type": "http.response.body", "body": data})


@dataclasses.dataclass(frozen=True, slots=True)
class EdgeParts:
    """What the edge works with; made by `app`."""

    fleet: Fleet
    reception: Reception
    pipeline: Pipeline
    sockets: Sockets
    asides: Mapping[str, Callable[[Exchange], Awaitable[None]]]
    clock: Clock
    began: Callable[[], None]
    observe: Callable[[Record], None]
    cors: CorsPolicy | None
    stopping: Callable[[], bool] = lambda: False


class Edge:
    """The outermost ASGI application of the client port. `cors` may be changed."""

    def __init__(self, parts: EdgeParts, rest: Application) -> None:
        self._fleet = parts.fleet
        self._pipeline = parts.pipeline
        self._clock = parts.clock
        self._reception = parts.reception
        self._sockets = parts.sockets
        self._asides = parts.asides
        self._began = parts.began
        self._observe = parts.observe
        self._stopping = parts.stopping
        self.cors = parts.cors
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection."""
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        if scope["type"] != "http":
            return
        origin = _header(scope, b"origin") if self.cors is not None else None
        preflight = self.cors is not None and _is_preflight(scope)
        extra = self.cors.headers(origin) if self.cors is not None and not preflight else []
        endpoint = _POSTS.get(scope["path"]) if scope["method"] == "POST" else None
        direct = scope.get("extensions", {}).get(DIRECT) or Awaited(receive)
        exchange = self._exchange(endpoint, scope, HttpSink(send, extra, direct), direct)
        if self.cors is not None and preflight:
            headers = [*self.cors.preflight(origin), *identity_headers(exchange)]
            await exchange.sink.start(204, headers)
            await exchange.sink.end()
            return
        try:
            if endpoint is not None:
                self._began()
                aside = self._asides.get(scope["path"])
                if aside is None:
                    await self._pipeline.handle(exchange)
                else:
                    exchange.record.endpoint = RECORDED[scope["path"]].value
                    await self._pipeline.through(exchange, aside)
            else:
                await self._cold(exchange, scope, receive, _Answer(send, exchange, extra))
        except asyncio.CancelledError:
            pass  # the client has left, or the drain time is over: this is the task's outermost frame
        except Exception:  # noqa: BLE001  (the ASGI edge: a bug must still be an answer)
            _log.exception("request_crashed", id=exchange.request_id)
            await _crash(exchange)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket. The listener lets none through but for the one path that speaks it."""
        origin = _header(scope, b"origin")
        welcome = origin is None or (self.cors is not None and self.cors.admits(origin))
        try:
            voice = CODECS[Dialect.RESPONSES]
            await self._sockets.serve(read_head(scope["headers"]), voice, receive, send, welcome=welcome)
        except asyncio.CancelledError:
            pass  # as below: the outermost frame
        except Exception:  # noqa: BLE001  (the ASGI edge)
            _log.exception("socket_crashed")

    def _exchange(self, endpoint: Endpoint | None, scope: Scope, sink: HttpSink, direct: Direct) -> Exchange:
        head = read_head(scope["headers"])
        if endpoint is None:
            kind = Endpoint.MODELS if scope["path"].startswith("/v1/models") else Endpoint.OTHER
            return self._reception.open(kind, _voice(scope), head, Body(b""), sink)
        source = HttpSource(direct, self._fleet.snapshot.config.bounds, head.length)
        exchange = self._reception.open(endpoint, CODECS[DIALECT_OF[endpoint]], head, source, sink)
        source.record = exchange.record
        return exchange

    async def _cold(self, exchange: Exchange, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        """Everything that is not hot: authenticated first, whatever the method or route."""
        scope.setdefault("state", {})["exchange"] = exchange
        if scope["path"] in PROBES:
            await self._rest(scope, receive, answer)
            return
        self._began()
        record = exchange.record
        try:
            authenticate(exchange)
            await self._rest(scope, receive, answer)
        except Refusal as refusal:
            if scope["path"] == "/":
                refusal.message += f" {WHERE}"
            record.error = refusal.code or refusal.kind
            record.status = refusal.status
            await _refuse(exchange, refusal)
        except asyncio.CancelledError:
            await self._cut_off(exchange, answer.status)
            raise
        finally:
            record.client = exchange.tenant.name if exchange.tenant else ""
            record.status = record.status or answer.status
            record.outcome = _outcome(record)
            record.duration = self._clock.monotonic() - record.began
            self._observe(record)

    async def _cut_off(self, exchange: Exchange, sent: int) -> None:
        """The client has left, or this replica ends; `sent` is the status that has gone out, if any."""
        record = exchange.record
        if not self._stopping():
            record.outcome, record.status = records.CLIENT_GONE, 499  # never sent
            return
        refusal = shutting_down()
        record.error = refusal.code or refusal.kind
        record.outcome, record.status = (records.BROKEN, sent) if sent else (records.FAILED, refusal.status)
        if not sent:
            await _refuse(exchange, refusal)


class _Answer:
    """`send` of a cold request: adds the headers that every answer carries, and sees the status."""

    def __init__(self, send: Send, exchange: Exchange, extra: Headers) -> None:
        self._send = send
        self._headers = [*identity_headers(exchange), *extra]
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", []), *self._headers]
        await self._send(message)


def _outcome(record: Record) -> str:
    status = record.status
    if not status or record.outcome != records.CRASHED:  # else it is known already
        return record.outcome
    return records.COMPLETED if status < 400 else records.REFUSED if status < 500 else records.FAILED


def _voice(scope: Scope) -> Voice:
    """How errors are said where no dialect is spoken: as in that of the client's SDK."""
    messages = "/messages" in scope["path"] or _header(scope, b"anthropic-version")
    return CODECS[Dialect.MESSAGES if messages else Dialect.CHAT]


def read_head(headers: list[tuple[bytes, bytes]]) -> Head:
    """What is taken from request headers."""
    credential = bearer = None
    content_type = encoding = b""
    length: int | None = None
    forwarded: list[tuple[str, str]] = []
    vendor: list[tuple[str, str]] = []
    strict = False
    for name, value in headers:
        if name not in _READ:
            continue
        if name == b"authorization":
            scheme, _, token = value.partition(b" ")
            bearer = token.strip() if scheme.lower() == b"bearer" else None
        elif name == b"content-type":
            content_type = value
        elif name == b"content-length":
            length = int(value)
        elif name == b"content-encoding":
            encoding = value.lower()
        elif name == b"x-apex-strict":
            strict = value.strip().lower() in (b"1", b"true")
        elif name in _CREDENTIALS:
            credential = value.strip()
        else:
            passed = vendor if name in _VENDOR else forwarded
            passed.append((name.decode(), value.decode("latin-1")))
    return Head(bearer or credential, content_type, encoding, length, tuple(forwarded), tuple(vendor), strict)


def _header(scope: Scope, name: bytes) -> bytes | None:
    return next((value for key, value in scope["headers"] if key == name), None)


def _is_preflight(scope: Scope) -> bool:
    return scope["method"] == "OPTIONS" and _header(scope, b"access-control-request-method") is not None


def _too_large(bounds: Bounds) -> Refusal:
    return Refusal(
        413,
        f"The request body is larger than {bounds.body} bytes.",
        code="request_too_large",
        should_retry=False,
    )


async def _refuse(exchange: Exchange, refusal: Refusal) -> None:
    headers = [*refusal_headers(refusal), *identity_headers(exchange)]
    body = exchange.voice.refusal(refusal, exchange.request_id)
    await exchange.sink.answer(status_of(exchange, refusal), headers, body)


async def _crash(exchange: Exchange) -> None:
    exchange.record.status = 500
    if exchange.sink.started:
        await exchange.sink.end(broken(exchange, CRASHED))
    else:
        await _refuse(exchange, CRASHED)
