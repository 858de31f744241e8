"""Ours and nginx `proxy_pass` beside each other, on one core each in turn, before the same scripted provider.

    python benchmarks/quick.py                       about four minutes
    python benchmarks/quick.py --compare HEAD        another revision (or folder) in the same rounds
    python benchmarks/quick.py --translated          beside it everything translated to Messages and back
    python benchmarks/quick.py --silent              beside it the same without metrics and request lines
    python benchmarks/quick.py --origin nginx        a provider faster than the mock; no streams

The measured process has one core; the provider and the load share the other. `core` says how much of its
core a side has used: well below 100 % it was waiting, for the provider and the load (then its rate is near
that of `direct`: see `--origin nginx`) or for somebody else on its core (then the machine is not ours).
CPU time per request is the figure that neither disturbs. Figures of different runs do not compare; ratios
inside one run do.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import levels
import machine
import rounds
import samples
import sides
from levels import Load
from rounds import Level, Series
from running import NotRunningError, Side
from sides import SILENT, Bench
from table import figure, spread, table

OUT = sides.ROOT / "benchmarks" / "out"
_NEEDED = {"nginx": "nginx-light", "wrk": "wrk", "taskset": "util-linux"}
OURS = "ours"
OTHER = "other"
TRANSLATED = "translated"


def main() -> int:
    """The command line; 0 if every level has a good round."""
    given = _arguments()
    unfit = machine.unfit("bench-quick", _NEEDED)
    if unfit:
        print(unfit)
        return 2
    cores = sorted(os.sched_getaffinity(0))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="apex-bench-")))
        bench = Bench(cores[0], cores[1], folder)
        try:
            measured = _sides(stack, bench, given)
        except NotRunningError as error:
            print(error)
            return 1
        except subprocess.CalledProcessError as error:
            print(f"--compare {given.compare}: {error.stderr.decode().strip()}")
            return 2
        series = rounds.run(_levels(bench, given, measured), given.rounds, _progress)
    _report(series, [side.name for side in measured], given)
    return 0 if all(one.rounds for one in series) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="good rounds for each level (3)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement (3)")
    parser.add_argument("--warm", type=float, default=1.0, help="seconds of warm-up before each (1)")
    parser.add_argument("--connections", type=_numbers, default=[1, 16, 64, 256], help="1,16,64,256")
    parser.add_argument("--streams", type=int, default=100, help="streams at once (100); 0 leaves them out")
    parser.add_argument("--origin", choices=["mock", "nginx"], default="mock", help="the provider (mock)")
    parser.add_argument("--compare", metavar="REV", help="a git revision, or a folder with the sources")
    parser.add_argument(
        "--translated", action="store_true", help="ours again, before a provider of another dialect"
    )
    parser.add_argument("--silent", action="store_true", help="ours again, without metrics and request lines")
    parser.add_argument("--json", type=Path, help="where the figures go (benchmarks/out/quick-TIME.json)")
    return parser.parse_args()


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",") if number]


def _sides(stack: contextlib.ExitStack, bench: Bench, given: argparse.Namespace) -> list[Side]:
    port = sides.origin(stack, bench, given.origin)
    measured = [sides.direct(port), sides.nginx(stack, bench, port)]
    measured.append(sides.ours(stack, bench, port, OURS, sides.ROOT))
    if given.translated:
        measured.append(sides.ours(stack, bench, port, TRANSLATED, sides.ROOT, foreign=True))
    if given.silent:
        measured.append(sides.ours(stack, bench, port, SILENT, sides.ROOT))
    if given.compare:
        tree = sides.tree_of(given.compare, bench.folder)
        measured.append(sides.ours(stack, bench, port, OTHER, tree))
    return measured


def _levels(bench: Bench, given: argparse.Namespace, measured: Sequence[Side]) -> list[Level]:
    load = Load(given.seconds, given.warm)
    plain = [levels.requests(bench, load, count, measured) for count in given.connections]
    if not given.streams or given.origin == "nginx":
        return plain
    burst = Load(given.seconds, 1.0, samples.BURST)
    paced = Load(given.seconds, samples.PACED_TOKENS * samples.PACED_PAUSE, samples.PACED)
    return [*plain, *(levels.streams(bench, one, given.streams, measured) for one in (burst, paced))]


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _report(series: Sequence[Series], names: Sequence[str], given: argparse.Namespace) -> None:
    print(_heading(given))
    for rate in ("requests/s", "events/s"):
        good = [one for one in series if one.rate == rate and one.rounds]
        if good:
            print("\n" + _table(good, names, rate))
    for one in series:
        for why in one.voided:
            print(f"\nvoided a round of {one.level}: {why}")
    file = given.json or OUT / f"quick-{time.strftime('%Y%m%d-%H%M%S')}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    told = {
        "sides": names,
        "compare": given.compare,
        "origin": given.origin,
        "series": list(map(asdict, series)),
    }
    file.write_text(json.dumps(told, indent=1), encoding="utf-8")
    print(f"\nAll figures: {file}")


def _heading(given: argparse.Namespace) -> str:
    other = f" `{OTHER}` is {given.compare}." if given.compare else ""
    return (
        f"\n1 KB request, 0.8 KB reply; one core a side, {given.origin} and load on another; medians of "
        f"{given.rounds} interleaved rounds of {given.seconds:g} s.{other}\n"
        f"Ratios are medians of the ratios inside each round; CPU is the side's own process."
    )


def _table(series: Sequence[Series], names: Sequence[str], rate: str) -> str:
    compared = [name for name in (OTHER, TRANSLATED, SILENT) if name in names]
    unit = rate.removesuffix("s/s")
    first = "p50 ms" if unit == "request" else "first content ms"
    head = [
        "load",
        "side",
        rate,
        "min-max",
        "/ nginx",
        first,
        "+direct ms",
        "p99 ms",
        f"us CPU/{unit}",
        "core",
    ]
    head += [text for other in compared for text in (f"/ {other}", f"CPU / {other}")]
    rows = [_row(one, name, compared) for one in series for name in names]
    return table(head, rows)


def _row(one: Series, name: str, compared: Sequence[str]) -> list[str]:
    owned = name != "direct"
    row = [
        one.level if not owned else "",
        name,
        figure(one.median(name, "rate")),
        spread(one.values(name, "rate")),
        f"{one.ratio(name, 'nginx', 'rate'):.2f}" if owned else "",
        f"{one.median(name, 'p50_us') / 1000:.3f}",
        f"{(one.median(name, 'p50_us') - one.median('direct', 'p50_us')) / 1000:.3f}" if owned else "",
        f"{one.median(name, 'p99_us') / 1000:.2f}",
        figure(one.median(name, "cpu_us")) if owned else "",
        f"{one.median(name, 'busy'):.0%}" if owned else "",
    ]
    ours = name == OURS
    for other in compared:
        row += [f"{one.ratio(OURS, other, what):.3f}" if ours else "" for what in ("rate", "cpu_us")]
    return row


if __name__ == "__main__":
    sys.exit(main())
