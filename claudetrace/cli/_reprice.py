"""`claudetrace reprice`."""

from __future__ import annotations

from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING

import click

from claudetrace._call import exact_usd
from claudetrace._errors import ClaudetraceError
from claudetrace.cli._options import (
    DB,
    STORE,
    YES,
    agree,
    calls_text,
    named_path,
    progress_of,
    store_path,
)
from claudetrace.cli._tables import count_text, plain, table, usd_digits, usd_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from claudetrace._budgets._connect import StoreName
    from claudetrace._ledger._reprice import Correction, Repriced

NO_MODEL = "(no model)"


@click.command(short_help="Price calls again by the rates of their day.")
@click.option("--all", "everything", is_flag=True, help="All calls, not only those without a known price.")
@click.option("--since", help="Only calls from then on: 7d, 12w, a date, or a time.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@YES
@STORE
@DB
def reprice(
    everything: bool, since: str | None, dry_run: bool, yes: bool, store: StoreName | None, db: Path | None
) -> None:
    """Price calls again from what their rows hold, by the rates of their day, after showing what would change.

    The calls that have no known price, or all with --all. Sums by hour and by tag change with them, and what the
    budgets have spent. Calls may be recorded meanwhile. If it is interrupted, nothing is lost: run it again.
    """
    from claudetrace._ledger._read import Ledger
    from claudetrace._ledger._reprice import reprice as reprice_rows
    from claudetrace._ledger._reprice import tell_untold
    from claudetrace._ledger._times import span
    from claudetrace._pricing._list import use_rates_of

    path = Ledger(named_path(db)).path
    use_rates_of(path)
    moment = None if since is None else span(since, None).since
    with progress_of("pricing") as progress:
        planned = reprice_rows(path, everything=everything, since=moment, progress=progress)
    click.echo(_plan(planned, everything=everything))
    if dry_run:
        return
    with _budgets(store_path(db, store)) as correct:
        if correct is not None:
            tell_untold(path, correct)
        if not sum(each.changed_rows for each in planned):
            return
        agree("", f"Change them in {path}?", yes=yes)
        with progress_of("repricing") as progress:
            done = reprice_rows(
                path, everything=everything, since=moment, apply=True, progress=progress, correct=correct
            )
        changed = sum(each.changed_rows for each in done)
        click.echo(f"Repriced {calls_text(changed)} in {path}.")


@contextmanager
def _budgets(store: StoreName) -> Iterator[Callable[[list[Correction]], None] | None]:
    """What corrects the budgets in `store`; `None` where there are none."""
    from claudetrace._budgets import _connect
    from claudetrace._budgets._budgets import Budgets
    from claudetrace._budgets._store import StoreError
    from claudetrace._guard import Guard

    if not _connect.exists(store):
        yield None
        return
    budgets = Budgets((), store, guard=Guard())
    try:
        yield budgets.correct
    except StoreError as error:
        raise ClaudetraceError(
            f"the budgets' store {store} cannot be corrected now ({error}); the ledger is right as far as it was "
            "priced: run claudetrace reprice again"
        ) from error
    finally:
        budgets.close()


def _plan(planned: list[Repriced], *, everything: bool) -> str:
    """What would change, by model."""
    rows, changed = sum(each.rows for each in planned), sum(each.changed_rows for each in planned)
    kind = "" if everything else " without a known price"
    if not rows:
        return f"No calls{kind}: there is nothing to price again."
    unpriced = sum(each.unpriced_after for each in planned)
    left = f" {calls_text(unpriced)} would still have no known price." if unpriced else ""
    if not changed:
        return f"Looked at {calls_text(rows)}{kind}: no price changes.{left}"
    return "\n".join([_table(planned), "", f"{calls_text(changed)} of {rows:,}{kind} would change.{left}"])


def _table(planned: list[Repriced]) -> str:
    before = [exact_usd(each.before_picousd) for each in planned]
    after = [exact_usd(each.after_picousd) for each in planned]
    digits = usd_digits([abs(new - old) for old, new in zip(before, after, strict=True)])
    heads = ["model", "calls", "change", "unpriced", "then", "cost (USD)", "then", "difference"]

    def cells(name: str, of: list[Repriced], old: Decimal, new: Decimal) -> list[str]:
        counts = [
            sum(getattr(each, field) for each in of)
            for field in ("rows", "changed_rows", "unpriced_before", "unpriced_after")
        ]
        money = [usd_text(amount, digits) for amount in (old, new, new - old)]
        return [name, *map(count_text, counts), *money]

    lines = [
        cells(NO_MODEL if each.model is None else plain(each.model), [each], old, new)
        for each, old, new in zip(planned, before, after, strict=True)
    ]
    total = cells("total", planned, sum(before, Decimal(0)), sum(after, Decimal(0)))
    return table(heads, [*lines, total], last_is_total=True)
