"""A fake server that says what a test tells it to, and links that talk to it."""

import asyncio
import contextlib
import hashlib
import random
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

import hiredis

from proxy.clock import Clock, SystemClock
from proxy.link import Link, Script, Settings, parse
from proxy.tasks import Tasks

Command = list[bytes]
Answer = Callable[[Command, "Peer"], bytes | None]


@dataclass(frozen=True)
class Lua:
    """A script."""

    name: str
    text: str

    @property
    def sha(self) -> str:
        """SHA-1 of the text."""
        return hashlib.sha1(self.text.encode()).hexdigest()


def bulk(data: bytes) -> bytes:
    """A bulk string reply."""
    return b"$%d\r\n%s\r\n" % (len(data), data)


def array(*items: bytes | int) -> bytes:
    """An array of bulk strings and integers; items that are replies already begin with "*"."""
    parts = [
        b":%d\r\n" % item if isinstance(item, int) else item if item[:1] == b"*" else bulk(item)
        for item in items
    ]
    return b"*%d\r\n%s" % (len(items), b"".join(parts))


class Peer(asyncio.Protocol):
    """One connection as the server sees it."""

    def __init__(self, server: "Scripted") -> None:
        self.server = server
        self.reader = hiredis.Reader()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember it."""
        self.transport = cast("asyncio.Transport", transport)
        self.server.peers.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self.server.peers.remove(self)

    def data_received(self, data: bytes) -> None:
        """Answer each command."""
        self.reader.feed(data)
        commands = []
        while (command := self.reader.gets()) is not False:
            commands.append(command)
        self.server.reads.append([command[0] for command in commands])
        for command in commands:
            self.server.commands.append(command)
            reply = self.server.answer(command, self)
            if reply is None:
                reply = self.server.usual(command)
            if reply:
                self.write(reply)

    def write(self, reply: bytes) -> None:
        """Say something, asked or not."""
        assert self.transport is not None
        self.transport.write(reply)

    def close(self) -> None:
        """Hang up."""
        assert self.transport is not None
        self.transport.abort()


class Scripted:
    """The server. `answer` returns a reply, b"" for silence, None for the usual reply."""

    def __init__(self, answer: Answer = lambda command, peer: None) -> None:
        self.answer = answer
        self.peers: list[Peer] = []
        self.reads: list[list[bytes]] = []
        self.commands: list[Command] = []
        self.scripts: set[bytes] = set()
        self.role = b"master"
        self.run_id = b"a" * 40
        self.port = 0
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"redis://127.0.0.1:{self.port}"

    async def listen(self) -> None:
        """Begin (again) to accept."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Peer(self), "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Accept no more and hang up on all."""
        assert self._server is not None
        self._server.close()
        for peer in tuple(self.peers):
            peer.close()
        await asyncio.sleep(0.01)

    def usual(self, command: Command) -> bytes:
        """What a healthy server says."""
        said = {
            b"HELLO": array(b"server", b"fake", b"proto", 2, b"role", self.role),
            b"INFO": bulk(b"# Server\r\nrun_id:%s\r\n" % self.run_id),
            b"PING": b"+PONG\r\n",
            b"ECHO": bulk(command[-1]),
        }
        if command[0] == b"SCRIPT":
            self.scripts.add(hashlib.sha1(command[2]).hexdigest().encode())
        if command[0] == b"EVALSHA":
            known = command[1] in self.scripts
            return bulk(command[-1]) if known else b"-NOSCRIPT No matching script. Please use EVAL.\r\n"
        return said.get(command[0], b"+OK\r\n")

    def count(self, word: bytes) -> int:
        """How often a command came."""
        return sum(command[0] == word for command in self.commands)


@contextlib.asynccontextmanager
async def serving(answer: Answer = lambda command, peer: None) -> AsyncIterator[Scripted]:
    """A scripted server on a free port."""
    server = Scripted(answer)
    await server.listen()
    try:
        yield server
    finally:
        await server.stop()


@contextlib.asynccontextmanager
async def linked(
    url: str,
    *,
    scripts: Iterable[Script] = (),
    settings: Settings = Settings(),  # noqa: B008  (frozen)
    clock: Clock | None = None,
    start: bool = True,
) -> AsyncIterator[Link]:
    """A link, started and closed."""
    tasks = Tasks()
    link = Link(
        parse(url),
        clock=clock or SystemClock(),
        tasks=tasks,
        draw=random.Random(7),
        scripts=scripts,
        settings=settings,
    )
    if start:
        await link.start()
    try:
        yield link
    finally:
        await link.close()
        assert len(tasks) == 0
        await asyncio.sleep(0)


async def eventually(holds: Callable[[], Any], seconds: float = 5.0) -> None:
    """Give the loop turns until `holds`."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110  (what is waited for has no event)
            await asyncio.sleep(0.002)
