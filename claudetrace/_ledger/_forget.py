"""Takes out of the ledger what tells who a user was."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from claudetrace._errors import ClaudetraceError
from claudetrace._guard import Guard
from claudetrace._ledger._load import load_orphans
from claudetrace._ledger._measures import TAG_COLUMNS
from claudetrace._ledger._proof import exact_from_day
from claudetrace._ledger._schema import CHUNK_ROWS, NAP_S, opened_ledger, transaction, truncate_log
from claudetrace._ledger._store import rows_of
from claudetrace._ledger._sums import TagValues, exchange
from claudetrace._text import naming

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

FORGOTTEN_COLUMNS = (
    *("user_id", "session_id", "tags", "custom_id"),
    *("request_id", "message_id", "trace_id", "span_id"),
)
CHUNK = "SELECT id FROM calls WHERE user_id = ? ORDER BY started_at LIMIT ?"
FORGET = f"UPDATE calls SET {', '.join(f'{name} = NULL' for name in FORGOTTEN_COLUMNS)} WHERE id = ?"  # noqa: S608 - names of ours
# The days last: they say which are of pruned calls alone.
TAG_TABLES = ("rollup_tag_months", "rollup_tag_weeks", "rollup_tag_days")
KEPT_TAGS = ", ".join(f"'{tag}'" for tag in TAG_COLUMNS if tag != "user")
DAYS = "SELECT COUNT(DISTINCT day) FROM rollup_tag_days WHERE tag = 'user' AND value = ? AND NOT others"
OF_USER = tuple(
    f"DELETE FROM {table} WHERE tag = 'user' AND value = ? AND NOT others"  # noqa: S608 - names of ours
    for table in TAG_TABLES
)
NAMING = (
    "DELETE FROM quarantine WHERE names(line) OR names(reason)",
    "UPDATE unsent SET refused = 'the receiver refuses it' WHERE refused IS NOT NULL AND names(refused)",
)
OWN_SESSIONS = """
    SELECT DISTINCT session_id
    FROM calls AS theirs
    WHERE user_id = ?
        AND session_id IS NOT NULL
        AND NOT EXISTS (
            SELECT 1 FROM calls WHERE session_id = theirs.session_id AND user_id IS NOT theirs.user_id
        )
"""
NAMES_OF_RESULTS = "SELECT batch_id || '/' || custom_id, id FROM calls WHERE user_id = ? AND custom_id IS NOT NULL"
OF_PRUNED = tuple(
    f"""
    DELETE FROM {table} AS sums
    WHERE value = :user
        AND NOT others
        AND tag NOT IN ({KEPT_TAGS})
        AND NOT EXISTS (
            SELECT 1 FROM rollup_tag_days
            WHERE tag = sums.tag AND value = sums.value AND NOT others AND day >= :exact_from
        )
"""  # noqa: S608 - names of ours
    for table in TAG_TABLES
)


def forget(db: Path, user: str, progress: Callable[[int], None] | None = None) -> int:
    """How many calls do not tell any more that they were of `user`. What they cost stays; the user, the session,
    the free tags and the ids of request and trace go, from the file's free pages and its log too. Raises
    `ClaudetraceError` where that cannot be."""
    load_orphans(db, Guard())
    forgotten, found, tag_values = 0, naming(user), TagValues()
    with opened_ledger(db) as connection:
        connection.execute("PRAGMA secure_delete = ON")
        connection.create_function("names", 1, lambda text: found.search(text.encode()) is not None)
        while chunk := _forget_chunk(connection, user, tag_values):
            forgotten += chunk
            if progress is not None:
                progress(forgotten)
            time.sleep(NAP_S)
        with transaction(connection):
            for sql in OF_USER:
                connection.execute(sql, (user,))
            for sql in OF_PRUNED:
                connection.execute(sql, {"user": user, "exact_from": exact_from_day(connection)})
            for sql in NAMING:
                connection.execute(sql)
        # What was removed before, by whomever, is in free pages still.
        connection.execute("VACUUM")
        if not truncate_log(connection):
            raise ClaudetraceError(f"{db}-wal may still name them: a program reads an older state; run this again")
    return forgotten


def days_of(db: Path, user: str) -> int:
    """How many days have sums that name `user`, also of calls that are pruned."""
    load_orphans(db, Guard())
    with opened_ledger(db) as connection:
        (days,) = connection.execute(DAYS, (user,)).fetchone()
    return int(days)


def _forget_chunk(connection: sqlite3.Connection, user: str, tag_values: TagValues) -> int:
    with transaction(connection):
        rows = rows_of(connection, [id_ for (id_,) in connection.execute(CHUNK, (user, CHUNK_ROWS))])
        connection.executemany(FORGET, [(row["id"],) for row in rows])
        exchange(connection, rows, [{**row, **dict.fromkeys(FORGOTTEN_COLUMNS)} for row in rows], tag_values)
    return len(rows)


def known_as(db: Path, user: str) -> tuple[set[str], dict[str, str]]:
    """The sessions that are of nobody but `user`, and what rows of batches are called elsewhere, each with its id."""
    with opened_ledger(db) as connection:
        sessions = {session for (session,) in connection.execute(OWN_SESSIONS, (user,))}
        return sessions, dict(connection.execute(NAMES_OF_RESULTS, (user,)).fetchall())
