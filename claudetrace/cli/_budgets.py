"""`claudetrace budgets`."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from shlex import quote
from typing import TYPE_CHECKING

import click

from claudetrace._errors import ClaudetraceError, dollars
from claudetrace.cli._budgets_admin import apply, init, recount
from claudetrace.cli._options import DB, STORE, calls_text, store_path
from claudetrace.cli._tables import plain

if TYPE_CHECKING:
    from pathlib import Path

    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._connect import StoreName
    from claudetrace._budgets._status import BudgetState

CODE = "Channels that a program's code names are not known here, and are not tried"


@click.group(invoke_without_command=True, short_help="Show what budgets have spent, reserved and left.")
@click.option("--top", default=5, show_default=True, type=click.IntRange(0), help="Of a budget for each: how many.")
@click.option("--alerts", default=5, show_default=True, type=click.IntRange(0), help="How many of the last alerts.")
@click.option("--json", "as_json", is_flag=True, help="For programs: whole counts, exact dollars as text.")
@STORE
@DB
@click.pass_context
def budgets(
    context: click.Context, top: int, alerts: int, as_json: bool, store: StoreName | None, db: Path | None
) -> None:
    """Show what each budget has spent, reserved and left in its window, and the last alerts.

    Read from the store of the programs that have these budgets; nothing of it is changed. Exits 1 where all of a
    budget is spent, or it has stopped a call. Times are UTC.
    """
    if context.invoked_subcommand is not None:
        context.obj = (db, store)
        return
    from claudetrace.cli._budget_report import Report, as_text
    from claudetrace.cli._budget_report import as_json as in_json

    path = store_path(db, store)
    report = Report.read(path, time.time(), top=top, alerts=alerts)
    click.echo(in_json(report) if as_json else as_text(report))
    if report.needs_a_look:
        raise SystemExit(1)


@budgets.command()
@click.argument("name")
@STORE
@DB
@click.pass_obj
def test(said: tuple[Path | None, StoreName | None], name: str, store: StoreName | None, db: Path | None) -> None:
    """Send an alert of the budget NAME that says it is a test.

    Through the channels that `alert_to` in claudetrace.toml names; those that a program's code names are known to
    that program alone. Exits 1 where one fails, 2 where no budget has that name.
    """
    from claudetrace._alerts._send_test import send_test
    from claudetrace._config import resolve
    from claudetrace._places import resource

    settings = resolve({})
    path = store_path(db or said[0], store or said[1])
    said_here = () if settings.budgets == "store" else settings.budgets
    known = {budget.name: budget for budget in said_here} | _stored(path)
    if name not in known:
        names = ", ".join(repr(each) for each in known) or "none: no program has set any, nor has claudetrace.toml"
        raise ClaudetraceError(f"there is no budget {name!r} in {path} or in claudetrace.toml; there is {names}")
    if not settings.alert_to:
        raise ClaudetraceError(
            'no channel is named in claudetrace.toml: write alert_to = ["https://…"] there. '
            f"{CODE}{_others(path, set())}"
        )
    tried = send_test(name, known.values(), settings.alert_to, service=resource()["service"])
    click.echo(f"A test alert of budget {name!r}, through the channels of claudetrace.toml:")
    width = max(len(each.channel) for each in tried)
    for each in tried:
        said_of_it = click.style("delivered", fg="green") if each.error is None else click.style("failed", fg="red")
        click.echo(f"  {each.channel:<{width}}  {said_of_it}" + (f": {plain(each.error, 300)}" if each.error else ""))
    click.echo(f"{CODE}{_others(path, {each.channel for each in tried})}.")
    if any(each.error is not None for each in tried):
        raise SystemExit(1)


@budgets.command()
@click.argument("name")
@click.option("--key", help="Of a budget for each value of a tag: this one's alone.")
@STORE
@DB
@click.pass_obj
def release(
    said: tuple[Path | None, StoreName | None], name: str, key: str | None, store: StoreName | None, db: Path | None
) -> None:
    """Let go of what the budget NAME holds for cut streams.

    What they were seen to cost stays spent. To be used once the bill says what they came to. Exits 2 where no budget
    has that name.
    """
    from claudetrace._budgets import _connect
    from claudetrace._call import exact_usd

    found = _connect.release(store_path(db or said[0], store or said[1]), name, key)
    whose = plain(f"budget {name!r}" + ("" if key is None else f" for {key!r}"))
    streams = f"{len(found):,} cut stream{'' if len(found) == 1 else 's'}"
    amount = dollars(exact_usd(sum(found)))
    click.echo(f"Released {amount} held for {streams} in {whose}." if found else f"Nothing is held in {whose}.")


@budgets.command()
@click.argument("name")
@click.option("--key", help="Of a budget for each value of a tag: whose limit.")
@click.option("--usd", metavar="USD", help="How many dollars more.")
@click.option("--calls", type=click.IntRange(1), help="How many calls more.")
@click.option("--until", metavar="TIME", help="An ISO time in UTC, or 30m, 2h. Default: the end of the window.")
@click.option("--why", required=True, help="The reason, for who reads it later.")
@STORE
@DB
@click.pass_obj
def grant(
    said: tuple[Path | None, StoreName | None],
    name: str,
    key: str | None,
    usd: str | None,
    calls: int | None,
    until: str | None,
    why: str,
    store: StoreName | None,
    db: Path | None,
) -> None:
    """Raise the limit of the budget NAME, in its window of now.

    It holds at once in every program on the store; calls that wait are let through. Exits 2 for a grant that cannot be,
    or that leaves no room.
    """
    from claudetrace._budgets._grants import grant as give

    now = datetime.now(UTC)
    state = give(
        store_path(db or said[0], store or said[1]),
        name,
        key,
        usd=None if usd is None else _dollars(usd),
        calls=calls,
        until=None if until is None else _time(until, now),
        why=why,
        now=now,
    )
    click.echo(f"{_whose(name, key)} may spend {_left(state)} more, of {_limits(state)}.")
    click.echo(f"To take it back: claudetrace budgets revoke {_named(name, key)}")


@budgets.command()
@click.argument("name")
@click.option("--key", help="Of a budget for each value of a tag: whose limit.")
@STORE
@DB
@click.pass_obj
def revoke(
    said: tuple[Path | None, StoreName | None], name: str, key: str | None, store: StoreName | None, db: Path | None
) -> None:
    """Take back what the budget NAME was granted, in its window of now."""
    from claudetrace._budgets._grants import revoke as take
    from claudetrace.cli._budget_report import granted_text

    found = take(store_path(db or said[0], store or said[1]), name, key, now=datetime.now(UTC))
    for each in found:
        click.echo(f"Taken back: {granted_text(each)}")
    if not found:
        click.echo(f"{_whose(name, key)} was granted nothing in this window.")


def _dollars(text: str) -> Decimal:
    try:
        usd = Decimal(text.removeprefix("$"))
    except InvalidOperation:
        usd = Decimal(0)
    if not usd.is_finite() or usd <= 0:
        raise click.UsageError(f"--usd {text} is no sum: give dollars above 0, as 5 or 2.50")
    return usd


def _time(text: str, now: datetime) -> datetime:
    from claudetrace._parse import days

    try:
        if text.strip()[-1:] in "mhdw":
            return now + timedelta(days=days("--until", text))
        at = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"--until {text} is no time: write 2026-11-29T18:00, in UTC, or 30m, 2h") from None
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _whose(name: str, key: str | None) -> str:
    return plain(f"Budget {name!r}" + ("" if key is None else f" for {key!r}"))


def _named(name: str, key: str | None) -> str:
    return plain(quote(name) + ("" if key is None else f" --key {quote(key)}"))


def _left(state: BudgetState) -> str:
    parts = [] if state.left_usd is None else [dollars(state.left_usd)]
    parts += [] if state.left_calls is None else [calls_text(state.left_calls)]
    return " and ".join(parts)


def _limits(state: BudgetState) -> str:
    parts = [] if state.limit_usd is None else [dollars(state.limit_usd + state.granted_usd)]
    parts += [] if state.max_calls is None else [calls_text(state.max_calls + state.granted_calls)]
    return " and ".join(parts)


def _stored(store: StoreName) -> dict[str | None, Budget]:
    from claudetrace._budgets import _connect

    if not _connect.exists(store):
        return {}
    with _connect.view(store) as view:
        return {each.budget.name: each.budget for each in view.budgets()}


def _others(store: StoreName, tried: set[str]) -> str:
    """The channels of the store that are not among those `tried`."""
    from claudetrace._budgets import _connect

    if not _connect.exists(store):
        return ""
    with _connect.view(store) as view:
        names = [each.name for each in view.channels(time.time()) if each.name not in tried]
    return f"; the store knows {', '.join(names)}" if names else ""


for each in (init, apply, recount):
    budgets.add_command(each)
