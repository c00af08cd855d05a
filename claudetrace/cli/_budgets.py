"""`claudetrace budgets` and its commands."""

from __future__ import annotations

import time
import tomllib
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import update_wrapper
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from claudetrace._alerts._channels import send_test
from claudetrace._budgets import _commands, _connect
from claudetrace._budgets._budget import budgets_from
from claudetrace._budgets._budgets import Budgets
from claudetrace._budgets._postgres._url import ServerUrl
from claudetrace._budgets._report import Report
from claudetrace._budgets._status import states
from claudetrace._call import exact_usd
from claudetrace._config import resolve
from claudetrace._errors import ClaudetraceError, dollars
from claudetrace._guard import Guard
from claudetrace._ledger._read import Ledger
from claudetrace._ledger._reprice import offer_again
from claudetrace._parse import days
from claudetrace._places import resource
from claudetrace.cli._budget_report import amounts_text, as_text, granted_text, in_json
from claudetrace.cli._options import AS_JSON, DB, STORE, progress_of, store_named, store_path
from claudetrace.cli._text import calls_text, counted, plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._connect import StoreName
    from claudetrace._budgets._records import Stored
    from claudetrace._call import Row

CODE = "Channels that are set in a program's code are not known here, and are not tried"
MOST_KEYS = 20
PATIENT_S = 30.0
RECOUNT_S = 35 * 86_400
"""How long a store remembers what it has counted. Offering older calls again would count them twice."""
KEY = click.option("--key", help="Of a budget for each value of a tag: the value.")


@click.group(invoke_without_command=True)
@click.option(
    "--top", default=5, show_default=True, type=click.IntRange(0), help="How many values of a budget for each value."
)
@click.option("--alerts", default=5, show_default=True, type=click.IntRange(0), help="How many of the last alerts.")
@AS_JSON
@STORE
@DB
@click.pass_context
def budgets(
    context: click.Context, top: int, alerts: int, as_json: bool, store: StoreName | None, db: Path | None
) -> None:
    """Show what each budget has spent, reserved and left in its window, and the last alerts.

    Reads the store of the programs that have these budgets, and changes nothing. Exits 1 if all of a budget is spent,
    or if it has stopped a call. Times are UTC.
    """
    if context.invoked_subcommand is not None:
        context.obj = (db, store)
        return
    found = Report.read(store_path(db, store), time.time(), top=top, alerts=alerts)
    click.echo(in_json(found) if as_json else as_text(found))
    if found.needs_a_look:
        raise SystemExit(1)


def _on_store(command: Callable[..., None]) -> Callable[..., None]:
    """The command on the store that its own options name, or those of `budgets` before it."""

    def named(
        said: tuple[Path | None, StoreName | None], store: StoreName | None, db: Path | None, **given: Any
    ) -> None:
        command(store_path(db or said[0], store or said[1]), **given)

    made: Any = update_wrapper(named, command)
    return STORE(DB(click.pass_obj(made)))


@budgets.command()
@click.argument("name")
@_on_store
def test(store: StoreName, name: str) -> None:
    """Send a test alert of the budget NAME.

    It goes through the channels that `alert_to` in claudetrace.toml names. Those that are set in a program's code are
    known to that program alone. Exits 1 if one fails, 2 if no budget has that name.
    """
    settings = resolve({})
    said_here = () if settings.budgets == "store" else settings.budgets
    stored, channels = _stored(store)
    known = {budget.name: budget for budget in (*said_here, *stored)}
    if name not in known:
        names = ", ".join(repr(each) for each in known) or "none: no program has set any, nor has claudetrace.toml"
        raise ClaudetraceError(f"there is no budget {name!r} in {store} or in claudetrace.toml; there is {names}")
    if not settings.alert_to:
        raise ClaudetraceError(
            f'no channel is named in claudetrace.toml: write alert_to = ["https://…"] there. {CODE}{_untried(channels)}'
        )
    tried = send_test(known[name], settings.alert_to, service=resource()["service"])
    click.echo(f"A test alert of budget {name!r}, through the channels of claudetrace.toml:")
    width = max(len(each.channel) for each in tried)
    for each in tried:
        done = click.style("delivered", fg="green") if each.error is None else click.style("failed", fg="red")
        click.echo(f"  {each.channel:<{width}}  {done}" + (f": {plain(each.error, 300)}" if each.error else ""))
    click.echo(f"{CODE}{_untried(channels - {each.channel for each in tried})}.")
    if any(each.error is not None for each in tried):
        raise SystemExit(1)


