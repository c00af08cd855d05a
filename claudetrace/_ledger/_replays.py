"""Responses that the ledger has already: told of once more, they are left out, or complete a row that was cut; replayed
by a host, they are free."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from claudetrace._call import Usage, spend_of
from claudetrace._ids import FAMILIES
from claudetrace._ledger import _unsent
from claudetrace._ledger._calls import STORED, rows_of
from claudetrace._ledger._sums import exchange
from claudetrace._pricing._bill import PRICE_COLUMNS
from claudetrace._pricing._row import as_replayed

if TYPE_CHECKING:
    import sqlite3

    from claudetrace._call import Row
    from claudetrace._guard import Guard
    from claudetrace._ledger._sums import TagValues

BILLED = "SELECT 1 FROM calls WHERE message_id = ? AND id <> ? LIMIT 1"
OF_MESSAGE = "SELECT source FROM calls WHERE message_id = ?"
TELLS = ("stop_reason", "tool_calls", "request_id", "usage", "usage_is_final", *PRICE_COLUMNS)
COUNTS = tuple(field.name for field in fields(Usage))
COMPLETE = f"UPDATE calls SET {', '.join(f'{name} = :{name}' for name in (*TELLS, *COUNTS))} WHERE id = :id"  # noqa: S608 - names of ours
CUT = f"{STORED} WHERE message_id = ? AND usage_is_final = 0 AND source IN ('agent_sdk', 'claude_code')"
BALANCING = f"""
    {STORED}
    WHERE session_id = :session_id
        AND model IS :model
        AND message_id IS NULL
        AND started_at >= :started_at
        AND cost_flags LIKE '%"agent_mismatch"%'
"""
NOTE = "INSERT INTO respent (id, picousd) VALUES (?, ?)"
"""For the budgets, which are told as of rows that are priced again."""


def without_known(connection: sqlite3.Connection, rows: list[Row]) -> list[Row]:
    """`rows` without those of responses that their family of sources has told of before, whenever that was."""
    if not any(str(row.get("source")) in FAMILIES for row in rows):
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


def complete(connection: sqlite3.Connection, rows: list[Row], tag_values: TagValues) -> None:
    """Has rows of the ledger that are cut tell what the whole ones among `rows` tell."""
    for row in rows:
        if row.get("usage_is_final") and FAMILIES.get(str(row.get("source"))) == FAMILIES["claude_code"]:
            for cut in [*rows_of(connection, CUT, (row.get("message_id"),))]:
                _complete(connection, cut, row, tag_values)


def _complete(connection: sqlite3.Connection, cut: Row, whole: Row, tag_values: TagValues) -> None:
    new = {**cut, **{name: whole.get(name) for name in (*TELLS, *COUNTS)}}
    # A balancing row stood for what the cut one lacked, and goes.
    balancing = [*rows_of(connection, BALANCING, cut)]
    connection.execute(COMPLETE, new)
    _unsent.drop(connection, [row["id"] for row in balancing], with_rows=True)
    exchange(connection, [cut, *balancing], [new], tag_values)
    change = (spend_of(new) or 0) - sum(spend_of(row) or 0 for row in (cut, *balancing))
    if change:
        connection.execute(NOTE, (cut["id"], change))
