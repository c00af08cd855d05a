"""What tests that call the SDK under budgets share: a question, what it costs, and what the budgets say."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import claudetrace
from claudetrace._budgets._budgets import PATIENT_S
from claudetrace._budgets._records import StoreError
from claudetrace._budgets._writer import nothing
from claudetrace._demo import _wire
from claudetrace._instrument import running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from claudetrace._budgets._status import BudgetState

MODEL = "claude-sonnet-5"
ASK: dict[str, Any] = {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": "Say hello."}]}
HELLO = _wire.message("Hello.", _wire.usage(100, 50), model=MODEL)
COST_USD = claudetrace.price(HELLO).usd
"""What `HELLO` costs, exactly."""


def block(name: str = "cap", **said: Any) -> claudetrace.Budget:
    """A budget that stops calls, by default one that never has to."""
    if "max_calls" not in said:
        said.setdefault("usd", 1000)
    return claudetrace.Budget(name, **{"per": "total", "on_exceeded": "block", "forecast": False, **said})


def states(*, flush: bool = True) -> list[BudgetState]:
    """Each budget now; by default once all rows are loaded. None while the store is at fault."""
    if flush:
        assert claudetrace.flush(timeout_s=30)
    budgets = running()._parts.budgets  # type: ignore[union-attr]
    assert budgets is not None
    try:
        # With all that was said before.
        budgets._ask(nothing, PATIENT_S)
        names = [each.name for each in budgets.budgets]
        found = [each for each in claudetrace.budgets() if each.budget.name in names]
        return sorted(found, key=lambda each: names.index(each.budget.name))
    except (StoreError, sqlite3.DatabaseError):
        return []


def state(*, flush: bool = True) -> BudgetState:
    """The only budget now."""
    (only,) = states(flush=flush)
    return only


@contextmanager
def locked(store: Path | str) -> Iterator[None]:
    """Another program writes to the store meanwhile, and does not end."""
    with closing(sqlite3.connect(store, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def until(true: Callable[[], Any], within_s: float = 30.0) -> None:
    """Returns when `true()` holds."""
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)
