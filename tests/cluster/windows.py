"""A provider's 429, seen by one replica: nobody calls that key and model until its time is over."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import traffic
from ensemble import REPLICAS
from figures import Check
from providers import WELL, Call, Scene, Shared, play, staged
from traffic import Load, Wire

KEYS, MODELS = 20, 10
ASKED_S = 7.0
LATE_S = 0.05
"""Seconds after a 429 in which another replica may still call."""
LATEST_S = 0.6
EARLY_S = 0.01
"""Clocks of one machine, and whole milliseconds."""


@dataclass(frozen=True, slots=True)
class Windows:
    """`late`, by pair of key and model: seconds from its first 429 to the last call inside its window.

    `calls`, by pair: those inside its window that began when no other was in flight. `early` are calls inside
    a window but later than `LATEST_S`; `again` is how many pairs were called after it.
    """

    shared: Shared
    late: list[float]
    calls: list[int]
    early: int
    again: int

    def checks(self) -> list[Check]:
        """See `Figures`."""
        soon = sum(late <= LATE_S for late in self.late)
        pairs, worst = len(self.late), max(self.late)
        checks = [
            Check(
                "pairs of key and model that said 429",
                str(pairs),
                f"= {KEYS * MODELS}",
                pairs == KEYS * MODELS,
            ),
            Check("pairs called again after it", str(self.again), "> 0", self.again > 0),
        ]
        if self.shared is Shared.AWAY:
            most = max(self.calls)
            checks.append(
                Check("calls of a pair in its window", str(most), f"<= {REPLICAS}", most <= REPLICAS)
            )
            return checks
        checks.append(
            Check("calls into a window", str(self.early), f"= 0 after {LATEST_S} s", self.early == 0)
        )
        checks.append(
            Check(
                "the last call into a window after", f"{worst * 1000:.0f} ms", "<= 600 ms", worst <= LATEST_S
            )
        )
        if self.shared is Shared.ALL:
            checks.append(
                Check(
                    f"pairs left alone within {LATE_S * 1000:.0f} ms",
                    str(soon),
                    f">= 198 of {pairs}",
                    soon >= 198,
                )
            )
        return checks


def windows(shared: Shared = Shared.ALL, rate: float = 300.0, seconds: float = 10.0) -> Windows:
    """200 pairs that all say 429 within one window, under a load that would call each of them."""
    models = {f"m{number}": {"providers": [{"provider": "limited"}]} for number in range(MODELS)}
    keys = {"limited": {"api_keys": [f"sk-limited-{number}" for number in range(KEYS)]}}
    more: dict[str, Any] = {"models": models, "retry": {"attempts": 1}, "queue": {"max_wait": 0}}
    with staged(["limited"], shared, providers=keys, **more) as scene:
        return asyncio.run(_windows(scene, shared, rate, seconds))


async def _windows(scene: Scene, shared: Shared, rate: float, seconds: float) -> Windows:
    limited = scene["limited"]
    began = play(limited.mock, {"default": {"status": 429, "headers": {"retry-after": ASKED_S}}})
    async with scene.watching():
        loads = [Load("app", scene.ports, rate / MODELS, 3, f"m{number}") for number in range(MODELS)]
        answers = await traffic.run_all(loads, seconds)
    # 503 is told in the millisecond in which a window has just ended.
    assert traffic.statuses(answers).keys() <= {429, 503}, traffic.statuses(answers)
    pairs: dict[tuple[str, str], list[Call]] = defaultdict(list)
    for call in limited.since(began):
        pairs[call.key, call.model].append(call)
    inside = {pair: _inside(calls) for pair, calls in pairs.items()}
    return Windows(
        shared,
        late=[max(call.at for call in calls) - _said(calls[0]) for calls in inside.values()],
        calls=[_apart(calls) for calls in inside.values()],
        early=sum(
            LATEST_S < call.at - _said(calls[0]) < ASKED_S - EARLY_S
            for calls in pairs.values()
            for call in calls
        ),
        again=sum(len(calls) > len(inside[pair]) for pair, calls in pairs.items()),
    )


def _said(call: Call) -> float:
    """When the 429 left."""
    return call.done or call.at


def _apart(calls: list[Call]) -> int:
    """How many began when no other was in flight: a replica may have sent two before it knew of either."""
    ends = [max((_said(before) for before in calls[:at]), default=0.0) for at in range(len(calls))]
    return sum(call.at >= end for call, end in zip(calls, ends, strict=True))


def _inside(calls: list[Call]) -> list[Call]:
    return [call for call in calls if call.at < _said(calls[0]) + ASKED_S - EARLY_S]


@dataclass(frozen=True, slots=True)
class Shorter:
    """Seconds from a 429 with a longer hint, which one with a shorter hint followed, to the next call."""

    calls: int
    held: float

    def checks(self) -> list[Check]:
        """See `Figures`."""
        return [
            Check(
                "a hint of 7 s, 0.3 s later one of 1 s: called after",
                f"{self.held:.2f} s",
                f">= {ASKED_S} s, <= {ASKED_S + 0.5} s",
                self.calls > 2 and ASKED_S - EARLY_S <= self.held <= ASKED_S + 0.5,
            )
        ]


def shorter() -> Shorter:
    """Two requests at one time, on two replicas; what the second is told does not shorten the window."""
    with staged(["solo"], queue={"max_wait": 0}, retry={"attempts": 1}) as scene:
        return asyncio.run(_shorter(scene))


async def _shorter(scene: Scene) -> Shorter:
    solo = scene["solo"]
    hints = ((ASKED_S, 0.2), (1, 0.5))
    rules = [
        {
            "match": {"nth": 1},  # of those that the rule before has left
            "then": {"status": 429, "headers": {"retry-after": hint}, "delay_headers_s": delay},
        }
        for hint, delay in hints
    ]
    began = play(solo.mock, {"rules": rules, **WELL})
    wires = [Wire(port) for port in scene.ports[:2]]
    both = await asyncio.gather(*(traffic.ask(wire, "app", traffic.request("app")) for wire in wires))
    assert [answer.status for answer in both] == [429, 429]
    await traffic.run(Load("app", scene.ports, 60.0), ASKED_S + 1.0)
    for wire in wires:
        wire.close()
    solo.look()
    calls = solo.since(began)
    first = min(map(_said, calls[:2]))
    return Shorter(len(calls), calls[2].at - first if len(calls) > 2 else 0.0)
