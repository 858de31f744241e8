"""A small client beside one with a hundred times its load, where there is not room for both."""

import asyncio
from dataclasses import dataclass

import traffic
from figures import Check
from providers import Scene, play, staged
from traffic import Load

PLACES = 24
TAKES_S = 0.1
QUEUE = 60
RATIO = 100


@dataclass(frozen=True, slots=True)
class Fairness:
    """Answers of both by status, and how long the small one's took."""

    small: dict[int, int]
    large: dict[int, int]
    p50: float
    p99: float
    asked: tuple[int, int]

    def checks(self) -> list[Check]:
        """See `Figures`."""
        good, total = self.small.get(200, 0), sum(self.small.values())
        return [
            Check(
                "requests of the large one and the small one",
                f"{self.asked}",
                f">= {RATIO * 0.9:.0f} : 1",
                self.asked[0] >= RATIO * 0.9 * self.asked[1],
            ),
            Check(
                "the large one is refused",
                f"{self.large}",
                "the queue is full",
                self.large.get(429, 0) > self.large.get(200, 0),
            ),
            Check("the small one's are answered", f"{good}", f">= 99.9 % of {total}", good >= 0.999 * total),
            Check(
                "its answers took, p50 / p99",
                f"{self.p50 * 1000:.0f} / {self.p99 * 1000:.0f} ms",
                f"work {TAKES_S * 1000:.0f} ms",
                holds=True,
            ),
        ]


def fairness(seconds: float = 320.0, small: float = 10.0) -> Fairness:
    """One provider key with room for 24 requests at one time, 240 a second; four times that are sent."""
    keys = [{"key": "sk-tight-0", "limits": {"concurrency": PLACES}}]
    with staged(
        ["tight"],
        clients=("small", "large"),
        providers={"tight": {"api_keys": keys}},
        queue={"max_wait": 2, "max_length": QUEUE},
    ) as scene:
        return asyncio.run(_fairness(scene, seconds, small))


async def _fairness(scene: Scene, seconds: float, small: float) -> Fairness:
    play(scene["tight"].mock, {"default": {"tokens": 3, "delay_headers_s": TAKES_S}})
    loads = [Load("large", scene.ports, RATIO * small, 400), Load("small", scene.ports, small, 30)]
    large, answers = await asyncio.gather(*(traffic.run(load, seconds) for load in loads))
    took = [answer.took for answer in traffic.admitted(answers)]
    return Fairness(
        traffic.statuses(answers),
        traffic.statuses(large),
        traffic.percentile(took, 0.5),
        traffic.percentile(took, 0.99),
        (len(large), len(answers)),
    )
