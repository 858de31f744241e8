"""Tests of the alerts: about metrics that exist, each in the runbook, and right by promtool's reckoning."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from metrics.catalogue import CATALOGUE

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules" / "apex.yml"
TESTS = ROOT / "deploy" / "prometheus" / "tests" / "apex.yml"
RUNBOOK = ROOT / "docs" / "operations.md"

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian: prometheus)")


def rules() -> list[dict[str, Any]]:
    """All rules."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """Those that alert."""
    return [rule for rule in rules() if "alert" in rule]


def test_every_rule_is_about_metrics_that_exist() -> None:
    """By the catalogue, or recorded by another rule."""
    known = {name for metric in CATALOGUE for name in metric.samples}
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for rule in rules():
        assert set(re.findall(r"\bapex_[a-z_]+\b", rule["expr"])) <= known, rule
        assert set(re.findall(r"\bapex:[a-z0-9_:]+\b", rule["expr"])) <= recorded, rule


def test_every_alert_is_in_the_runbook() -> None:
    """What it means, where to look, what to do; and the runbook has no others."""
    page = RUNBOOK.read_text(encoding="utf-8")
    chapters = {chapter.split("\n", 1)[0]: chapter for chapter in page.split("\n### ")[1:]}
    assert list(chapters) == [rule["alert"] for rule in alerts()]
    for chapter in chapters.values():
        assert "*Means:*" in chapter
        assert "*Look" in chapter
        assert "o:*" in chapter


def test_every_alert_says_how_bad_it_is_and_where_to_read_on() -> None:
    """Severity, a sentence, and its chapter of the runbook."""
    for rule in alerts():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"


def test_every_alert_has_a_test_of_each_kind() -> None:
    """That it fires, and that it does not."""
    tests = yaml.safe_load(TESTS.read_text(encoding="utf-8"))["tests"]
    checks = [check for test in tests for check in test["alert_rule_test"]]
    fires = {check["alertname"] for check in checks if check["exp_alerts"]}
    rests = {check["alertname"] for check in checks if not check["exp_alerts"]}
    assert fires == rests == {rule["alert"] for rule in alerts()}


@needs_promtool
@pytest.mark.process
@pytest.mark.parametrize("command", [("check", "rules", RULES), ("test", "rules", TESTS)])
def test_promtool_agrees(command: tuple[str | Path, ...]) -> None:
    """The rules are rules, and their tests hold."""
    done = subprocess.run(["promtool", *map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
