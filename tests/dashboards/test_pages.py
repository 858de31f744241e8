"""Tests of the dashboards as they are written: current, well-formed, and about metrics that exist."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pages import OUT, PAGES, written

from metrics.catalogue import CATALOGUE

ROOT = Path(__file__).parents[2]
KNOWN = {name: set(metric.labels) for metric in CATALOGUE for name in metric.samples}
OF_PROMETHEUS = {"le", "instance", "job"}
NAME = re.compile(r"\b(?:apex|process)_[a-z_]+\b")
SELECTED = re.compile(r"\b(apex_[a-z_]+)\{([^}]*)\}")
each = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.uid)


def queries(page: Any) -> list[str]:
    """All that its panels ask."""
    return [query for panel in page.panels for query in panel.queries.values()]


@each
def test_the_files_are_current(page: Any) -> None:
    """Else: python deploy/grafana/pages.py."""
    file = OUT / f"{page.uid.removeprefix('apex-')}.json"
    assert file.read_text(encoding="utf-8") == written(page)


def test_no_other_files_are_loaded() -> None:
    """One a page."""
    assert len(list(OUT.glob("*.json"))) == len(PAGES) == len({page.uid for page in PAGES})


@each
def test_every_query_names_metrics_and_labels_that_exist(page: Any) -> None:
    """By the catalogue, and what Prometheus adds itself."""
    for query in queries(page):
        names = NAME.findall(query)
        assert names, query
        assert {name for name in names if name.startswith("apex_")} <= KNOWN.keys(), query
        for name, selector in SELECTED.findall(query):
            labels = set(re.findall(r"([a-z_]+)\s*[=!]~?", selector))
            assert labels <= KNOWN[name] | OF_PROMETHEUS, query
        grouped = {label.strip() for by in re.findall(r"by \(([^)]*)\)", query) for label in by.split(",")}
        assert grouped <= set().union(*(KNOWN.get(name, set()) for name in names)) | OF_PROMETHEUS, query


@each
def test_legends_name_labels_that_the_query_leaves(page: Any) -> None:
    """A legend with a label that was summed away says nothing."""
    for panel in page.panels:
        for legend, query in panel.queries.items():
            wanted = set(re.findall(r"\{\{(\w+)\}\}", legend))
            grouped = {
                label.strip() for by in re.findall(r"by \(([^)]*)\)", query) for label in by.split(",")
            }
            plain = not grouped and "sum" not in query
            assert wanted <= (grouped | OF_PROMETHEUS | {"link"} if plain else grouped), (legend, query)


@each
def test_panels_do_not_overlap(page: Any) -> None:
    """Each has its place on the grid."""
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(written(page))["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, panel["title"]
        taken |= cells


def test_what_says_nothing_of_a_provider_lowers_no_share() -> None:
    """No share of what went well is taken of attempts that a client left, or that were to count tokens."""
    shares = [query for page in PAGES for query in queries(page) if 'outcome="ok"' in query]
    assert shares
    for query in shares:
        of_all = re.findall(r"apex_upstream_attempts_total\{([^}]*)\}", query)[1:]
        assert of_all
        assert all('outcome!~"no_count|cancelled"' in selector for selector in of_all)


def test_every_metric_is_shown_somewhere() -> None:
    """On a page, or in an alert; but for the bytes of what is counted there, and what few replicas have."""
    shown = " ".join(query for page in PAGES for query in queries(page))
    shown += (ROOT / "deploy" / "prometheus" / "rules" / "apex.yml").read_text(encoding="utf-8")
    missing = {metric.name for metric in CATALOGUE if metric.name not in shown}
    assert missing == {"apex_stored_responses_waiting_bytes", "apex_traces_dropped_total"}
