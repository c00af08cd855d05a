"""The checks of `doctor`: each a name, what is so, and what was found wrong with the way out."""

from __future__ import annotations

import glob
import os
import platform
import sqlite3
import stat
import sys
import time
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from claudetrace._errors import ClaudetraceError
from claudetrace._places import RECORDS_DB, spool_of
from claudetrace._sqlite import TOO_LONG
from claudetrace.cli._host_checks import check_hosts
from claudetrace.cli._options import calls_text
from claudetrace.cli._source_checks import check_agents, check_sources
from claudetrace.cli._tables import Check, bytes_text, plain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from claudetrace._ledger._read import Ledger

OLDEST_ANTHROPIC = (0, 73)
VARIABLES = ("CLAUDETRACE_DB", "CLAUDETRACE_TAGS", "CLAUDETRACE_SPANS", "CLAUDETRACE_CONFIG")
MANY_RECORDS = 100_000
DAMAGED = "; copy it away, and keep what `sqlite3 LEDGER .recover` reads of it"
WAYS_OUT = {"SQLITE_CORRUPT": DAMAGED, "SQLITE_NOTADB": DAMAGED, "SQLITE_INTERRUPT": f": {TOO_LONG}"}
IDLE_S = 60.0
"""How long a program that runs may leave rows in its journal."""
RECORDS_WAIT = timedelta(minutes=5)


