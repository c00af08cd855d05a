"""Takes out of the budgets' store what tells who a user was. What they spent stays, under a name that tells nothing."""

from __future__ import annotations

import re
import secrets
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from claudetrace._alerts._sentences import named
from claudetrace._budgets._budget import EACH
from claudetrace._budgets._sqlite._file import VERSION, begin, check_version, connect
from claudetrace._call import RESERVED_TAGS
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
MARK = re.compile(r"(\w+(?: [\d.e+-]+)?(?: of \S+)? -?\d+ |loop session )(.*)", re.DOTALL)
"""What a mark begins with, and whose it is."""


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
        found = connection.execute("SELECT id, name, definition FROM budgets").fetchall()
        tags_of = [(id_, name, tag, value) for id_, name, text in found for tag, value in _tags(text)]
        # One name for each: two together would have spent more than the limit of one.
        anew = {key: f"(forgotten {secrets.token_hex(4)})" for key in (user, *sessions)}
        keyed = [sql for (sql,) in connection.execute(KEYED)]
        by_name, changed = {("", key): anew[key] for key in sessions}, 0
        for id_, name, tag, value in tags_of:
            for key in _keys(tag, user, sessions, of) if value == EACH else ():
                by_name[name, key] = anew[key]
                changed += sum(connection.execute(sql, (anew[key], id_, key)).rowcount for sql in keyed)
        changed += _rename_told(connection, by_name)
        connection.executemany(RESULT, [(row_id, *name.split("/", 1)) for name, row_id in rows.items()])
        connection.execute("COMMIT")
        # What was removed before is in free pages still.
        connection.execute("VACUUM")
        ((busy, _, _),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    if busy:
        raise ClaudetraceError(f"{path}-wal may still name them: a program reads an older state; run this again")
    return changed, sorted({name for _, name, tag, value in tags_of if value in _keys(tag, user, sessions, of)})


def _tags(definition: str) -> list[tuple[str, str]]:
    """The tags of a budget, also of one that this version cannot use."""
    return list((orjson.loads(definition).get("tags") or {}).items())


def _keys(tag: str, user: str, sessions: set[str], of: str) -> set[str]:
    """Which values of a tag are forgotten: those that the ledger forgets too."""
    if tag == "session":
        return sessions
    # A user's name may be in any tag of the application's own.
    return {user} if tag == of or (of == "user" and tag not in RESERVED_TAGS) else set()


def _rename_told(connection: sqlite3.Connection, by_name: Mapping[tuple[str, str], str]) -> int:
    """How many alerts were of one of these, by their budgets: they and the marks of what was told name nobody now."""
    for budget, mark in connection.execute("SELECT budget, mark FROM fired").fetchall():
        found = MARK.fullmatch(mark)
        if found and (neutral := by_name.get((budget, found[2]))):
            anew = f"{found[1]}{neutral}"
            connection.execute("UPDATE fired SET mark = ? WHERE budget = ? AND mark = ?", (anew, budget, mark))
    changed = 0
    for id_, text in connection.execute("SELECT id, alert FROM alerts").fetchall():
        said: dict[str, Any] = orjson.loads(text)
        key = said.get("key") or ""
        if neutral := by_name.get((said.get("budget") or "", key)):
            said |= {"key": neutral, "message": str(said.get("message")).replace(named(key), named(neutral))}
            connection.execute("UPDATE alerts SET alert = ? WHERE id = ?", (orjson.dumps(said).decode(), id_))
            # What a receiver says of an alert may say whose it is.
            sql = "UPDATE deliveries SET reason = ? WHERE alert_id = ? AND INSTR(reason, ?) > 0"
            connection.execute(sql, ("its answer named somebody who is forgotten", id_, key))
            changed += 1
    return changed
