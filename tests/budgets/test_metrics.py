"""What metrics are told of budgets, through the real SDK, a real store and a real provider."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from _keeping import Kept
from opentelemetry import metrics as api
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import claudetrace
from claudetrace._budgets import _status
from claudetrace._budgets._budget import Budget
from claudetrace._budgets._status import Observed
from claudetrace._demo import _answers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from claudetrace._demo._server import PlayServer
    from claudetrace._guard import Guard

ASK: dict[str, Any] = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi."}]}
SPENT, LIMIT = "claudetrace.budget.spent", "claudetrace.budget.limit"
USD = 10**12


class Told:
    """What a provider would export now."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader])

    def points(self, name: str) -> dict[tuple[tuple[str, Any], ...], float]:
        data = self.reader.get_metrics_data()
        return {
            tuple(sorted((point.attributes or {}).items())): point.value  # type: ignore[union-attr]
            for resource in (data.resource_metrics if data else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        }


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    made = Told()
    monkeypatch.setattr(api._internal, "_METER_PROVIDER", made.provider)
    monkeypatch.setattr(_status, "FRESH_S", 0.0)
    yield made
    made.provider.shutdown()


def call(client: anthropic.Anthropic, server: PlayServer, customer: str, times: int = 1) -> None:
    for _ in range(times):
        server.add(_answers.answer())
        with claudetrace.tag(customer=customer):
            client.messages.create(**ASK)


def test_spent_and_limit_are_gauges(
    told: Told, start: Callable[..., Any], client: anthropic.Anthropic, server: PlayServer
) -> None:
    """Each budget is a point by its name, each value of a tag one of its own; no limit where none is in dollars."""
    each, count = Budget("customer", usd="0.5", tags={"customer": "*"}), Budget("count", max_calls=9)
    start(budgets=[Budget("all", usd=2, per="day"), each, count])
    call(client, server, "acme", 2)
    call(client, server, "globex")
    assert claudetrace.flush(timeout_s=30)
    with claudetrace.Ledger(claudetrace.instrument().settings.db) as ledger:
        costs = [float(row.cost_usd) for row in ledger.spend(by="customer", since="1h")]

    name = "claudetrace.budget"
    of = [((name, "customer"), ("claudetrace.budget_key", key)) for key in ("acme", "globex")]
    whole = pytest.approx(sum(costs))
    assert told.points(SPENT) == {
        ((name, "all"),): whole,
        ((name, "count"),): whole,
        of[0]: pytest.approx(costs[0]),
        of[1]: pytest.approx(costs[1]),
    }
    assert told.points(LIMIT) == {((name, "all"),): 2.0, of[0]: 0.5, of[1]: 0.5}


def test_without_budgets_there_is_no_such_metric(
    told: Told, start: Callable[..., Any], client: anthropic.Anthropic, server: PlayServer
) -> None:
    """Nor is there one of budgets that a later `instrument()` no longer has."""
    start(budgets=[Budget("all", usd=2)])
    call(client, server, "acme")
    assert claudetrace.flush(timeout_s=30)
    assert len(told.points(SPENT)) == 1
    start()
    call(client, server, "acme")
    assert claudetrace.flush(timeout_s=30)

    assert (told.points(SPENT), told.points(LIMIT)) == ({}, {})


def test_few_values_of_a_tag_are_told(path: Path, guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    """The five that spent most; and once a hundred were told of, whoever spends more than them later is not."""
    monkeypatch.setattr(_status, "FRESH_S", 0.0)
    monkeypatch.setattr(_status, "MOST_KEYS", 6)
    budgets = [Budget("user", usd=100, tags={"user": "*"})]
    kept = Kept(budgets, path, guard=guard)
    observed = Observed(budgets, path, guard)

    def spend(users: dict[str, int]) -> list[str | None]:
        for user, usd in users.items():
            row = {"user_id": user, "started_at": "2999-01-01T00:00:00.000Z", "operation": "messages.create"}
            kept.put([_row(user, usd, **row)])
        return [each.key for each in observed()]

    monkeypatch.setattr("time.time", lambda: 32_472_144_000.0 + 5)
    assert spend({f"u{number}": number for number in range(1, 9)}) == ["u8", "u7", "u6", "u5", "u4"]
    assert spend({"v1": 20, "v2": 30}) == ["v2", "u8", "u7", "u6"]
    assert not guard.failures


def _row(user: str, usd: int, **columns: Any) -> dict[str, Any]:
    return {"id": f"{user}-{usd}", "call_id": f"{user}-{usd}", "outcome": "ok", "cost_picousd": usd * USD, **columns}


def test_a_store_that_cannot_be_read_tells_nothing(path: Path, guard: Guard) -> None:
    """No store yet is nothing; a broken one is a failure that is counted, and nothing is raised."""
    observed = Observed([Budget("all", usd=1)], path, guard)
    assert (observed(), guard.failures) == ([], {})
    path.write_text("no store at all, " * 100)
    broken = Observed([Budget("all", usd=1)], path, guard)

    assert broken() == []
    assert list(guard.failures) == [f"read the budgets' store {path}: ClaudetraceError"]


def test_a_disk_that_does_not_last_is_told_once(
    start: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At the start, with the file and the reason."""
    store = tmp_path / "own.budgets"
    reason = f"{store} is in memory (tmpfs)"
    monkeypatch.setattr("claudetrace._files.fragile_filesystem", lambda path: reason if path == store else None)
    (elsewhere := tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(elsewhere))
    with caplog.at_level(logging.WARNING, "claudetrace"):
        for _ in range(2):
            start(budgets=[Budget("all", usd=1)], budget_store=store)

    told = [record.getMessage() for record in caplog.records if reason in record.getMessage()]
    assert told == [f"claudetrace keeps what budgets have spent where it may not last: {reason}; set budget_store="]


@pytest.mark.parametrize("per", ["hour", "day", "week", "month", "total", "rolling:2h"])
def test_the_top_is_of_the_window_of_now(path: Path, guard: Guard, monkeypatch: pytest.MonkeyPatch, per: str) -> None:
    """However long the window is: who spent in an earlier one is not in it, and a total has all."""
    monkeypatch.setattr(_status, "FRESH_S", 0.0)
    budgets = [Budget("user", usd=100, per=per, tags={"user": "*"})]
    kept = Kept(budgets, path, guard=guard)
    for user, at in (("before", "2026-01-01T00:00:00.000Z"), ("now", "2026-03-01T09:30:00.000Z")):
        kept.put([_row(user, 1, user_id=user, started_at=at, operation="messages.create")])
    monkeypatch.setattr("time.time", lambda: 1_772_357_400.0 + 5)

    assert {each.key for each in Observed(budgets, path, guard)()} == {"now"} | (
        {"before"} if per == "total" else set()
    )
    kept.close()