def check_installation() -> list[Check]:
    """The versions, and what the environment says."""
    from claudetrace._sqlite import refuse_old_sqlite
    from claudetrace._switch import enabled

    checks = [
        Check("claudetrace", version("claudetrace")),
        Check("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        _anthropic(),
    ]
    try:
        refuse_old_sqlite()
        checks.append(Check("SQLite", sqlite3.sqlite_version))
    except ClaudetraceError as error:
        checks.append(Check("SQLite", sqlite3.sqlite_version, str(error)))
    checks += [Check(name, _version(name) or "missing") for name in ("opentelemetry-api", "opentelemetry-sdk")]
    checks += check_sources()
    checks += _others()
    if not enabled():
        off = "instrument() does nothing in this environment; unset it to record"
        checks.append(Check("CLAUDETRACE_ENABLED", os.environ["CLAUDETRACE_ENABLED"], off))
    checks += [Check(name, plain(os.environ[name])) for name in VARIABLES if os.environ.get(name)]
    return checks


def _anthropic() -> Check:
    """Whether the SDK has the two methods that are watched."""
    found = _version("anthropic")
    if found is None:
        return Check("anthropic", "missing", "no call can be seen; pip install anthropic")
    parts = found.split(".")
    if all(part.isdigit() for part in parts[:2]) and (int(parts[0]), int(parts[1])) < OLDEST_ANTHROPIC:
        return Check("anthropic", found, "0.73 or newer is tested; pip install -U anthropic")
    try:
        from anthropic import _base_client
    except ImportError as error:
        return Check("anthropic", found, f"it cannot be imported: {error}")
    clients = (_base_client.SyncAPIClient, _base_client.AsyncAPIClient)
    if not all(hasattr(client, name) for client in clients for name in ("request", "_process_response")):
        return Check(
            "anthropic", found, "its clients are built in a new way, so calls are not seen; upgrade claudetrace"
        )
    return Check("anthropic", found)


def _others() -> Iterator[Check]:
    """What is installed that makes spans of Claude calls too: a finding where it is there for nothing else."""
    from claudetrace._telemetry._other_tools import OTHERS

    for other in OTHERS:
        found = _version(other.package)
        if found is None:
            continue
        if other.alone:
            yield Check(other.package, found, f"it makes a second span of each call; {other.way_out}")
        else:
            yield Check(other.package, f"{found}, which may make a span of each call too; if so, {other.way_out}")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def check_ledger(path: Path) -> list[Check]:
    """Whether the ledger at `path` can be read, and whether what is in it holds."""
    from claudetrace._files import fragile_filesystem
    from claudetrace._ledger._read import Ledger
    from claudetrace._sqlite import limit_time

    checks = [Check("path", str(path)), *_modes(path)]
    if fragile := fragile_filesystem(path):
        checks.append(
            Check("file system", "not for lasting data", f"{fragile}; name another place with CLAUDETRACE_DB")
        )
    try:
        with Ledger(path) as ledger:
            limit_time(ledger.db.conn, path)
            checks += _facts(ledger)
            checks += _journal(ledger)
            checks += _records(ledger)
            if path.stat().st_size > 200e6 and sys.stderr.isatty():
                click_note("checking every row of a large ledger: this takes a while")
            checks += _proofs(ledger)
            checks += check_hosts(ledger.db.conn)
            checks += check_agents(ledger.db.conn)
            checks.append(_rates(path))
    except ClaudetraceError as error:
        checks.append(Check("ledger", "cannot be read" if os.path.lexists(path) else "missing", str(error)))
    except OSError as error:
        checks.append(Check("ledger", "cannot be read", str(error)))
    except sqlite3.Error as error:
        way_out = WAYS_OUT.get(error.sqlite_errorname, "")
        checks.append(Check("ledger", "cannot be read", f"SQLite says: {error}{way_out}"))
    if os.path.isfile(alone := path.with_name(RECORDS_DB)) and alone != path:  # noqa: PTH113 - never raises
        checks += _records_alone(alone)
    return checks


def _modes(path: Path) -> Iterator[Check]:
    """Which files of the ledger others may read or write than `file_mode` says."""
    from claudetrace._config import read_config
    from claudetrace._files import FILE_MODE

    wanted = read_config(None).get("file_mode", FILE_MODE)
    wider = []
    for found in (*path.parent.glob(f"{glob.escape(path.name)}*"), *path.parent.glob(f"{glob.escape(path.name)}.*/*")):
        with suppress(OSError):
            mode = found.lstat().st_mode
            if stat.S_ISREG(mode) and mode & 0o777 & ~wanted:
                wider.append(found)
    if wider:
        told = f"{wider[0]} is one: chmod {wanted:o} it, or set file_mode in a claudetrace.toml that is named"
        yield Check("files open to others", str(len(wider)), told)


def click_note(words: str) -> None:
    """Tells `words` where a person watches."""
    import click

    click.echo(f"  ({words})", err=True)


def _facts(ledger: Ledger) -> Iterator[Check]:
    from claudetrace._ledger import _state
    from claudetrace._ledger._proof import exact_from_day
    from claudetrace._ledger._schema import VERSION

    connection = ledger.db.conn
    rows, oldest, newest, schema = _state.contents(connection)
    yield Check("schema", f"version {schema} of {VERSION}")
    yield Check("size", bytes_text(ledger.path.stat().st_size))
    yield Check("rows", f"{rows:,}" + (f", from {oldest} to {newest}" if rows else ""))
    if pruned := exact_from_day(connection):
        yield Check("pruned", f"calls before {pruned} UTC are removed")


def _journal(ledger: Ledger) -> Iterator[Check]:
    """What waits in the journal, what could not be read, and what the ledger refused."""
    from claudetrace._ledger import _state
    from claudetrace._ledger._segments import UNREADABLE, adopt, left_elsewhere, paths

    connection, spool = ledger.db.conn, spool_of(ledger.path)
    if os.path.lexists(spool) and not os.access(spool, os.R_OK | os.W_OK | os.X_OK):
        yield Check(
            "journal", "cannot be seen by this user", f"only its owner can load {spool}, and tell what waits in it"
        )
        return
    loaded = _state.loaded_bytes(connection)
    living, pending_bytes, orphans, idle = 0, 0, [], 0
    for path in (*paths(spool), *left_elsewhere(spool)):
        left = path.stat().st_size - loaded.get(path.name, 0) if path.exists() else 0
        pending_bytes += left
        segment = adopt(path)
        if segment is None:
            living += 1
            idle += left > 0 and time.time() - path.stat().st_mtime > IDLE_S
            continue
        segment.close()
        if left > 0:
            orphans.append(path.name)
    asleep = f"processes that run and load nothing: {idle}; under uWSGI, set enable-threads" if idle else None
    yield Check("journal", f"{bytes_text(pending_bytes)} to load; processes that record: {living}", asleep)
    if orphans:
        yield Check("orphans", str(len(orphans)), f"what processes that are gone left in {spool} could not be loaded")
    kept = spool / UNREADABLE
    unreadable = kept.read_bytes().count(b"\n") if kept.exists() else 0
    cut = f"{kept} keeps lines of the journal that are no rows; delete it when you have seen it" if unreadable else None
    yield Check("unreadable lines", str(unreadable), cut)
    quarantined, reason = _state.quarantined(connection)
    refused = f"the table quarantine keeps rows that were refused, the last one for: {reason}" if quarantined else None
    yield Check("quarantined rows", str(quarantined), refused)


def _records(ledger: Ledger) -> Iterator[Check]:
    """What waits to be sent, what the receiver refuses, and what was removed before it was sent."""
    from claudetrace._ledger import _unsent

    connection = ledger.db.conn
    waiting = _unsent.waiting(connection, MANY_RECORDS)
    refused, reason = _unsent.refused(connection)
    lost = _unsent.lost(connection)
    if waiting or refused or lost:
        oldest = _unsent.oldest_at(connection)
        late = oldest is not None and datetime.fromisoformat(oldest) < datetime.now(UTC) - RECORDS_WAIT
        away = f"the oldest is of {oldest}; is the receiver that OTEL_EXPORTER_OTLP_* or otlp= names there?"
        many = "+" if waiting == MANY_RECORDS else ""
        yield Check("records waiting to be sent", f"{waiting:,}{many}", away if late else None)
    if refused:
        yield Check(
            "records refused", str(refused), f"the table unsent names them, one for: {plain(reason or '?', 200)}"
        )
    if lost:
        yield Check("records lost", str(lost), "their calls were pruned before they were sent")


def _records_alone(path: Path) -> list[Check]:
    """The same of programs that keep no ledger."""
    from claudetrace._ledger._read import Ledger
    from claudetrace._sqlite import limit_time

    try:
        with Ledger(path) as outbox:
            limit_time(outbox.db.conn, path)
            return [check._replace(name=f"{check.name} ({path.name})") for check in _records(outbox)]
    except (ClaudetraceError, sqlite3.Error, OSError) as error:
        return [Check(path.name, "cannot be read", str(error))]


def _rates(path: Path) -> Check:
    """The price list in force, and whether an updated one can be used."""
    from claudetrace._pricing._list import kept_list, use_rates_of
    from claudetrace._pricing._rates import book

    try:
        kept, fault = kept_list(path), None
    except ClaudetraceError as error:
        kept, fault = None, f"{error}; run `claudetrace prices update` again, or delete it"
    use_rates_of(None if fault else path)
    left = f", newer than the updated list of {kept.as_of}" if kept and kept.version != book().version else ""
    return Check("rates", f"{book().version}{left}", fault)


def _proofs(ledger: Ledger) -> Iterator[Check]:
    """That costs are the sum of their parts, that rollups equal the calls, and that SQLite finds no damage."""
    from claudetrace._ledger import _state
    from claudetrace._ledger._proof import rollup_differences
    from claudetrace._ledger._schema import connect_to_read
    from claudetrace._sqlite import limit_time

    # A connection of its own: a question that fails leaves `ledger.db` as it is.
    with closing(connect_to_read(ledger.path)) as connection:
        limit_time(connection, ledger.path)
        damage = _state.damage(connection)
        damaged = f"{damage}; copy the file away and begin a new one" if damage else None
        yield Check("SQLite's own check", "failed" if damage else "ok", damaged)
        unproven = _state.unproven(connection)
        wrong = f"the view unproven_calls names them, as {unproven[0]}" if unproven else None
        yield Check("costs that are not their parts", str(len(unproven)), wrong)
        differences = rollup_differences(connection)
        differs = f"the first is {differences[0].key} of {differences[0].table}" if differences else None
        yield Check("rollups that are not their calls", str(len(differences)), differs)
        unknown, models = _state.unknown_models(connection)
        way_out = (
            f"{calls_text(unknown)} of {plain(models or '?', 200)}; upgrade claudetrace, or give rates= to instrument()"
        )
        yield Check("calls of models without a rate", str(unknown), way_out if unknown else None)
