"""Tests of `proxy.connection` over loopback, on both event loops: its bounds, its end, hostile clients."""

import asyncio
import contextlib
import gc
import json
import socket
import struct
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
import uvloop

from proxy.client_connection import Connection
from proxy.config.settings import Bounds
from proxy.cycle import HIGH_WATER
from proxy.house import House

Application = Callable[..., Coroutine[Any, Any, None]]
Scenario = Callable[[], Coroutine[Any, Any, None]]
Run = Callable[[Scenario], None]
_BLOCK = 2048
_KEEP_ALIVE = 5.0


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a scenario on one of the loops, for at most ten seconds; nothing may go wrong unseen."""

    def runs(scenario: Scenario) -> None:
        async def main() -> None:
            wrong: list[dict[str, Any]] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, context: wrong.append(context))
            async with asyncio.timeout(10.0):
                await scenario()
            assert wrong == []

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(main())

    return runs


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


class Shared:
    """What uvicorn's server keeps of its connections."""

    def __init__(self) -> None:
        self.total_requests = 0
        self.connections: set[Any] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.default_headers = [(b"date", b"now")]


class Taken(asyncio.Protocol):
    """What a connection becomes: it says what it hears."""

    def __init__(self, head: bytes, transport: asyncio.Transport) -> None:
        self.transport = transport
        transport.write(b"taken %d\n" % head.count(b"\r\n"))

    def data_received(self, data: bytes) -> None:
        """Say it again."""
        self.transport.write(data)


@contextlib.asynccontextmanager
async def dripping(line: Line, data: bytes, *, every: float) -> AsyncIterator[None]:
    """Send `data` now and then meanwhile."""

    async def drip() -> None:
        while True:
            line.send(data)
            await asyncio.sleep(every)

    sending = asyncio.ensure_future(drip())
    yield
    sending.cancel()


class Port:
    """A port, and the client connections to it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._lines: list[Line] = []

    async def connect(self, **options: Any) -> Line:
        """A new client connection, closed with the port."""
        self._lines.append(Line(*await asyncio.open_connection("127.0.0.1", self.port, **options)))
        return self._lines[-1]

    async def hang_up(self) -> None:
        """Close all client connections."""
        for line in self._lines:
            line.writer.close()
            with contextlib.suppress(OSError):
                await line.writer.wait_closed()


class Open(Port):
    """A port whose connections share a house."""

    def __init__(self, house: House, shared: Shared, port: int) -> None:
        super().__init__(port)
        self.house = house
        self.shared = shared

    async def only(self) -> Connection:
        """The server's side of the one connection."""
        while len(self.shared.connections) != 1:  # noqa: ASYNC110  (accepting cannot be awaited)
            await asyncio.sleep(0.001)
        (connection,) = self.shared.connections
        assert isinstance(connection, Connection)
        return connection

    async def deserted(self) -> None:
        """Wait until no connection is left, though no client has closed one."""
        while self.shared.connections:  # noqa: ASYNC110  (a loss cannot be awaited)
            await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def opened(
    app: Application,
    *,
    keep_alive: float = _KEEP_ALIVE,
    sockets: frozenset[str] = frozenset(),
    **bounds: object,
) -> AsyncIterator[Open]:
    """A port with small bounds before `app`; in the end nothing is left of it."""
    shared = Shared()
    limits = Bounds.model_validate({"header_block": _BLOCK, **bounds})
    house = House(app, shared, limits, keep_alive, sockets, Taken)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(house), "127.0.0.1", 0)
    there = Open(house, shared, server.sockets[0].getsockname()[1])
    try:
        yield there
    finally:
        await there.hang_up()
        server.close()
        for task in shared.tasks:
            task.cancel()
        while shared.tasks or shared.connections:  # noqa: ASYNC110  (neither end can be awaited)
            await asyncio.sleep(0.001)


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

