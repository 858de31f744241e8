"""Where requests wait for a target: in a fair queue for each model, woken by whatever makes one free.

Nobody is sent where it is known to fail: while all targets of a plan are backing off, ejected or full, its
request waits, if the first of them may be tried in time. Who comes later does not overtake. A turn is handed
to a request that waits, in the moment in which there is one. Before all that, a request that has asked for a
probe hears whether it is the probe.
"""

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable

from proxy.config.resilience import Queue
from proxy.fair_queue import FairQueue
from proxy.fleet import Fleet, Turn
from proxy.routing import Plan

ANSWER = 0.1
"""Seconds for which a request waits to hear whether it is a probe: two calls to Redis, one is on its way."""

MARGIN = 10
"""Milliseconds before the end of its patience in which a request must have its turn, for timers are late."""


class Waiter:
    """One request that waits, until the cluster's time `until`. `turn`: what it gets, None if in vain."""

    __slots__ = ("plan", "turn", "until")

    def __init__(self, plan: Plan, turn: asyncio.Future[Turn | None], until: int) -> None:
        self.plan = plan
        self.turn = turn
        self.until = until


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a request waits: for which model, in whose line. `back`: it had its turn, in vain.

    `cost` says how many tokens it is expected to take.
    """

    alias: str
    client: str
    cost: Callable[[], int]
    back: bool = False


class WaitingRoom:
    """The queues of one replica, by the alias of the model. `settings` may be changed."""

    def __init__(self, fleet: Fleet, settings: Queue) -> None:
        self._fleet = fleet
        self.settings = settings
        self._loop = asyncio.get_running_loop()
        self._queues: dict[str, FairQueue[Waiter]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._woken = False
        self._served_at = 0
        self._answered = asyncio.Event()
        fleet.on_change(self._wake)
        fleet.on_answer(self._hear)

    def __len__(self) -> int:
        """How many wait."""
        return sum(map(len, self._queues.values()))

    def lengths(self) -> dict[str, int]:
        """How many wait, by the alias of the model, or by what is addressed directly."""
        return {alias: len(queue) for alias, queue in self._queues.items()}

    def now(self, alias: str, plan: Plan) -> Turn | None:
        """A turn without waiting; None where there is none. Who waits already goes first.

        None as well for a request that may be a probe: `turn` hears whether it is.
        """
        if alias in self._queues and (self._woken or self._fleet.now() != self._served_at):
            self._serve()
        return self._fleet.pick(plan, patient=True)

    async def turn(self, place: Place, plan: Plan, patience: float) -> Turn | None:
        """A turn within `patience` seconds; None where none came, or as soon as none can come in time.

        To be asked where `now` had none. Whether it is a probe is heard first, whatever the patience.
        """
        if self._fleet.awaits(plan):
            began = self._loop.time()
            await self._answer(plan)
            if place.alias in self._queues:
                self._serve()  # who waits already goes first, as in `now`
            turn = self._fleet.pick(plan)
            if turn is not None:
                return turn
            patience -= self._loop.time() - began
        return await self._wait(place, plan, patience)

    async def _answer(self, plan: Plan) -> None:
        """Return when the probe that `plan` wants was granted or not, or nobody has said so in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER):
                while self._fleet.awaits(plan):
                    await self._answered.wait()

    def _hear(self) -> None:
        """The cluster has decided on something: wake all who wait for that, and nobody who will."""
        self._answered.set()
        self._answered = asyncio.Event()

    async def _wait(self, place: Place, plan: Plan, patience: float) -> Turn | None:
        alias, client = place.alias, place.client
        until = self._fleet.now() + int(patience * 1000)
        if not plan.open or patience <= 0 or plan.ready_at(self._fleet) + MARGIN > until:
            return None
        waiter = Waiter(plan, self._loop.create_future(), until)
        queue = self._queues.setdefault(alias, FairQueue(self.settings.max_length))
        if place.back:
            queue.put_back(client, waiter, place.cost())
        else:
            self._lose(queue.put(client, waiter, place.cost()))
            if len(self) > self.settings.max_length:
                self._lose(max(self._queues.values(), key=len).shed())
        self._wake()
        timer = self._loop.call_later(patience, self._lose, waiter)
        try:
            return await waiter.turn
        except asyncio.CancelledError:
            self._give_back(waiter)
            raise
        finally:
            timer.cancel()
            queue.remove(client, waiter)
            if not queue and self._queues.get(alias) is queue:
                del self._queues[alias]
            self._wake()  # the next of its line may wait for another target

    @staticmethod
    def _lose(waiter: Waiter | None) -> None:
        if waiter is not None and not waiter.turn.done():
            waiter.turn.set_result(None)

    def _give_back(self, waiter: Waiter) -> None:
        """Its client has left in the moment in which it got its turn."""
        if waiter.turn.done() and not waiter.turn.cancelled():
            turn = waiter.turn.result()
            if turn is not None:
                self._fleet.end(turn)

    def _wake(self) -> None:
        if self._queues and not self._woken:
            self._woken = True
            self._loop.call_soon(self._serve)

    def _serve(self) -> None:
        """Hand out the turns there are, queue by queue; again when the next target is ready."""
        self._woken = False
        self._served_at = self._fleet.now()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        aliases = list(self._queues)
        for alias in aliases:
            self._queues[alias].serve(self._offer)
        if len(aliases) > 1:  # another is the first the next time
            self._queues[aliases[0]] = self._queues.pop(aliases[0])
        offered = [waiter for queue in self._queues.values() for waiter in queue.candidates()]
        for waiter in offered:
            if waiter.plan.ready_at(self._fleet) > waiter.until:
                self._lose(waiter)  # and the next of its line is looked at when it has gone
        times = [time for waiter in offered if (time := waiter.plan.next_at(self._fleet)) is not None]
        if times:
            soonest = min(times)
            wait = (soonest - self._fleet.now() + 1) / 1000
            self._timer = self._loop.call_later(wait, self._serve)

    def _offer(self, waiter: Waiter) -> bool:
        if waiter.turn.done():
            return True  # it has left, or waited in vain
        turn = self._fleet.pick(waiter.plan)
        if turn is None:
            return False
        waiter.turn.set_result(turn)
        return True
