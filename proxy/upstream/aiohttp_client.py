"""The transport on aiohttp: its connection pool, dialling and parser under a request writer of our own.

The rule: what aiohttp does well is left to it (name lookup, happy eyeballs, TLS, proxies, keep-alive, the C
parser and flow control); what the seam promises beyond that is kept by `_Wire`, one connection, and by
`AiohttpUpstream.send`.

Why not `ClientSession`: it resends no POST and hides what decides a resend (was the connection pooled, had
bytes arrived), and its request object, response object and writer task cost more than all the rest. So
`send` takes a connection from the connector, writes the request in one piece and reads the head off it.

Header text is latin-1 both ways, so bytes that are not ASCII pass unchanged through a str.
"""

import asyncio
import base64
import errno
import functools
import math
import re
import ssl
from collections.abc import Callable, Mapping
from typing import NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError, RawResponseMessage
from yarl import URL

from proxy.errors import Fault, FaultKind
from proxy.upstream.egress import Proxies
from proxy.upstream.seam import Call

_READ_BUFFER = 64 * 1024  # aiohttp pauses the socket at twice this
_HEAD_LIMIT = 64 * 1024
_ROUTES = 4096  # far more than config names; models addressed directly are named by clients
_BODILESS = frozenset({"GET", "HEAD"})
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # all but tab, CR and LF

_Head = tuple[RawResponseMessage, aiohttp.StreamReader]
_BODY_FAULTS = {
    FaultKind.TRUNCATED: "the body ended before its framing said so",
    FaultKind.RESET: "the connection was reset within the body",
    FaultKind.PROTOCOL: "the body is framed wrongly",
}


class _Wire(ResponseHandler):
    """One connection: counts what decides a resend, and keeps the seam's promises at the socket.

    A broken body is not an exception in its stream but the stream's end plus a `fault`: aiohttp's own way
    throws away what had arrived before the break, which may be whole events.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.served = 0  # requests written so far
        self.heard = 0  # bytes received since the last of them
        self.idle = False  # lies in the pool
        self.fault: FaultKind | None = None  # what broke the body of the current response

    def speak(self, head: bytes, body: bytes) -> None:
        """Write a request and make ready to parse its response."""
        self.served += 1
        self.heard = 0
        self.idle = False
        self._payload = None
        transport = self.transport
        if transport is None:  # lost while it was handed over: reading the head will say so
            return
        self.set_response_params(
            skip_payload=head.startswith(b"HEAD "),
            read_until_eof=True,
            auto_decompress=False,
            read_bufsize=_READ_BUFFER,
            max_line_size=_HEAD_LIMIT,
            max_field_size=_HEAD_LIMIT,
        )
        transport.writelines((head, body))

    async def hear(self) -> _Head:
        """The head of the final response, and its body."""
        while True:
            head = await self.read()
            if not 100 <= head[0].code < 200 or head[0].code == 101:
                return head

    @property
    def written(self) -> bool:
        """Whether the whole request has left; until then the connection cannot carry another one."""
        return self.transport is not None and not self.transport.get_write_buffer_size()

    def data_received(self, data: bytes) -> None:
        """Parse `data`. Bytes that answer no request make a pooled connection unfit for the next one."""
        if self.idle and data:
            self.abort()
            return
        self.heard += len(data)
        super().data_received(data)
        if self._exception is not None:
            self._break(self._unfinished(), FaultKind.PROTOCOL)  # aiohttp would leave its reader waiting
        elif self.heard > _HEAD_LIMIT and self._payload is None:
            self.set_exception(HttpProcessingError(message="head too large"))

    def eof_received(self) -> None:
        """Parse what flow control held back: with TLS the end may come along with data not yet parsed."""
        super().eof_received()
        while self._reading_paused:
            self._reading_paused = False
            self.data_received(b"")

    def connection_lost(self, exc: BaseException | None) -> None:
        """End the body: well where its framing agrees, else with a fault."""
        body, self._payload = self._unfinished(), None
        super().connection_lost(exc)
        if exc is not None:
            self._break(body, FaultKind.RESET)
        elif body is not None and not body.is_eof():  # the parser has ended one that only the close delimits
            self._break(body, FaultKind.TRUNCATED)

    def abort(self) -> None:
        """Close the socket now, with whatever is still to be written; a pending read ends with RESET."""
        self._break(self._unfinished(), FaultKind.RESET)
        super().abort()

    def close(self) -> None:
        """The same as `abort`: a graceful close would first send the rest and wait for TLS to part."""
        self.abort()

    def _unfinished(self) -> aiohttp.StreamReader | None:
        body = self._payload
        return None if body is None or body.is_eof() else body

    def _break(self, body: aiohttp.StreamReader | None, fault: FaultKind) -> None:
        if body is not None:
            self.fault = fault
            body.feed_eof()


class _Connector(aiohttp.TCPConnector):
    """aiohttp's pool, of `_Wire` connections kept idle for `keep` seconds, or never (None)."""

    def __init__(
        self, resolver: AbstractResolver, tls: ssl.SSLContext, limit: int, keep: float | None
    ) -> None:
        super().__init__(
            resolver=resolver, ssl=tls, limit=limit, keepalive_timeout=keep, force_close=keep is None
        )
        wire: Callable[..., ResponseHandler] = _Wire
        self._factory = functools.partial(wire, loop=self._loop)


