"""What cut streams can still be billed: held in budgets with `cut_streams="bound"`, beside spent and reserved."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from claudetrace._budgets._sql import MOST_PICOUSD
from claudetrace._budgets._windows import BUCKETS, ROLLING, window_of
from claudetrace._pricing._row import rest_of_cut

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from claudetrace._budgets._budget import Budget

LONGEST_S = 86_400
"""How long it is held in a window that has no end of its own."""
HOLD = """
    INSERT INTO held (row_id, budget_id, key, slot, picousd, until)
    SELECT ?1, ?2, ?3, ?4, MIN(?5, ?7 - held_picousd), ?6
    FROM counters
    WHERE budget_id = ?2 AND key = ?3 AND slot = ?4 AND held_picousd < ?7
    ON CONFLICT (row_id, budget_id) DO NOTHING
"""
HOLD_AGAIN = "UPDATE held SET picousd = ? WHERE row_id = ? AND budget_id = ? AND picousd > 0"


class Rest(NamedTuple):
    """What the cut stream of one row can be billed beyond the usage that was seen."""

    row_id: str
    at: float
    picousd: int


def rest_of(row: Mapping[str, Any]) -> Rest | None:
    """The rest of a row, or `None` where nothing more can be billed, or where nothing was seen that tells."""
    picousd = rest_of_cut(row)
    return Rest(row["id"], datetime.fromisoformat(row["started_at"]).timestamp(), picousd) if picousd else None


def hold(connection: sqlite3.Connection, budget: Budget, where: tuple[int, str, int], rest: Rest, now: float) -> bool:
    """Holds the rest in a budget that wants it, once for each row, until it is let go. Whether it did so now."""
    if budget.cut_streams != "bound":
        return False
    rolls = budget.per.startswith(ROLLING)
    end = None if rolls else window_of(budget.per, budget.timezone, where[2]).end
    until = int(rest.at) + LONGEST_S if end is None else end
    # So that no sum over the steps of a window overflows.
    most = MOST_PICOUSD // (2 * BUCKETS + 1) if rolls else MOST_PICOUSD
    return until > now and connection.execute(HOLD, (rest.row_id, *where, rest.picousd, until, most)).rowcount == 1


def hold_again(connection: sqlite3.Connection, budget_id: int, row_id: str, rest: Rest | None) -> None:
    """Holds what a row's rest is since it was priced again, unless it was let go."""
    connection.execute(HOLD_AGAIN, (0 if rest is None else rest.picousd, row_id, budget_id))
