"""Scenario 4: the clock of a replica is stepped, and no limit knows."""

import asyncio
import contextlib
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import traffic
from ensemble import configured, replicas
from figures import Check
from harness import Child, Mock, written
from limits import Smooth, Strict
from stores import standalone
from traffic import Load


@dataclass(frozen=True, slots=True)
class Steps:
    """The two kinds of limit while one of three replicas was stepped to and fro."""

    smooth: Smooth
    strict: Strict

    def checks(self) -> list[Check]:
        """See `Figures`."""
        return [*self.smooth.checks(), *self.strict.checks()]


def step(seconds: float = 30.0, by: float = 5.0, per_minute: int = 1800, burst: int = 60) -> Steps:
    """Load at three times the limits, and a step of `by` seconds back, forth and of the monotonic clock."""
    rate = per_minute / 60
    whole = round(rate * seconds / 3)
    clients: dict[str, dict[str, object]] = {
        "smooth": {"limits": {"requests_per_minute": per_minute, "burst": burst}},
        "strict": {"limits": {"requests_per_minute": whole, "window": "strict"}},
    }
    with standalone() as store, Mock() as mock, contextlib.ExitStack() as stack:
        config = configured(mock, f"redis://127.0.0.1:{store.port}", clients)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        script = str(Path(__file__).with_name("stepped.py"))
        odd = [
            stack.enter_context(Child(sys.executable, script, str(written(folder, config)), str(amount)))
            for amount in (by, -by)
        ]
        ports = [int(child.event("ready")["port"]) for child in odd]
        ports += [replica.port for replica in stack.enter_context(replicas(config, 1))]
        loads = [Load("smooth", ports, 3 * rate), Load("strict", ports, rate)]
        answers = asyncio.run(_stepping(odd, loads, seconds))
    smooth = [answer for answer in answers if answer.client == "smooth"]
    strict = [answer for answer in answers if answer.client == "strict"]
    good = len(traffic.admitted(smooth))
    worst = traffic.burst(smooth, rate)
    return Steps(
        Smooth("requests", traffic.statuses(smooth), traffic.span(smooth), burst, rate, good, worst),
        Strict(
            traffic.statuses(strict),
            traffic.span(strict),
            whole,
            len(traffic.admitted(strict)),
            traffic.most_within(strict, 60.0),
        ),
    )


async def _stepping(odd: Sequence[Child], loads: Sequence[Load], seconds: float) -> list[traffic.Answer]:
    loop = asyncio.get_running_loop()
    for turn, number in enumerate((signal.SIGUSR1, signal.SIGUSR2)):
        for child in odd:
            loop.call_later(seconds * (turn + 1) / 3, child.signal, number)
    return await traffic.run_all(loads, seconds)
