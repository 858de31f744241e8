"""Tests of `proxy.listener`: ports, the end of serving, and WebSockets as uvicorn serves them."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import pytest
from test_client_connection import HANDSHAKE, POST, SOCKET, SOCKETS, App, Gate, Port, refused
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from proxy.config.settings import Bounds, Config
from proxy.listener import Listener, bind

Application = Callable[..., Coroutine[Any, Any, None]]
_BLOCK = 2048
_KEEP_ALIVE = 5.0


class Open(Port):
    """A listener that runs."""

    def __init__(self, listener: Listener, port: int, serving: asyncio.Future[None]) -> None:
        super().__init__(port)
        self.listener = listener
        self.serving = serving


@contextlib.asynccontextmanager
async def opened(
    app: Application,
    *,
    keep_alive: float = _KEEP_ALIVE,
    sockets: frozenset[str] = frozenset(),
    **bounds: object,
) -> AsyncIterator[Open]:
    """A listener with small bounds before `app`."""
    limits = Bounds.model_validate({"header_block": _BLOCK, **bounds})
    listener = Listener(app, keep_alive, limits, sockets)
    sock = bind("127.0.0.1", 0, shared=False)
    port = sock.getsockname()[1]
    serving = asyncio.ensure_future(listener.serve([sock]))
    await listener.up.wait()
    there = Open(listener, port, serving)
    try:
        yield there
    finally:
        await there.hang_up()
        listener.stop()
        await serving


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run a scenario, for at most ten seconds."""

    async def main() -> None:
        async with asyncio.timeout(10.0):
            await scenario()

    asyncio.run(main())


MASKED_HI = b"\x81\x82\0\0\0\0Hi"
"""A text frame as clients send it (RFC 6455 5.2), under a mask that changes nothing."""


