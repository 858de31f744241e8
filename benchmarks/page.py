"""Writes docs/performance.md and its charts out of a run's document: no figure by hand.

python benchmarks/page.py benchmarks/out/bench-20270101-120000.json
python benchmarks/page.py BENCH.json --capacity benchmarks/out/capacity-20270101-120000.json
"""

import argparse
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import capacity_report
import goals
import peers
import report
import sides

DOCS = sides.ROOT / "docs"
_PACKAGES = ("matplotlib",)
_OPENING = """# Performance

This page is made from one run: `make bench`, then `python benchmarks/page.py FILE`. Figures of different
runs do not compare; ratios inside one run do.

What is measured has one core to itself in turn, the provider, the load and the store share another, and all
is on loopback. `ours` has everything on: authentication, limits on requests, tokens and concurrency in a
store of its own process, metrics, and a log line a request into a file. `ours, all off` has no limits,
metrics or lines. LiteLLM runs in production mode with one worker, without database and callbacks; Portkey is
its own Node server; nginx is `proxy_pass` with kept connections. `direct` is the same load straight to the
provider: what the rig allows.
"""
_METHOD = """## Method

- Every side is measured in every round, the floor first, the others in an order that moves on by one.
  Flat out, at 1 to 256 connections, there are two rounds more than elsewhere.
  Figures are medians over the rounds; `ours / side` is the median of the ratios inside each round, and what
  is `over direct` the median of the differences inside each.
- A round with any failed request is void and repeated. A side that fails twice is left out of that load,
  and the page says so.
- After each measurement the next one waits until the side is at rest, for some work on what was cut off.
  The other gateways stand still (SIGSTOP) while they are not measured: what they do by themselves would be
  in the figures of whoever has the core.
- Streams begin evenly over the length of one, so that as many begin in every moment of the measurement.
- Flat out the load is wrk. A side whose answers take longer than 0.2 s at that many connections gets a closed
  loop that counts with all in flight, since a count from an empty start would be unfair to it.
- At a fixed rate each request has its moment, latency counts from that, and the load tells how late it was
  itself. A round is void where the floor's own p99.9 is above 3 ms, and at most three are made up for. At
  1,000 requests/s what fails of ours voids nothing: it is counted.
- `(rig-bound)` stands where a side that was asked flat out, on 16 connections or more, used less than 0.9 of
  its core: the load or the provider was its wall, or somebody else had the core. Such a rate is in no goal;
  CPU time a request stands in for it, which does not depend on the rig.
- Whole answers come from nginx; streams, and answers to large requests, from a program that has rendered
  every event beforehand.
- Measurements of ours count as proof too: every request has its line, every completed one was decided on by
  the limits and ran its two scripts in the store, and none was decided without it.
"""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--capacity", type=Path, help="what `make capacity` has written")
    parser.add_argument("--docs", type=Path, default=DOCS)
    given = parser.parse_args()
    document = json.loads(given.file.read_text(encoding="utf-8"))
    capacity = json.loads(given.capacity.read_text(encoding="utf-8")) if given.capacity else None
    python = peers.environment(peers.CACHE / "chart", _PACKAGES, print)
    drawing = [str(python), str(Path(__file__).with_name("chart.py")), str(given.file), str(given.docs)]
    done = subprocess.run(drawing, check=True, capture_output=True, text=True)
    charts, file = done.stdout.split(), given.docs / "performance.md"
    file.write_text(page(document, charts, capacity), encoding="utf-8")
    print("\n".join(map(str, (file, *(given.docs / chart for chart in charts)))))


def page(
    document: report.Document, charts: Sequence[str], capacity: capacity_report.Document | None = None
) -> str:
    """The page; `charts` are file names beside it, `capacity` the document of another run."""
    parts = [_OPENING]
    if document["quick"]:
        parts.append("**This was a short run: one round, to see that all works. Its figures say little.**\n")
    parts += [f"![{chart.removesuffix('.svg')}]({chart})\n" for chart in charts]
    found = goals.goals(document)
    if found:
        rows = [[goal.what, *goal.figures(), "yes" if goal.met else "**no**"] for goal in found]
        parts.append("## Goals\n\n" + markdown(["", "measured", "bound", "met"], rows))
    for name in document["sections"]:
        section = report.SECTIONS[name]
        parts.append(f"## {section.title}\n\n{section.load}\n")
        parts += [markdown(head, rows) for head, rows in report.grids(name, document) if rows]
        parts += [f"- {remark}" for remark in report.remarks(name, document)]
    if capacity is not None:
        parts += capacity_section(capacity)
    parts.append("## Proof that everything was on\n")
    parts.append("\n".join(f"- {line}" for line in report.proof(document)) + "\n")
    parts.append(_METHOD)
    parts.append("## Made on\n\n" + markdown(["", ""], [list(row) for row in report.made_on(document)]))
    return "\n".join(parts)


def capacity_section(document: capacity_report.Document) -> list[str]:
    """What a cluster needs of Redis, and where that was measured."""
    parts = [f"## {capacity_report.TITLE}\n", capacity_report.INTRODUCTION]
    for said, head, rows in capacity_report.section(document):
        parts += [f"{said}\n", markdown(head, rows)]
    parts += [f"- The model is off by more than it may: {line}\n" for line in capacity_report.wrong(document)]
    made = ", ".join(f"{name} {value}" for name, value in capacity_report.made_on(document))
    return [*parts, f"Made by `make capacity`: {made}.\n"]


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, all columns but the first two to the right."""
    rule = ["---" if place < 2 else "---:" for place in range(len(head))]
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, rule, *rows))


if __name__ == "__main__":
    main()
