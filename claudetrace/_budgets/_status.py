"""`BudgetState`: what a budget has spent, reserved and left in its window, for people and for metrics."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from claudetrace._alerts._patterns import forecast
from claudetrace._budgets import _connect
from claudetrace._budgets._match import ALL
from claudetrace._call import exact_usd, usd
from claudetrace._clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from decimal import Decimal

    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._connect import StoreName, View
    from claudetrace._budgets._records import Stored
    from claudetrace._guard import Guard

FRESH_S = 5.0
TOP = 5
MOST_KEYS = 100
"""Values of a tag that metrics show, in all the time of a process: each is a series that is kept and billed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetState:
    """A budget in its current window. Amounts are exact; `None` where the budget does not limit them."""

    budget: Budget
    key: str | None
    """The value of the tag, for a budget of which each value has its own, else `None`."""
    spent_usd: Decimal
    reserved_usd: Decimal
    """What is set aside for running calls."""
    held_usd: Decimal
    """What may still be billed for interrupted streams, with `cut_streams="bound"`."""
    left_usd: Decimal | None
    """What is neither spent, reserved nor held."""
    limit_usd: Decimal | None
    granted_usd: Decimal
    """What `claudetrace budgets grant` has added to the limit of this window."""
    spent_calls: int
    reserved_calls: int
    left_calls: int | None
    max_calls: int | None
    granted_calls: int
    blocked_calls: int
    """The number of calls that it has stopped in this window."""
    window_start: datetime
    window_end: datetime | None
    """`None` for `per="total"`."""
    forecast_usd: Decimal | None
    """The spend expected at the end of the window; `None` if it has no end of its own."""
    forecast_calls: int | None

    @property
    def reached(self) -> bool:
        """Whether the limit, in dollars or calls, is spent."""
        of_usd = self.limit_usd is not None and self.spent_usd >= self.limit_usd + self.granted_usd
        return of_usd or (self.max_calls is not None and self.spent_calls >= self.max_calls + self.granted_calls)


def states(view: View, each: Stored, now: float, top: int) -> list[BudgetState]:
    """The budget in its window of now; of one for each value of a tag the `top` that spent most."""
    keys = [ALL] if each.budget.each_tag is None else view.keys(each, each.budget.window(now), top)
    return [state_of(view, each, key, now) for key in keys]


def state_of(view: View, each: Stored, key: str, now: float) -> BudgetState:
    """The budget in its window of now, of one for each value of a tag that of `key`."""
    budget, window = each.budget, each.budget.window(now)
    sums = view.totals(each, key, window)
    limited = budget.raised(sums)
    limit, most = limited.limit_picousd, limited.max_calls
    return BudgetState(
        budget=budget,
        key=key or None,
        spent_usd=exact_usd(sums.picousd),
        reserved_usd=exact_usd(sums.reserved_picousd),
        held_usd=exact_usd(sums.held_picousd),
        left_usd=usd(None if limit is None else max(0, limit - sums.used_picousd)),
        limit_usd=budget.usd,
        spent_calls=sums.calls,
        reserved_calls=sums.reserved_calls,
        left_calls=None if most is None else max(0, most - sums.used_calls),
        max_calls=budget.max_calls,
        granted_usd=exact_usd(sums.granted_picousd),
        granted_calls=sums.granted_calls,
        blocked_calls=sums.blocked_calls,
        window_start=window.start_at,
        window_end=window.end_at,
        forecast_usd=usd(forecast(budget, sums.picousd, window, now)),
        forecast_calls=forecast(budget, sums.calls, window, now),
    )


class Observed:
    """For metrics, each budget as it was moments ago; of one for each value of a tag the few that spent most. Read on
    a connection of its own, so that no caller waits for it. Never raises."""

    def __init__(self, budgets: Sequence[Budget], store: StoreName | None, guard: Guard) -> None:
        self.names = [budget.name for budget in budgets]
        self._store, self._guard = store, guard
        self._states: list[BudgetState] = []
        self._again_at = 0.0
        self._shown: dict[str | None, set[str]] = {}

    def __call__(self) -> list[BudgetState]:
        if self._store is None or monotonic() < self._again_at:
            return self._states
        self._states = []
        with self._guard(f"read the budgets' store {self._store}"):
            if _connect.exists(self._store):
                with _connect.view(self._store) as view:
                    mine = [each for each in view.budgets() if each.budget.name in self.names]
                    found = [state for each in mine for state in states(view, each, time.time(), TOP)]
                self._states = [each for each in found if self._may_show(each)]
        self._again_at = monotonic() + FRESH_S
        return self._states

    def _may_show(self, state: BudgetState) -> bool:
        shown = self._shown.setdefault(state.budget.name, set())
        if state.key is not None and len(shown) < MOST_KEYS:
            shown.add(state.key)
        return state.key is None or state.key in shown