SOCKET = "/v1/responses"
SOCKETS = frozenset({SOCKET})
HANDSHAKE = (
    b"GET /v1/responses?a=b HTTP/1.1\r\nhost: h\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def test_requests_follow_each_other_on_one_connection(run: Run) -> None:
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
def test_a_header_block_beyond_the_bound_is_refused(run: Run, at_once: bool) -> None:
    """Whether it comes in one read or never ends: 431, no request, and the connection is closed."""

    async def scenario() -> None:
        app = App()
        async with opened(app) as there:
            line = await there.connect()
            line.send(b"GET / HTTP/1.1\r\nx-big: " + b"a" * (2 * _BLOCK) + (b"\r\n\r\n" if at_once else b""))
            assert await refused(line, 431) == "The request headers are too large."
            assert app.calls == 0

    run(scenario)


def test_a_large_body_does_not_count_as_headers(run: Run) -> None:
    """Only what comes before the empty line does, also on the next request of the connection."""

    async def scenario() -> None:
        async with opened(App()) as there:
            line = await there.connect()
            for _ in range(2):
                line.send(POST % (50 * _BLOCK) + b"x" * (50 * _BLOCK))
                assert await line.answer() == (200, b"%d" % (50 * _BLOCK))

    run(scenario)


def test_headers_that_take_too_long_are_refused(run: Run) -> None:
    """A byte now and then does not move the deadline; one that never says a word is closed without any.

    A client may connect ahead of its first request: an answer to none would be taken for that one's.
    """

    async def scenario() -> None:
        async with opened(App(), header_read=0.2, keep_alive=0.3) as there:
            slow, silent = await there.connect(), await there.connect()
            slow.send(b"GET / HTTP/1.1\r\n")
            async with dripping(slow, b"x: y\r\n", every=0.05):
                assert await refused(slow, 408) == "The request headers did not arrive in time."
            assert await silent.closed()

    run(scenario)


def test_what_is_no_http_is_answered_in_json(run: Run) -> None:
    """The parser's refusal has the shape of all others."""

    async def scenario() -> None:
        async with opened(App()) as there:
            line = await there.connect()
            line.send(b"\x16\x03\x01 this is TLS\r\n\r\n")
            assert await refused(line, 400) == "Invalid HTTP request received."

    run(scenario)


class Still:
    """A transport that counts how often reading is paused."""

    def __init__(self) -> None:
        self.pauses = 0

    def get_extra_info(self, _name: str) -> None:
        """Nothing is known."""

    def is_closing(self) -> bool:
        """It never is."""
        return False

    def pause_reading(self) -> None:
        """Count."""
        self.pauses += 1

    def resume_reading(self) -> None:
        """That is not counted."""

    def abort(self) -> None:
        """There is nothing to close."""


@pytest.mark.parametrize("missing", [0, 1])
def test_reading_is_paused_only_while_something_of_a_large_body_is_missing(run: Run, missing: int) -> None:
    """What came in one read is there, however large: to pause and to go on again would be for nothing."""

    async def scenario() -> None:
        shared, transport = Shared(), Still()
        connection = Connection(House(App(), shared, Bounds(), _KEEP_ALIVE, frozenset(), Taken))
        connection.connection_made(transport)  # type: ignore[arg-type]  # all that is used of it
        size = HIGH_WATER + 1
        head = b"POST /a HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % (size + missing)
        connection.data_received(head + b"x" * size)
        assert transport.pauses == missing
        connection.connection_lost(None)
        await asyncio.gather(*shared.tasks, return_exceptions=True)

    run(scenario)


def test_a_client_that_leaves_ends_its_request(run: Run) -> None:
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


def test_an_answer_before_the_end_of_the_body_can_be_read(run: Run) -> None:
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


def test_trailers_are_dropped(run: Run) -> None:
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
def test_what_is_no_body_has_a_bound(run: Run, endless: bytes, early: bool) -> None:
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


def test_trailers_within_the_bound_are_read_over(run: Run) -> None:
    """A client may send them after it was answered, too."""

    async def scenario() -> None:
        async with opened(App(early=True)) as there:
            line = await there.connect()
            for _ in range(3):
                line.send(CHUNKED)
                assert (await line.answer())[0] == 413
                line.send(b"2\r\nhi\r\n0\r\n" + b"x: y\r\n" * (_BLOCK // 8) + b"\r\n")

    run(scenario)


def test_what_follows_an_answer_has_a_bound(run: Run) -> None:
    """Every byte of it counts, not only those of the body."""

    async def scenario() -> None:
        async with opened(App(early=True)) as there:
            line = await there.connect()
            line.send(CHUNKED)
            await line.answer()
            line.send((b"1;x=" + b"a" * 1000 + b"\r\nx\r\n") * 66 * 1024)
            await line.cut()

    run(scenario)


def test_the_rest_of_an_answered_body_has_a_deadline(run: Run) -> None:
    """A byte now and then does not move it."""

    async def scenario() -> None:
        async with opened(App(early=True), body_read=0.2) as there:
            line = await there.connect()
            line.send(POST % 1000)
            await line.answer()
            async with dripping(line, b"x", every=0.02):
                await line.cut()

    run(scenario)


def test_a_rest_that_comes_in_time_leaves_the_connection_to_use(run: Run) -> None:
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


def test_headers_behind_an_answered_body_are_counted_alone(run: Run) -> None:
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


@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_a_request_to_upgrade_is_served_as_it_is(run: Run, step: int) -> None:
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


def test_requests_to_upgrade_follow_each_other(run: Run) -> None:
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


def test_a_body_behind_an_upgrade_has_the_usual_bounds(run: Run) -> None:
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
def test_an_upgrade_that_cannot_be_ignored_is_refused(run: Run, request_: bytes, said: str) -> None:
    """A WebSocket, a tunnel and a body without clear bounds: 400, and nothing behind is carried out."""

    async def scenario() -> None:
        app = App()
        async with opened(app) as there:
            line = await there.connect()
            line.send(request_ + b"\r\n" + INNER)
            assert said in await refused(line, 400)
            assert app.calls == 0

    run(scenario)


def test_a_socket_has_its_connection_to_itself(run: Run) -> None:
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


def test_a_hash_in_a_path_belongs_to_it(run: Run) -> None:
    """A request target has no fragment, so `#` in a model's name needs no escape."""

    async def scenario() -> None:
        app = App()
        async with opened(app) as there:
            line = await there.connect()
            line.send(b"GET /v1/models/gpt#azure HTTP/1.1\r\nhost: h\r\n\r\n")
            await line.answer()
            assert app.targets == [b"/v1/models/gpt%23azure"]

    run(scenario)


# What a client can do to an answer.


class Gate:
    """An application that answers when it is let, and notes whom it has answered."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.entered = asyncio.Event()
        self.calls = 0
        self.cancelled = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request with its path."""
        self.calls += 1
        self.entered.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
        await say(send, scope["raw_path"])


async def say(send: Any, body: bytes) -> None:
    """A whole answer."""
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


GET = b"GET /%b HTTP/1.1\r\nhost: h\r\n\r\n"
CLOSE = b"GET /%b HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"


def test_a_client_that_says_no_more_is_one_that_left(run: Run) -> None:
    """Half a connection is closed by those who leave, and nothing else is heard of them."""

    async def scenario() -> None:
        app = App(hang=True)
        async with opened(app) as there:
            line = await there.connect()
            line.send(POST % 0)
            await app.entered.wait()
            line.writer.write_eof()
            await app.gone.wait()
            await there.deserted()

    run(scenario)


@pytest.mark.parametrize("waits", [True, False])
def test_a_client_that_says_no_more_and_does_not_read_is_one_that_left(run: Run, waits: bool) -> None:
    """What was written to it before is not waited for: its request ends at once."""

    async def scenario() -> None:
        gone = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})
            try:
                while waits or not connection.write_paused:
                    await send({"type": "http.response.body", "body": b"x" * 50_000, "more_body": True})
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                gone.set()
                raise

        async with opened(app) as there:
            line = await there.connect(limit=2**16)
            connection = await there.only()
            line.send(GET % b"a")
            while not connection.write_paused:  # noqa: ASYNC110  (a full socket cannot be awaited)
                await asyncio.sleep(0.001)
            line.writer.write_eof()
            async with asyncio.timeout(_KEEP_ALIVE / 5):  # far sooner than one who does not read is dropped
                await gone.wait()
                await there.deserted()

    run(scenario)


def test_an_answer_that_is_whole_is_read_behind_half_a_connection(run: Run) -> None:
    """A client may close its direction while it reads what was answered before."""

    async def scenario() -> None:
        size = 20_000_000

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await say(send, b"x" * size)

        async with opened(app) as there:
            line = await there.connect(limit=2**16)
            connection = await there.only()
            line.send(GET % b"a")
            while not connection.idle or not there.shared.total_requests:  # noqa: ASYNC110  (nor can this)
                await asyncio.sleep(0.001)
            line.writer.write_eof()
            _, _, body = await line.whole_answer()
            assert len(body) == size

    run(scenario)


def test_all_requests_of_a_client_that_left_are_over(run: Run) -> None:
    """The one that is answered is cancelled and hears it, those behind it never begin."""

    async def scenario() -> None:
        app = Gate()
        async with opened(app) as there:
            line = await there.connect()
            line.send(GET % b"a" + GET % b"b" + GET % b"c")
            await app.entered.wait()
            line.writer.close()
            await there.deserted()
            while there.shared.tasks:  # noqa: ASYNC110  (the end of a task's callbacks cannot be awaited)
                await asyncio.sleep(0.001)
            assert (app.calls, app.cancelled, there.shared.total_requests) == (1, 1, 0)

    run(scenario)


def test_an_answer_that_closes_can_be_read_by_one_that_still_sends(run: Run) -> None:
    """The rest of the body is dropped; a socket closed at once would be reset, and the answer lost."""

    async def scenario() -> None:
        async with opened(App(early=True)) as there:
            line = await there.connect()
            line.send(POST.replace(b"host: h", b"connection: close") % 3_000_000)
            await asyncio.sleep(0)
            for _ in range(30):
                line.send(b"x" * 100_000)
                await line.writer.drain()
            assert await line.answer() == (413, b"0")
            assert await line.closed()
            await there.deserted()

    run(scenario)


def test_one_that_never_ends_its_body_is_dropped_after_an_answer_that_closes(run: Run) -> None:
    """The deadline for the rest is the same as where the connection is kept."""

    async def scenario() -> None:
        async with opened(App(early=True), body_read=0.1) as there:
            line = await there.connect()
            line.send(POST.replace(b"host: h", b"connection: close") % 1000)
            assert (await line.answer())[0] == 413
            await there.deserted()

    run(scenario)


def test_a_refusal_can_be_read_by_one_that_still_sends(run: Run) -> None:
    """Headers are too large, and a body follows: the client gets to know why."""

    async def scenario() -> None:
        async with opened(App()) as there:
            line = await there.connect()
            line.send(b"POST / HTTP/1.1\r\ncontent-length: 3000000\r\nx: " + b"y" * _BLOCK + b"\r\n\r\n")
            for _ in range(30):
                line.send(b"x" * 100_000)
                await line.writer.drain()
            await refused(line, 431)

    run(scenario)


def test_what_is_behind_the_last_request_is_dropped(run: Run) -> None:
    """Neither a request nor what is none does anything once `connection: close` was said."""

    async def scenario() -> None:
        for behind in (GET % b"b", b"\r\n", b"\x16\x03\x01 garbage", b"GET / HTTP/1.1\r\nx: "):
            app = Gate()
            async with opened(app, header_read=0.05) as there:
                line = await there.connect()
                line.send(CLOSE % b"a" + behind)
                await app.entered.wait()
                line.send(behind)
                await asyncio.sleep(0.07)
                app.open.set()
                assert await line.answer() == (200, b"/a")
                await line.cut()
            assert app.calls == 1

    run(scenario)


def test_requests_that_wait_are_few(run: Run) -> None:
    """Nothing is read while some wait, whoever asks to read on, and all that were read are answered."""

    async def scenario() -> None:
        app = Gate()
        async with opened(app) as there:
            line = await there.connect()
            connection = await there.only()
            for _ in range(50):
                line.send(GET % b"a")
                await asyncio.sleep(0.001)
                connection.resume_reading()
            await app.entered.wait()
            assert 8 <= len(connection._queue) <= 12
            app.open.set()
            assert [await line.answer() for _ in range(50)] == [(200, b"/a")] * 50

    run(scenario)


def test_a_flood_in_one_read_is_not_kept(run: Run) -> None:
    """So many of it are answered; the last of them says that it is the last."""

    async def scenario() -> None:
        app = Gate()
        async with opened(app) as there:
            line = await there.connect()
            line.send(GET % b"a" * 3000)
            await app.entered.wait()
            app.open.set()
            answers = 0
            headers: dict[str, str] = {}
            while headers.get("connection") != "close":
                _, headers, _ = await line.whole_answer()
                answers += 1
            with contextlib.suppress(ConnectionError):
                assert await line.closed()
            assert answers == app.calls
            assert 8 < answers < 200

    run(scenario)


def test_a_client_that_does_not_read_is_dropped(run: Run) -> None:
    """The answer to an earlier request is in the way of the next one, which does not wait for ever."""

    async def scenario() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await say(send, b"x" * 8_000_000)

        async with opened(app, keep_alive=0.1) as there:
            at_once, later = await there.connect(), await there.connect()
            at_once.send(GET % b"a" + GET % b"b")
            later.send(GET % b"a")
            await asyncio.sleep(0.05)
            later.send(GET % b"b")
            await there.deserted()
            assert there.shared.total_requests == 2

    run(scenario)


def test_a_stream_that_is_not_read_waits_and_goes_on(run: Run) -> None:
    """What is written waits for the client; when it reads, all of it is there."""

    async def scenario() -> None:
        written = 0

        async def app(scope: Any, receive: Any, send: Any) -> None:
            nonlocal written
            await send({"type": "http.response.start", "status": 200})
            for _ in range(300):
                await send({"type": "http.response.body", "body": b"x" * 50_000, "more_body": True})
                written += 1
            await send({"type": "http.response.body"})

        async with opened(app) as there:
            line = await there.connect(limit=2**16)
            connection = await there.only()
            line.send(CLOSE % b"a")
            while not connection.write_paused:  # noqa: ASYNC110  (a full socket cannot be awaited)
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.02)
            assert written < 300
            got = await line.reader.read()
            assert (written, got.count(b"x")) == (300, 300 * 50_000)
            assert got.endswith(b"\r\n0\r\n\r\n")

    run(scenario)


