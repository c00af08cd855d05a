"""`Thresholds`: which of them a sum has passed that nobody is known to have told of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claudetrace._alerts._outbox import mark_of
from claudetrace._alerts._rules import threshold_alert
from claudetrace._budgets._windows import ROLLING, window_of

if TYPE_CHECKING:
    from claudetrace._alerts._alert import Alert
    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._store import Totals

MOST_TOLD = 100_000


class Thresholds:
    """What this process knows of those that were passed."""

    def __init__(self) -> None:
        self._told: set[tuple[str | None, str]] = set()

    def due(self, budget: Budget, key: str, slot: int, found: Totals, now: float) -> list[tuple[Alert, str, bool]]:
        """An alert of each, with its mark and whether it is silent: of several the highest alone is told."""
        limited = found.limited(budget)
        limit, most = limited.limit_picousd, limited.max_calls
        part = max(found.picousd / limit if limit else 0.0, found.calls / most if most else 0.0)
        passed, due = [threshold for threshold in budget.thresholds if threshold <= part], []
        for threshold in passed:
            mark = mark_of(limited, f"threshold {threshold:g}", slot, key, of_limit=True)
            if (budget.name, mark) not in self._told:
                window = window_of(budget.per, budget.timezone, now if budget.per.startswith(ROLLING) else slot)
                alert = threshold_alert(limited, key, window, threshold, (found.picousd, found.calls), now)
                due.append((alert, mark, threshold != passed[-1]))
        return due

    def told(self, budget: str | None, mark: str) -> None:
        """That one is told of, by this process or another."""
        if len(self._told) > MOST_TOLD:
            self._told.clear()
        self._told.add((budget, mark))
