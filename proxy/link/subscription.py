"""A channel, listened to for as long as the link lives, whatever happens to the server.

On a connection of its own: a subscriber may ask for nothing else. What was published while it was away is
lost (Pub/Sub keeps nothing), so `on_subscribed` runs after each (re)subscription, for the owner to read
what it missed. A PING a second tells a silent connection from a dead one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from proxy.config.redis_url import Endpoint
from proxy.link.breaker import Jitter
from proxy.link.connection import Connection, Owner
from proxy.link.failure import Reason, Unavailable
from proxy.link.node import DIAL_S, PROBE_CAP_S, Means
from proxy.link.script import pack

PING_S = 1.0
SILENT_S = 2.5

_PING = pack("PING")


class Subscription(Owner):
    """One channel's. `handler` is given each payload, in the loop's callback: it must be short."""

    def __init__(
        self,
        channel: str,
        handler: Callable[[bytes], None],
        *,
        locate: Callable[[], Awaitable[Endpoint]],
        means: Means,
        on_subscribed: Callable[[], None] | None,
    ) -> None:
        self._channel = channel
        self._handler = handler
        self._locate = locate
        self._means = means
        self._on_subscribed = on_subscribed
        self._jitter = Jitter(means.draw, DIAL_S, PROBE_CAP_S)
        self._connection: Connection | None = None
        self._task = means.tasks.spawn(self._run(), "redis-subscription")
        self.subscribed = False

    def restart(self) -> None:
        """Look for the server anew."""
        if self._connection is not None:
            self._connection.abort(Reason.MOVED, "another server")

    async def close(self) -> None:
        """End it."""
        self._task.cancel()
        await asyncio.wait({self._task})
        if self._connection is not None:
            self._connection.abort(Reason.CLOSED, "the link is closed")
            await self._connection.closed

    # What the connection tells.

    def on_push(self, connection: Connection, reply: Any) -> None:
        """A message, the confirmation of the subscription, a pong, or a refusal."""
        if not isinstance(reply, list):
            connection.abort(Reason.REFUSED, "SUBSCRIBE was refused")
        elif reply[0] == b"message":
            self._handler(reply[2])
        elif reply[0] == b"subscribe":
            self.subscribed = True
            self._jitter.reset()
            if self._on_subscribed is not None:
                self._on_subscribed()

    def on_lost(self, connection: Connection) -> None:
        """The task finds out by itself."""
        if connection is self._connection:
            self.subscribed = False

    async def _run(self) -> None:
        while True:
            try:
                endpoint = await self._locate()
                self._connection, _ = await self._means.dialler.dial(endpoint, self)
            except Unavailable:
                self._connection = None
            else:
                self._connection.write(pack("SUBSCRIBE", self._channel))
                await self._watch(self._connection)
            await asyncio.sleep(self._jitter.next())

    async def _watch(self, connection: Connection) -> None:
        """Return when the connection has ended, or end it when it is silent."""
        while not connection.closed.done():
            await asyncio.wait({connection.closed}, timeout=PING_S)
            connection.write(_PING)
            if self._means.clock.monotonic() - connection.heard > SILENT_S:
                connection.abort(Reason.TIMEOUT, "silent")
