"""Whatever is wrong with the file or the folder, rows wait in the journal and are in the ledger once it is right."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rows import row

from claudetrace._errors import ClaudetraceError
from claudetrace._ledger import _journal
from claudetrace._ledger._journal import Journal
from claudetrace._ledger._load import load_orphans
from claudetrace._ledger._loader import LedgerWriter
from claudetrace._ledger._schema import VERSION, open_ledger

if TYPE_CHECKING:
    from collections.abc import Callable

    from claudetrace._guard import Guard

    Query = Callable[..., list[Any]]

ROWS = 50


def append(writer: LedgerWriter, n: int = ROWS) -> None:
    for _ in range(n):
        writer.append(row())


def locked(db: Path) -> Callable[[], None]:
    open_ledger(db).close()
    holder = sqlite3.connect(db, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    return holder.close


def a_folder(db: Path) -> Callable[[], None]:
    db.mkdir()
    return db.rmdir


def garbage(db: Path) -> Callable[[], None]:
    db.write_bytes(b"no database " * 1000)
    return db.unlink


def foreign(db: Path) -> Callable[[], None]:
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute("CREATE TABLE theirs (x)")
    return db.unlink


def newer(db: Path) -> Callable[[], None]:
    open_ledger(db).close()
    with closing(sqlite3.connect(db)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    return db.unlink


def broken_pages(db: Path) -> Callable[[], None]:
    open_ledger(db).close()
    with closing(sqlite3.connect(db)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = db.read_bytes()
    db.write_bytes(content[:4096] + os.urandom(len(content) - 4096))
    return db.unlink


def a_missing_table(db: Path) -> Callable[[], None]:
    connection = open_ledger(db)
    connection.execute("ALTER TABLE segments RENAME TO gone")
    connection.close()

    def clear() -> None:
        with closing(sqlite3.connect(db)) as connection:
            connection.execute("ALTER TABLE gone RENAME TO segments")

    return clear


@pytest.mark.parametrize(
    "fault", [locked, a_folder, garbage, foreign, newer, broken_pages, a_missing_table], ids=lambda f: f.__name__
)
def test_fault_of_the_file_loses_nothing(
    fault: Callable[[Path], Callable[[], None]], db: Path, writer: LedgerWriter, query: Query
) -> None:
    """Rows appended during the fault wait, and are in the ledger once it is cleared."""
    clear = fault(db)
    append(writer)
    during = writer.flush(0.6), writer.health()["pending"]
    clear()

    assert (during, writer.flush(10), query("SELECT COUNT(*) FROM calls")) == ((False, ROWS), True, [(ROWS,)])


HALF_MADE = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("CREATE TABLE begun (x)")
connection.execute("BEGIN IMMEDIATE")
connection.execute("DROP TABLE begun")
for number in range(100):
    connection.execute(f"CREATE TABLE t{number} (x)")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_half_made_ledger_is_read(db: Path) -> None:
    """A reader tells what a ledger is whose writer was killed with SQLite's rollback journal beside it."""
    subprocess.run([sys.executable, "-c", HALF_MADE, str(db)], check=False, timeout=60)
    assert Path(f"{db}-journal").stat().st_size

    with pytest.raises(ClaudetraceError, match="is a SQLite file of something else"):
        open_ledger(db)


def test_fault_is_told_once(db: Path, writer: LedgerWriter, caplog: pytest.LogCaptureFixture) -> None:
    """One warning names the file and the way out, however often it is tried."""
    foreign(db)
    append(writer)
    writer.flush(1)
    append(writer)
    with caplog.at_level(logging.WARNING, "claudetrace"):
        writer.flush(1)

    assert len(caplog.records) <= 1
    assert "is a SQLite file of something else" in (writer.health()["last_error"] or "")


@pytest.mark.parametrize("files", [("", "-wal", "-shm"), ("",)], ids=["all", "main file alone"])
def test_deleted_while_open(files: tuple[str, ...], db: Path, writer: LedgerWriter, query: Query) -> None:
    """Of a ledger deleted under the loader, all later rows are in a new one."""
    append(writer)
    assert writer.flush(5)
    for suffix in files:
        Path(f"{db}{suffix}").unlink()
    append(writer)

    assert (writer.flush(5), query("SELECT COUNT(*) FROM calls"), query("PRAGMA integrity_check")) == (
        True,
        [(ROWS,)],
        [("ok",)],
    )


def test_replaced_while_open(tmp_path: Path, db: Path, writer: LedgerWriter, query: Query) -> None:
    """Rows go on into the ledger that was put in the place of the open one."""
    append(writer)
    assert writer.flush(5)
    other = tmp_path / "other.db"
    open_ledger(other).close()
    other.replace(db)
    append(writer)

    assert (writer.flush(5), query("SELECT COUNT(*) FROM calls")) == (True, [(ROWS,)])


