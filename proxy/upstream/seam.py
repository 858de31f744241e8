"""What the rest of the proxy knows of an HTTP client: a `Call` goes out, a `Reply` comes back.

Any transport behind this seam passes the same conformance tests (tests/upstream/). What it promises:

- `send` returns when the response head is there. It raises `Fault` of kind DNS, CONNECT,
  CONNECT_TIMEOUT, TLS, RESET or PROTOCOL; nothing else. It knows only the connect timeout: how long to
  wait for a head or for bytes is the caller's to decide, and the caller says so by cancelling.
- Cancelling `send`, `read` or `pour`, or `Reply.close` before the end, closes the connection at once: a
  caller that leaves stops the provider's meter.
- A connection taken from the pool that dies within a second after the request was written, before one byte
  of the response, is replaced by a fresh one, once; the reply says so in `resent`. One that dies later is
  RESET, for the server may have worked on the request. A fresh connection is never tried twice.
- Reads are pulled: what nobody reads is not read from the socket beyond one bounded buffer.
- A body that only the close delimits has ended where the server closes its side; over TLS, where TLS says so.
- Redirects are not followed, cookies not kept, bodies not decompressed (`accept-encoding: identity` is
  sent), and `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` of the environment are honoured.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec


class Call(msgspec.Struct, frozen=True):
    """One request to an upstream.

    `url` is absolute and comes from the operator's config alone. `headers` are complete but for `host`,
    `content-length`, `accept-encoding` and connection headers, which the transport writes. Header names
    are lower case. `connect_timeout` covers name lookup, TCP and TLS, in seconds.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    connect_timeout: float = 5.0

    def __repr__(self) -> str:
        """The method and the body's size: URL and headers may hold what must not be printed."""
        return f"<Call {self.method} {len(self.body)} bytes>"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """The same: what a `Struct` has of its own tells every field."""
        return [("method", self.method), ("size", len(self.body))]


Taker = Callable[[bytes], bool]
"""Takes bytes of a body as they arrive, in the midst of reading; whether it wants more of them."""


class Reply(Protocol):
    """The response to a `Call`: its head, and its body to be pulled."""

    @property
    def status(self) -> int:
        """The HTTP status, 200 to 599 (1xx are skipped)."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Response headers under lower-case names. A repeated header's values are joined by ", "."""

    @property
    def resent(self) -> bool:
        """Whether a stale pooled connection was replaced by a fresh one on the way."""

    async def read(self) -> bytes:
        """The next bytes of the body as they arrived, never empty before the end; b"" at the end.

        Raises `Fault`: TRUNCATED where the connection ended within the body, RESET where the
        connection was reset, PROTOCOL where the framing itself is wrong.
        """

    async def pour(self, taker: Taker) -> None:
        """Hand what comes of the body to `taker` at once, until it wants no more or something has to be read.

        A transport may come back without having handed on anything: `read` has it all. Nothing is raised: how
        the body ends, for better or for worse, is `read`'s to say, after what came along with the end. What
        `taker` wants no more of waits to be read, within the same bound. `close` ends the wait.

        `taker` must not raise. If it does, the connection is closed, `read` raises RESET then, and the event
        loop's exception handler is told what it was.
        """

    def close(self) -> None:
        """Give the connection back if the body was read to its end, else close it at once. Idempotent."""


class Upstream(Protocol):
    """A transport: a pool of connections to every origin."""

    async def send(self, call: Call) -> Reply:
        """Send `call` and wait for the head of its response. Raises `Fault`."""

    async def close(self) -> None:
        """Close every connection. Replies still open are broken."""


async def read_whole(reply: Reply, limit: int) -> bytes | None:
    """The whole body of `reply`, or None where it is larger than `limit` bytes (the reply is closed then)."""
    first = await reply.read()
    if len(first) > limit:
        reply.close()
        return None
    parts = [first]
    size = len(first)
    while part := await reply.read():
        size += len(part)
        if size > limit:
            reply.close()
            return None
        parts.append(part)
    return first if len(parts) == 1 else b"".join(parts)
