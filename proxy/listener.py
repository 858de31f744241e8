"""A listening port: uvicorn's server, with connections of our own.

uvicorn accepts, keeps the date, counts what is in flight and closes; its WebSocket is what upgraded
connections become. What a connection reads and writes is ours (`connection`, `intake`, `cycle`), for its
bounds and its cost.
"""

import asyncio
import contextlib
import math
import socket
from collections.abc import Iterator

import uvicorn

from proxy.client_connection import Connection
from proxy.config.settings import Bounds, Config
from proxy.house import Application, House
from proxy.relay import PATIENCE
from proxy.websocket import SocketProtocol

BACKLOG = 2048
LAST_WORDS = 1.0
"""Seconds a request that is cut has to tell its client so."""


class Listener(uvicorn.Server):
    """One port and what answers on it. Signals are the owner's business, not the server's.

    `keep_alive` is how long an idle connection is kept, in seconds; `sockets` are the paths that may be
    opened as WebSockets.
    """

    def __init__(
        self,
        app: Application,
        keep_alive: float,
        bounds: Bounds,
        sockets: frozenset[str] = frozenset(),
    ) -> None:
        def connect(**_: object) -> Connection:
            return Connection(self._house)

        super().__init__(
            uvicorn.Config(
                app,
                http=connect,  # type: ignore[arg-type]  # whatever makes a protocol will do
                ws=SocketProtocol if sockets else "none",
                ws_max_size=bounds.body,
                ws_ping_timeout=PATIENCE.slow,
                lifespan="off",
                log_config=None,
                log_level="critical",  # requests have their own line, and what fails is answered
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=math.ceil(keep_alive),
            )
        )
        self._house = House(app, self.server_state, bounds, keep_alive, sockets, self._upgraded)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start accepting; `up` is set once it does."""
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signal handlers alone."""
        yield

    def _upgraded(self, head: bytes, transport: asyncio.Transport) -> asyncio.Protocol:
        """A connection becomes a WebSocket."""
        opened = SocketProtocol(config=self.config, server_state=self.server_state, app_state={})
        opened.connection_made(transport)
        opened.data_received(head)
        return opened

    def renew(self, config: Config) -> None:
        """The bounds of another configuration hold from now on; for WebSockets from the next one on."""
        self._house.bounds = config.bounds
        self.config.ws_max_size = config.bounds.body

    def leave(self) -> None:
        """Answer on, but say `connection: close`: clients that come again go elsewhere."""
        self._house.leaving = True
        for connection in self.server_state.connections:
            if isinstance(connection, Connection):
                connection.leave()

    def stop(self) -> None:
        """Stop accepting and let what is in flight finish; then `serve` ends."""
        self._house.leaving = True
        self.should_exit = True

    async def cut(self) -> None:
        """Cancel what is still being answered, and wait a moment for its last words. What waits has none."""
        self._house.cut = True
        running = set(self.server_state.tasks)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=LAST_WORDS)


def bind(host: str, port: int, *, shared: bool) -> socket.socket:
    """A listening socket. `shared` lets other workers bind the same port. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock
