"""`claudetrace budgets init`, `apply` and `recount`: what an administrator does with a store of many hosts."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from claudetrace._budgets import _connect
from claudetrace._budgets._status import states
from claudetrace._budgets._windows import window_of
from claudetrace._errors import ClaudetraceError, dollars
from claudetrace.cli._options import DB, calls_text, progress_of, store_named
from claudetrace.cli._tables import plain

if TYPE_CHECKING:
    from decimal import Decimal

    from claudetrace._budgets._connect import StoreName
    from claudetrace._budgets._postgres._url import ServerUrl
    from claudetrace._budgets._store import Stored
    from claudetrace._call import Row

MOST_KEYS = 20
PATIENT_S = 30.0
RECOUNT_S = 35 * 86_400
"""How long a store knows what it has counted, so that nothing older is offered again."""


@click.command()
@click.argument("url", callback=store_named)
@click.option("--durable", is_flag=True, help="Wait for the disk with each step: slower, and a crash loses nothing.")
def init(url: StoreName, durable: bool) -> None:
    """Make the budgets' tables and functions in the database at URL, or bring them up to date.

    URL is postgresql://… or env:NAME of one, of a role that may create a schema. May be run again at any time, and
    prints what lets the role of your programs use them.
    """
    from claudetrace._budgets._postgres._schema import init as make

    grants = make(_server(url), durable=durable)
    click.echo(f"-- The budgets' store in {url} is ready. For the role that your programs connect as:", err=True)
    click.echo("\n".join(grants))


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--store", "url", required=True, metavar="URL", callback=store_named, help="As for `init`.")
def apply(file: Path, url: StoreName) -> None:
    """Set the [[budgets]] of FILE in the database at URL, as limits that no program can change.

    Programs with budgets="store" take them from there. Budgets that were set so before and are not in FILE are lifted.
    """
    import tomllib

    from claudetrace._budgets._budget import budgets_from
    from claudetrace._budgets._postgres._schema import apply as set_limits

    try:
        said = tomllib.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ClaudetraceError(f"{file} cannot be read: {error}") from error
    if set(said) != {"budgets"}:
        raise ClaudetraceError(f"{file} has to hold [[budgets]] and nothing else")
    budgets = budgets_from(said["budgets"])
    set_, lifted = set_limits(_server(url), budgets)
    for verb, names in (("Set", set_), ("Lifted", lifted)):
        if names:
            click.echo(f"{verb}: {', '.join(plain(name) for name in names)}.")
    if not set_ and not lifted:
        click.echo("There are no budgets in it, and none were set.")


@click.command()
@click.argument("store", metavar="URL", callback=store_named)
@DB
def recount(store: StoreName, db: Path | None) -> None:
    """Offer the calls of the ledger to the budgets in STORE again, those of the windows that run.

    For a store that was restored from an older copy, or that takes the place of another. What it has counted before
    changes nothing, so it may be run again, and is to be run on each host that has a ledger.
    """
    from claudetrace._budgets._budgets import Budgets
    from claudetrace._guard import Guard
    from claudetrace._ledger._offer_again import offer_again
    from claudetrace._ledger._read import Ledger

    now = time.time()
    with _connect.view(store) as view:
        since, before = _since(view.budgets(), now), _spent(store, now)
    if not before:
        click.echo(f"There are no budgets in {store}.")
        return
    asked = Budgets((), store, guard=Guard())

    def offer(rows: list[Row]) -> None:
        assert asked.writer is not None
        asked.writer.do(lambda to: to.offer(rows), PATIENT_S)

    try:
        with progress_of("counting") as progress:
            done = offer_again(Ledger(db).path, since, offer, progress)
    finally:
        asked.close()
    click.echo(f"Offered {calls_text(done)} since {since:%Y-%m-%d %H:%M} UTC to {store}.")
    for name, spent in _spent(store, now).items():
        more = spent - before.get(name, 0)
        click.echo(f"  {plain(name)}: {dollars(spent)} spent, {dollars(more)} more than before")


def _since(stored: list[Stored], now: float) -> datetime:
    """Where the first of the windows of now begins, as far as the store remembers."""
    starts = [window_of(each.budget.per, each.budget.timezone, now).start for each in stored]
    return datetime.fromtimestamp(max(min(starts, default=now), now - RECOUNT_S), UTC)


def _spent(store: StoreName, now: float) -> dict[str, Decimal]:
    """By each budget, with its key where each value of a tag has one."""
    with _connect.view(store) as view:
        found = [state for each in view.budgets() for state in states(view, each, now, MOST_KEYS)]
    return {f"{each.budget.name}" + (f" {each.key}" if each.key else ""): each.spent_usd for each in found}


def _server(store: StoreName) -> ServerUrl:
    from claudetrace._budgets._postgres._url import ServerUrl

    if not isinstance(store, ServerUrl):
        raise ClaudetraceError(f"{store} is a file, which needs nothing of this: name a postgresql:// URL, or env:NAME")
    return store