def test_a_head_that_hangs_behind_a_request_does_not_end_it(run: Run) -> None:
    """Its deadline begins when it is the next thing to be answered."""

    async def scenario() -> None:
        app = Gate()
        async with opened(app, header_read=0.1) as there:
            line = await there.connect()
            line.send(GET % b"a" + b"GET /b HT")
            await app.entered.wait()
            await asyncio.sleep(0.15)
            line.send(b"TP/1.1\r\nhost")
            await asyncio.sleep(0.15)
            app.open.set()
            assert await line.answer() == (200, b"/a")
            await refused(line, 408)
            assert app.calls == 1

    run(scenario)


def test_no_timer_ends_a_request(run: Run) -> None:
    """Neither that of the first headers, nor that of an idle connection, however they are left armed."""

    async def scenario() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await asyncio.sleep(0.12)
            await say(send, b"ok")

        async with opened(app, keep_alive=0.05, header_read=0.05, body_read=0.05) as there:
            line = await there.connect()
            for request in (GET % b"a", GET % b"b" * 2, POST % 2 + b"ab"):
                line.send(request)
                assert await line.answer() == (200, b"ok")
            assert await line.answer() == (200, b"ok")
            await line.cut()

    run(scenario)


def test_an_idle_connection_goes_although_it_says_nothing_now_and_then(run: Run) -> None:
    """Empty lines before a request are read over, and are no request."""

    async def scenario() -> None:
        async with opened(App(), keep_alive=0.1) as there:
            line = await there.connect()
            line.send(POST % 0)
            await line.answer()
            async with dripping(line, b"\r\n", every=0.02):
                await line.cut()

    run(scenario)


