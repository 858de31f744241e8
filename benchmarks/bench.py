"""Ours beside LiteLLM, Portkey and nginx, in one run, each on one core in turn.

    python benchmarks/bench.py                        about twenty minutes
    python benchmarks/bench.py --quick                about five: one round, short, of half the loads
    python benchmarks/bench.py --only saturation,open some sections

What is measured has one core; the provider, the load and the store share the other. A round with any
failed request is void and repeated; what the rig itself allows (`direct`) is measured in each. Figures of
different runs do not compare; ratios inside one run do. All on loopback.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import asking
import machine
import memory
import peers
import proxies
import report
import samples
import sections
import sides
import starts
from proof import UnprovenError, Witness
from rounds import Series
from running import NotRunningError
from sections import Rig, Scale
from sides import PLAIN, STREAMS, TLS, Bench, Origins
from store import program, store

OUT = sides.ROOT / "benchmarks" / "out"
FULL = Scale(rounds=3, seconds=2.0, requests=60_000, turns=5)
QUICK = Scale(rounds=1, seconds=1.0, requests=3_000, turns=2, brief=True)
SECTIONS: dict[str, Callable[[Rig, Scale, Callable[[str], None]], list[Series]]] = {
    "saturation": sections.saturation,
    "open": sections.fixed_rates,
    "streams": sections.streaming,
    "bodies": sections.bodies,
    "tls": sections.tls,
    "memory": memory.memory,
    "start": starts.starts,
    "redis": sections.redis,
    "workers": sections.workers,
}
_SHORT = 5.0
"""Seconds that a side which is up may take to answer on another way."""

_NEEDED = {"nginx": "nginx-light", "wrk": "wrk", "taskset": "util-linux"}


def main() -> int:
    """The command line; 0 if every level has a good round and everything was on."""
    given = _arguments()
    unfit = machine.unfit("bench", _NEEDED if program() else {**_NEEDED, "valkey-server": "valkey-server"})
    if unfit:
        print(unfit)
        return 2
    cores = sorted(os.sched_getaffinity(0))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="apex-bench-")))
        try:
            return _run(stack, Bench(cores[0], cores[1], folder), given)
        except (NotRunningError, UnprovenError) as error:
            print(f"\nThe run is void. {error}")
            return 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", type=_sections, default=list(SECTIONS), metavar=",".join(SECTIONS))
    parser.add_argument("--quick", action="store_true", help="one short round of every other load")
    parser.add_argument("--rounds", type=int, help="good rounds for each level (3)")
    parser.add_argument("--seconds", type=float, help="of each measurement (2)")
    parser.add_argument("--tree", type=Path, default=sides.ROOT, help="the sources of ours (these)")
    parser.add_argument("--json", type=Path, help="where the figures go (benchmarks/out/bench-TIME.json)")
    return parser.parse_args()


def _sections(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    unknown = set(names) - set(SECTIONS)
    if unknown:
        raise argparse.ArgumentTypeError(f"no such section: {', '.join(sorted(unknown))}")
    return names


def _scale(given: argparse.Namespace) -> Scale:
    scale = QUICK if given.quick else FULL
    return replace(scale, rounds=given.rounds or scale.rounds, seconds=given.seconds or scale.seconds)


def _run(stack: contextlib.ExitStack, bench: Bench, given: argparse.Namespace) -> int:
    began = time.monotonic()
    found = peers.installed(say)
    rig, origins, remarks = _rig(stack, bench, found, given.tree)
    same = _one_reply(rig, origins)
    scale = _scale(given)
    told: dict[str, list[Series]] = {}
    broken = []
    for name in given.only:
        say(f"== {name}, {time.monotonic() - began:.0f} s so far")
        try:
            told[name] = SECTIONS[name](rig, scale, say)
        except subprocess.CalledProcessError as error:  # the rest of the run is worth having all the same
            say(f"{name} is left out: {error}")
            broken.append(name)
            remarks = [*remarks, f"section {name} broke off"]
    document = {
        "taken": time.strftime("%Y-%m-%d"),
        "machine": machine.machine(),
        "versions": {**machine.versions(given.tree), "store": rig.store.version(), **found.versions()},
        "scale": asdict(scale),
        "quick": given.quick,
        "remarks": remarks,
        "seconds": round(time.monotonic() - began),
        "proof": {
            "one reply, byte by byte": same,
            **{level: asdict(evidence) for level, evidence in rig.witness.evidence.items()},
        },
        "sections": {name: [asdict(series) for series in found] for name, found in told.items()},
    }
    file = given.json or OUT / f"bench-{time.strftime('%Y%m%d-%H%M%S')}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=1), encoding="utf-8")
    print(report.text(document))
    print(f"\nAll figures: {file}")
    return 0 if not broken and all(one.rounds for series in told.values() for one in series) else 1


def _rig(
    stack: contextlib.ExitStack, bench: Bench, found: peers.Installed, tree: Path
) -> tuple[Rig, Origins, list[str]]:
    """Start everything; what it gives, and remarks on who does not answer where."""
    say("starting all sides")
    origins = sides.origins(stack, bench)
    kept = store(stack, bench)
    setting = proxies.Setting(origins, kept, tree.resolve())
    ours = proxies.ours(stack, bench, setting, proxies.ON)
    off = proxies.ours(stack, bench, setting, proxies.OFF)
    others = [peers.litellm(stack, bench, origins, found, name) for name in (peers.LITELLM, peers.GRANIAN)]
    if found.portkey is not None:
        others.append(peers.portkey(stack, bench, origins, found.portkey))
    rig = Rig(
        bench,
        sides.floor(origins),
        sides.proxied(stack, bench, origins),
        ours,
        off,
        others,
        setting,
        found,
        Witness(ours, kept),
    )
    remarks = _answering(rig, origins)
    for peer in rig.peers:
        for side in peer.values():
            side.sleep()
    return rig, origins, remarks


def _answering(rig: Rig, origins: Origins) -> list[str]:
    """Wait until all answer on every way; a peer that does not on a way is taken out of it, with a remark."""
    remarks = []
    for way, model in ((PLAIN, samples.WHOLE), (TLS, proxies.OVER_TLS), (STREAMS, samples.BURST)):
        body = samples.chat_request(model, 1024, stream=way == STREAMS)
        patience = asking.PATIENCE if way == PLAIN else _SHORT
        for side in rig.sides(way):
            peer = next((ways for ways in rig.peers if ways.get(way) is side), None)
            try:
                asking.await_answer(side, body, origins.ca, patience)
            except NotRunningError as error:
                if peer is None or way == PLAIN:
                    raise
                del peer[way]
                remarks.append(f"{way}: left out, for {error}")
                say(remarks[-1])
    return remarks


def _one_reply(rig: Rig, origins: Origins) -> str:
    """Whether a whole answer and a stream come through ours as the provider sent them."""
    for way, model in ((PLAIN, samples.WHOLE), (STREAMS, samples.BURST)):
        body = samples.chat_request(model, 1024, stream=way == STREAMS)
        sent, came = (asking.await_answer(side, body, origins.ca) for side in (rig.floor[way], rig.ours.side))
        if sent != came:
            raise UnprovenError(f"the reply to {model} is not the provider's")
    return "equal, a whole answer and a stream"


def say(line: str) -> None:
    """Progress."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
