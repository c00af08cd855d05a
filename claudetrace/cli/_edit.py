"""`claudetrace prune` and `claudetrace forget`: what removes something."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from claudetrace._errors import ClaudetraceError
from claudetrace._files import require_writable
from claudetrace.cli._options import DB, STORE, calls_text, end_progress, progress_of, store_path

if TYPE_CHECKING:
    from pathlib import Path

    from claudetrace._forget import Forgotten

NOT_OURS = "spans, metrics, records and alerts that were sent, logs of programs, copies and backups"
"""What could be anywhere."""


@click.command(short_help="Remove old calls; their sums stay.")
@click.option("--before", required=True, help="Calls of days before this go: 90d, 12w, or a date.")
@click.option("--all", "everything", is_flag=True, help="Remove their sums by hour and day too.")
@DB
def prune(before: str, everything: bool, db: Path | None) -> None:
    """Remove the calls of whole UTC days. Their sums by hour and by tag and day stay, unless --all."""
    from claudetrace._ledger import _prune
    from claudetrace._ledger._read import Ledger
    from claudetrace._ledger._times import moment_of

    path = Ledger(db).path
    moment = moment_of("--before", before)
    if moment.date() > datetime.now(UTC).date():
        raise ClaudetraceError(
            f"--before {before} is after today, so every call would go; give today's date for all but today's calls"
        )
    progress = progress_of("removing")
    removed = _prune.prune(path, moment, everything=everything, progress=progress)
    end_progress(progress if removed else None)
    kept = "with their sums" if everything else "their sums stay"
    click.echo(f"Removed {calls_text(removed)} of days before {moment:%Y-%m-%d} UTC from {path}; {kept}.")


@click.command(short_help="Remove who a user was from all calls.")
@click.option("--user", required=True, help="The value of the tag `user`.")
@STORE
@DB
def forget(user: str, store: Path | None, db: Path | None) -> None:
    """Remove the user and what could name them from the ledger, its journal, the budgets' store and what was set
    aside of them. What the calls cost stays.

    A user whose tag is hashed is found by the ledger's key. Exits 1 where nothing is of that user, or where a file
    may still name them, which is then said.
    """
    from claudetrace._forget import forget as forget_user
    from claudetrace._ledger._read import Ledger

    if not user:
        raise click.UsageError("--user is empty; give the value of the tag `user`.")
    path = Ledger(db).path
    require_writable(path)
    progress = progress_of("forgetting")
    done = forget_user(path, store_path(db, store), user, progress=progress)
    end_progress(progress if done.calls else None)
    click.echo(_forgotten_text(done, path, user))
    for left in done.left:
        click.echo(f"Not reached: {left}.")
    if done.is_something:
        click.echo(f"Not reached: {NOT_OURS}.")
    if done.left or not done.is_something:
        raise SystemExit(1)


def _forgotten_text(done: Forgotten, path: Path, user: str) -> str:
    if not done.is_something:
        return f"No call in {path} is of the user {user!r}."
    days = f" and the sums of {done.days:,} day{'' if done.days == 1 else 's'}" if not done.calls and done.days else ""
    told = "tells that it was" if (done.calls, days) == (1, "") else "tell that they were"
    lines = [f"{calls_text(done.calls)}{days} in {path} no longer {told} of {user!r}."]
    if done.entries:
        spent = "what was spent stays, of somebody (forgotten …)"
        lines.append(f"So do {done.entries:,} counters, reservations and alerts of budgets: {spent}.")
    if done.lines:
        lines.append(f"Unreadable lines that are removed: {done.lines:,}.")
    return "\n".join(lines)
