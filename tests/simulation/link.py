"""One replica's way to the store, with what can happen on it.

It keeps what the real link promises: replies come in the order of the calls, a call is answered within its
deadline or is `Unavailable` whether it was carried out or not, after failures nothing is sent until the
server has been found again, and `generation` grows before the first call reaches another server.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

from proxy.link import Reason, Script, Unavailable
from proxy.link.breaker import Breaker, Jitter, State
from proxy.link.node import DIAL_S, FIRST_S, PROBE_CAP_S, PROBE_S
from proxy.link.subscription import SILENT_S
from simulation.faults import Weather
from simulation.invariants import ReplicaWatch
from simulation.ledger import Ledger
from simulation.store import SimStore, Told

DEADLINE = 0.05
TICK = 1e-6
"""So much later than what came before it: the order is kept."""


class _Call:
    """One call on its way."""

    __slots__ = ("args", "epoch", "future", "lost", "script", "timer")

    def __init__(self, script: str, args: Sequence[str | int | bytes], epoch: int, *, lost: bool) -> None:
        loop = asyncio.get_running_loop()
        self.script = script
        self.args = args
        self.epoch = epoch
        self.lost = lost
        self.future: asyncio.Future[Any] = loop.create_future()
        self.timer: asyncio.TimerHandle | None = None


class SimLink:
    """A `peers.Link`, and the subscription beside it."""

    def __init__(
        self, name: str, store: SimStore, weather: Weather, draw: random.Random, ledger: Ledger
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._name = name
        self._store = store
        self._draw = draw
        self._ledger = ledger
        self._breaker = Breaker()
        self._jitter = Jitter(draw, PROBE_S, PROBE_CAP_S)
        self._calls: dict[_Call, None] = {}
        self._epoch = 0
        self._run = store.run
        self._mending = False
        self._sent = self._ran = self._answered = self._pushed = 0.0
        self._subscribed = False
        self._subscription = 0
        self._handler: Callable[[bytes], None] | None = None
        self._on_subscribed: Callable[[], None] | None = None
        self._silent = False
        self._cut = False
        self._dead = False
        self._away_since = self._loop.time()
        self.weather = weather
        self.watch: ReplicaWatch | None = None
        self.generation = 0
        store.links.append(self)
        if store.up:
            self._breaker.close()
        else:
            self._look()

    @property
    def available(self) -> bool:
        """Whether calls are sent."""
        return self._breaker.state is State.CLOSED

    @property
    def _reachable(self) -> bool:
        return self._store.up and not self._cut and not self._dead

    @property
    def away(self) -> float:
        """For how many seconds no call was sent; 0 where calls are sent."""
        return 0.0 if self.available else self._loop.time() - self._away_since

    @property
    def calling(self) -> bool:
        """Whether a call is on its way."""
        return bool(self._calls)

    # Calls.

    async def call(self, what: Script, keys: Sequence[str], args: Sequence[str | int | bytes]) -> Any:
        """See `peers.Link`."""
        if not self.available:
            self._ledger.troubled()
            raise Unavailable(Reason.OPEN)
        call = _Call(what.name, args, self._epoch, lost=self._draw.random() < self.weather.request_lost)
        now = self._loop.time()
        self._sent = max(self._sent + TICK, now + self.weather.drawn(self._draw))
        self._loop.call_at(self._sent, self._arrive, call)
        call.timer = self._loop.call_at(now + DEADLINE, self._expire, call)
        self._calls[call] = None
        return await call.future

    def _arrive(self, call: _Call) -> None:
        now = self._loop.time()
        waits = max(self._store.hung_until, self._ran)
        if waits > now:
            self._ran = waits + TICK
            self._loop.call_at(self._ran, self._execute, call)
        else:
            self._execute(call)

    def _execute(self, call: _Call) -> None:
        if call.lost or call.epoch != self._epoch or not self._reachable:
            return
        told = self._store.call(call.script, call.args)
        if self._draw.random() < self.weather.reply_lost:
            self._ledger.note(self._name, f"the reply to {call.script} is lost")
            return
        now = self._loop.time()
        self._answered = max(self._answered + TICK, now + self.weather.drawn(self._draw))
        self._loop.call_at(self._answered, self._answer, call, told)

    def _answer(self, call: _Call, told: Told) -> None:
        if call not in self._calls or self._cut:
            return  # too late, or it never comes
        self._over(call)
        self._breaker.record(self._loop.time(), good=True)
        if call.future.done():
            return  # nobody waits any more
        if self.watch is not None:
            self.watch.heard(told.records)
        call.future.set_result(told.what)

    def _expire(self, call: _Call) -> None:
        self._over(call)
        self._ledger.note(self._name, f"{call.script} is not answered in time")
        self._ledger.troubled()
        if not call.future.done():
            call.future.set_exception(Unavailable(Reason.TIMEOUT))
        if self._breaker.record(self._loop.time(), good=False):
            self._look()

    def _over(self, call: _Call) -> None:
        del self._calls[call]
        if call.timer is not None:
            call.timer.cancel()

    # Faults.

    def cut(self, *, silent: bool) -> None:
        """Nothing gets through, in neither direction; `silent`: and nobody is told."""
        self._cut = True
        if silent:
            self._loop.call_later(SILENT_S, self._doubt, self._subscription)
        else:
            self.lose()

    def mend(self) -> None:
        """Everything gets through again."""
        self._cut = False

    def kill(self) -> None:
        """The replica is gone."""
        self._dead = True
        self._epoch += 1
        self._subscribed = False
        self._store.links.remove(self)
        for call in tuple(self._calls):
            self._over(call)
            call.future.cancel()

    def lose(self) -> None:
        """The connections are gone: what is on its way fails."""
        self._epoch += 1
        self._breaker.trip()
        self._ledger.troubled()
        for call in tuple(self._calls):
            self._over(call)
            if not call.future.done():
                call.future.set_exception(Unavailable(Reason.CONNECTION))
        self._look()
        self._unsubscribe()

    def _look(self) -> None:
        """Look for the server from now on."""
        if not self._mending:
            self._ledger.note(self._name, "is without the store")
            self._mending, self._away_since = True, self._loop.time()
            self._loop.call_later(self._draw.uniform(0.0, FIRST_S), self._probe)

    def _probe(self) -> None:
        if self._dead:
            return
        self._ledger.troubled()
        good = self._reachable and self._store.hung_until <= self._loop.time()
        if good and self._run != self._store.run:
            self._run = self._store.run
            self.generation += 1
            self._unsubscribe()
        self._breaker.probed(good=good)
        if self.available:
            self._mending = False
            self._jitter.reset()
            self._ledger.note(self._name, "has found the store")
        else:
            self._loop.call_later(PROBE_S if good else self._jitter.next(), self._probe)

    # The subscription.

    def subscribe(self, handler: Callable[[bytes], None], on_subscribed: Callable[[], None]) -> None:
        """Give the payloads of the channel to `handler` for as long as the link lives."""
        self._handler, self._on_subscribed = handler, on_subscribed
        self._subscribe()

    def _subscribe(self) -> None:
        if self._dead or self._subscribed or self.weather.deaf or self._on_subscribed is None:
            return
        if not self._reachable or self._store.hung_until > self._loop.time():
            self._loop.call_later(self._draw.uniform(DIAL_S, PROBE_CAP_S), self._subscribe)
            return
        self._subscribed = True
        self._on_subscribed()

    def _unsubscribe(self) -> None:
        if self._subscribed:
            self._subscribed = False
            self._subscription += 1
            self._loop.call_later(self._draw.uniform(0.0, DIAL_S), self._subscribe)

    def _doubt(self, subscription: int) -> None:
        if self._cut and self._subscription == subscription:
            self._unsubscribe()

    def publish(self, told: Told) -> None:
        """A message of the channel; it may be lost, and nobody will know."""
        if not self._subscribed or self._cut:
            return
        if self._draw.random() < self.weather.message_lost:
            return
        self._pushed = max(self._pushed + TICK, self._loop.time() + self.weather.drawn(self._draw))
        self._loop.call_at(self._pushed, self._push, told, self._subscription)

    def _push(self, told: Told, subscription: int) -> None:
        if self._handler is None or not self._subscribed or self._subscription != subscription or self._cut:
            return
        if self.watch is not None:
            self.watch.heard(told.records)
        self._handler(told.what)
