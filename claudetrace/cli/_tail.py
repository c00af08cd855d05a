"""`claudetrace tail`."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click

from claudetrace.cli._calls import call_json, calls_table
from claudetrace.cli._options import DB, WHERE, filters_of, read_path

if TYPE_CHECKING:
    from pathlib import Path

    from claudetrace._call import Call

POLL_S = 0.5


@click.command(short_help="Show the newest calls as they come.")
@click.option("-n", "count", default=10, show_default=True, type=click.IntRange(0), help="How many to begin with.")
@click.option("--once", is_flag=True, help="Show those and end.")
@click.option("--since", default="all", show_default=True, help="7d, today, 2026-11, a time, all.")
@WHERE
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each call.")
@DB
def tail(count: int, once: bool, since: str, where: tuple[str, ...], as_json: bool, db: Path | None) -> None:
    """Show the newest calls, and each further one once it is in the ledger. Ctrl-C ends it.

    With --where or --since only such calls, and no further ones: it ends at once.
    """
    from claudetrace._ledger._read import Ledger
    from claudetrace._ledger._state import calls_after, last_row
    from claudetrace._sqlite import limit_time

    with Ledger(read_path(db)) as ledger:
        limit_time(ledger.db.conn, ledger.path)
        last = last_row(ledger.db.conn)
        after = None if since == "all" else since
        newest = ledger.calls(after, count, where=filters_of(where))[::-1] if count else []
        if not as_json:
            click.echo(calls_table(newest))
        else:
            _show(newest, as_json=True)
        if once or where or after:
            return
        try:
            while True:
                time.sleep(POLL_S)
                calls, last = calls_after(ledger.db.conn, last)
                _show(calls, as_json=as_json)
        except KeyboardInterrupt:
            click.echo(err=True)


def _show(calls: list[Call], *, as_json: bool) -> None:
    for call in calls:
        if as_json:
            click.echo(json.dumps(call_json(call), ensure_ascii=False))
        else:
            click.echo(calls_table([call]).splitlines()[1])
