"""`claudetrace import`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from claudetrace.cli._options import DB
from claudetrace.cli._tables import bytes_text, counted

if TYPE_CHECKING:
    from claudetrace._import import Import

FOLLOW_S = 1.0


@click.group("import", short_help="Bring calls from elsewhere into the ledger.")
def import_() -> None:
    """Bring calls from elsewhere into the ledger. What the ledger has already stays as it is."""


@import_.command("claude-code", short_help="What Claude Code wrote down of its sessions.")
@click.option(
    "--dir",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder of transcripts. Default: projects in CLAUDE_CONFIG_DIR, else in ~/.claude and ~/.config/claude.",
)
@click.option("--since", help="Only responses from then on: 7d, 12w, a date, or a time.")
@click.option("--follow", is_flag=True, help="Go on until interrupted, with what is written from now on.")
@DB
def claude_code(folders: tuple[Path, ...], since: str | None, follow: bool, db: Path | None) -> None:
    """Import every response of Claude Code on this machine, from the transcripts that it keeps.

    Each response is one row, with its project, git branch, session and user; no text is read into it. Importing
    again reads only what is new, and what the Agent SDK has recorded live is not counted twice.
    """
    from claudetrace._config import resolve
    from claudetrace._import import Import
    from claudetrace._ledger._times import span
    from claudetrace._pricing._list import use_rates_of

    settings = resolve({"db": db})
    if settings.db is None:
        raise click.UsageError("the settings say that there is no ledger; name one with --db")
    use_rates_of(settings.db)
    running = Import(settings.db, folders or None, settings, None if since is None else span(since, None).since)
    try:
        _step(running)
        click.echo(_told(running, settings.db))
        while follow:
            time.sleep(FOLLOW_S)
            before = running.done.new
            running.step()
            if running.done.new > before:
                click.echo(f"{counted(running.done.new - before, 'response')} more")
    except KeyboardInterrupt:
        click.echo()
    finally:
        running.close()


def _step(running: Import) -> None:
    """Takes in what is new, with progress where somebody watches."""
    if not sys.stderr.isatty():
        running.step()
        return
    size = sum(count for _, count in running.changed())
    with click.progressbar(length=size, label=f"reading {bytes_text(size)}", file=sys.stderr) as bar:
        running.step(bar.update)


def _told(running: Import, db: Path) -> str:
    done = running.done
    known = done.responses - done.new
    lines = [f"{counted(done.new, 'response')} of Claude Code imported into {db}; {known:,} were there already."]
    if done.broken:
        lines.append(f"{done.broken:,} broken line{'' if done.broken == 1 else 's'} skipped.")
    if done.unreadable:
        lines.append(f"{done.unreadable:,} transcripts cannot be read by this user.")
    return "\n".join(lines)
