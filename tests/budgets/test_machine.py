"""The store against a model of it: whatever happens in whatever order, the limit holds and the sums are right."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from _keeping import Demand, Kept
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from test_store import NOON, Clock, row

from claudetrace._budgets._budget import Budget
from claudetrace._budgets._reservation import Reservation
from claudetrace._budgets._sqlite import _upkeep
from claudetrace._errors import BudgetExceeded
from claudetrace._guard import Guard

LIMIT, MOST_CALLS = 1000, 8
USD = 10**12
PROCESSES = 2


class Budgets(RuleBasedStateMachine):
    """Two processes on one store: calls begin, end, end unknown, are offered, and their owners die."""

    calls = Bundle("calls")
    ended = Bundle("ended")

    def __init__(self) -> None:
        super().__init__()
        self.grace, _upkeep.GRACE_S = _upkeep.GRACE_S, 0.0
        self.folder = tempfile.TemporaryDirectory()
        self.clock, self.guard, self.number = Clock(), Guard(), 0
        self.kept = [self.keeper() for _ in range(PROCESSES)]
        self.open: dict[str, tuple[int, int]] = {}
        """The owner and the estimate of each call that runs."""
        self.spent: dict[str, int] = {}
        self.elsewhere = (0, 0)
        """Dollars and calls that were spent without asking."""

    def keeper(self) -> Kept:
        budget = Budget("b", usd=LIMIT, max_calls=MOST_CALLS, per="day", on_exceeded="block", on_store_error="closed")
        return Kept([budget], Path(self.folder.name) / "x.budgets", guard=self.guard, clock=self.clock)

    def teardown(self) -> None:
        for kept in self.kept:
            kept.close()
        self.folder.cleanup()
        _upkeep.GRACE_S = self.grace
        assert not self.guard.failures

    @rule(target=calls, who=st.integers(0, PROCESSES - 1), estimate=st.integers(0, 400))
    def begin(self, who: int, estimate: int) -> tuple[str, Reservation | None]:
        self.number += 1
        call = f"call-{self.number}"
        in_use = sum(self.spent.values()) + sum(estimate for _, estimate in self.open.values())
        fits = in_use + estimate <= LIMIT and len(self.spent) + len(self.open) < MOST_CALLS
        try:
            reservation = self.kept[who].ask(Demand(call, {}, estimate * USD))
        except BudgetExceeded:
            assert not fits
            return call, None
        assert fits
        self.open[call] = (who, estimate)
        return call, reservation

    @rule(
        target=ended, call=consumes(calls), part=st.integers(0, 100), offered_first=st.booleans(), known=st.booleans()
    )
    def end(self, call: tuple[str, Reservation | None], part: int, offered_first: bool, known: bool) -> Any:
        name, reservation = call
        if reservation is None:
            return name, 0
        if name not in self.open:
            # Its owner was taken for dead, and lives: what it says is the truth, unless a row has said it.
            cost = self.spent[name] * part // 100
            self.kept[0].end(reservation, cost * USD)
            self.spent[name] = cost
            return name, cost
        who, estimate = self.open.pop(name)
        cost = estimate * part // 100
        if offered_first:
            self.kept[1 - who].put([row(name, cost)])
        self.kept[who].end(reservation, cost * USD if known else None)
        self.spent[name] = cost if known or offered_first else estimate
        return name, cost

    @rule(call=ended, times=st.integers(1, 2), who=st.integers(0, PROCESSES - 1))
    def offer(self, call: tuple[str, int], times: int, who: int) -> None:
        name, cost = call
        if name in self.spent:
            for _ in range(times):
                self.kept[who].put([row(name, cost)])
            self.spent[name] = cost

    @rule(who=st.integers(0, PROCESSES - 1))
    def die(self, who: int) -> None:
        self.kept[who].die()
        self.kept[who] = self.keeper()
        for _ in range(2):
            self.kept[1 - who].tend()
        for name, (owner, estimate) in list(self.open.items()):
            if owner == who:
                del self.open[name]
                self.spent[name] = estimate

    @rule(usd=st.integers(0, 30), who=st.integers(0, PROCESSES - 1))
    def spend_elsewhere(self, usd: int, who: int) -> None:
        self.number += 1
        self.kept[who].put([row(f"call-{self.number}", usd, at=NOON + 1)])
        self.spent[f"call-{self.number}"] = usd
        self.elsewhere = (self.elsewhere[0] + usd, self.elsewhere[1] + 1)

    @invariant()
    def sums_are_right(self) -> None:
        # What is settled goes along with the next transaction of its process, which this is.
        for kept in reversed(self.kept):
            (state,) = kept.status()
        assert state.spent_usd == sum(self.spent.values())
        assert state.reserved_usd == sum(estimate for _, estimate in self.open.values())
        assert (state.spent_calls, state.reserved_calls) == (len(self.spent), len(self.open))
        assert state.spent_usd + state.reserved_usd <= LIMIT + self.elsewhere[0]
        assert state.spent_calls + state.reserved_calls <= MOST_CALLS + self.elsewhere[1]


class TestBudgets(Budgets.TestCase):
    """What a budget has spent and reserved is what its calls have, in any order of events."""

    settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
