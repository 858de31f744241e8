"""Tests of `proxy.websocket`: how a connection ends whose client has ceased to read or to answer."""

import asyncio
import gc
import weakref
from typing import Any

import pytest
import uvicorn
from fakes.virtual_loop import passed, run
from uvicorn.server import ServerState

from proxy.sockets import STOPPING
from proxy.websocket import SocketProtocol

HANDSHAKE = (
    b"GET /v1/responses HTTP/1.1\r\nhost: h\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


class Wire(asyncio.Transport):
    """A connection that takes what is written, and never gets rid of it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closing = False
        self.aborted_at: float | None = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Nothing is known of it."""
        return default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take it."""
        self.written += bytes(data)

    def is_closing(self) -> bool:
        """Whether it is to close as soon as all is read."""
        return self.closing

    def close(self) -> None:
        """It would like to."""
        self.closing = True

    def abort(self) -> None:
        """It is over."""
        self.aborted_at = passed()

    def pause_reading(self) -> None:
        """Nothing comes anyway."""

    def resume_reading(self) -> None:
        """Nothing comes anyway."""


class App:
    """An application that accepts, and hears until it is told to end."""

    def __init__(self, *, accepts: bool = True) -> None:
        self.heard: list[Any] = []
        self._accepts = accepts
        self.end = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        await receive()
        if self._accepts:
            await send({"type": "websocket.accept"})
            self.heard.append(await receive())
        await self.end.wait()


def opened(app: App, handshake: bytes = HANDSHAKE) -> tuple[SocketProtocol, Wire]:
    """A connection on which this handshake has come."""
    config = uvicorn.Config(app, ws=SocketProtocol, log_config=None, log_level="critical")
    config.load()
    protocol, wire = SocketProtocol(config, ServerState(), {}), Wire()
    protocol.connection_made(wire)
    protocol.data_received(handshake)
    return protocol, wire


def test_a_client_that_answers_no_ping_is_dropped() -> None:
    """It is told so, and has as long to take it as any that closes."""

    async def scenario() -> None:
        app = App()
        protocol, wire = opened(app)
        await asyncio.sleep(1.0)
        protocol.keepalive_timeout()
        assert wire.closing
        await asyncio.sleep(protocol.close_timeout + 1.0)
        assert wire.aborted_at == 1.0 + protocol.close_timeout
        protocol.connection_lost(None)
        app.end.set()
        await asyncio.sleep(0.1)

    run(scenario())


def test_a_client_that_reads_nothing_does_not_keep_its_connection() -> None:
    """The application has ended, and what it wrote is still there."""

    async def scenario() -> None:
        app = App()
        protocol, wire = opened(app)
        await asyncio.sleep(1.0)
        protocol.shutdown()
        app.end.set()
        await asyncio.sleep(protocol.close_timeout + 1.0)
        assert wire.aborted_at == 1.0 + protocol.close_timeout
        protocol.connection_lost(None)

    run(scenario())


def test_the_application_is_told_that_the_server_stops() -> None:
    """In a way that no client can say; the connection stays until it is done."""

    async def scenario() -> None:
        app = App()
        protocol, wire = opened(app)
        await asyncio.sleep(0.1)
        protocol.shutdown()
        await asyncio.sleep(0.1)
        (told,) = app.heard
        assert (told["type"], told["code"], told[STOPPING]) == ("websocket.disconnect", 1012, True)
        assert not wire.closing
        app.end.set()
        await asyncio.sleep(0.1)
        protocol.connection_lost(None)

    run(scenario())


def test_a_connection_that_is_not_open_yet_is_refused_when_the_server_stops() -> None:
    """There is no turn to wait for."""

    async def scenario() -> None:
        app = App(accepts=False)
        protocol, wire = opened(app)
        await asyncio.sleep(0.1)
        protocol.shutdown()
        assert wire.closing
        assert wire.written.startswith(b"HTTP/1.1 500 ")
        app.end.set()
        await asyncio.sleep(0.1)

    run(scenario())


def test_a_connection_that_is_lost_is_freed_at_once() -> None:
    """With what it has compressed with: nothing waits for the garbage collector."""

    async def scenario() -> weakref.ref[object]:
        app = App()
        protocol, _ = opened(app)
        await asyncio.sleep(0.1)
        left: weakref.ref[object] = weakref.ref(protocol.conn)
        protocol.connection_lost(None)
        app.end.set()
        await asyncio.sleep(0.1)
        return left

    gc.disable()
    try:
        assert run(scenario())() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("more", [b"x: " + b"x" * 10_000, b"\r\n".join(b"x-%d: y" % n for n in range(200))])
def test_a_handshake_that_cannot_be_read_is_refused(more: bytes) -> None:
    """Nobody would ever look at the connection again."""

    async def scenario() -> None:
        _, wire = opened(App(), HANDSHAKE[:-2] + more + b"\r\n\r\n")
        assert wire.closing
        head, _, body = wire.written.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert b"content-length: %d" % len(body) in head
        assert b'"message"' in body

    run(scenario())
