"""The link: one object through which everything here talks to Redis.

Calls of one turn of the event loop travel as one batch per server, with one deadline. Nothing is retried
but what the server says it did not run: an unknown script (NOSCRIPT) and a key that lives elsewhere
(MOVED, ASK), once, within the deadline. When the servers are away a call fails at once and costs nothing.
"""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from proxy.clock import Clock
from proxy.config.redis_url import Address, Endpoint, Layout
from proxy.link.breaker import State
from proxy.link.cluster import Cluster
from proxy.link.connection import Batch, Call
from proxy.link.counters import Counters
from proxy.link.dialler import Dialler, Settings
from proxy.link.failure import Reason, Unavailable
from proxy.link.node import Means, Node
from proxy.link.script import Argument, Script, pack_call
from proxy.link.sentinel import Sentinels
from proxy.link.subscription import Subscription
from proxy.tasks import Tasks

Request = tuple[Script | str, Sequence[Argument], Sequence[Argument]]
"""A script or a command, its keys and its arguments."""


@dataclass(frozen=True, slots=True)
class Change:
    """A turn of one server. `server` and `detail` hold no secret."""

    state: State
    server: str
    reason: Reason
    detail: str


class Link:
    """The connections to the servers behind one address. Construct and use it within one event loop.

    `scripts` are loaded with each connection; one that is not among them is loaded when first called.
    """

    def __init__(
        self,
        address: Address,
        *,
        clock: Clock,
        tasks: Tasks,
        draw: random.Random,
        scripts: Iterable[Script] = (),
        settings: Settings = Settings(),  # noqa: B008  (frozen: a default cannot be changed by anybody)
    ) -> None:
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._scripts = {script.sha: script for script in scripts}
        self.counters = Counters()
        dialler = Dialler(address, settings, clock, self.counters)
        self._means = Means(
            settings=settings,
            clock=clock,
            tasks=tasks,
            draw=draw,
            dialler=dialler,
            counters=self.counters,
            scripts=self._scripts.values,
            clustered=address.layout is Layout.CLUSTER,
        )
        self._listeners: list[Callable[[Change], None]] = []
        self._subscriptions: list[Subscription] = []
        self._generation = 0
        self._only: Node | None = None
        self._cluster: Cluster | None = None
        if address.layout is Layout.CLUSTER:
            self._cluster = Cluster(address.endpoints, self._means, self)
        else:
            self._only = Node(self._locate(), self._means, self)

    def __repr__(self) -> str:
        """Where and how it is, without credentials."""
        return f"<Link {self._address} {self.state.value}>"

    @property
    def state(self) -> State:
        """The worst of the servers': in a Cluster some keys may be at hand while others are not."""
        states = {node.state for node in self._nodes()} or {State.OPEN}
        return next(state for state in (State.OPEN, State.HALF_OPEN, State.CLOSED) if state in states)

    @property
    def available(self) -> bool:
        """Whether any call can succeed."""
        return any(node.ready for node in self._nodes())

    @property
    def generation(self) -> int:
        """Grows when what was written may be lost: a failover or a restart."""
        return self._generation

    def on_change(self, listener: Callable[[Change], None]) -> None:
        """Call `listener` at every change of a server's state, and if the first attempt fails."""
        self._listeners.append(listener)

    async def start(self, wait_s: float = 1.0) -> None:
        """Connect. Returns when the first attempts have ended, after `wait_s` at the latest.

        If the servers are away that is no error: the background goes on trying.
        """
        try:
            async with asyncio.timeout(wait_s):
                await self._started()
        except TimeoutError:
            return

    async def call(
        self, what: Script | str, keys: Sequence[Argument] = (), args: Sequence[Argument] = ()
    ) -> Any:
        """The reply to a script or a command: bytes, int, None, or a list of these.

        A call whose caller is cancelled is carried out all the same: a settlement is never lost with
        the request that asked for it.

        Raises:
            Unavailable: the servers are away, or did not answer within the deadline.
            ScriptError: the script or the command is wrong.
        """
        return await self._send(what, keys, args)

    def send(
        self, what: Script | str, keys: Sequence[Argument] = (), args: Sequence[Argument] = ()
    ) -> asyncio.Future[Any]:
        """As `call`, but on its way when this returns; what fails comes with the reply."""
        try:
            return self._send(what, keys, args)
        except Unavailable as error:
            refused: asyncio.Future[Any] = self._loop.create_future()
            refused.set_exception(error.with_traceback(None))  # else its frames and it hold each other
            return refused

    async def call_many(self, requests: Sequence[Request]) -> list[Any]:
        """The replies to several calls, sent together.

        A call that fails has its `Unavailable` or `ScriptError` in its place.
        """
        return await asyncio.gather(*itertools.starmap(self.send, requests), return_exceptions=True)

    def subscribe(
        self,
        channel: str,
        handler: Callable[[bytes], None],
        on_subscribed: Callable[[], None] | None = None,
    ) -> Subscription:
        """Give every payload published on `channel` to `handler`, until the link closes.

        `on_subscribed` runs after each time the subscription was made: what came before it was missed.
        """
        subscription = Subscription(
            channel, handler, locate=self._locate(), means=self._means, on_subscribed=on_subscribed
        )
        self._subscriptions.append(subscription)
        return subscription

    async def close(self) -> None:
        """End all connections and tasks; calls on their way fail. Harmless when repeated."""
        for subscription in self._subscriptions:
            await subscription.close()
        self._subscriptions.clear()
        if self._cluster is not None:
            await self._cluster.close()
        if self._only is not None:
            await self._only.close()

    def _send(
        self, what: Script | str, keys: Sequence[Argument], args: Sequence[Argument]
    ) -> asyncio.Future[Any]:
        node = self._only or self._route(keys)
        if not node.ready:
            raise node.refusal()
        future: asyncio.Future[Any] = self._loop.create_future()
        node.submit(Call(pack_call(what, keys, args), future, None if isinstance(what, str) else what))
        return future

    async def _started(self) -> None:
        if self._only is not None:
            self._only.start()
            await self._only.attempted.wait()
        if self._cluster is not None:
            self._cluster.start()
            await self._cluster.mapped.wait()
            for node in self._cluster.nodes:
                await node.attempted.wait()

    def _nodes(self) -> Sequence[Node]:
        if self._cluster is not None:
            return self._cluster.nodes
        return (self._only,) if self._only is not None else ()

    def _route(self, keys: Sequence[Argument]) -> Node:
        assert self._cluster is not None
        return self._cluster.route(keys)

    def _locate(self) -> Callable[[], Awaitable[Endpoint]]:
        """How a server is found, by the layout."""
        endpoints = self._address.endpoints
        if self._cluster is not None:
            return self._cluster.locate
        if self._address.layout is Layout.SENTINEL:
            return Sentinels(endpoints, self._address.service, self._means.dialler).locate

        async def locate() -> Endpoint:
            return endpoints[0]

        return locate

    # What the nodes tell.

    def on_state(self, node: Node, reason: Reason) -> None:
        """Tell the listeners."""
        change = Change(node.state, str(node.endpoint or self._address), reason, node.detail)
        for listener in self._listeners:
            listener(change)

    def on_identity(self) -> None:
        """Move the generation on, and look for publishers anew."""
        self._generation += 1
        for subscription in self._subscriptions:
            subscription.restart()

    def on_astray(self) -> None:
        """A cluster's map may be out of date; else the next attempt looks anyway."""
        if self._cluster is not None:
            self._cluster.suspect()

    def redirect(self, batch: Batch, call: Call, text: str) -> bool:
        """Follow MOVED and ASK in a cluster; elsewhere they are failures."""
        return self._cluster is not None and self._cluster.redirect(call, text, batch.due)
