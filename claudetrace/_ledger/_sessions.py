"""The most expensive sessions of all: found by what the ledger has added up of each, since the calls are too many."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from claudetrace._ledger._answer import known_span, read_spend
from claudetrace._ledger._dimensions import Filter
from claudetrace._ledger._spend import Spends, less

if TYPE_CHECKING:
    import sqlite3

    from claudetrace._ledger._question import Question

# Each day's first are found by the index, so that the days are few rows each.
DEAREST = """
    WITH RECURSIVE days (day) AS (
        SELECT MIN(day)
        FROM rollup_sessions
        UNION ALL
        SELECT (SELECT MIN(s.day) FROM rollup_sessions AS s WHERE s.day > days.day)
        FROM days
        WHERE days.day IS NOT NULL
    )
    SELECT s.session_id
    FROM days CROSS JOIN rollup_sessions AS s INDEXED BY sessions_dearest
    WHERE s.day = days.day
        AND s.spend_microusd >= COALESCE(
            (
                SELECT o.spend_microusd
                FROM rollup_sessions AS o INDEXED BY sessions_dearest
                WHERE o.day = days.day
                ORDER BY o.spend_microusd DESC
                LIMIT 1 OFFSET :top - 1
            ),
            0
        )
    ORDER BY s.spend_microusd DESC, s.spend_rest_picousd DESC
    LIMIT :top
"""


def read_top_sessions(
    connection: sqlite3.Connection, question: Question, top: int | None, sort: str | None
) -> Spends | None:
    """The `top` most expensive sessions, with all other calls as the rest, those without a session too; `None` where
    the question asks for anything else than the sessions of all time."""
    known = known_span(connection)
    if known is None or top is None or question.names != ("session",) or question.where or sort not in (None, "cost"):
        return None
    if question.span.since > known.since or question.span.until < known.until:
        return None
    found = [session for (session,) in connection.execute(DEAREST, {"top": top})]
    ((sessions,),) = connection.execute("SELECT COUNT(*) FROM rollup_sessions")
    if sessions <= top + 1:
        return None
    rows = read_spend(connection, question._replace(where=(Filter(question.by[0], tuple(found), False),)))
    total = read_spend(connection, question._replace(by=())).total
    rest = replace(less(total, rows.total), dimensions={"session": None}, rest=sessions - len(rows))
    return Spends([*rows, rest], total, "sums and calls", rows.pruned_before)
