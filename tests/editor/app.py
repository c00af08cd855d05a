"""An application that uses everything public, for the type checkers. It is checked, never run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, assert_type

import anthropic

import claudetrace
from claudetrace import middleware, testing


class Rows:
    """A sink."""

    def write(self, calls: Sequence[claudetrace.Call]) -> None:
        for call in calls:
            assert_type(call.cost_usd, Decimal | None)
            assert_type(call.started_at, datetime)

    def close(self) -> None:
        """Nothing to close."""


def page(alert: claudetrace.Alert) -> None:
    """A channel for alerts."""
    assert_type(alert.spent_usd, Decimal | None)
    print(alert.kind, alert.message)


def settings() -> None:
    """Every setting, then the shortest form."""
    running = claudetrace.instrument(
        db=Path("ledger.db"),
        tags={"team": "search"},
        hash_tags=("user",),
        hash_key="a key",
        spans="own",
        attributes="standard",
        metrics=False,
        metric_tags=("customer",),
        otlp="http://localhost:4318",
        records="otlp",
        baggage=("customer",),
        budgets=[claudetrace.Budget("all", usd="10.50", per="day", on_exceeded="block", wait_s=5)],
        alert_to=[page, "log", "env:ALERTS"],
        budget_store="postgresql://db.example/budgets",
        sinks=(Rows(),),
        rates={"models": {}},
        retention="90d",
        max_db_mb=500,
        sources=("anthropic", "agent_sdk"),
        config="claudetrace.toml",
        force=True,
    )
    assert_type(running, claudetrace.Instrumentation)
    assert_type(running.health.failures, Mapping[str, int])
    claudetrace.instrument(db=False, budgets="store", budget_store="env:BUDGETS", alert_to="log")
    with claudetrace.instrument():
        assert_type(claudetrace.flush(timeout_s=1.5), bool)
    claudetrace.uninstrument()


def tags(client: anthropic.Anthropic, gateway: anthropic.AsyncAnthropic) -> None:
    """A block, a copy of a client, and the results of a batch."""
    with claudetrace.tag(user="u1", customer="acme", attempt=3) as scope:
        client.messages.create(model="claude-haiku-5-5", max_tokens=9, messages=[])
    assert_type(scope, claudetrace.TagScope)
    assert_type(scope.cost_usd, Decimal)
    assert_type(scope.calls + scope.unpriced_calls, int)
    assert_type(claudetrace.tagged(client, customer="acme"), anthropic.Anthropic)
    assert_type(claudetrace.tagged(gateway, customer="acme"), anthropic.AsyncAnthropic)
    with claudetrace.tag_results({"item-1": {"customer": "acme"}}):
        list(client.messages.batches.results("batch"))
    with claudetrace.tag_results(lambda custom_id: {"customer": custom_id} if custom_id else None):
        pass


@claudetrace.tag(feature="sum")
def added(first: int, second: int) -> int:
    """A decorated function keeps its signature."""
    return first + second


@claudetrace.tag(feature="wait")
async def waited(text: str) -> str:
    """A decorated coroutine too."""
    return text


async def decorated() -> None:
    """What the two decorated functions give."""
    assert_type(added(1, second=2), int)
    assert_type(await waited("so"), str)


def prices(message: anthropic.types.Message) -> None:
    """The cost of a message, part by part."""
    cost = claudetrace.price(message, at=datetime.now(UTC), batch=True, platform="bedrock", endpoint_scope="global")
    assert_type(cost, claudetrace.Cost)
    assert_type(cost.usd, Decimal | None)
    assert_type(cost.flags, tuple[str, ...])
    for part in cost.parts:
        assert_type(part, claudetrace.CostPart)
        assert_type(part.rate_picousd, int | Fraction)
    claudetrace.price({"model": "claude-haiku-5-5", "usage": {}}, data_zone="us", billed_to="user_profile")


async def estimates(client: anthropic.Anthropic, gateway: anthropic.AsyncAnthropic) -> None:
    """An estimate, from a client of either kind."""
    known = claudetrace.estimate(client, model="claude-haiku-5-5", max_tokens=9, messages=[])
    assert_type(known, claudetrace.Estimate)
    assert_type(known.at_most_usd, Decimal | None)
    assert_type(await claudetrace.estimate(gateway, model="claude-haiku-5-5", max_tokens=9), claudetrace.Estimate)


def recorded(body: dict[str, Any]) -> None:
    """A response that came another way."""
    claudetrace.record(body, model="claude-haiku-5-5", platform="vertex", duration_s=0.5, tags={"customer": "acme"})


def budgets(client: anthropic.Anthropic) -> None:
    """What is left, a run, and a call that was stopped."""
    for state in claudetrace.budgets("all"):
        assert_type(state, claudetrace.BudgetState)
        assert_type(state.left_usd, Decimal | None)
    with claudetrace.Budget(usd=0.25, per="run") as run:
        assert_type(run, claudetrace.Run)
        assert_type(run.spent_usd, Decimal)
    try:
        client.messages.create(model="claude-haiku-5-5", max_tokens=9, messages=[])
    except claudetrace.BudgetExceeded as error:
        assert_type(error.retry_after_s, float | None)
        assert_type(error.limit_usd, Decimal | None)
    except claudetrace.ClaudetraceError:
        raise


def reports() -> None:
    """The read side."""
    with claudetrace.Ledger() as ledger:
        rows = ledger.spend(by=("customer", "model"), since="7d", where={"feature": "rerank", "model!": ["m1", "m2"]})
        assert_type(rows[0], claudetrace.Spend)
        assert_type(rows[0].customer, str | None)
        assert_type(rows.total.cost_usd, Decimal)
        assert_type(ledger.calls(since="1h", limit=None), list[claudetrace.Call])
        assert_type(ledger.calls()[0].cost_parts, tuple[claudetrace.CostPart, ...])
        usage = claudetrace.Usage(input_tokens=1)
        assert_type(usage.output_tokens, int | None)


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI app."""


def wsgi(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """A WSGI app."""
    return [b""]


def web() -> None:
    """Middleware of both kinds."""
    middleware.TagsASGI(asgi, tags=lambda scope: {"feature": scope["path"]})
    middleware.TagsWSGI(wsgi, tags=lambda environ: None)


def test_of_a_user() -> None:
    """What `claudetrace.testing` gives."""
    with testing.recorded() as calls:
        assert_type(calls, claudetrace.Recorded)
    assert_type(calls.calls, list[claudetrace.Call])
    assert_type(calls.cost_usd, Decimal)


KIND: Literal["alert", "block"] = "block"
BUDGET = claudetrace.Budget("typed", max_calls=9, on_exceeded=KIND)
