"""Repricing that is killed, watched or answered by a person."""

from __future__ import annotations

import os
import pty
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest

from ._ledgers import faults, prices_of, run, unpriced_row, write

USAGE = {"input_tokens": 1000, "output_tokens": 500}
PICOUSD = 1000 * 4_000_000 + 500 * 20_000_000
DIES = """
import os, signal, sys
from pathlib import Path
from claudetrace._ledger import _reprice, _sums

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

where, db = sys.argv[1:]
if where == "between transactions":
    _reprice.reprice(Path(db), apply=True, progress=lambda done: done >= 600 and die())
remake, calls = _sums.remake_sessions, []

def remake_or_die(*args):
    calls.append(1)
    # The third chunk: its rows are written, and its sums by hour, day and tag, not those of sessions.
    die() if len(calls) == 3 else remake(*args)

_sums.remake_sessions = remake_or_die
_reprice.reprice(Path(db), apply=True)
"""


def priced(db) -> int:
    return sum(cost is not None for cost, _ in prices_of(db))


@pytest.mark.parametrize("where", ["between transactions", "within a transaction"])
def test_a_killed_run_leaves_a_right_ledger_and_the_next_finishes(db, where):
    """After SIGKILL some rows are priced, the rollups equal the calls, and running again does the rest."""
    write(db, [unpriced_row(USAGE, user_id=f"u{number % 7}") for number in range(1_000)])

    killed = subprocess.run([sys.executable, "-c", DIES, where, db], check=False, timeout=60)

    assert killed.returncode == -signal.SIGKILL
    assert priced(db) == (600 if where == "between transactions" else 400)
    assert faults(db) == []
    assert run("reprice", "--yes", "--db", db).exit_code == 0
    assert prices_of(db) == [(PICOUSD, "[]")] * 1_000
    assert faults(db) == []


def test_a_command_killed_at_any_moment_leaves_a_right_ledger(db):
    """The command itself, killed from outside once it has begun, leaves rollups that equal the calls."""
    count = 6_000
    write(db, [unpriced_row(USAGE, user_id=f"u{number % 7}") for number in range(count)])
    command = [sys.executable, "-m", "claudetrace", "reprice", "--yes", "--db", db]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _wait_until_some_are_priced(db)
    finally:
        running.kill()
        running.wait()

    assert 0 < priced(db) <= count
    assert faults(db) == []
    run("reprice", "--yes", "--db", db)
    assert priced(db) == count
    assert faults(db) == []


def _wait_until_some_are_priced(db) -> None:
    deadline = time.monotonic() + 60
    with closing(sqlite3.connect(db)) as connection:
        sql = "SELECT COUNT(*) FROM calls WHERE cost_picousd IS NOT NULL"
        while connection.execute(sql).fetchone()[0] == 0:
            assert time.monotonic() < deadline
            time.sleep(0.005)


def test_rows_recorded_meanwhile_are_counted(db):
    """A loader that writes between the steps of a run loses nothing, and the rollups stay equal."""
    from claudetrace._ledger._reprice import reprice

    write(db, [unpriced_row(USAGE, user_id="u") for _ in range(600)])

    reprice(db, apply=True, progress=lambda done: done < 600 and write(db, [unpriced_row(USAGE, user_id="new")]) and 0)

    assert len(prices_of(db)) == 602
    assert faults(db) == []


@pytest.mark.parametrize(("answer", "cost"), [(b"n\n", None), (b"y\n", PICOUSD)], ids=["no", "yes"])
def test_a_person_is_asked_at_a_terminal(db, answer, cost):
    """At a terminal it asks before it changes anything, and does as it is told."""
    write(db, [unpriced_row(USAGE)])
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "claudetrace", "reprice", "--db", db]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs) as running:
        os.write(ours, answer)
        told, _ = running.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)

    assert b"Change them in" in told
    assert (running.returncode == 0) == (cost is not None)
    assert [found for found, _ in prices_of(db)] == [cost]
