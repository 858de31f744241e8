"""What `bench.py` measures, a function a section: each gives the series of its table.

A peer takes part where it can: at fixed rates only up to `SHARE` of what it does flat out, for beyond
that its queue is measured and not its latency.
"""

import contextlib
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import asking
import levels
import proxies
import rounds
import samples
from levels import Load
from peers import GRANIAN, LITELLM, PORTKEY, Installed
from proof import Witness
from proxies import OVER_TLS, Proxy, Setting
from rounds import Figures, Level, Series
from running import Side, pinned
from sides import PLAIN, STREAMS, TLS, Bench
from store import SCRIPTS, Store

CONNECTIONS = (1, 16, 64, 256)
RATES = (20, 200, 1000)
SHARE = 0.6
SIZES = {"1 KB": 1024, "113 KB": 113_000, "4 MB": 4 * 1024**2}
_BRIEF = (1, 64, 256)
_COMPARED = (1, 64)
"""Connections at which the other gateways are measured too: for latency, and flat out."""

_SHARED_RATE = 1500
_STREAM_ROUNDS = 2
"""Streams take long, and what ends them longer."""

_FEW = 4
_FLAT_OUT = 2
"""Rounds more than elsewhere: whoever fills a core feels most what else the machine does."""

_MANY = 16
_USUAL = 64

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Scale:
    """How long a run is: good rounds a level, seconds of a measurement, requests of the fastest open loop.

    `turns` are of what is started. A `brief` run leaves out every other load.
    """

    rounds: int
    seconds: float
    requests: int
    turns: int
    brief: bool = False


@dataclass(frozen=True, slots=True)
class Rig:
    """All that runs. `peers` are LiteLLM, LiteLLM with granian and Portkey, as far as they are there."""

    bench: Bench
    floor: dict[str, Side]
    nginx: dict[str, Side]
    ours: Proxy
    off: Proxy
    peers: Sequence[dict[str, Side]]
    setting: Setting
    found: Installed
    witness: Witness

    @property
    def store(self) -> Store:
        """What ours share their state in."""
        return self.setting.store

    def sides(self, way: str) -> list[Side]:
        """Everybody, on one way; the floor first."""
        return [
            self.floor[way],
            self.nginx[way],
            self.ours.side,
            self.off.side,
            *(peer[way] for peer in self.peers if way in peer),
        ]


def saturation(rig: Rig, scale: Scale, say: Say) -> list[Series]:
    """Flat out, at 1 to 256 connections; others than nginx at `_COMPARED`, LiteLLM's second server at 64."""
    load = Load(scale.seconds)
    made = []
    for count in _BRIEF if scale.brief else CONNECTIONS:
        fit = rig.sides(PLAIN) if count in _COMPARED else rig.sides(PLAIN)[:4]
        sides = [side for side in fit if side.name != GRANIAN or count == _USUAL]
        made.append(rig.witness.watched(levels.requests(rig.bench, load, count, sides), _cut(count)))
    return rounds.run(made, scale.rounds if scale.brief else scale.rounds + _FLAT_OUT, say)


def _cut(connections: int) -> int:
    """Requests that wrk may have cut: one a connection, after probe, warm-up and measurement."""
    return min(connections, levels.PROBE) + 2 * connections


def fixed_rates(rig: Rig, scale: Scale, say: Say) -> list[Series]:
    """An open loop: latency at rates that do not wait for answers.

    LiteLLM is measured at the lowest of them, and at its own share of what it does flat out.
    """
    floor, nginx, ours, off = rig.sides(PLAIN)[:4]
    peers = [side for side in rig.sides(PLAIN)[4:] if side.name != GRANIAN]
    probe = levels.requests(rig.bench, Load(1.0), _MANY, peers)
    able = {side.name: _pace(probe, side) * SHARE for side in peers}
    made = []
    for rate in RATES[::2] if scale.brief else RATES:
        # The fastest takes longest: a minute of the two that its bounds are about.
        always = [floor, ours] if rate == max(RATES) else [floor, nginx, ours, off]
        fit = [
            *always,
            *(
                side
                for side in peers
                if able[side.name] >= rate and (side.name != LITELLM or rate == RATES[0])
            ),
        ]
        seconds = scale.requests / rate / scale.rounds if rate == max(RATES) else scale.seconds
        level = levels.at_rate(rig.bench, Load(seconds), rate, fit)
        if rate == max(RATES):
            level = replace(level, check=levels.calm)
        made.append(rig.witness.watched(level, 0))
    for side in peers:
        if side.name == LITELLM:
            rate = max(round(able[side.name]), 1)
            name = f"{SHARE:g} of {LITELLM} flat out"
            made.append(levels.at_rate(rig.bench, Load(scale.seconds), rate, [floor, ours, side], name))
    return rounds.run(made, scale.rounds, say)


def _pace(probe: Level, side: Side) -> float:
    """Requests a second that a side does flat out."""
    with side.awake():
        return probe.measure(side)["rate"]