def _stored(store: StoreName) -> tuple[list[Budget], set[str]]:
    """The store's budgets and channels; none where there is no store."""
    if not _connect.exists(store):
        return [], set()
    with _connect.view(store) as view:
        return [each.budget for each in view.budgets()], {each.name for each in view.channels(time.time())}


def _untried(channels: set[str]) -> str:
    return f"; the store knows {', '.join(sorted(channels))}" if channels else ""


@budgets.command()
@click.argument("name")
@KEY
@_on_store
def release(store: StoreName, name: str, key: str | None) -> None:
    """Release what the budget NAME holds for cut streams.

    What they were seen to cost stays spent. Use it once the bill says what they came to. Exits 2 if no budget has that
    name.
    """
    found = _commands.release(store, name, key)
    whose, streams = _whose("budget", name, key), counted(len(found), "cut stream")
    amount = dollars(exact_usd(sum(found)))
    click.echo(f"Released {amount} held for {streams} in {whose}." if found else f"Nothing is held in {whose}.")


@budgets.command()
@click.argument("name")
@KEY
@click.option("--usd", metavar="USD", help="How many dollars more.")
@click.option("--calls", type=click.IntRange(1), help="How many calls more.")
@click.option("--until", metavar="TIME", help="An ISO time in UTC, or 30m, 2h. Default: the end of the window.")
@click.option("--why", required=True, help="The reason, for whoever reads it later.")
@_on_store
def grant(
    store: StoreName, name: str, key: str | None, usd: str | None, calls: int | None, until: str | None, why: str
) -> None:
    """Raise the limit of the budget NAME in its current window.

    It takes effect at once in every program on the store, and calls that wait go on. Exits 2 for a grant that is not
    possible or leaves no room.
    """
    now = datetime.now(UTC)
    ends, more = None if until is None else _time(until, now), None if usd is None else _dollars(usd)
    state = _commands.grant(store, name, key, usd=more, calls=calls, until=ends, why=why, now=now)
    limit = None if state.limit_usd is None else state.limit_usd + state.granted_usd
    most = None if state.max_calls is None else state.max_calls + state.granted_calls
    left = amounts_text(state.left_usd, state.left_calls)
    click.echo(f"{_whose('Budget', name, key)} may spend {left} more, of {amounts_text(limit, most)}.")
    named = plain(quote(name) + ("" if key is None else f" --key {quote(key)}"))
    click.echo(f"To take it back: claudetrace budgets revoke {named}")


@budgets.command()
@click.argument("name")
@KEY
@_on_store
def revoke(store: StoreName, name: str, key: str | None) -> None:
    """Take back what the budget NAME was granted in its current window."""
    found = _commands.revoke(store, name, key, now=datetime.now(UTC))
    for each in found:
        click.echo(f"Taken back: {granted_text(each)}")
    if not found:
        click.echo(f"{_whose('Budget', name, key)} was granted nothing in this window.")


def _dollars(text: str) -> Decimal:
    try:
        usd = Decimal(text.removeprefix("$"))
    except InvalidOperation:
        usd = Decimal(0)
    if not usd.is_finite() or usd <= 0:
        raise click.UsageError(f"--usd {text} is no amount: give dollars above 0, such as 5 or 2.50")
    return usd


