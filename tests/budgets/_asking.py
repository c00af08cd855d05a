"""What tests that call the SDK under budgets share: a question, what it costs, and what the budgets say."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import claudetrace
from claudetrace._demo import _wire
from claudetrace._instrument import running

if TYPE_CHECKING:
    from collections.abc import Callable

    from claudetrace._budgets._states import BudgetState

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
    """Each budget now; by default once all rows are loaded."""
    if flush:
        assert claudetrace.flush(timeout_s=30)
    service = running()._parts.budgets  # type: ignore[union-attr]
    assert service is not None
    return service.status()


def state(*, flush: bool = True) -> BudgetState:
    """The only budget now."""
    (only,) = states(flush=flush)
    return only


def until(true: Callable[[], Any], within_s: float = 30.0) -> None:
    """Returns when `true()` holds."""
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)
