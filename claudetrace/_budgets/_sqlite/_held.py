"""What is held for cut streams, by the ledger's row of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claudetrace._budgets._rests import held_until
from claudetrace._budgets._sqlite._counters import MOST_PICOUSD
from claudetrace._budgets._windows import BUCKETS, ROLLING

if TYPE_CHECKING:
    import sqlite3

    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._store import Rest

HOLD = """
    INSERT INTO held (row_id, budget_id, key, slot, picousd, until)
    SELECT ?1, ?2, ?3, ?4, MIN(?5, ?7 - held_picousd), ?6
    FROM counters
    WHERE budget_id = ?2 AND key = ?3 AND slot = ?4 AND held_picousd < ?7
    ON CONFLICT (row_id, budget_id) DO NOTHING
"""
HOLD_AGAIN = "UPDATE held SET picousd = ? WHERE row_id = ? AND budget_id = ? AND picousd > 0"


def hold(connection: sqlite3.Connection, budget: Budget, where: tuple[int, str, int], rest: Rest, now: float) -> bool:
    """Holds the rest in a budget that wants it, once for each row, until it is let go. Whether it did so now."""
    if (until := held_until(budget, where[2], rest)) <= now:
        return False
    # So that no sum over the steps of a window overflows.
    most = MOST_PICOUSD // (2 * BUCKETS + 1) if budget.per.startswith(ROLLING) else MOST_PICOUSD
    return connection.execute(HOLD, (rest.row_id, *where, rest.picousd, until, most)).rowcount == 1


def hold_again(connection: sqlite3.Connection, budget_id: int, row_id: str, rest: Rest | None) -> None:
    """Holds what a row's rest is since it was priced again, unless it was let go."""
    connection.execute(HOLD_AGAIN, (0 if rest is None else rest.picousd, row_id, budget_id))
