"""Takes out of the ledger what tells who a user was."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import orjson

from claudetrace._files import open_file
from claudetrace._guard import Guard
from claudetrace._ledger import _sessions
from claudetrace._ledger._edit import CHUNK_ROWS, NAP_S, opened_ledger, transaction, truncate_log
from claudetrace._ledger._measures import MEASURE_NAMES, TAG_COLUMNS
from claudetrace._ledger._proof import keys_of_view
from claudetrace._ledger._recover import load_orphans
from claudetrace._ledger._rollups import OTHER, TAGGED
from claudetrace._ledger._segments import UNREADABLE

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

FORGOTTEN_COLUMNS = (
    "user_id",
    "session_id",
    "tags",
    "custom_id",
    "request_id",
    "message_id",
    "trace_id",
    "span_id",
)
CHUNK = "SELECT id FROM calls WHERE user_id = ? ORDER BY started_at LIMIT ?"
FORGET = f"UPDATE calls SET {', '.join(f'{name} = NULL' for name in FORGOTTEN_COLUMNS)} WHERE id = ?"  # noqa: S608 - names of ours
KEPT_TAGS = ", ".join(f"'{tag}'" for tag in TAG_COLUMNS if tag != "user")
SUBTRACT = tuple(
    f"""
    INSERT INTO {rollup.table} ({", ".join(rollup.key)}, {", ".join(MEASURE_NAMES)})
    SELECT
        {", ".join(keys_of_view(rollup))},
        {", ".join(f"-SUM(v.{name})" for name in MEASURE_NAMES)}
    FROM measured_call_tags AS v
    WHERE v.id IN (SELECT value FROM json_each(:ids))
        AND v.tag NOT IN ({KEPT_TAGS})
    GROUP BY 1, 2, 3, 4, 5, 6, 7
    ON CONFLICT ({", ".join(rollup.key)}) DO UPDATE SET
        {", ".join(f"{name} = {name} + excluded.{name}" for name in MEASURE_NAMES)}
"""  # noqa: S608 - names of ours
    # The days last: they say which values are named.
    for rollup in reversed(TAGGED)
)
SESSIONS = """
    SELECT session_id FROM calls WHERE session_id IS NOT NULL AND id IN (SELECT value FROM json_each(?))
"""
DAYS = "SELECT COUNT(DISTINCT day) FROM rollup_tag_days WHERE tag = 'user' AND value = ? AND NOT others"
OF_USER = tuple(f"DELETE FROM {rollup.table} WHERE tag = 'user' AND value = ? AND NOT others" for rollup in TAGGED)  # noqa: S608 - names of ours
EMPTY = tuple(f"DELETE FROM {rollup.table} WHERE responses = 0" for rollup in TAGGED)  # noqa: S608 - names of ours


def forget(db: Path, user: str, progress: Callable[[int], None] | None = None) -> int:
    """How many calls do not tell any more that they were of `user`. What they cost stays; the user, the session,
    the free tags and the ids of request and trace go, from the file's free pages and its log too."""
    load_orphans(db, Guard())
    forgotten = 0
    with opened_ledger(db) as connection:
        connection.execute("PRAGMA secure_delete = ON")
        while chunk := _forget_chunk(connection, user):
            forgotten += chunk
            if progress is not None:
                progress(forgotten)
            time.sleep(NAP_S)
        with transaction(connection):
            for sql in OF_USER:
                connection.execute(sql, (user,))
            for sql in EMPTY:
                connection.execute(sql)
            connection.execute("DELETE FROM quarantine WHERE INSTR(line, ?) > 0", (_as_json(user),))
        truncate_log(connection)
    _forget_unreadable(db.with_name(f"{db.name}.spool") / UNREADABLE, user)
    return forgotten


def days_of(db: Path, user: str) -> int:
    """How many days have sums that name `user`, also of calls that are pruned."""
    load_orphans(db, Guard())
    with opened_ledger(db) as connection:
        (days,) = connection.execute(DAYS, (user,)).fetchone()
    return int(days)


def _forget_chunk(connection: sqlite3.Connection, user: str) -> int:
    with transaction(connection):
        ids = [id_ for (id_,) in connection.execute(CHUNK, (user, CHUNK_ROWS))]
        as_json = orjson.dumps(ids).decode()
        sessions = [session for (session,) in connection.execute(SESSIONS, (as_json,))]
        began = _sessions.first_at(connection, sessions)
        for sql in SUBTRACT:
            connection.execute(sql, {"ids": as_json, "other": OTHER})
        connection.executemany(FORGET, [(id_,) for id_ in ids])
        _sessions.refresh(connection, began)
    return len(ids)


def _as_json(user: str) -> str:
    return orjson.dumps(user).decode()


def _forget_unreadable(path: Path, user: str) -> None:
    """Drops the lines that name `user` from those that could not be read."""
    if not path.exists():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if user.encode() not in line]
    if len(kept) < len(lines):
        anew = path.with_name(f"{path.name}.{os.getpid()}.new")
        with os.fdopen(open_file(anew, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as opened:
            opened.write(b"".join(kept))
        anew.replace(path)