class _Route(NamedTuple):
    """What all calls to one URL share: where to connect, and the first lines after the method."""

    dial: aiohttp.ClientRequest
    opening: str


def _route(text: str, proxies: Proxies) -> _Route:
    url = URL(text).with_fragment(None)
    if url.scheme not in {"http", "https"} or not url.host or url.raw_user or url.raw_password:
        raise ValueError("not a URL of a plain HTTP origin")
    proxy = proxies.of(url)
    dial = aiohttp.ClientRequest("POST", url, proxy=proxy, loop=asyncio.get_running_loop())
    forwarded = proxy is not None and url.scheme == "http"
    target = str(url) if forwarded else url.raw_path_qs
    opening = f" {target} HTTP/1.1\r\nhost: {url.host_port_subcomponent}\r\n"
    if proxy is not None and forwarded and proxy.user is not None:
        secret = base64.b64encode(f"{proxy.user}:{proxy.password or ''}".encode()).decode()
        opening += f"proxy-authorization: Basic {secret}\r\n"
    return _Route(dial, opening)


def _request_head(route: _Route, call: Call) -> bytes:
    fields = "".join([f"{name}: {value}\r\n" for name, value in call.headers])
    lines = len(call.headers)
    if fields.count("\n") != lines or fields.count("\r") != lines or _CONTROL.search(fields):
        raise ValueError("control character in a header")
    framing = "" if call.method in _BODILESS and not call.body else f"content-length: {len(call.body)}\r\n"
    text = f"{call.method}{route.opening}{fields}accept-encoding: identity\r\n{framing}\r\n"
    return text.encode("latin-1")


