"""`claudetrace.budgets()`: what each budget has left, in the application and beside it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import anthropic
import pytest
from _asking import ASK, COST_USD, HELLO

import claudetrace
from claudetrace._demo import _answers, _wire
from claudetrace._demo._server import Exchange, PlayServer

BUDGETS = [
    claudetrace.Budget("customer", usd=3, per="day", tags={"customer": "*"}, on_exceeded="block", forecast=False),
    claudetrace.Budget("calls", max_calls=10, per="month"),
]


def call(client: anthropic.Anthropic, server: PlayServer, customer: str) -> None:
    server.add(_answers.answer(HELLO))
    with claudetrace.tag(customer=customer):
        client.messages.create(**ASK)


def test_an_application_tells_what_is_left(
    client: anthropic.Anthropic, server: PlayServer, start: Callable[..., Any]
) -> None:
    """What has just been spent is in it; a customer who has spent nothing has the whole limit left."""
    start(budgets=BUDGETS)
    call(client, server, "acme")
    assert COST_USD is not None
    (acme,) = claudetrace.budgets("customer", key="acme")
    (new,) = claudetrace.budgets("customer", key="new")

    assert isinstance(acme, claudetrace.BudgetState)
    assert (acme.budget, acme.key, acme.spent_usd, acme.reserved_usd) == (BUDGETS[0], "acme", COST_USD, 0)
    assert (acme.left_usd, acme.limit_usd, acme.granted_usd, acme.blocked_calls) == (3 - COST_USD, 3, 0, 0)
    assert acme.window_end is not None
    assert acme.window_start < acme.window_end
    assert (new.key, new.spent_usd, new.left_usd) == ("new", 0, 3)


def test_all_of_them_or_some(client: anthropic.Anthropic, server: PlayServer, start: Callable[..., Any]) -> None:
    """Without a name all, without a key those that spent most; of a budget for all there is one."""
    start(budgets=BUDGETS)
    call(client, server, "acme")
    call(client, server, "globex")
    claudetrace.flush()

    def told(*asked: Any, **more: Any) -> list[tuple[str | None, str | None]]:
        return sorted((state.budget.name, state.key) for state in claudetrace.budgets(*asked, **more))

    customers = [("customer", "acme"), ("customer", "globex")]
    assert told() == [("calls", None), *customers]
    assert told("customer") == customers
    assert told(key="globex") == [("customer", "globex")]
    (calls,) = claudetrace.budgets("calls")
    assert (calls.spent_calls, calls.left_calls, calls.limit_usd, calls.left_usd) == (2, 8, None, None)


def test_it_is_read_without_a_meter(
    client: anthropic.Anthropic,
    server: PlayServer,
    start: Callable[..., Any],
    db: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A store that is named, or that the settings have, is read by a process that records nothing."""
    start(budgets=BUDGETS)
    call(client, server, "acme")
    claudetrace.flush()
    claudetrace.uninstrument()
    (named,) = claudetrace.budgets("customer", "acme", store=f"{db}.budgets")
    monkeypatch.setenv("CLAUDETRACE_DB", str(db))
    (of_settings,) = claudetrace.budgets("customer", "acme")

    assert named.spent_usd == of_settings.spent_usd == COST_USD


def test_what_is_not_there_is_refused(start: Callable[..., Any], tmp_path: Path) -> None:
    """The error names the budgets that there are, or the store that there is not."""
    with pytest.raises(claudetrace.ClaudetraceError, match="no budgets' store at"):
        claudetrace.budgets(store=tmp_path / "none.budgets")
    start(budgets=BUDGETS)
    with pytest.raises(claudetrace.ClaudetraceError, match="no budget 'x'; there is 'customer', 'calls'"):
        claudetrace.budgets("x")
    with pytest.raises(claudetrace.ClaudetraceError, match="one for all its calls: ask for it without key="):
        claudetrace.budgets("calls", key="acme")


def test_the_kill_switch_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """An application that is switched off shows nothing, and does not break."""
    monkeypatch.setenv("CLAUDETRACE_ENABLED", "false")

    assert claudetrace.budgets("customer", key="acme") == []


def test_a_call_that_runs_is_reserved(
    client: anthropic.Anthropic, server: PlayServer, start: Callable[..., Any]
) -> None:
    """What it may cost is not left meanwhile."""
    start(budgets=BUDGETS)
    seen: list[Decimal] = []

    def hold(_: object) -> bytes:
        (state,) = claudetrace.budgets("customer", key="acme")
        seen.append(state.reserved_usd)
        return _wire.json_bytes(HELLO)

    server.add(Exchange(headers={"content-type": "application/json"}, body=hold))
    with claudetrace.tag(customer="acme"):
        client.messages.create(**ASK)

    assert seen[0] > 0
