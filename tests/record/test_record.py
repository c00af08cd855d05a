"""`claudetrace.record`: responses that came another way than through the SDK."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import types
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import anthropic
import pytest
from click.testing import CliRunner
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import claudetrace
from claudetrace._instrument import running
from claudetrace._telemetry._providers import Providers
from claudetrace.cli import main

Start = Callable[..., claudetrace.Instrumentation]
Rows = Callable[[], list[claudetrace.Call]]

AT = datetime(2026, 11, 3, 4, 5, 6, 789_000, tzinfo=UTC)
USD = Decimal("0.0026")
"""1,000 × $2 + 60 × $10 a million, as published for the model of `BODY`."""
BODY: dict[str, Any] = {
    "id": "msg_by_raw_http",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-5-5",
    "content": [{"type": "text", "text": "The words of the answer."}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 1_000, "output_tokens": 60},
}


def test_a_response_becomes_a_row_like_any_other(start: Start, ledger: Rows) -> None:
    """What the body and the keywords say is in the row, priced exactly, for whom the blocks and `tags=` say."""
    start(tags={"team": "search"})
    with claudetrace.tag(customer="acme", feature="chat") as scope:
        claudetrace.record(BODY, started_at=AT, duration_s=1.5, streamed=True, tags={"feature": "proxy"})

    (row,) = ledger()
    assert (row.source, row.operation, row.platform, row.outcome) == ("recorded", "messages.create", "anthropic", "ok")
    assert (row.model, row.model_requested) == ("claude-sonnet-5-5", "claude-sonnet-5-5")
    assert (row.message_id, row.stop_reason, row.streamed) == ("msg_by_raw_http", "end_turn", True)
    assert (row.started_at, row.duration_ms, row.usage_is_final) == (AT, 1500.0, True)
    assert (row.input_tokens, row.output_tokens, row.cost_usd, row.usage) == (1_000, 60, USD, BODY["usage"])
    assert (row.customer, row.feature, row.tags) == ("acme", "proxy", {"team": "search"})
    assert (row.span_id, row.id) == (None, row.call_id)
    assert (scope.calls, scope.cost_usd, scope.unpriced_calls) == (1, USD, 0)


def test_its_id_comes_from_its_time_and_its_message(start: Start, ledger: Rows, tmp_path: Path) -> None:
    """One response of one moment has one id on every ledger; another message or moment has another."""
    start()
    claudetrace.record(BODY, started_at=AT)
    claudetrace.record({**BODY, "id": "msg_other"}, started_at=AT)
    (one, two) = sorted(ledger(), key=lambda row: row.message_id or "")
    other = tmp_path / "elsewhere.db"
    claudetrace.instrument(db=other, force=True)
    claudetrace.record(anthropic.types.Message.model_validate(BODY), started_at=AT.replace(tzinfo=None))
    claudetrace.flush()
    (again,) = claudetrace.Ledger(other).calls()

    known = [uuid.UUID(row.id) for row in (one, two)]
    assert [(each.version, each.int >> 80) for each in known] == [(7, AT.timestamp() * 1000)] * 2
    assert (again.id, one.id != two.id) == (one.id, True)


def test_twice_counts_once(start: Start, ledger: Rows, db: Path) -> None:
    """A response is one row, and is spent once, however often, when and by which process it is recorded."""
    budget = claudetrace.Budget("all", usd=1)
    start(budgets=[budget])
    with claudetrace.tag() as scope:
        claudetrace.record(BODY)
        claudetrace.record(BODY, started_at=AT)
    again = f"""
import claudetrace
with claudetrace.instrument(db={str(db)!r}, budgets=[claudetrace.Budget("all", usd=1)]) as meter:
    claudetrace.record({BODY!r})
    claudetrace.record({dict(BODY, id="msg_second")!r})
