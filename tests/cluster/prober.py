"""The replica whose request is the probe is killed: another probes when the lease has lapsed."""

import asyncio
import json
import signal
import time
from dataclasses import dataclass

import traffic
from figures import Check
from harness import fetch
from providers import WELL, Scene, play, staged
from traffic import CHAT, Load

NOTICED_S = 0.5
"""A lease is looked at when somebody asks, and the loop of the one who does may be late."""


@dataclass(frozen=True, slots=True)
class Prober:
    """Seconds from the kill to the next probe and to the first good answer; probes in between."""

    lease: float
    probed: float
    answered: float
    between: int
    lost_elsewhere: int

    def checks(self) -> list[Check]:
        """See `Figures`."""
        return [
            Check(
                "another replica probes after",
                f"{self.probed:.1f} s",
                f"<= lease {self.lease:.0f} s",
                self.probed <= self.lease + NOTICED_S,
            ),
            Check(
                "first good answer after", f"{self.answered:.1f} s", "", self.answered <= self.probed + 1.0
            ),
            Check(
                "probes in flight beside the lost one",
                str(self.between),
                "= 0 while its lease held",
                self.between == 0,
            ),
            Check(
                "requests elsewhere without an answer",
                str(self.lost_elsewhere),
                "= 0",
                self.lost_elsewhere == 0,
            ),
        ]


def killed(lease: float = 10.0) -> Prober:
    """A model with one target; its probe hangs, and its replica dies."""
    with staged(["solo"], queue={"max_wait": 0.2}, health={"probe_lease": lease}) as scene:
        return asyncio.run(_killed(scene, lease))


async def _killed(scene: Scene, lease: float) -> Prober:
    solo = scene["solo"]
    load = Load("app", scene.ports, 60.0, 90, moving=True)
    play(solo.mock, {"default": {"status": 500}})
    whole = asyncio.get_running_loop().create_task(traffic.run(load, lease + 16.0))
    async with scene.watching():
        await asyncio.sleep(2.0)
        await asyncio.to_thread(play, solo.mock, {"default": {"stall_before_headers": True}})
        hung = time.monotonic()
        victim = await _holder(scene)
        await asyncio.sleep(1.0)  # and renews its lease meanwhile
        await asyncio.to_thread(play, solo.mock, WELL)
        scene.running[victim].signal(signal.SIGKILL)
        dead = time.monotonic()
        answers = await whole
    after = [call for call in solo.since(hung) if call.at > dead]
    beside = [call for call in solo.since(hung) if call.at <= dead]
    good = [answer for answer in answers if answer.status == 200 and answer.sent > dead]
    lost = [answer for answer in answers if answer.status in (traffic.LOST, traffic.DOWN)]
    return Prober(
        lease=lease,
        probed=after[0].at - dead,
        answered=min(answer.done for answer in good) - dead,
        between=len(beside) - 1,
        lost_elsewhere=sum(answer.port != scene.ports[victim] for answer in lost),
    )


async def _holder(scene: Scene) -> int:
    """Which replica holds the lease of the probe: its token begins with its name."""
    names = [fetch(replica.operations, "/admin/targets")["replica"] for replica in scene.running]
    for _ in range(1000):
        flat = await asyncio.to_thread(scene.store.ask, "HGETALL", "apex:{health}")
        for name, record in zip(flat[::2], flat[1::2], strict=True):
            probe = json.loads(record).get("probe", "") if name.startswith(b"solo/" + CHAT.encode()) else ""
            if probe:
                return names.index(probe.partition(".")[0])
        await asyncio.sleep(0.02)
    raise AssertionError("nobody probes")
