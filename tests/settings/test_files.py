"""Files and folders of ours: for their owner alone, or for a group by `file_mode`, and never somebody else's."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import claudetrace
from claudetrace.cli import main as cli

from ._api import say


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    """The mode of each file and folder in `folder`."""
    found = {}
    for path in folder.rglob("*"):
        # The loader may be closing the database right now.
        with suppress(FileNotFoundError):
            found[str(path.relative_to(folder))] = stat.S_IMODE(path.lstat().st_mode)
    return found


def record(client: Any, db: Path, **settings: Any) -> dict[str, int]:
    """The modes of all files beside the ledger while one call is in it and a budget has counted it."""
    budget = claudetrace.Budget("b", usd=1, on_exceeded="block")
    with claudetrace.instrument(db=db, hash_tags=("user",), budgets=[budget], force=True, **settings) as running:
        say(client, 1)
        assert running.flush(30)
        return modes(db.parent)


@pytest.mark.parametrize("mask", [0o022, 0o000, 0o077])
def test_they_are_for_their_owner_alone(client: Any, tmp_path: Path, mask: int) -> None:
    """Whatever the umask, each file is 0600 and each folder that we make 0700."""
    with umask(mask):
        found = record(client, tmp_path / "made" / "here" / "ledger.db")

    folders = {"ledger.db.spool", "ledger.db.budgets.owners"}
    assert {"ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db.key", "ledger.db.budgets", *folders} <= set(found)
    assert {name: mode for name, mode in found.items() if mode != (0o700 if name in folders else 0o600)} == {}
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (tmp_path / "made", tmp_path / "made" / "here")] == [
        0o700,
        0o700,
    ]


def test_a_group_may_share_them(client: Any, tmp_path: Path) -> None:
    """With `file_mode = 0o660` in a named file the group reads and writes all of it, whatever the umask."""
    config = tmp_path / "named.toml"
    config.write_text("file_mode = 0o660\n")
    with umask(0o022):
        found = record(client, tmp_path / "made" / "here" / "ledger.db", config=config)
        record(client, tmp_path / "again" / "ledger.db")

    assert set(found.values()) == {0o660, 0o2770}
    assert stat.S_IMODE((tmp_path / "made" / "here").stat().st_mode) == 0o2770
    assert stat.S_IMODE((tmp_path / "again" / "ledger.db").stat().st_mode) == 0o600


def test_a_wider_mode_that_is_there_is_kept_and_told(client: Any, db: Path) -> None:
    """A ledger that its owner opened to others stays so; `doctor` names it with the way out."""
    from click.testing import CliRunner

    record(client, db)
    db.chmod(0o644)
    record(client, db)
    told = CliRunner().invoke(cli, ["doctor", "--db", str(db)])

    assert stat.S_IMODE(db.stat().st_mode) == 0o644
    assert (told.exit_code, "files open to others" in told.output) == (1, True)
    assert f"{db} is one: chmod 600 it" in told.output.replace("\n", "").replace("  ", "")


@pytest.mark.parametrize("mode", ['"0660"', "0o060", "0o700", "0o1600", "true", "-1"])
def test_a_mode_that_cannot_be(tmp_path: Path, mode: str) -> None:
    """A mode by which the owner could not write, or a file could be run, is refused with those that can be."""
    config = tmp_path / "named.toml"
    config.write_text(f"file_mode = {mode}\n")

    with pytest.raises(claudetrace.ClaudetraceError, match=r"file_mode in claudetrace.toml=.* give 0o600, or for"):
        claudetrace.instrument(config=config)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder that everybody can write to, as /tmp is."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


PLANTED = (
    "ledger.db",
    "ledger.db-wal",
    "ledger.db-shm",
    "ledger.db.lock",
    "ledger.db.spool",
    "ledger.db.key",
    "ledger.db.budgets",
    "ledger.db.budgets.lock",
    "ledger.db.budgets.owners",
)


@pytest.mark.parametrize("name", PLANTED)
def test_a_link_that_was_planted_leads_nowhere(
    client: Any, server: Any, shared: Path, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In a folder that others can write to a link in the place of a file of ours is not followed, whatever it is."""
    target = tmp_path / "victim"
    if name.endswith((".spool", ".owners")):
        target.mkdir()
    else:
        target.write_bytes(b"")
    before = target.stat().st_mtime_ns
    (shared / name).symlink_to(target)
    budget = claudetrace.Budget("b", usd=1, on_exceeded="block")
    with caplog.at_level(logging.WARNING):
        try:
            with claudetrace.instrument(
                db=shared / "ledger.db", hash_tags=("user",), budgets=[budget], force=True
            ) as running:
                say(client, 1)
                running.flush(1)
            told = caplog.text
        except claudetrace.ClaudetraceError as error:
            told = str(error)

    assert "is a link, in a folder that others can write to" in told
    assert (target.stat().st_mtime_ns, target.is_dir() or target.read_bytes()) == (before, target.is_dir() or b"")
    assert list(target.iterdir()) == [] if target.is_dir() else True


def test_a_link_to_what_could_not_be_read(client: Any, shared: Path, tmp_path: Path) -> None:
    """Lines that are no rows are not written through a link, nor into a file that has another name."""
    db = shared / "ledger.db"
    record(client, db)
    spool = shared / "ledger.db.spool"
    spool.chmod(0o777)
    for number, link in enumerate((Path.symlink_to, Path.hardlink_to)):
        start_file = tmp_path / f"profile{number}"
        start_file.write_text("mine\n")
        (spool / "unreadable.jsonl").unlink(missing_ok=True)
        link(spool / "unreadable.jsonl", start_file)
        (spool / f"{number}.jsonl").write_text("touch /tmp/owned\n")
        record(client, db)
        assert start_file.read_text() == "mine\n"


def test_a_pipe_in_the_place_of_a_file_keeps_nobody_waiting(client: Any, shared: Path) -> None:
    """A pipe where a file of ours belongs is refused at once."""
    os.mkfifo(shared / "ledger.db.lock")
    with claudetrace.instrument(db=shared / "ledger.db", force=True) as running:
        say(client, 1)
        assert not running.flush(1)
        assert "is no file" in str(running.health.last_error)


def test_links_of_ones_own_folder_are_followed(client: Any, tmp_path: Path) -> None:
    """Where nobody else can write, a ledger may be a link to another disk."""
    disk, home = tmp_path / "disk", tmp_path / "home"
    disk.mkdir()
    home.mkdir(mode=0o755)
    (home / "ledger.db").symlink_to(disk / "ledger.db")
    (disk / "ledger.db").touch()
    record(client, home / "ledger.db")

    assert [call.outcome for call in claudetrace.Ledger(disk / "ledger.db").calls()] == ["ok"]
