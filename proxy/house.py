"""What the connections of one listener have in common."""

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine, MutableSet, Sequence
from typing import Any, Protocol

from proxy.config.settings import Bounds
from proxy.intake import Header

Application = Callable[..., Coroutine[Any, Any, None]]
"""An ASGI application."""

Upgrade = Callable[[bytes, asyncio.Transport], asyncio.Protocol]
"""Makes a WebSocket, which has the connection to itself, out of the head that asks for it."""


class Shared(Protocol):
    """What all connections of a server share: uvicorn's `ServerState`."""

    total_requests: int

    @property
    def connections(self) -> MutableSet[Any]:
        """Those that are open."""

    @property
    def tasks(self) -> MutableSet[asyncio.Task[None]]:
        """The requests that are being answered."""

    @property
    def default_headers(self) -> Sequence[Header]:
        """What every answer carries: the date."""


@dataclasses.dataclass
class House:
    """What the connections of one listener have in common. All of it may change while they are open.

    `keep_alive` is how long an idle one is kept, in seconds. `sockets` are the paths at which a WebSocket may
    be opened, `upgrade` makes one. `leaving`: each answer is the last of its connection; `cut`: even where
    others wait for theirs.
    """

    application: Application
    shared: Shared
    bounds: Bounds
    keep_alive: float
    sockets: frozenset[str]
    upgrade: Upgrade
    leaving: bool = False
    cut: bool = False
