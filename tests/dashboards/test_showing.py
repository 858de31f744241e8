"""The dashboards before a real Prometheus that scrapes real replicas to which everything happens."""

import asyncio
import dataclasses
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lively import SCRAPED, Cluster, Prometheus, load
from pages import PAGES
from test_rules import RULES, rules

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(180),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus (Debian: prometheus)"),
]
BEFORE, AWAY, AFTER = 12.0, 3.0, 8.0
"""Seconds of load: before the store goes away, without it, and after."""


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """What Prometheus has seen between two Unix times."""

    prometheus: Prometheus
    began: float
    ended: float

    def over(self, query: str) -> dict[str, list[float]]:
        """The numbers of a panel's query, with its variables filled in."""
        filled = query.replace("$__rate_interval", f"{4 * SCRAPED}s").replace('"$model"', '".*"')
        filled = filled.replace('"$provider"', '".*"')
        assert "$" not in filled
        return self.prometheus.over(filled, self.began, self.ended)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """A cluster under load for half a minute."""
    folder: Path = tmp_path_factory.mktemp("prometheus")
    with Cluster.started() as cluster, Prometheus(folder, cluster.operations, RULES) as prometheus:
        began = time.time()
        whole = threading.Thread(
            target=lambda: asyncio.run(load(cluster.proxy.url, BEFORE + AWAY + AFTER)), daemon=True
        )
        whole.start()
        time.sleep(BEFORE)
        with cluster.without_store():
            time.sleep(AWAY)
        whole.join()
        time.sleep(2 * SCRAPED)
        yield Seen(prometheus, began, time.time())


def _shown(numbers: list[float]) -> str:
    return f"{min(numbers):.4g} to {max(numbers):.4g}"


def test_every_panel_has_data(seen: Seen) -> None:
    """Each query of each panel, and what it shows is printed."""
    empty = []
    for page in PAGES:
        print(f"\n{page.title}")
        for panel in page.panels:
            for legend, query in panel.queries.items():
                found = {labels: numbers for labels, numbers in seen.over(query).items() if numbers}
                print(f"  {panel.title} [{panel.unit}] {legend}")
                for labels, numbers in sorted(found.items()):
                    print(f"      {_shown(numbers):<26} {labels}")
                if not found:
                    empty.append((page.title, panel.title, query))
    assert empty == []


def test_every_variable_has_values(seen: Seen) -> None:
    """What a page can be narrowed down to."""
    for page in PAGES:
        for query in page.variables.values():
            metric, label = query.removeprefix("label_values(").removesuffix(")").split(", ")
            told = seen.prometheus.ask(f"label/{label}/values", **{"match[]": metric})
            assert told, query


def test_every_recorded_rule_has_data_and_every_alert_can_be_worked_out(seen: Seen) -> None:
    """None of them is an error to Prometheus."""
    recorded = [rule["record"] for rule in rules() if "record" in rule]
    assert [name for name in recorded if not any(seen.over(name).values())] == []
    groups = seen.prometheus.ask("rules")["groups"]
    states = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
    assert set(states.values()) == {"ok"}, states


def test_both_replicas_were_scraped(seen: Seen) -> None:
    """Each worker has a port of its own, and Prometheus was let in."""
    up = seen.over('up{job="apex"}')
    assert len(up) == 2
    assert all(numbers[-1] == 1 for numbers in up.values())


def test_exemplars_hold_the_callers_trace(seen: Seen) -> None:
    """A slow request can be looked up by it."""
    told: list[dict[str, Any]] = seen.prometheus.ask(
        "query_exemplars",
        query="apex_request_duration_seconds_bucket",
        start=f"{seen.began}",
        end=f"{seen.ended}",
    )
    traces = {one["labels"]["trace_id"] for series in told for one in series["exemplars"]}
    assert traces == {"0af7651916cd43dd8448eb211c80319c"}
