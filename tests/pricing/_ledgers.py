"""Ledgers of known rows, and rates as a later version of the package could have them."""

from __future__ import annotations

import itertools
import json
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner, Result

from claudetrace._guard import Guard
from claudetrace._ledger._calls import COLUMNS
from claudetrace._ledger._rollups import rollup_differences
from claudetrace._ledger._schema import open_ledger
from claudetrace._ledger._store import Store
from claudetrace._pricing import _plan, _rates
from claudetrace.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

_numbers = itertools.count()
UNKNOWN = {
    "cost_picousd": None,
    "cost_parts": None,
    "cost_flags": '["unknown_model"]',
    "cache_saved_picousd": None,
    "rates_version": "2020-01-01-00000000",
}
"""The price of a row that an older version wrote, which did not know the model."""


def run(*words: object, **options: Any) -> Result:
    """What the command line says and ends with; its input is no terminal."""
    return CliRunner().invoke(main, [str(word) for word in words], **options)


def unpriced_row(usage: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A row with that usage as an older version wrote it, with `changes`."""
    id_ = f"0198{next(_numbers):012d}"
    row = {
        "id": id_,
        "call_id": id_,
        "started_at": "2026-11-20T12:34:56.789Z",
        "duration_ms": 1000.0,
        "source": "anthropic",
        "operation": "messages.create",
        "platform": "anthropic",
        "server_address": "api.anthropic.com",
        "streamed": 0,
        "model_requested": "claude-opus-5-5",
        "model": "claude-opus-5-5",
        "outcome": "ok",
        "stop_reason": "end_turn",
        "input_tokens": usage.get("input_tokens"),
        "output_tokens": usage.get("output_tokens"),
        "usage": json.dumps(usage),
        "usage_is_final": 1,
        "pricing_terms": '{"platform":"anthropic"}',
        **UNKNOWN,
        **changes,
    }
    return {name: value for name, value in row.items() if value is not None}


def write(db: Path, rows: list[dict[str, Any]]) -> Path:
    """Puts rows into the ledger at `db` as its loader does."""
    store = Store(db, Guard())
    try:
        for start in range(0, len(rows), 500):
            assert store.write(rows[start : start + 500]).quarantined == 0
    finally:
        store.close()
    return db


def rows_of(db: Path) -> list[dict[str, Any]]:
    """All rows of the ledger, every column that is stored."""
    with closing(open_ledger(db)) as connection:
        found = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM calls ORDER BY id")
        return [dict(zip(COLUMNS, row, strict=True)) for row in found]


def as_an_older_version_wrote(source: Path, target: Path) -> Path:
    """A ledger with the rows of `source`, those that usage prices without their price."""
    rows = []
    for row in rows_of(source):
        flags = json.loads(row["cost_flags"] or "[]")
        if row["usage"] is not None and row["rates_version"] is not None:
            kept = [flag for flag in flags if flag == "retried_after_timeout"]
            row = {**row, **UNKNOWN, "cost_flags": json.dumps(["unknown_model", *kept])}
        rows.append({name: value for name, value in row.items() if value is not None})
    return write(target, rows)


def faults(db: Path) -> list[Any]:
    """Where rollups differ from calls, and costs from their parts."""
    with closing(open_ledger(db)) as connection:
        return [*rollup_differences(connection), *connection.execute("SELECT * FROM unproven_calls")]


def prices_of(db: Path) -> list[tuple[int | None, str | None]]:
    """Cost and flags of every row."""
    return [(row["cost_picousd"], row["cost_flags"]) for row in rows_of(db)]


@contextmanager
def later_rates(
    monkeypatch: pytest.MonkeyPatch, folder: Path, change: Callable[[dict[str, Any]], None]
) -> Iterator[None]:
    """The block runs with the rates of a later version: those of today with `change`."""
    data = json.loads(_rates.RATES_FILE.read_text())
    change(data)
    file = folder / "later-rates.json"
    file.write_text(json.dumps(data))
    with monkeypatch.context() as patch:
        patch.setattr(_rates, "RATES_FILE", file)
        forget_rates()
        try:
            yield
        finally:
            patch.undo()
            forget_rates()


def forget_rates() -> None:
    """The rates are read anew."""
    _rates.book.cache_clear()
    _plan._plans.clear()