def test_what_cannot_be_read_behind_an_answer_is_told(run: Run) -> None:
    """Though the application is still at work behind its answer: nothing more is written there."""

    async def scenario() -> None:
        done = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await say(send, b"ok")
            await done.wait()

        async with opened(app) as there:
            line = await there.connect()
            line.send(GET % b"a")
            assert await line.answer() == (200, b"ok")
            line.send(b"garbage\r\n\r\n")
            await refused(line, 400)
            done.set()

    run(scenario)


def test_what_cannot_be_read_behind_a_request_cuts_it(run: Run) -> None:
    """Nothing may be written into an answer that is on its way."""

    async def scenario() -> None:
        app = App(hang=True)
        async with opened(app) as there:
            line = await there.connect()
            line.send(GET % b"a")
            await app.entered.wait()
            line.send(b"garbage\r\n\r\n")
            await line.cut()
            await app.gone.wait()

    run(scenario)


def test_a_reset_is_a_client_that_left(run: Run) -> None:
    """However rudely."""

    async def scenario() -> None:
        app = App(hang=True)
        async with opened(app) as there:
            line = await there.connect()
            line.send(POST % 10)
            await app.entered.wait()
            sock = line.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            line.writer.transport.abort()
            await app.gone.wait()
            await there.deserted()

    run(scenario)


