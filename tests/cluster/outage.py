"""One of two providers goes down hard and comes back: nobody who asks notices, and it is not hammered."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import traffic
from ensemble import REPLICAS
from figures import Check
from providers import WELL, Call, Scene, Shared, play, staged
from traffic import CHAT, Answer, Load

TRIP = 5
AVOIDED_S = 0.1
FULL_S = 35.0
SHARE = 0.45
"""Of the requests, where half is due: what counts as full weight over a few seconds."""
DOWN = {"default": {"status": 500, "delay_headers_s": 0.01}}
BACK = {"default": {"tokens": 3, "delay_headers_s": 0.05}}
"""Slow enough that a second probe in flight would be seen."""


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds before the provider goes down, while it is down, and after; requests a second."""

    before: float = 4.0
    down: float = 8.0
    after: float = 50.0
    rate: float = 520.0


SHORT = Times(1.0, 3.0, 8.0, 150.0)


@dataclass(frozen=True, slots=True)
class Down:
    """What clients saw, and what the provider was asked while it was down. Seconds.

    `flying`: requests that were on their way to it when the fifth had failed. `late`: the last that came
    after, but for probes. `probes` while it was down; `beside`: those that came while the probe that closed
    the circuit was in flight. `full`: from then to its full share, None where that was not waited for.
    """

    shared: Shared
    statuses: dict[int, int]
    failed: int
    flying: int
    late: float
    after_late: int
    probes: int
    trips: int
    beside: int
    full: float | None
    returned: float

    def checks(self) -> list[Check]:
        """See `Figures`."""
        total = sum(self.statuses.values())
        good = self.statuses.get(200, 0)
        deciders = REPLICAS if self.shared is Shared.AWAY else 1
        checks = [
            Check("requests answered with 200", str(good), f"= {total}", good == total),
            Check(
                "failing attempts, all replicas",
                str(self.failed),
                f"<= {deciders} x {TRIP} + {self.flying} in flight + {self.probes} probes",
                self.failed <= deciders * TRIP + self.flying + self.probes,
            ),
            Check(
                "probes while it was down",
                str(self.probes),
                f"<= {deciders} x {self.trips} trips",
                self.probes <= deciders * self.trips,
            ),
        ]
        if self.shared is not Shared.AWAY:
            checks += [
                Check(
                    "the last replica avoids it after",
                    f"{self.late * 1000:.0f} ms",
                    f"<= {AVOIDED_S * 1000:.0f} ms",
                    self.late <= AVOIDED_S and self.after_late == 0,
                ),
                Check("requests beside the probe that closed it", str(self.beside), "= 0", self.beside == 0),
            ]
        checks.append(
            Check(
                "closed again after its return",
                f"{self.returned:.1f} s",
                "the ejection it was in",
                holds=True,
            )
        )
        if self.full is not None:
            checks.append(
                Check(
                    "full weight after the probe", f"{self.full:.1f} s", f"<= {FULL_S} s", self.full <= FULL_S
                )
            )
        return checks


def down(shared: Shared = Shared.ALL, times: Times = Times()) -> Down:
    """Two providers at equal weight; one answers 500 for a while."""
    with staged(["steady", "shaky"], shared) as scene:
        return asyncio.run(_down(scene, shared, times))


async def _down(scene: Scene, shared: Shared, times: Times) -> Down:
    shaky = scene["shaky"]
    play(shaky.mock, BACK)
    load = Load("app", scene.ports, times.rate, round(times.rate / 8))
    async with scene.watching():
        whole = asyncio.get_running_loop().create_task(
            traffic.run(load, times.before + times.down + times.after)
        )
        await asyncio.sleep(times.before)
        gone = await asyncio.to_thread(play, shaky.mock, DOWN)
        await asyncio.sleep(times.down)
        back = await asyncio.to_thread(play, shaky.mock, BACK)
        answers = await whole
    calls = shaky.since(gone)
    bad = [call for call in calls if call.at < back]
    return _told(shared, answers, (bad, [call for call in calls if call.at >= back]), (back, times))


