"""`claudetrace doctor`: checks the installation, the ledger and the budgets, each finding with the way out."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import click

from claudetrace import _files
from claudetrace._alerts._channels import unset
from claudetrace._budgets import _connect
from claudetrace._budgets._match import coverage
from claudetrace._call import exact_usd
from claudetrace._config import read_config
from claudetrace._errors import ClaudetraceError, dollars
from claudetrace._ledger._calls import rows_of
from claudetrace._ledger._read import Ledger
from claudetrace._ledger._state import PAYERS
from claudetrace._places import default_db
from claudetrace._sources import SOURCES
from claudetrace._sqlite import refuse_old_sqlite
from claudetrace._switch import enabled
from claudetrace._telemetry._other_tools import OTHERS
from claudetrace.cli._budget_report import channel_text
from claudetrace.cli._checks import Check, check_ledger
from claudetrace.cli._options import DB, STORE, read_path, store_path
from claudetrace.cli._text import calls_text, counted, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._connect import StoreName, View
    from claudetrace._budgets._records import ChannelState

NOT_SEEN = (
    "calls by boto3, LiteLLM, raw HTTP or another language, unless claudetrace.record() is given their answers",
    "what Claude Code does on its own, until claudetrace import claude-code; managed-agents sessions",
    "calls of a program that did not call claudetrace.instrument()",
    "results of a batch that nobody reads: what they cost is known when they are read",
)
OLDEST_ANTHROPIC = (0, 73)
VARIABLES = ("CLAUDETRACE_DB", "CLAUDETRACE_TAGS", "CLAUDETRACE_SPANS", "CLAUDETRACE_CONFIG")
OTHER_CLIENTS = {
    "boto3": "its Bedrock calls (Converse, InvokeModel) are not seen; give their answers to claudetrace.record()",
    "litellm": "its calls are not seen; give their raw answers to claudetrace.record()",
}
"""Packages that call Claude another way."""
WATCHED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "anthropic._base_client": dict.fromkeys(("SyncAPIClient", "AsyncAPIClient"), ("request", "_process_response")),
    "claude_agent_sdk._internal.query": {"Query": ("__init__",)},
    "claude_agent_sdk._internal.transport.subprocess_cli": {"SubprocessCLITransport": ("write", "read_messages")},
}
"""The classes and methods that the meter wraps, by module."""
SETTLED_SOON = timedelta(minutes=1)
"""How long running programs take at most to settle for one that died."""
MOST_CALLS = 10_000
ALERTS_WAIT = timedelta(minutes=5)


@click.command()
@STORE
@DB
def doctor(db: Path | None, store: StoreName | None) -> None:
    """Check the installation, the ledger with its journal, and the budgets' store. Exits 1 on a finding."""
    checks = [*_installation()]
    _show("Installation", checks)
    try:
        path = read_path(db)
    except ClaudetraceError:  # the check of the budgets' store says so below
        path = default_db()
    found = [*check_ledger(path.absolute())]
    _show("Ledger", found)
    try:
        place = store_path(db, store)
        budgets = [*check_channels(), *check_budgets(place), *check_coverage(place, path)]
    except ClaudetraceError as error:
        budgets = [Check("settings", "cannot be used", str(error))]
    if budgets:
        _show("Budgets", budgets)
    click.echo(click.style("Not seen", bold=True))
    for words in NOT_SEEN:
        click.echo(f"  {words}")
    findings = [check for check in (*checks, *found, *budgets) if check.finding]
    click.echo()
    if not findings:
        click.echo("No findings.")
        return
    click.echo(click.style(f"{counted(len(findings), 'finding')}:", bold=True))
    for check in findings:
        click.echo(f"  {check.name}: {check.finding}")
    raise SystemExit(1)


def _show(title: str, checks: list[Check]) -> None:
    click.echo(click.style(title, bold=True))
    width = max(len(check.name) for check in checks)
    for check in checks:
        mark = click.style("!", fg="red") if check.finding else " "
        click.echo(f"{mark} {check.name:<{width}}  {check.value}")
    click.echo()


