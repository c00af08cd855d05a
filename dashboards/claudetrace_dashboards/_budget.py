"""What may be spent in a month: as the budgets' store says, or the plugin's setting."""

from __future__ import annotations

import asyncio
import sqlite3
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, NamedTuple

from claudetrace._budgets import _connect
from claudetrace._budgets._report import Report
from claudetrace._errors import ClaudetraceError
from claudetrace._parse import budget_store
from claudetrace_dashboards._format import PICOUSD

if TYPE_CHECKING:
    from collections.abc import Iterable

    from claudetrace import Budget
    from claudetrace._budgets._connect import StoreName
    from claudetrace_dashboards._panel import Scope

PLUGIN = "claudetrace"
SETTING = "budget_usd_a_month"
STORE = "budget_store"
"""The plugin's setting of where budgets are, if not beside the ledger: as in `instrument()`, `env:NAME` for a URL."""

MOST_KEYS = 20
MOST_ALERTS = 50
MOST_GRANTS = 50


class Limit(NamedTuple):
    """A month's budget for all calls: its name, and how much it is."""

    name: str
    picousd: int


def monthly_limit(scope: Scope, budgets: Iterable[Budget]) -> Limit | None:
    """The setting `budget_usd_a_month` of the plugin, else the first monthly budget of all calls among
    `budgets`; `None` where there is neither, and where filters ask for a part of the calls."""
    if scope.filters.asked():
        return None
    amount = _picousd(_config(scope).get(SETTING))
    if amount is not None:
        return Limit("the setting", amount)
    for budget in budgets:
        if budget.per == "month" and not budget.tags and budget.model is None and budget.limit_picousd:
            return Limit(str(budget.name), budget.limit_picousd)
    return None


def stored_budgets(scope: Scope) -> list[Budget]:
    """The budgets of the ledger's store as they were set last, the latest first; none where it cannot be read."""
    if not scope.ledger.db.path:
        return []
    try:
        store = store_of(scope)
        if not _connect.exists(store):
            return []
        with _connect.view(store) as view:
            found = view.budgets()
    except (ClaudetraceError, sqlite3.Error):
        # The budgets' own commands say what is wrong with it; here there is no line for it.
        return []
    return [each.budget for each in sorted(found, key=lambda each: each.used_at, reverse=True)]


def store_of(scope: Scope) -> StoreName:
    """Where the ledger's budgets are. Raises `ClaudetraceError` for a setting that names nothing."""
    return budget_store(STORE, _config(scope).get(STORE) or f"{scope.ledger.db.path}.budgets")


async def report_of(scope: Scope) -> Report | None:
    """All that the store says, read once for a page; `None` where there is no store.

    Raises `ClaudetraceError` where it cannot be read. A store may be a database elsewhere, so it is read on a thread.
    """
    if scope.budgets is None:
        scope.budgets = asyncio.ensure_future(asyncio.to_thread(_read, store_of(scope), scope.filters.now.timestamp()))
    found: Report | None = await scope.budgets
    return found


def _read(store: StoreName, now: float) -> Report | None:
    if not _connect.exists(store):
        return None
    return Report.read(store, now, top=MOST_KEYS, alerts=MOST_ALERTS, grants=MOST_GRANTS)


def _config(scope: Scope) -> dict[str, Any]:
    # Datasette 1.0 asked for a database's settings does not look further.
    plugin_config = scope.datasette.plugin_config
    config: Any = plugin_config(PLUGIN, database=scope.ledger.name) or plugin_config(PLUGIN)
    return config if isinstance(config, dict) else {}


def _picousd(usd: Any) -> int | None:
    try:
        return int(Decimal(str(usd)) * PICOUSD) if usd is not None and Decimal(str(usd)) > 0 else None
    except (InvalidOperation, ValueError):
        return None
