"""A model with one provider comes back by itself after every fault of the scripted provider."""

import asyncio
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import traffic
from figures import Check
from providers import WELL, Scene, Shared, play, staged
from traffic import Load, Wire

sys.path.append(str(Path(__file__).parent.parent / "journeys"))

from faults import CASES

QUICK: dict[str, Any] = {
    "health": {
        "ejection": 0.3, "ejection_cap": 0.6, "quarantine": 0.6, "back_off": 0.2, "back_off_cap": 0.4,
        "hint_cap": 0.8, "probe_lease": 2,
    },
    "timeouts": {"first_token": 0.3, "total": 0.6, "idle": 0.3},
    "queue": {"max_wait": 0.2},
}  # fmt: skip
"""Pauses a tenth as long, so that sixty faults take minutes."""
RECOVERY_S = 3.0


@dataclass(frozen=True, slots=True)
class Recovered:
    """Seconds, by fault, from its end until every replica had answered three requests in a row."""

    took: Mapping[str, float]

    def checks(self) -> list[Check]:
        """See `Figures`."""
        worst = max(self.took, key=lambda name: self.took[name])
        good = sum(took <= RECOVERY_S for took in self.took.values())
        return [
            Check(
                "faults, each recovered from",
                str(good),
                f"= {len(self.took)} of {len(CASES)} tried",
                good == len(self.took),
            ),
            Check(
                f"the slowest: {worst}",
                f"{self.took[worst]:.2f} s",
                f"<= {RECOVERY_S} s",
                self.took[worst] <= RECOVERY_S,
            ),
        ]


def alone(shared: Shared = Shared.ALL, every: int = 1) -> Recovered:
    """A model with one target lives through every fault of the scripted provider, or each `every`th."""
    with staged(["solo"], shared, **QUICK) as scene:
        return asyncio.run(_alone(scene, every))


async def _alone(scene: Scene, every: int) -> Recovered:
    solo = scene["solo"]
    took: dict[str, float] = {}
    for case in CASES[::every]:
        life = msgspec.to_builtins(case.life)
        await asyncio.to_thread(play, solo.mock, {"default": life})
        loads = [Load("app", scene.ports, 40.0, 12, stream=stream) for stream in (False, True)]
        await traffic.run_all(loads, 0.6)
        ended = await asyncio.to_thread(play, solo.mock, WELL)
        await asyncio.gather(*(_well(port) for port in scene.ports))
        took[case.name] = time.monotonic() - ended
    return Recovered(took)


async def _well(port: int) -> None:
    """Ask until three requests in a row are answered."""
    wire = Wire(port)
    row, began = 0, time.monotonic()
    while row < 3 and time.monotonic() - began < 10 * RECOVERY_S:
        answer = await traffic.ask(wire, "app", traffic.request("app"))
        row = row + 1 if answer.status == 200 else 0
        await asyncio.sleep(0.02)
    wire.close()
