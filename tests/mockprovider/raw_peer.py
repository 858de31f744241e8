"""A client that shows every byte: what the tests of the mock's sockets talk with."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

import uvloop

from mockprovider import MockProvider

_T = TypeVar("_T")

CHAT = "/v1/chat/completions"
LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]


def run(
    work: Coroutine[Any, Any, _T], loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
) -> _T:
    """Run a test's coroutine on a loop of the kind asked for."""
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(work)


class Peer:
    """One connection to the mock."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.transport = cast("asyncio.Transport", writer.transport)

    def send(self, body: object = None, path: str = CHAT, method: str = "POST", **headers: str) -> None:
        """Write a request; a mapping is sent as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
        lines = [f"{method} {path} HTTP/1.1", "host: mock", f"content-length: {len(data)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)

    def ask(self, stream: bool = False, **fault: object) -> None:
        """Write a chat request that brings its own fault."""
        messages = [{"role": "user", "content": "hi"}]
        self.send({"model": "m", "stream": stream, "messages": messages, "x_mock": fault})

    async def head(self) -> tuple[int, dict[str, str]]:
        """The status and headers of the next reply."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        return int(lines[0].split()[1]), dict(line.split(": ", 1) for line in lines[1:] if line)

    async def reply(self) -> tuple[int, bytes]:
        """The status and body of a reply with a length or with chunks."""
        status, headers = await self.head()
        if "content-length" in headers:
            return status, await self.reader.readexactly(int(headers["content-length"]))
        return status, b"".join([chunk async for chunk in self.chunks()])

    async def chunks(self) -> AsyncIterator[bytes]:
        """The chunks of a body, up to the last one."""
        while size := int(await self.reader.readline(), 16):
            yield (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readexactly(2)

    async def rest(self) -> tuple[bytes, str]:
        """All bytes up to the end of the connection, and whether it was a FIN or an RST."""
        found = bytearray()
        try:
            while data := await self.reader.read(65536):
                found += data
        except ConnectionResetError:
            return bytes(found), "rst"
        return bytes(found), "fin"

    async def is_silent(self, seconds: float = 0.05) -> bool:
        """Whether nothing arrives for a while."""
        try:
            await asyncio.wait_for(self.reader.read(1), seconds)
        except TimeoutError:
            return True
        return False


@asynccontextmanager
async def connected(mock: MockProvider, tls: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
    """A connection to a mock, closed at the end."""
    name = "localhost" if tls else None
    reader, writer = await asyncio.open_connection("127.0.0.1", mock.port, ssl=tls, server_hostname=name)
    try:
        yield Peer(reader, writer)
    finally:
        writer.transport.abort()


async def until(mock: MockProvider, condition: Callable[[], bool], within_s: float = 5.0) -> None:
    """Let the loop turn, one round trip at a time, until something holds."""
    async with asyncio.timeout(within_s), connected(mock) as other:
        while not condition():
            other.send(path="/_mock/stats", method="GET")
            await other.reply()


def with_mock(
    test: Callable[[MockProvider, Peer], Awaitable[None]], **settings: Any
) -> Coroutine[Any, Any, None]:
    """A coroutine that gives a test a mock and a connection to it."""

    async def started() -> None:
        async with MockProvider(**settings) as mock, connected(mock) as peer:
            await test(mock, peer)

    return started()
