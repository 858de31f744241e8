"""Scenario 6: five times of what the replicas can take."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import traffic
from ensemble import configured, replicas
from figures import Check
from harness import Mock, Serve, rss
from stores import standalone
from traffic import Load

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Overload:
    """Answers a second at capacity and at five times of it; seconds to a refusal; bytes of a replica."""

    peak: float
    goodput: float
    statuses: dict[int, int]
    refused_p50: float
    refused_p99: float
    memory: Sequence[int]

    def checks(self) -> list[Check]:
        """See `Figures`."""
        calm, pressed, late = self.memory
        return [
            Check("only 200 and 503", f"{self.statuses}", "", set(self.statuses) == {200, 503}),
            Check(
                "answers a second",
                f"{self.goodput:.1f}",
                f"{self.goodput / self.peak:.1%} >= 90 % of {self.peak:.1f}",
                self.goodput >= 0.9 * self.peak,
            ),
            Check(
                "refusals within, p50 / p99",
                f"{self.refused_p50 * 1000:.1f} / {self.refused_p99 * 1000:.1f} ms",
                "p99 <= 20 ms",
                self.refused_p99 <= 0.02,
                soft=True,
            ),
            Check(
                "largest replica: calm, pressed, at the end",
                f"{calm / MIB:.1f}, {pressed / MIB:.1f}, {late / MIB:.1f} MiB",
                "second half of the overload adds <= 8 MiB",
                late - pressed <= 8 * MIB,
            ),
        ]


def five_times(seconds: float = 30.0, in_flight: int = 20, delay: float = 0.4) -> Overload:
    """Replicas that take `in_flight` requests of `delay` seconds at one time, three of them."""
    capacity = 3 * in_flight / delay
    with standalone() as store, Mock({"default": {"delay_headers_s": delay, "tokens": 3}}) as mock:
        config = configured(
            mock,
            f"redis://127.0.0.1:{store.port}",
            {"many": {"limits": {"requests_per_minute": 1_000_000}}},
            overload={"max_in_flight": in_flight},
        )
        with replicas(config) as running:
            ports = [replica.port for replica in running]
            return asyncio.run(_press(running, ports, capacity, seconds))


async def _press(running: Sequence[Serve], ports: Sequence[int], capacity: float, seconds: float) -> Overload:
    calm = await traffic.run(_at(ports, capacity), min(seconds, 10.0))
    memory = [_largest(running)]
    pressed = asyncio.get_running_loop().create_task(traffic.run(_at(ports, 5 * capacity), seconds))
    await asyncio.sleep(seconds / 2)
    memory.append(_largest(running))
    answers = await pressed
    memory.append(_largest(running))
    refused = [answer.took for answer in answers if answer.status == 503]
    return Overload(
        _goodput(calm),
        _goodput(answers),
        traffic.statuses(answers),
        traffic.percentile(refused, 0.5),
        traffic.percentile(refused, 0.99),
        memory,
    )


def _at(ports: Sequence[int], rate: float) -> Load:
    """So many callers that each is idle when its next request is due."""
    return Load("many", ports, rate, callers=round(rate * 0.6))


def _largest(running: Sequence[Serve]) -> int:
    return max(rss(replica.pid) for replica in running)


def _goodput(answers: Sequence[traffic.Answer]) -> float:
    """Good answers a second, once the first have come and while requests are still sent."""
    sent = [answer.sent for answer in answers]
    since, till = min(sent) + 1.0, max(sent)
    return sum(since <= answer.done <= till for answer in traffic.admitted(answers)) / (till - since)
