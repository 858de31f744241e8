"""A raw server that follows a script: it says exact bytes, records what it hears and when the peer left.

A script is a coroutine function run once for every accepted connection. It may answer well, badly or not
at all; what it raises fails the test when the server is closed.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

PATIENCE_S = 5.0
"""How long a test waits for what must happen; only a failing test waits that long."""


class Peer(asyncio.Protocol):
    """One accepted connection, seen from the server."""

    def __init__(self, server: "HostileServer") -> None:
        self.received = bytearray()
        """Every byte heard."""
        self.closed = asyncio.Event()
        """Set once the client has closed its side, or the connection is gone."""
        self.number = 0
        """How many connections the server accepted before this one."""
        self._server = server
        self._taken = 0
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    @property
    def accepted(self) -> int:
        """Bytes said that have left this process."""
        return self._said - self.transport.get_write_buffer_size()

    async def request(self) -> bytes:
        """The next request, head and body."""
        head = await self._until(
            lambda: self.received.find(b"\r\n\r\n", self._taken) + 4, lambda end: end > 3
        )
        length = 0
        for line in bytes(self.received[self._taken : head]).lower().split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name == b"content-length":
                length = int(value)
        end = head + length
        await self._until(lambda: len(self.received), lambda size: size >= end)
        request = bytes(self.received[self._taken : end])
        self._taken = end
        return request

    async def hear(self, size: int) -> None:
        """Wait until at least `size` bytes were received in all."""
        await self._until(lambda: len(self.received), lambda now: now >= size)

    async def heard_more_than(self, size: int) -> None:
        """Wait until more than `size` bytes were received in all, or the client has left."""
        while len(self.received) <= size and not self.closed.is_set():
            self._news.clear()
            await self._news.wait()

    def say(self, data: bytes) -> None:
        """Send `data`. Raises `ConnectionError` where the client has left."""
        if self.closed.is_set():
            raise ConnectionError("the client left before it was told all")
        self._said += len(data)
        self.transport.write(data)

    async def say_slowly(self, data: bytes, split: int = 1) -> None:
        """Send `data` in pieces of `split` bytes that arrive one by one."""
        for at in range(0, len(data), split):
            self.say(data[at : at + split])
            await turns()

    async def writable(self) -> None:
        """Wait until the client took enough for more to be said."""
        await self._writable.wait()

    def deafen(self) -> None:
        """Stop reading."""
        self.transport.pause_reading()

    def listen(self) -> None:
        """Read again."""
        self.transport.resume_reading()

    def hang_up(self) -> None:
        """Close, after what was said has left."""
        self.transport.close()

    def drop(self) -> None:
        """Close at once; TLS says nothing of it."""
        self.transport.abort()

    def reset(self) -> None:
        """Close with a TCP reset. Raises `ConnectionError` where the client has left."""
        raw = self.transport.get_extra_info("socket")
        if raw is None or raw.fileno() < 0:  # as may be seen before it is told
            raise ConnectionError("the client left before it was reset")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    async def gone(self) -> None:
        """Wait until the client has left."""
        async with asyncio.timeout(PATIENCE_S):
            await self.closed.wait()

    async def _until(self, measure: Callable[[], int], enough: Callable[[int], bool]) -> int:
        async with asyncio.timeout(PATIENCE_S):
            while not enough(value := measure()):
                if self.closed.is_set():
                    raise ConnectionError("the client left before it had said all")
                self._news.clear()
                await self._news.wait()
        return value

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the script."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own class is not a subclass of it
        self._said = 0
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or pieces wait for acknowledgements
        self._server.accept(self)

    def data_received(self, data: bytes) -> None:
        """Keep `data`."""
        self.received += data
        self._news.set()

    def eof_received(self) -> bool:
        """The client closed its side: so do we."""
        self._leave()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._leave()
        self._writable.set()

    def pause_writing(self) -> None:
        """The client does not read."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._writable.set()

    def _leave(self) -> None:
        self.closed.set()
        self._news.set()


Script = Callable[[Peer], Awaitable[None]]


class HostileServer:
    """A listener on loopback whose every connection follows `script`."""

    def __init__(self, script: Script, *, secure: bool) -> None:
        self.peers: list[Peer] = []
        """Every connection accepted, in order."""
        self.port = 0
        self._secure = secure
        self._script = script
        self._scripts: list[asyncio.Task[None]] = []
        self._accepted = asyncio.Event()

    def url(self, path: str = "/v1/chat", host: str = "127.0.0.1") -> str:
        """The URL of `path` on this server."""
        return f"{'https' if self._secure else 'http'}://{host}:{self.port}{path}"

    async def peer(self, number: int = 0) -> Peer:
        """The connection accepted as the `number`-th, counted from 0; waits for it."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.peers) <= number:
                self._accepted.clear()
                await self._accepted.wait()
        return self.peers[number]

    def accept(self, peer: Peer) -> None:
        """Run the script for `peer`."""
        peer.number = len(self.peers)
        self.peers.append(peer)
        self._accepted.set()
        self._scripts.append(asyncio.get_running_loop().create_task(self._follow(peer)))

    async def finish(self) -> None:
        """Drop every connection; raises what a script raised."""
        for peer in self.peers:
            peer.transport.abort()
        for script in self._scripts:
            script.cancel()
        for outcome in await asyncio.gather(*self._scripts, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    async def _follow(self, peer: Peer) -> None:
        with contextlib.suppress(ConnectionError):  # a client may leave before the script is through
            await self._script(peer)


@contextlib.asynccontextmanager
async def serving(
    script: Script, *, tls: ssl.SSLContext | None = None, send_buffer: int | None = None
) -> AsyncIterator[HostileServer]:
    """A server that follows `script`. `send_buffer` bounds what the kernel takes per connection, in bytes."""
    server = HostileServer(script, secure=tls is not None)
    listener = socket.create_server(("127.0.0.1", 0))
    if send_buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    server.port = listener.getsockname()[1]
    loop = asyncio.get_running_loop()
    accepting = await loop.create_server(lambda: Peer(server), sock=listener, ssl=tls)
    try:
        yield server
    finally:
        accepting.close()
        await server.finish()
        await accepting.wait_closed()


def answers(*responses: bytes) -> Script:
    """A script that answers one request after the other with `responses`, then waits."""

    async def script(peer: Peer) -> None:
        for response in responses:
            await peer.request()
            peer.say(response)

    return script


def answers_and_leaves(response: bytes) -> Script:
    """A script that answers one request with `response` and closes."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.say(response)
        peer.hang_up()

    return script


def sized(body: bytes, *fields: str) -> bytes:
    """A 200 response framed by content-length, with further header `fields`."""
    lines = ["HTTP/1.1 200 OK", *fields, f"content-length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


async def turns(count: int = 4) -> None:
    """Let the event loop go round: on loopback that is enough for what was sent to arrive."""
    for _ in range(count):
        await asyncio.sleep(0)
