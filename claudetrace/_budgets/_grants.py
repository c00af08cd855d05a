"""`grant` and `revoke`: whoever is on call raises a window's limit in all processes at once, or puts it back."""

from __future__ import annotations

import getpass
import platform
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, TypeVar

from claudetrace._budgets import _connect
from claudetrace._budgets._budget import MOST_CALLS, MOST_USD
from claudetrace._budgets._match import ALL
from claudetrace._budgets._records import Grant
from claudetrace._budgets._status import state_of
from claudetrace._budgets._windows import window_of
from claudetrace._call import exact_usd
from claudetrace._errors import ClaudetraceError, dollars

if TYPE_CHECKING:
    from collections.abc import Callable

    from claudetrace._budgets._connect import StoreName
    from claudetrace._budgets._records import Stored
    from claudetrace._budgets._status import BudgetState
    from claudetrace._budgets._view import View

LONGEST_WHY = 500
T = TypeVar("T", Decimal, int)


def grant(
    store: StoreName,
    name: str,
    key: str | None,
    *,
    usd: Decimal | None,
    calls: int | None,
    until: datetime | None,
    why: str,
    now: datetime,
) -> BudgetState:
    """Raises the limit of the budget's window of now by so much, and gives the budget as it is then. Raises
    `ClaudetraceError`, with nothing changed, for what cannot be or does not help."""
    with _connect.view(store) as view:
        each = _find(view, store, name, key)
        before = state_of(view, each, key or ALL, now.timestamp())
    given = Grant(
        budget=name,
        key=key or ALL,
        picousd=0 if usd is None else int(usd.scaleb(12)),
        calls=calls or 0,
        made_at=now,
        made_by=_who(),
        why=" ".join(why.split())[:LONGEST_WHY],
        until=until,
    )
    _check(before, given, now)
    window = window_of(each.budget.per, each.budget.timezone, now.timestamp())
    _connect.grant(store, each, window, given)
    with _connect.view(store) as view:
        return state_of(view, each, key or ALL, now.timestamp())


def revoke(store: StoreName, name: str, key: str | None, *, now: datetime) -> list[Grant]:
    """Takes back what the budget's window of now was granted, and gives it. Raises `ClaudetraceError` for a budget that
    is not there."""
    with _connect.view(store) as view:
        each = _find(view, store, name, key)
    window = window_of(each.budget.per, each.budget.timezone, now.timestamp())
    return _connect.revoke(store, each, key or ALL, window, now, _who())


def _find(view: View, store: StoreName, name: str, key: str | None) -> Stored:
    stored = view.find(name, store)
    tag = stored.budget.each_tag
    if tag is not None and key is None:
        raise ClaudetraceError(f"budget {name!r} has a limit for each value of the tag {tag}: say whose, with --key")
    if tag is None and key is not None:
        raise ClaudetraceError(f"budget {name!r} has one limit for all its calls: leave out --key")
    return stored


def _check(before: BudgetState, given: Grant, now: datetime) -> None:
    """Raises `ClaudetraceError` for a grant that cannot be or that makes no room."""
    if not given.why:
        raise ClaudetraceError("a grant needs a reason that others can read later: say --why")
    if not (given.picousd or given.calls):
        raise ClaudetraceError("a grant is of dollars, of calls or of both, above 0: say --usd or --calls")
    if given.until is not None and given.until <= now:
        raise ClaudetraceError(f"--until {_text(given.until)} is over: give a time to come, or leave it out")
    if given.until is not None and before.window_end is not None and given.until > before.window_end:
        raise ClaudetraceError(
            f"a grant is for one window, and this one ends at {_text(before.window_end)}: leave out --until"
        )
    spent_usd = before.spent_usd + before.held_usd - before.granted_usd
    _check_room("--usd", exact_usd(given.picousd), before.limit_usd, spent_usd, MOST_USD, dollars)
    spent_calls = before.spent_calls - before.granted_calls
    _check_room("--calls", given.calls, before.max_calls, spent_calls, MOST_CALLS, lambda calls: f"{calls:,} calls")


def _check_room(option: str, more: T, limit: T | None, spent: T, most: int, text: Callable[[T], str]) -> None:
    if not more:
        return
    if limit is None:
        raise ClaudetraceError(f"the budget has no limit that {option} could raise")
    if limit + more > most:
        raise ClaudetraceError(f"{option} {more} is too much: no limit is above {most:,}")
    if spent - limit >= more:
        raise ClaudetraceError(
            f"{text(more)} more make no room: what is spent is {text(spent - limit)} above the limit; give more"
        )


def _text(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _who() -> str:
    user = "somebody"
    with suppress(Exception):  # of a container without users
        user = getpass.getuser()
    return f"{user}@{platform.node()}"
