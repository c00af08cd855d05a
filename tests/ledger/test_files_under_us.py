"""What becomes of rows when somebody moves, deletes, overwrites or migrates the ledger under a running program."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rows import row

from claudetrace._guard import Guard
from claudetrace._ledger._loader import LedgerWriter
from claudetrace._ledger._schema import open_ledger
from claudetrace._ledger._store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = 30
THERE = "SELECT COUNT(*) FROM calls"


def ask(db: Path, sql: str = THERE) -> Any:
    with closing(sqlite3.connect(db)) as connection:
        return connection.execute(sql).fetchone()[0]


def append(writer: LedgerWriter, n: int = ROWS) -> None:
    for _ in range(n):
        writer.append(row())
    assert writer.flush(10)


def goes_on(writer: LedgerWriter) -> None:
    append(writer, 5)


def ends(writer: LedgerWriter) -> None:
    writer.close()


def idles(writer: LedgerWriter) -> None:
    deadline = time.monotonic() + 20
    while writer.health()["last_error"] is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("then", [goes_on, ends, idles])
@pytest.mark.parametrize("files", [[""], ["", "-wal", "-shm"]], ids=["alone", "with its log"])
def test_moved(then: Callable[[LedgerWriter], None], files: list[str], db: Path, writer: LedgerWriter) -> None:
    """A ledger that is moved has every row that was committed to it, and later ones are in a new ledger."""
    append(writer)
    moved = db.with_name("moved.db")
    for suffix in files:
        Path(f"{db}{suffix}").rename(f"{moved}{suffix}")
    then(writer)

    assert (ask(moved), ask(moved, "PRAGMA integrity_check")) == (ROWS, "ok")
    assert db.exists() == (then is goes_on)
    assert not db.exists() or ask(db) == 5


def test_moved_again_and_again(db: Path, writer: LedgerWriter) -> None:
    """No row is lost or doubled by a slow caller whose ledger is moved after each of its calls."""
    for number in range(5):
        append(writer, 3)
        db.rename(db.with_name(f"{number}.db"))
    writer.close()

    assert [ask(db.with_name(f"{number}.db")) for number in range(5)] == [3] * 5
    assert "moved, deleted or replaced" in (writer.health()["last_error"] or "")


def test_moved_and_another_in_its_place(db: Path, writer: LedgerWriter) -> None:
    """Each ledger has its own rows, and the program goes on in the one that is at its path now."""
    append(writer)
    other = Store(db.with_name("other.db"), Guard())
    other.write([row()])
    other.close()
    db.rename(db.with_name("moved.db"))
    db.with_name("other.db").rename(db)
    append(writer, 5)

    assert (ask(db.with_name("moved.db")), ask(db), ask(db, "PRAGMA integrity_check")) == (ROWS, 6, "ok")


def test_a_program_that_is_killed_leaves_its_log_for_the_moved_ledger(
    db: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The last rows of a ledger that is moved, and its program killed, are kept and found again where that is told."""
    child = f"""
import sys, time; sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path; from rows import row; from claudetrace._guard import Guard
from claudetrace._ledger._loader import LedgerWriter
writer = LedgerWriter(Path({str(db)!r}), guard=Guard())
for _ in range({ROWS}): writer.append(row())
assert writer.flush(30)
Path({str(db)!r}).rename({str(db.with_name("moved.db"))!r})
import os; os.kill(os.getpid(), 9)
"""
    died = subprocess.run([sys.executable, "-c", child], stderr=subprocess.PIPE)
    assert died.returncode == -signal.SIGKILL, died.stderr
    with caplog.at_level(logging.WARNING, "claudetrace"):
        open_ledger(db).close()
    (log,) = db.parent.glob("*.left-*-wal")
    whole = Path(str(log).removesuffix("-wal"))
    db.with_name("moved.db").rename(whole)

    assert (ask(db), ask(whole), ask(whole, "PRAGMA integrity_check")) == (0, ROWS, "ok")
    assert f"to {whole}" in caplog.text


