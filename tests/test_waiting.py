"""Tests of `proxy.waiting`: who gets the turn, when, and who has waited in vain."""

import asyncio
import random
from typing import Any

import pytest
from fakes.configs import MODEL, config
from fakes.virtual_loop import LoopClock, passed, run

from proxy import fleet, throttle
from proxy.config.settings import Config
from proxy.fleet import Fleet, Turn
from proxy.health import Effect, Report
from proxy.routing import Plan
from proxy.targets import Target
from proxy.tasks import Tasks
from proxy.tenants import Tenants
from proxy.waiting import Place, WaitingRoom


class Room:
    """A waiting room over a real fleet, and those who wait in it. `order` is who got a turn, in order."""

    def __init__(self, made: Config) -> None:
        snapshot = fleet.snapshot(made, Tenants(made.clients, b"pepper"), 7)
        self.fleet = Fleet(snapshot, LoopClock(), random.Random(1))
        self.room = WaitingRoom(self.fleet, made.queue)
        self.order: list[str] = []
        self.turns: list[Turn] = []
        self.tasks = Tasks()

    @property
    def targets(self) -> tuple[Target, ...]:
        """Of the one model."""
        return self.fleet.snapshot.models[MODEL].targets

    def plan(self) -> Plan:
        """A plan of the one model."""
        return Plan(self.fleet.snapshot.models[MODEL], random.Random(1))

    def limit(self, number: int, seconds: float) -> None:
        """A target asks for time."""
        turn = self.fleet.take(self.targets[number])
        self.fleet.report(turn, Report(Effect.BACK_OFF, seconds))
        self.fleet.end(turn)

    async def ask(self, name: str, patience: float = 2.0, **place: Any) -> Turn | None:
        """Wait for a turn, as a request does that got none at once."""
        plan = place.pop("plan", None) or self.plan()
        alias = place.pop("alias", MODEL)
        turn = self.room.now(alias, plan) or await self.room.turn(
            Place(alias, name.rstrip("0123456789"), lambda: 100, **place), plan, patience
        )
        if turn is not None:
            self.order.append(name)
            self.turns.append(turn)
        return turn

    def start(self, name: str, patience: float = 2.0, **place: Any) -> asyncio.Task[Turn | None]:
        """The same in the background."""
        return self.tasks.spawn(self.ask(name, patience, **place), name)


def room(**more: Any) -> Room:
    """A room over two targets."""
    return Room(config({"a": 1, "b": 1}, **more))


def test_a_free_target_is_no_reason_to_wait() -> None:
    """A turn at once, and nobody waits."""

    async def scenario() -> None:
        made = room()
        assert await made.ask("one") is not None
        assert (passed(), len(made.room)) == (0.0, 0)

    run(scenario())


def test_a_window_that_is_over_in_time_is_waited_for() -> None:
    """The turn comes when the first target may be tried again, not when somebody looks."""

    async def scenario() -> None:
        made = room()
        made.limit(0, 1.5)
        made.limit(1, 9.0)
        turn = await made.ask("one")
        assert turn is not None
        assert turn.target is made.targets[0]
        assert 1.5 <= passed() <= 1.51

    run(scenario())


def test_what_cannot_come_in_time_is_not_waited_for() -> None:
    """Nobody waits for a window that is longer than the patience, nor without any."""

    async def scenario() -> None:
        made = room()
        made.limit(0, 2.0)
        made.limit(1, 9.0)
        assert await made.ask("one") is None
        assert await made.ask("two", patience=0.0) is None
        assert (passed(), len(made.room)) == (0.0, 0)

    run(scenario())


def test_a_window_that_grows_meanwhile_ends_the_waiting() -> None:
    """As soon as nothing can come in time any more."""

    async def scenario() -> None:
        made = room()
        made.limit(0, 1.0)
        made.limit(1, 9.0)
        waiting = made.start("one")
        await asyncio.sleep(0.5)
        made.limit(0, 30.0)
        assert await waiting is None
        assert passed() == 0.5
        assert len(made.room) == 0

    run(scenario())


def test_clients_take_turns() -> None:
    """A client with many requests and one with two: the two do not wait for the many."""

    async def scenario() -> None:
        made = room()
        made.limit(0, 1.0)
        made.limit(1, 9.0)
        for number in range(20):
            made.start(f"many{number}")
        await asyncio.sleep(0)
        for number in range(2):
            made.start(f"few{number}")
        await asyncio.sleep(1.5)
        assert len(made.order) == 22
        assert {"few0", "few1"} <= set(made.order[:8])
        many = [name for name in made.order if name.startswith("many")]
        assert many == [f"many{number}" for number in range(20)]

    run(scenario())


