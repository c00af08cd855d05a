"""Options that several commands have."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable

DB = click.option(
    "--db",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The ledger. Default: CLAUDETRACE_DB, else ledger.db in your data folder.",
)

STORE = click.option(
    "--store",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The budgets' store. Default: the file LEDGER.budgets beside the ledger.",
)


def store_path(db: Path | None, store: Path | None) -> Path:
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


def progress_of(doing: str) -> Callable[[int], None] | None:
    """Shows on a terminal how many calls are done, on one line; `None` where nobody watches."""
    if not sys.stderr.isatty():
        return None

    def show(done: int) -> None:
        click.echo(f"\r{doing}: {done:,} calls", nl=False, err=True)

    return show


def end_progress(progress: Callable[[int], None] | None) -> None:
    """Ends the line of `progress_of`."""
    if progress is not None:
        click.echo(err=True)


def responses_text(count: int) -> str:
    """The same of responses, where a call has not exactly one."""
    return f"{count:,} response{'' if count == 1 else 's'}"


def calls_text(count: int) -> str:
    """`1 call`, `1,234 calls`."""
    return f"{count:,} call{'' if count == 1 else 's'}"
