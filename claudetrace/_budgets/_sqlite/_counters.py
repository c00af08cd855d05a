"""The counters of the budgets' store: statements that change them, and money as they hold it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claudetrace._budgets._store import Sums, Totals
from claudetrace._call import PICOUSD_PER_USD

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from claudetrace._budgets._windows import Window

PICO = PICOUSD_PER_USD
MOST_PICOUSD = 4 * 10**18
"""What may be reserved at once in one budget: 4 million dollars, so that no sum of ours overflows 64 bits."""

AFTER = """
    spent_usd, spent_picousd, spent_calls, reserved_picousd + held_picousd, reserved_calls,
    granted_usd, granted_picousd, granted_calls
"""
"""A counter after the statement."""
KNOWN = f"""
    SELECT key, slot, {AFTER}
    FROM counters
    WHERE budget_id = ? AND (ends IS NULL OR ends > ?)
    LIMIT ?
"""  # noqa: S608 - names of ours

RESERVE = f"""
    INSERT INTO counters (budget_id, key, slot, ends, reserved_picousd, reserved_calls)
    SELECT ?1, ?2, ?3, ?4, ?5, ?6
    FROM (
        SELECT
            COALESCE(SUM(spent_usd), 0) AS usd,
            COALESCE(SUM(spent_picousd), 0) AS rest,
            COALESCE(SUM(reserved_picousd), 0) + COALESCE(SUM(held_picousd), 0) AS reserved,
            COALESCE(SUM(spent_calls + reserved_calls), 0) AS calls,
            COALESCE(SUM(granted_usd), 0) AS granted_usd,
            COALESCE(SUM(granted_picousd), 0) AS granted_rest,
            COALESCE(SUM(granted_calls), 0) AS granted_calls
        FROM counters
        WHERE budget_id = ?1 AND key = ?2 AND slot BETWEEN ?7 AND ?8
    )
    WHERE reserved + ?5 <= {MOST_PICOUSD}
        AND (?9 IS NULL
            OR ?9 + granted_usd - usd > {MOST_PICOUSD // PICO + 1}
            OR (?9 + granted_usd >= usd
                AND (?9 + granted_usd - usd) * {PICO} + ?10 + granted_rest - rest - reserved - ?5 >= 0))
        AND (?11 IS NULL OR calls + ?6 <= ?11 + granted_calls)
    ON CONFLICT (budget_id, key, slot) DO UPDATE SET
        reserved_picousd = reserved_picousd + excluded.reserved_picousd,
        reserved_calls = reserved_calls + excluded.reserved_calls
    RETURNING {AFTER}
"""  # noqa: S608 - numbers of ours
"""Sets so much aside if the limit holds with it, in one step; no row is changed where it would not."""

EXCHANGE = f"""
    INSERT INTO counters (budget_id, key, slot, ends, spent_usd, spent_picousd, spent_calls)
    VALUES (?1, ?2, ?3, ?4, ?7, ?8, ?9)
    ON CONFLICT (budget_id, key, slot) DO UPDATE SET
        reserved_picousd = reserved_picousd - ?5,
        reserved_calls = reserved_calls - ?6,
        spent_usd = spent_usd + ?7 + (spent_picousd + ?8) / {PICO},
        spent_picousd = (spent_picousd + ?8) % {PICO},
        spent_calls = spent_calls + ?9
    RETURNING {AFTER}
"""  # noqa: S608 - numbers of ours
"""What was reserved, or nothing, becomes what was spent, in one step."""

TOTALS = """
    SELECT
        COALESCE(SUM(spent_usd), 0),
        COALESCE(SUM(spent_picousd), 0),
        COALESCE(SUM(spent_calls), 0),
        COALESCE(SUM(reserved_picousd), 0),
        COALESCE(SUM(reserved_calls), 0),
        MIN(slot) FILTER (WHERE spent_usd + spent_picousd + reserved_picousd + spent_calls + reserved_calls > 0),
        COALESCE(SUM(held_picousd), 0),
        COALESCE(SUM(granted_usd), 0),
        COALESCE(SUM(granted_picousd), 0),
        COALESCE(SUM(granted_calls), 0),
        COALESCE(SUM(blocked_calls), 0)
    FROM counters
    WHERE budget_id = ? AND key = ? AND slot BETWEEN ? AND ?
"""

BLOCK = """
    INSERT INTO counters (budget_id, key, slot, ends, blocked_calls)
    VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (budget_id, key, slot) DO UPDATE SET blocked_calls = blocked_calls + excluded.blocked_calls
"""


def split(picousd: int) -> tuple[int, int]:
    """Whole dollars and the picodollars beside them, these never negative."""
    return divmod(picousd, PICO)


def sums(after: Sequence[int]) -> Sums:
    """A counter, of its columns `AFTER`."""
    usd, rest, calls, reserved, reserved_calls, granted_usd, granted_rest, granted_calls = after
    return Sums(usd * PICO + rest, calls, reserved, reserved_calls, granted_usd * PICO + granted_rest, granted_calls)


def totals(connection: sqlite3.Connection, budget_id: int, key: str, window: Window) -> Totals:
    """What is spent, reserved and held in the window."""
    values = (budget_id, key, window.since, window.until)
    usd, rest, calls, *more = connection.execute(TOTALS, values).fetchone()
    reserved, reserved_calls, oldest, held, granted_usd, granted_rest, granted_calls, blocked = more
    granted = granted_usd * PICO + granted_rest, granted_calls
    return Totals(usd * PICO + rest, calls, reserved, reserved_calls, oldest, held, *granted, blocked)
