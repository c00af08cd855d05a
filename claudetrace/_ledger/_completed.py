"""Rows of agents' responses that were cut, completed by a later telling that has the API's last word."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from claudetrace._call import spend_of
from claudetrace._ids import FAMILIES
from claudetrace._ledger._sums import exchange
from claudetrace._pricing._bill import PRICE_COLUMNS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from claudetrace._call import Row
    from claudetrace._ledger._sums import TagValues

TELLS = ("stop_reason", "tool_calls", "request_id", "usage", "usage_is_final", *PRICE_COLUMNS)
COUNTS = (
    *("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "output_tokens"),
    *("thinking_tokens", "web_search_requests", "service_tier", "speed", "inference_geo"),
)
COMPLETE = f"UPDATE calls SET {', '.join(f'{name} = :{name}' for name in (*TELLS, *COUNTS))} WHERE id = :id"  # noqa: S608 - names of ours
CUT = "SELECT id FROM calls WHERE message_id = ? AND usage_is_final = 0 AND source IN ('agent_sdk', 'claude_code')"
BALANCING = """
    SELECT id
    FROM calls
    WHERE session_id = :session_id
        AND model IS :model
        AND message_id IS NULL
        AND started_at >= :started_at
        AND cost_flags LIKE '%"agent_mismatch"%'
"""
NOTE = "INSERT INTO respent (id, picousd) VALUES (?, ?)"
"""For the budgets, which are told as of rows that are priced again."""


class Completion(NamedTuple):
    """A row of the ledger that is cut, and the same response whole."""

    cut: Row
    whole: Row


def completions(
    connection: sqlite3.Connection, rows: list[Row], rows_of: Callable[[sqlite3.Connection, list[str]], list[Row]]
) -> list[Completion]:
    """What of the ledger the known ones among `rows` complete."""
    pairs = []
    for row in rows:
        if row.get("usage_is_final") and FAMILIES.get(str(row.get("source"))) == FAMILIES["claude_code"]:
            cut = [row_id for (row_id,) in connection.execute(CUT, (row.get("message_id"),))]
            pairs += [Completion(each, row) for each in rows_of(connection, cut)]
    return pairs


def complete(
    connection: sqlite3.Connection,
    found: Completion,
    rows_of: Callable[[sqlite3.Connection, list[str]], list[Row]],
    tag_values: TagValues,
) -> None:
    """Has the row that is cut tell what the whole one tells. A balancing row stood for what it lacked, and goes."""
    old = found.cut
    new = {**old, **{name: found.whole.get(name) for name in (*TELLS, *COUNTS)}}
    balancing = rows_of(connection, [row_id for (row_id,) in connection.execute(BALANCING, old)])
    connection.execute(COMPLETE, new)
    connection.executemany("DELETE FROM calls WHERE id = ?", [(row["id"],) for row in balancing])
    connection.executemany("DELETE FROM unsent WHERE id = ?", [(row["id"],) for row in balancing])
    exchange(connection, [old, *balancing], [new], tag_values)
    change = (spend_of(new) or 0) - sum(spend_of(row) or 0 for row in (old, *balancing))
    if change:
        connection.execute(NOTE, (old["id"], change))
