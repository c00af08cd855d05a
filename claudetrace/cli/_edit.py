"""`claudetrace prune` and `claudetrace forget`: what removes something."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from claudetrace._errors import ClaudetraceError
from claudetrace._files import require_writable
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

if TYPE_CHECKING:
    from pathlib import Path

    from claudetrace._budgets._connect import StoreName
    from claudetrace._forget import Forgotten

NOT_OURS = "spans, metrics, records and alerts that were sent, logs of programs, copies and backups"
"""What could be anywhere."""


@click.command(short_help="Remove old calls; their sums stay.")
@click.option("--before", required=True, help="Calls of days before this go: 90d, 12w, last month, or a date.")
@click.option("--all", "everything", is_flag=True, help="Remove their sums by hour and day too.")
@YES
@DB
def prune(before: str, everything: bool, yes: bool, db: Path | None) -> None:
    """Remove the calls of whole UTC days, after saying how many. Their sums by hour and by tag and day stay, unless
    --all."""
    from claudetrace._ledger import _prune
    from claudetrace._ledger._read import Ledger
    from claudetrace._ledger._times import moment_of

    ledger = Ledger(named_path(db))
    path, moment = ledger.path, moment_of("--before", before)
    if moment.date() > datetime.now(UTC).date():
        raise ClaudetraceError(
            f"--before {before} is after today, so every call would go; give today's date for all but today's calls"
        )
    kept = "with their sums" if everything else "their sums stay"
    of_days = f"of days before {moment:%Y-%m-%d} UTC"
    calls = _prune.older_calls(path, moment)
    if calls or everything:
        agree(f"{calls_text(calls)} {of_days} would go from {path}; {kept}.", "Remove them?", yes=yes)
    with progress_of("removing") as progress:
        removed = _prune.prune(path, moment, everything=everything, progress=progress)
    click.echo(f"Removed {calls_text(removed)} {of_days} from {path}; {kept}.")


@click.command(short_help="Remove a user, customer, session or tag from all calls.")
@click.option("--user", help="The value of the tag `user`.")
@click.option("--customer", help="The value of the tag `customer`; its users and sessions go too.")
@click.option("--session", help="The value of the tag `session`.")
@click.option("--tag", metavar="KEY=VALUE", help="A value of a tag of your own.")
@YES
@STORE
@DB
def forget(
    user: str | None,
    customer: str | None,
    session: str | None,
    tag: str | None,
    yes: bool,
    store: StoreName | None,
    db: Path | None,
) -> None:
    """Remove a user, a customer, a session or a value of a tag, and what could name it, from the ledger, its journal,
    the budgets' store and what was set aside of them, after saying how many calls tell of it. What they cost stays.

    A tag that is hashed is found by the ledger's key. Exits 1 where nothing is of it, or where a file may still name
    it, which is then said.
    """
    from claudetrace import _forget
    from claudetrace._ledger._read import Ledger

    key, value = _named({"user": user, "customer": customer, "session": session}, tag)
    path = Ledger(named_path(db)).path
    require_writable(path)
    calls, days = _forget.told_of(path, key, value)
    if calls or days:
        agree(f"{_of_it(calls, days, path)} of the {key} {value!r}.", "Forget it?", yes=yes)
    with progress_of("forgetting") as progress:
        done = _forget.forget(path, store_path(db, store), key, value, progress=progress)
    click.echo(_forgotten_text(done, path, key, value))
    for left in done.left:
        click.echo(f"Not reached: {left}.")
    if done.is_something:
        click.echo(f"Not reached: {NOT_OURS}.")
    if done.left or not done.is_something:
        raise SystemExit(1)


def _named(values: dict[str, str | None], tag: str | None) -> tuple[str, str]:
    """The tag and its value that one of the options says."""
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


def _of_it(calls: int, days: int, path: Path) -> str:
    sums = f" and the sums of {days:,} day{'' if days == 1 else 's'}" if days and not calls else ""
    return f"{calls_text(calls)}{sums} in {path} {'tells' if (calls, sums) == (1, '') else 'tell'}"


def _forgotten_text(done: Forgotten, path: Path, key: str, value: str) -> str:
    if not done.is_something:
        return f"No call in {path} is of the {key} {value!r}."
    days = f" and the sums of {done.days:,} day{'' if done.days == 1 else 's'}" if not done.calls and done.days else ""
    told = "tells that it was" if (done.calls, days) == (1, "") else "tell that they were"
    lines = [f"{calls_text(done.calls)}{days} in {path} no longer {told} of {value!r}."]
    if done.entries:
        spent = "what was spent stays, of somebody (forgotten …)"
        lines.append(f"So do {done.entries:,} counters, reservations and alerts of budgets: {spent}.")
    if done.lines:
        lines.append(f"Unreadable lines that are removed: {done.lines:,}.")
    return "\n".join(lines)
