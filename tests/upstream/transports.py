"""The transports under test, and the bench that a conformance test runs a scenario on.

Another transport joins by an entry in `TRANSPORTS`. Each runs on both event loops, for they differ in
when and how they tell a protocol that its connection is gone.
"""

import asyncio
import contextlib
import dataclasses
import functools
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import pytest
import trustme
import uvloop
from hostile import HostileServer, Peer, Script, serving

from proxy.errors import Fault, FaultKind
from proxy.upstream import Call, Reply, Upstream
from proxy.upstream.transport import PooledUpstream


class Transport(Protocol):
    """How a transport is made."""

    def __call__(
        self, environment: Mapping[str, str], *, ca_file: str | None = None, tls: ssl.SSLContext | None = None
    ) -> Upstream:
        """A transport using the proxies of `environment`, trusting the system's authorities and `ca_file`'s.

        `tls` replaces the context that would be made.
        """


TRANSPORTS: list[tuple[str, Transport]] = [("pooled", PooledUpstream)]
LOOPS: list[tuple[str, Callable[[], asyncio.AbstractEventLoop]]] = [
    ("asyncio", asyncio.new_event_loop),
    ("uvloop", uvloop.new_event_loop),
]


PROMPT_S = 0.1
"""How soon a peer must see that its client has left."""

_LIMIT_S = 10.0  # what hangs under uvloop is not woken by pytest's own alarm


class Bench:
    """What a scenario works with; everything it makes is closed when the scenario ends."""

    def __init__(self, transport: Transport, things: contextlib.AsyncExitStack) -> None:
        self._transport = transport
        self._things = things
        self._upstream: Upstream | None = None

    def upstream(self, environment: Mapping[str, str] | None = None, ca_file: str | None = None) -> Upstream:
        """A new transport. Without `ca_file` it trusts nobody: loading whom to trust is slow."""
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if ca_file is None else None
        upstream = self._transport(environment or {}, ca_file=ca_file, tls=tls)
        self._things.push_async_callback(upstream.close)
        return upstream

    async def serve(
        self, script: Script, *, secure: bool = False, name: str = "127.0.0.1", send_buffer: int | None = None
    ) -> HostileServer:
        """A hostile server; with `secure`, one whose certificate is made out to `name` by our authority."""
        tls = server_context(name) if secure else None
        return await self._things.enter_async_context(serving(script, tls=tls, send_buffer=send_buffer))

    def ca_file(self) -> str:
        """A file with the authority that vouches for secure servers."""
        return self._things.enter_context(authority().cert_pem.tempfile())

    async def send(
        self, server: HostileServer, body: bytes = b"{}", *, upstream: Upstream | None = None, **parts: Any
    ) -> Reply:
        """Send a POST to `server` with `upstream`, or with one transport the scenario's sends share."""
        if upstream is None:
            upstream = self._upstream = self._upstream or self.upstream()
        call = Call(method="POST", url=server.url(), headers=(), body=body)
        return await upstream.send(msgspec.structs.replace(call, **parts))


Scenario = Callable[[Bench], Awaitable[None]]


@dataclasses.dataclass(frozen=True, slots=True)
class Lab:
    """One transport on one event loop."""

    transport: Transport
    loop: Callable[[], asyncio.AbstractEventLoop]

    def run(self, scenario: Scenario, raised: Sequence[Exception] = ()) -> None:
        """Run `scenario`; fails where it fails, or where the loop was told of other errors than `raised`."""
        unhandled: list[dict[str, Any]] = []

        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _loop, context: unhandled.append(context))
            async with asyncio.timeout(_LIMIT_S), contextlib.AsyncExitStack() as things:
                await scenario(Bench(self.transport, things))

        with asyncio.Runner(loop_factory=self.loop) as runner:
            runner.run(main())
        assert [context.get("exception") for context in unhandled] == [*raised], unhandled


conforms = pytest.mark.parametrize(
    "lab",
    [
        pytest.param(Lab(transport, loop), id=f"{name}-{loop_name}")
        for name, transport in TRANSPORTS
        for loop_name, loop in LOOPS
    ],
)


async def whole(reply: Reply) -> bytes:
    """The body of `reply`, read to its end."""
    parts = []
    while part := await reply.read():
        parts.append(part)
    reply.close()
    return b"".join(parts)


async def fault_of(work: Awaitable[object]) -> Fault:
    """The fault that `work` ends with; its words hold no address."""
    with pytest.raises(Fault) as caught:
        await work
    for words in (str(caught.value), repr(caught.value)):
        assert "127.0.0.1" not in words
        assert "localhost" not in words
        assert "http:" not in words
    return caught.value


async def broken_end(reply: Reply) -> tuple[bytes, Fault]:
    """What of the body of `reply` arrived, and the fault it ended with."""
    parts: list[bytes] = []

    async def drink() -> None:
        while part := await reply.read():
            parts.append(part)

    fault = await fault_of(drink())
    reply.close()
    return b"".join(parts), fault


async def poured(reply: Reply, wants: Callable[[], bool] = lambda: True) -> tuple[bytes, FaultKind | None]:
    """What of the body of `reply` was handed on or read, in order, and the fault it ended with.

    `wants` is asked, each time that something is handed on, whether more is to be.
    """
    parts: list[bytes] = []

    def taker(part: bytes) -> bool:
        parts.append(part)
        return wants()

    while True:
        await reply.pour(taker)
        try:
            part = await reply.read()
        except Fault as fault:
            reply.close()
            return b"".join(parts), fault.kind
        if not part:
            reply.close()
            return b"".join(parts), None
        parts.append(part)


async def leaves_promptly(peer: Peer) -> None:
    """Fails unless the client's leaving reaches `peer` in time."""
    async with asyncio.timeout(PROMPT_S):
        await peer.closed.wait()


@functools.cache
def authority() -> trustme.CA:
    """The authority that signs the hostile servers' certificates."""
    return trustme.CA()


@functools.cache
def server_context(name: str) -> ssl.SSLContext:
    """The TLS side of a hostile server called `name`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert(name).configure_cert(context)
    return context
