"""Takes out of the ledger what tells of a user, a customer, a session, or a value of a tag."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, NamedTuple

import orjson

from claudetrace._call import RESERVED_TAGS
from claudetrace._errors import ClaudetraceError
from claudetrace._guard import Guard
from claudetrace._ledger._calls import STORED, rows_of, rows_with_ids
from claudetrace._ledger._load import load_orphans
from claudetrace._ledger._measures import TAG_COLUMNS
from claudetrace._ledger._rollups import exact_from_day
from claudetrace._ledger._schema import CHUNK_ROWS, NAP_S, opened_ledger, transaction, truncate_log
from claudetrace._ledger._sums import TagValues, exchange
from claudetrace._text import naming

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

    from claudetrace._call import Row

IDS = ("custom_id", "request_id", "message_id", "trace_id", "span_id")
"""What leads to a single call elsewhere."""
FORGOTTEN = {
    "user": ("user_id", "session_id", "tags", *IDS),
    "customer": ("customer", "user_id", "session_id", "tags", *IDS),
    "session": ("session_id", *IDS),
}
"""What a call no longer tells of each. A free tag is taken out of the others."""
# The days last: they say which are of pruned calls alone.
TAG_TABLES = ("rollup_tag_months", "rollup_tag_weeks", "rollup_tag_days")
KEPT_TAGS = ", ".join(f"'{tag}'" for tag in TAG_COLUMNS if tag != "user")
DAYS = "SELECT COUNT(DISTINCT day) FROM rollup_tag_days WHERE tag = :tag AND value = :value AND NOT others"
OF_VALUE = tuple(f"DELETE FROM {table} WHERE tag = :tag AND value = :value AND NOT others" for table in TAG_TABLES)  # noqa: S608 - names of ours
NAMING = (
    "DELETE FROM quarantine WHERE names(line) OR names(reason)",
    "UPDATE unsent SET refused = 'the receiver refuses it' WHERE refused IS NOT NULL AND names(refused)",
)
OF_PRUNED = tuple(
    f"""
    DELETE FROM {table} AS sums
    WHERE value = :value
        AND NOT others
        AND tag NOT IN ({KEPT_TAGS})
        AND NOT EXISTS (
            SELECT 1 FROM rollup_tag_days
            WHERE tag = sums.tag AND value = sums.value AND NOT others AND day >= :exact_from
        )
