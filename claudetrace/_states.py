"""`budgets`: what each budget has spent and has left, for the application to show."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from claudetrace._budgets import _connect
from claudetrace._budgets._match import ALL
from claudetrace._budgets._status import state_of, states
from claudetrace._config import resolve
from claudetrace._errors import ClaudetraceError
from claudetrace._instrument import running
from claudetrace._parse import budget_store
from claudetrace._switch import enabled

if TYPE_CHECKING:
    from os import PathLike

    from claudetrace._budgets._connect import StoreName
    from claudetrace._budgets._records import Stored
    from claudetrace._budgets._status import BudgetState

MOST_KEYS = 100
SETTLE_S = 1.0
"""How long it waits for what has just ended to be counted."""


def budgets(
    name: str | None = None, key: str | None = None, *, store: str | PathLike[str] | None = None
) -> list[BudgetState]:
    """What each budget has spent and has left in its current window.

    for state in claudetrace.budgets("per customer", key="acme"):
        print(state.spent_usd, state.left_usd, state.window_end)

    name: the budget's name. Default: all budgets.
    key: the value of the tag, for a budget of which each value has its own. Default: the 100 that spent most.
    store: where budgets are kept, as `budget_store` of `instrument()`. Default: the running instrumentation's store,
        else the one in the settings.

    Raises `ClaudetraceError` if there is no store, or no such budget. With `CLAUDETRACE_ENABLED=false` the list is
    empty.
    """
    if not enabled():
        return []
    now = time.time()
    with _connect.view(_store() if store is None else budget_store("store", store)) as view:
        found = [each for each in view.budgets() if name in (None, each.budget.name)]
        if name is not None:
            _check(found, name, key, [str(each.budget.name) for each in view.budgets()])
        if key is not None:
            return [state_of(view, each, key, now) for each in found if each.budget.each_tag]
        return [state for each in found for state in states(view, each, now, MOST_KEYS)]


def _store() -> StoreName:
    meter = running()
    if meter is not None and meter.settings.budget_store is not None:
        meter.settle_budgets(SETTLE_S)
        return meter.settings.budget_store
    # Any budget: what is asked is where one would be kept.
    settings = resolve({"budgets": [{"name": "any", "max_calls": 1}]})
    assert settings.budget_store is not None
    return settings.budget_store


def _check(found: list[Stored], name: str, key: str | None, there: list[str]) -> None:
    if not found:
        raise ClaudetraceError(f"there is no budget {name!r}; there is {', '.join(map(repr, there)) or 'none'}")
    if key not in (None, ALL) and found[0].budget.each_tag is None:
        raise ClaudetraceError(f"budget {name!r} is one for all its calls: ask for it without key=")
