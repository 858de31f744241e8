"""What can be measured of a side: whole requests flat out, requests at a rate, streams."""

import json
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import samples
from rounds import Figures, Level, sound
from running import Side, pinned
from sides import ROOT, Bench

FLOOR = "direct"
WORST_FLOOR_US = 3000.0
"""The rig's own p99.9 in an open loop; above it the machine was not ours and the round is void."""

LONG = 0.2
"""Seconds an answer takes, at so many connections, from which on wrk's count would be off."""

_WALL = 16
"""Connections from which on a side's core is its wall."""

PROBE = 16
"""Connections, at the most, that a side's pace is found out with."""

_LONGEST = 5.0
_HERE = ROOT / "benchmarks"


@dataclass(frozen=True, slots=True)
class Load:
    """Requests of `size` bytes for `model`, for so long, after so long a warm-up."""

    seconds: float
    warm: float = 1.0
    model: str = samples.WHOLE
    size: int = 1024

    def body(self, bench: Bench, *, stream: bool = False) -> Path:
        """The file of the request."""
        file = bench.folder / f"{self.model}-{self.size}.json"
        file.write_bytes(samples.chat_request(self.model, self.size, stream=stream))
        return file


def requests(bench: Bench, load: Load, connections: int, sides: Sequence[Side], name: str = "") -> Level:
    """Whole requests flat out, on so many connections.

    The load is wrk, for whole seconds, as it counts them. Who takes longer than `LONG` for an answer gets
    our own closed loop, and so long that each connection is answered more than once.
    """
    paces: dict[str, float] = {}
    body = load.body(bench)

    def measure(side: Side) -> Figures:
        if side.name not in paces:
            probed = wrk(bench, side, body, min(connections, PROBE), 1.0)
            paces[side.name] = probed["requests"] / probed["seconds"]
            side.rest()
        else:
            probed = {"requests": 0.0}
        if connections > LONG * paces[side.name]:
            longer = _patient(load, connections, paces[side.name])
            slow = _slowly(bench, side, body, connections, longer)
            return {**slow, "all_requests": slow["all_requests"] + probed["requests"]}
        warmed = wrk(bench, side, body, connections, load.warm)
        before = side.cpu()
        found = wrk(bench, side, body, connections, load.seconds)
        return {
            **_flat_out(found, side.cpu() - before),
            "all_requests": found["requests"] + warmed["requests"] + probed["requests"],
        }

    plural = "" if connections == 1 else "s"
    title = name or f"{connections} connection{plural}"
    return Level(title, "requests/s", measure, sides, wall=connections >= _WALL)


def wrk(bench: Bench, side: Side, body: Path, connections: int, seconds: float) -> Figures:
    """What wrk told."""
    options = ["-t1", f"-c{connections}", f"-d{math.ceil(seconds)}s", "--timeout", "30s"]
    script = ["-s", str(_HERE / "wrk.lua")]
    return told(bench, ["wrk", *options, *script, side.url, "--", str(body), samples.KEY, *side.headers])


def _patient(load: Load, connections: int, pace: float) -> Load:
    """Longer, where so many connections take long to be answered."""
    once = min(connections / max(pace, 1.0), _LONGEST)
    return replace(load, seconds=max(load.seconds, 2 * once), warm=max(load.warm, once))


def _slowly(bench: Bench, side: Side, body: Path, connections: int, load: Load) -> Figures:
    options = [f"--closed={connections}", f"--seconds={load.seconds}", f"--warm={load.warm}"]
    command = [sys.executable, str(_HERE / "openloop.py"), side.url, str(body), *options, *_headers(side)]
    before, began = side.cpu(), time.perf_counter()
    found = told(bench, command)
    share = (side.cpu() - before) / (time.perf_counter() - began)
    return {**_flat_out(found, share * found["seconds"]), "all_requests": found["all_requests"]}


