"""What the caller pays while the ledger cannot be written, and that nothing is lost."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from _ledger import sample_row
from _table import Row

from claudetrace._guard import Guard
from claudetrace._ledger._loader import LedgerWriter

CALLS = 300
Clear = Callable[[], object]


def _locked(db: Path) -> Clear:
    writer = LedgerWriter(db, guard=Guard())
    writer.append(sample_row(-1))
    writer.flush(10)
    writer.close()
    holder = sqlite3.connect(db, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    return holder.close


def _folder(db: Path) -> Clear:
    db.mkdir()
    return db.rmdir


def _garbage(db: Path) -> Clear:
    db.write_bytes(b"not a database, " * 100)
    return db.unlink


def _foreign(db: Path) -> Clear:
    with sqlite3.connect(db) as connection:
        connection.execute("CREATE TABLE theirs (name TEXT)")
    connection.close()
    return db.unlink


def _no_journal(db: Path) -> Clear:
    spool = Path(f"{db}.spool")
    spool.parent.mkdir(parents=True, exist_ok=True)
    spool.write_text("a file where the journal's folder should be")
    return spool.unlink


FAULTS = {
    "locked": _locked,
    "a folder": _folder,
    "garbage": _garbage,
    "another program's database": _foreign,
    "no journal either": _no_journal,
}


def fault_rows() -> list[Row]:
    """For each fault, how long a put takes at the worst percentile and how many rows were lost once it is over."""
    logging.getLogger("claudetrace").setLevel(logging.CRITICAL)
    rows: list[Row] = []
    for name, make in FAULTS.items():
        folder = Path(tempfile.mkdtemp())
        clear = make(folder / "ledger.db")
        writer = LedgerWriter(folder / "ledger.db", guard=Guard())
        taken: list[float] = []
        for number in range(CALLS):
            row = sample_row(number)
            began = time.perf_counter_ns()
            writer.append(row)
            taken.append((time.perf_counter_ns() - began) / 1e3)
            time.sleep(0.002)
        clear()
        loaded = writer.flush(30)
        lost = CALLS - writer.health()["written"] if loaded else CALLS
        writer.close()
        shutil.rmtree(folder)
        taken.sort()
        beside = f"p50 {statistics.median(taken):.0f} µs, {lost} of {CALLS} lost"
        rows.append(
            Row(
                what=f"put p99, ledger is {name}",
                measured=taken[int(CALLS * 0.99)],
                unit="µs",
                limit=150,
                beside=beside,
            )
        )
        rows.append(Row(what=f"rows lost, ledger is {name}", measured=lost, unit="", limit=0))
    return rows
