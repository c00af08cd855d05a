"""`claudetrace reconcile`."""

from __future__ import annotations

import sqlite3
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from claudetrace._errors import ClaudetraceError
from claudetrace.cli._options import AS_JSON, DB, WIDE, read_path
from claudetrace.cli._tables import terminal_width

if TYPE_CHECKING:
    from claudetrace._reconcile._fetch import Asked
    from claudetrace._reconcile._run import Reconciliation
    from claudetrace._reconcile._settings import BillSettings

WATCH_HOUR = 4
"""When the figures of the day before are there, in UTC."""
NAP_S = 60.0
FILES = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(short_help="Hold the ledger against Anthropic's own figures.")
@click.option("--day", help="One UTC day.")
@click.option("--since", help="30d, 2w or a date: the first day.  [default: 7d]")
@click.option("--until", help="As --since: the first day that is not meant.")
@click.option("--by", default="model", show_default=True, help="model, workspace, or both with a comma.")
@click.option("--workspace-id", "workspace_ids", multiple=True, help="Only this workspace; may be repeated.")
@click.option("--api-key-id", "api_key_ids", multiple=True, help="Anthropic's figures of this key alone.")
@click.option("--from", "files", multiple=True, type=FILES, help="Saved JSON or a CSV of the Console; asks nobody.")
@click.option("--api", type=click.Choice(["analytics", "admin"]), help="Default: analytics, else admin.")
@click.option("--key-fd", type=int, help="Read the Admin key from this file descriptor.")
@click.option("--base-url", help="Where to ask.  [default: https://api.anthropic.com]")
@click.option("--watch", is_flag=True, help="Do it now and once a day, until interrupted.")
@AS_JSON
@WIDE
@DB
def reconcile(
    day: str | None,
    since: str | None,
    until: str | None,
    by: str,
    files: tuple[Path, ...],
    key_fd: int | None,
    watch: bool,
    as_json: bool,
    wide: bool,
    db: Path | None,
    **asking: str | tuple[str, ...] | None,
) -> None:
    """Hold the ledger against Anthropic's own figures, day by day, and explain each difference.

    The Admin key comes from ANTHROPIC_ADMIN_KEY or --key-fd and is stored nowhere; with --from FILE none is needed.
    Exits 1 where a rate differs, and where less than [reconcile] at_least of a named workspace or key was seen.
    """
    from claudetrace._reconcile._fetch import admin_key
    from claudetrace._reconcile._settings import bill_settings
    from claudetrace.cli._bill import bill_json, bill_text

    settings = bill_settings()
    groups, width = _groups(by), terminal_width(wide=wide)
    key = None if files else admin_key(key_fd)
    while True:
        asked = _asked(day, since, until, asking, settings)
        try:
            found = _reconciled(asked, files, key, asking, settings, db)
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


def _reconciled(
    asked: Asked,
    files: tuple[Path, ...],
    key: str | None,
    asking: dict[str, str | tuple[str, ...] | None],
    settings: BillSettings,
    db: Path | None,
) -> Reconciliation:
    from claudetrace._ledger._read import Ledger
    from claudetrace._pricing._list import use_rates_of
    from claudetrace._reconcile import _fetch
    from claudetrace._reconcile._run import reconcile as held_against

    ledger = Ledger(read_path(db))
    use_rates_of(ledger.path)
    if key is None:
        figures = _fetch.read_files(files)
    else:
        api = {"analytics": _fetch.ANALYTICS, "admin": _fetch.ADMIN}.get(str(asking["api"]))
        base_url = asking["base_url"]
        assert base_url is None or isinstance(base_url, str)
        figures = _fetch.fetch(asked, key, base_url, api)
    return held_against(ledger, asked, figures, settings.discount)


def _tell(found: Reconciliation, settings: BillSettings) -> None:
    """Sends the gauge and the alert, and says which channel did not take it."""
    from claudetrace._config import resolve
    from claudetrace._reconcile._tell import alert_unseen, tell_metrics

    others = resolve({})
    tell_metrics(found, others)
    for tried in alert_unseen(found, settings.at_least, others):
        if tried.error is not None:
            click.echo(f"The alert did not reach {tried.channel}: {tried.error}", err=True)


def _groups(by: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in by.split(","))
    if unknown := [name for name in names if name not in ("model", "workspace")]:
        raise ClaudetraceError(f"--by {unknown[0]!r} is not known; give model, workspace or model,workspace")
    return names


def _asked(
    day: str | None,
    since: str | None,
    until: str | None,
    asking: dict[str, str | tuple[str, ...] | None],
    settings: BillSettings,
) -> Asked:
    """The days and what of the organization is meant. Raises `ClaudetraceError`."""
    from claudetrace._ledger._times import moment_of
    from claudetrace._reconcile._fetch import Asked

    if day and (since or until):
        raise ClaudetraceError("--day is one day; leave out --since and --until beside it")
    today = datetime.now(UTC).date()
    first = moment_of("--since", day or since or "7d").date()
    after = first + timedelta(days=1) if day else moment_of("--until", until).date() if until else _next(today)
    after = min(after, _next(today))
    if first >= after:
        raise ClaudetraceError(f"no day lies between {first} and {after}; give an earlier --since or a later --until")
    ids = {name: tuple(asking[name] or getattr(settings, name)) for name in ("workspace_ids", "api_key_ids")}
    return Asked(since=first, until=after, **ids)


def _next(day: date) -> date:
    return day + timedelta(days=1)


def _wait_for_tomorrow() -> None:
    due = datetime.now(UTC).replace(hour=WATCH_HOUR, minute=0, second=0, microsecond=0)
    due += timedelta(days=1) if due <= datetime.now(UTC) else timedelta(0)
    while datetime.now(UTC) < due:
        time.sleep(NAP_S)
