"""Tests of `proxy.heap`, each in a process of its own: they change what holds for all of one."""

import json
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parent.parent
_SPENT = """
import json, resource
from pathlib import Path
from proxy import heap

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

blocks = [bytes(8_000) for _ in range(5_000)]
kept = blocks[::500]
del blocks
before = resident()
heap.give_back()
print(json.dumps([before, resident()]))
"""
_CALM = """
import gc, json
from proxy import heap

heap.calm_collector()
print(json.dumps([gc.get_freeze_count(), len(gc.get_objects()), gc.get_threshold()]))
"""


def _told(program: str) -> list[object]:
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, cwd=_ROOT)
    told: list[object] = json.loads(done.stdout)
    return told


def test_what_was_freed_between_what_stays_goes_back_to_the_system() -> None:
    """40 MB, and a block of every 500 is still there."""
    before, after = _told(_SPENT)
    assert isinstance(before, int)
    assert isinstance(after, int)
    assert before - after > 30_000_000


def test_what_was_made_to_start_with_is_walked_no_more() -> None:
    """The collector sees what comes after it, when there is much of that."""
    frozen, walked, thresholds = _told(_CALM)
    assert isinstance(frozen, int)
    assert isinstance(walked, int)
    assert frozen > 10 * walked
    assert thresholds == [20_000, 25, 5]
