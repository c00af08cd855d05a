"""Budgets that limit agents: what a query may spend is set aside before it starts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from claudetrace import Budget, BudgetExceeded
from claudetrace.cli import main

from .billing import Api

sdk = pytest.importorskip("claude_agent_sdk")

Options = Callable[..., Any]


@pytest.fixture
def few_dollars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A query sets aside two cents."""
    settings = tmp_path / "named.toml"
    settings.write_text("[agents]\nreserve_usd = 0.02\n")
    monkeypatch.setenv("CLAUDETRACE_CONFIG", str(settings))


async def ask(prompt: str, options: Any) -> str:
    """How the query ended."""
    try:
        async for message in sdk.query(prompt=prompt, options=options):
            last = message
    except BudgetExceeded:
        return "stopped"
    except getattr(sdk, "ResultError", ()):
        # The CLI ends with a status after a result that is an error: whether the SDK tells it is a race of its own.
        assert last.is_error
    return str(last.subtype)


def spent(api: Api) -> float:
    return sum(api.billed().values()) / 1e12


async def test_three_queries_under_one_cap(
    api: Api, options: Options, start: Callable[..., Any], ledger: Callable[[], list[Any]], few_dollars: None
) -> None:
    """Queries at once share what is left: the bill stays below the cap, and those that are stopped say so."""
    start(budgets=(Budget("cap", usd=0.05, per="total", on_exceeded="block"),))

    ends = await asyncio.gather(*(ask(f"PLEASE tools=6 number {n}", options()) for n in range(3)))

    assert spent(api) <= 0.05
    assert "stopped" in ends
    assert sum(call.cost_picousd or 0 for call in ledger() if call.message_id in api.billed()) <= 0.05e12


async def test_three_queries_in_one_run(
    api: Api, options: Options, start: Callable[..., Any], few_dollars: None
) -> None:
    """The same without a store: queries at once in one run stay below its limit."""
    start()
    with Budget("run", usd=0.05, per="run") as run:
        ends = await asyncio.gather(*(ask(f"PLEASE tools=6 number {n}", options()) for n in range(3)))

    assert spent(api) <= 0.05
    assert "stopped" in ends
    assert (float(run.spent_usd), run.reserved_usd) == (pytest.approx(spent(api), abs=0.012), 0)


async def test_a_run_is_the_queries_limit(
    api: Api, options: Options, start: Callable[..., Any], few_dollars: None
) -> None:
    """In a run, the CLI is told the share, the user's own options stay as they are, and the run knows what it spent."""
    start()
    given = options()
    with Budget("run", usd=0.03, per="run") as run:
        ends = [await ask("PLEASE tools=6 go", given)]
        ends.append(await ask("PLEASE answer", given))
        ends.append(await ask("PLEASE tools=6 go", given))

    assert spent(api) <= 0.03
    assert given.max_budget_usd is None
    assert ends[0] == "error_max_budget_usd" or "stopped" in ends
    assert float(run.spent_usd) == pytest.approx(spent(api), abs=0.012)
    assert run.reserved_usd == 0


async def test_what_is_not_spent_is_let_go(
    api: Api, options: Options, start: Callable[..., Any], ledger: Callable[[], list[Any]], db: Path, few_dollars: None
) -> None:
    """After a query the budget has what its responses cost, and nothing set aside."""
    start(budgets=(Budget("cap", usd=1.0, per="total", on_exceeded="block"),))
    await ask("PLEASE tools=1 go", options())

    ledger()
    told = CliRunner().invoke(main, ["budgets", "--json", "--db", str(db)]).output
    (state,) = json.loads(told)["budgets"][0]["states"]
    assert (float(state["spent_usd"]), float(state["reserved_usd"])) == (pytest.approx(spent(api), abs=1e-12), 0)


async def test_no_room(
    api: Api, options: Options, start: Callable[..., Any], ledger: Callable[[], list[Any]], few_dollars: None
) -> None:
    """Without room a query does not start, nothing is billed, and a row says that it was stopped."""
    start(budgets=(Budget("cap", usd=0.001, per="total", on_exceeded="block"),))

    assert await ask("PLEASE answer", options()) == "stopped"
    assert api.bill == []
    (call,) = ledger()
    assert (call.error_type, call.source, call.cost_picousd) == ("BudgetExceeded", "agent_sdk", 0)
