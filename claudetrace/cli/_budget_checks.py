"""What `doctor` checks of budgets."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from claudetrace import _files
from claudetrace._alerts._channels import unset
from claudetrace._budgets import _connect
from claudetrace._budgets._match import coverage
from claudetrace._call import exact_usd
from claudetrace._config import read_config
from claudetrace._errors import ClaudetraceError, dollars
from claudetrace._ledger._read import Ledger
from claudetrace._ledger._state import latest_payers
from claudetrace.cli._budget_report import channel_text
from claudetrace.cli._checks import Check
from claudetrace.cli._text import calls_text, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._connect import StoreName
    from claudetrace._budgets._records import ChannelState
    from claudetrace._budgets._view import View

SETTLED_SOON = timedelta(minutes=1)
"""How long running programs take at most to settle for one that died."""
MOST_CALLS = 10_000
ALERTS_WAIT = timedelta(minutes=5)


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
        calls, why = coverage(budgets, latest_payers(ledger.db.conn, MOST_CALLS))
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