def _time(text: str, now: datetime) -> datetime:
    try:
        if text.strip()[-1:] in "mhdw":
            return now + timedelta(days=days("--until", text))
        at = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"--until {text} is no time: write 2026-11-29T18:00, in UTC, or 30m, 2h") from None
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _whose(word: str, name: str, key: str | None) -> str:
    return plain(f"{word} {name!r}" + ("" if key is None else f" for {key!r}"))


@budgets.command()
@click.argument("url", callback=store_named)
@click.option("--durable", is_flag=True, help="Wait for the disk at each step: slower, and a crash loses nothing.")
def init(url: StoreName, durable: bool) -> None:
    """Make the budgets' tables and functions in the database at URL, or update them.

    URL is postgresql://… or env:NAME of one, for a role that may create a schema. Run it again at any time. It prints
    the statements that give your programs' role access.
    """
    from claudetrace._budgets._postgres._schema import init as make

    statements = make(_server(url), durable=durable)
    click.echo(f"-- The budgets' store in {url} is ready. For the role that your programs connect as:", err=True)
    click.echo("\n".join(statements))


@budgets.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--store", "url", required=True, metavar="URL", callback=store_named, help="As for `init`.")
def apply(file: Path, url: StoreName) -> None:
    """Set the [[budgets]] of FILE in the database at URL, as limits that no program can change.

    Programs with budgets="store" take them from there. Budgets that were set this way before and are not in FILE are
    lifted.
    """
    from claudetrace._budgets._postgres._schema import apply as set_limits

    try:
        said = tomllib.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ClaudetraceError(f"{file} cannot be read: {error}") from error
    if set(said) != {"budgets"}:
        raise ClaudetraceError(f"{file} has to hold [[budgets]] and nothing else")
    done = dict(zip(("Set", "Lifted"), set_limits(_server(url), budgets_from(said["budgets"])), strict=True))
    for verb, names in done.items():
        if names:
            click.echo(f"{verb}: {', '.join(plain(name) for name in names)}.")
    if not any(done.values()):
        click.echo("There are no budgets in it, and none were set.")


def _server(store: StoreName) -> ServerUrl:
    if not isinstance(store, ServerUrl):
        raise ClaudetraceError(f"{store} is a file, which needs nothing of this: name a postgresql:// URL, or env:NAME")
    return store


@budgets.command()
@click.argument("store", metavar="URL", callback=store_named)
@DB
def recount(store: StoreName, db: Path | None) -> None:
    """Count the ledger's calls again in the budgets of STORE, for the windows that are open.

    For a store that was restored from an older copy, or that replaces another. It counts no call twice, so run it as
    often as you like, and on each host that has a ledger.
    """
    now = time.time()
    with _connect.view(store) as view:
        since, before = _since(view.budgets(), now), _spent(store, now)
    if not before:
        click.echo(f"There are no budgets in {store}.")
        return
    asked = Budgets((), store, guard=Guard())

    def offer(rows: list[Row]) -> None:
        assert asked.writer is not None
        asked.writer.do(lambda to: to.offer(rows), PATIENT_S)

    with closing(asked), progress_of("counting") as progress:
        done = offer_again(Ledger(db).path, since, offer, progress)
    click.echo(f"Offered {calls_text(done)} since {since:%Y-%m-%d %H:%M} UTC to {store}.")
    for name, spent in _spent(store, now).items():
        more = spent - before.get(name, 0)
        click.echo(f"  {plain(name)}: {dollars(spent)} spent, {dollars(more)} more than before")


def _since(stored: list[Stored], now: float) -> datetime:
    """When the first of the open windows began, as far as the store remembers."""
    starts = [each.budget.window(now).start for each in stored]
    return datetime.fromtimestamp(max(min(starts, default=now), now - RECOUNT_S), UTC)


def _spent(store: StoreName, now: float) -> dict[str, Decimal]:
    """What each budget has spent, or each value of its tag."""
    with _connect.view(store) as view:
        found = [state for each in view.budgets() for state in states(view, each, now, MOST_KEYS)]
    return {f"{each.budget.name}" + (f" {each.key}" if each.key else ""): each.spent_usd for each in found}
