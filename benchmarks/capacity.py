"""What 10, 100 and 1,000 replicas need of Redis, by a model that is checked against 1 to 4 that run.

    python benchmarks/capacity.py        about four minutes

One Redis, a scripted provider and the replicas are processes of this run. Calls and bytes are counted by
Redis, so a busy machine does not change them; rates are small for that reason. The model's constants are
fitted on the runs with 1 and 2 replicas, and what a member adds to a list of all is measured among 500.
Runs with 3 and 4 are predicted, and the script fails where calls or bytes are off by more than 10 %.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

import capacity_costs
import capacity_report
import machine
from capacity_costs import Life
from capacity_meter import CONNECTIONS, CPU, Meter
from capacity_model import (
    BYTES_OUT,
    DELIVERY,
    MEMBER,
    QUANTITIES,
    REPLICA,
    SCOPE,
    Observed,
    fitted,
    stage_of,
    total,
)
from capacity_rig import FailedError, Rig, Stretch
from running import NotRunningError
from sides import ROOT, Bench
from store import program, store

OUT = ROOT / "benchmarks" / "out"
FITTED = (1, 2)
PREDICTED = (3, 4)
_NEEDED = {"taskset": "util-linux"}

Run = tuple[int, Stretch]
"""How many replicas, and what was measured."""


def main() -> int:
    """The command line; 0 if the model holds, 1 if it does not, 2 where it cannot be tried."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the figures go (benchmarks/out/capacity-TIME.json)")
    given = parser.parse_args()
    unfit = machine.unfit("capacity", _NEEDED if program() else {**_NEEDED, "valkey-server": "valkey-server"})
    if unfit:
        print(unfit)
        return 2
    try:
        document = _measured()
    except (NotRunningError, FailedError) as error:
        print(f"The run is void. {error}")
        return 2
    file = given.json or OUT / f"capacity-{time.strftime('%Y%m%d-%H%M%S')}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=1), encoding="utf-8")
    print(capacity_report.text(document))
    print(f"\nAll figures: {file}")
    return 1 if capacity_report.wrong(document) else 0


def _measured() -> capacity_report.Document:
    began = time.monotonic()
    cores = sorted(os.sched_getaffinity(0))
    before = machine.machine()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="apex-capacity-")))
        bench = Bench(cores[0], cores[1], folder)
        kept = store(stack, bench)
        _say("what each call costs Redis")
        with contextlib.closing(Meter(urlsplit(kept.url).port or 0)) as meter:
            costs, life = asyncio.run(capacity_costs.measure(kept.url, meter))
        rig = Rig(stack, bench, kept)
        runs: list[Run] = []
        for count in (*FITTED, *PREDICTED):
            _say(f"{count} replicas, {time.monotonic() - began:.0f} s so far")
            rig.add()
            runs += [(count, stretch) for stretch in rig.stretches()]
        versions = {**machine.versions(ROOT), "store": kept.version()}
    return {
        "taken": time.strftime("%Y-%m-%d"),
        "machine": before,
        "versions": versions,
        "seconds": time.monotonic() - began,
        **document(runs, costs, life),
    }


def document(runs: Sequence[Run], costs: dict[str, float], life: Life) -> capacity_report.Document:
    """The constants, and what they say of every run.

    What a member adds to a list, and a message costs each that hears it, is measured by itself: one replica
    and two hardly tell it.
    """
    seen = [Observed(stretch.load.amounts(stretch.seconds), stretch.measured) for _, stretch in runs]
    known = [one for one, (count, _) in zip(seen, runs, strict=True) if count in FITTED]
    member = (life.listed - life.bytes_out) / life.members
    told = {MEMBER: member, DELIVERY: life.delivered}
    constants = {**fitted(known, {BYTES_OUT: told}), CPU: costs}
    return {
        "constants": constants,
        "connections": _connections(runs),
        "quiet": _quiet(seen),
        "life": asdict(life),
        "runs": [
            {
                "replicas": count,
                "name": stretch.name,
                "seconds": stretch.seconds,
                "load": asdict(stretch.load),
                "fitted": count in FITTED,
                "measured": dict(stretch.measured),
                "predicted": {name: total(one.amounts, constants[name]) for name in QUANTITIES},
            }
            for one, (count, stretch) in zip(seen, runs, strict=True)
        ],
    }


def _connections(runs: Sequence[Run]) -> dict[str, float]:
    """Of a replica: what each further one has added."""
    seen = {count: stretch.measured[CONNECTIONS] for count, stretch in runs}
    first, last = min(seen), max(seen)
    return {"replica": (seen[last] - seen[first]) / (last - first)}


def _quiet(seen: Sequence[Observed]) -> float:
    """Microseconds of CPU that a scope took in the runs, whatever else the server did taken off."""
    idle = [one for one in seen if stage_of(one.amounts) == 0]
    asked = [one for one in seen if stage_of(one.amounts) == 1]
    each = sum(one.costs[CPU] for one in idle) / sum(one.amounts[REPLICA] for one in idle)
    rest = sum(one.costs[CPU] - each * one.amounts[REPLICA] for one in asked)
    return rest / sum(one.amounts[SCOPE] for one in asked)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
