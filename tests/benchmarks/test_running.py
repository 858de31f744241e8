"""Sides that stand still while others are measured."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import Command, Side, family, free_port, started

pytestmark = pytest.mark.process

_LISTENING = (
    "import socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1])))\nwhile True: s.accept()"
)
_PATIENCE = 5.0


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """One that does nothing but wait."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as waiting:
        yield waiting
        waiting.kill()


def state(pid: int) -> str:
    """Of a process, by proc(5): T where it stands still."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]


def becomes(pid: int, *, still: bool) -> bool:
    """Whether it comes to stand still, or to go on: a signal takes its time."""
    late = time.monotonic() + _PATIENCE
    while time.monotonic() < late:
        if (state(pid) == "T") is still:
            return True
        time.sleep(0.01)
    return False


def test_a_sleeping_side_stands_still_but_while_it_is_measured(process: subprocess.Popen[bytes]) -> None:
    """What it does by itself is in nobody else's figures."""
    side = Side("peer", "", process.pid, sleeps=True)
    side.sleep()
    assert becomes(process.pid, still=True)
    with side.awake():
        assert becomes(process.pid, still=False)
    assert becomes(process.pid, still=True)


def test_ours_never_stands_still(process: subprocess.Popen[bytes]) -> None:
    """It has a store to keep in touch with."""
    side = Side("ours", "", process.pid)
    side.sleep()
    with side.awake():
        pass
    assert becomes(process.pid, still=False)


def test_a_process_that_stands_still_is_ended_all_the_same(tmp_path: Path) -> None:
    """It hears that it shall end only once it goes on."""
    port = free_port()
    command = Command([sys.executable, "-c", _LISTENING, str(port)], 0, tmp_path, {}, tmp_path / "log")
    with started(command, port) as pid:
        Side("peer", "", pid, sleeps=True).sleep()
        assert becomes(pid, still=True)
    assert not Path(f"/proc/{pid}").exists()


def test_who_descends_from_a_process_ends_with_it(tmp_path: Path) -> None:
    """Some workers outlive their parents, and would be in the figures of all that is measured after them."""
    program = f"import subprocess; subprocess.Popen(['sleep', '60'])\n{_LISTENING}"
    port = free_port()
    command = Command([sys.executable, "-c", program, str(port)], 0, tmp_path, {}, tmp_path / "log")
    with started(command, port) as pid:
        _, child = family(pid)
    late = time.monotonic() + _PATIENCE
    while Path(f"/proc/{child}").exists() and state(child) != "Z" and time.monotonic() < late:
        time.sleep(0.01)
    assert not Path(f"/proc/{child}").exists() or state(child) == "Z"
