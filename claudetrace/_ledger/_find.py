"""Finds calls by any of their ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

BY_INDEX = (
    "id = :id",
    "call_id = :id AND id <> call_id",
    "message_id = :id",
    "trace_id = LOWER(:id)",
    "session_id = :id",
    "user_id = :id",
    "batch_id = :id AND operation = 'messages.batches.create'",
    "batch_id = :id AND custom_id IS NOT NULL",
)
# No index has these: they are looked for where no other has the id.
BY_READING = "request_id = :id OR span_id = LOWER(:id)"


def found_by(connection: sqlite3.Connection, id_: str) -> Iterator[dict[str, Any]]:
    """The rows that have this id in any of their columns for one, in the order of time."""
    indexed = " UNION ".join(f"SELECT id FROM calls WHERE {condition}" for condition in BY_INDEX)  # noqa: S608 - SQL of ours
    for ids in (indexed, f"SELECT id FROM calls WHERE {BY_READING}"):  # noqa: S608 - SQL of ours
        sql = f"SELECT * FROM calls WHERE id IN ({ids}) ORDER BY started_at, id"  # noqa: S608 - SQL of ours
        rows = connection.execute(sql, {"id": id_})
        names = [column[0] for column in rows.description]
        if found := rows.fetchall():
            return (dict(zip(names, row, strict=True)) for row in found)
    return iter(())