class Echo:
    """A WebSocket application that says what it hears, in capitals, and `bye` where the server stops."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.left: list[int] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        self.paths.append(scope["path"])
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"].upper()})
        self.left.append(message["code"])
        if message["code"] == 1012:
            await send({"type": "websocket.send", "text": "bye"})
            await send({"type": "websocket.close", "code": 1012})


def test_a_socket_opens_where_there_is_one() -> None:
    """On its own path, and for as long as both sides like: an idle one is no idle HTTP connection."""

    async def scenario() -> None:
        app = Echo()
        async with opened(app, keep_alive=0.0, sockets=SOCKETS) as there:
            async with connect(f"ws://127.0.0.1:{there.port}{SOCKET}?a=b") as socket_:
                for word in ("one", "two", "three"):
                    await socket_.send(word)
                    assert await socket_.recv() == word.upper()
            with pytest.raises(InvalidStatus):
                await connect(f"ws://127.0.0.1:{there.port}{SOCKET}/x")
        assert app.paths == [SOCKET]

    run(scenario)


def test_what_comes_right_behind_a_handshake_is_heard() -> None:
    """A client need not wait for the answer to send its first message, nor send all of its head at once."""

    async def scenario() -> None:
        async with opened(Echo(), sockets=SOCKETS) as there:
            line = await there.connect()
            line.send(HANDSHAKE[:50])
            await asyncio.sleep(0)
            line.send(HANDSHAKE[50:] + MASKED_HI)
            head = await line.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 ")
            assert await line.reader.readexactly(4) == b"\x81\x02HI"

    run(scenario)


def test_a_socket_may_end_what_it_is_at_when_the_server_stops() -> None:
    """It is told that the server is going, and closes when it is done."""

    async def scenario() -> None:
        app = Echo()
        async with opened(app, sockets=SOCKETS) as there:
            socket_ = await connect(f"ws://127.0.0.1:{there.port}{SOCKET}")
            there.listener.stop()
            assert await socket_.recv() == "bye"
            with pytest.raises(ConnectionClosed):
                await socket_.recv()
            await there.serving
            assert (app.left, socket_.close_code) == ([1012], 1012)

    run(scenario)


def test_stopping_ends_idle_connections_and_cuts_hanging_requests() -> None:
    """Idle ones go at once; a request that does not end goes when it is cut."""

    async def scenario() -> None:
        app = App(hang=True)
        async with opened(app) as there:
            idle, busy = await there.connect(), await there.connect()
            busy.send(POST % 0)
            await app.entered.wait()
            there.listener.stop()
            assert await idle.closed()
            assert not app.gone.is_set()
            await there.listener.cut()
            await app.gone.wait()
            await there.serving
            with pytest.raises(ConnectionRefusedError):
                await there.connect()

    run(scenario)


def test_a_port_can_be_shared_or_not() -> None:
    """Two sockets on one port need that both say so; IPv6 addresses are known by their colon."""
    first = bind("127.0.0.1", 0, shared=True)
    port = first.getsockname()[1]
    second = bind("127.0.0.1", port, shared=True)
    with pytest.raises(OSError, match="in use"):
        bind("127.0.0.1", port, shared=False)
    first.close()
    second.close()
    if socket.has_ipv6:
        with contextlib.suppress(OSError), bind("::1", 0, shared=False) as six:
            assert six.family is socket.AF_INET6


def test_one_that_leaves_answers_each_connection_once_more() -> None:
    """What is asked while it does, on old connections and new ones, is told that it is the last."""

    async def scenario() -> None:
        app = App()
        async with opened(app) as there:
            kept, idle = await there.connect(), await there.connect()
            kept.send(POST % 2 + b"ab")
            _, headers, _ = await kept.whole_answer()
            assert "connection" not in headers
            kept.send(POST % 2)
            while app.calls < 2:  # noqa: ASYNC110  (an application cannot be awaited)
                await asyncio.sleep(0.01)
            there.listener.leave()
            kept.send(b"ab")
            for line in (kept, idle, await there.connect()):
                if line is not kept:
                    line.send(POST % 2 + b"ab")
                status, headers, _ = await line.whole_answer()
                assert (status, headers["connection"]) == (200, "close")
                await line.cut()

    run(scenario)


def test_a_request_whose_head_has_begun_is_answered_though_the_server_stops() -> None:
    """An idle connection is closed at once."""

    async def scenario() -> None:
        async with opened(App()) as there:
            late, idle = await there.connect(), await there.connect()
            request = POST % 2 + b"ab"
            late.send(request[:20])
            await asyncio.sleep(0.1)
            there.listener.leave()
            there.listener.stop()
            await idle.cut()
            late.send(request[20:])
            status, headers, _ = await late.whole_answer()
            assert (status, headers["connection"]) == (200, "close")
            await there.serving

    run(scenario)


def test_other_bounds_hold_for_connections_there_are() -> None:
    """The next request on a connection that was kept is measured by them."""

    async def scenario() -> None:
        async with opened(App()) as there:
            line = await there.connect()
            long = b"GET / HTTP/1.1\r\nhost: h\r\nx: %b\r\n\r\n" % (b"x" * 1500)
            line.send(long)
            assert (await line.answer())[0] == 200
            there.listener.renew(Config.model_validate({"bounds": {"header_block": 1024}}))
            line.send(long)
            await refused(line, 431)

    run(scenario)


def test_one_that_is_cut_begins_nothing_more() -> None:
    """What waits behind a request that had its last words goes unanswered, and serving ends."""

    async def scenario() -> None:
        app = Gate()
        async with opened(app) as there:
            line = await there.connect()
            line.send(b"GET /a HTTP/1.1\r\n\r\n" * 3)
            await app.entered.wait()
            there.listener.stop()
            await there.listener.cut()
            assert await line.answer() == (200, b"/a")
            await line.cut()
            await there.serving
            assert app.calls == 1

    run(scenario)


def test_one_that_was_only_stopped_says_so_too() -> None:
    """A head that has begun to come is answered, and its connection is not kept."""

    async def scenario() -> None:
        async with opened(App()) as there:
            late = await there.connect()
            late.send((POST % 0)[:20])
            await asyncio.sleep(0.05)
            there.listener.stop()
            await asyncio.sleep(0.15)
            late.send((POST % 0)[20:])
            _, headers, _ = await late.whole_answer()
            assert headers["connection"] == "close"
            await there.serving

    run(scenario)
