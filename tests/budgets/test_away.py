"""A store that is away for long costs callers little, and what they did meanwhile is in it when it is back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _asking import block, locked

import claudetrace
from claudetrace._budgets import _writer
from claudetrace._budgets._budgets import Budgets
from claudetrace._budgets._reservation import Reservation
from claudetrace._ids import uuid7
from claudetrace._pricing._upper_bound import Bound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from claudetrace._guard import Guard

CALLS = 100


@pytest.fixture
def kept(request: Any, path: Path, guard: Guard, monkeypatch: pytest.MonkeyPatch) -> Iterator[Budgets]:
    """Budgets with room for two calls; no caller waits long for them."""
    monkeypatch.setattr(_writer, "PATIENCE_S", 0.2)
    budgets = Budgets([block(max_calls=2, on_store_error=getattr(request, "param", "open"))], path, guard=guard)
    budgets.open()
    yield budgets
    budgets.close()


def call(kept: Budgets) -> bool:
    """Whether a call was let through."""
    reservation = Reservation(uuid7(time.time_ns()), {}, Bound(picousd=5))
    try:
        kept.admit(reservation)
    except claudetrace.BudgetExceeded:
        return False
    finally:
        reservation.heard = True
        kept.settle(reservation)
    return True


@pytest.mark.parametrize(("kept", "passing"), [("open", 1), ("closed", 0)], indirect=["kept"])
def test_calls_that_are_stopped_meanwhile_leave_nothing_behind(kept: Budgets, passing: int, path: Path) -> None:
    """However often a caller tries again, only calls that were let through wait for the store."""
    assert call(kept)
    with locked(path):
        passed = sum(call(kept) for _ in range(CALLS))
        writer: Any = kept.writer
        waiting = len(writer._kept) + len(writer._jobs)

    assert passed == passing
    assert waiting <= passed + 2


def test_the_fault_does_not_grow_with_those_who_are_told(kept: Budgets, path: Path) -> None:
    """One error is raised at every caller: its traceback stays as long as it is, or each would take longer."""
    assert call(kept)
    with locked(path):
        for _ in range(CALLS):
            kept_error = _told(kept)

    frames = 0
    while kept_error is not None:
        kept_error, frames = kept_error.tb_next, frames + 1
    assert frames < CALLS / 5


def _told(kept: Budgets) -> Any:
    writer: Any = kept.writer
    with pytest.raises(claudetrace.ClaudetraceError) as told:
        writer.do(_writer.nothing, 0.3)
    return told.value.__traceback__


def test_nothing_is_flushed_that_waits_for_the_store(
    kept: Budgets, path: Path, query: Callable[..., list[Any]]
) -> None:
    """As long as a settled call is not in the store, `flush` says so; afterwards it is there."""
    with locked(path):
        assert call(kept)
        assert not kept.settle_all(0.5)

    assert kept.settle_all(20)
    assert query("SELECT SUM(spent_calls), SUM(reserved_calls) FROM counters") == [(1, 0)]


def test_a_call_that_is_let_through_while_the_store_hears_of_others_is_told_too(
    kept: Budgets, path: Path, query: Callable[..., list[Any]]
) -> None:
    """What another thread lets through between a store's return and the end of its telling stays set aside."""
    first, between, last = (Reservation(uuid7(time.time_ns()), {}, Bound(picousd=5, calls=0)) for _ in range(3))
    with locked(path):
        kept.admit(first)
    writer: Any = kept.writer
    do = writer.do

    def do_late(*given: Any) -> Any:
        writer.do = do
        result = do(*given)
        with locked(path):
            kept.admit(between)
        return result

    assert kept.settle_all(20)
    writer.do = do_late
    kept.admit(last)
    assert kept.settle_all(20)
    kept.admit(Reservation(uuid7(time.time_ns()), {}, Bound(picousd=5, calls=0)))

    assert query("SELECT SUM(reserved_picousd) FROM counters") == [(20,)]
