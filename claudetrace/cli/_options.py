"""Options that several commands have, and what they mean."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from claudetrace._clock import monotonic
from claudetrace._errors import ClaudetraceError
from claudetrace._places import default_db

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from claudetrace._budgets._connect import StoreName

SHOW_AFTER_S, SHOW_EVERY_S = 0.5, 0.1
DB = click.option(
    "--db",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The ledger. Default: CLAUDETRACE_DB, else db in claudetrace.toml, else ledger.db in your data folder.",
)
YES = click.option("--yes", is_flag=True, help="Do not ask.")
WIDE = click.option("--wide", is_flag=True, help="Show all columns, even on a narrow screen.")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Write JSON: whole counts, exact dollars as text.")
WHERE = click.option(
    "--where",
    multiple=True,
    metavar="KEY=VALUE",
    help="Only calls with this value. Repeat it for further filters, or with the same key for further values. "
    "KEY!=VALUE leaves calls out; KEY= keeps those without a value.",
)


def store_named(context: click.Context, param: click.Parameter, value: str | None) -> StoreName | None:
    """The budgets' store with this name, as click asks for it. Warns of a password that others can see."""
    from claudetrace._parse import budget_store

    if value is None:
        return None
    try:
        store = budget_store("budget_store", value)
    except ClaudetraceError as error:
        raise click.BadParameter(str(error), context, param) from None
    if getattr(store, "is_open_to_others", False):
        told = "others on this machine can see the password in the list of processes; env:NAME hides it"
        click.echo(f"Warning: {told}.", err=True)
    return store


STORE = click.option(
    "--store",
    metavar="PATH|URL",
    callback=store_named,
    help="The budgets' store: a file, a postgresql:// URL, or env:NAME of one. Default: LEDGER.budgets.",
)


def read_path(db: Path | None, *, to_change: bool = False) -> Path:
    """The ledger to read: the one that is named, else the one that `instrument()` would write here.

    A ledger `to_change` is never taken from a settings file that nobody named. Raises `ClaudetraceError`.
    """
    if db is not None or os.environ.get("CLAUDETRACE_DB"):
        return db or default_db()
    from claudetrace import _parse
    from claudetrace._config import config_file, read_config

    said = read_config(None)
    if "db" not in said:
        return default_db()
    file, is_named = config_file(None)
    if to_change and not is_named:
        raise ClaudetraceError(
            f"the ledger of {file} is {said['db']}, but nobody named that file: give --db to change a ledger"
        )
    found = _parse.db("db in claudetrace.toml", said["db"])
    if found is False:
        raise ClaudetraceError("claudetrace.toml turns the ledger off with db = false; name one with --db")
    return found or default_db()


def store_path(db: Path | None, store: StoreName | None) -> StoreName:
    """The budgets' store: the one that is named, else the one beside a ledger that is named, else the settings'."""
    if store is not None:
        return store
    if db is not None:
        return db.with_name(f"{db.name}.budgets")
    from claudetrace._config import resolve

    # Any budget will do: the settings then say where its store is.
    settings = resolve({"budgets": [{"name": "any", "max_calls": 1}]})
    assert settings.budget_store is not None
    return settings.budget_store


def filters_of(where: Iterable[str]) -> dict[str, list[str | None]]:
    """The values of --where as `Ledger.spend` takes them. Raises `ClaudetraceError`."""
    found: dict[str, list[str | None]] = {}
    for said in where:
        name, equals, value = said.partition("=")
        if not equals:
            raise ClaudetraceError(f"--where {said} has no value; give KEY=VALUE, KEY!=VALUE, or KEY= for none")
        found.setdefault(name.strip(), []).append(value or None)
    return found


def agree(what: str, question: str, *, yes: bool) -> None:
    """Says what would happen, and returns if a person agrees or `yes` is given; else it ends the command."""
    if yes:
        return
    if what:
        click.echo(what)
    if not sys.stdin.isatty():
        raise click.UsageError("nothing is changed: add --yes to do it")
    click.confirm(question, abort=True)


@contextmanager
def progress_of(doing: str) -> Iterator[Callable[[int], None] | None]:
    """Shows on a terminal how many calls are done, on a line that disappears at the end; `None` without a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    begun = next_at = monotonic() + SHOW_AFTER_S

    def show(done: int) -> None:
        nonlocal next_at
        if monotonic() >= next_at:
            next_at = monotonic() + SHOW_EVERY_S
            click.echo(f"\r{doing}: {done:,} calls", nl=False, err=True)

    try:
        yield show
    finally:
        if next_at > begun:
            click.echo("\r\x1b[K", nl=False, err=True)
