"""Options that several commands have."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from claudetrace._clock import monotonic
from claudetrace._errors import ClaudetraceError
from claudetrace._places import default_db

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from claudetrace._budgets._connect import StoreName

SHOW_AFTER_S, SHOW_EVERY_S = 0.5, 0.1
DB = click.option(
    "--db",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The ledger. Default: CLAUDETRACE_DB, else db in claudetrace.toml, else ledger.db in your data folder.",
)
YES = click.option("--yes", is_flag=True, help="Do not ask.")
WIDE = click.option("--wide", is_flag=True, help="All columns, also where the screen is narrow.")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="For programs: whole counts, exact dollars as text.")
WHERE = click.option(
    "--where",
    multiple=True,
    metavar="KEY=VALUE",
    help="Only calls with it. Again: another filter; the same KEY again: either value. KEY!=VALUE leaves out; KEY= "
    "is for those that have none.",
)


def store_named(context: click.Context, param: click.Parameter, value: str | None) -> StoreName | None:
    """The store of that name; for click. Warns of a password that others can see."""
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


def read_path(db: Path | None) -> Path:
    """The ledger that a command reads: as named, else the one that `instrument()` would write here."""
    if db is not None or os.environ.get("CLAUDETRACE_DB"):
        return db or default_db()
    from claudetrace._config import read_config

    return _of_settings(read_config(None))


def named_path(db: Path | None) -> Path:
    """The ledger that a command deletes from. A settings file that nobody named does not say which."""
    from claudetrace._config import config_file, read_config

    if db is not None or os.environ.get("CLAUDETRACE_DB"):
        return db or default_db()
    said = read_config(None)
    file, is_named = config_file(None)
    if "db" in said and not is_named:
        raise ClaudetraceError(
            f"the ledger of {file} is {said['db']}, but nobody named that file: give --db to change a ledger"
        )
    return _of_settings(said)


def _of_settings(said: Mapping[str, Any]) -> Path:
    from claudetrace import _parse

    db = _parse.db("db in claudetrace.toml", said["db"]) if "db" in said else default_db()
    if db is False:
        raise ClaudetraceError("claudetrace.toml says that no ledger is kept: db = false; name one with --db")
    return db or default_db()


def filters_of(where: Iterable[str]) -> dict[str, list[str | None]]:
    """What --where was given as, as `Ledger.spend` takes it. Raises `ClaudetraceError`."""
    found: dict[str, list[str | None]] = {}
    for said in where:
        name, equals, value = said.partition("=")
        if not equals:
            raise ClaudetraceError(f"--where {said} says no value; give KEY=VALUE, KEY!=VALUE, or KEY= for none")
        found.setdefault(name.strip(), []).append(value or None)
    return found


def agree(what: str, question: str, *, yes: bool) -> None:
    """Says what would be done, and returns when a person agrees; ends the command where none does, or none is there."""
    if yes:
        return
    if what:
        click.echo(what)
    if not sys.stdin.isatty():
        raise click.UsageError("nothing is changed: add --yes to do it")
    click.confirm(question, abort=True)


def store_path(db: Path | None, store: StoreName | None) -> StoreName:
    """The budgets' store: as named, else beside the ledger that is named, else where the settings have it."""
    if store is not None:
        return store
    if db is not None:
        return db.with_name(f"{db.name}.budgets")
    from claudetrace._config import resolve

    # Any budget: what is asked is where one would be kept.
    settings = resolve({"budgets": [{"name": "any", "max_calls": 1}]})
    assert settings.budget_store is not None
    return settings.budget_store


@contextmanager
def progress_of(doing: str) -> Iterator[Callable[[int], None] | None]:
    """Shows on a terminal how many calls are done, on a line that is gone at the end; `None` where nobody watches."""
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


def responses_text(count: int) -> str:
    """The same of responses, where a call has not exactly one."""
    return f"{count:,} response{'' if count == 1 else 's'}"


def calls_text(count: int) -> str:
    """`1 call`, `1,234 calls`."""
    return f"{count:,} call{'' if count == 1 else 's'}"
