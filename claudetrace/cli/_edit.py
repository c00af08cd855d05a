"""`claudetrace prune` and `claudetrace forget`: what removes something."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from claudetrace._errors import ClaudetraceError
from claudetrace.cli._options import DB, calls_text, end_progress, progress_of

if TYPE_CHECKING:
    from pathlib import Path


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
@DB
def forget(user: str, db: Path | None) -> None:
    """Remove the user and what could name them from all calls of theirs. What the calls cost stays.

    A user whose tag is hashed is found by the ledger's key. Exits 1 where no call is of that user.
    """
    from claudetrace._attribution import hashed_as
    from claudetrace._ledger._forget import days_of
    from claudetrace._ledger._forget import forget as forget_user
    from claudetrace._ledger._read import Ledger

    path = Ledger(db).path
    progress = progress_of("forgetting")
    names = [name for name in (user, hashed_as(user, path)) if name is not None]
    days = max(days_of(path, name) for name in names)
    forgotten = sum(forget_user(path, name, progress=progress) for name in names)
    end_progress(progress if forgotten else None)
    if not forgotten and days:
        # The calls themselves are pruned.
        told = f"the sums of {days:,} day{'' if days == 1 else 's'} in {path} no longer tell"
        click.echo(f"0 calls and {told} that they were of {user!r}.")
        return
    if not forgotten:
        click.echo(f"No call in {path} is of the user {user!r}.")
        raise SystemExit(1)
    told = "tells that it was" if forgotten == 1 else "tell that they were"
    click.echo(f"{calls_text(forgotten)} in {path} no longer {told} of {user!r}.")
