"""`Budget(per="run")`: what a block may spend."""

from __future__ import annotations

import asyncio
import threading
from decimal import Decimal
from typing import Any

import pytest

from claudetrace._budgets._admission import reserve_in, runs_of
from claudetrace._budgets._budget import Budget
from claudetrace._budgets._run import runs
from claudetrace._errors import BudgetExceeded, ClaudetraceError

pytestmark = pytest.mark.usefixtures("watching")
USD = 10**12


class Call:
    """A call that has set aside so much in the runs around it."""

    def __init__(self, picousd: int | None, *, bounded: bool = True) -> None:
        self.runs = runs_of({})
        reserve_in(self.runs, str(id(self)), picousd, bounded=bounded)

    def settle(self, picousd: int | None) -> None:
        for run in self.runs:
            run.settle(str(id(self)), picousd, None, 0)


def test_a_run_stops_what_would_go_beyond_it() -> None:
    """What is spent and set aside and needed is at most the limit."""
    with Budget(usd=1, per="run") as run:
        first = Call(USD // 2)
        with pytest.raises(BudgetExceeded) as caught:
            Call(USD // 2 + 1)
        first.settle(USD // 10)
        first.settle(USD)
        Call(USD * 9 // 10)

    error = caught.value
    assert (error.spent_usd, error.reserved_usd, error.limit_usd) == (0, Decimal("0.5"), 1)
    assert (run.spent_usd, run.reserved_usd, run.left_usd, run.calls) == (Decimal("0.1"), Decimal("0.9"), 0, 1)


def test_runs_nest_and_the_tightest_stops() -> None:
    """A call is in every block around it, and one that is stopped has nothing set aside in any."""
    with Budget(usd=2, per="run") as outer:
        with Budget("inner", usd=1, per="run") as inner, pytest.raises(BudgetExceeded) as caught:
            Call(USD + 1)
        Call(USD + 1)

    assert caught.value.budget == "inner"
    assert (inner.reserved_usd, outer.reserved_usd) == (0, Decimal("1.000000000001"))
    assert runs.get() == ()


def test_a_run_counts_calls() -> None:
    """`max_calls` holds without a limit in dollars."""
    with Budget(max_calls=2, per="run") as run:
        for _ in range(2):
            reservation = Call(None)
            reservation.settle(5)
        with pytest.raises(BudgetExceeded, match="2 of 2 calls are made or running"):
            Call(None)

    assert (run.calls, run.left_usd) == (2, None)


def test_a_call_whose_cost_stays_unknown_is_charged_what_was_set_aside() -> None:
    """`None` is not nothing."""
    with Budget(usd=1, per="run") as run:
        reservation = Call(USD // 4)
        reservation.settle(None)

    assert run.spent_usd == Decimal("0.25")


def test_tasks_of_the_block_share_it_and_others_do_not() -> None:
    """A run is where its context is."""

    async def alone() -> None:
        async def task() -> int:
            return len(runs.get())

        before = asyncio.create_task(task())
        with Budget(usd=1, per="run"):
            assert await asyncio.create_task(task()) == 1
        assert await before == 0

    asyncio.run(alone())


def test_threads_cannot_overshoot_a_run() -> None:
    """Of 16 threads that ask for a tenth again and again, ten are let in."""
    admitted: list[object] = []
    with Budget(usd=1, per="run"):
        import contextvars

        def ask() -> None:
            for _ in range(20):
                try:
                    admitted.append(Call(USD // 10))
                except BudgetExceeded:
                    continue

        threads = [threading.Thread(target=contextvars.copy_context().run, args=(ask,)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(admitted) == 10


def test_only_a_run_is_a_block() -> None:
    """Other budgets are for `instrument()`."""
    with pytest.raises(ClaudetraceError, match='takes a Budget\\(per="run"\\)'), Budget("b", usd=1):
        pass


@pytest.mark.parametrize(("said", "picousd"), [({"unpriced": "block"}, None), ({"unbounded": "block"}, 1)])
def test_a_run_stops_what_cannot_be_known_where_it_says_so(said: dict[str, Any], picousd: int | None) -> None:
    """By default it passes, and sets aside what is guessed."""
    with Budget(usd=1, per="run"):
        Call(picousd, bounded=False)
        with Budget(usd=1, per="run", **said), pytest.raises(BudgetExceeded, match="cannot be known"):
            Call(picousd, bounded=False)
