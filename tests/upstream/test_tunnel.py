"""What a proxy may answer to CONNECT."""

import asyncio
from typing import Any

import pytest

from proxy.errors import Fault
from proxy.upstream.route import Hop
from proxy.upstream.tunnel import Tunnel

_ORIGIN = Hop(True, "a.example", 443)


class _Socket:
    """A transport that notes what is done to it."""

    def __init__(self) -> None:
        self.written = b""
        self.aborted = False

    def write(self, data: bytes) -> None:
        """Note it."""
        self.written += data

    def abort(self) -> None:
        """Note it."""
        self.aborted = True


def _asked(*parts: bytes, origin: Hop = _ORIGIN, secret: str = "") -> tuple[_Socket, str]:
    """What was said, and the fault that came of the answer in `parts`."""
    socket: Any = _Socket()

    async def main() -> str:
        tunnel = Tunnel()
        tunnel.connection_made(socket)
        asking = asyncio.ensure_future(tunnel.ask(origin, secret))
        await asyncio.sleep(0)
        for part in parts:
            tunnel.data_received(part)
        tunnel.eof_received()
        tunnel.connection_lost(None)
        try:
            assert await asking is socket
        except Fault as fault:
            return fault.detail
        return ""

    detail = asyncio.run(main())
    assert socket.aborted is bool(detail)
    return socket, detail


@pytest.mark.parametrize(
    ("parts", "detail"),
    [
        ([b"HTTP/1.1 200 Connection established\r\n\r\n"], ""),
        ([b"HTTP/1.0 200\r\nx-a: b\r\n\r", b"\n"], ""),
        ([b"HTTP/1.1 407 Auth\r\nx: y\r\n\r\n"], "the proxy answered CONNECT with status 407"),
        ([b"HTTP/1.1 200 OK\r\n\r\nextra"], "the proxy did not answer CONNECT"),
        ([b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 4000], "the proxy did not answer CONNECT"),
        ([b"HTTP/1.1 200 OK\r\n"], "the proxy did not answer CONNECT"),
        ([b"SSH-2.0\r\n\r\n"], "the proxy did not answer CONNECT"),
        ([], "the proxy did not answer CONNECT"),
    ],
)
def test_only_a_whole_2xx_is_a_tunnel(parts: list[bytes], detail: str) -> None:
    """Anything else closes the connection, in words that hold a status at most."""
    assert _asked(*parts)[1] == detail


def test_the_proxy_hears_its_credentials_and_the_origin() -> None:
    """An IPv6 address stands in brackets."""
    socket, _ = _asked(origin=Hop(True, "::1", 8443), secret="Basic abc")
    assert socket.written == (
        b"CONNECT [::1]:8443 HTTP/1.1\r\nhost: [::1]:8443\r\nproxy-authorization: Basic abc\r\n\r\n"
    )
