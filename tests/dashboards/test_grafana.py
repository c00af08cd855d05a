"""The Grafana dashboard and the Prometheus rules, against the metrics that really leave."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
import yaml
from telemetry.receiver import Receiver

import claudetrace
from claudetrace._demo import _play

from . import grafana_schema, prometheus

FOLDER = Path(__file__).parents[2] / "dashboards" / "grafana"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not on PATH: the rules are only checked in part; `make backends` gets it"
)
OF_GRAFANA = {"$__range": "1d", "$__rate_interval": "5m"}
LABELS_MADE = {"model"}
"""Labels that a query makes for itself."""


@pytest.fixture(scope="module")
def emitted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, frozenset[str]]:
    """Each series in Prometheus with its labels, of the metrics that the demo's calls send over OTLP."""
    known: dict[str, frozenset[str]] = {}
    with Receiver() as receiver:
        db = tmp_path_factory.mktemp("grafana") / "ledger.db"
        each = claudetrace.Budget("customer", usd=10, tags={"customer": "*"})
        none = claudetrace.Budget("none", usd="1E-9", tags={"run": "*"}, on_exceeded="block")
        with claudetrace.instrument(db=db, otlp=receiver.url, budgets=[each, none], force=True):
            _play.play()
            with pytest.raises(claudetrace.BudgetExceeded), claudetrace.tag(run="r1"):
                anthropic.Anthropic(api_key="k").messages.create(model="claude-opus-4-8", max_tokens=9, messages=[])
            assert claudetrace.flush(timeout_s=30)
    for metric in receiver.metrics:
        for name, labels in prometheus.series(metric).items():
            known[name] = known.get(name, frozenset()) | labels
    return known


def dashboard(name: str = "claudetrace.json") -> dict[str, Any]:
    return dict(json.loads((FOLDER / name).read_text()))


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panel_queries() -> Iterator[tuple[str, str]]:
    """The queries of the panels, as Grafana would send them."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"]
            for name, value in OF_GRAFANA.items():
                expression = expression.replace(name, value)
            yield panel["title"], expression.replace('"$', '"')


def variable_queries() -> Iterator[tuple[str, str]]:
    """The queries of the variables, as PromQL that reads the same."""
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            asked = variable["query"]["query"]
            values = re.fullmatch(r"label_values\((.*), (\w+)\)", asked)
            result = re.fullmatch(r"query_result\((.*)\)", asked)
            assert values or result, asked
            yield variable["name"], f"group by ({values[2]}) ({values[1]})" if values else result[1]


QUERIES = [*panel_queries(), *variable_queries(), *((rule["alert"], rule["expr"]) for rule in rules())]


DASHBOARDS = {"claudetrace.json": "claudetrace", "clickhouse.json": "claudetrace-records"}
"""Each dashboard with its uid. The queries of the second are run by `make backends`."""


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_dashboard_fits_the_schema(name: str) -> None:
    """Grafana's schema, as far as it is written down in `grafana_schema`, finds no fault in the dashboard."""
    assert list(grafana_schema.faults(dashboard(name))) == []


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_datasource_is_the_readers_own(name: str) -> None:
    """No panel, target or variable names a data source of one server."""
    used = set(re.findall(r'"uid": "([^"]*)"', (FOLDER / name).read_text()))

    assert used == {"${datasource}", "-- Grafana --", DASHBOARDS[name]}


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_variable_is_used_and_every_used_one_is_there(name: str) -> None:
    """The variables that queries name are those that the reader can set."""
    there = {variable["name"] for variable in dashboard(name)["templating"]["list"]}
    text = json.dumps(dashboard(name)["panels"])

    assert set(re.findall(r"\$\{?([a-z]+)\b", text)) == there


