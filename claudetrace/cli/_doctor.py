"""`claudetrace doctor`: what it checks, each with the way out where something is found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from claudetrace._errors import ClaudetraceError
from claudetrace.cli._checks import check_installation, check_ledger
from claudetrace.cli._options import DB, STORE, read_path, store_path
from claudetrace.cli._tables import Check

if TYPE_CHECKING:
    from pathlib import Path

    from claudetrace._budgets._connect import StoreName
NOT_SEEN = (
    "calls by boto3, LiteLLM, raw HTTP or another language, unless claudetrace.record() is given their answers",
    "what Claude Code does on its own, until claudetrace import claude-code; managed-agents sessions",
    "calls of a program that did not call claudetrace.instrument()",
    "results of a batch that nobody reads: what they cost is known when they are read",
)


@click.command(short_help="Check the installation, the ledger and the budgets' store.")
@STORE
@DB
def doctor(db: Path | None, store: StoreName | None) -> None:
    """Check the installation, the ledger and its journal, and the budgets' store. Exits 1 on a finding."""
    from claudetrace._places import default_db
    from claudetrace.cli._budget_checks import check_budgets, check_channels, check_coverage

    checks = check_installation()
    _show("Installation", checks)
    try:
        path = read_path(db)
    except ClaudetraceError:  # told below, with the store that the settings name
        path = default_db()
    found = check_ledger(path.absolute())
    _show("Ledger", found)
    try:
        budgets = [
            *check_channels(),
            *check_budgets(store_path(db, store)),
            *check_coverage(store_path(db, store), path),
        ]
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
    click.echo(click.style(f"{len(findings)} finding{'' if len(findings) == 1 else 's'}:", bold=True))
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
