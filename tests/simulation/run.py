"""Replay lives: `run.py --seed N` prints what happened in one, `run.py --seeds A-B` lives many, B included.

Exits 1 where something happened that must not.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).parent.parent)  # as pytest does for the tests

from simulation.world import again, live  # noqa: E402  (the line before makes it possible)


def replay(seed: int) -> int:
    """Print one life, line by line; 1 if it is broken."""
    life = live(seed)
    print(life.plan)
    print(life.ledger.told())
    for what in life.broken:
        print(f"BROKEN {what}")
    print(f"{life.requests} requests, digest {life.ledger.digest}")
    return 1 if life.broken else 0


def many(first: int, last: int) -> int:
    """Live them all; print those that are broken."""
    began, broken, requests, intruders = time.process_time(), 0, 0, 0
    for seed in range(first, last + 1):
        life = live(seed)
        requests += life.requests
        intruders += life.intruders
        if life.broken:
            broken += 1
            print(f"seed {seed}: {life.broken[0][:400]}\n  {again(seed)}", flush=True)
    spent = time.process_time() - began
    print(
        f"{last - first + 1} seeds, {broken} broken, {requests} requests, {intruders} into a window that its "
        f"caller could not know, {spent:.0f} s of CPU"
    )
    return 1 if broken else 0


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="print this life")
    parser.add_argument("--seeds", metavar="A-B", help="live these")
    chosen = parser.parse_args()
    if chosen.seed is not None:
        return replay(chosen.seed)
    first, _, last = (chosen.seeds or "0-199").partition("-")
    return many(int(first), int(last or first))


if __name__ == "__main__":
    sys.exit(main())
