"""Calls whose budgets' store is locked, full, corrupt, deleted or cannot be written."""

from __future__ import annotations

import resource
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from _asking import ASK, COST_USD, HELLO, block, state, states, until

import claudetrace
from claudetrace._budgets._sqlite import _store
from claudetrace._demo import _answers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from claudetrace._demo._server import PlayServer


@pytest.fixture
def store(db: Path) -> Path:
    return Path(f"{db}.budgets")


def _locked(store: Path) -> Iterator[None]:
    """Another process writes for a long time."""
    with closing(sqlite3.connect(store, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def _corrupt(store: Path) -> Iterator[None]:
    with store.open("r+b") as file:
        file.seek(0)
        file.write(b"\0" * 4096)
    with Path(f"{store}-wal").open("r+b") as log:
        log.truncate(0)
    yield


def _deleted(store: Path) -> Iterator[None]:
    for path in (store, Path(f"{store}-wal"), Path(f"{store}-shm")):
        path.unlink()
    yield


def _no_room(store: Path) -> Iterator[None]:
    """No file may grow beyond what it has."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (Path(f"{store}-wal").stat().st_size, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


FAULTS = {"locked": _locked, "no room": _no_room}
CURED = {"corrupt": _corrupt, "deleted": _deleted}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
def test_open_lets_calls_pass_tells_it_once_and_counts_them_later(
    fault: Callable[[Path], Iterator[None]],
    client: anthropic.Anthropic,
    server: PlayServer,
    start: Any,
    store: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Calls go on without a reservation; once the fault is over their spend is there, and calls are stopped again."""
    start(budgets=[block(max_calls=4)])
    server.add(_answers.answer(HELLO, times=None))
    client.messages.create(**ASK)
    assert state().spent_calls == 1
    broken = fault(store)
    next(broken)
    client.messages.create(**ASK)
    client.messages.create(**ASK)
    next(broken, None)

    told = [record for record in caplog.records if "reserve in the budgets' store" in record.getMessage()]
    assert len(told) == 1
    until(lambda: [each.spent_calls for each in states()] == [3])
    assert (state().spent_usd, state().reserved_calls) == (3 * COST_USD, 0)
    client.messages.create(**ASK)
    with pytest.raises(claudetrace.BudgetExceeded):
        client.messages.create(**ASK)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
def test_closed_stops_calls_until_the_fault_is_over(
    fault: Callable[[Path], Iterator[None]], client: anthropic.Anthropic, server: PlayServer, start: Any, store: Path
) -> None:
    """The error names the store and the reason; what ran when it began is settled afterwards."""
    start(budgets=[block(on_store_error="closed")])
    server.add(_answers.stream(HELLO), _answers.answer(HELLO, times=None))
    running = client.messages.create(**ASK, stream=True)
    assert state().reserved_calls == 1
    broken = fault(store)
    next(broken)
    with pytest.raises(claudetrace.BudgetExceeded, match="closed") as stopped:
        client.messages.create(**ASK)
    list(running)
    next(broken, None)

    assert str(store) in str(stopped.value)
    until(lambda: [each.reserved_calls for each in states()] == [0])
    assert (state().spent_usd, state().spent_calls) == (COST_USD, 1)
    client.messages.create(**ASK)
    assert len(server.requests) == 2


@pytest.mark.parametrize("policy", ["open", "closed"])
@pytest.mark.parametrize("fault", CURED.values(), ids=list(CURED))
def test_a_store_that_is_gone_is_begun_anew_from_the_ledger(
    fault: Callable[[Path], Iterator[None]],
    policy: str,
    client: anthropic.Anthropic,
    server: PlayServer,
    start: Any,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next call finds a new store with the ledger's spend in it, and the limit holds on."""
    monkeypatch.setattr(_store, "EVERY_S", 0.1)
    start(budgets=[block(max_calls=4, on_store_error=policy)])
    server.add(_answers.answer(HELLO, times=None))
    for _ in range(3):
        client.messages.create(**ASK)
    assert state().spent_calls == 3
    next(fault(store))
    client.messages.create(**ASK)
    with pytest.raises(claudetrace.BudgetExceeded):
        client.messages.create(**ASK)

    # What is broken below what is read of it is found out with the next look at the whole.
    until(lambda: states() != [])
    assert (state().spent_usd, state().spent_calls, state().reserved_calls) == (4 * COST_USD, 4, 0)


@pytest.mark.parametrize(("policy", "answered"), [("open", 3), ("closed", 0)])
def test_a_place_that_cannot_be_is_told_at_start_and_once_for_calls(
    policy: str,
    answered: int,
    server: PlayServer,
    client: anthropic.Anthropic,
    start: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Calls go on or stop as the budget says."""
    (tmp_path / "file").write_text("no folder")
    start(budgets=[block(on_store_error=policy)], budget_store=tmp_path / "file" / "x.budgets")
    server.add(_answers.answer(HELLO, times=None))
    came = 0
    for _ in range(3):
        with suppress(claudetrace.BudgetExceeded):
            client.messages.create(**ASK)
            came += 1

    assert came == answered
    told = [record.getMessage() for record in caplog.records]
    assert sum("open the budgets' store" in words for words in told) == 1
    assert sum("reserve in the budgets' store" in words for words in told) == 1