def test_a_full_room_gives_up_the_last_of_the_longest_line() -> None:
    """Whoever comes with few finds a place; over all models together there are no more than that."""

    async def scenario() -> None:
        made = room(queue={"max_length": 3})
        made.limit(0, 1.0)
        made.limit(1, 9.0)
        many = [made.start(f"many{number}") for number in range(3)]
        await asyncio.sleep(0)
        few = made.start("few", alias="another")
        await asyncio.sleep(0.1)
        assert len(made.room) == 3
        assert [task.done() for task in many] == [False, False, True]
        await asyncio.sleep(1.5)
        assert set(made.order) == {"few", "many0", "many1"}
        assert few.done()

    run(scenario())


def test_who_comes_later_goes_where_those_before_cannot() -> None:
    """A request that waits for one target does not keep others from another."""

    async def scenario() -> None:
        made = room()
        made.limit(0, 1.5)
        tried = made.plan()
        tried.next(made.fleet)  # it has been at the free one, which did not help
        waiting = made.start("one", plan=tried)
        await asyncio.sleep(0.1)
        assert len(made.room) == 1
        turn = await made.ask("two")
        assert turn is not None
        assert turn.target is made.targets[1]
        assert passed() == pytest.approx(0.1)
        assert (await waiting) is not None

    run(scenario())


def overloaded(made: Room, number: int) -> Turn:
    """A target that may have one request at a time has it, and says that it has too much to do."""
    held = made.fleet.take(made.targets[number])
    more = made.fleet.take(made.targets[number])
    made.fleet.report(more, Report(Effect.FAILURE, overload=True))
    made.fleet.end(more)
    assert made.fleet.full(made.targets[number])
    return held


def test_a_window_that_only_those_behind_the_first_wait_for_wakes_them() -> None:
    """The first waits for what no time gives back; its own line and the others have timers of their own."""

    async def scenario(second: str) -> None:
        made = room(adaptive_concurrency={"least": 1})
        overloaded(made, 1)
        tried = made.plan()
        assert tried.next(made.fleet) is made.targets[0]
        made.limit(0, 0.5)
        first = made.start("one1", plan=tried)
        await asyncio.sleep(0)
        turn = await made.ask(second)
        assert turn is not None
        assert turn.target is made.targets[0]
        assert passed() == pytest.approx(0.5, abs=0.01)
        assert await first is None

    for second in ("one2", "two1"):
        run(scenario(second))


def test_a_limit_that_time_lifts_wakes_who_waits() -> None:
    """A minute after the last sign of overload, though nothing comes back from the target."""

    async def scenario() -> None:
        made = room(adaptive_concurrency={"least": 1})
        for number in range(2):
            overloaded(made, number)
        await asyncio.sleep(throttle.FORGOTTEN - 0.5)
        tending = made.tasks.spawn(made.fleet.run(), "fleet")
        began = passed()
        assert await made.ask("one") is not None
        assert passed() - began <= 0.5 + 2 * fleet.TEND
        tending.cancel()

    run(scenario())


def test_a_turn_whose_client_has_left_goes_to_the_next() -> None:
    """Left while it waited, or in the very moment in which it got its turn: nothing stays taken."""

    async def scenario() -> None:
        made = room()
        made.limit(0, 1.0)
        made.limit(1, 9.0)
        left, gone = made.start("left"), made.start("gone")
        await asyncio.sleep(0.5)
        gone.cancel()
        await asyncio.sleep(0.1)
        timer = made.room._timer
        assert timer is not None
        asyncio.get_running_loop().call_at(timer.when(), left.cancel)  # right behind the one who serves it
        await asyncio.wait([left])
        assert left.cancelled()
        assert (made.order, made.fleet.in_flight, len(made.room)) == ([], {}, 0)

    run(scenario())


def test_who_had_a_turn_in_vain_is_the_next() -> None:
    """A key had no place for it: it does not go to the end of its line."""

    async def scenario() -> None:
        made = room()
        made.limit(0, 1.0)
        made.limit(1, 9.0)
        for number in range(3):
            made.start(f"one{number}")
        await asyncio.sleep(0)
        made.start("one9", back=True)
        await asyncio.sleep(1.5)
        assert made.order[0] == "one9"

    run(scenario())


def test_how_many_wait_is_told_by_model() -> None:
    """Nobody is no line."""

    async def scenario() -> None:
        made = room()
        made.limit(0, 1.0)
        made.limit(1, 9.0)
        assert made.room.lengths() == {}
        made.start("one")
        made.start("two")
        await asyncio.sleep(0)
        assert list(made.room.lengths().values()) == [2]
        await asyncio.sleep(2.0)

    run(scenario())
