"""`claudetrace export`."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from claudetrace._errors import ClaudetraceError
from claudetrace.cli._options import DB, WHERE, filters_of, progress_of, read_path, responses_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

TOLD_EVERY = 1000


@click.command(short_help="Write the calls to a file: CSV, JSON lines or a FOCUS bill.")
@click.option("--format", "kind", required=True, type=click.Choice(["csv", "jsonl", "focus"]), help="What it is.")
@click.option("--since", default="all", show_default=True, help="7d, this month, 2026-11, a time, all.")
@click.option("--until", help="As --since; until just before it.")
@click.option("--timezone", default="UTC", show_default=True, help="Whose days --since and --until are.")
@WHERE
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="The file. Default: the output.")
@DB
def export(
    kind: str,
    since: str,
    until: str | None,
    timezone: str,
    where: tuple[str, ...],
    output: Path | None,
    db: Path | None,
) -> None:
    """Write the calls, oldest first, as they are read. Money is exact decimals, and adds up to what `report` says.

    csv and jsonl have a row for each call. focus is a FOCUS 1.2 bill: a row for each day, model, kind of token,
    workspace and set of tags, without user and session. Sums as a file are `claudetrace report --csv`.
    """
    from claudetrace._ledger._export import as_csv, as_json_lines
    from claudetrace._ledger._focus import as_focus
    from claudetrace._ledger._read import Ledger
    from claudetrace.cli._spend_table import pruned_notes

    ledger = Ledger(read_path(db))
    made = {"csv": as_csv, "jsonl": as_json_lines, "focus": as_focus}[kind]
    with _opened(output) as file, ledger.rows(since, until, filters_of(where), timezone=timezone) as rows:
        for piece in made(_counted(rows)):
            file.write(piece)
    for note in pruned_notes(ledger.pruned_before(since, timezone=timezone)):
        click.echo(note, err=True)


def _counted(rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The rows, and on a terminal how many they are by now."""
    done = 0
    with progress_of("writing") as progress:
        for done, row in enumerate(rows, 1):
            yield row
            if progress is not None and done % TOLD_EVERY == 0:
                progress(done)
    if progress is not None:
        click.echo(f"{responses_text(done)} written", err=True)


@contextmanager
def _opened(output: Path | None) -> Iterator[TextIO]:
    """The output, or the file, which is there once it is whole. A pipe or a device stays what it is."""
    if output is None:
        yield sys.stdout
        return
    if output.exists() and not output.is_file():
        with output.open("w", encoding="utf-8", newline="") as opened:
            yield opened
        return
    if not output.parent.is_dir():
        raise ClaudetraceError(f"there is no folder {output.parent}; make it, or name another file with -o")
    part = output.with_name(f"{output.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            yield file
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)
