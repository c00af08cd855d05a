"""`claudetrace prune`, `forget` and `reprice`: what changes a ledger. Each says first what would change, and asks."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from claudetrace import _forget
from claudetrace._budgets import _connect
from claudetrace._budgets._budgets import Budgets
from claudetrace._budgets._records import StoreError
from claudetrace._call import exact_usd
from claudetrace._errors import ClaudetraceError
from claudetrace._files import require_writable
from claudetrace._guard import Guard
from claudetrace._ledger import _prune, _reprice
from claudetrace._ledger._read import Ledger
from claudetrace._ledger._times import moment_of, span
from claudetrace._pricing._list import use_rates_of
from claudetrace.cli._options import DB, STORE, YES, agree, progress_of, read_path, store_path
from claudetrace.cli._text import calls_text, columns, count_text, counted, plain, table, usd_digits, usd_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from claudetrace._budgets._connect import StoreName
    from claudetrace._forget import Forgotten
    from claudetrace._ledger._reprice import Correction, Repriced

NOT_OURS = "spans, metrics, records and alerts that were sent, logs of programs, copies and backups"
"""What `forget` cannot know the place of."""


@click.command()
@click.option("--before", required=True, help="Remove the calls of earlier days: 90d, 12w, last month, or a date.")
@click.option("--all", "everything", is_flag=True, help="Remove their sums too.")
@YES
@DB
def prune(before: str, everything: bool, yes: bool, db: Path | None) -> None:
    """Remove the calls of whole UTC days, after saying how many. Their sums stay, unless --all is given."""
    path = Ledger(read_path(db, to_change=True)).path
    moment = moment_of("--before", before)
    if moment.date() > datetime.now(UTC).date():
        raise ClaudetraceError(
            f"--before {before} is after today, so every call would go; give today's date for all but today's calls"
        )
    sums = "with their sums" if everything else "their sums stay"
    of_days = f"of days before {moment:%Y-%m-%d} UTC"
    day = moment.astimezone(UTC).date()
    calls = _prune.older_calls(path, day)
    if calls or everything:
        agree(f"{calls_text(calls)} {of_days} would go from {path}; {sums}.", "Remove them?", yes=yes)
    with progress_of("removing") as progress:
        removed = _prune.prune(path, day, everything=everything, progress=progress)
    click.echo(f"Removed {calls_text(removed)} {of_days} from {path}; {sums}.")


@click.command()
@click.option("--user", help="A value of the tag `user`.")
@click.option("--customer", help="A value of the tag `customer`; its users and sessions go too.")
@click.option("--session", help="A value of the tag `session`.")
@click.option("--tag", metavar="KEY=VALUE", help="A value of a tag of your own.")
@YES
@STORE
@DB
def forget(tag: str | None, yes: bool, store: StoreName | None, db: Path | None, **values: str | None) -> None:
    """Remove a user, customer, session or tag value, and what could identify it, from the ledger, its journal, the
    budgets' store and files set aside from them. Says first how many calls name it. What they cost stays.

    The ledger's key finds a hashed tag. Exits 1 where nothing names the value, and where a file may still name it.
    """
    key, value = _named(values, tag)
    path = Ledger(read_path(db, to_change=True)).path
    require_writable(path)
    calls, days = _forget.told_of(path, key, value)
    if calls or days:
        agree(f"{_who(calls, days)} in {path} {_verb(calls, days)} the {key} {value!r}.", "Forget it?", yes=yes)
    with progress_of("forgetting") as progress:
        done = _forget.forget(path, store_path(db, store), key, value, progress=progress)
    click.echo(_forgotten(done, path, key, value))
    for left in (*done.left, *([NOT_OURS] if done.is_something else [])):
        click.echo(f"Not reached: {left}.")
    if done.left or not done.is_something:
        raise SystemExit(1)


def _named(values: dict[str, str | None], tag: str | None) -> tuple[str, str]:
    """The tag and its value that one of the options names."""
    given = [(key, value) for key, value in values.items() if value is not None]
    if tag is not None:
        key, equals, value = tag.partition("=")
        if not (key and equals):
            raise click.UsageError("--tag is KEY=VALUE.")
        given.append((key, value))
    if len(given) != 1:
        raise click.UsageError("Name one: --user, --customer, --session or --tag KEY=VALUE.")
    if not given[0][1]:
        raise click.UsageError(f"The {given[0][0]} is empty; give the value that it has in the calls.")
    return given[0]


def _who(calls: int, days: int) -> str:
    return calls_text(calls) + (f" and the sums of {counted(days, 'day')}" if days and not calls else "")


def _verb(calls: int, days: int) -> str:
    return "names" if calls == 1 and not days else "name"


def _forgotten(done: Forgotten, path: Path, key: str, value: str) -> str:
    if not done.is_something:
        return f"No call in {path} names the {key} {value!r}."
    lines = [f"{_who(done.calls, done.days)} in {path} no longer {_verb(done.calls, done.days)} {value!r}."]
    if done.entries:
        spent = "what was spent stays, of somebody (forgotten …)"
        lines.append(f"Nor do {done.entries:,} counters, reservations and alerts of budgets: {spent}.")
    if done.lines:
        lines.append(f"Unreadable lines removed: {done.lines:,}.")
    return "\n".join(lines)


@click.command()
@click.option("--all", "everything", is_flag=True, help="Price all calls, not only those without a known price.")
@click.option("--since", help="Only calls from then on: 7d, 12w, a date, or a time.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@YES
@STORE
@DB
def reprice(
    everything: bool, since: str | None, dry_run: bool, yes: bool, store: StoreName | None, db: Path | None
) -> None:
    """Price calls again from their rows, by the rates of their day, after showing what would change.

    Prices the calls without a known price, or all with --all. The ledger's sums and what budgets have spent change
    too. Programs may go on recording. If it is interrupted, run it again: nothing is lost.
    """
    path = Ledger(read_path(db, to_change=True)).path
    use_rates_of(path)
    moment = None if since is None else span(since, None).since
    with progress_of("pricing") as progress:
        planned = _reprice.reprice(path, everything=everything, since=moment, progress=progress)
    click.echo(_plan(planned, everything=everything))
    if dry_run:
        return
    with _budgets(store_path(db, store)) as correct:
        if correct is not None:
            _reprice.tell_untold(path, correct)
        if not _sum(planned, "changed_rows"):
            return
        agree("", f"Change them in {path}?", yes=yes)
        with progress_of("repricing") as progress:
            done = _reprice.reprice(
                path, everything=everything, since=moment, apply=True, progress=progress, correct=correct
            )
        click.echo(f"Repriced {calls_text(_sum(done, 'changed_rows'))} in {path}.")


@contextmanager
def _budgets(store: StoreName) -> Iterator[Callable[[list[Correction]], None] | None]:
    """What corrects the budgets in `store`; `None` where there are none."""
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


def _sum(planned: list[Repriced], field: str) -> int:
    return sum(getattr(each, field) for each in planned)


def _plan(planned: list[Repriced], *, everything: bool) -> str:
    """What would change, by model."""
    rows, changed, unpriced = (_sum(planned, field) for field in ("rows", "changed_rows", "unpriced_after"))
    kind = "" if everything else " without a known price"
    if not rows:
        return f"No calls{kind}: there is nothing to price again."
    left = f" {calls_text(unpriced)} would still have no known price." if unpriced else ""
    if not changed:
        return f"Looked at {calls_text(rows)}{kind}: no price changes.{left}"
    digits = usd_digits(abs(exact_usd(each.after_picousd - each.before_picousd)) for each in planned)

    def cells(name: str, of: list[Repriced]) -> list[str]:
        counts = [_sum(of, field) for field in ("rows", "changed_rows", "unpriced_before", "unpriced_after")]
        old, new = _sum(of, "before_picousd"), _sum(of, "after_picousd")
        return [name, *map(count_text, counts), *(usd_text(exact_usd(each), digits) for each in (old, new, new - old))]

    lines = [cells("(no model)" if each.model is None else plain(each.model), [each]) for each in planned]
    heads = ["model", "calls", "change", "unpriced", "then", "cost (USD)", "then", "difference"]
    shown = table(columns(heads, [*lines, cells("total", planned)]), total=True)
    return f"{shown}\n\n{calls_text(changed)} of {rows:,}{kind} would change.{left}"