def _told(
    shared: Shared,
    answers: Sequence[Answer],
    calls: tuple[Sequence[Call], Sequence[Call]],
    when: tuple[float, Times],
) -> Down:
    bad, good = calls
    back, times = when
    ended = sorted(call.done for call in bad)
    fifth = ended[TRIP - 1]
    later = [call for call in bad if call.at > fifth]
    probes = [call for call in later if call.at > fifth + 1.0]
    stragglers = [call.at - fifth for call in later if call.at <= fifth + 1.0]
    probe = good[0]
    return Down(
        shared,
        statuses=traffic.statuses(answers),
        failed=len(bad),
        flying=sum(call.at <= fifth < call.done for call in bad) + len(stragglers),
        late=max(stragglers, default=0.0),
        after_late=sum(late > AVOIDED_S for late in stragglers),
        probes=len(probes),
        trips=1 + len(probes),
        beside=sum(probe.at < call.at < probe.done for call in good),
        full=_full(good, answers, probe.done) if times.after > FULL_S else None,
        returned=probe.done - back,
    )


def _full(calls: Sequence[Call], answers: Sequence[Answer], closed: float) -> float | None:
    """Seconds from `closed` to the first three in which it had its share of what was sent."""
    last = max(answer.sent for answer in answers)
    at = closed
    while at + 3.0 <= last:
        asked = sum(at <= call.at < at + 3.0 for call in calls)
        sent = sum(at <= answer.sent < at + 3.0 for answer in answers)
        if sent and asked / sent >= SHARE:
            return at - closed
        at += 0.5
    return float("inf")


PHASES: Sequence[dict[str, object]] = (
    {"rules": [{"match": {"fraction": 0.3}, "then": {"status": 500}}], **WELL},
    {"default": {"tokens": 3, "delay_first_event_s": 0.2, "delay_headers_s": 0.2}},
    {
        "rules": [{"match": {"fraction": 0.05}, "then": {"cut_before_headers": True, "cut_with": "rst"}}],
        **WELL,
    },
)
"""A third fails; ten times the time to the first token; one in twenty is cut before any content."""


@dataclass(frozen=True, slots=True)
class Brownout:
    """What clients saw in the three phases, and how often providers were asked for it."""

    statuses: Sequence[dict[int, int]]
    broken: int
    attempts: int

    def checks(self) -> list[Check]:
        """See `Figures`."""
        total = sum(sum(phase.values()) for phase in self.statuses)
        good = sum(phase.get(200, 0) for phase in self.statuses) - self.broken
        names = ("30 % 500s", "10 x time to first token", "5 % cut before content")
        return [
            *(
                Check(name, f"{phase}", "", holds=True)
                for name, phase in zip(names, self.statuses, strict=True)
            ),
            Check("answered in full", str(good), f">= 99.99 % of {total}", good >= 0.9999 * total),
            Check(
                "attempts a request",
                f"{self.attempts / total:.3f}",
                f"<= 1.2 ({self.attempts})",
                self.attempts <= 1.2 * total,
            ),
        ]


def brownout(shared: Shared = Shared.ALL, seconds: float = 21.0, rate: float = 500.0) -> Brownout:
    """Two providers at equal weight, one of which is not well, in three ways one after the other."""
    with staged(["steady", "shaky"], shared) as scene:
        return asyncio.run(_brownout(scene, seconds, rate))


async def _brownout(scene: Scene, seconds: float, rate: float) -> Brownout:
    usual = {"default": {"tokens": 3, "delay_first_event_s": 0.02, "delay_headers_s": 0.02}}
    play(scene["steady"].mock, usual)
    asked = sum(watched.requests for watched in scene.watched.values())
    phases = []
    for script in PHASES:
        play(scene["shaky"].mock, script)
        whole = Load("app", scene.ports, rate / 2, round(rate / 10))
        streams = Load("app", scene.ports, rate / 2, round(rate / 10), CHAT, stream=True)
        phases.append(await traffic.run_all([whole, streams], seconds))
    asked = sum(watched.requests for watched in scene.watched.values()) - asked
    answers = [answer for phase in phases for answer in phase]
    return Brownout([traffic.statuses(phase) for phase in phases], sum(map(_cut, answers)), asked)


def _cut(answer: Answer) -> bool:
    """Whether a stream that began did not end as it should."""
    streamed = answer.headers.get("content-type", "").startswith("text/event-stream")
    return answer.status == 200 and streamed and not answer.body.endswith(b"data: [DONE]\n\n")
