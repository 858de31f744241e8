"""The mock provider as a server: it listens, hands each request to the desk and keeps the ledger.

Rule: one instance is one provider with one script; nothing is shared between instances, so a test may run as
many as it likes in one loop. Time is the loop's unless a clock is handed in, and only waits are real.
"""

import asyncio
import signal
import ssl
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Self

from mockprovider import control
from mockprovider.behaviour import Flavour
from mockprovider.connection import Connection, Run
from mockprovider.desk import DIALECTS, Desk, Request
from mockprovider.ledger import BODY_LIMIT, Entry, Ledger
from mockprovider.script import Script
from mockprovider.staging import Act

_BACKLOG = 4096


class _Control:
    """The run of a control request: nobody follows it."""

    __slots__ = ("act",)

    def __init__(self, act: Act) -> None:
        self.act = act

    def wrote(self, size: int) -> None:
        """Not counted."""

    def done(self) -> None:
        """Not counted."""

    def gone(self) -> None:
        """Not counted."""


class _Performance:
    """The run of a provider's reply, kept in the ledger."""

    __slots__ = ("_entry", "_ledger", "_mock", "act")

    def __init__(self, mock: "MockProvider", act: Act, ledger: Ledger, entry: Entry | None) -> None:
        self.act = act
        self._mock = mock
        self._ledger = ledger
        self._entry = entry
        mock.streams_open += act.streaming

    def wrote(self, size: int) -> None:
        """So many bytes went to the transport."""
        self._ledger.bytes_written += size
        if self._entry is not None:
            self._entry.bytes_written += size

    def done(self) -> None:
        """The act was performed to its end."""
        self._over(self.act.outcome)
        if self._entry is not None:
            self._entry.done_at = self._mock.now()

    def gone(self) -> None:
        """The peer left before the end."""
        self._over("client_gone")
        self._ledger.aborted += 1
        self._ledger.streams_aborted += self.act.streaming
        if self._entry is not None:
            self._entry.gone_at = self._mock.now()

    def _over(self, outcome: str) -> None:
        self._mock.streams_open -= self.act.streaming
        self._ledger.outcomes[outcome] += 1
        if self._entry is not None:
            self._entry.outcome = outcome


class MockProvider:
    """A provider on a socket. Use it as an async context manager, or `start` and `close` it.

    `script` may be replaced at any time; its clock and its counters then begin anew. `dialects` restricts
    what is served (`chat`, `responses`, `messages`). `flavour` goes before the script's. `record=False` keeps
    no entries, only counters.
    """

    def __init__(  # noqa: PLR0913  (one keyword a choice)
        self,
        name: str = "mock",
        script: Script | None = None,
        *,
        seed: int = 0,
        dialects: Collection[str] = DIALECTS,
        flavour: Flavour | None = None,
        clock: Callable[[], float] | None = None,
        record: bool = True,
    ) -> None:
        self.name = name
        self.streams_open = 0
        self.port = 0
        self._seed = seed
        self._dialects = dialects
        self._flavour: Flavour | None = flavour
        self._clock = clock
        self._record = record
        self._first = script or Script()
        self._ledger = Ledger()
        self._connections: set[Connection] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: asyncio.Server | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self._began_at = 0.0
        self._desk = self._new_desk(self._first)

    # Living.

    async def start(
        self, host: str = "127.0.0.1", port: int = 0, *, ssl_context: ssl.SSLContext | None = None
    ) -> int:
        """Listen, on any free port if `port` is 0; returns the port. The script's clock begins."""
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._began_at = self.now()
        self._server = await loop.create_server(
            lambda: Connection(self, loop), host, port, ssl=ssl_context, backlog=_BACKLOG
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self.port

    async def close(self) -> None:
        """Stop listening and drop every connection at once."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for connection in tuple(self._connections):
            connection.abort()
        await self._empty.wait()
        await server.wait_closed()

    async def __aenter__(self) -> Self:
        """Start on loopback, on any free port, unless it was started before."""
        if self._server is None:
            await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()

    def now(self) -> float:
        """Seconds by the clock that was handed in, or else the loop's."""
        if self._clock is not None:
            return self._clock()
        return self._loop.time() if self._loop is not None else 0.0

    # Seeing and changing.

    @property
    def script(self) -> Script:
        """The script being played."""
        return self._desk.script

    @script.setter
    def script(self, script: Script) -> None:
        self.play(script)

    @property
    def requests(self) -> list[Entry]:
        """The newest entries, oldest first."""
        return list(self._ledger.entries)

    @property
    def connections_open(self) -> int:
        """How many peers are connected."""
        return len(self._connections)

    def play(self, script: Script) -> None:
        """Replace the script; its clock, counters and dice begin anew."""
        self._began_at = self.now()
        self._desk = self._new_desk(script)

    def reset(self) -> None:
        """Forget all that was seen, and start over with the script of the start."""
        self._ledger = Ledger()
        self.play(self._first)

    def stats(self) -> dict[str, object]:
        """The counters since the start or the last reset, and what is open now."""
        return {
            "name": self.name,
            **self._ledger.told(),
            "open_connections": len(self._connections),
            "streams_open": self.streams_open,
        }

    def told(self, last: int) -> list[dict[str, object]]:
        """The newest entries, oldest first, fit to be shown."""
        return [entry.told() for entry in self.requests[max(0, len(self._ledger.entries) - last) :]]

    # What a connection calls.

    def opened(self, connection: Connection) -> None:
        """A peer has connected."""
        self._connections.add(connection)
        self._ledger.connections += 1
        self._empty.clear()
        if self._server is None:
            connection.abort()  # it was accepted while closing

    def closed(self, connection: Connection) -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def begin(self, request: Request) -> Run:
        """Decide on a request and open its entry."""
        if request.path.startswith(control.PREFIX):
            return _Control(control.answer(self, request))
        now = self.now()
        served = self._desk.serve(request, now - self._began_at)
        self._ledger.count(request.path, served.key_id, served.model)
        entry = None
        if self._record:
            entry = Entry(
                at=now,
                method=request.method,
                path=request.path,
                key_id=served.key_id,
                headers=request.headers,
                body=request.body[:BODY_LIMIT],
                body_bytes=len(request.body),
                model=served.model,
                streaming=served.act.streaming,
            )
            self._ledger.entries.append(entry)
        return _Performance(self, served.act, self._ledger, entry)

    def _new_desk(self, script: Script) -> Desk:
        return Desk(self.name, script, self._seed, self._dialects, self._flavour)


async def run(
    mock: MockProvider,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    announce: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or SIGINT, then drop all and return. `announce` gets one line: the address."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stopped.set)
    try:
        bound = await mock.start(host, port)
        announce(f"{mock.name} listens on http://{f'[{host}]' if ':' in host else host}:{bound}")
        await stopped.wait()
    finally:
        await mock.close()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(signum)
