"""How a page of panels looks to Grafana.

Its JSON follows from titles, queries and units alone.
"""  # noqa: INP001  (a script, not a package)

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

SOURCE = {"type": "prometheus", "uid": "prometheus"}

Json = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Panel:
    """One panel: what it asks, by the legend. `kind` is Grafana's. `names` give numbers their words.

    `stacked`: the lines are parts of a whole. Each page has 24 columns.
    """

    title: str
    queries: Mapping[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    about: str = ""
    stacked: bool = False
    names: Mapping[int, tuple[str, str]] = dataclasses.field(default_factory=dict)
    bounds: tuple[tuple[float | None, str], ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """One dashboard. `variables` are what it can be narrowed down to: by name, the query for its values."""

    uid: str
    title: str
    about: str
    panels: Sequence[Panel]
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)


def dashboard(page: Page) -> Json:
    """What Grafana loads."""
    return {
        "uid": page.uid,
        "title": page.title,
        "description": page.about,
        "tags": ["apex"],
        "schemaVersion": 41,
        "editable": False,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "graphTooltip": 1,
        "links": [
            {"type": "dashboards", "tags": ["apex"], "asDropdown": False, "includeVars": False, "title": ""}
        ],
        "templating": {"list": [_variable(name, query) for name, query in page.variables.items()]},
        "panels": list(_placed(page.panels)),
    }


def _placed(panels: Sequence[Panel]) -> Iterator[Json]:
    """Panels from left to right, and a new row where one does not fit."""
    left, top = 0, 0
    height = 0
    for number, panel in enumerate(panels, 1):
        if left + panel.width > 24:
            left, top, height = 0, top + height, 0
        own = {"stat": 4, "state-timeline": 7}.get(panel.kind, 8)
        yield _panel(panel) | {
            "id": number,
            "gridPos": {"x": left, "y": top, "w": panel.width, "h": own},
        }
        left, height = left + panel.width, max(height, own)


def _panel(panel: Panel) -> Json:
    custom: Json = {}
    if panel.kind == "timeseries":
        custom = {"fillOpacity": 40 if panel.stacked else 5, "showPoints": "never", "lineWidth": 1}
        custom |= {"stacking": {"mode": "normal"}} if panel.stacked else {}
    steps = panel.bounds or ((None, "green"),)
    defaults: Json = {
        "unit": panel.unit,
        "custom": custom,
        "thresholds": {
            "mode": "absolute",
            "steps": [{"value": value, "color": color} for value, color in steps],
        },
        "mappings": [_mapping(panel.names)] if panel.names else [],
    }
    if panel.unit == "percentunit" and panel.kind != "stat":
        defaults |= {"min": 0} | ({"max": 1} if panel.title != "CPU" else {})
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _options(panel),
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": SOURCE,
                "expr": query,
                "legendFormat": legend or "__auto",
                "exemplar": panel.kind == "timeseries" and "_bucket" in query,
                "instant": panel.kind == "bargauge",
                "range": panel.kind != "bargauge",
            }
            for place, (legend, query) in enumerate(panel.queries.items())
        ],
    }


def _options(panel: Panel) -> Json:
    reduced = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
    if panel.kind == "stat":
        return {**reduced, "colorMode": "value", "graphMode": "area"}
    if panel.kind == "bargauge":
        return {**reduced, "orientation": "horizontal", "displayMode": "gradient"}
    if panel.kind == "state-timeline":
        return {"mergeValues": True, "showValue": "never", "legend": {"showLegend": True}}
    return {
        "legend": {"displayMode": "list", "placement": "bottom"},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }


def _mapping(names: Mapping[int, tuple[str, str]]) -> Json:
    words = {str(value): {"text": text, "color": color} for value, (text, color) in names.items()}
    return {"type": "value", "options": words}


def _variable(name: str, query: str) -> Json:
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": "values"},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }
