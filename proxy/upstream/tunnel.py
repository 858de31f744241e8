"""A proxy is asked for a tunnel: one CONNECT, and the answer that decides whether there is one."""

import asyncio
import re
from typing import cast

from proxy.errors import Fault, FaultKind
from proxy.upstream.route import Hop

_ANSWER_LIMIT = 16 * 1024  # in bytes
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?\r\n")


class Tunnel(asyncio.Protocol):
    """Speaks with the proxy until the tunnel is there; then another protocol takes the connection over."""

    def __init__(self) -> None:
        self._answer = bytearray()
        self._answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport

    async def ask(self, origin: Hop, authorization: str) -> asyncio.Transport:
        """Ask for a tunnel to `origin`. Raises `Fault` CONNECT; the connection is closed then."""
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        secret = f"proxy-authorization: {authorization}\r\n" if authorization else ""
        place = f"{host}:{origin.port}"
        self._transport.write(f"CONNECT {place} HTTP/1.1\r\nhost: {place}\r\n{secret}\r\n".encode("ascii"))
        try:
            await self._answered
            self._judge()
        except (Fault, asyncio.CancelledError):
            self._transport.abort()
            raise
        return self._transport

    def _judge(self) -> None:
        status = _STATUS.match(self._answer)
        if status is None or not self._answer.endswith(b"\r\n\r\n"):
            raise Fault(FaultKind.CONNECT, "the proxy did not answer CONNECT")
        if not status[1].startswith(b"2"):
            raise Fault(FaultKind.CONNECT, f"the proxy answered CONNECT with status {int(status[1])}")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The proxy is there."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class is not a subclass of it

    def data_received(self, data: bytes) -> None:
        """More of the answer. Nothing may follow it: in TLS the client speaks first."""
        self._answer += data
        if b"\r\n\r\n" in self._answer or len(self._answer) > _ANSWER_LIMIT:
            self._done()

    def eof_received(self) -> None:
        """The proxy leaves."""
        self._done()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (the loop's signature)
        """The proxy is gone."""
        self._done()

    def _done(self) -> None:
        if not self._answered.done():
            self._answered.set_result(None)