def older_copy(db: Path, old: Path) -> None:
    shutil.copyfile(old, db)


def another(db: Path, old: Path) -> None:
    other = db.with_name("another.db")
    open_ledger(other).close()
    shutil.copyfile(other, db)


def garbage(db: Path, _: Path) -> None:
    db.write_bytes(b"no database " * 10_000)


def emptied(db: Path, _: Path) -> None:
    os.truncate(db, 0)


def one_page(db: Path, _: Path) -> None:
    os.truncate(db, 4096)


@pytest.mark.parametrize("overwrite", [older_copy, another, garbage, emptied, one_page])
def test_overwritten_in_place(
    overwrite: Callable[[Path, Path], None], db: Path, writer: LedgerWriter, caplog: pytest.LogCaptureFixture
) -> None:
    """What is copied over the open ledger, or left of it, is set aside and told; later rows are in a sound ledger."""
    append(writer)
    old = db.with_name("old.db")
    shutil.copyfile(db, old)
    append(writer)
    with closing(sqlite3.connect(db)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    append(writer)
    with caplog.at_level(logging.WARNING, "claudetrace"):
        overwrite(db, old)
        content = db.read_bytes()
        append(writer, 5)
    (aside,) = db.parent.glob("ledger.db.overwritten-*")

    assert (ask(db), ask(db, "PRAGMA integrity_check")) == (5, "ok")
    assert aside.read_bytes() == content
    assert aside.name in caplog.text
    assert writer.health()["lost"] == 0


def test_a_checkpoint_is_no_overwriting(db: Path, writer: LedgerWriter) -> None:
    """A ledger that other processes write to, check, and make smaller is the same one, and nothing is told."""
    for _ in range(3):
        append(writer)
        with closing(sqlite3.connect(db, isolation_level=None, timeout=10)) as other:
            other.execute("DELETE FROM calls WHERE rowid % 2")
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            other.execute("VACUUM")
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    append(writer, 5)

    assert writer.health()["last_error"] is None
    assert list(db.parent.glob("ledger.db.*-*")) == []


def test_a_log_that_is_deleted_is_written_into_its_ledger(db: Path, writer: LedgerWriter) -> None:
    """Rows whose write-ahead log is deleted beside the open ledger are in it all the same."""
    append(writer)
    for suffix in ("-wal", "-shm"):
        Path(f"{db}{suffix}").unlink()
    append(writer, 5)

    assert (ask(db), ask(db, "PRAGMA integrity_check")) == (ROWS + 5, "ok")


def test_an_older_process_stops_at_a_newer_version(db: Path, writer: LedgerWriter) -> None:
    """From the moment on at which a newer version migrates the open ledger, an older one writes nothing to it; its
    rows wait and say so."""
    append(writer)
    with closing(sqlite3.connect(db, isolation_level=None, timeout=10)) as newer:
        newer.execute("PRAGMA user_version = 2")
        writer.append(row())
        during = writer.flush(0.6), writer.health()["pending"], ask(db)
        said = writer.health()["last_error"]
        newer.execute("PRAGMA user_version = 1")

    assert during == (False, 1, ROWS)
    assert "is a ledger of version 2" in (said or "")
    assert (writer.flush(10), ask(db)) == (True, ROWS + 1)


def test_an_open_store_neither_writes_nor_tidies_in_a_newer_ledger(db: Path) -> None:
    """No transaction of an older version changes a ledger of a newer one, whatever it is for."""
    store = Store(db, Guard())
    store.write([row()], "a", 5)
    with closing(sqlite3.connect(db, isolation_level=None)) as newer:
        newer.execute("PRAGMA user_version = 2")
    for act in (lambda: store.write([row()]), lambda: store.forget_segment("a")):
        with pytest.raises(Exception, match="is a ledger of version 2"):
            act()
    store.close()

    assert (ask(db), ask(db, "SELECT COUNT(*) FROM segments")) == (1, 1)
