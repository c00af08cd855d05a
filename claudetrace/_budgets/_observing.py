"""`Observed`: the budgets as metrics are told of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claudetrace._budgets._reading import states_at
from claudetrace._clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._states import BudgetState
    from claudetrace._guard import Guard

FRESH_S = 5.0
TOP = 5
MOST_KEYS = 100
"""Values of a tag that are told of, in all the time of a process: each is a series that is kept and billed."""


class Observed:
    """Each budget as it was moments ago; of one for each value of a tag the few that spent most.

    Read on a connection of its own, which no caller waits for. Never raises.
    """

    def __init__(self, budgets: Sequence[Budget], path: Path | None, guard: Guard) -> None:
        self._names = [budget.name for budget in budgets]
        self._path = path
        self._guard = guard
        self._states: list[BudgetState] = []
        self._again_at = 0.0
        self._told: dict[str | None, set[str]] = {}

    def __call__(self) -> list[BudgetState]:
        if self._path is None or monotonic() < self._again_at:
            return self._states
        self._states = []
        with self._guard(f"read the budgets' store {self._path}"):
            if self._path.exists():
                self._states = [each for each in states_at(self._path, self._names, TOP) if self._may_tell(each)]
        self._again_at = monotonic() + FRESH_S
        return self._states

    def _may_tell(self, state: BudgetState) -> bool:
        told = self._told.setdefault(state.budget.name, set())
        if state.key is not None and len(told) < MOST_KEYS:
            told.add(state.key)
        return state.key is None or state.key in told
