"""What `doctor` checks of a ledger."""

from __future__ import annotations

import glob
import os
import sqlite3
import stat
import sys
import time
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

import click

from claudetrace import _files
from claudetrace._call import exact_usd
from claudetrace._config import read_config
from claudetrace._errors import ClaudetraceError
from claudetrace._hosts import is_platform
from claudetrace._ledger import _state, _unsent
from claudetrace._ledger._read import Ledger
from claudetrace._ledger._rollups import exact_from_day, rollup_differences
from claudetrace._ledger._schema import VERSION, connect_to_read
from claudetrace._ledger._segments import UNREADABLE, adopt, left_elsewhere, paths
from claudetrace._ledger._times import stamp
from claudetrace._places import RECORDS_DB, spool_of
from claudetrace._pricing._list import kept_list, use_rates_of
from claudetrace._pricing._rates import book
from claudetrace._sqlite import TOO_LONG, limit_time
from claudetrace._transcripts._files import config_folders, transcripts_in
from claudetrace.cli._text import bytes_text, calls_text, plain, usd_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MANY_RECORDS = 100_000
DAMAGED = "; copy it away, and keep what `sqlite3 LEDGER .recover` reads of it"
WAYS_OUT = {"SQLITE_CORRUPT": DAMAGED, "SQLITE_NOTADB": DAMAGED, "SQLITE_INTERRUPT": f": {TOO_LONG}"}
IDLE_S = 60.0
"""How long a running program may leave rows in its journal."""
RECORDS_WAIT = timedelta(minutes=5)
LARGE_BYTES = 200e6
MOST_HOSTS = 20
RECENT = timedelta(days=7)


class Check(NamedTuple):
    """What was checked, its state, and what is wrong with it, if anything."""

    name: str
    value: str
    finding: str | None = None


def check_ledger(path: Path) -> Iterator[Check]:
    """Whether the ledger at `path` can be read, and whether its contents are right."""
    yield Check("path", str(path))
    yield from _modes(path)
    if fragile := _files.fragile_filesystem(path):
        yield Check("file system", "not for lasting data", f"{fragile}; name another place with CLAUDETRACE_DB")
    try:
        with Ledger(path) as ledger:
            connection = ledger.db.conn
            limit_time(connection, path)
            for check in (_facts, _journal, _records, _proofs, _hosts, _agents):
                yield from check(connection, path)
        yield _rates(path)
    except ClaudetraceError as error:
        yield Check("ledger", "cannot be read" if os.path.lexists(path) else "missing", str(error))
    except OSError as error:
        yield Check("ledger", "cannot be read", str(error))
    except sqlite3.Error as error:
        way_out = WAYS_OUT.get(error.sqlite_errorname, "")
        yield Check("ledger", "cannot be read", f"SQLite says: {error}{way_out}")
    if os.path.isfile(alone := path.with_name(RECORDS_DB)) and alone != path:  # noqa: PTH113 - never raises
        yield from _records_alone(alone)


def _modes(path: Path) -> Iterator[Check]:
    """The files of the ledger that others may use more than `file_mode` says."""
    wanted = read_config(None).get("file_mode", _files.FILE_MODE)
    wider = []
    for found in (*path.parent.glob(f"{glob.escape(path.name)}*"), *path.parent.glob(f"{glob.escape(path.name)}.*/*")):
        with suppress(OSError):
            mode = found.lstat().st_mode
            if stat.S_ISREG(mode) and mode & 0o777 & ~wanted:
                wider.append(found)
    if wider:
        told = f"{wider[0]} is one: chmod {wanted:o} it, or set file_mode in a claudetrace.toml that is named"
        yield Check("files open to others", str(len(wider)), told)


