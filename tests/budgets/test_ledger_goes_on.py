"""Whatever the budgets' store does, the ledger goes on, and the store has each call once when it is back."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from _asking import ASK, COST_USD, HELLO, block, locked, states, until

import claudetrace
from claudetrace._budgets import _writer
from claudetrace._demo import _answers

if TYPE_CHECKING:
    from pathlib import Path

    from claudetrace._demo._server import PlayServer


@pytest.fixture
def rows(db: Path) -> Any:
    """How many rows the ledger has, as another process sees it."""

    def count() -> int:
        with closing(sqlite3.connect(db)) as connection:
            return int(connection.execute("SELECT COUNT(*) FROM calls").fetchone()[0])

    return count


@pytest.mark.parametrize("patience_s", [0.2, 1e9])
def test_rows_reach_the_ledger_while_the_store_is_locked(
    patience_s: float,
    client: anthropic.Anthropic,
    server: PlayServer,
    start: Any,
    db: Path,
    rows: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A store that answers late, or never as on a dead mount, holds up no batch; afterwards each call is in it once."""
    monkeypatch.setattr(_writer, "PATIENCE_S", patience_s)
    server.add(_answers.answer(HELLO, times=None))
    meter = start(budgets=[claudetrace.Budget("all", usd=1000, per="total"), block("cap", tags={"customer": "none"})])
    client.messages.create(**ASK)
    assert states()[0].spent_calls == 1
    with locked(f"{db}.budgets"):
        for number in range(2, 5):
            client.messages.create(**ASK)
            until(lambda wanted=number: rows() == wanted)
        with closing(sqlite3.connect(db, timeout=0, isolation_level=None)) as other:
            until(lambda: can_write(other))
    until(lambda: counted() == [4, 0])

    assert [(each.budget.name, each.spent_usd) for each in states()] == [("all", 4 * COST_USD), ("cap", 0)]
    assert (meter.health.lost, meter.health.pending) == (0, 0)


def counted() -> list[int]:
    """The calls of each budget; none while the store is at fault."""
    return [each.spent_calls for each in states(flush=False)]


def can_write(ledger: sqlite3.Connection) -> bool:
    try:
        ledger.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return False
    ledger.execute("ROLLBACK")
    return True


def test_a_store_that_breaks_while_rows_wait_counts_them_once(
    client: anthropic.Anthropic,
    server: PlayServer,
    start: Any,
    db: Path,
    rows: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rows that waited for a store which is then made anew are in what it begins with, and not added to it."""
    monkeypatch.setattr(_writer, "PATIENCE_S", 0.2)
    server.add(_answers.answer(HELLO, times=None))
    start(budgets=[claudetrace.Budget("all", usd=1000, per="total")])
    client.messages.create(**ASK)
    assert states()[0].spent_calls == 1
    with locked(f"{db}.budgets"):
        for number in range(2, 5):
            client.messages.create(**ASK)
            until(lambda wanted=number: rows() == wanted)
        for suffix in ("", "-wal", "-shm"):
            db.with_name(f"{db.name}.budgets{suffix}").unlink(missing_ok=True)
    until(lambda: counted() >= [4])
    client.messages.create(**ASK)

    assert [(each.spent_calls, each.spent_usd) for each in states()] == [(5, 5 * COST_USD)]
