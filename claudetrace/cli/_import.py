"""`claudetrace import`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from claudetrace.cli._options import DB
from claudetrace.cli._text import bytes_text, counted

if TYPE_CHECKING:
    from claudetrace._import._into import Imported, Rows
    from claudetrace._import._transcripts import Transcripts

FOLLOW_S = 1.0
CLAUDE_CODE = "claude-code"


@click.command("import")
@click.argument("what", nargs=-1, required=True)
@click.option(
    "--dir",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="With claude-code: a folder of transcripts. Default: projects in CLAUDE_CONFIG_DIR, else in ~/.claude and "
    "~/.config/claude.",
)
@click.option("--since", help="Only responses from then on: 7d, 12w, a date, or a time.")
@click.option("--follow", is_flag=True, help="Go on until interrupted, with what is written from now on.")
@DB
def import_(what: tuple[str, ...], folders: tuple[Path, ...], since: str | None, follow: bool, db: Path | None) -> None:
    """Bring calls from elsewhere into the ledger.

    WHAT is another ledger (with its spool), a spool, a file of the lines that records="stdout" writes (also as a
    container's log has them, and packed by gzip), - for such lines on standard input, or claude-code for what Claude
    Code wrote down of its sessions on this machine. All of it may be of any host, and be written to meanwhile.

    What the ledger has already stays as it is, by the ids of calls: importing again adds only what is new.
    """
    from claudetrace._config import resolve
    from claudetrace._import._into import Into, Rows
    from claudetrace._import._transcripts import Transcripts
    from claudetrace._ledger._times import span
    from claudetrace._pricing._list import use_rates_of

    if folders and CLAUDE_CODE not in what:
        raise click.UsageError("--dir is a folder of claude-code's transcripts; name a spool or a ledger as WHAT")
    settings = resolve({"db": db})
    if settings.db is None:
        raise click.UsageError("the settings say that there is no ledger; name one with --db")
    use_rates_of(settings.db)
    from_then = None if since is None else span(since, None).since
    for path in what:
        if path not in (CLAUDE_CODE, "-") and not Path(path).exists():
            raise click.UsageError(f"there is no {path}")
    into = Into(settings.db, from_then)
    try:
        sources = [
            Transcripts(into, folders or None, settings, from_then) if each == CLAUDE_CODE else Rows(Path(each), into)
            for each in what
        ]
        _step(sources)
        click.echo(_told(into.done, settings.db))
        while follow:
            time.sleep(FOLLOW_S)
            before = into.done.new
            for each in sources:
                each.step()
            if into.done.new > before:
                click.echo(f"{counted(into.done.new - before, 'response')} more")
    except KeyboardInterrupt:
        click.echo()
    finally:
        into.close()


def _step(sources: list[Rows | Transcripts]) -> None:
    """Takes in what is new, with progress where somebody watches."""
    if not sys.stderr.isatty():
        for each in sources:
            each.step()
        return
    size = sum(each.size() for each in sources)
    with click.progressbar(length=size, label=f"reading {bytes_text(size)}", file=sys.stderr) as bar:
        for each in sources:
            each.step(bar.update)


def _told(done: Imported, db: Path) -> str:
    known = done.responses - done.new - done.pruned
    lines = [f"{counted(done.new, 'response')} imported into {db}; {known:,} were there already."]
    if done.pruned:
        lines.append(f"{counted(done.pruned, 'response')} left out: of that time {db} keeps sums alone.")
    if done.broken:
        why = f": {done.why_broken}" * bool(done.why_broken)
        lines.append(f"{counted(done.broken, 'broken line')} skipped{why}.")
    if done.unreadable:
        lines.append(f"{done.unreadable:,} transcripts cannot be read by this user.")
    return "\n".join([*lines, *done.notes])
