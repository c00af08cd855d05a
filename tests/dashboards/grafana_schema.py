"""Grafana's dashboard schema, as far as it can be held against without the server. Each rule says what it would break.

The kinds, units and fields are those of Grafana's own dashboard kind (schema version 39) that our dashboard uses; a
new one is to be added here by looking it up there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

SCHEMA_VERSIONS = range(36, 43)
PANELS = {"row", "stat", "timeseries", "table"}
UNITS = {"currencyUSD", "percentunit", "reqps", "s", "short"}
VARIABLES = {"datasource", "query"}
TRANSFORMATIONS = {"merge", "organize"}
CALCULATIONS = {"lastNotNull", "mean", "max", "sum"}
COLUMNS = 24
FIELDS = {
    "dashboard": {"title": str, "uid": str, "schemaVersion": int, "panels": list, "templating": dict, "time": dict},
    "panel": {"id": int, "type": str, "title": str, "gridPos": dict},
    "shown": {"description": str, "targets": list, "fieldConfig": dict, "options": dict, "datasource": dict},
    "prometheus": {"refId": str, "expr": str, "datasource": dict},
    "grafana-clickhouse-datasource": {
        "refId": str,
        "rawSql": str,
        "datasource": dict,
        "editorType": str,
        "queryType": str,
        "format": int,
    },
    "variable": {"name": str, "type": str, "label": str},
}


def faults(dashboard: dict[str, Any]) -> Iterator[str]:
    """What Grafana would refuse or show wrongly, one sentence each."""
    yield from _lacking("dashboard", dashboard, "the dashboard")
    if dashboard["schemaVersion"] not in SCHEMA_VERSIONS:
        yield f"schema version {dashboard['schemaVersion']} is not known here"
    if not 0 < len(dashboard["uid"]) <= 40:
        yield "a uid has 1 to 40 characters"
    if dashboard.get("id") is not None:
        yield "an id belongs to the server that gave it"
    panels = dashboard["panels"]
    for number, times in Counter(panel["id"] for panel in panels).items():
        if times > 1:
            yield f"{times} panels have the id {number}"
    for panel in panels:
        yield from _panel(panel)
    yield from _overlaps(panels)
    for variable in dashboard["templating"]["list"]:
        yield from _variable(variable)


def _panel(panel: dict[str, Any]) -> Iterator[str]:
    name = f"panel {panel.get('title')!r}"
    yield from _lacking("panel", panel, name)
    if panel["type"] not in PANELS:
        yield f"{name} is of the kind {panel['type']}"
    at = panel["gridPos"]
    if set(at) != {"x", "y", "w", "h"} or at["x"] < 0 or at["w"] < 1 or at["x"] + at["w"] > COLUMNS:
        yield f"{name} lies outside of the {COLUMNS} columns: {at}"
    if panel["type"] == "row":
        return
    yield from _lacking("shown", panel, name)
    defaults = panel["fieldConfig"]["defaults"]
    if defaults.get("unit") not in UNITS:
        yield f"{name} has the unit {defaults.get('unit')}"
    steps = defaults["thresholds"]["steps"]
    values = [step["value"] for step in steps]
    if values[0] is not None or values[1:] != sorted(values[1:]):
        yield f"{name} has thresholds that do not rise from the lowest: {values}"
    for target in panel["targets"]:
        yield from _lacking(target["datasource"]["type"], target, f"a target of {name}")
    if len({target["refId"] for target in panel["targets"]}) < len(panel["targets"]):
        yield f"{name} has two targets with one refId"
    options = panel["options"]
    used = {*options.get("legend", {}).get("calcs", ()), *options.get("reduceOptions", {}).get("calcs", ())}
    yield from (f"{name} calculates {each}" for each in used - CALCULATIONS)
    changes = {change["id"] for change in panel.get("transformations", ())}
    yield from (f"{name} transforms by {each}" for each in changes - TRANSFORMATIONS)


def _variable(variable: dict[str, Any]) -> Iterator[str]:
    name = f"variable {variable.get('name')!r}"
    yield from _lacking("variable", variable, name)
    if variable["type"] not in VARIABLES:
        yield f"{name} is of the kind {variable['type']}"
    if variable["type"] == "query":
        # Prometheus' is an object, ClickHouse's is its SQL.
        query = variable["query"]
        if isinstance(query, dict):
            yield from _lacking("prometheus", {**query, "expr": "", "datasource": variable["datasource"]}, name)
        if variable["definition"] != (query["query"] if isinstance(query, dict) else query):
            yield f"{name} shows another query than it asks"


def _overlaps(panels: list[dict[str, Any]]) -> Iterator[str]:
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        at = panel["gridPos"]
        cells = [(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])]
        for other in sorted({taken[cell] for cell in cells if cell in taken}):
            yield f"{panel['title']!r} lies over {other!r}"
        taken.update(dict.fromkeys(cells, panel["title"]))


def _lacking(kind: str, given: dict[str, Any], name: str) -> Iterator[str]:
    for field, type_ in FIELDS[kind].items():
        if not isinstance(given.get(field), type_):
            yield f"{name} has no {field} that is a {type_.__name__}"
