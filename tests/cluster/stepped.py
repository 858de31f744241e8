"""A replica whose clock can be stepped: the product's own `serving.run`, handed another clock.

Run `python tests/cluster/stepped.py CONFIG SECONDS`. SIGUSR1 steps the wall clock by so many seconds,
SIGUSR2 the monotonic one as well, which no real clock does.
"""

import asyncio
import dataclasses
import signal
import sys
from pathlib import Path

import uvloop

from metrics import logs
from proxy import config, serving
from proxy.app import Replica
from proxy.clock import SystemClock
from proxy.commands.process import environment, surroundings_of


class SteppedClock(SystemClock):
    """The machine's clocks, and what they were stepped by."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._wall = 0.0
        self._monotonic = 0.0

    def wall(self) -> float:
        """See `Clock`."""
        return super().wall() + self._wall

    def monotonic(self) -> float:
        """See `Clock`."""
        return super().monotonic() + self._monotonic

    def step_wall(self) -> None:
        """As an operator or NTP would."""
        self._wall += self._seconds

    def step_both(self) -> None:
        """As after a suspension, but with every timer of the loop left behind."""
        self._wall += self._seconds
        self._monotonic += abs(self._seconds)


async def main(path: Path, seconds: float) -> None:
    """Serve until told to stop."""
    environ = environment()
    settings = config.read(path, environ)
    logs.configure(sys.stderr, "info", SystemClock().wall, pretty=False)
    clock = SteppedClock(seconds)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, clock.step_wall)
    loop.add_signal_handler(signal.SIGUSR2, clock.step_both)

    async def started(_replica: Replica) -> None:
        """Nothing is to be waited for."""

    ports = serving.open_ports(settings)
    try:
        surroundings = dataclasses.replace(surroundings_of(environ), clock=clock)
        await serving.run(settings, surroundings, ports, started)
    finally:
        ports.close()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), float(sys.argv[2])))
