"""A call that a budget stops is seen: in an alert, a metric, an event, the ledger and on the command line."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from _asking import ASK, HELLO, MODEL, block, locked, state, states, until
from click.testing import CliRunner
from opentelemetry import metrics as metrics_api
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import claudetrace
from claudetrace._demo import _answers
from claudetrace.cli._main import main

if TYPE_CHECKING:
    from pathlib import Path

    from claudetrace._demo._server import PlayServer


@pytest.fixture
def told(start: Any, client: anthropic.Anthropic, server: PlayServer) -> list[claudetrace.Alert]:
    """The alerts of a budget for each customer that has room for one call, which acme has made."""
    alerts: list[claudetrace.Alert] = []
    each = block("team", per="month", usd="0.002", tags={"customer": "*"}, thresholds=())
    start(budgets=[each], alert_to=[alerts.append])
    server.add(_answers.answer(HELLO, times=None))
    ask(client)
    return alerts


def ask(client: anthropic.Anthropic, times: int = 1, customer: str = "acme") -> None:
    for _ in range(times):
        with suppress(claudetrace.BudgetExceeded), claudetrace.tag(customer=customer):
            client.messages.create(**ASK)


def command(*words: object) -> Any:
    return CliRunner().invoke(main, [str(word) for word in words], env={"COLUMNS": "200"})


def test_an_alert_at_the_first_and_at_each_tenfold(told: list[claudetrace.Alert], client: anthropic.Anthropic) -> None:
    """The first stopped call is told and the tenth, with their number, the sums, and what gives room; not the second,
    nor the eleventh."""
    for times, kinds in ((1, 1), (1, 1), (8, 2), (1, 2)):
        ask(client, times)
        assert claudetrace.flush(timeout_s=30)
        until(lambda kinds=kinds: len(told) == kinds)

    first, tenth = told
    assert (first.kind, first.budget, first.key, first.window_end) == ("blocked", "team", "acme", tenth.window_end)
    assert first.message.startswith('Budget "team" of customer "acme" has stopped a call because it has no room for')
    assert "has stopped 10 calls in its window, the last because it has no room" in tenth.message
    assert "$0.0007 of $0.002 spent and $0.00 reserved; it resets at" in tenth.message
    assert state().blocked_calls == 11


def test_the_command_line_shows_them(told: list[claudetrace.Alert], client: anthropic.Anthropic, db: Path) -> None:
    """`budgets` counts them and exits 1; `report` has them in a column, under the model that was asked for."""
    before = command("budgets", "--db", db)
    ask(client, 3)
    assert claudetrace.flush(timeout_s=30)
    budgets, report = command("budgets", "--db", db), command("report", "--db", db)

    assert (before.exit_code, budgets.exit_code) == (0, 1)
    assert "team: 1 value of the tag customer, 0 at the limit, 3 calls stopped." in budgets.output
    rows = [line.split() for line in report.output.splitlines()]
    head = next(row for row in rows if row[:1] == ["model"])
    assert head.index("blocked") == 3
    assert [row[3] for row in rows if row[:1] in ([MODEL], ["total"])] == ["3", "3"]
    assert "(none)" not in report.output
    assert told[0].kind == "blocked"


def test_metric_and_event(start: Any, client: anthropic.Anthropic, monkeypatch: pytest.MonkeyPatch) -> None:
    """The counter counts them by budget and key; the current span gets an event, and there is no other span."""
    reader, spans = InMemoryMetricReader(), InMemorySpanExporter()
    monkeypatch.setattr(metrics_api._internal, "_METER_PROVIDER", MeterProvider([reader]))
    tracing = TracerProvider()
    tracing.add_span_processor(SimpleSpanProcessor(spans))
    start(budgets=[block("team", usd="0.001", tags={"customer": "*"})])
    with tracing.get_tracer("app").start_as_current_span("request"):
        ask(client, 2)
    ask(client, customer="other")
    assert claudetrace.flush(timeout_s=30)

    data: Any = reader.get_metrics_data()
    (counter,) = (
        metric
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "claudetrace.budget.blocked"
    )
    points = {point.attributes["claudetrace.budget_key"]: point.value for point in counter.data.data_points}
    assert (counter.unit, points) == ("{call}", {"acme": 2, "other": 1})
    (span,) = spans.get_finished_spans()
    assert [event.name for event in span.events] == ["claudetrace.budget_exceeded"] * 2
    said = dict(span.events[0].attributes or {})
    assert 0.001 < said.pop("claudetrace.budget.needed_usd") < 0.002  # type: ignore[operator]
    assert said == {
        "claudetrace.budget": "team",
        "claudetrace.budget_key": "acme",
        "claudetrace.budget.left_usd": 0.001,
    }


def test_a_store_that_is_away_loses_no_count(
    told: list[claudetrace.Alert], client: anthropic.Anthropic, db: Path
) -> None:
    """Calls that are stopped while the store cannot be written to are told now, and counted once it can."""
    assert states()
    with locked(f"{db}.budgets"):
        ask(client, 3)
        until(lambda: told)
        assert told[0].message.startswith('Budget "team" of customer "acme" has stopped')
    until(lambda: [each.blocked_calls for each in states()] == [3])


def test_a_loop_of_stopped_calls_costs_the_store_few_transactions(
    told: list[claudetrace.Alert], client: anthropic.Anthropic, db: Path
) -> None:
    """They are counted in the process and written together."""
    with closing(sqlite3.connect(f"{db}.budgets", isolation_level=None)) as watching:
        watching.executescript(
            """
            CREATE TABLE written (calls INTEGER);
            CREATE TRIGGER counting AFTER UPDATE OF blocked_calls ON counters
            WHEN new.blocked_calls > old.blocked_calls
            BEGIN
                INSERT INTO written VALUES (new.blocked_calls - old.blocked_calls);
            END;
            """
        )
        ask(client, 300)
        assert claudetrace.flush(timeout_s=30)
        until(lambda: state().blocked_calls == 300)
        (writes, calls) = watching.execute("SELECT COUNT(*), SUM(calls) FROM written").fetchone()

    assert calls == 300
    assert writes < 100
    assert told
