"""Tests of `proxy.hangup`: SIGHUP is noted until it is heeded, and ends nobody."""

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from proxy.hangup import Hangup

SAYS = "import signal; print(signal.getsignal(signal.SIGHUP).name)"
EARLY = "import sys, proxy.__main__; sys.exit('click' in sys.modules)"


@pytest.fixture(autouse=True)
def former() -> Iterator[list[int]]:
    """What another handler, which was there before, has heard; the process's own is back afterwards."""
    heard: list[int] = []
    own = signal.signal(signal.SIGHUP, lambda number, _: heard.append(number))
    yield heard
    signal.signal(signal.SIGHUP, own)


def test_those_that_came_before_are_told_once_and_later_ones_each() -> None:
    """The first to heed it hears of all that came unheeded."""
    told: list[str] = []
    hangup = Hangup.held()
    for _ in range(2):
        signal.raise_signal(signal.SIGHUP)
    hangup.heeded(lambda: told.append("first"))
    assert told == ["first"]
    signal.raise_signal(signal.SIGHUP)
    assert told == ["first", "first"]
    Hangup.held().heeded(lambda: told.append("second"))
    assert told == ["first", "first"]
    signal.raise_signal(signal.SIGHUP)
    assert told == ["first", "first", "second"]


def test_there_is_one_in_a_process() -> None:
    """Whoever asks for it finds what holds the signal already."""
    assert Hangup.held() is Hangup.held()


def test_what_is_released_does_as_before(former: list[int]) -> None:
    """Also with one that came meanwhile."""
    Hangup.held().released()
    assert former == []
    hangup = Hangup.held()
    signal.raise_signal(signal.SIGHUP)
    assert former == []
    hangup.released()
    assert former == [signal.SIGHUP]


def test_a_child_does_not_inherit_it() -> None:
    """It hears SIGHUP as any program does, even where this one was started to ignore it."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    Hangup.held()
    said = subprocess.run([sys.executable, "-c", SAYS], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "SIG_DFL"


def test_it_is_held_before_anything_is_loaded() -> None:
    """What is imported before `main` is called is next to nothing."""
    assert subprocess.run([sys.executable, "-c", EARLY], check=False).returncode == 0
