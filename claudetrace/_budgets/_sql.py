"""The statements of the budgets' store, and money as it holds it."""

from __future__ import annotations

from claudetrace._call import PICOUSD_PER_USD

PICO = PICOUSD_PER_USD
MOST_PICOUSD = 4 * 10**18
"""What may be reserved at once in one budget: 4 million dollars, so that no sum of ours overflows 64 bits."""

AFTER = "spent_usd, spent_picousd, spent_calls, reserved_picousd + held_picousd, reserved_calls"
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
            COALESCE(SUM(spent_calls + reserved_calls), 0) AS calls
        FROM counters
        WHERE budget_id = ?1 AND key = ?2 AND slot BETWEEN ?7 AND ?8
    )
    WHERE reserved + ?5 <= {MOST_PICOUSD}
        AND (?9 IS NULL
            OR ?9 - usd > {MOST_PICOUSD // PICO + 1}
            OR (?9 >= usd AND (?9 - usd) * {PICO} + ?10 - rest - reserved - ?5 >= 0))
        AND (?11 IS NULL OR calls + ?6 <= ?11)
    ON CONFLICT (budget_id, key, slot) DO UPDATE SET
        reserved_picousd = reserved_picousd + excluded.reserved_picousd,
        reserved_calls = reserved_calls + excluded.reserved_calls
    RETURNING {AFTER}
"""  # noqa: S608 - numbers of ours
"""Sets so much aside if the limit holds with it, in one step; no row is changed where it would not."""

UNRESERVE = """
    UPDATE counters
    SET reserved_picousd = reserved_picousd - ?4, reserved_calls = reserved_calls - ?5
    WHERE budget_id = ?1 AND key = ?2 AND slot = ?3
"""

OPEN = """
    INSERT INTO open (call_id, budget_id, key, slot, owner, picousd, calls)
    VALUES (?, ?, ?, ?, ?, ?, ?)
"""
OPEN_COLUMNS = "call_id, budget_id, key, slot, picousd, calls, seen_rows, seen_picousd"
CLOSE = f"DELETE FROM open WHERE call_id = ? RETURNING {OPEN_COLUMNS}"  # noqa: S608 - names of ours

CLOSE_ONE = "DELETE FROM open WHERE call_id = ? AND budget_id = ? RETURNING key, slot"

CHARGE = f"""
    INSERT INTO counters (budget_id, key, slot, ends, spent_usd, spent_picousd, spent_calls)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
    ON CONFLICT (budget_id, key, slot) DO UPDATE SET
        spent_usd = spent_usd + ?5 + (spent_picousd + ?6) / {PICO},
        spent_picousd = (spent_picousd + ?6) % {PICO},
        spent_calls = spent_calls + ?7
    RETURNING {AFTER}
"""  # noqa: S608 - numbers of ours

EXCHANGE = f"""
    UPDATE counters SET
        reserved_picousd = reserved_picousd - ?4,
        reserved_calls = reserved_calls - ?5,
        spent_usd = spent_usd + ?6 + (spent_picousd + ?7) / {PICO},
        spent_picousd = (spent_picousd + ?7) % {PICO},
        spent_calls = spent_calls + ?8
    WHERE budget_id = ?1 AND key = ?2 AND slot = ?3
    RETURNING {AFTER}
"""  # noqa: S608 - numbers of ours
"""What was reserved becomes what was spent, in one step."""

SETTLED = """
    INSERT INTO settled (call_id, budget_id, key, slot, picousd, calls, basis, at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (call_id, budget_id) DO UPDATE SET
        picousd = excluded.picousd, calls = excluded.calls, basis = excluded.basis, at = excluded.at
"""
SETTLED_OF = "SELECT budget_id, key, slot, picousd, calls, basis FROM settled WHERE call_id = ?"
OPEN_OF = f"SELECT {OPEN_COLUMNS} FROM open WHERE call_id = ?"  # noqa: S608 - names of ours
BATCH_OF = f"SELECT {OPEN_COLUMNS} FROM open WHERE batch_id = ?"  # noqa: S608 - names of ours

TOTALS = """
    SELECT
        COALESCE(SUM(spent_usd), 0),
        COALESCE(SUM(spent_picousd), 0),
        COALESCE(SUM(spent_calls), 0),
        COALESCE(SUM(reserved_picousd), 0),
        COALESCE(SUM(reserved_calls), 0),
        MIN(slot),
        COALESCE(SUM(held_picousd), 0)
    FROM counters
    WHERE budget_id = ? AND key = ? AND slot BETWEEN ? AND ?
        AND (spent_usd + spent_picousd + reserved_picousd + spent_calls + reserved_calls > 0)
"""
KEYS = """
    SELECT key
    FROM counters
    WHERE budget_id = ?1 AND slot BETWEEN ?2 AND ?3
    GROUP BY key
    ORDER BY SUM(spent_usd + spent_picousd / 1e12 + reserved_picousd / 1e12) DESC, SUM(spent_calls) DESC
    LIMIT ?4
"""
KEYS_OF_END = KEYS.replace("FROM counters\n", "FROM counters INDEXED BY counters_by_end\n").replace(
    "slot BETWEEN", "ends = ?5 AND slot BETWEEN"
)
"""The same of the window that ends at ?5, by its index: what is dearer for a counter and never reads another's."""


def split(picousd: int) -> tuple[int, int]:
    """Whole dollars and the picodollars beside them, these never negative."""
    return divmod(picousd, PICO)
