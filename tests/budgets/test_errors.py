"""What `BudgetExceeded` says: figures that a person reads, and the way out."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from _keeping import Demand, Kept

from claudetrace._budgets._budget import Budget
from claudetrace._errors import BudgetExceeded, dollars

if TYPE_CHECKING:
    from pathlib import Path

    from claudetrace._guard import Guard

USD = 10**12
RESET = datetime(2026, 12, 1, tzinfo=UTC)
FIGURES: dict[str, Any] = {
    "budget": "all",
    "limit_usd": Decimal("0.01"),
    "spent_usd": Decimal("0.002520000000"),
    "reserved_usd": Decimal("0E-12"),
    "needed_usd": Decimal("0.0081"),
    "resets_at": RESET,
}


@pytest.mark.parametrize(
    ("amount", "text"),
    [("0E-12", "$0.00"), ("1", "$1.00"), ("0.5", "$0.50"), ("1E-12", "$0.000000000001"), ("1E+6", "$1,000,000.00")],
)
def test_dollars_are_plain(amount: str, text: str) -> None:
    """Exact, with cents, without zeros that say nothing."""
    assert dollars(Decimal(amount)) == text


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {},
            (
                "budget 'all' has no room for this call, which may cost $0.0081: $0.00252 of $0.01 spent and $0.00 "
                "reserved; it resets at 2026-12-01 00:00:00 UTC"
            ),
        ),
        (
            {"resets_at": None, "needed_usd": None},
            (
                "budget 'all' has no room for this call: $0.00252 of $0.01 spent and $0.00 reserved; "
                "it does not reset: raise its limit"
            ),
        ),
        (
            {"needed_usd": Decimal(3)},
            (
                "budget 'all' has no room for this call, which may cost $3.00: $0.00252 of $0.01 spent and $0.00 "
                "reserved; that alone is over its limit: lower max_tokens, shorten the prompt, or raise the limit"
            ),
        ),
    ],
)
def test_the_error_says_the_way_out(changed: dict[str, Any], said: str) -> None:
    """When it resets; or that waiting does not help, and what does."""
    assert str(BudgetExceeded(**{**FIGURES, **changed})) == said


def test_the_error_says_for_whom(path: Path, guard: Guard) -> None:
    """Where each value of a tag has a budget, also after pickling; of calls, how many are made."""
    kept = Kept([Budget("user", max_calls=1, on_exceeded="block", tags={"user": "*"})], path, guard=guard)
    first = kept.ask(Demand("a", {"user_id": "u1"}, USD))
    assert first is not None
    kept.end(first, USD)
    with pytest.raises(BudgetExceeded) as caught:
        kept.ask(Demand("b", {"user_id": "u1"}, USD))
    error = pickle.loads(pickle.dumps(caught.value))
    kept.close()

    assert error.key == "u1"
    assert str(error).startswith(
        "budget 'user' for 'u1' has no room for this call: 1 of 1 calls are made or running; it resets at "
    )
