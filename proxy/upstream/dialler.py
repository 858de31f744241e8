"""How connections are made: the name, TCP to the first address that answers, TLS, a tunnel if need be."""

import asyncio
import errno
import socket
import ssl
from collections.abc import Sequence

from aiohappyeyeballs import start_connection

from proxy.errors import Fault, FaultKind
from proxy.upstream.connection import Connection
from proxy.upstream.resolver import Resolver
from proxy.upstream.route import Hop, Way
from proxy.upstream.sessions import ResumingContext
from proxy.upstream.tunnel import Tunnel

_NEXT_ADDRESS = 0.25  # seconds until the next address is tried beside one that is silent (RFC 8305)


class Dialler:
    """Makes connections. Certificates are judged by `tls`."""

    def __init__(self, resolver: Resolver, tls: ssl.SSLContext) -> None:
        self._resolver = resolver
        self._tls = tls

    async def dial(self, way: Way) -> Connection:
        """A new connection. Raises `Fault` DNS, CONNECT, CONNECT_TIMEOUT or TLS."""
        try:
            return await self._dialled(way)
        except ssl.SSLCertVerificationError:
            raise Fault(FaultKind.TLS, "the certificate was refused") from None
        except ssl.SSLError as error:
            raise Fault(FaultKind.TLS, f"TLS handshake failed ({error.reason or 'no reason'})") from None
        except TimeoutError:
            raise Fault(FaultKind.CONNECT_TIMEOUT, "no connection in time") from None
        except OSError as error:
            number = error.errno
            named = f" ({errno.errorcode.get(number, 'unknown error')})" if number is not None else ""
            raise Fault(FaultKind.CONNECT, f"no connection{named}") from None

    def note(self, connection: Connection) -> None:
        """`connection` has served: its TLS session is good for the next one."""
        if isinstance(self._tls, ResumingContext) and (secured := connection.tls) is not None:
            self._tls.note(secured, asyncio.get_running_loop().time())

    async def close(self) -> None:
        """Look up no more names."""
        await self._resolver.close()

    async def _dialled(self, way: Way) -> Connection:
        sock = await self._reached(way.proxy or way.origin)
        names = [_server_name(hop) for hop in (way.origin, way.proxy) if hop is not None and hop.secure]
        self._expire(names)
        try:
            return await self._spoken(way, sock)
        except BaseException:  # whatever it looks like, a session may be what the server could not bear
            self._forget(names)
            raise

    def _expire(self, names: Sequence[str]) -> None:
        if isinstance(self._tls, ResumingContext):
            now = asyncio.get_running_loop().time()
            for name in names:
                self._tls.expire(name, now)

    def _forget(self, names: Sequence[str]) -> None:
        if isinstance(self._tls, ResumingContext):
            for name in names:
                self._tls.forget(name)

    async def _spoken(self, way: Way, sock: socket.socket) -> Connection:
        """A connection over `sock`, through TLS and a tunnel where there are any."""
        loop = asyncio.get_running_loop()
        first = way.proxy or way.origin
        tls, name = (self._tls, _server_name(first)) if first.secure else (None, None)
        if way.proxy is None or not way.origin.secure:
            _, connection = await loop.create_connection(Connection, sock=sock, ssl=tls, server_hostname=name)
            return connection
        _, tunnel = await loop.create_connection(Tunnel, sock=sock, ssl=tls, server_hostname=name)
        transport = await tunnel.ask(way.origin, way.proxy.authorization)
        connection = Connection()
        secured = await loop.start_tls(
            transport, connection, self._tls, server_hostname=_server_name(way.origin)
        )
        assert secured is not None
        connection.connection_made(secured)
        return connection

    async def _reached(self, hop: Hop) -> socket.socket:
        addresses = await self._resolver.find(hop.host, hop.port)
        if not addresses:
            raise Fault(FaultKind.DNS, "the name was not resolved")
        try:
            return await start_connection(list(addresses), happy_eyeballs_delay=_NEXT_ADDRESS)
        except RuntimeError:  # of uvloop
            raise Fault(FaultKind.CONNECT, "no connection") from None


def _server_name(hop: Hop) -> str:
    """The name a certificate is to have."""
    return hop.host.rstrip(".")
