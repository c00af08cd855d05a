"""`claudetrace doctor`: checks the installation, the ledger and the budgets, each finding with the way out."""

from __future__ import annotations

import os
import platform
import sqlite3
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import click

from claudetrace._errors import ClaudetraceError
from claudetrace._places import default_db
from claudetrace._sources import SOURCES
from claudetrace._sqlite import refuse_old_sqlite
from claudetrace._switch import enabled
from claudetrace._telemetry._other_tools import OTHERS
from claudetrace.cli._budget_checks import check_budgets, check_channels, check_coverage
from claudetrace.cli._checks import Check, check_ledger
from claudetrace.cli._options import DB, STORE, read_path, store_path
from claudetrace.cli._text import counted, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from claudetrace._budgets._connect import StoreName

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


@click.command(short_help="Check the installation, the ledger and the budgets' store.")
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
