"""Where requests wait for a target: in a fair queue for each model, woken by whatever makes one free.

Nobody is sent where it is known to fail: while all targets of a plan are backing off, ejected or full, its
request waits, if the first of them may be tried in time. Who comes later does not overtake. A turn is handed
to a request that waits, in the moment in which there is one.
"""

import asyncio
from collections.abc import Callable

from proxy.config.resilience import Queue
from proxy.fair_queue import FairQueue
from proxy.fleet import Fleet, Turn
from proxy.routing import Plan


class Waiter:
    """One request that waits. `turn` is what it gets: None where it waited in vain."""

    __slots__ = ("plan", "turn")

    def __init__(self, plan: Plan, turn: asyncio.Future[Turn | None]) -> None:
        self.plan = plan
        self.turn = turn


class WaitingRoom:
    """The queues of one replica, by the alias of the model."""

    def __init__(self, fleet: Fleet, settings: Queue) -> None:
        self._fleet = fleet
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._queues: dict[str, FairQueue[Waiter]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._woken = False
        fleet.on_change(self._wake)

    def __len__(self) -> int:
        """How many wait."""
        return sum(map(len, self._queues.values()))

    def now(self, alias: str, plan: Plan) -> Turn | None:
        """A turn without waiting; None where there is none, or others wait for it."""
        return self._fleet.pick(plan) if alias not in self._queues else None

    async def turn(
        self, alias: str, client: str, plan: Plan, patience: float, cost: Callable[[], int]
    ) -> Turn | None:
        """A turn, at once or within `patience` seconds; None where none came, or none can come in time.

        `cost` says how many tokens the request is expected to take.
        """
        found = self.now(alias, plan)
        if found is not None:
            return found
        wait = (plan.ready_at(self._fleet) - self._fleet.now()) / 1000
        if not plan.open or patience <= 0 or wait > patience:
            return None
        waiter = Waiter(plan, self._loop.create_future())
        queue = self._queues.setdefault(alias, FairQueue(self._settings.max_length))
        self._lose(queue.put(client, waiter, cost()))
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
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for queue in self._queues.values():
            queue.serve(self._offer)
        soonest = min(
            (head.plan.ready_at(self._fleet) for queue in self._queues.values() for head in queue.heads()),
            default=None,
        )
        if soonest is not None and soonest > self._fleet.now():
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
