"""Processes full of calls of the SDK on one budget; each call is billed by the server that answers it."""

from __future__ import annotations

import _callers

import claudetrace
from claudetrace._budgets._sqlite import _upkeep

CAP_USD = 2
"""Three hundred times what a call may cost."""


def meter(db: str) -> None:
    _upkeep.GRACE_S = 0.5
    budget = claudetrace.Budget(
        "cap", usd=CAP_USD, per="total", on_exceeded="block", on_store_error="closed", thresholds=(), forecast=False
    )
    claudetrace.instrument(db=db, budgets=[budget], metrics=False, spans="off")


def run_threads(db: str, url: str, callers: int) -> None:
    """Calls from so many threads until the budget is used up."""
    meter(db)
    _callers.run_threads(url, callers)


def run_tasks(db: str, url: str, callers: int) -> None:
    """The same from so many tasks of one event loop."""
    meter(db)
    _callers.run_tasks(url, callers)
