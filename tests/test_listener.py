"""Tests of `proxy.listener` over loopback: the bounds that uvicorn lacks, and how a port is closed."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from proxy.config.settings import Bounds, Config
from proxy.listener import Listener, bind

Application = Callable[..., Awaitable[None]]
_BLOCK = 2048
_KEEP_ALIVE = 5.0


class App:
    """An application that reads the body and answers with its size; it notes who left."""

    def __init__(self, *, hang: bool = False, early: bool = False) -> None:
        self.hang = hang
        self.early = early
        self.calls = 0
        self.targets: list[bytes] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.bodies: list[bytes] = []
        self.gone = asyncio.Event()
        self.entered = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        self.calls += 1
        self.targets.append(scope["raw_path"])
        got = b""
        more = not self.early
        try:
            self.entered.set()
            if self.hang:
                await asyncio.Event().wait()
            while more:
                message = await receive()
                got += message.get("body", b"")
                more = message.get("more_body", False)
        except asyncio.CancelledError:
            self.gone.set()
            return
        self.headers = scope["headers"]
        self.bodies.append(got)
        body = b"%d" % len(got)
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
        status, _, body = await self.whole_answer()
        return status, body

    async def whole_answer(self) -> tuple[int, dict[str, str], bytes]:
        """The status, headers and body of the next answer."""
        first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await self.reader.readexactly(int(headers["content-length"]))
        return int(first.split()[1]), headers, body

    async def cut(self) -> None:
        """Wait until the server has closed or reset the connection without another word."""
        with contextlib.suppress(ConnectionError):  # sooner than an idle connection is closed
            assert await asyncio.wait_for(self.closed(), _KEEP_ALIVE - 1.0)

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


def message_of(body: bytes) -> str:
    """The text of an error in the shape that every error has."""
    error = json.loads(body)["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return str(error["message"])


async def refused(line: Line, status: int) -> str:
    """The next answer is a refusal of the listener's own, and the last; what it says."""
    got, headers, body = await line.whole_answer()
    assert got == status
    assert headers["x-request-id"] == headers["request-id"]
    assert (headers["x-apex-attempts"], headers["connection"]) == ("0", "close")
    await line.cut()
    return message_of(body)


POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n"
CHUNKED = b"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"


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
            assert await refused(line, 431) == "The request headers are too large."
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
                assert await refused(line, 408) == "The request headers did not arrive in time."
            dripping.cancel()

    run(scenario)


def test_what_is_no_http_is_answered_in_json() -> None:
    """The parser's refusal has the shape of all others."""

    async def scenario() -> None:
        async with opened(App()) as there:
            line = await there.connect()
            line.send(b"\x16\x03\x01 this is TLS\r\n\r\n")
            assert await refused(line, 400) == "Invalid HTTP request received."

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


def test_trailers_are_dropped() -> None:
    """They come after the headers were acted on, and are none of them."""

    async def scenario() -> None:
        app = App()
        async with opened(app) as there:
            line = await there.connect()
            for _ in range(2):
                line.send(CHUNKED + b"2\r\nhi\r\n0\r\nauthorization: Bearer x\r\nupgrade: h2c\r\n\r\n")
                assert await line.answer() == (200, b"2")
                assert app.headers == [(b"host", b"h"), (b"transfer-encoding", b"chunked")]

    run(scenario)


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize(
    "endless", [b"0\r\nx: " + b"a" * 64, b"0\r\n" + b"x: y\r\n" * 8, b"1;x=" + b"a" * 64]
)
def test_what_is_no_body_has_a_bound(endless: bytes, early: bool) -> None:
    """A trailer without end, trailers without end, a chunk's extension: beyond the bound the client goes."""

    async def scenario() -> None:
        app = App(early=early)
        async with opened(app) as there:
            line = await there.connect()
            line.send(CHUNKED + b"2\r\nhi\r\n")
            await app.entered.wait()
            if early:
                await line.answer()
            line.send(endless)
            line.send(endless[-6:] * _BLOCK)
            await line.cut()
            if not early:
                await app.gone.wait()

    run(scenario)


