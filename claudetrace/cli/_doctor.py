"""`claudetrace doctor`: what it checks, each with the way out where something is found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from claudetrace.cli._checks import Check, check_installation, check_ledger
from claudetrace.cli._options import DB

if TYPE_CHECKING:
    from pathlib import Path

NOT_SEEN = (
    "calls without the anthropic package: boto3's Converse and InvokeModel, raw HTTP, other languages",
    "calls of a subprocess, such as the one that the Claude Agent SDK starts",
    "calls of a program that did not call claudetrace.instrument()",
    "results of a batch that nobody reads: what they cost is known when they are read",
)


@click.command(short_help="Check the installation, the ledger and its journal.")
@DB
def doctor(db: Path | None) -> None:
    """Check the installation, the ledger and its journal. Exits 1 on a finding."""
    from claudetrace._places import ledger_path

    checks = check_installation()
    _show("Installation", checks)
    path = ledger_path(db)
    assert path is not None
    found = check_ledger(path)
    _show("Ledger", found)
    click.echo(click.style("Not seen", bold=True))
    for words in NOT_SEEN:
        click.echo(f"  {words}")
    findings = [check for check in (*checks, *found) if check.finding]
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
