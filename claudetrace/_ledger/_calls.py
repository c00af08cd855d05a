"""Reads calls one by one: those with an id, those of a time, those that came last."""

from __future__ import annotations

from contextlib import closing
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

import orjson

from claudetrace._call import CALL_FIELDS, Call
from claudetrace._ledger._schema import connect_to_read
from claudetrace._pricing._ids import same_model

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

    from claudetrace._call import Row
    from claudetrace._ledger._question import Question

GENERATED = ("cost_usd", "spend_picousd")
COLUMNS = tuple(name for name in CALL_FIELDS if name not in GENERATED)
"""What is stored of a row."""
STORED = f"SELECT {', '.join(COLUMNS)} FROM calls"  # noqa: S608 - names of ours
INDEXED_IDS = {
    "call": "id = :id",
    "further responses": "call_id = :id AND id <> call_id",
    "message": "message_id = :id",
    "trace": "trace_id = LOWER(:id)",
    "session": "session_id = :id",
    "user": "user_id = :id",
    "batch": "batch_id = :id AND operation = 'messages.batches.create'",
    "results of the batch": "batch_id = :id AND custom_id IS NOT NULL",
}
OTHER_IDS = "request_id = :id OR span_id = LOWER(:id)"
"""The ids without an index, which take a scan: looked up only where no other id matches."""
RECENT_ROWS = 20_000
"""How far back to look for the answers of a model that is called rarely."""
ENOUGH_CALLS = 200
BUSY_MS = 200
RECENT = """
    SELECT model, model_requested, output_tokens
    FROM (
        SELECT operation, model, model_requested, feature, outcome, usage_is_final, output_tokens
        FROM calls
        ORDER BY started_at DESC
        LIMIT ?
    )
    WHERE feature IS ?
        AND operation = 'messages.create'
        AND outcome = 'ok'
        AND usage_is_final = 1
        AND output_tokens IS NOT NULL
"""


def rows_of(connection: sqlite3.Connection, sql: str, values: Any = ()) -> Iterator[dict[str, Any]]:
    """The rows that `sql` selects, each as a dict of its columns, one at a time."""
    found = connection.execute(sql, values)
    names = [column[0] for column in found.description]
    for row in found:
        yield dict(zip(names, row, strict=True))


def told(row: Row) -> Row:
    """`row` without the columns that are NULL."""
    return {name: value for name, value in row.items() if value is not None}


def rows_with_ids(connection: sqlite3.Connection, ids: list[str]) -> list[Row]:
    """The rows of `ids` as the table has them."""
    sql = f"{STORED} WHERE id IN (SELECT value FROM json_each(?))"  # noqa: S608 - SQL of ours
    return [*rows_of(connection, sql, (orjson.dumps(ids).decode(),))]


def rows_asked(connection: sqlite3.Connection, question: Question) -> Iterator[dict[str, Any]]:
    """The rows that the question selects, oldest first."""
    condition, values = question.of_rows()
    return rows_of(connection, f"SELECT * FROM calls WHERE {condition} ORDER BY started_at, id", values)  # noqa: S608 - SQL of ours


def calls_with_id(connection: sqlite3.Connection, id_: str) -> list[Call]:
    """The calls with this id of a request, message, trace, span, session, user, batch or call, oldest first."""
    indexed = " UNION ".join(f"SELECT id FROM calls WHERE {condition}" for condition in INDEXED_IDS.values())  # noqa: S608 - SQL of ours
    for ids in (indexed, f"SELECT id FROM calls WHERE {OTHER_IDS}"):  # noqa: S608 - SQL of ours
        sql = f"SELECT * FROM calls WHERE id IN ({ids}) ORDER BY started_at, id"  # noqa: S608 - SQL of ours
        if found := [*map(Call.from_row, rows_of(connection, sql, {"id": id_}))]:
            return found
    return []


def last_row(connection: sqlite3.Connection) -> int:
    """The rowid of the row that was stored last."""
    return int(connection.execute("SELECT COALESCE(MAX(rowid), 0) FROM calls").fetchone()[0])


def calls_after(connection: sqlite3.Connection, row: int) -> tuple[list[Call], int]:
    """The calls stored after the row with that rowid, in the order in which they were stored, and the last rowid."""
    rows = [*rows_of(connection, "SELECT rowid, * FROM calls WHERE rowid > ? ORDER BY rowid", (row,))]
    # Pruning the newest rows, and VACUUM, give rowids out again.
    return [*map(Call.from_row, rows)], rows[-1]["rowid"] if rows else min(row, last_row(connection))


def median_output_tokens(db: Path, model: str, feature: str | None) -> int | None:
    """The median `output_tokens` of recent calls to `model`, under any of its names, with this tag `feature` or without
    one; `None` without such calls. Changes nothing in the ledger; raises `sqlite3.Error`."""
    is_it = cache(lambda served, asked: same_model(served, model) or asked == model)
    with closing(connect_to_read(db)) as connection:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        recent = connection.execute(RECENT, (RECENT_ROWS, feature))
        found = sorted(islice((tokens for *names, tokens in recent if is_it(*names)), ENOUGH_CALLS))
    return found[(len(found) - 1) // 2] if found else None
