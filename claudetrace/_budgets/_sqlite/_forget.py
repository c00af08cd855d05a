"""Takes out of the budgets' store what tells who a user was. What they spent stays, under a name that tells nothing."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from claudetrace._budgets._forgetting import ANSWERED, Forgetting
from claudetrace._budgets._sqlite._file import VERSION, begin, check_version, connect
from claudetrace._errors import ClaudetraceError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

PATIENCE_S = 10.0
KEYED = """
    SELECT 'UPDATE ' || t.name || ' SET key = ? WHERE budget_id = ? AND key = ?'
    FROM sqlite_master AS t
    JOIN pragma_table_info(t.name) AS c
    WHERE t.type = 'table' AND c.name = 'key'
"""
"""What renames a key, in each table that has one."""
RESULT = "UPDATE OR REPLACE charges SET item = ? WHERE call_id = ? AND item = ?"
"""What renames a batch's result, which is known by its custom id."""


def forget(
    store: str | Path, user: str, sessions: set[str], rows: Mapping[str, str], of: str = "user"
) -> tuple[int, list[str]]:
    """As `_connect.forget`. Raises `ClaudetraceError` for what is no store, or cannot be rid of them, and
    `sqlite3.Error` for a broken one."""
    path = Path(store)
    with closing(connect(path, "rw")) as connection:
        if check_version(connection, path) != VERSION:
            raise ClaudetraceError(f"{path} is no budgets' store")
        connection.execute("PRAGMA secure_delete = ON")
        begin(connection, PATIENCE_S)
        budgets = connection.execute("SELECT id, name, definition FROM budgets").fetchall()
        forgetting = Forgetting(budgets, user, sessions, of)
        keyed = [sql for (sql,) in connection.execute(KEYED)]
        changed = sum(connection.execute(sql, each).rowcount for each in forgetting.keys for sql in keyed)
        changed += _rename_told(connection, forgetting)
        connection.executemany(RESULT, [(row_id, *name.split("/", 1)) for name, row_id in rows.items()])
        connection.execute("COMMIT")
        # What was removed before is in free pages still.
        connection.execute("VACUUM")
        ((busy, _, _),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    if busy:
        raise ClaudetraceError(f"{path}-wal may still name them: a program reads an older state; run this again")
    return changed, forgetting.defined


def _rename_told(connection: sqlite3.Connection, forgetting: Forgetting) -> int:
    """How many alerts were of them, by their budgets: they and the marks of what was told name nobody now."""
    for budget, mark in connection.execute("SELECT budget, mark FROM fired").fetchall():
        if anew := forgetting.mark(budget, mark):
            connection.execute("UPDATE fired SET mark = ? WHERE budget = ? AND mark = ?", (anew, budget, mark))
    changed = 0
    for id_, text in connection.execute("SELECT id, alert FROM alerts").fetchall():
        if found := forgetting.alert(text):
            connection.execute("UPDATE alerts SET alert = ? WHERE id = ?", (found[0], id_))
            sql = "UPDATE deliveries SET reason = ? WHERE alert_id = ? AND INSTR(reason, ?) > 0"
            connection.execute(sql, (ANSWERED, id_, found[1]))
            changed += 1
    return changed