def test_trailers_within_the_bound_are_read_over() -> None:
    """A client may send them after it was answered, too."""

    async def scenario() -> None:
        async with opened(App(early=True)) as there:
            line = await there.connect()
            for _ in range(3):
                line.send(CHUNKED)
                assert (await line.answer())[0] == 413
                line.send(b"2\r\nhi\r\n0\r\n" + b"x: y\r\n" * (_BLOCK // 8) + b"\r\n")

    run(scenario)


def test_what_follows_an_answer_has_a_bound() -> None:
    """Every byte of it counts, not only those of the body."""

    async def scenario() -> None:
        async with opened(App(early=True)) as there:
            line = await there.connect()
            line.send(CHUNKED)
            await line.answer()
            line.send((b"1;x=" + b"a" * 1000 + b"\r\nx\r\n") * 66 * 1024)
            await line.cut()

    run(scenario)


def test_the_rest_of_an_answered_body_has_a_deadline() -> None:
    """A byte now and then does not move it."""

    async def scenario() -> None:
        async with opened(App(early=True), body_read=0.2) as there:
            line = await there.connect()
            line.send(POST % 1000)
            await line.answer()

            async def drip() -> None:
                while True:
                    line.send(b"x")
                    await asyncio.sleep(0.02)

            dripping = asyncio.ensure_future(drip())
            await line.cut()
            dripping.cancel()

    run(scenario)


def test_a_rest_that_comes_in_time_leaves_the_connection_to_use() -> None:
    """The deadline is that of one body, not of the connection."""

    async def scenario() -> None:
        async with opened(App(early=True), body_read=0.1) as there:
            line = await there.connect()
            for _ in range(2):
                line.send(POST % 1000)
                assert (await line.answer())[0] == 413
                line.send(b"x" * 1000)
                await asyncio.sleep(0.2)
            line.send(POST % 0)
            assert (await line.answer())[0] == 413

    run(scenario)


def test_headers_behind_an_answered_body_are_counted_alone() -> None:
    """A head that begins in the same read as a large body ends is not too large."""

    async def scenario() -> None:
        async with opened(App(early=True)) as there:
            line = await there.connect()
            line.send(POST % (10 * _BLOCK))
            await line.answer()
            head = POST % 0
            line.send(b"x" * (10 * _BLOCK) + head[:20])
            await asyncio.sleep(0.05)
            line.send(head[20:])
            assert (await line.answer())[0] == 413

    run(scenario)


UPGRADE = b"host: h\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAA\r\n"
INNER = b"GET /inner HTTP/1.1\r\nhost: h\r\n\r\n"
SIZED = b"POST /a HTTP/1.1\r\n" + UPGRADE + b"content-length: %d\r\n\r\n" % len(INNER) + INNER
PARTED = (
    b"POST /b HTTP/1.1\r\n"
    + UPGRADE
    + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\nx: y\r\n\r\n" % (len(INNER), INNER)
)
BARE = b"GET /c HTTP/1.1\r\n" + UPGRADE + b"\r\n"
ZERO = b"POST /d HTTP/1.1\r\n" + UPGRADE + b"content-length: 0\r\n\r\n"


@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_a_request_to_upgrade_is_served_as_it_is(step: int) -> None:
    """Body and all, however it comes in, and the next request begins exactly where the body ends."""

    async def scenario() -> None:
        app = App()
        data = (SIZED + PARTED + BARE + ZERO + POST % 2 + b"ok" + PARTED + SIZED) * 2
        async with opened(app) as there:
            line = await there.connect()
            for start in range(0, len(data), step):
                line.send(data[start : start + step])
                await asyncio.sleep(0)
            for _ in range(14):
                assert (await line.answer())[0] == 200
        assert app.targets == [b"/a", b"/b", b"/c", b"/d", b"/v1/chat/completions", b"/b", b"/a"] * 2
        assert app.bodies == [INNER, INNER, b"", b"", b"ok", INNER, INNER] * 2

    run(scenario)


def test_requests_to_upgrade_follow_each_other() -> None:
    """The connection stays what it was: one answer after another, also before the body has come."""

    async def scenario() -> None:
        app = App(early=True)
        async with opened(app) as there:
            line = await there.connect()
            for request in (SIZED, PARTED, BARE, SIZED):
                head, _, body = request.partition(b"\r\n\r\n")
                line.send(head + b"\r\n\r\n")
                assert (await line.answer())[0] == 413
                line.send(body)
            assert app.calls == 4

    run(scenario)


def test_a_body_behind_an_upgrade_has_the_usual_bounds() -> None:
    """Headers and trailers are counted, and a body is not."""

    async def scenario() -> None:
        app = App()
        async with opened(app) as there:
            line = await there.connect()
            line.send(b"POST / HTTP/1.1\r\n" + UPGRADE + b"content-length: %d\r\n\r\n" % (50 * _BLOCK))
            line.send(b"x" * (50 * _BLOCK))
            assert await line.answer() == (200, b"%d" % (50 * _BLOCK))
            line.send(b"GET / HTTP/1.1\r\n" + UPGRADE + b"x: " + b"y" * _BLOCK + b"\r\n\r\n" + INNER)
            await refused(line, 431)
            other = await there.connect()
            app.entered.clear()
            other.send(PARTED.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
            await app.entered.wait()
            other.send(b"0\r\nx: " + b"y" * (2 * _BLOCK))
            await other.cut()
            assert app.calls == 2

    run(scenario)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (b"GET /v1/responses HTTP/1.1\r\nconnection: Upgrade\r\nupgrade: websocket\r\n", "WebSocket"),
        (b"POST / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c, WebSocket\r\n", "WebSocket"),
        (b"CONNECT h:443 HTTP/1.1\r\nhost: h:443\r\n", "CONNECT"),
        (b"CONNECT h:443 HTTP/1.1\r\ncontent-length: 36\r\n", "CONNECT"),
        (b"POST / HTTP/1.1\r\n" + UPGRADE + b"transfer-encoding: gzip, chunked\r\n", "transfer-encoding"),
        (b"POST / HTTP/1.1\r\n" + UPGRADE + b"transfer-encoding: identity\r\n", "transfer-encoding"),
        (b"POST / HTTP/1.1\r\n" + UPGRADE + b"content-length: 1\r\ncontent-length: 2\r\n", "Invalid"),
        (
            b"POST / HTTP/1.1\r\n" + UPGRADE + b"content-length: 1\r\ntransfer-encoding: chunked\r\n",
            "Invalid",
        ),
    ],
)
def test_an_upgrade_that_cannot_be_ignored_is_refused(request_: bytes, said: str) -> None:
    """A WebSocket, a tunnel and a body without clear bounds: 400, and nothing behind is carried out."""

    async def scenario() -> None:
        app = App()
        async with opened(app) as there:
            line = await there.connect()
            line.send(request_ + b"\r\n" + INNER)
            assert said in await refused(line, 400)
            assert app.calls == 0

    run(scenario)


SOCKET = "/v1/responses"
SOCKETS = frozenset({SOCKET})
HANDSHAKE = (
    b"GET /v1/responses?a=b HTTP/1.1\r\nhost: h\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
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


def test_a_socket_has_its_connection_to_itself() -> None:
    """A handshake behind a request that is still being answered would mix the two: the connection goes."""

    async def scenario() -> None:
        app = App(hang=True)
        async with opened(app, sockets=SOCKETS) as there:
            line = await there.connect()
            line.send(POST % 0)
            await app.entered.wait()
            line.send(HANDSHAKE)
            await line.cut()
            await app.gone.wait()
            assert app.calls == 1

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
