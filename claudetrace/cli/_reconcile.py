"""`claudetrace reconcile`."""

from __future__ import annotations

import sqlite3
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from claudetrace._config import resolve
from claudetrace._errors import ClaudetraceError
from claudetrace._ledger._read import Ledger
from claudetrace._ledger._times import moment_of
from claudetrace._pricing._list import use_rates_of
from claudetrace._reconcile import _fetch, _run
from claudetrace._reconcile._fetch import Asked
from claudetrace._reconcile._settings import bill_settings
from claudetrace.cli._bill import bill_json, bill_text
from claudetrace.cli._options import AS_JSON, DB, WIDE, read_path
from claudetrace.cli._text import terminal_width

if TYPE_CHECKING:
    from claudetrace._reconcile._run import Reconciliation
    from claudetrace._reconcile._settings import BillSettings

WATCH_HOUR = 4
"""The UTC hour by which the figures of the day before are there."""
NAP_S = 60.0
APIS = {"analytics": _fetch.ANALYTICS, "admin": _fetch.ADMIN}
FILES = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--day", help="One UTC day.")
@click.option("--since", help="The first day: 30d, 2w or a date.  [default: 7d]")
@click.option("--until", help="The same. This day and later ones are left out.")
@click.option("--by", default="model", show_default=True, help="model, workspace, or both with a comma.")
@click.option("--workspace-id", "workspace_ids", multiple=True, help="Only this workspace. Can be repeated.")
@click.option("--api-key-id", "api_key_ids", multiple=True, help="Only this key, in Anthropic's figures alone.")
@click.option("--from", "files", multiple=True, type=FILES, help="Read saved JSON or the Console's CSV; ask nobody.")
@click.option("--api", type=click.Choice([*APIS]), help="Default: analytics, else admin.")
@click.option("--key-fd", type=int, help="Read the Admin key from this file descriptor.")
@click.option("--base-url", help="The API to ask.  [default: https://api.anthropic.com]")
@click.option("--watch", is_flag=True, help="Do it now and then once a day, until interrupted.")
@AS_JSON
@WIDE
@DB
def reconcile(
    by: str, files: tuple[Path, ...], key_fd: int | None, watch: bool, as_json: bool, wide: bool, db: Path | None,
    **given: Any,
) -> None:  # fmt: skip
    """Compare the ledger with Anthropic's own figures, day by day, and explain each difference.

    The Admin key comes from ANTHROPIC_ADMIN_KEY or --key-fd and is stored nowhere; --from FILE needs none. Exits 1 if a
    rate differs, and if less than [reconcile] at_least of a named workspace or key was seen.
    """
    settings = bill_settings()
    groups, width = _groups(by), terminal_width(wide=wide)
    key = None if files else _fetch.admin_key(key_fd)
    while True:
        asked = _asked(given, settings)
        try:
            ledger = Ledger(read_path(db))
            use_rates_of(ledger.path)
            api = APIS.get(given["api"])
            figures = _fetch.fetch(asked, key, given["base_url"], api) if key else _fetch.read_files(files)
            found = _run.reconcile(ledger, asked, figures, settings.discount)
            click.echo(bill_json(found, groups) if as_json else bill_text(found, groups, width))
            _tell(found, settings)
        except (ClaudetraceError, OSError, sqlite3.Error) as error:
            if not watch:
                raise
            click.echo(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {error}", err=True)
        if not watch:
            break
        _wait_for_tomorrow()
    if found.misrated or found.is_below(settings.at_least):
        raise SystemExit(1)


def _tell(found: Reconciliation, settings: BillSettings) -> None:
    """Sends the metric and the alert, and says which channels failed."""
    others = resolve({})
    _run.tell_metrics(found, others)
    for tried in _run.alert_unseen(found, settings.at_least, others):
        if tried.error is not None:
            click.echo(f"The alert did not reach {tried.channel}: {tried.error}", err=True)


def _groups(by: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in by.split(","))
    if unknown := [name for name in names if name not in ("model", "workspace")]:
        raise ClaudetraceError(f"--by {unknown[0]!r} is not known; give model, workspace or model,workspace")
    return names


def _asked(given: dict[str, Any], settings: BillSettings) -> Asked:
    """The days, workspaces and keys to compare. Raises `ClaudetraceError`."""
    day, since, until = (given[name] for name in ("day", "since", "until"))
    if day and (since or until):
        raise ClaudetraceError("--day is one day; leave out --since and --until beside it")
    one, tomorrow = timedelta(days=1), datetime.now(UTC).date() + timedelta(days=1)
    first = moment_of("--since", day or since or "7d").date()
    after = first + one if day else moment_of("--until", until).date() if until else tomorrow
    after = min(after, tomorrow)
    if first >= after:
        raise ClaudetraceError(f"no day lies between {first} and {after}; give an earlier --since or a later --until")
    ids = {name: tuple(given[name] or getattr(settings, name)) for name in ("workspace_ids", "api_key_ids")}
    return Asked(since=first, until=after, **ids)


def _wait_for_tomorrow() -> None:
    due = datetime.now(UTC).replace(hour=WATCH_HOUR, minute=0, second=0, microsecond=0)
    due += timedelta(days=1) if due <= datetime.now(UTC) else timedelta(0)
    while datetime.now(UTC) < due:
        time.sleep(NAP_S)
