"""What cut streams can still be billed: held in budgets with `cut_streams="bound"`, beside spent and reserved."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from claudetrace._budgets._store import Rest
from claudetrace._budgets._windows import ROLLING, window_of
from claudetrace._pricing._row import rest_of_cut

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claudetrace._budgets._budget import Budget

LONGEST_S = 86_400
"""How long it is held in a window that has no end of its own."""


def rest_of(row: Mapping[str, Any]) -> Rest | None:
    """The rest of a row, or `None` where nothing more can be billed, or where nothing was seen that tells."""
    picousd = rest_of_cut(row)
    return Rest(row["id"], datetime.fromisoformat(row["started_at"]).timestamp(), picousd) if picousd else None


def held_until(budget: Budget, slot: int, rest: Rest) -> int:
    """Until when a budget holds the rest, 0 for one that does not."""
    if budget.cut_streams != "bound":
        return 0
    end = None if budget.per.startswith(ROLLING) else window_of(budget.per, budget.timezone, slot).end
    return int(rest.at) + LONGEST_S if end is None else end
