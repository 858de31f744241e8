"""A plain HTTP/1.1 client: what a test sends is what leaves, what it got is what came."""

import asyncio
import contextlib
import dataclasses
import json
import socket
import struct
from collections.abc import Mapping
from typing import Any

KEY = "sk-client-0123456789"
MODEL = "chat"
Tree = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Got:
    """What a client got. Header names in lower case; a repeated header keeps its last value.

    `whole` says whether the framing was complete: the end of a chunked body, all bytes of a sized one.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    elapsed: float
    whole: bool = True

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error object of the body, with exactly the shape that clients read."""
        error = self.json["error"]
        assert {"message", "type", "param", "code"} <= error.keys(), error
        assert self.headers["content-type"].startswith("application/json")
        assert isinstance(error["message"], str)
        return dict(error)

    @property
    def attempts(self) -> int:
        """How many tries the answer says there were."""
        return int(self.headers["x-apex-attempts"])

    @property
    def events(self) -> list[bytes]:
        """The values of the `data` lines of a stream, comments left out."""
        lines = self.body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        return [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]

    @property
    def text(self) -> str:
        """The text that was said, in a stream or not."""
        if not self.headers["content-type"].startswith("text/event-stream"):
            return str(self.json["choices"][0]["message"]["content"])
        chunks = [json.loads(event) for event in self.events if event != b"[DONE]"]
        deltas = [choice["delta"] for chunk in chunks for choice in chunk.get("choices", ())]
        return "".join(delta.get("content") or "" for delta in deltas)


class Wire:
    """One client connection, bytes in and out."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        """Write, and wait for nothing."""
        self.writer.write(data)

    async def answer(self, method: str = "POST") -> Got:
        """Read one answer to its end."""
        began = _now()
        status, headers = await self.head()
        body, whole = await self._body(method, status, headers)
        return Got(status, headers, body, _now() - began, whole)

    async def head(self) -> tuple[int, dict[str, str]]:
        """Read the status and the headers."""
        block = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = block.rstrip("\r\n").split("\r\n")
        pairs = (line.split(": ", 1) for line in lines)
        return int(first.split(" ")[1]), {name.lower(): value for name, value in pairs}

    async def chunk(self) -> bytes:
        """Read one chunk of a chunked body; b"" at its end."""
        size = int(await self.reader.readuntil(b"\r\n"), 16)
        data = await self.reader.readexactly(size + 2)
        return data[:-2]

    async def _body(self, method: str, status: int, headers: Mapping[str, str]) -> tuple[bytes, bool]:
        if method == "HEAD" or status in (204, 304):
            return b"", True
        try:
            if "content-length" in headers:
                return await self.reader.readexactly(int(headers["content-length"])), True
        except asyncio.IncompleteReadError as broken:
            return broken.partial, False
        parts = []
        try:
            while part := await self.chunk():
                parts.append(part)
        except (asyncio.IncompleteReadError, ConnectionError):
            return b"".join(parts), False
        return b"".join(parts), True

    def reset(self) -> None:
        """Leave without a goodbye: RST."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        """Leave."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


def ask(**fields: Any) -> Tree:
    """The body of a plain chat, with `fields` over it."""
    return {"model": MODEL, "messages": [{"role": "user", "content": "Hello there"}]} | fields


def request(
    body: Tree | bytes,
    path: str = "/v1/chat/completions",
    key: str | None = KEY,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """The bytes of a POST."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"authorization": f"Bearer {key}"} if key else {}
    sent |= {"content-type": "application/json", "content-length": str(len(data))} | dict(headers or {})
    return head("POST", path, sent) + b"\r\n" + data


def head(method: str, path: str, headers: Mapping[str, str]) -> bytes:
    """A request line and headers, without the empty line."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "host: 127.0.0.1",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n"


def _now() -> float:
    return asyncio.get_running_loop().time()
