"""A spent cap stays spent through a minute in which the wall clock was ahead."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from _keeping import Demand, Kept

from claudetrace import Budget, BudgetExceeded
from claudetrace._guard import Guard

if TYPE_CHECKING:
    from pathlib import Path

USD = 10**12
DAY_S = 86_400
SPENT: dict[str, Any] = {"usd": 10, "on_exceeded": "block"}


@pytest.mark.parametrize(
    "said",
    [
        {"per": "month", "tags": {"user": "*"}},
        {"per": "week", "tags": {"user": "*"}},
        {"per": "rolling:24h"},
        {"per": "rolling:720h", "tags": {"user": "*"}},
        {"per": "day"},
    ],
    ids=lambda said: said["per"],
)
def test_what_is_spent_stays_spent(said: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store forgets nothing while the clock is 500 days ahead; when it is right again the cap is as full as it
    was, and the program has said why."""
    ahead_s, real = 0.0, time.time
    monkeypatch.setattr(time, "time", lambda: real() + ahead_s)
    guard = Guard()
    kept = Kept([Budget("b", **SPENT, **said)], tmp_path / "x.budgets", guard=guard, clock=lambda: time.time())
    reservation = kept.ask(Demand("a", {"user_id": "u1"}, 9 * USD))
    assert reservation is not None
    kept.end(reservation, 9 * USD)
    ahead_s = 500.0 * DAY_S
    for _ in range(3):
        kept.keep_house()
    ahead_s = 0.0
    with pytest.raises(BudgetExceeded) as caught:
        kept.ask(Demand("b", {"user_id": "u1"}, 3 * USD))
    kept.close()

    assert caught.value.spent_usd == 9
    assert "the wall clock was set" in (guard.last_error or "")
