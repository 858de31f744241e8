"""A TCP proxy that can be as bad as a network: all of it can be switched while connections are up.

delay_s      each way, in seconds
bandwidth    bytes a second each way, None for no limit
hole         swallow everything, both ways; connections that lost bytes so stay silent for good
refusing     new connections are closed at once
cut, reset   end the connections there are, with FIN or RST
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from typing import Self

_RST = struct.pack("ii", 1, 0)


class _Pipe:
    """One accepted connection and its way on."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.near = near
        self.far = far
        self.torn = False


class FaultProxy:
    """Listens on a free port of 127.0.0.1 and passes on to `host:port`; `tls` ends TLS here."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._to = (host, port)
        self._tls = tls
        self._pipes: set[_Pipe] = set()
        self._handlers: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.delay_s = 0.0
        self.bandwidth: float | None = None
        self.hole = False
        self.refusing = False
        self.accepted = 0
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.reset()
        for handler in self._handlers:
            handler.cancel()
        if self._handlers:
            await asyncio.wait(set(self._handlers))
        await asyncio.sleep(0)

    def cut(self) -> None:
        """Close every connection."""
        for pipe in self._pipes:
            pipe.near.close()
            pipe.far.close()

    def reset(self) -> None:
        """Reset every connection."""
        for pipe in self._pipes:
            for writer in (pipe.near, pipe.far):
                raw: socket.socket | None = writer.get_extra_info("socket")
                with contextlib.suppress(OSError):
                    if raw is not None and raw.fileno() >= 0:
                        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
                writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # either end went away, or the proxy closes
        finally:
            writer.transport.abort()
            self._handlers.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            return
        far_reader, far = await asyncio.open_connection(*self._to)
        pipe = _Pipe(writer, far)
        self._pipes.add(pipe)
        try:
            await asyncio.gather(self._pump(pipe, reader, far), self._pump(pipe, far_reader, writer))
        finally:
            self._pipes.discard(pipe)
            far.transport.abort()

    async def _pump(self, pipe: _Pipe, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        last = 0.0
        while data := await reader.read(65536):
            pipe.torn = pipe.torn or self.hole
            if pipe.torn:
                continue
            if self.bandwidth is not None:
                await asyncio.sleep(len(data) / self.bandwidth)
            last = max(last, loop.time() + self.delay_s)  # never overtakes what left before
            if last > loop.time():
                loop.call_at(last, _write, writer, data)
            else:
                writer.write(data)
        writer.close()


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if not writer.is_closing():
        writer.write(data)
