"""Processes of several hosts that call the SDK under one budget in a database, for `fleet.py`."""

from __future__ import annotations

import os
from pathlib import Path

import _callers

import claudetrace
from claudetrace._budgets._postgres import _store

CAP_USD = 4
LEASE_S = 5.0


def budget() -> claudetrace.Budget:
    """Holds also for streams that are cut, and where the database is away."""
    return claudetrace.Budget(
        "cap",
        usd=CAP_USD,
        per="total",
        on_exceeded="block",
        on_store_error="closed",
        cut_streams="bound",
        forecast=False,
    )


def meter(folder: str, store: str) -> None:
    """This process on the host whose folder that is, with leases that are soon over."""
    _store.LEASE_S = LEASE_S
    _store.SWEEP["grace_s"], _store.SWEEP_S = 0.5, 1.0
    os.environ["OTEL_RESOURCE_ATTRIBUTES"] = f"host.name={Path(folder).name}"
    claudetrace.instrument(
        db=f"{folder}/ledger.db", budgets=[budget()], budget_store=store, metrics=False, spans="off", alert_to=["log"]
    )


def run_threads(folder: str, store: str, url: str, callers: int) -> None:
    """Calls from so many threads until the budget is used up."""
    meter(folder, store)
    _callers.run_threads(url, callers)


def run_tasks(folder: str, store: str, url: str, callers: int) -> None:
    """The same from so many tasks of one event loop."""
    meter(folder, store)
    _callers.run_tasks(url, callers)
