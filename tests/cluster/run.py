"""Run the scenarios and print what they found: `python tests/cluster/run.py [names] [--short | --full]`.

Without names all are run. Exits 1 where a bound does not hold.
"""

import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "process"))  # its harness is ours too

import scenarios
from figures import failed, table


def main(arguments: list[str]) -> int:
    """Print a table for each scenario; 1 if a bound was missed."""
    full = "--full" in arguments
    wanted = [name for name in arguments if not name.startswith("--")]
    unknown = set(wanted) - set(scenarios.ALL)
    if unknown:
        print(f"unknown: {', '.join(sorted(unknown))}; there are: {', '.join(scenarios.ALL)}")
        return 2
    missed = 0
    for name in wanted or scenarios.ALL:
        began = time.monotonic()
        found = scenarios.ALL[name](full)
        print(table(name, found), flush=True)
        print(f"     {name:<22} {time.monotonic() - began:.0f} s", flush=True)
        missed += len(failed(found, soft=full))
    print(f"{missed} bound{'' if missed == 1 else 's'} missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
