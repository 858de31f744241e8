"""A way for what speaks httpx: an `httpx.AsyncBaseTransport` over a transport of ours.

For extensions, scripts and SDKs that take an `httpx.AsyncClient`; the proxy itself calls the seam. Redirects,
cookies, decoding and authentication stay httpx's own. Of its four timeouts `connect` covers everything until
there is a connection, `pool` included, and `read` bounds each wait for the head or for bytes. `write` has no
meaning, for nobody waits until a request is written.
"""

import asyncio
from collections.abc import AsyncIterator

import httpx

from proxy.errors import Fault, FaultKind
from proxy.upstream.seam import Call, Reply, Upstream

_WRITTEN_BY_US = frozenset(
    {"accept-encoding", "connection", "content-length", "host", "keep-alive", "transfer-encoding"}
)
_CONNECT = 5.0  # seconds, where httpx names no timeout: then there would be none
_ERRORS: dict[FaultKind, type[httpx.TransportError]] = {
    FaultKind.DNS: httpx.ConnectError,
    FaultKind.CONNECT: httpx.ConnectError,
    FaultKind.TLS: httpx.ConnectError,
    FaultKind.CONNECT_TIMEOUT: httpx.ConnectTimeout,
    FaultKind.RESET: httpx.ReadError,
    FaultKind.TRUNCATED: httpx.RemoteProtocolError,
    FaultKind.PROTOCOL: httpx.RemoteProtocolError,
}


class UpstreamTransport(httpx.AsyncBaseTransport):
    """Sends over `upstream`, which stays its owner's to close. A streamed request is collected first."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See `httpx.AsyncBaseTransport`."""
        timeouts: dict[str, float | None] = request.extensions.get("timeout", {})
        read = timeouts.get("read")
        connect = timeouts.get("connect")
        call = Call(
            request.method,
            str(request.url),
            tuple((name, value) for name, value in _headers(request) if name not in _WRITTEN_BY_US),
            await request.aread(),
            _CONNECT if connect is None else connect,
        )
        patience = None if read is None else call.connect_timeout + read
        try:
            async with asyncio.timeout(patience):
                reply = await self._upstream.send(call)
        except TimeoutError:
            raise httpx.ReadTimeout("no response in time", request=request) from None
        except Fault as fault:
            raise _error(fault, request) from None
        return httpx.Response(
            reply.status,
            headers=[
                (name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers.items()
            ],
            stream=_Body(reply, read, request),
            request=request,
        )


class _Body(httpx.AsyncByteStream):
    """The body of `reply`, as it arrives; `patience` bounds each wait, in seconds."""

    def __init__(self, reply: Reply, patience: float | None, request: httpx.Request) -> None:
        self._reply = reply
        self._patience = patience
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Each part of it."""
        while part := await self._read():
            yield part

    async def aclose(self) -> None:
        """Let the reply go."""
        self._reply.close()

    async def _read(self) -> bytes:
        try:
            async with asyncio.timeout(self._patience):
                return await self._reply.read()
        except TimeoutError:
            raise httpx.ReadTimeout("no bytes in time", request=self._request) from None
        except Fault as fault:
            raise _error(fault, self._request) from None


def _headers(request: httpx.Request) -> list[tuple[str, str]]:
    return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in request.headers.raw]


def _error(fault: Fault, request: httpx.Request) -> httpx.TransportError:
    return _ERRORS.get(fault.kind, httpx.TransportError)(fault.detail, request=request)