class AiohttpReply:
    """The response to a `Call`; see `seam.Reply`."""

    __slots__ = ("_body", "_connection", "_fault", "_headers", "_raw_headers", "_wire", "resent", "status")

    def __init__(self, connection: Connection, wire: _Wire, head: _Head, *, resent: bool) -> None:
        message, self._body = head
        self.status = message.code
        self.resent = resent
        self._raw_headers = message.raw_headers
        self._headers: dict[str, str] | None = None
        self._connection: Connection | None = connection
        self._wire = wire
        self._fault: FaultKind | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        """Response headers under lower-case names. A repeated header's values are joined by ", "."""
        if self._headers is None:
            headers: dict[str, str] = {}
            for raw_name, raw_value in self._raw_headers:
                name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
            self._headers = headers
        return self._headers

    async def read(self) -> bytes:
        """The next bytes of the body; b"" at its end. Raises `Fault` TRUNCATED, RESET or PROTOCOL."""
        if self._connection is not None:
            try:
                part = await self._body.readany()
            except asyncio.CancelledError:
                self.close()
                raise
            if part:
                return part
            self.close()
        if self._fault is not None:
            raise Fault(self._fault, _BODY_FAULTS[self._fault], status=self.status)
        return b""

    def close(self) -> None:
        """Give the connection back if the body was read to its end, else close it at once."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        wire = self._wire
        if wire.fault is None and self._body.is_eof() and wire.written:
            wire.idle = True
            connection.release()
        else:
            connection.close()
            self._fault = wire.fault


class AiohttpUpstream:
    """A pool of connections to every origin, on aiohttp; see `seam.Upstream`.

    To be made inside the event loop that uses it. `environment` names the proxies. Certificates are
    verified against the system's authorities and those of `ca_file` (PEM), or by `tls`, the caller's own
    context, which `ca_file` is then added to. `limit` bounds the open connections (0: no bound); waiting
    for one counts as connecting. An idle connection is kept for `keep_alive` seconds.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        ca_file: str | None = None,
        tls: ssl.SSLContext | None = None,
        limit: int = 0,
        keep_alive: float = 60.0,
    ) -> None:
        if tls is None:
            tls = ssl.create_default_context()
            tls.set_alpn_protocols(["http/1.1"])
        if ca_file is not None:
            tls.load_verify_locations(ca_file)
        self._proxies = Proxies(environment)
        self._routes: dict[str, _Route] = {}  # by URL
        self._resolver = aiohttp.DefaultResolver()
        self._pooled = _Connector(self._resolver, tls, limit, keep_alive)
        self._fresh = _Connector(self._resolver, tls, limit, None)

    async def send(self, call: Call) -> AiohttpReply:
        """Send `call` and wait for the head of its response.

        A pooled connection that dies before one byte of the response is replaced by a fresh one, once.
        Raises `Fault` of kind DNS, CONNECT, CONNECT_TIMEOUT, TLS, RESET or PROTOCOL.
        """
        try:
            route = self._routes.get(call.url)
            if route is None:
                if len(self._routes) >= _ROUTES:
                    self._routes.clear()
                route = self._routes[call.url] = _route(call.url, self._proxies)
            head = _request_head(route, call)
        except ValueError:
            raise Fault(FaultKind.PROTOCOL, "the request cannot be written as HTTP/1.1") from None
        connection = await _connect(self._pooled, route, call.connect_timeout)
        wire = _wire_of(connection)
        try:
            return await _exchange(connection, head, call.body, resent=False)
        except Fault as fault:
            if fault.kind is not FaultKind.RESET or wire.served == 1 or wire.heard:
                raise
        connection = await _connect(self._fresh, route, call.connect_timeout)
        return await _exchange(connection, head, call.body, resent=True)

    async def close(self) -> None:
        """Close every connection; replies still open end with RESET."""
        await self._pooled.close()
        await self._fresh.close()
        await self._resolver.close()


def _wire_of(connection: Connection) -> _Wire:
    wire = connection.protocol
    assert isinstance(wire, _Wire)
    return wire


async def _connect(connector: _Connector, route: _Route, seconds: float) -> Connection:
    limits = aiohttp.ClientTimeout(connect=max(seconds, 1e-6), ceil_threshold=math.inf)  # 0 would be no limit
    try:
        return await connector.connect(route.dial, [], limits)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _connect_fault(error) from None


def _connect_fault(error: Exception) -> Fault:
    """What kept a connection from being made, in words that hold no address."""
    kind, detail = FaultKind.CONNECT, "no connection"
    match error:
        case aiohttp.ClientConnectorCertificateError():
            kind, detail = FaultKind.TLS, "the certificate was refused"
        case aiohttp.ClientSSLError(os_error=cause):
            kind, detail = FaultKind.TLS, f"TLS handshake failed ({getattr(cause, 'reason', 'no reason')})"
        case aiohttp.ClientConnectorDNSError() | UnicodeError():
            kind, detail = FaultKind.DNS, "the name was not resolved"
        case aiohttp.ClientHttpProxyError(status=status):
            detail = f"the proxy answered CONNECT with status {status}"
        case TimeoutError() | aiohttp.ClientConnectorError(os_error=TimeoutError()):
            kind, detail = FaultKind.CONNECT_TIMEOUT, "no connection in time"
        case OSError(errno=int() as number):
            detail = f"no connection ({errno.errorcode.get(number, 'unknown error')})"
    return Fault(kind, detail)


async def _exchange(connection: Connection, head: bytes, body: bytes, *, resent: bool) -> AiohttpReply:
    wire = _wire_of(connection)
    try:
        return AiohttpReply(connection, wire, await _answer(wire, head, body), resent=resent)
    except (Fault, asyncio.CancelledError):
        connection.close()
        raise


async def _answer(wire: _Wire, request_head: bytes, body: bytes) -> _Head:
    try:
        wire.speak(request_head, body)
        head = await wire.hear()
    except (aiohttp.ClientError, aiohttp.EofStream, OSError):
        raise Fault(FaultKind.RESET, "the connection was lost before a response") from None
    except HttpProcessingError:
        raise Fault(FaultKind.PROTOCOL, "the response is not HTTP/1.1, or its head is too large") from None
    if not 200 <= head[0].code <= 599:
        raise Fault(FaultKind.PROTOCOL, "the response has an impossible status")
    return head