"""
    claudetrace.flush()
    subprocess.run([sys.executable, "-c", again], check=True, timeout=60)
    claudetrace.instrument(db=db, budgets=[budget], force=True, spans="own")
    claudetrace.record(BODY)

    assert [row.message_id for row in ledger()] == ["msg_by_raw_http", "msg_second"]
    assert (scope.calls, scope.cost_usd) == (1, USD)
    (spent,) = claudetrace.Ledger(db).spend(by=None)
    assert spent.cost_usd == 2 * USD


def test_budgets_count_it(start: Start, db: Path) -> None:
    """What is recorded is spent of a budget, for its customer, and a call that has no room then is stopped."""
    meter = start(budgets=[claudetrace.Budget("c", usd=1, per="total", tags={"customer": "*"})])
    claudetrace.record(BODY, tags={"customer": "acme"})
    claudetrace.record({**BODY, "id": "msg_2"}, tags={"customer": "acme"})
    claudetrace.record({**BODY, "id": "msg_3"})
    assert meter.flush()

    told = CliRunner().invoke(main, ["budgets", "--json", "--db", str(db)])
    (budget,) = json.loads(told.output)["budgets"]
    assert [(state["key"], Decimal(state["spent_usd"])) for state in budget["states"]] == [("acme", 2 * USD)]


def test_a_run_counts_it(start: Start, ledger: Rows) -> None:
    """What is recorded inside a run is spent of it, once, and a call has the less room."""
    start()
    with claudetrace.Budget(usd=1, per="run") as run:
        claudetrace.record(BODY)
        claudetrace.record(BODY)
    claudetrace.record({**BODY, "id": "msg_outside"})

    assert (run.spent_usd, run.calls, run.left_usd) == (USD, 1, 1 - USD)
    assert len(ledger()) == 2


def test_it_is_measured(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tokens, its dollars and its time are in the metrics, once."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr(Providers, "meter_provider", lambda _: provider)
    meter = start()
    claudetrace.record(BODY, duration_s=2)
    claudetrace.record(BODY, duration_s=2)
    meter.flush()
    told = reader.get_metrics_data()
    assert told is not None
    sums = {
        metric.name: sum(getattr(point, "sum", getattr(point, "value", 0)) for point in metric.data.data_points)
        for each in told.resource_metrics
        for scope in each.scope_metrics
        for metric in scope.metrics
    }

    assert sums["gen_ai.client.token.usage"] == 1_060
    assert sums["gen_ai.client.operation.duration"] == 2.0
    assert sums["claudetrace.cost"] == pytest.approx(float(USD))


@pytest.mark.parametrize(
    ("body", "keywords", "expected"),
    [
        pytest.param(
            {**BODY, "model": "claude-sonnet-5-5"},
            {"model": "us.anthropic.claude-sonnet-5-5-v1:0"},
            ("messages.create", "bedrock", "ok", None, USD * Decimal("1.1"), ()),
            id="a regional endpoint of Bedrock, told by the id",
        ),
        pytest.param(
            BODY,
            {"platform": "vertex"},
            ("messages.create", "vertex", "ok", None, USD, ("endpoint_scope_unknown",)),
            id="a platform that is named",
        ),
        pytest.param(
            {"custom_id": "row-7", "result": {"type": "succeeded", "message": BODY}},
            {},
            ("messages.batches.result", "anthropic", "ok", None, USD / 2, ()),
            id="a batch's result",
        ),
        pytest.param(
            {"custom_id": "row-7", "result": {"type": "expired"}},
            {},
            ("messages.batches.result", "anthropic", "error", "expired", 0, ("no_usage",)),
            id="a batch's result without a message",
        ),
        pytest.param(
            {**BODY, "stop_reason": None},
            {},
            ("messages.create", "anthropic", "incomplete", None, USD, ("partial_usage",)),
            id="what was put together of a cut stream",
        ),
        pytest.param(
            {"type": "error", "error": {"type": "overloaded_error"}, "request_id": "r"},
            {},
            ("messages.create", "anthropic", "error", "overloaded_error", 0, ()),
            id="an error",
        ),
        pytest.param(
            {"input_tokens": 12},
            {},
            ("messages.count_tokens", "anthropic", "ok", None, 0, ()),
            id="a count of tokens",
        ),
        pytest.param(
            {"id": "msg_4", "model": "claude-sonnet-5-5", "stop_reason": "end_turn"},
            {},
            ("messages.create", "anthropic", "ok", None, None, ("no_usage",)),
            id="no usage",
        ),
        pytest.param(
            types.MappingProxyType({**BODY, "usage": types.MappingProxyType(BODY["usage"])}),
            {},
            ("messages.create", "anthropic", "ok", None, USD, ()),
            id="a mapping that is no dict",
        ),
    ],
)
def test_what_price_takes_is_recorded(
    body: Any, keywords: dict[str, Any], expected: tuple[Any, ...], start: Start, ledger: Rows
) -> None:
    """Each shape that `price` takes is the row of its operation, at the price that `price` tells."""
    meter = start()
    claudetrace.record(body, started_at=AT, **keywords)

    (row,) = ledger()
    assert (row.operation, row.platform, row.outcome, row.error_type, row.cost_usd, row.cost_flags) == expected
    assert dict(meter.health.failures) == {}


@pytest.mark.parametrize(
    "message", [None, "<html>Bad gateway</html>", b"{}", 7, [BODY], {}, {"type": "session", "usage": {}}, object()]
)
def test_what_is_no_response_harms_nobody(message: Any, start: Start, ledger: Rows, caplog: Any) -> None:
    """It is told once and counted, no row is made of it, and nothing is raised."""
    meter = start()
    claudetrace.record(message)
    claudetrace.record(message)
    claudetrace.record(BODY)

    assert [row.message_id for row in ledger()] == ["msg_by_raw_http"]
    assert list(meter.health.failures.values()) == [2]
    assert len([each for each in caplog.records if "record a response" in each.message]) == 1


@pytest.mark.parametrize(
    "keywords",
    [
        {"platform": "azure"},
        {"model": 5},
        {"streamed": "yes"},
        {"tags": ["customer"]},
        {"duration_s": -1},
        {"duration_s": float("nan")},
        {"duration_s": "1"},
        {"started_at": "yesterday"},
        {"started_at": datetime(1969, 1, 1, tzinfo=UTC)},
        {"duration_s": 1e300},
    ],
)
def test_a_keyword_that_cannot_be_is_refused(keywords: dict[str, Any], start: Start, ledger: Rows) -> None:
    """The error names the keyword and its value, and nothing is recorded."""
    start()
    with pytest.raises(claudetrace.ClaudetraceError, match=next(iter(keywords))):
        claudetrace.record(BODY, **keywords)
    claudetrace.record(BODY)

    assert len(ledger()) == 1


def test_a_duration_alone_tells_when_it_began(start: Start, ledger: Rows) -> None:
    """Without `started_at` a response has ended now, and began `duration_s` before."""
    start()
    before = datetime.now(UTC)
    claudetrace.record(BODY, duration_s=3600)

    (row,) = ledger()
    assert abs(before - timedelta(hours=1) - row.started_at) < timedelta(minutes=1)


def test_where_nothing_records_it_says_so_once(caplog: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `instrument()` one warning tells the way out; where the kill switch is off, none."""
    from claudetrace import _record

    claudetrace.uninstrument()
    _record._tell_that_nothing_records.cache_clear()
    with caplog.at_level(logging.WARNING):
        claudetrace.record(BODY)
        claudetrace.record(BODY)
    assert [each.message for each in caplog.records] == [
        "claudetrace.record() keeps nothing: call claudetrace.instrument() before it"
    ]
    monkeypatch.setenv("CLAUDETRACE_ENABLED", "false")
    _record._tell_that_nothing_records.cache_clear()
    with claudetrace.instrument():
        claudetrace.record(BODY)

    assert (len(caplog.records), running()) == (1, None)


def test_no_word_of_it_is_kept(start: Start, db: Path) -> None:
    """The content of the response is in no file."""
    start()
    claudetrace.record(BODY)
    claudetrace.flush()
    claudetrace.uninstrument()

    assert [
        path for path in db.parent.rglob("*") if path.is_file() and b"words of the answer" in path.read_bytes()
    ] == []
