"""`claudetrace demo`."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

import claudetrace
from claudetrace._demo._history import DAYS, history
from claudetrace._demo._play import play, play_stopped
from claudetrace._errors import ClaudetraceError
from claudetrace._files import make_folder
from claudetrace._guard import Guard
from claudetrace._ledger._read import Ledger
from claudetrace._ledger._state import HAS_PRUNED, OF_OTHERS
from claudetrace._ledger._store import Store
from claudetrace._places import default_db, spool_of
from claudetrace._pricing._row import with_price
from claudetrace._switch import enabled
from claudetrace.cli._calls import calls_table
from claudetrace.cli._dashboard import serve
from claudetrace.cli._report_asked import Asked
from claudetrace.cli._report_spend import spend_report
from claudetrace.cli._text import calls_text

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVICE = "claudetrace-demo"
ROWS_AT_ONCE = 1000
BUDGETS: tuple[dict[str, Any], ...] = (
    {"name": "all", "usd": 70},
    {"name": "each customer", "usd": 22, "tags": {"customer": "*"}},
    {"name": "translations", "max_calls": 60, "per": "week", "tags": {"feature": "translate"}},
    {"name": "trials", "usd": "0.01", "per": "day", "tags": {"feature": "trial"}, "on_exceeded": "block"},
)
"""What the demo may spend, so that the pages have something to show."""
BESIDE = ("", "-wal", "-shm", ".lock", ".budgets", ".budgets-wal", ".budgets-shm", ".budgets.lock")


@click.command()
@click.option(
    "--db",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The demo's own ledger, which starts empty. Default: demo.db beside the default ledger.",
)
@click.option("--no-serve", is_flag=True, help="End after the report, without the pages.")
@click.option("--port", type=click.IntRange(0, 65535), help="The port for the pages.")
@click.option(
    "--days",
    type=click.IntRange(0, 3650),
    default=DAYS,
    show_default=True,
    help="How many days of made-up calls to add.",
)
def demo(db: Path | None, no_serve: bool, port: int | None, days: int) -> None:
    """Play bundled calls through the real SDK, over HTTP on loopback, report what they cost, and open the pages.

    It uses no API key, and nothing leaves this machine. The calls go to a ledger of its own, with ninety days of
    made-up ones beside them.
    """
    if not enabled():
        raise ClaudetraceError("CLAUDETRACE_ENABLED is false, so nothing can be recorded: unset it for the demo")
    path = (db if db is not None else default_db().with_name("demo.db")).absolute()
    _begin_anew(path)
    _record(path)
    _report(path)
    if days:
        _make_up(path, days)
        _budget(path)
    click.echo("\nMore of it:")
    click.echo(f"  {_program('claudetrace')} report --by user --db {quote(str(path))}")
    click.echo(f"  {_program('claudetrace')} tail --once --db {quote(str(path))}")
    if no_serve:
        click.echo(f"  {_program('claudetrace')} dashboard --db {quote(str(path))}")
        return
    click.echo()
    serve(path, port=port)


def _program(name: str) -> str:
    """How a shell starts `name`: with its folder if PATH does not have it, as in a clone."""
    if shutil.which(name):
        return name
    started = Path(sys.argv[0])
    return str((started if started.name == "claudetrace" else Path(sys.executable)).with_name(name))


def _begin_anew(path: Path) -> None:
    """Removes the ledger of an earlier demo. Raises `ClaudetraceError` for any other file."""
    make_folder(path.parent)
    spool = spool_of(path)
    if not path.exists() and not spool.exists():
        return
    with Ledger(path) as ledger:
        (others,) = ledger.db.conn.execute(OF_OTHERS, (SERVICE,)).fetchone()
        (pruned,) = ledger.db.conn.execute(HAS_PRUNED).fetchone()
    held = f"{calls_text(others)} that are not the demo's" if others else "sums of pruned calls" if pruned else None
    if held is not None:
        raise ClaudetraceError(f"{path} holds {held}, so it stays as it is; give --db another path")
    for suffix in BESIDE:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    shutil.rmtree(spool, ignore_errors=True)


def _record(path: Path) -> None:
    """Plays the calls with the meter on."""
    import anthropic

    click.echo(f"Playing a help desk's calls through anthropic {anthropic.__version__}, to a server on loopback.")
    with _named(SERVICE), claudetrace.instrument(db=path, force=True) as meter:
        play(on_step=lambda words: click.echo(f"  {words}"))
        done, health = meter.flush(30.0), meter.health
    if not done or health.lost or health.last_error:
        raise click.ClickException(f"not all was recorded: {health}")
    click.echo(f"{health.written} rows recorded, {health.lost} lost.\n")


def _make_up(path: Path, days: int) -> None:
    """Stores the made-up calls of `days` days, priced as the meter would price them."""
    rows = [with_price(row) for row in history(datetime.now(UTC), SERVICE, days)]
    with closing(Store(path, Guard())) as store:
        for start in range(0, len(rows), ROWS_AT_ONCE):
            store.write(rows[start : start + ROWS_AT_ONCE])
    click.echo(f"\nBeside them, {calls_text(len(rows))} of {days} days are made up, to have something to look at.")


def _budget(path: Path) -> None:
    """Sets budgets, which begin with what is spent already; one of them stops calls."""
    budgets = [claudetrace.Budget(**each) for each in BUDGETS]
    click.echo(f"\n{len(budgets)} budgets are set, and one of them stops three calls:")
    with _named(SERVICE), claudetrace.instrument(db=path, budgets=budgets, force=True) as meter:
        play_stopped()
        meter.flush(30.0)


@contextmanager
def _named(service: str) -> Iterator[None]:
    """The program records under this name."""
    before = os.environ.get("OTEL_SERVICE_NAME")
    os.environ["OTEL_SERVICE_NAME"] = service
    try:
        yield
    finally:
        if before is None:
            del os.environ["OTEL_SERVICE_NAME"]
        else:
            os.environ["OTEL_SERVICE_NAME"] = before


def _report(path: Path) -> None:
    with Ledger(path) as ledger:
        click.echo(f"The last calls\n\n{calls_table(ledger.calls(limit=8)[::-1])}")
        for by in ("feature", "model"):
            report = spend_report(ledger, Asked((by,)))
            lines = report.lines(None) if report.lines else []
            # The notes are the same below both tables.
            click.echo("\n".join(["", report.title, "", *(lines if by == "model" else lines[:1])]))
    sys.stdout.flush()