def test_the_records_are_read_through_the_view() -> None:
    """Each query reads `claudetrace_calls`, which counts a response once, in the time shown, and each panel takes all
    that the menus choose."""
    view = (FOLDER.parent / "clickhouse" / "spend.sql").read_text()
    board = dashboard("clickhouse.json")
    menus = [each for each in board["templating"]["list"] if each["type"] == "query"]

    assert "VIEW claudetrace_calls" in view
    for query in [target["rawSql"] for panel in board["panels"] for target in panel.get("targets", ())]:
        assert set(re.findall(r"FROM (\w+)", query)) <= {"claudetrace_calls", "largest"}
        assert query.count("$__timeFilter_ms(started_at)") == query.count("FROM claudetrace_calls")
        for menu in menus:
            name = menu["name"]
            chosen = f"$__conditionalAll({name} IN (${{{name}:singlequote}}), ${name})"
            assert query.count(chosen) == query.count("FROM claudetrace_calls")


@pytest.mark.parametrize(("where", "query"), QUERIES, ids=[where for where, _ in QUERIES])
def test_queries_read_what_is_emitted(where: str, query: str, emitted: dict[str, frozenset[str]]) -> None:
    """Each metric in a query is one that leaves, and each label is one that this metric has."""
    read = prometheus.selectors(query)

    assert read
    assert {each.metric for each in read} <= set(emitted)
    for each in read:
        assert each.labels <= emitted[each.metric]
    assert prometheus.grouped(query) - LABELS_MADE <= frozenset().union(*(emitted[each.metric] for each in read))


def test_all_that_is_emitted_is_shown(emitted: dict[str, frozenset[str]]) -> None:
    """A metric that no panel and no alert reads would be one that nobody looks at."""
    read = {each.metric for _, query in QUERIES for each in prometheus.selectors(query)}

    def family(name: str) -> str:
        return re.sub(r"_(bucket|sum|count)$", "", name)

    assert {family(name) for name in emitted} == {family(name) for name in read}


def test_every_alert_says_what_is_wrong_and_is_tested() -> None:
    """Each rule has a summary, a description and a severity, and fires in a unit test of its own."""
    tests = yaml.safe_load((FOLDER / "alerts.test.yml").read_text())["tests"]
    fires = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}

    assert {rule["alert"] for rule in rules()} == fires
    for rule in rules():
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["labels"]["severity"] in ("warning", "critical")
        # In a template, `$value` and labels that the expression keeps.
        kept = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
        assert kept <= prometheus.grouped(rule["expr"]) | {"job", "instance"}


@needs_promtool
def test_promtool_accepts_rules_and_queries(tmp_path: Path) -> None:
    """Prometheus itself parses the rules and each query of the dashboard."""
    recorded = [{"record": f"query:{number}", "expr": query} for number, (_, query) in enumerate(QUERIES)]
    queries = tmp_path / "queries.yml"
    queries.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recorded}]}))

    for file in (FOLDER / "alerts.yml", queries):
        checked = promtool("check", "rules", str(file))
        assert checked.returncode == 0, checked.stdout + checked.stderr


@needs_promtool
def test_promtool_runs_the_rules_unit_tests() -> None:
    """The alerts fire, and keep quiet, as `alerts.test.yml` says."""
    ran = promtool("test", "rules", str(FOLDER / "alerts.test.yml"))

    assert ran.returncode == 0, ran.stdout + ran.stderr


def promtool(*command: str) -> subprocess.CompletedProcess[str]:
    assert PROMTOOL is not None
    return subprocess.run([PROMTOOL, *command], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    "broken",
    [
        'sum by (job) (rate(claudetrace_cost_total{job="a"}[1h])',
        "rate(claudetrace_cost_total{job=a}[1h])",
        'rate(claudetrace_cost_total{job=~"("}[1h])',
    ],
)
def test_a_broken_query_is_seen_without_promtool(broken: str) -> None:
    """A bracket without a partner, a matcher without quotes and a wrong pattern are refused."""
    with pytest.raises((ValueError, re.error)):
        prometheus.selectors(broken)
