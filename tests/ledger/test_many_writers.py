"""Many processes write one ledger: that they wait for each other is no fault, that one keeps it for itself is."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from rows import row

from claudetrace._ledger import _loader
from claudetrace._ledger._loader import LedgerWriter
from claudetrace._ledger._schema import open_ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from claudetrace._guard import Guard

BATCHES = 5


class Others:
    """Those who write too: `take` the lock, for a moment each time, while the clock goes on by seconds."""

    def __init__(self, db: Path) -> None:
        self.now_s = 0.0
        self.connection = sqlite3.connect(db, isolation_level=None, check_same_thread=False)

    def take(self, *_: Any) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        self.now_s += 3
        threading.Timer(0.2, self.leave).start()

    def leave(self) -> None:
        self.connection.execute("ROLLBACK")


@pytest.fixture
def others(db: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Others]:
    open_ledger(db).close()
    there = Others(db)
    monkeypatch.setattr(_loader, "monotonic", lambda: there.now_s)
    with closing(there.connection):
        yield there


def test_waiting_for_others_between_two_batches_is_no_fault(
    db: Path, guard: Guard, others: Others, query: Callable[..., list[Any]]
) -> None:
    """A process that gets its turn now and then writes all its rows, and tells of no lock, however long it takes."""
    writer = LedgerWriter(db, guard=guard, on_rows=others.take)
    for _ in range(BATCHES * 1000):
        writer.append(row())
    assert writer.flush(30)
    time.sleep(0.3)  # until the others have left
    writer.close()

    assert query("SELECT COUNT(*) FROM calls") == [(BATCHES * 1000,)]
    assert writer.health()["last_error"] is None


def test_a_lock_that_lasts_is_told(guard: Guard, others: Others, writer: LedgerWriter) -> None:
    """Where one keeps the ledger for itself for seconds, health says that rows wait for it."""
    others.connection.execute("BEGIN IMMEDIATE")
    writer.append(row())
    until = time.time() + 20
    while guard.last_error is None and time.time() < until:
        others.now_s += 1
        time.sleep(0.05)
    others.leave()

    assert "(SQLITE_BUSY); rows wait in" in str(guard.last_error)
    assert writer.flush(10)
