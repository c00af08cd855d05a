"""A budget holds, whoever calls, however many, and whatever becomes of them."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import crowd
import pytest
from _asking import locked, until
from crowd import CAP_USD, USD

from claudetrace._budgets._sqlite import _upkeep

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PROCESSES = 4
SPAWN = multiprocessing.get_context("spawn")


def _start(run: Callable[..., None], folder: Path, callers: int, pause_s: float) -> Any:
    process = SPAWN.Process(target=run, args=(str(folder), callers, pause_s))
    process.start()
    return process


def _crowd(run: Callable[..., None], folder: Path, callers: int, *, kills: int) -> None:
    """Runs the processes to their end; so many of them are killed on the way, and others take their place."""
    running = [_start(run, folder, callers, 0.02) for _ in range(PROCESSES)]
    while kills and not any(folder.glob("bill-*")):
        time.sleep(0.01)
    for _ in range(kills):
        time.sleep(random.uniform(0.02, 0.1))
        victim = running.pop(0)
        victim.kill()
        victim.join()
        running.append(_start(run, folder, callers, 0.02))
    for process in running:
        process.join(90)
        assert process.exitcode == 0


@pytest.mark.parametrize(("run", "callers"), [(crowd.run_threads, 16), (crowd.run_tasks, 64)])
def test_a_budget_is_never_overshot_and_nothing_is_stranded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., None], callers: int
) -> None:
    """Spent is at most the cap and at least 97 % of it, covers every bill, and no reservation is left, with errors,
    cancelled calls and SIGKILLs among 64 or 256 callers."""
    monkeypatch.setattr(_upkeep, "GRACE_S", _upkeep.GRACE_S)
    _crowd(run, tmp_path, callers, kills=2)

    kept = crowd.keeper(tmp_path / "x.budgets")
    kept.tend()
    (state,) = kept.status()
    kept.close()

    assert (state.reserved_usd, state.reserved_calls) == (0, 0)
    assert CAP_USD * 0.97 <= state.spent_usd <= CAP_USD
    assert crowd.billed(tmp_path) <= state.spent_usd * USD
    with closing(sqlite3.connect(tmp_path / "x.budgets")) as connection:
        assert connection.execute("SELECT COUNT(*) FROM charges WHERE owner IS NOT NULL").fetchone() == (0,)
        assert connection.execute("SELECT COUNT(*) > 0 FROM charges WHERE basis = 1").fetchone() == (1,)
        assert connection.execute("SELECT SUM(picousd), SUM(calls) FROM charges").fetchone() == (
            state.spent_usd * USD,
            state.spent_calls,
        )


@pytest.mark.parametrize("fault", ["another program writes", "a process is stopped"])
def test_a_store_that_is_away_lets_few_calls_beyond_the_limit(tmp_path: Path, fault: str) -> None:
    """Amid a crowd, every process goes on by what it knew and its share of the rest: what is billed is above the limit
    by the calls that ran at most, and the store has all of it when it is back."""
    crowd_of = [
        SPAWN.Process(target=crowd.run_threads, args=(str(tmp_path), 8, 0.05, "open")) for _ in range(PROCESSES)
    ]
    for process in crowd_of:
        process.start()
    until(lambda: crowd.billed(tmp_path) > CAP_USD * USD // 4)
    if fault == "a process is stopped":
        os.kill(crowd_of[0].pid, signal.SIGSTOP)  # type: ignore[arg-type]
        time.sleep(3)
        os.kill(crowd_of[0].pid, signal.SIGCONT)  # type: ignore[arg-type]
    else:
        with locked(tmp_path / "x.budgets"):
            time.sleep(3)
    for process in crowd_of:
        process.join(60)
        assert process.exitcode == 0

    kept = crowd.keeper(tmp_path / "x.budgets")
    (state,) = kept.status()
    kept.close()
    assert state.reserved_calls == 0
    assert crowd.billed(tmp_path) <= state.spent_usd * USD <= CAP_USD * USD + PROCESSES * 8 * crowd.LARGEST


def test_looking_first_and_adding_afterwards_overshoots(tmp_path: Path) -> None:
    """The same crowd on a sum that is checked before and added to after the call goes beyond the cap."""
    with closing(sqlite3.connect(tmp_path / "check.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE spent (v INTEGER NOT NULL) STRICT")
        connection.execute("INSERT INTO spent VALUES (0)")
        connection.commit()
        _crowd(crowd.run_check_then_add, tmp_path, 16, kills=0)
        (spent,) = connection.execute("SELECT v FROM spent").fetchone()

    assert spent > CAP_USD * USD
