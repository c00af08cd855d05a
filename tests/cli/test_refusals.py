"""What the command line refuses instead of guessing: an option given twice, a day to come, a file that is no ledger."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest

from claudetrace import Ledger
from claudetrace.cli import main

from .conftest import run


def options(command: click.Command, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The words of each command with each of its options that hold one value."""
    found = [
        (*words, max(option.opts, key=len))
        for option in command.params
        if isinstance(option, click.Option) and not (option.is_flag or option.multiple or option.count)
    ]
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found += options(command.get_command(context, name), (*words, name))
    return found


@pytest.mark.parametrize("words", options(main), ids=" ".join)
def test_an_option_given_twice_is_refused(words):
    """An option that holds one value and is given twice ends with status 2 and its name, whatever the command."""
    *command, option = words
    told = run(*command, option, "1", option, "2")

    assert (told.exit_code, f"{option} is given twice" in told.output) == (2, True)


@pytest.mark.parametrize(
    "words",
    [
        ["report", "--since=7d", "--since", "1d"],
        ["tail", "-n3", "-n", "4"],
        ["budgets", "--db", "a", "test", "x", "--db", "b"],
    ],
)
def test_it_is_refused_however_it_is_written(words):
    """With `=`, joined to a short name, or once before and once after a command of a command."""
    told = run(*words)

    assert (told.exit_code, "is given twice" in told.output) == (2, True)


@pytest.mark.parametrize("days", [1, 30, 400])
@pytest.mark.parametrize("more", [[], ["--all"]])
def test_pruning_what_is_to_come_is_refused(db, days, more):
    """A day after today removes nothing and ends with status 2: it would take every call."""
    before = (datetime.now(UTC) + timedelta(days=days)).date().isoformat()
    calls = len(Ledger(db).calls(limit=None))
    told = run("prune", "--yes", "--before", before, *more, "--db", db)

    assert (told.exit_code, "is after today" in told.output) == (2, True)
    assert len(Ledger(db).calls(limit=None)) == calls


def test_pruning_until_today_leaves_the_calls_of_today(db):
    """Today is the last day that can be named, and today's calls stay."""
    calls = [call.id for call in Ledger(db).calls(limit=None)]
    told = run("prune", "--yes", "--before", datetime.now(UTC).date().isoformat(), "--db", db)

    assert (told.exit_code, [call.id for call in Ledger(db).calls(limit=None)]) == (0, calls)


def _empty(path: Path) -> None:
    path.touch()


def _folder(path: Path) -> None:
    path.mkdir()


def _text(path: Path) -> None:
    path.write_text("id,cost\n1,2\n")


def _sqlite(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def _without_tables(path: Path) -> None:
    _sqlite(path, "VACUUM")


def _of_something_else(path: Path) -> None:
    _sqlite(path, "CREATE TABLE calls (id TEXT)")


def _nothing(_: Path) -> None:
    """No file at all."""


READING = (
    ["report"], ["report", "--trace", "ab"], ["report", "--batch"], ["tail", "--once"], ["reprice", "--dry-run"],
    ["prune", "--before", "90d"], ["forget", "--user", "u"], ["doctor"], ["budgets"],
    # Without a port that it could listen on it cannot serve what it should refuse.
    ["dashboard", "--no-open", "--host", "192.0.2.1", "--insecure"],
)  # fmt: skip


@pytest.mark.parametrize("make", [_empty, _folder, _text, _without_tables, _of_something_else, _nothing])
def test_what_is_no_ledger_stays_as_it_is(tmp_path, make):
    """No command that reads makes a ledger of another file, or one where there is none: it is refused, untouched."""
    path = tmp_path / "ledger.db"
    make(path)
    before = [(each, each.stat().st_size) for each in tmp_path.iterdir()]
    content = path.read_bytes() if path.is_file() else None

    for words in READING:
        told = run(*words, "--db", path)
        assert told.exit_code == (2 if words[0] != "doctor" or path.is_dir() else 1), (words, told.output)
    assert [(each, each.stat().st_size) for each in tmp_path.iterdir()] == before
    assert content is None or path.read_bytes() == content


@pytest.mark.parametrize("version", [-1, 0, 2, 99])
def test_a_ledger_of_another_version_stays_as_it_is(db, tmp_path, version):
    """A newer ledger, and one whose version is none, is refused by every command that reads, and not led anywhere."""
    path = Path(shutil.copy(db, tmp_path / "other.db"))
    _sqlite(path, "PRAGMA journal_mode = DELETE", f"PRAGMA user_version = {version}")
    content = path.read_bytes()
    for words in READING:
        told = run(*words, "--db", path)
        assert told.exit_code == (1 if words[0] == "doctor" else 2), (words, told.output)

    assert path.read_bytes() == content
