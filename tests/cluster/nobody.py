"""All providers of a model are down: refusals say when to come back, and nobody is asked in vain.

The outage is over for clients soon after the first probe that is answered.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import traffic
from ensemble import REPLICAS
from figures import Check
from providers import WELL, Call, Scene, Shared, play, staged
from traffic import Answer, Load

EJECTION = 5.0
JITTER = 0.9
TRIP = 5
SETTLED = 0.3
"""Seconds after the trips in which requests from before may still be answered."""
BACK_S = 1.0
UNKNOWN = 1.0
"""What is said where nobody knows: the answer of a probe may come at any moment."""
SLACK = 0.1
DOWN = {"default": {"status": 500}}


@dataclass(frozen=True, slots=True)
class Nobody:
    """`told`: refusals with a time; `untrue`: those at whose time nobody was asked, or somebody before it.

    `probes` by provider while both were down, and the shortest pause between two. `back`: seconds from the
    first probe that was answered to the last request that was not.
    """

    shared: Shared
    statuses: dict[int, int]
    refused: int
    told: int
    untrue: int
    probes: Sequence[int]
    deadlines: int
    shortest: float
    back: float

    def checks(self) -> list[Check]:
        """See `Figures`."""
        deciders = REPLICAS if self.shared is Shared.AWAY else 1
        most = deciders * self.deadlines
        checks = [
            Check(
                "answers while nobody could be asked",
                f"{self.statuses}",
                "503, or 502 of a probe",
                set(self.statuses) <= {502, 503},
            ),
            Check(
                "503s with a time to come back",
                str(self.told),
                f"= {self.refused}",
                self.told == self.refused > 0,
            ),
            Check(
                "probes of each, both down",
                f"{list(self.probes)}",
                f"<= {most}: one for each deadline",
                max(self.probes) <= most,
            ),
            Check(
                "after the first answer, the last refusal",
                f"{self.back:.2f} s",
                f"<= {BACK_S} s",
                self.back <= BACK_S,
            ),
        ]
        if self.shared is not Shared.AWAY:
            checks += [
                Check("times that were not true", str(self.untrue), f"= 0 of {self.told}", self.untrue == 0),
                Check(
                    "shortest pause between probes of one",
                    f"{self.shortest:.2f} s",
                    f">= {JITTER * EJECTION} s",
                    self.shortest >= JITTER * EJECTION - SLACK,
                ),
            ]
        return checks


def all_out(shared: Shared = Shared.ALL, down: float = 21.0, rate: float = 100.0) -> Nobody:
    """Two providers that both answer 500, and are well again."""
    with staged(["one", "two"], shared) as scene:
        return asyncio.run(_all_out(scene, shared, down, rate))


async def _all_out(scene: Scene, shared: Shared, down: float, rate: float) -> Nobody:
    load = Load("app", scene.ports, rate, round(rate * 2.5))
    async with scene.watching():
        whole = asyncio.get_running_loop().create_task(traffic.run(load, down + 20.0))
        await asyncio.sleep(1.0)
        gone = time.monotonic()
        for watched in scene.watched.values():
            await asyncio.to_thread(play, watched.mock, DOWN)
        await asyncio.sleep(down)
        back = time.monotonic()
        for watched in scene.watched.values():
            await asyncio.to_thread(play, watched.mock, WELL)
        answers = await whole
    calls = {name: watched.since(gone) for name, watched in scene.watched.items()}
    return _told(shared, calls, answers, back)


def _told(
    shared: Shared, calls: Mapping[str, Sequence[Call]], answers: Sequence[Answer], back: float
) -> Nobody:
    deciders = REPLICAS if shared is Shared.AWAY else 1
    bad = {name: [call for call in made if call.at < back] for name, made in calls.items()}
    settled = max(sorted(call.done for call in made)[deciders * TRIP - 1] for made in bad.values()) + SETTLED
    probes = {name: [call for call in made if call.at > settled] for name, made in bad.items()}
    during = [answer for answer in answers if settled < answer.sent and answer.done < back]
    refused = [answer for answer in during if answer.status == 503]
    asked = sorted(call.at for made in calls.values() for call in made)
    first = min(call.done for made in calls.values() for call in made if call.at > back)
    failed = [answer.due for answer in answers if answer.due > back and answer.status != 200]
    pauses = [later.at - sooner.at for made in probes.values() for sooner, later in pairwise(made)]
    return Nobody(
        shared,
        statuses=traffic.statuses(during),
        refused=len(refused),
        told=sum("retry-after-ms" in answer.headers for answer in refused),
        untrue=sum(not _true(answer, asked) for answer in refused),
        probes=[len(made) for made in probes.values()],
        deadlines=_deadlines(back - settled),
        shortest=min(pauses, default=float("inf")),
        back=max([*failed, first]) - first,
    )


def _deadlines(seconds: float) -> int:
    """How many ejections may have ended in that time: 5 s, 10 s, 15 s, each up to a tenth shorter."""
    count, passed = 0, JITTER * EJECTION
    while passed <= seconds:
        count += 1
        passed += JITTER * EJECTION * (count + 1)
    return count


def _true(answer: Answer, asked: Sequence[float]) -> bool:
    """Whether a provider was asked at the time that a refusal gave, and none before."""
    wait = int(answer.headers["retry-after-ms"]) / 1000
    then = answer.done + wait
    if abs(wait - UNKNOWN) < 0.001:
        return True
    return any(then - SLACK <= at <= then + 1.0 for at in asked) and not any(
        answer.done < at < then - SLACK for at in asked
    )
