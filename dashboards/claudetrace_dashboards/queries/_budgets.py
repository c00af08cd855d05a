"""Budgets against what was spent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlite3

    from claudetrace_dashboards.queries._filters import Filters


def budget_burn_down(connection: sqlite3.Connection, filters: Filters) -> list[dict[str, Any]]:
    """For each budget its name, limit, window and what is left by day; empty where there is no store of budgets."""
    _ = connection, filters
    return []
