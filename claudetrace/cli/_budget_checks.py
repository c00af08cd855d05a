"""What `doctor` checks of the budgets' store."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from claudetrace._budgets import _connect
from claudetrace._call import exact_usd
from claudetrace._errors import ClaudetraceError, dollars
from claudetrace.cli._options import calls_text
from claudetrace.cli._tables import Check, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claudetrace._budgets._connect import StoreName
    from claudetrace._budgets._store import ChannelState, View

SETTLED_SOON = timedelta(minutes=1)
"""How long a program that runs takes at most to settle for one that died."""
MOST_CALLS = 10_000
ALERTS_WAIT = timedelta(minutes=5)


class Held(NamedTuple):
    """What calls have reserved."""

    calls: int
    picousd: int


def check_budgets(store: StoreName) -> list[Check]:
    """Whether the budgets' store can be read, and whether anything in it is stranded; nothing of a file that is not
    there."""
    from claudetrace._files import fragile_filesystem

    if isinstance(store, Path) and not os.path.lexists(store):
        return []
    checks = [Check("store", str(store))]
    if isinstance(store, Path) and (fragile := fragile_filesystem(store)):
        lost = "with it goes what was spent"
        checks.append(Check("file system", "not for lasting data", f"{fragile}, and {lost}; set budget_store="))
    try:
        checks += _checks(store)
    except (ClaudetraceError, OSError) as error:
        checks.append(Check("store", "cannot be read", str(error)))
    except sqlite3.Error as error:
        way_out = "a program that uses it sets a broken one aside and begins anew from the ledger"
        checks.append(Check("store", "cannot be read", f"SQLite says: {error}; {way_out}"))
    return checks


def check_channels() -> list[Check]:
    """Where alerts cannot go, because `alert_to` in claudetrace.toml names a variable that is not set."""
    from claudetrace._alerts._channels import unset
    from claudetrace._config import read_config

    way_out = "it is not set here, so no alert goes there; set it where your programs run, or take it out of alert_to"
    return [Check(f"env:{name}", "not set", way_out) for name in unset(read_config(None).get("alert_to"))]


def check_coverage(store: StoreName, db: Path) -> list[Check]:
    """Which share of the latest calls is under no budget, and why; nothing where there are no budgets or no calls."""
    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._coverage import coverage
    from claudetrace._ledger._read import Ledger
    from claudetrace._ledger._state import latest_payers

    if not _connect.exists(store) or not db.is_file():
        return []
    budgets, calls, why = list[Budget](), 0, Counter[str]()
    # The checks of the two files say what is wrong with one.
    with suppress(ClaudetraceError, OSError, sqlite3.Error), _connect.view(store) as view, Ledger(db) as ledger:
        budgets = [each.budget for each in view.budgets()]
        calls, why = coverage(budgets, latest_payers(ledger.db.conn, MOST_CALLS))
    if not budgets or not calls:
        return []
    reasons = "".join(f"; {number:,} {plain(reason, 100)}" for reason, number in why.most_common())
    return [
        Check("under no budget", f"{why.total():,} of the last {calls:,} calls ({why.total() / calls:.0%}){reasons}")
    ]


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
    """What is reserved for calls that run, for batches, and by processes that are gone."""
    running, batches, stranded = Held(0, 0), Held(0, 0), Held(0, 0)
    for each in view.open():
        if not each.owner:
            batches = Held(batches.calls + 1, batches.picousd + each.picousd)
        elif each.owner_is_gone and now - _began(each.call_id) > SETTLED_SOON:
            stranded = Held(stranded.calls + 1, stranded.picousd + each.picousd)
        else:
            running = Held(running.calls + 1, running.picousd + each.picousd)
    yield Check("reserved", _held(running))
    if batches.calls:
        yield Check("reserved for batches", _held(batches))
    if stranded.calls:
        settles = "the next program that has these budgets settles them; until then they are not free to spend"
        yield Check("reserved by processes that are gone", _held(stranded), settles)


def _began(call_id: str) -> datetime:
    """When a call began, by its id."""
    try:
        return datetime.fromtimestamp(int(call_id.replace("-", "")[:12], 16) / 1000, UTC)
    except ValueError:
        return datetime.now(UTC)


def _held(held: Held) -> str:
    return f"{dollars(exact_usd(held.picousd))} for {calls_text(held.calls)}"


def _channel(channel: ChannelState, now: datetime) -> Check:
    from claudetrace.cli._budget_report import channel_text

    finding = None
    if channel.error is not None:
        finding = f"{plain(channel.error, 200)}; what waits is tried again for three days"
    elif channel.oldest_at is not None and channel.oldest_at < now - ALERTS_WAIT:
        finding = (
            f"no program that has this channel runs; the oldest alert is of {channel.oldest_at:%Y-%m-%d %H:%M} UTC"
        )
    return Check(f"channel {channel.name}", channel_text(channel), finding)
