"""What becomes of ledgers of other versions: older ones are led to the current one, those before the first are not."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from rows import row

from claudetrace import Ledger
from claudetrace._guard import Guard
from claudetrace._ledger import _schema
from claudetrace._ledger._rollups import rollup_differences
from claudetrace._ledger._store import Store
from claudetrace.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from claudetrace._ledger._loader import LedgerWriter

    Query = Callable[..., list[Any]]

COLUMNS_FROM_THE_START = {
    "source": "TEXT",
    "billing": "TEXT",
    "agent": "TEXT",
    "project": "TEXT",
    "budget_wait_ms": "REAL",
    "cache_miss_reason": "TEXT",
    "cache_missed_input_tokens": "INTEGER",
}


def store(db: Path, *rows: dict[str, Any]) -> None:
    opened = Store(db, Guard())
    opened.write([*rows])
    opened.close()


def of_development(db: Path, version: int) -> None:
    """Makes a ledger as development versions made them, whose rows had no source."""
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute("CREATE TABLE calls (id TEXT PRIMARY KEY NOT NULL, call_id TEXT NOT NULL) STRICT")
        connection.execute("INSERT INTO calls VALUES ('a', 'a')")
        connection.execute("PRAGMA application_id = 1668052082")
        connection.execute(f"PRAGMA user_version = {version}")


def test_the_first_version_has_every_column(db: Path, query: Query) -> None:
    """A new ledger is of version 1 and has what later sources and features fill, with message ids indexed."""
    store(db, row())
    types = dict(query("SELECT name, type FROM pragma_table_info('calls')"))
    plan = query("EXPLAIN QUERY PLAN SELECT id FROM calls WHERE message_id = 'msg_1'")

    assert query("PRAGMA user_version") == [(1,)]
    assert {name: types.get(name) for name in COLUMNS_FROM_THE_START} == COLUMNS_FROM_THE_START
    assert "USING INDEX" in plan[0][3]


def test_a_row_says_what_recorded_it(db: Path, query: Query) -> None:
    """A row without a source is set aside, and one with it keeps all the new columns, also as a `Call`."""
    new = {
        "source": "claude_code",
        "billing": "credit",
        "agent": "reviewer",
        "project": "shop",
        "budget_wait_ms": 12.5,
        "cache_miss_reason": "model_changed",
        "cache_missed_input_tokens": 7,
    }
    store(db, row(source=None), row(**new))
    with Ledger(db) as ledger:
        (call,) = ledger.calls()

    assert {name: getattr(call, name) for name in new} == new
    assert query("SELECT COUNT(*) FROM quarantine WHERE reason LIKE '%calls.source%'") == [(1,)]


@pytest.mark.parametrize(
    ("changes", "share"),
    [
        ({"billing": "subscription"}, 0),
        ({"billing": "subscription", "cost_flags": '["billed_to_user_profile"]'}, 0),
        ({"cost_flags": '["billed_to_user_profile"]'}, 0),
        ({"cost_flags": '["billed_to_user_profile","partial_usage"]', "billing": "api"}, 0),
        ({"billing": "api"}, 1),
        ({"billing": "credit"}, 1),
        ({"billing": "unknown"}, 1),
        ({}, 1),
    ],
)
def test_who_pays_decides_what_is_spent(db: Path, query: Query, changes: dict[str, Any], share: int) -> None:
    """What a subscription or another organization pays is a cost and no spend: in the row, the `Call`, each sum."""
    part = {"name": "cache_write_5m_tokens", "model": "m", "quantity": 7, "rate_picousd": 1, "picousd": 7}
    store(db, row(cost_picousd=7, cost_parts=json.dumps([part]), cache_write_5m_tokens=7, session_id="s", **changes))
    with Ledger(db) as ledger:
        (call,), (spend,) = ledger.calls(), ledger.spend(since=None)
        differences = rollup_differences(ledger.db.conn)

    assert query("SELECT cost_picousd, spend_picousd FROM calls") == [(7, 7 * share)]
    assert (call.cost_picousd, call.spend_picousd, spend.cost_usd * 10**12) == (7, 7 * share, 7 * share)
    assert query("SELECT cache_write_rest_picousd FROM rollup_days") == [(7 * share,)]
    assert query("SELECT spend_rest_picousd FROM rollup_sessions") == [(7 * share,)]
    assert differences == []


def test_a_later_version_needs_one_more_migration(
    db: Path, query: Query, monkeypatch: pytest.MonkeyPatch, writer: LedgerWriter
) -> None:
    """An entry that is added leads an older ledger on with all its rows, while another process keeps writing to it."""
    store(db, row(), row())

    def second(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE calls ADD COLUMN mood TEXT CHECK (mood IS NULL OR mood <> '')")

    monkeypatch.setattr(_schema, "MIGRATIONS", (*_schema.MIGRATIONS, second))
    monkeypatch.setattr(_schema, "VERSION", 2)
    writer.append(row())
    assert writer.flush(10)

    assert query("PRAGMA user_version") == [(2,)]
    assert query("SELECT COUNT(*), COUNT(mood), SUM(spend_picousd) FROM calls") == [(3, 0, 18_000_000_000)]
    assert [mode for name, mode in query("SELECT name, strict FROM pragma_table_list WHERE name = 'calls'")] == [1]


def test_a_migration_that_fails_changes_nothing(db: Path, query: Query, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a migration breaks off, the ledger is the one that it was, with its version."""
    store(db, row())

    def broken(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE calls ADD COLUMN mood TEXT")
        connection.execute("INSERT INTO nowhere VALUES (1)")

    monkeypatch.setattr(_schema, "MIGRATIONS", (*_schema.MIGRATIONS, broken))
    monkeypatch.setattr(_schema, "VERSION", 2)
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        _schema.open_ledger(db)

    assert query("PRAGMA user_version") == [(1,)]
    assert query("SELECT COUNT(*) FROM pragma_table_info('calls') WHERE name = 'mood'") == [(0,)]


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("command", ["report", "tail", "doctor", "reprice", "prune --before 90d"])
def test_a_ledger_of_development_is_refused_by_readers(db: Path, query: Query, version: int, command: str) -> None:
    """Whoever reads a ledger from before the first release is told to begin a new one, and it stays as it is."""
    of_development(db, version)
    told = CliRunner().invoke(main, [*command.split(), "--db", str(db)])

    assert "before claudetrace's first release; move it away, and a new one is begun" in " ".join(told.output.split())
    assert told.exit_code == (1 if command == "doctor" else 2)
    assert query("SELECT * FROM calls") == [("a", "a")]


def test_a_ledger_of_development_is_refused_by_writers(db: Path, query: Query, writer: LedgerWriter) -> None:
    """Rows wait in the journal and say why, until the old ledger is moved away; then they are in a new one."""
    of_development(db, 3)
    writer.append(row())
    during = writer.flush(0.6), writer.health()["pending"], writer.health()["last_error"]
    db.rename(db.with_name("old.db"))

    assert during[:2] == (False, 1)
    assert "move it away, and a new one is begun" in (during[2] or "")
    assert (writer.flush(10), query("SELECT COUNT(*) FROM calls")) == (True, [(1,)])
