"""Where a disk has no room, rows wait, and at the end they go to another disk, for the next program on the ledger."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rows import row

import claudetrace
from claudetrace import _usable
from claudetrace._ledger import _segments
from claudetrace._ledger._loader import LedgerWriter

if TYPE_CHECKING:
    from collections.abc import Callable

    from claudetrace._guard import Guard

    Query = Callable[..., list[Any]]

MORE_THAN_THERE_IS = 1 << 60


@pytest.fixture
def other_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "other"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(_segments, "DISKS", ())
    return folder


def without_room(db: Path, guard: Guard, rows: int) -> Callable[[], None]:
    """A program that finds room for nothing ends with so many rows; gives what makes room."""
    spool = db.with_name(f"{db.name}.spool")
    db.mkdir()
    spool.write_text("")
    writer = LedgerWriter(db, guard=guard)
    for _ in range(rows):
        writer.append(row())
    writer.close(0.3)

    def clear() -> None:
        db.rmdir()
        spool.unlink()

    return clear


def test_rows_in_memory_outlive_the_process(db: Path, guard: Guard, other_disk: Path, query: Query) -> None:
    """They are in one file of this user's alone, which the log names, and the next program takes them in."""
    clear = without_room(db, guard, 20)
    (file,) = [path for path in other_disk.rglob("*") if path.is_file()]
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (file, file.parent, file.parent.parent)]
    assert modes == [0o600, 0o700, 0o700]
    assert any(f"20 calls to {db}.spool before the end; they are in {file}" in reason for reason in guard.failures)
    clear()
    writer = LedgerWriter(db, guard=guard)
    writer.append(row())
    writer.flush(5)
    writer.close()

    assert query("SELECT COUNT(*) FROM calls") == [(21,)]
    assert [path for path in other_disk.rglob("*") if path.is_file()] == []


def test_a_reader_takes_them_in_too(db: Path, guard: Guard, other_disk: Path) -> None:
    """`Ledger` loads what is on the other disk, also where there is neither a ledger nor a journal yet."""
    without_room(db, guard, 3)()
    with claudetrace.Ledger(db) as ledger:
        assert len(ledger.calls()) == 3


def test_what_finds_no_room_anywhere_is_counted(db: Path, guard: Guard, other_disk: Path) -> None:
    """The log says how many are lost, and `lost` has them."""
    (other_disk / f"claudetrace-{os.getuid()}").write_text("somebody was here")
    spool = db.with_name(f"{db.name}.spool")
    spool.write_text("")
    db.mkdir()
    writer = LedgerWriter(db, guard=guard)
    for _ in range(7):
        writer.append(row())
    writer.close(0.3)

    assert writer.health()["lost"] == 7
    assert any("7 calls" in reason and "no disk has room, so they are lost" in reason for reason in guard.failures)


def test_a_folder_of_others_is_not_used(db: Path, guard: Guard, other_disk: Path) -> None:
    """A folder that others may write to, or a link, is neither written to nor read."""
    elsewhere = other_disk / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (other_disk / f"claudetrace-{os.getuid()}").symlink_to(elsewhere)
    without_room(db, guard, 2)

    assert list(elsewhere.iterdir()) == []


def test_sqlite_is_left_alone_without_a_margin(
    writer: LedgerWriter, query: Query, guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With less free than SQLite may need, rows wait in the journal, and that is told once; with room, they go on."""
    writer.append(row())
    assert writer.flush(5)
    monkeypatch.setattr(_usable, "MARGIN_BYTES", MORE_THAN_THERE_IS)
    for _ in range(10):
        writer.append(row())
    low = writer.flush(1), writer.health()["pending"], writer.health()["lost"]
    told = [reason for reason in guard.failures if "write the ledger" in reason]
    monkeypatch.undo()

    assert (low, len(told)) == ((False, 10, 0), 1)
    assert (writer.flush(10), query("SELECT COUNT(*) FROM calls")) == (True, [(11,)])
