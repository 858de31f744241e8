"""Several workers under one `serve`: replicas that share the client port and the embedded store.

The parent answers no request. It starts the workers as fresh processes (never forks: a forked copy would
hold the embedded store's lifeline open), passes signals on, replaces a worker that dies, and holds one
end of a pipe whose closing tells the workers that their parent is gone, whatever ended it. A worker that
dies young again and again will not get better: then all are stopped, unless others do run. Those keep what
they were started with, whatever stands in the file now.
"""

import asyncio
import contextlib
import dataclasses
import os
import signal
import sys
from collections.abc import Mapping, Sequence

import structlog

from proxy.serving import Signals
from proxy.tasks import Tasks

RESPAWN = 1.0
"""Seconds between a worker's death and its successor, so that one that cannot start does not spin."""

YOUNG = 5.0
"""A worker that dies within so many seconds of its start is counted as one that cannot run."""

DEATHS = 5
"""So many of them, one after the other, are enough."""


_UNHEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What ends a worker that does not listen yet."""


class WorkersError(Exception):
    """The workers cannot run. Its text is one line."""


@dataclasses.dataclass(frozen=True, slots=True)
class Crew:
    """How to start the workers: their command line without number and lifeline, and their environment.

    `respawn` is the time between a death and the next start, in seconds.
    """

    command: Sequence[str]
    environ: Mapping[str, str]
    count: int
    respawn: float = RESPAWN


class Workers:
    """The running workers of one parent."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._lifeline, self._held = os.pipe()
        self._signals = Signals()
        self._tasks = Tasks()
        self._log = structlog.get_logger("workers")
        self._hopeless = ""
        self._running: dict[asyncio.subprocess.Process, float] = {}

    async def run(self) -> int:
        """Start all and keep them running until a signal says stop; the exit status for the parent.

        Raises `WorkersError` when one of them dies young too often; all have ended then.
        """
        self._signals.listen(self._hang_up)
        try:
            statuses = await asyncio.gather(*(self._keep(index) for index in range(self._crew.count)))
        finally:
            os.close(self._held)
            os.close(self._lifeline)
        if self._hopeless:
            raise WorkersError(self._hopeless)
        return max(map(abs, statuses))

    async def _keep(self, index: int) -> int:
        """Run worker `index` until all are told to stop; its last exit status."""
        loop = asyncio.get_running_loop()
        young = 0
        while True:
            born = loop.time()
            command = [*self._crew.command, "--worker", str(index), "--lifeline", str(self._lifeline)]
            process = await asyncio.create_subprocess_exec(
                *command, env=dict(self._crew.environ), pass_fds=(self._lifeline,), start_new_session=True
            )
            self._running[process] = born
            status = await self._until_over(process)
            del self._running[process]
            if self._signals.stop.is_set():
                return 0 if -status in _UNHEARD else status
            if status == -signal.SIGHUP:
                continue  # the next one reads what there is to read
            self._log.error("worker_died", worker=index, status=status)
            young = young + 1 if loop.time() - born < YOUNG else 0
            if young >= DEATHS and not self._settled(loop.time()):
                self._give_up(index, status)
                return status
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._signals.stop.wait(), self._crew.respawn)
            if self._signals.stop.is_set():
                return 0

    def _settled(self, now: float) -> bool:
        """Whether any worker runs that is not young any more."""
        return any(now - born >= YOUNG for born in self._running.values())

    def _hang_up(self) -> None:
        """Each worker reads its configuration anew."""
        for process in self._running:
            _send(process, signal.SIGHUP)

    def _give_up(self, index: int, status: int) -> None:
        self._hopeless = (
            f"worker {index} died {DEATHS} times within {YOUNG:g} s of its start, "
            f"at last with status {status}; what it said is above"
        )
        self._signals.stop.set()

    async def _until_over(self, process: asyncio.subprocess.Process) -> int:
        """Wait for a worker's end, and pass each signal to stop on meanwhile."""
        stopped = self._tasks.spawn(self._pass_on(process), "worker stop")
        try:
            return await process.wait()
        finally:
            stopped.cancel()

    async def _pass_on(self, process: asyncio.subprocess.Process) -> None:
        for said in (self._signals.stop, self._signals.now):
            await said.wait()
            _send(process, self._signals.first)


def _send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


def command_of(arguments: Sequence[str]) -> list[str]:
    """The command line that runs this program again with `arguments`."""
    return [sys.executable, "-P", "-m", "proxy", *arguments]  # -P: not what happens to lie in this folder