def _installation() -> Iterator[Check]:
    """The versions, the other packages, and what the environment says."""
    yield Check("claudetrace", version("claudetrace"))
    yield Check("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield _anthropic()
    try:
        refuse_old_sqlite()
        yield Check("SQLite", sqlite3.sqlite_version)
    except ClaudetraceError as error:
        yield Check("SQLite", sqlite3.sqlite_version, str(error))
    for name in ("opentelemetry-api", "opentelemetry-sdk"):
        yield Check(name, _version(name) or "missing")
    yield from _other_packages()
    if not enabled():
        off = "instrument() does nothing in this environment; unset it to record"
        yield Check("CLAUDETRACE_ENABLED", os.environ["CLAUDETRACE_ENABLED"], off)
    for name in VARIABLES:
        if os.environ.get(name):
            yield Check(name, plain(os.environ[name]))


def _other_packages() -> Iterator[Check]:
    """Those that call Claude, watched or not, and those that make spans of its calls."""
    for source in SOURCES.values():
        if source.package != "anthropic" and (found := _version(source.package)) is not None:
            yield Check(source.package, f"{found}, watched", _fault_of("claude_agent_sdk"))
    for package, words in OTHER_CLIENTS.items():
        if (found := _version(package)) is not None:
            yield Check(package, f"{found}: {words}")
    for other in OTHERS:
        if (found := _version(other.package)) is None:
            continue
        if other.alone:
            yield Check(other.package, found, f"it makes a second span of each call; {other.way_out}")
        else:
            yield Check(other.package, f"{found}, which may make a span of each call too; if so, {other.way_out}")


def _anthropic() -> Check:
    found = _version("anthropic")
    if found is None:
        return Check("anthropic", "missing", "no call can be seen; pip install anthropic")
    parts = found.split(".")
    if all(part.isdigit() for part in parts[:2]) and (int(parts[0]), int(parts[1])) < OLDEST_ANTHROPIC:
        return Check("anthropic", found, "0.73 or newer is tested; pip install -U anthropic")
    return Check("anthropic", found, _fault_of("anthropic"))


def _fault_of(package: str) -> str | None:
    """What `package` lacks of the methods that the meter wraps, if anything."""
    for module, owners in WATCHED.items():
        if module.partition(".")[0] != package:
            continue
        try:
            found = import_module(module)
        except Exception as error:  # noqa: BLE001 - a package's import may raise anything
            return f"it cannot be imported: {error}"
        for owner, methods in owners.items():
            if not all(hasattr(getattr(found, owner, None), method) for method in methods):
                return "this version is built in a new way, so its calls are not seen; upgrade claudetrace"
    return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def check_budgets(store: StoreName) -> Iterator[Check]:
    """Whether the budgets' store can be read, and whether anything in it is stranded; nothing if there is no file."""
    if isinstance(store, Path) and not os.path.lexists(store):
        return
    yield Check("store", str(store))
    if isinstance(store, Path) and (fragile := _files.fragile_filesystem(store)):
        lost = "with it goes what was spent"
        yield Check("file system", "not for lasting data", f"{fragile}, and {lost}; set budget_store=")
    try:
        yield from _checks(store)
    except (ClaudetraceError, OSError) as error:
        yield Check("store", "cannot be read", str(error))
    except sqlite3.Error as error:
        way_out = "a program that uses it sets a broken one aside and begins anew from the ledger"
        yield Check("store", "cannot be read", f"SQLite says: {error}; {way_out}")


def check_channels() -> Iterator[Check]:
    """The channels whose variable, named by `alert_to` in claudetrace.toml, is not set."""
    way_out = "it is not set here, so no alert goes there; set it where your programs run, or take it out of alert_to"
    for name in unset(read_config(None).get("alert_to")):
        yield Check(f"env:{name}", "not set", way_out)


def check_coverage(store: StoreName, db: Path) -> Iterator[Check]:
    """Which share of the latest calls no budget counts, and why; nothing without budgets or calls."""
    if not _connect.exists(store) or not db.is_file():
        return
    budgets: list[Budget] = []
    calls, why = 0, Counter[str]()
    # The checks of the two files say what is wrong with them.
    with suppress(ClaudetraceError, OSError, sqlite3.Error), _connect.view(store) as view, Ledger(db) as ledger:
        budgets = [each.budget for each in view.budgets()]
        calls, why = coverage(budgets, rows_of(ledger.db.conn, PAYERS, {"latest": MOST_CALLS}))
    if budgets and calls:
        reasons = "".join(f"; {number:,} {plain(reason, 100)}" for reason, number in why.most_common())
        share = f"{why.total():,} of the last {calls:,} calls ({why.total() / calls:.0%})"
        yield Check("under no budget", f"{share}{reasons}")


def _checks(store: StoreName) -> Iterator[Check]:
    now = datetime.now(UTC)
    with _connect.view(store) as view:
        for fact in view.facts():
            yield Check(*fact)
        names = [plain(str(each.budget.name)) for each in view.budgets()]
        yield Check("budgets", f"{len(names)}: {plain(', '.join(names), 200)}" if names else "none")
        for name, why in view.unusable().items():
            finding = f"{plain(why, 200)}; programs like this one do not count for it: upgrade claudetrace"
            yield Check(f"budget {plain(name)}", "cannot be used here", finding)
        yield from _reservations(view, now)
        for channel in view.channels(now.timestamp()):
            yield _channel(channel, now)


def _reservations(view: View, now: datetime) -> Iterator[Check]:
    """What is reserved for running calls, for batches, and by processes that are gone."""
    running, batches, stranded = "reserved", "reserved for batches", "reserved by processes that are gone"
    held: dict[str, list[int]] = {running: [], batches: [], stranded: []}
    for each in view.open():
        late = each.owner_is_gone and now - _began(each.call_id) > SETTLED_SOON
        held[batches if not each.owner else stranded if late else running].append(each.picousd)
    settles = "the next program that has these budgets settles them; until then they are not free to spend"
    for name, amounts in held.items():
        if amounts or name == running:
            told = f"{dollars(exact_usd(sum(amounts)))} for {calls_text(len(amounts))}"
            yield Check(name, told, settles if name == stranded else None)


def _began(call_id: str) -> datetime:
    """When a call began, by its id."""
    try:
        return datetime.fromtimestamp(int(call_id.replace("-", "")[:12], 16) / 1000, UTC)
    except ValueError:
        return datetime.now(UTC)


def _channel(channel: ChannelState, now: datetime) -> Check:
    finding = None
    if channel.error is not None:
        finding = f"{plain(channel.error, 200)}; what waits is tried again for three days"
    elif channel.oldest_at is not None and channel.oldest_at < now - ALERTS_WAIT:
        oldest = f"the oldest alert is of {channel.oldest_at:%Y-%m-%d %H:%M} UTC"
        finding = f"no running program has this channel; {oldest}"
    return Check(f"channel {channel.name}", channel_text(channel), finding)
