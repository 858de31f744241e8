"""Resident memory of fresh processes: idle, with streams open, after them.

Each side alone, with as many streams as it can keep up with: a gateway that falls behind holds what it
could not send, and that would be measured instead.
"""

import contextlib
import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

import asking
import levels
import peers
import proxies
import samples
from levels import Load
from rounds import STRIKES, Figures, Series
from running import Side, pinned
from sections import Rig, Say, Scale
from sides import STREAMS, Bench

OURS_STREAMS = 1000
PEERS_STREAMS = 100
_SETTLE = 3.0

Start = Callable[[contextlib.ExitStack], Side]


@dataclass(frozen=True, slots=True)
class Subject:
    """Who is measured: its name in the table, how it is started, how many streams it gets."""

    name: str
    start: Start
    streams: int


def memory(rig: Rig, scale: Scale, say: Say) -> list[Series]:
    """One round a subject: a process starts fresh only once. Who fails gets a second one."""
    series = Series("fresh processes", "idle_mib")
    found: dict[str, Figures] = {}
    for subject in _subjects(rig):
        say(f"{subject.name}: idle, {subject.streams} streams, after")
        for _ in range(STRIKES):
            with contextlib.ExitStack() as stack:
                figures = _measured(rig.bench, subject.start(stack), subject.streams, scale)
            if not figures["failed"]:
                found[subject.name] = figures
                break
            series.voided.append(f"{subject.name}: {figures['failed']:.0f} failed")
        else:
            series.left_out.append(subject.name)
    series.rounds += [found] if found else []
    return [series]


def _subjects(rig: Rig) -> list[Subject]:
    def ours(stack: contextlib.ExitStack) -> Side:
        return proxies.ours(stack, rig.bench, rig.setting, proxies.ON).side

    def litellm(stack: contextlib.ExitStack) -> Side:
        name = peers.LITELLM
        return peers.litellm(stack, rig.bench, rig.setting.origins, rig.found, name)[STREAMS]

    found = [
        Subject(f"{proxies.ON}, {OURS_STREAMS:,} streams", ours, OURS_STREAMS),
        Subject(f"{peers.LITELLM}, {PEERS_STREAMS} streams", litellm, PEERS_STREAMS),
    ]
    program = rig.found.portkey
    if program is not None and any(side.name == peers.PORTKEY for side in rig.sides(STREAMS)):

        def portkey(stack: contextlib.ExitStack) -> Side:
            return peers.portkey(stack, rig.bench, rig.setting.origins, program)[STREAMS]

        found.append(Subject(f"{peers.PORTKEY}, {PEERS_STREAMS} streams", portkey, PEERS_STREAMS))
    return found


def _measured(bench: Bench, side: Side, streams: int, scale: Scale) -> Figures:
    load = Load(max(scale.seconds, 2.0), samples.SLOW_TOKENS * samples.SLOW_PAUSE, samples.SLOW)
    body = load.body(bench, stream=True)
    asking.await_answer(side, body.read_bytes(), bench.folder / "ca.pem")
    time.sleep(_SETTLE)
    idle = most = side.memory()
    command = pinned(bench.other, levels.streaming(side, body, streams, load))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as clients:
        while clients.poll() is None:
            most = max(most, side.memory())
            time.sleep(0.2)
        assert clients.stdout is not None
        found: Figures = json.loads(clients.stdout.read())
    time.sleep(_SETTLE)
    return {
        "idle_mib": idle,
        "most_mib": most,
        "stream_kib": (most - idle) * 1024 / streams,
        "after_mib": side.memory(),
        "failed": found["failed"],
    }
