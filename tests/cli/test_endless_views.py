"""A ledger that was made to hang whoever reads it: each command ends, and says what it met."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from claudetrace import ClaudetraceError, Ledger, _sqlite
from claudetrace._guard import Guard
from claudetrace._ledger._store import Store
from claudetrace.cli import main

if TYPE_CHECKING:
    from pathlib import Path

ENDLESS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger whose views never end. The limit is a second here, so that nobody waits ten."""
    monkeypatch.setattr(_sqlite, "QUESTION_S", 1.0)
    path = tmp_path / "ledger.db"
    store = Store(path, Guard())
    store.connection()
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        for name in ("unproven_calls", "measured_calls"):
            names = [column for (column,) in connection.execute("SELECT name FROM pragma_table_info(?)", [name])]
            connection.execute(f"DROP VIEW {name}")
            columns = ", ".join(f"CAST(i AS TEXT) AS {column}" for column in names)
            connection.execute(f"CREATE VIEW {name} AS {ENDLESS} SELECT {columns} FROM n WHERE i < 0")
        connection.execute("ALTER TABLE calls RENAME TO calls_before")
        names = [column for (column,) in connection.execute("SELECT name FROM pragma_table_xinfo('calls_before')")]
        columns = ", ".join(f"CAST(i AS TEXT) AS {column}" for column in names)
        connection.execute(f"CREATE VIEW calls AS {ENDLESS} SELECT {columns} FROM n WHERE i < 0")
    return path


@pytest.mark.parametrize(
    ("command", "code"),
    [("doctor", 1), ("tail -n 3", 2), ("report --by user", 2), ("report --by model --batch", 2)],
)
def test_commands_end(hostile: Path, command: str, code: int) -> None:
    """A view without an end costs a command seconds, and it says what it may be."""
    told = CliRunner().invoke(main, [*command.split(), "--db", str(hostile)])

    assert (told.exit_code, "made to never end" in " ".join(told.output.split())) == (code, True), told.output


def test_a_ledger_in_a_program_ends_too(hostile: Path) -> None:
    """`Ledger` raises where a question does not end."""
    with Ledger(hostile) as ledger, pytest.raises(ClaudetraceError, match="made to never end"):
        ledger.calls()


def test_a_question_after_a_pause_has_the_whole_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time in which nothing was asked counts for nothing, so that who follows a ledger is not stopped."""
    monkeypatch.setattr(_sqlite, "QUESTION_S", 0.3)
    monkeypatch.setattr(_sqlite, "PAUSE_S", 0.1)
    clock = [0.0]
    monkeypatch.setattr(_sqlite, "monotonic", lambda: clock[0])
    path = tmp_path / "ledger.db"
    path.touch()
    with closing(_sqlite.connect(path, "rw", 1.0)) as connection:
        _sqlite.limit_time(connection, path)
        for _ in range(5):
            clock[0] += 1.0
            asked = f"{ENDLESS} SELECT COUNT(*) FROM (SELECT i FROM n LIMIT 100000)"
            assert connection.execute(asked).fetchone() == (100_000,)
