"""The picture of a circuit's states, and the page it stands on."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from proxy import statechart
from proxy.circuit import TRANSITIONS, State

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "health.md"


def test_every_way_is_drawn() -> None:
    """Each row of the table has a number, and its arrow bears it; every state is there."""
    picture, rows = statechart.mermaid(), statechart.table()
    for number, (before, why, after) in enumerate(TRANSITIONS, 1):
        (arrow,) = (line for line in picture.splitlines() if f" {before.value} --> {after.value}: " in line)
        assert str(number) in arrow.partition(": ")[2].split(", ")
        assert f"| {number} | {before.value} | {after.value} | {why} |" in rows
        assert "|" not in why
    assert {state for before, _, after in TRANSITIONS for state in (before, after)} == set(State)


def test_the_page_is_up_to_date(tmp_path: Path) -> None:
    """`docs/health.md` has the picture of today, and the command writes it there."""
    page = PAGE.read_text(encoding="utf-8")
    assert statechart.drawn(page) == page
    copy = tmp_path / "health.md"
    copy.write_text(page.replace("stateDiagram-v2", "an old picture"), encoding="utf-8")
    statechart.main([str(copy)])
    assert copy.read_text(encoding="utf-8") == page


def test_a_page_without_marks_is_refused() -> None:
    """What is not there cannot be drawn into."""
    with pytest.raises(ValueError, match="the page has no"):
        statechart.drawn("nothing")


def test_what_holds_a_promise_exists() -> None:
    """Every test and scenario that the page names is there."""
    page = PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"`(tests/[\w/.]+)`", page))
    assert named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
    told = set(re.findall(r"`(health\.[a-z.]+)`", page)) - {"health.lua"}
    scenarios = _scenarios()
    assert told <= scenarios
    every = {name for name in scenarios if name.startswith("health.")}
    assert {name for name in every if not name.endswith((".deaf", ".away"))} <= told


def _scenarios() -> set[str]:
    """The names that `run.py` knows: it tells them where one is wrong."""
    script = [sys.executable, str(ROOT / "tests" / "cluster" / "run.py"), "nothing"]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    return set(done.stderr.partition("there are: ")[2].strip().split(", "))
