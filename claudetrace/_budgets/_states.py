"""`BudgetState`: what a budget has spent, reserved and left in its window, for people and for metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from claudetrace._alerts._forecast import forecast
from claudetrace._budgets import _sql
from claudetrace._budgets._match import ALL
from claudetrace._budgets._store import Ledgers, totals
from claudetrace._budgets._windows import Window, window_of
from claudetrace._call import exact_usd, usd

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable
    from datetime import datetime
    from decimal import Decimal

    from claudetrace._budgets._budget import Budget

SHORT_S = 2 * 86_400
"""Hours and days are kept for weeks: there the many counters of earlier windows are not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetState:
    """A budget now. `key` is the tag's value where each has a budget, else `None`."""

    budget: Budget
    key: str | None
    spent_usd: Decimal
    reserved_usd: Decimal
    held_usd: Decimal
    """What cut streams can still be billed, of a budget with `cut_streams="bound"`."""
    left_usd: Decimal | None
    limit_usd: Decimal | None
    spent_calls: int
    reserved_calls: int
    left_calls: int | None
    max_calls: int | None
    window_start: datetime
    window_end: datetime | None
    forecast_usd: Decimal | None
    """What the window comes to at its pace; `None` for one without an end of its own."""
    forecast_calls: int | None

    @property
    def reached(self) -> bool:
        """Whether all of a limit is spent."""
        of_usd = self.limit_usd is not None and self.spent_usd >= self.limit_usd
        return of_usd or (self.max_calls is not None and self.spent_calls >= self.max_calls)


def states(connection: sqlite3.Connection, budget: Budget, budget_id: int, now: float, top: int) -> list[BudgetState]:
    """The budget in its window of now; of one for each value of a tag the `top` that spent most."""
    window = window_of(budget.per, budget.timezone, now)
    keys = _top_keys(connection, budget, budget_id, window, top)
    return [_state(connection, budget, budget_id, key, window, now) for key in keys]


def _top_keys(
    connection: sqlite3.Connection, budget: Budget, budget_id: int, window: Window, top: int
) -> Iterable[str]:
    """The values of the budget's tag that spent most, or `ALL` of one that is for all its calls."""
    if budget.each_tag is None:
        return [ALL]
    values = (budget_id, window.since, window.until, top)
    if window.since == window.until and window.end is not None and window.end - window.start < SHORT_S:
        found = connection.execute(_sql.KEYS_OF_END, (*values, window.end))
    else:
        found = connection.execute(_sql.KEYS, values)
    return [key for (key,) in found.fetchall()]


def _state(
    connection: sqlite3.Connection, budget: Budget, budget_id: int, key: str, window: Window, now: float
) -> BudgetState:
    """What is spent, reserved, held and left in the window."""
    sums, limit, most = totals(connection, budget_id, key, window), budget.limit_picousd, budget.max_calls
    used = sums.picousd + sums.reserved_picousd + sums.held_picousd
    return BudgetState(
        budget=budget,
        key=key or None,
        spent_usd=exact_usd(sums.picousd),
        reserved_usd=exact_usd(sums.reserved_picousd),
        held_usd=exact_usd(sums.held_picousd),
        left_usd=usd(None if limit is None else max(0, limit - used)),
        limit_usd=budget.usd,
        spent_calls=sums.calls,
        reserved_calls=sums.reserved_calls,
        left_calls=None if most is None else max(0, most - sums.calls - sums.reserved_calls),
        max_calls=most,
        window_start=window.start_at,
        window_end=window.end_at,
        forecast_usd=usd(forecast(budget, sums.picousd, window, now)),
        forecast_calls=forecast(budget, sums.calls, window, now),
    )


def spent(
    connection: sqlite3.Connection, ledgers: Ledgers, budget: Budget, key: str, window: Window
) -> tuple[int, int]:
    """The picodollars and calls that are spent in the window."""
    sums = totals(connection, ledgers.terms[str(budget.name)].id, key, window)
    return sums.picousd, sums.calls