def _facts(connection: sqlite3.Connection, path: Path) -> Iterator[Check]:
    rows, oldest, newest, schema = connection.execute(_state.CONTENTS).fetchone()
    yield Check("schema", f"version {schema} of {VERSION}")
    yield Check("size", bytes_text(path.stat().st_size))
    yield Check("rows", f"{rows:,}" + (f", from {oldest} to {newest}" if rows else ""))
    if pruned := exact_from_day(connection):
        yield Check("pruned", f"calls before {pruned} UTC are removed")


def _journal(connection: sqlite3.Connection, path: Path) -> Iterator[Check]:
    """What waits in the journal, what nobody could read, and what the ledger refused."""
    spool = spool_of(path)
    if os.path.lexists(spool) and not os.access(spool, os.R_OK | os.W_OK | os.X_OK):
        alone = f"only its owner can load {spool} and see what waits in it"
        yield Check("journal", "cannot be seen by this user", alone)
        return
    loaded = dict(connection.execute(_state.LOADED))
    living, pending_bytes, orphans, idle = 0, 0, 0, 0
    for segment in (*paths(spool), *left_elsewhere(spool)):
        left = segment.stat().st_size - loaded.get(segment.name, 0) if segment.exists() else 0
        pending_bytes += left
        if (adopted := adopt(segment)) is None:
            living += 1
            idle += left > 0 and time.time() - segment.stat().st_mtime > IDLE_S
        else:
            adopted.close()
            orphans += left > 0
    asleep = f"{idle} running processes load nothing; under uWSGI, set enable-threads" if idle else None
    yield Check("journal", f"{bytes_text(pending_bytes)} to load; processes that record: {living}", asleep)
    if orphans:
        yield Check("orphans", str(orphans), f"what processes that are gone left in {spool} could not be loaded")
    kept = spool / UNREADABLE
    unreadable = kept.read_bytes().count(b"\n") if kept.exists() else 0
    cut = f"{kept} keeps lines of the journal that are no rows; delete it when you have seen it" if unreadable else None
    yield Check("unreadable lines", str(unreadable), cut)
    quarantined, reason = connection.execute(_state.QUARANTINED).fetchone()
    refused = f"the table quarantine keeps rows that were refused, the last one for: {reason}" if quarantined else None
    yield Check("quarantined rows", str(quarantined), refused)


def _records(connection: sqlite3.Connection, _: Path) -> Iterator[Check]:
    """The records that wait to be sent, that the receiver refuses, and that were removed before they were sent."""
    waiting = _unsent.waiting(connection, MANY_RECORDS)
    refused, reason = connection.execute(_unsent.REFUSED).fetchone()
    lost = _unsent.lost(connection)
    if waiting or refused or lost:
        (oldest,) = connection.execute(_unsent.OLDEST_AT).fetchone() or (None,)
        late = oldest is not None and datetime.fromisoformat(oldest) < datetime.now(UTC) - RECORDS_WAIT
        away = f"the oldest is of {oldest}; is the receiver that OTEL_EXPORTER_OTLP_* or otlp= names there?"
        more = "+" if waiting == MANY_RECORDS else ""
        yield Check("records waiting to be sent", f"{waiting:,}{more}", away if late else None)
    if refused:
        told = f"the table unsent names them, one for: {plain(reason or '?', 200)}"
        yield Check("records refused", str(refused), told)
    if lost:
        yield Check("records lost", str(lost), "their calls were pruned before they were sent")


def _records_alone(path: Path) -> list[Check]:
    """The same for programs without a ledger."""
    try:
        with Ledger(path) as outbox:
            limit_time(outbox.db.conn, path)
            found = [*_records(outbox.db.conn, path)]
        return [check._replace(name=f"{check.name} ({path.name})") for check in found]
    except (ClaudetraceError, sqlite3.Error, OSError) as error:
        return [Check(path.name, "cannot be read", str(error))]


