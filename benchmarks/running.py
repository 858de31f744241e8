"""Processes that a benchmark starts: each pinned to one core, awaited until it answers, ended with the run.

CPU time is read from /proc, so Linux alone; what a process spends per request is the figure that a busy
machine disturbs least.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 60.0
"""Seconds a process may take to listen: one that imports for five on a busy core."""

_PAUSE = 0.2
_IDLE = 0.1
"""The share of a core below which a process is at rest."""

_TICK = os.sysconf("SC_CLK_TCK")


class NotRunningError(Exception):
    """A process did not come up. The message holds the end of what it said."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to start: on which core, or cores as `0,1`, in which folder, with what environment."""

    arguments: Sequence[str]
    core: int | str
    folder: Path
    environ: Mapping[str, str]
    log: Path


@dataclass(frozen=True, slots=True)
class Side:
    """A way to the provider that is measured. `pid` is None for the direct one, which has no process.

    `headers` go with every request, as `name: value`. `parented`: the work is done by children of `pid`,
    so that all of them count. `sleeps`: it stands still while others are measured, so that what it does by
    itself (LiteLLM's jobs take tens of milliseconds of a core now and then) is not in their figures.
    """

    name: str
    url: str
    pid: int | None = None
    headers: tuple[str, ...] = ()
    parented: bool = False
    sleeps: bool = False

    def cpu(self) -> float:
        """Seconds of CPU time its process has used so far, user and system."""
        return sum(map(cpu_of, self._pids()))

    def memory(self) -> float:
        """MiB of resident memory."""
        return sum(map(resident, self._pids()))

    def rest(self, patience: float = 20.0) -> None:
        """Wait until it does nothing: what a load has cut off, some go on with for seconds."""
        late = time.monotonic() + patience
        while self.pid is not None and time.monotonic() < late:
            before = self.cpu()
            time.sleep(_PAUSE)
            if self.cpu() - before <= _IDLE * _PAUSE:
                return

    def sleep(self) -> None:
        """Stand still, if it is one that does."""
        if self.sleeps:
            tell(self._pids(), signal.SIGSTOP)

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """Run while the block does, and until what it was asked for is done."""
        if self.sleeps:
            tell(self._pids(), signal.SIGCONT)
        try:
            yield
        finally:
            self.rest()
            self.sleep()

    def _pids(self) -> list[int]:
        if self.pid is None:
            return []
        return family(self.pid) if self.parented else [self.pid]


def cpu_of(pid: int) -> float:
    """Seconds of CPU time that a process has used so far, user and system."""
    after_name = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / _TICK


def resident(pid: int) -> float:
    """MiB of a process's resident memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    born = [int(child) for file in threads for child in file.read_text(encoding="ascii").split()]
    return [pid, *(one for child in born for one in family(child))]


def tell(pids: Sequence[int], number: signal.Signals) -> None:
    """Send a signal to all that are still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def free_port() -> int:
    """A loopback port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pinned(core: int | str, arguments: Sequence[str]) -> list[str]:
    """A command line that runs on one core alone, or on several given as `0,1`."""
    return ["taskset", "-c", str(core), *arguments]


@contextlib.contextmanager
def started(command: Command, port: int) -> Iterator[int]:
    """Run `command` until the block ends; yields its process id once `port` accepts connections.

    Raises `NotRunningError`.
    """
    with command.log.open("wb") as log:
        process = subprocess.Popen(
            pinned(command.core, command.arguments),
            cwd=command.folder,
            env={**os.environ, **command.environ},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        _await(process, port, command)
        yield process.pid
    finally:
        born = family(process.pid) if process.poll() is None else []
        tell(born, signal.SIGCONT)  # who stands still does not hear that it shall end
        process.terminate()
        try:
            process.wait(10.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        tell(born[1:], signal.SIGKILL)  # granian's worker outlives its parent


def _await(process: subprocess.Popen[bytes], port: int, command: Command) -> None:
    late = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < late:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.5):
            return
        time.sleep(0.05)
    said = command.log.read_text(encoding="utf-8", errors="replace").strip()[-1500:]
    raise NotRunningError(f"{' '.join(command.arguments[:4])} did not come up:\n{said}")
