"""The transport: pools of connections of our own, on httptools and bare asyncio protocols.

The hot path is short: the route of a URL is known, an idle connection is popped, the request leaves in one
write, and one future is waited for until the head is there. Where the body came along with it, reading waits
for nothing. No task and no timer is made for a request on a pooled connection.
"""

import asyncio
import ssl
from collections.abc import Mapping

from proxy.errors import Fault, FaultKind
from proxy.upstream.connection import Connection
from proxy.upstream.dialler import Dialler
from proxy.upstream.egress import Proxies
from proxy.upstream.pool import Idleness, Pool
from proxy.upstream.resolver import Resolver, look_up
from proxy.upstream.route import Route, Routes, Way
from proxy.upstream.seam import Call, Taker
from proxy.upstream.sessions import verifying_context

_CLOSING_TURNS = 4  # of the event loop, until the sockets of aborted connections are closed, TLS or not

_CROSSING = 1.0  # seconds in which a close by a server that has not seen the request reaches us

_HEAD_FAULTS = {
    FaultKind.RESET: "the connection was lost before a response",
    FaultKind.PROTOCOL: "the response is not HTTP/1.1, or its head is too large",
}
_BODY_FAULTS = {
    FaultKind.TRUNCATED: "the connection broke off within the answer",
    FaultKind.RESET: "the connection was reset within the body",
    FaultKind.PROTOCOL: "the body is framed wrongly",
}


class PooledReply:
    """The response to a `Call`; see `seam.Reply`."""

    __slots__ = ("_connection", "_fault", "headers", "resent", "status")

    def __init__(self, connection: Connection, *, resent: bool) -> None:
        self._connection: Connection | None = connection
        self._fault: FaultKind | None = None
        self.status = connection.status
        self.headers: Mapping[str, str] = connection.headers
        self.resent = resent

    async def read(self) -> bytes:
        """The next bytes of the body; b"" at its end. Raises `Fault` TRUNCATED, RESET or PROTOCOL."""
        connection = self._connection
        if connection is not None and not connection.readable and not connection.ended:
            try:
                await connection.news()
            except asyncio.CancelledError:
                self.close()
                raise
            connection = self._connection
        if connection is not None:
            part = connection.take() if connection.readable else b""
            if connection.ended:
                self.close()
            if part:
                return part
        if self._fault is not None:
            raise Fault(self._fault, _BODY_FAULTS[self._fault], status=self.status)
        return b""

    async def pour(self, taker: Taker) -> None:
        """Hand on what comes of the body, until `taker` wants no more or something has to be read."""
        connection = self._connection
        if connection is not None and not connection.readable and not connection.ended:
            try:
                await connection.pour(taker)
            except asyncio.CancelledError:
                self.close()
                raise

    def close(self) -> None:
        """Give the connection back if the body has come to its end, else close it at once."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._fault = connection.leave()


class PooledUpstream:
    """A pool of connections to every origin; see `seam.Upstream`.

    To be made inside the event loop that uses it. `environment` names the proxies. Certificates are
    verified against the system's authorities and those of `ca_file` (PEM), or by `tls`, the caller's own
    context, which `ca_file` is then added to. `limit` bounds the open connections to each origin (0: no
    bound); waiting for one counts as connecting. An idle connection is kept for `keep_alive` seconds.
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
        self._loop = asyncio.get_running_loop()
        if tls is None:
            tls = verifying_context()
        if ca_file is not None:
            tls.load_verify_locations(ca_file)
        self._tls = tls
        self._limit = limit
        self._keep_alive = keep_alive
        self._idleness = Idleness(keep_alive)
        self._pools: dict[Way, Pool] = {}
        self._routes = Routes(Proxies(environment), self._pool)
        self._dialler = Dialler(Resolver(look_up, self._loop.time), tls)
        self._closed = False

    async def send(self, call: Call) -> PooledReply:
        """Send `call` and wait for the head of its response.

        A pooled connection that dies within a second, before one byte of the response, is replaced by a
        fresh one, once: the server had closed it before the request came. Later it may have worked on it.
        Raises `Fault` of kind DNS, CONNECT, CONNECT_TIMEOUT, TLS, RESET or PROTOCOL.
        """
        try:
            route = self._routes.of(call.url)
            request = route.request(call)
        except ValueError:
            raise Fault(FaultKind.PROTOCOL, "the request cannot be written as HTTP/1.1") from None
        connection = route.pool.take()
        if connection is None:
            connection = await self._connect(route, call.connect_timeout, fresh=False)
        head_only = call.method == "HEAD"
        fault = await _exchange(connection, request, head_only=head_only)
        if fault is None:
            return PooledReply(connection, resent=False)
        if (
            fault is not FaultKind.RESET
            or connection.heard
            or not connection.reused
            or self._is_late(connection)
        ):
            raise Fault(fault, _HEAD_FAULTS[fault])
        connection = await self._connect(route, call.connect_timeout, fresh=True)
        fault = await _exchange(connection, request, head_only=head_only)
        if fault is not None:
            raise Fault(fault, _HEAD_FAULTS[fault])
        return PooledReply(connection, resent=True)

    async def close(self) -> None:
        """Close every connection; replies still open end with RESET."""
        self._closed = True
        self._idleness.end()
        for pool in self._pools.values():
            pool.close()
        await self._dialler.close()
        for _ in range(_CLOSING_TURNS):
            await asyncio.sleep(0)

    def _pool(self, way: Way) -> Pool:
        pool = self._pools.get(way)
        if pool is None:
            pool = self._pools[way] = Pool(
                self._limit, self._keep_alive, self._idleness.begin, self._dialler.note
            )
            self._idleness.pools.append(pool)
        return pool

    async def _connect(self, route: Route, seconds: float, *, fresh: bool) -> Connection:
        """A connection that is handed over, or a new one; with `fresh` always a new one."""
        pool = route.pool
        try:
            async with asyncio.timeout(seconds):
                connection = await pool.place(fresh=fresh)
                if connection is not None:
                    return connection
                try:
                    self._refuse_if_closed()
                    connection = await self._dialler.dial(route.way)
                except BaseException:
                    pool.free()
                    raise
        except TimeoutError:
            raise Fault(FaultKind.CONNECT_TIMEOUT, "no connection in time") from None
        pool.adopt(connection)
        if self._closed:
            connection.abort()
            self._refuse_if_closed()
        return connection

    def _is_late(self, connection: Connection) -> bool:
        return self._loop.time() - connection.spoke > _CROSSING

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise Fault(FaultKind.CONNECT, "no connection: the transport is closed")


async def _exchange(
    connection: Connection, request: tuple[bytes, ...], *, head_only: bool
) -> FaultKind | None:
    """Write `request` and wait for the head of its response, or for what keeps it from coming."""
    connection.speak(request, head_only=head_only)
    if not connection.ended:
        try:
            await connection.news()
        except asyncio.CancelledError:
            connection.abort()
            raise
    return None if connection.headed else connection.fault