"""  # noqa: S608 - names of ours
    for table in TAG_TABLES
)


class Whom(NamedTuple):
    """Who or what is forgotten: a value of a tag, by the name that the ledger has for it."""

    tag: str
    value: str

    @property
    def theirs(self) -> str:
        """Which rows of `calls` are of it, in SQL."""
        if self.tag in RESERVED_TAGS:
            return f"{RESERVED_TAGS[self.tag]} = :value"
        return "EXISTS (SELECT 1 FROM json_each(tags) AS free WHERE free.key = :tag AND free.value = :value)"

    @property
    def left(self) -> dict[str, str]:
        """The columns that a call of it has no longer, each with what it has then, in SQL."""
        if self.tag not in RESERVED_TAGS:
            return {**dict.fromkeys(IDS, "NULL"), "tags": WITHOUT_TAG}
        return dict.fromkeys(FORGOTTEN.get(self.tag) or (RESERVED_TAGS[self.tag], *IDS), "NULL")

    @property
    def in_rows(self) -> re.Pattern[bytes]:
        """What finds a row of it, as the journal has rows."""
        if self.tag in RESERVED_TAGS:
            return re.compile(rb'"%b":\s*' % RESERVED_TAGS[self.tag].encode() + re.escape(orjson.dumps(self.value)))
        inner = orjson.dumps({self.tag: self.value}).decode()[1:-1]
        return re.compile(re.escape(orjson.dumps(inner)[1:-1]))

    @property
    def in_text(self) -> re.Pattern[bytes]:
        """What finds a line that names it. The value of a free tag is too common a word to be found by itself."""
        return naming(self.value) if self.tag in FORGOTTEN else self.in_rows


WITHOUT_TAG = """(
    SELECT JSON_GROUP_OBJECT(free.key, free.value)
    FROM json_each(tags) AS free
    WHERE free.key <> :tag
)"""


def forget(db: Path, whom: Whom, progress: Callable[[int], None] | None = None) -> int:
    """How many calls do not tell any more that they were of `whom`. What they cost stays; what told it goes, and the
    ids that lead to the calls elsewhere, from the file's free pages and its log too. Raises `ClaudetraceError` where
    that cannot be."""
    load_orphans(db, Guard())
    forgotten, found, tag_values, since = 0, whom.in_text, TagValues(), ""
    with opened_ledger(db) as connection:
        connection.execute("PRAGMA secure_delete = ON")
        connection.create_function("names", 1, lambda text: found.search(text.encode()) is not None)
        while rows := _forget_chunk(connection, whom, tag_values, since):
            forgotten += len(rows)
            since = max(row["started_at"] for row in rows)
            if progress is not None:
                progress(forgotten)
            time.sleep(NAP_S)
        with transaction(connection):
            asked = {**whom._asdict(), "exact_from": exact_from_day(connection)}
            for sql in (*OF_VALUE, *(OF_PRUNED if whom.tag == "user" else ()), *NAMING):
                connection.execute(sql, asked)
        # What was removed before, by whomever, is in free pages still.
        connection.execute("VACUUM")
        if not truncate_log(connection):
            raise ClaudetraceError(f"{db}-wal may still name them: a program reads an older state; run this again")
    return forgotten


def told_of(db: Path, whom: Whom) -> tuple[int, int]:
    """How many calls tell of `whom`, and how many days have sums that do, also of calls that are pruned."""
    load_orphans(db, Guard())
    with opened_ledger(db) as connection:
        (calls,) = connection.execute(f"SELECT COUNT(*) FROM calls WHERE {whom.theirs}", whom._asdict()).fetchone()  # noqa: S608 - SQL of ours
        (days,) = connection.execute(DAYS, whom._asdict()).fetchone()
    return int(calls), int(days)


def _forget_chunk(connection: sqlite3.Connection, whom: Whom, tag_values: TagValues, since: str) -> list[Row]:
    asked = {**whom._asdict(), "since": since, "rows": CHUNK_ROWS}
    with transaction(connection):
        sql = f"{STORED} WHERE {whom.theirs} AND started_at >= :since ORDER BY started_at LIMIT :rows"
        before = [*rows_of(connection, sql, asked)]
        ids = [row["id"] for row in before]
        changed = ", ".join(f"{column} = {value}" for column, value in whom.left.items())
        forget_one = f"UPDATE calls SET {changed} WHERE id = :id"  # noqa: S608 - names of ours
        connection.executemany(forget_one, [{**asked, "id": id_} for id_ in ids])
        exchange(connection, before, rows_with_ids(connection, ids), tag_values)
    return before


def known_as(db: Path, whom: Whom) -> tuple[set[str], dict[str, str]]:
    """The sessions that are of nobody else, and what rows of batches are called elsewhere, each with its id."""
    if whom.tag == "session":
        sessions_sql = "SELECT :value"
    elif whom.tag in FORGOTTEN:
        column = RESERVED_TAGS[whom.tag]
        sessions_sql = f"""
            SELECT DISTINCT session_id
            FROM calls AS theirs
            WHERE {column} = :value
                AND session_id IS NOT NULL
                AND NOT EXISTS (
                    SELECT 1 FROM calls WHERE session_id = theirs.session_id AND {column} IS NOT theirs.{column}
                )
        """  # noqa: S608 - names of ours
    else:
        sessions_sql = "SELECT 1 WHERE FALSE"
    named = f"SELECT batch_id || '/' || custom_id, id FROM calls WHERE {whom.theirs} AND custom_id IS NOT NULL"  # noqa: S608 - SQL of ours
    with opened_ledger(db) as connection:
        sessions = {session for (session,) in connection.execute(sessions_sql, whom._asdict())}
        return sessions, dict(connection.execute(named, whom._asdict()).fetchall())