def streaming(rig: Rig, scale: Scale, say: Say) -> list[Series]:
    """Streams, passed on as they are and translated.

    LiteLLM stands beside 100 of them. Paced it may fall behind: then its latency is that of its queue, but
    what it spends on an event is what it spends.
    """
    seconds = max(scale.seconds, 2.0)
    burst = Load(seconds, 1.0, samples.BURST)
    paced = Load(seconds, samples.PACED_TOKENS * samples.PACED_PAUSE, samples.PACED)
    slow = Load(seconds, samples.SLOW_TOKENS * samples.SLOW_PAUSE, samples.SLOW)
    ours = [rig.floor[STREAMS], rig.ours.side]
    rivals = [side for side in rig.sides(STREAMS)[4:] if side.name != GRANIAN]
    speaking = [side for side in rivals if side.name != PORTKEY]
    nginx = rig.nginx[STREAMS]
    plan = (
        ("100 streams passed, flat out", burst, 100, [*ours, nginx, *rivals]),
        ("100 translated, flat out", _translated(burst), 100, [*ours, *speaking]),
        ("100 streams passed, paced", paced, 100, [*ours, *speaking]),
        ("100 translated, paced", _translated(paced), 100, [*ours, *speaking]),
        ("1,000 streams passed, paced", slow, 1000, ours),
        ("1,000 streams passed, flat out", burst, 1000, [*ours, nginx]),
        ("1,000 translated, paced", _translated(slow), 1000, ours),
    )
    made = [
        levels.streams(rig.bench, load, count, sides, name)
        for name, load, count, sides in plan[: 5 if scale.brief else None]
    ]
    return rounds.run(made, min(scale.rounds, _STREAM_ROUNDS), say)


def _translated(load: Load) -> Load:
    return replace(load, model=load.model + samples.TRANSLATED)


def bodies(rig: Rig, scale: Scale, say: Say) -> list[Series]:
    """Requests of 1 KB to 4 MB, and what large ones do to small ones beside them."""
    sides = [rig.floor[STREAMS], rig.nginx[STREAMS], rig.ours.side]
    made: list[Level] = []
    for name, size in SIZES.items():
        connections = _MANY if size < 1024**2 else _FEW
        load = Load(scale.seconds, 1.0, samples.LARGE, size)
        made.append(
            levels.requests(rig.bench, load, connections, sides, f"{name}, {connections} connections")
        )
    small = Load(max(scale.seconds, 2.0), 1.0, samples.LARGE)
    fast = [rig.floor[STREAMS], rig.ours.side]
    made.append(levels.at_rate(rig.bench, small, 200, fast, "1 KB at 200/s"))
    made.append(_beside(rig.bench, small, fast))
    return rounds.run(made, scale.rounds, say)


def _beside(bench: Bench, small: Load, sides: Sequence[Side]) -> Level:
    """The same small requests while five large ones a second go the same way."""
    large = replace(small, size=SIZES["4 MB"])
    plain = levels.at_rate(bench, small, 200, sides, "1 KB at 200/s beside 4 MB at 5/s")
    body = large.body(bench)

    def measure(side: Side) -> Figures:
        command = pinned(bench.other, levels.sending(side, body, 5, large))
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as beside:
            figures = plain.measure(side)
            beside.wait()
        return figures

    # The floor is disturbed as well, by the load's own work: its p99.9 voids nothing here.
    return Level(plain.name, plain.rate, measure, sides)


def tls(rig: Rig, scale: Scale, say: Say) -> list[Series]:
    """Whole requests to a provider behind TLS."""
    load = Load(scale.seconds, model=OVER_TLS)
    sides = [rig.floor[TLS], rig.nginx[TLS], rig.ours.side]
    made = levels.requests(rig.bench, load, _USUAL, sides, f"TLS, {_USUAL} connections")
    return rounds.run([made], scale.rounds, say)


def workers(rig: Rig, scale: Scale, say: Say) -> list[Series]:
    """What a request costs one process and two, at one rate, on both cores beside the load."""
    body = samples.chat_request(samples.WHOLE, 1024)
    with contextlib.ExitStack() as stack:
        sides = [proxies.workers(stack, rig.bench, rig.setting, count) for count in (1, 2)]
        for side in sides:
            asking.await_answer(side, body, rig.setting.origins.ca)
        load = Load(max(scale.seconds, 4.0))
        level = levels.at_rate(rig.bench, load, _SHARED_RATE, sides, "1,500 requests/s")
        return rounds.run([replace(level, check=rounds.sound)], scale.rounds, say)


def redis(rig: Rig, scale: Scale, say: Say) -> list[Series]:
    """What a request costs the store."""
    made = levels.requests(rig.bench, Load(scale.seconds), _USUAL, [rig.ours.side], "limits")
    return rounds.run(
        [Level(made.name, "requests/s", partial(_stored, rig.store, made), made.sides)], scale.rounds, say
    )


def _stored(store: Store, level: Level, side: Side) -> Figures:
    before, began = store.totals(), time.perf_counter()
    figures = level.measure(side)
    time.sleep(0.5)
    spent, seconds = store.totals().since(before), time.perf_counter() - began
    count = figures["all_requests"] or 1.0
    return {
        "rate": figures["rate"],
        "cpu_us": spent.cpu / count * 1e6,
        "scripts": spent.calls.get(SCRIPTS, 0) / count,
        "bytes_in": spent.read / count,
        "bytes_out": spent.written / count,
        "busy": spent.cpu / seconds,
        "failed": figures["failed"],
    }