# What an application can do.


def test_an_application_that_fails_is_answered_for(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """A 500 for a bug, a 503 for one that gave up; nothing behind it is answered."""

    async def scenario() -> None:
        async def crashes(scope: Any, receive: Any, send: Any) -> None:
            raise ValueError

        async def gives_up(scope: Any, receive: Any, send: Any) -> None:
            pass

        for app, status in ((crashes, 500), (gives_up, 503)):
            async with opened(app) as there:
                line = await there.connect()
                line.send(GET % b"a" + GET % b"b" + POST % 500_000 + b"x" * 400_000)
                await refused(line, status)

    run(scenario)
    assert capsys.readouterr().out.count("application_crashed") == 1


@pytest.mark.parametrize("crash", [True, False])
def test_an_answer_that_is_not_finished_is_cut(
    run: Run, capsys: pytest.CaptureFixture[str], crash: bool
) -> None:
    """A client must not take it for whole, and whoever still talks for the request talks to nobody."""

    async def scenario() -> None:
        sends: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            sends.append(send)
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            if crash:
                raise ValueError

        async with opened(app) as there:
            line = await there.connect()
            line.send(GET % b"a")
            with contextlib.suppress(ConnectionError):
                assert not (await line.reader.read()).endswith(b"0\r\n\r\n")
            await there.deserted()
            await sends[0]({"type": "http.response.body"})

    run(scenario)
    assert ("application_crashed" in capsys.readouterr().out) is crash


def test_a_stream_ends_with_its_connection_where_there_are_no_chunks(run: Run) -> None:
    """Chunks must not be sent to a client of HTTP/1.0 (RFC 9112 6.1), and it hears no 100 (Continue)."""

    async def scenario() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "http.response.start", "status": 200})
            for part in (b"one", b"two"):
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body"})

        async with opened(app) as there:
            line = await there.connect()
            line.send(b"POST / HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\nhi")
            head, _, body = (await line.reader.read()).partition(b"\r\n\r\n")
            assert head == b"HTTP/1.1 200 OK\r\ndate: now\r\nconnection: close"
            assert body == b"onetwo"

    run(scenario)