def _flat_out(found: Figures, spent: float) -> Figures:
    return {
        "rate": found["requests"] / found["seconds"],
        "requests": found["requests"],
        "cpu_us": spent / found["requests"] * 1e6 if found["requests"] else 0.0,
        "busy": spent / found["seconds"],
        "p50_us": found["p50"] * 1e6,
        "p99_us": found["p99"] * 1e6,
        "failed": found["failed"] or float(not found["requests"]),
    }


def streams(bench: Bench, load: Load, clients: int, sides: Sequence[Side], name: str = "") -> Level:
    """So many streams at once, from our own clients."""
    body = load.body(bench, stream=True)
    paced = not load.model.startswith(samples.BURST)

    def measure(side: Side) -> Figures:
        before, began = side.cpu(), time.perf_counter()
        found = told(bench, streaming(side, body, clients, load))
        spent = side.cpu() - before
        return {
            "rate": found["events"] / found["seconds"],
            "streams": found["streams"] / found["seconds"],
            "cpu_us": spent / found["all_events"] * 1e6 if found["all_events"] else 0.0,
            "core_rate": found["all_events"] / spent if spent else 0.0,
            "busy": spent / (time.perf_counter() - began),
            "p50_us": found["first_p50"] * 1e6,
            "p99_us": found["first_p99"] * 1e6,
            "memory_mib": side.memory(),
            "failed": found["failed"] or float(not found["events"]),
        }

    title = name or f"{clients} streams, {'paced' if paced else 'no pause'}"
    return Level(title, "events/s", measure, sides, wall=not paced)


def streaming(side: Side, body: Path, clients: int, load: Load) -> list[str]:
    """The command of the streaming clients."""
    options = [f"--streams={clients}", f"--warm={load.warm}", f"--seconds={load.seconds}"]
    return [sys.executable, str(_HERE / "load.py"), side.url, str(body), *options, *_headers(side)]


def at_rate(bench: Bench, load: Load, rate: float, sides: Sequence[Side], name: str = "") -> Level:
    """Requests at a fixed rate; void where the floor itself was slow."""
    body = load.body(bench)

    def measure(side: Side) -> Figures:
        before = side.cpu()
        found = told(bench, sending(side, body, rate, load))
        return {
            "rate": rate,
            **latencies(found),
            "cpu_us": (side.cpu() - before) / found["all_requests"] * 1e6,
        }

    return Level(name or f"{rate:,.0f} requests/s", "requests/s", measure, sides, steady)


def sending(side: Side, body: Path, rate: float, load: Load) -> list[str]:
    """The command of the open loop."""
    options = [f"--rate={rate}", f"--seconds={load.seconds}", f"--warm={load.warm}"]
    return [sys.executable, str(_HERE / "openloop.py"), side.url, str(body), *options, *_headers(side)]


def latencies(found: Figures) -> Figures:
    """What the open loop told, in microseconds."""
    return {
        "requests": found["requests"],
        "all_requests": found["all_requests"],
        **{f"{name}_us": found[name] * 1e6 for name in ("p50", "p99", "p999", "late_p99")},
        "failed": found["failed"],
    }


def steady(name: str, figures: Figures) -> str:
    """Nothing failed, and the floor was a floor."""
    if name == FLOOR and figures["p999_us"] > WORST_FLOOR_US:
        return f"the rig's own p99.9 was {figures['p999_us'] / 1000:.1f} ms"
    return sound(name, figures)


def calm(name: str, figures: Figures) -> str:
    """The floor was a floor; what failed of the others is a figure, and voids nothing."""
    return steady(name, figures) if name == FLOOR else ""


def _headers(side: Side) -> list[str]:
    return [part for header in side.headers for part in ("--header", header)]


def told(bench: Bench, arguments: Sequence[str]) -> Figures:
    """Run a load on the other core; the JSON of the last line it prints."""
    done = subprocess.run(pinned(bench.other, arguments), check=True, stdout=subprocess.PIPE, text=True)
    found: Figures = json.loads(done.stdout.strip().rpartition("\n")[2])
    return found
