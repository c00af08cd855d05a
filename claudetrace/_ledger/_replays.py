"""Which responses the ledger has already: told of once more, they are left out; replayed by a host, they are free."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claudetrace._ids import FAMILIES
from claudetrace._pricing._row import as_replayed

if TYPE_CHECKING:
    import sqlite3

    from claudetrace._call import Row
    from claudetrace._guard import Guard

BILLED = "SELECT 1 FROM calls WHERE message_id = ? AND id <> ? LIMIT 1"

OF_MESSAGE = "SELECT source FROM calls WHERE message_id = ?"


def without_known(connection: sqlite3.Connection, rows: list[Row]) -> list[Row]:
    """`rows` without those of responses that their family of sources has told of before, whenever that was."""
    if not any(row.get("source") in FAMILIES for row in rows):
        return rows
    new: dict[tuple[str, str], str] = {}
    return [row for row in rows if not _is_known(connection, row, new)]


def _is_known(connection: sqlite3.Connection, row: Row, new: dict[tuple[str, str], str]) -> bool:
    family, message_id = FAMILIES.get(str(row.get("source"))), row.get("message_id")
    if family is None or not isinstance(message_id, str):
        return False
    if new.setdefault((family, message_id), str(row.get("id"))) != str(row.get("id")):
        return True
    found = connection.execute(OF_MESSAGE, (message_id,)).fetchall()
    return any(FAMILIES.get(source) == family for (source,) in found)


def decided(connection: sqlite3.Connection, rows: list[Row], guard: Guard) -> list[Row]:
    """`rows`, those among them that a host replayed at no cost. In the transaction that stores them, so that of two
    processes one pays."""
    if not any(map(_may_be_replayed, rows)):
        return rows
    first: dict[str, str] = {}
    return [_decided(connection, row, first, guard) for row in rows]


def _decided(connection: sqlite3.Connection, row: Row, first: dict[str, str], guard: Guard) -> Row:
    message_id, row_id = row.get("message_id"), row.get("id")
    if not isinstance(message_id, str) or not isinstance(row_id, str):
        return row
    billed = first.setdefault(message_id, row_id) != row_id
    if _may_be_replayed(row):
        with guard("see whether a response was billed before"):
            billed = billed or connection.execute(BILLED, (message_id, row_id)).fetchone() is not None
            return as_replayed(row, replayed=billed)
    return row


def _may_be_replayed(row: Row) -> bool:
    # By its text: all rows of a batch pass here, and hardly any of them is of such a host.
    terms = row.get("pricing_terms")
    return isinstance(terms, str) and '"replays":true' in terms