def test_a_body_that_waits_to_be_asked_for(run: Run) -> None:
    """It is asked for when it is wanted. Where it was not, the connection ends: it may come, or not."""

    async def scenario() -> None:
        head = POST.replace(b"host: h", b"expect: 100-continue")
        async with opened(App()) as there:
            line = await there.connect()
            line.send(head % 2)
            assert await line.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            line.send(b"hi" + POST % 1 + b"x")
            assert [await line.answer(), await line.answer()] == [(200, b"2"), (200, b"1")]
        async with opened(App(early=True)) as there:
            line = await there.connect()
            line.send(head % 2)
            status, headers, _ = await line.whole_answer()
            assert (status, headers["connection"]) == (413, "close")
            await line.cut()

    run(scenario)


def test_a_connection_that_is_over_leaves_nothing_behind(run: Run) -> None:
    """It is freed at once: with many clients that come and go, the garbage collector has no part in it."""

    async def scenario() -> None:
        async with opened(App()) as there:
            line = await there.connect()
            line.send(POST % 2 + b"ok")
            await line.answer()
            left = weakref.ref(await there.only())
            gc.disable()
            try:
                line.writer.close()
                await there.deserted()
                await asyncio.sleep(0.01)
                assert left() is None
            finally:
                gc.enable()

    run(scenario)