def test_vanished_folder(db: Path, writer: LedgerWriter, query: Query) -> None:
    """Rows appended while the journal's folder is removed again and again are all in the ledger."""
    for _ in range(5):
        append(writer)
        shutil.rmtree(writer.spool, ignore_errors=True)
        append(writer)
        time.sleep(0.05)

    assert (writer.flush(5), query("SELECT COUNT(*) FROM calls")) == (True, [(10 * ROWS,)])
    assert writer.spool.is_dir()


def test_folder_that_cannot_be_made(db: Path, writer: LedgerWriter, query: Query) -> None:
    """Rows for which the journal finds no folder wait in memory, and reach the ledger from there."""
    writer.spool.write_text("a file")
    append(writer)

    assert (writer.flush(5), query("SELECT COUNT(*) FROM calls")) == (True, [(ROWS,)])
    assert writer.health()["lost"] == 0


def test_memory_is_bounded(db: Path, guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    """What neither disk nor memory has room for is counted as lost."""
    monkeypatch.setattr(_journal, "KEPT_ROWS", 10)
    spool = db.with_name("file")
    spool.write_text("")
    journal = Journal(spool, guard)
    for _ in range(15):
        journal.append(row())

    assert (journal.recorded, journal.lost, len(journal.kept)) == (15, 5, 10)


def test_full_disk(tmp_path: Path, query: Query) -> None:
    """Lines torn by a full disk lose no row: the whole waits in memory until there is room."""
    program = f"""
import resource, signal, sys
sys.path[:0] = [{str(Path(__file__).parents[2])!r}, {str(Path(__file__).parent)!r}]
from pathlib import Path
from rows import row
from claudetrace._guard import Guard
from claudetrace._ledger._loader import LedgerWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
writer = LedgerWriter(Path(sys.argv[1]), guard=Guard())
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (20_500, hard))
for _ in range(100):
    writer.append(row())
full = writer.flush(1), writer.health()["lost"]
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
print(full, writer.flush(10), writer.health()["unreadable"])
"""
    db = tmp_path / "ledger.db"
    # -B: Python leaves torn bytecode behind where the disk is full.
    said = subprocess.run([sys.executable, "-B", "-c", program, db], capture_output=True, text=True, timeout=60)

    assert (said.stdout, query("SELECT COUNT(*) FROM calls")) == ("(False, 0) True 0\n", [(100,)]), said.stderr


POISON = {
    "an integer beyond 64 bits": {"input_tokens": 2**70},
    "an integer beyond SQLite's": {"output_tokens": 2**63},
    "no id": {"id": None},
    "no time": {"started_at": "yesterday"},
    "a wrong type": {"input_tokens": "many"},
    "a list": {"feature": ["a"]},
    "tags that are no object": {"tags": "[1]"},
    "a tag that is no text": {"tags": '{"team": 1}'},
    "usage that is no JSON": {"usage": "{"},
    "a source that is no text": {"source": {}},
    "a count too large to be true": {"input_tokens": 10**16},
}


@pytest.mark.parametrize("poison", POISON)
def test_poison_is_set_aside(poison: str, writer: LedgerWriter, query: Query) -> None:
    """A row that the ledger cannot hold is in quarantine with its reason, and its neighbours are in the ledger."""
    append(writer)
    writer.append(row(**{"call_id": "c", **POISON[poison]}))
    append(writer)

    assert (writer.flush(5), query("SELECT COUNT(*) FROM calls")) == (True, [(2 * ROWS,)])
    assert query("SELECT SUM(responses) FROM rollup_hours") == [(2 * ROWS,)]
    assert query("SELECT COUNT(*), MIN(LENGTH(reason)) > 5 FROM quarantine") == [(1, 1)]
    assert (writer.health()["quarantined"], writer.health()["pending"]) == (1, 0)


@pytest.mark.parametrize("told", [{}, {"id": "123"}, {"id": None}], ids=str)
def test_a_row_that_says_next_to_nothing_is_quarantined_for_what_it_lacks(
    told: dict[str, Any], writer: LedgerWriter, query: Query
) -> None:
    """The reason names a column, however few the row has."""
    writer.append(told)

    assert writer.flush(10)
    assert query("SELECT COUNT(*) FROM quarantine WHERE reason LIKE '%NOT NULL constraint failed: calls.%'") == [(1,)]


def test_lone_surrogate_is_replaced(writer: LedgerWriter, query: Query) -> None:
    """Text that UTF-8 cannot hold is stored with `?` in its place, and the row is kept."""
    writer.append(row(feature="a\ud800b"))

    assert (writer.flush(5), query("SELECT feature FROM calls")) == (True, [("a?b",)])


@pytest.mark.parametrize("value", [object(), {1: {2: b"\xff"}}, 1 + 2j, float("nan"), 2**200])
def test_no_value_raises(value: object, db: Path, guard: Guard) -> None:
    """`append` takes any value."""
    journal = Journal(db.with_name("spool"), guard)
    journal.append({"id": "1", "feature": value})

    assert (journal.recorded, journal.lost, len(guard.failures)) == (1, 0, 0)


def test_unreadable_lines_are_kept(db: Path, guard: Guard, query: Query) -> None:
    """Torn and foreign lines are kept and counted; the rows around them, and a last without newline, are loaded."""
    journal = Journal(db.with_name("ledger.db.spool"), guard)
    journal.append(row(id="1"))
    assert journal.segment is not None
    os.write(journal.segment.fd, b'\n{"id": "torn", "cal\n[1]\n')
    journal.append(row(id="2"))
    name = journal.segment.name
    del journal
    path = db.with_name("ledger.db.spool") / name
    path.write_bytes(path.read_bytes().rstrip(b"\n"))

    assert (load_orphans(db, guard), query("SELECT id FROM calls ORDER BY id")) == (2, [("1",), ("2",)])
    assert b"torn" in (path.parent / "unreadable.jsonl").read_bytes()
    assert sorted([kept.name for kept in path.parent.iterdir()]) == ["unreadable.jsonl"]


@pytest.mark.parametrize("fault", [foreign, garbage, newer])
def test_refused_file_is_left_as_it_is(fault: Callable[[Path], Any], db: Path) -> None:
    """A file that is not ours to write is refused with the reason, byte for byte untouched."""
    fault(db)
    before = db.read_bytes()
    with pytest.raises(ClaudetraceError, match=str(db)):
        open_ledger(db)

    assert db.read_bytes() == before


def test_old_sqlite_is_refused(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below SQLite 3.37 the reason is said."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    with pytest.raises(ClaudetraceError, match="STRICT"):
        open_ledger(db)


def test_no_ledger_but_rows(tmp_path: Path, guard: Guard) -> None:
    """Without a ledger, rows go to `on_rows` once, and nothing is left of the journal."""
    seen: list[str] = []
    writer = LedgerWriter(
        None, guard=guard, spool=tmp_path / "spool", on_rows=lambda rows, _: seen.extend(row["id"] for row in rows)
    )
    for number in range(10):
        writer.append(row(id=str(number)))
    flushed = writer.flush(5)
    writer.close()

    assert (flushed, seen, (tmp_path / "spool").exists()) == (True, [str(n) for n in range(10)], False)


def test_replayed_rows_are_told_apart(db: Path, guard: Guard) -> None:
    """`on_rows` hears which rows were left by a process that is gone."""
    left = Journal(db.with_name("ledger.db.spool"), guard)
    left.append(row(id="left"))
    del left
    seen: list[tuple[str, bool]] = []
    writer = LedgerWriter(db, guard=guard, on_rows=lambda rows, old: seen.extend((row["id"], old) for row in rows))
    writer.append(row(id="mine"))
    writer.flush(5)
    writer.close()

    assert sorted(seen) == [("left", True), ("mine", False)]


def test_segments_rotate(writer: LedgerWriter, query: Query, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers are led to new segments while they write, and no row is lost on the way."""
    from claudetrace._ledger import _load

    monkeypatch.setattr(_load, "ROTATE_BYTES", 10_000)
    for _ in range(20):
        append(writer)
        time.sleep(0.02)
        writer.flush(5)

    assert (query("SELECT COUNT(*) FROM calls"), len(writer.journal.retired) > 3) == ([(20 * ROWS,)], True)


def test_close_leaves_the_rest_to_others(db: Path, guard: Guard, query: Query) -> None:
    """What a closed writer could not bring into the ledger is loaded by the next who comes, in this process too."""
    clear = a_folder(db)
    writer = LedgerWriter(db, guard=guard)
    append(writer)
    writer.close(0.1)
    append(writer)
    time.sleep(0.3)
    clear()

    assert (load_orphans(db, guard), query("SELECT COUNT(*) FROM calls")) == (2 * ROWS, [(2 * ROWS,)])


def test_sealed_during_a_write(db: Path, guard: Guard, query: Query, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row whose segment is sealed while it is written is written again elsewhere, and loaded once."""
    journal = Journal(db.with_name("ledger.db.spool"), guard)
    write = os.write

    def write_and_seal(fd: int, data: bytes) -> int:
        written = write(fd, data)
        if fd == journal._fd:
            journal.seal()
        return written

    monkeypatch.setattr(os, "write", write_and_seal)
    journal.append(row(id="1"))
    monkeypatch.undo()
    journal.release()

    assert len(list(journal.spool.iterdir())) == 2
    assert (load_orphans(db, guard), query("SELECT COUNT(*) FROM calls")) == (1, [(1,)])
