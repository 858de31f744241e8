"""Tests of `proxy.workers` with stand-ins for workers: small programs that do as a worker would."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from proxy.workers import DEATHS, Crew, Workers, WorkersError, command_of

pytestmark = pytest.mark.process

_LINES = """
import os, signal, sys
note = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND)  # no buffer: a handler may not enter it twice
def heard(act): [signal.signal(number, act) for number in (signal.SIGTERM, signal.SIGINT)]
def say(word): os.write(note, f"{word} {sys.argv[sys.argv.index('--worker') + 1]}\\n".encode())
"""
_PATIENT = (
    _LINES
    + """
heard(lambda *_: (say("stopped"), sys.exit(0)))
signal.signal(signal.SIGHUP, lambda *_: say("reloaded"))
say("started")
while True: signal.pause()
"""
)
_STUBBORN = (
    _LINES
    + """
asked = []
heard(lambda number, _: (say(f"asked {number}"), asked.append(1)))
say("started")
while len(asked) < 2: signal.pause()
sys.exit(3)
"""
)
_DEAF = _LINES + "say('started')\nsignal.pause()"
_SHORT_LIVED = _LINES + "say('started')\nsys.exit(4)"


class Notes:
    """What the stand-ins say, in a file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        file.touch()

    def lines(self) -> list[str]:
        """All of it so far."""
        return self.file.read_text("utf-8").splitlines()

    async def until(self, *lines: str) -> None:
        """Wait until these have been said."""
        await self.hold(lambda said: set(lines) <= set(said))

    async def hold(self, fits: Callable[[list[str]], bool]) -> None:
        """Wait until what has been said fits."""
        while not fits(self.lines()):  # noqa: ASYNC110  (another process writes them)
            await asyncio.sleep(0.01)


def run(
    program: str, notes: Notes, count: int, meanwhile: Callable[[], Awaitable[None]], respawn: float = 1.0
) -> int:
    """Run workers that are `program`, and do something meanwhile; the parent's exit status."""

    async def main() -> int:
        environ = {"NOTES": str(notes.file), "PATH": os.environ["PATH"]}
        workers = Workers(Crew([sys.executable, "-I", "-S", "-c", program], environ, count, respawn))
        running = asyncio.ensure_future(workers.run())
        async with asyncio.timeout(20.0):
            await meanwhile()
            return await running

    return asyncio.run(main())


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    """An empty file of notes."""
    return Notes(tmp_path / "notes")


def test_a_signal_to_the_parent_reaches_every_worker(notes: Notes) -> None:
    """All are told, all end well, and so does the parent."""

    async def meanwhile() -> None:
        await notes.until("started 0", "started 1", "started 2")
        os.kill(os.getpid(), signal.SIGTERM)

    assert run(_PATIENT, notes, 3, meanwhile) == 0
    assert sorted(notes.lines())[3:] == ["stopped 0", "stopped 1", "stopped 2"]


def test_a_second_signal_is_passed_on_too(notes: Notes) -> None:
    """A worker that is still draining hears it, as the parent did; its status is the parent's."""

    async def meanwhile() -> None:
        await notes.until("started 0")
        os.kill(os.getpid(), signal.SIGINT)
        await notes.until("asked 2 0")  # two signals that wait together would count as one
        os.kill(os.getpid(), signal.SIGINT)

    assert run(_STUBBORN, notes, 1, meanwhile) == 3


def test_a_hangup_reaches_every_worker(notes: Notes) -> None:
    """Each reads its configuration anew, and nobody stops for it."""

    async def meanwhile() -> None:
        await notes.until("started 0", "started 1")
        os.kill(os.getpid(), signal.SIGHUP)
        await notes.until("reloaded 0", "reloaded 1")
        os.kill(os.getpid(), signal.SIGTERM)

    assert run(_PATIENT, notes, 2, meanwhile) == 0


def test_a_worker_that_a_hangup_ends_starts_anew_at_once(notes: Notes) -> None:
    """It had not begun to listen; that is no death to be counted."""

    async def meanwhile() -> None:
        for number in range(1, DEATHS + 2):
            await notes.hold(lambda said, number=number: said.count("started 0") == number)  # type: ignore[misc]
            os.kill(os.getpid(), signal.SIGHUP)
        await notes.hold(lambda said: said.count("started 0") == DEATHS + 2)
        os.kill(os.getpid(), signal.SIGTERM)

    assert run(_DEAF, notes, 1, meanwhile, 60.0) == 0


def test_a_worker_that_was_not_listening_yet_is_no_failure(notes: Notes) -> None:
    """One that is stopped while it starts dies of the signal, as it was told to."""

    async def meanwhile() -> None:
        await notes.until("started 0")
        os.kill(os.getpid(), signal.SIGTERM)

    assert run(_DEAF, notes, 1, meanwhile) == 0


def test_a_worker_that_dies_has_a_successor(notes: Notes) -> None:
    """The same number starts again after a moment; a stop in that moment ends the parent well."""

    async def meanwhile() -> None:
        await notes.hold(lambda said: said.count("started 0") == 2)
        os.kill(os.getpid(), signal.SIGTERM)

    assert run(_SHORT_LIVED, notes, 1, meanwhile) in (0, 4)


def test_workers_that_die_at_once_are_given_up(notes: Notes) -> None:
    """Five deaths of young workers end all the others too, and the error says what happened."""

    async def meanwhile() -> None:
        await notes.until("started 0", "started 1")

    first_dies = _PATIENT.replace(
        'say("started")', 'say("started"); sys.argv[sys.argv.index("--worker") + 1] == "0" and sys.exit(7)'
    )
    with pytest.raises(WorkersError, match=r"worker 0 died 5 times within 5 s .* status 7"):
        run(first_dies, notes, 2, meanwhile, 0.05)
    assert notes.lines().count("started 0") == DEATHS
    assert notes.lines()[-1] == "stopped 1"


def test_workers_that_have_run_for_a_while_are_not_stopped_for_one_that_cannot_start(notes: Notes) -> None:
    """A file that is no good any more harms nobody but the one that has to read it."""
    first_dies = _PATIENT.replace(
        'say("started")', 'say("started"); sys.argv[sys.argv.index("--worker") + 1] == "0" and sys.exit(7)'
    )

    async def meanwhile() -> None:
        await notes.hold(lambda said: said.count("started 0") > DEATHS + 1)
        os.kill(os.getpid(), signal.SIGTERM)

    assert run(first_dies, notes, 2, meanwhile, 1.5) in (0, 7)
    assert notes.lines()[-1] == "stopped 1"


def test_a_workers_command_is_this_program_again() -> None:
    """The same interpreter, the same module, the same arguments."""
    assert command_of(["serve", "--workers", "2"]) == [
        sys.executable,
        "-P",
        "-m",
        "proxy",
        "serve",
        "--workers",
        "2",
    ]
