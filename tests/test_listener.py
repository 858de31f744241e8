"""Tests of `proxy.listener` over loopback: the bounds that uvicorn lacks, and how a port is closed."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from proxy.config.settings import Bounds
from proxy.listener import Listener, Port, bind

Application = Callable[..., Awaitable[None]]
_BLOCK = 2048


class App:
    """An application that reads the body and answers with its size; it notes who left."""

    def __init__(self, *, hang: bool = False, early: bool = False) -> None:
        self.hang = hang
        self.early = early
        self.calls = 0
        self.targets: list[bytes] = []
        self.gone = asyncio.Event()
        self.entered = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        self.calls += 1
        self.targets.append(scope["raw_path"])
        size = 0
        more = not self.early
        try:
            self.entered.set()
            if self.hang:
                await asyncio.Event().wait()
            while more:
                message = await receive()
                size += len(message.get("body", b""))
                more = message.get("more_body", False)
        except asyncio.CancelledError:
            self.gone.set()
            return
        body = b"%d" % size
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 413 if self.early else 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Line:
    """One client connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        """Write, and wait for nothing."""
        self.writer.write(data)

    async def answer(self) -> tuple[int, bytes]:
        """The status and body of the next answer."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        lines = head.decode().lower().split("\r\n")
        length = next(int(line.split(":")[1]) for line in lines if line.startswith("content-length"))
        return int(head.split()[1]), await self.reader.readexactly(length)

    async def closed(self) -> bool:
        """Whether the server has nothing more to say."""
        return await self.reader.read() == b""


class Open:
    """A listener that runs."""

    def __init__(self, listener: Listener, port: int, serving: asyncio.Future[None]) -> None:
        self.listener = listener
        self.port = port
        self.serving = serving
        self._lines: list[Line] = []

    async def connect(self) -> Line:
        """A new client connection, closed with the listener."""
        self._lines.append(Line(*await asyncio.open_connection("127.0.0.1", self.port)))
        return self._lines[-1]

    async def hang_up(self) -> None:
        """Close all client connections."""
        for line in self._lines:
            line.writer.close()
            with contextlib.suppress(OSError):
                await line.writer.wait_closed()


@contextlib.asynccontextmanager
async def opened(app: Application, drain: float = 5.0, **bounds: object) -> AsyncIterator[Open]:
    """A listener with small bounds before `app`."""
    listener = Listener(app, Port(5.0, drain), Bounds.model_validate({"header_block": _BLOCK, **bounds}))
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


def message_of(body: bytes) -> str:
    """The text of an error in the shape that every error has."""
    error = json.loads(body)["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return str(error["message"])


POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n"


def test_requests_follow_each_other_on_one_connection() -> None:
    """What is within the bounds is answered, one after another and pipelined."""

    async def scenario() -> None:
        app = App()
        async with opened(app) as there:
            line = await there.connect()
            line.send(POST % 5 + b"hello" + POST % 2 + b"ok")
            assert [await line.answer(), await line.answer()] == [(200, b"5"), (200, b"2")]
            line.send(POST % 3 + b"end")
            assert await line.answer() == (200, b"3")
            assert app.calls == 3

    run(scenario)


@pytest.mark.parametrize("at_once", [True, False])
def test_a_header_block_beyond_the_bound_is_refused(at_once: bool) -> None:
    """Whether it comes in one read or never ends: 431, no request, and the connection is closed."""

    async def scenario() -> None:
        app = App()
        async with opened(app) as there:
            line = await there.connect()
            line.send(b"GET / HTTP/1.1\r\nx-big: " + b"a" * (2 * _BLOCK) + (b"\r\n\r\n" if at_once else b""))
            status, body = await line.answer()
            assert (status, message_of(body)) == (431, "The request headers are too large.")
            assert await line.closed()
            assert app.calls == 0

    run(scenario)


def test_a_large_body_does_not_count_as_headers() -> None:
    """Only what comes before the empty line does, also on the next request of the connection."""

    async def scenario() -> None:
        async with opened(App()) as there:
            line = await there.connect()
            for _ in range(2):
                line.send(POST % (50 * _BLOCK) + b"x" * (50 * _BLOCK))
                assert await line.answer() == (200, b"%d" % (50 * _BLOCK))

    run(scenario)


def test_headers_that_take_too_long_are_refused() -> None:
    """A byte now and then does not move the deadline; a connection that says nothing has it too."""

    async def scenario() -> None:
        async with opened(App(), header_read=0.2) as there:
            slow, silent = await there.connect(), await there.connect()
            slow.send(b"GET / HTTP/1.1\r\n")

            async def drip() -> None:
                while True:
                    slow.send(b"x: y\r\n")
                    await asyncio.sleep(0.05)

            dripping = asyncio.ensure_future(drip())
            for line in (slow, silent):
                status, body = await line.answer()
                assert (status, message_of(body)) == (408, "The request headers did not arrive in time.")
            dripping.cancel()

    run(scenario)


def test_what_is_no_http_is_answered_in_json() -> None:
    """The parser's refusal has the shape of all others."""

    async def scenario() -> None:
        async with opened(App()) as there:
            line = await there.connect()
            line.send(b"\x16\x03\x01 this is TLS\r\n\r\n")
            status, body = await line.answer()
            assert status == 400
            assert message_of(body)
            assert await line.closed()

    run(scenario)


def test_a_client_that_leaves_ends_its_request() -> None:
    """The task is cancelled when the connection is lost, though it waits for nothing of the client's."""

    async def scenario() -> None:
        app = App(hang=True)
        async with opened(app) as there:
            line = await there.connect()
            line.send(POST % 0)
            await app.entered.wait()
            line.writer.close()
            await app.gone.wait()

    run(scenario)


def test_an_answer_before_the_end_of_the_body_can_be_read() -> None:
    """The rest of a refused body is read and dropped, and the connection serves on."""

    async def scenario() -> None:
        app = App(early=True)
        async with opened(app) as there:
            line = await there.connect()
            line.send(POST % 2_000_000)
            assert await line.answer() == (413, b"0")
            line.send(b"x" * 2_000_000)
            line.send(POST % 0)
            assert await line.answer() == (413, b"0")

    run(scenario)


def test_a_hash_in_a_path_belongs_to_it() -> None:
    """A request target has no fragment, so `#` in a model's name needs no escape."""

    async def scenario() -> None:
        app = App()
        async with opened(app) as there:
            line = await there.connect()
            line.send(b"GET /v1/models/gpt#azure HTTP/1.1\r\nhost: h\r\n\r\n")
            await line.answer()
            assert app.targets == [b"/v1/models/gpt%23azure"]

    run(scenario)


def test_stopping_ends_idle_connections_and_cuts_hanging_requests() -> None:
    """Idle ones go at once; a request that does not end goes with the drain time."""

    async def scenario() -> None:
        app = App(hang=True)
        async with opened(app, drain=0.1) as there:
            idle, busy = await there.connect(), await there.connect()
            busy.send(POST % 0)
            await app.entered.wait()
            there.listener.stop()
            assert await idle.closed()
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
