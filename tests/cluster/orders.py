"""Orders about a target, given to one replica: drain it, restore it, reset it or its key."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import traffic
from figures import Check
from foretelling import everywhere
from providers import WELL, Scene, play
from questions import Caller, calling, stage
from traffic import CHAT, Answer, Load

SOON_S = 1.0
"""Seconds in which an order has to have reached all."""

DRAINED, EJECTED = f"tight/{CHAT}", f"shaky/{CHAT}"


@dataclass(frozen=True, slots=True)
class Orders:
    """Seconds from an order's answer: to the last call of what it drained, and until what it reset is closed.

    By replica: to the first request that went to what was restored, or reset. `inside` are calls of what was
    drained that came later than they may. What is reset is an ejected target, and then a refused key.
    """

    last: float
    inside: int
    backs: Sequence[float]
    closed: Sequence[float]
    again: Sequence[float]
    statuses: dict[int, int]

    def checks(self) -> list[Check]:
        """See `Figures`."""
        return [
            _soon("drained: its last call after", [self.last]),
            Check("calls later than that", str(self.inside), "= 0", self.inside == 0),
            _soon("restored: the first there after", self.backs),
            _soon("reset: closed on all replicas after", self.closed),
            _soon("requests of each go there again after", self.again),
            Check("answers meanwhile", f"{self.statuses}", "200 alone", set(self.statuses) == {200}),
        ]


def _soon(what: str, found: Sequence[float]) -> Check:
    figure = " ".join(f"{seconds * 1000:.0f}" for seconds in found)
    return Check(what, f"{figure} ms", f"<= {SOON_S:.0f} s", max(found) <= SOON_S)


def orders(rate: float = 90.0) -> Orders:
    """A load over all three replicas, while one of them is told."""
    with stage(ejection="60s") as scene:
        return asyncio.run(_orders(scene, rate))


async def _orders(scene: Scene, rate: float) -> Orders:
    load = Load("other", scene.ports, rate, 9)
    async with calling(scene.running) as caller, scene.watching():
        whole = asyncio.get_running_loop().create_task(traffic.run(load, 14.0))
        await asyncio.sleep(1.5)
        drained = await caller.order(0, DRAINED, "drain")
        await asyncio.sleep(2.5)
        restored = await caller.order(1, DRAINED, "restore")
        await asyncio.sleep(1.5)
        reset, closed = await _reset(scene, caller, 2, 500)
        await asyncio.sleep(SOON_S)
        lifted, let_in = await _reset(scene, caller, 1, 401, **{"with": "key"})
        answers = await whole
    tight, ports = scene["tight"], scene.ports
    late = [call.at - drained for call in tight.since(drained) if call.at < restored]
    return Orders(
        last=max(late, default=0.0),
        inside=sum(after > SOON_S for after in late),
        backs=[_first(answers, port, DRAINED, restored) for port in ports],
        closed=[closed, let_in],
        again=[_first(answers, port, EJECTED, since) for since in (reset, lifted) for port in ports],
        statuses=traffic.statuses(answers),
    )


async def _reset(scene: Scene, caller: Caller, place: int, status: int, **query: str) -> tuple[float, float]:
    """Have a target kept away, mended, and that forgotten: when, and seconds until all have heard of it."""
    await asyncio.to_thread(play, scene["shaky"].mock, {"default": {"status": status}})
    await everywhere(caller, EJECTED, lambda row: row.get("state") == "open")
    await asyncio.to_thread(play, scene["shaky"].mock, WELL)
    await asyncio.sleep(1.0)  # what was in flight may fail late
    reset = await caller.order(place, EJECTED, "reset", **query)
    await everywhere(caller, EJECTED, lambda row: row["ready"] and row.get("state", "closed") == "closed")
    return reset, time.monotonic() - reset


def _first(answers: Sequence[Answer], port: int, target: str, since: float) -> float:
    """Seconds from then to the first request that a replica sent on to a target."""
    went = [
        answer.sent - since
        for answer in answers
        if answer.port == port and answer.headers.get("x-apex-target") == target
    ]
    return min((after for after in went if after >= 0), default=float("inf"))