def _proofs(_: sqlite3.Connection, path: Path) -> Iterator[Check]:
    """That SQLite finds no damage, costs are the sums of their parts, and rollups equal the calls."""
    if path.stat().st_size > LARGE_BYTES and sys.stderr.isatty():
        click.echo("  (checking every row of a large ledger: this takes a while)", err=True)
    # Its own connection: a query that fails here leaves the other as it is.
    with closing(connect_to_read(path)) as connection:
        limit_time(connection, path)
        (damage,) = connection.execute(_state.DAMAGE).fetchone()
        damaged = None if damage == "ok" else f"{damage}; copy the file away and begin a new one"
        yield Check("SQLite's own check", "failed" if damaged else "ok", damaged)
        unproven = connection.execute(_state.UNPROVEN).fetchall()
        wrong = f"the view unproven_calls names them, such as {unproven[0][0]}" if unproven else None
        yield Check("costs that are not their parts", str(len(unproven)), wrong)
        differences = rollup_differences(connection)
        differs = f"the first is {differences[0].key} of {differences[0].table}" if differences else None
        yield Check("rollups that are not their calls", str(len(differences)), differs)
        unknown, models = connection.execute(_state.UNKNOWN_MODELS).fetchone()
        way_out = "upgrade claudetrace, or give rates= to instrument()"
        told = f"{calls_text(unknown)} of {plain(models or '?', 200)}; {way_out}" if unknown else None
        yield Check("calls of models without a rate", str(unknown), told)


def _hosts(connection: sqlite3.Connection, _: Path) -> Iterator[Check]:
    """The hosts that billed calls, and those that look as if they replay answers."""
    known: list[str] = []
    others: list[str] = []
    for host, calls, spend_usd in connection.execute(_state.BILLED_HOSTS):
        told = f"{plain(host)} ({calls_text(calls)}, {usd_text(Decimal(spend_usd), 4)})"
        (known if is_platform(host) else others).append(told)
    yield Check("hosts of platforms", _listed(known))
    if others:
        yield Check("other hosts", f"{_listed(others)}; [hosts] in claudetrace.toml can say what one of them is")
    for host, answers in connection.execute(_state.BILLED_TWICE, (stamp(datetime.now(UTC) - RECENT),)):
        way_out = (
            f"in the last {RECENT.days} days {plain(host)} gave answers whose id was billed before; if it replays them "
            f'from a cache, write "{plain(host)}" = "replays" under [hosts] in claudetrace.toml'
        )
        yield Check("answers that came twice", f"{answers:,}", way_out)


def _listed(hosts: list[str]) -> str:
    more = len(hosts) - MOST_HOSTS
    return ", ".join(hosts[:MOST_HOSTS]) + (f" and {more} more" if more > 0 else "") if hosts else "none"


def _agents(connection: sqlite3.Connection, _: Path) -> Iterator[Check]:
    """Transcripts that nobody imported, and rows where Claude Code's own total differs."""
    folders = [folder / "projects" for folder in config_folders(os.environ)]
    count = sum(1 for folder in folders for _ in transcripts_in(folder))
    (has_imported,) = connection.execute(_state.HAS_IMPORTED).fetchone()
    if count and not has_imported:
        where = ", ".join(str(folder) for folder in folders if folder.exists())
        yield Check("Claude Code", f"{count:,} transcripts in {where}; claudetrace import claude-code imports them")
    rows, *amounts = _state.agent_mismatches(connection)
    if rows:
        total, own = ("?" if each is None else usd_text(exact_usd(each), 6) for each in amounts)
        told = f": in the last one it counts {total}, and the rows have {own}" if amounts[0] is not None else ""
        yield Check("agent_mismatch", f"{rows:,} rows where Claude Code's own total differs{told}")


def _rates(path: Path) -> Check:
    """The price list in force, and whether an updated one can be used."""
    try:
        kept, fault = kept_list(path), None
    except ClaudetraceError as error:
        kept, fault = None, f"{error}; run `claudetrace prices update` again, or delete it"
    use_rates_of(None if fault else path)
    left = f", newer than the updated list of {kept.as_of}" if kept and kept.version != book().version else ""
    return Check("rates", f"{book().version}{left}", fault)