def test_a_connection_that_became_a_socket_leaves_nothing_behind(run: Run) -> None:
    """Nothing of it is needed as long as the socket is open."""

    async def scenario() -> None:
        async with opened(App(), sockets=SOCKETS) as there:
            line = await there.connect()
            line.send(POST % 2 + b"ok")
            await line.answer()
            left = weakref.ref(await there.only())
            gc.disable()
            try:
                line.send(HANDSHAKE)
                assert (await line.reader.readline()).startswith(b"taken")
                await asyncio.sleep(0.01)
                assert left() is None
            finally:
                gc.enable()

    run(scenario)


# How connections end.


def test_all_that_was_asked_is_answered_when_the_server_stops(run: Run) -> None:
    """In turn; the last answer says that it is the last."""

    async def scenario() -> None:
        app = Gate()
        async with opened(app) as there:
            line = await there.connect()
            line.send(GET % b"a" + GET % b"b" + GET % b"c")
            await app.entered.wait()
            (await there.only()).shutdown()
            app.open.set()
            for path in (b"/a", b"/b", b"/c"):
                _, headers, body = await line.whole_answer()
                assert (body, headers.get("connection") == "close") == (path, path == b"/c")
            await line.cut()

    run(scenario)


def test_nothing_is_begun_once_requests_are_cut(run: Run) -> None:
    """One that is cancelled may have its last words; what waited behind it goes unanswered."""

    async def scenario() -> None:
        app = Gate()
        async with opened(app) as there:
            line = await there.connect()
            line.send(GET % b"a" + GET % b"b")
            await app.entered.wait()
            there.house.cut = True
            for task in there.shared.tasks:
                task.cancel()
            assert await line.answer() == (200, b"/a")
            await line.cut()
            assert app.calls == 1

    run(scenario)


def test_one_that_was_refused_goes_when_the_server_stops(run: Run) -> None:
    """It was only given time to read why."""

    async def scenario() -> None:
        async with opened(App()) as there:
            line = await there.connect()
            line.send(b"GET / HTTP/1.1\r\nx: " + b"y" * 2 * _BLOCK)
            await refused(line, 431)
            (await there.only()).shutdown()
            await there.deserted()

    run(scenario)


@pytest.mark.parametrize("step", [1, 40, 100_000])
def test_a_socket_gets_all_that_is_behind_its_head(run: Run, step: int) -> None:
    """However it comes in, also behind an answered request; and no timer ends it."""

    async def scenario() -> None:
        app = App()
        async with opened(app, sockets=SOCKETS, keep_alive=0.05, header_read=0.05) as there:
            line = await there.connect()
            line.send(POST % 2 + b"ok")
            assert await line.answer() == (200, b"2")
            data = HANDSHAKE + b"first" + b"second"
            for start in range(0, len(data), step):
                line.send(data[start : start + step])
                await asyncio.sleep(0)
            assert await line.reader.readexactly(8 + 11) == b"taken 7\nfirstsecond"
            await asyncio.sleep(0.1)
            line.send(b"third")
            assert await line.reader.readexactly(5) == b"third"
            assert (app.calls, there.shared.connections) == (1, set())

    run(scenario)
