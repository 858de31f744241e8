"""Run the scenarios and print what they found; `--help` says how.

Exits 1 where a bound does not hold.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "process"))  # its harness is ours too

import scenarios
from figures import failed, table

EXAMPLES = """\
examples:
  python tests/cluster/run.py --full                     all, as `make cluster` does (about 25 minutes)
  python tests/cluster/run.py --gate                     what every change is tested with, short
  python tests/cluster/run.py ask.decisions --full       one, as for the record: 1,000 requests
  python tests/cluster/run.py limits. health.down        all of a family, and one of another, short
  make cluster ARGS="ask. --full"                        the same by make

A table is printed for each: ok, FAIL, or slow where only this machine's speed is at fault. A full run counts
those too; a short one prints them. The exit status is 1 where a bound does not hold, 2 for a wrong name.
"""


def main(arguments: Sequence[str]) -> int:
    """Print a table for each scenario; 1 if a bound was missed."""
    given = _parser().parse_args(arguments)
    missed = 0
    for name in _wanted(given.names) or (scenarios.GATE if given.gate else scenarios.ALL):
        began = time.monotonic()
        found = scenarios.ALL[name](given.full)
        print(table(name, found), flush=True)
        print(f"     {name:<22} {time.monotonic() - began:.0f} s", flush=True)
        missed += len(failed(found, soft=given.full))
    print(f"{missed} bound{'' if missed == 1 else 's'} missed")
    return 1 if missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python tests/cluster/run.py",
        description="Real replicas, real stores and scripted providers, and what is promised of them.",
        epilog=f"{_listed()}\n\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        type=_known,
        help="scenarios, or the beginnings of names; else all",
    )
    lengths = parser.add_mutually_exclusive_group()
    lengths.add_argument("--short", dest="full", action="store_false", help="seconds each (the default)")
    lengths.add_argument("--full", action="store_true", help="as long as the figures for the record need")
    parser.add_argument(
        "--gate", action="store_true", help="without names: only those of `make cluster-short`"
    )
    return parser


def _listed() -> str:
    """All names, a family a line; those that are not in the gate are marked."""
    families: dict[str, list[str]] = {}
    for name in scenarios.ALL:
        marked = name if name in scenarios.GATE else f"{name}*"
        families.setdefault(name.partition(".")[0], []).append(marked)
    lines = [line for family in families.values() for line in _wrapped(family)]
    return "\n".join(["scenarios (* not in `make cluster-short`):", *lines])


def _wrapped(names: Sequence[str], width: int = 100) -> list[str]:
    lines = [""]
    for name in names:
        if len(lines[-1]) + len(name) > width:
            lines.append("  ")
        lines[-1] += f"  {name}"
    return lines


def _known(name: str) -> str:
    if not any(known.startswith(name) for known in scenarios.ALL):
        raise argparse.ArgumentTypeError(f"unknown: {name}; there are: {', '.join(scenarios.ALL)}")
    return name


def _wanted(names: Sequence[str]) -> list[str]:
    """The scenarios that are named, in the order in which they are."""
    found = [known for name in names for known in scenarios.ALL if known == name or _begins(known, name)]
    return list(dict.fromkeys(found))


def _begins(known: str, name: str) -> bool:
    """Whether `name` is the beginning of a name, and no name itself."""
    return name not in scenarios.ALL and known.startswith(name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
