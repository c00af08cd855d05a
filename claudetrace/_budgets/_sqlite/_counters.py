"""The counters of the budgets' store, money as they hold it, and `Work`: one transaction that changes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from claudetrace._budgets._totals import Totals
from claudetrace._call import PICOUSD_PER_USD

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence

Where: TypeAlias = tuple[int, str, int]
"""A counter: its budget, key and slot."""
Said: TypeAlias = "Mapping[str, Any]"

PICO = PICOUSD_PER_USD
MOST_PICOUSD = 4 * 10**18
"""What may be reserved at once in one budget: 4 million dollars, so that no sum of ours overflows 64 bits."""
NOTHING = (0, 0)

COLUMNS = (
    *("spent_usd", "spent_picousd", "spent_calls", "reserved_picousd", "reserved_calls", "held_picousd"),
    *("granted_usd", "granted_picousd", "granted_calls"),
)
"""What `counted` takes."""
AFTER = ", ".join(COLUMNS)
"""A counter after the statement."""
SUMS = ", ".join(f"COALESCE(SUM({column}), 0) AS {column}" for column in COLUMNS)
"""Several."""
KNOWN = f"""
    SELECT key, slot, {AFTER}
    FROM counters
    WHERE budget_id = ? AND (ends IS NULL OR ends > ?)
    LIMIT ?
"""  # noqa: S608 - names of ours

RESERVE = f"""
    INSERT INTO counters (budget_id, key, slot, ends, reserved_picousd, reserved_calls)
    SELECT ?1, ?2, ?3, ?4, ?5, ?6
    FROM (SELECT {SUMS} FROM counters WHERE budget_id = ?1 AND key = ?2 AND slot BETWEEN ?7 AND ?8)
    WHERE reserved_picousd + held_picousd + ?5 <= {MOST_PICOUSD}
        AND (?9 IS NULL
            OR ?9 + granted_usd - spent_usd > {MOST_PICOUSD // PICO + 1}
            OR (?9 + granted_usd >= spent_usd
                AND (?9 + granted_usd - spent_usd) * {PICO} + ?10 + granted_picousd - spent_picousd
                    >= reserved_picousd + held_picousd + ?5))
        AND (?11 IS NULL OR spent_calls + reserved_calls + ?6 <= ?11 + granted_calls)
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

TOTALS = f"""
    SELECT
        {SUMS},
        MIN(slot) FILTER (WHERE spent_usd + spent_picousd + reserved_picousd + spent_calls + reserved_calls > 0),
        COALESCE(SUM(blocked_calls), 0)
    FROM counters
    WHERE budget_id = ? AND key = ? AND slot BETWEEN ? AND ?
"""  # noqa: S608 - names of ours


class Work:
    """One transaction of a process. A step takes it with what is said, and gives its answer."""

    __slots__ = ("changed", "connection", "now", "owner")

    def __init__(self, connection: sqlite3.Connection, now: float, owner: Callable[[], str]) -> None:
        self.connection, self.now, self.owner = connection, now, owner
        self.changed: dict[Where, Sequence[int]] = {}
        """The counters that were changed, as they are now."""

    def run(self, sql: str, *values: object) -> list[Any]:
        """All rows of the answer. To its end: a statement that is not may hold up the commit."""
        return self.connection.execute(sql, values).fetchall()

    def count(self, sql: str, *values: object) -> int:
        """How many rows were changed."""
        return self.connection.execute(sql, values).rowcount

    def change(self, where: Where, reserved: tuple[int, int], spent: tuple[int, int], end: int | None = None) -> None:
        """Takes from what is reserved and adds to what is spent, dollars and calls each."""
        (self.changed[where],) = self.run(EXCHANGE, *where, end, *reserved, *split(spent[0]), spent[1])

    def totals(self, budget_id: int, key: str, since: int, until: int) -> Totals:
        """What is spent, reserved and held in a window."""
        ((*sums, oldest, blocked),) = self.run(TOTALS, budget_id, key, since, until)
        return counted(sums)._replace(oldest_slot=oldest, blocked_calls=blocked)


def split(picousd: int) -> tuple[int, int]:
    """Whole dollars and the picodollars beside them, these never negative."""
    return divmod(picousd, PICO)


def counted(after: Sequence[int]) -> Totals:
    """A counter, or several, of the columns `AFTER`."""
    usd, rest, calls, reserved, reserved_calls, held, granted_usd, granted_rest, granted_calls = after
    granted = granted_usd * PICO + granted_rest
    return Totals(usd * PICO + rest, calls, reserved, reserved_calls, None, held, granted, granted_calls)
