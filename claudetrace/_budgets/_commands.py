"""What commands change in a store: grants, what is held for cut streams, and who somebody was."""

from __future__ import annotations

import getpass
import platform
import re
import secrets
from contextlib import suppress
from decimal import Decimal
from shlex import quote
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from claudetrace._alerts._sentences import moment, named
from claudetrace._budgets import _connect
from claudetrace._budgets._budget import EACH, MOST_CALLS, MOST_USD
from claudetrace._budgets._connect import grants_of
from claudetrace._budgets._match import ALL
from claudetrace._budgets._records import Grant, Stored
from claudetrace._budgets._status import BudgetState, state_of
from claudetrace._call import RESERVED_TAGS, exact_usd
from claudetrace._errors import ClaudetraceError, dollars

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from claudetrace._budgets._connect import StoreName, View
    from claudetrace._budgets._windows import Window

LONGEST_WHY = 500
MARK = re.compile(r"(\w+(?: [\d.e+-]+)?(?: of \S+)? -?\d+ |loop session )(.*)", re.DOTALL)
"""What a mark begins with, and whose it is."""
ANSWERED = "its answer named somebody who is forgotten"
"""In place of what a receiver said of an alert, which may say whose it is."""
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
    give(store, each, each.budget.window(now.timestamp()), given)
    with _connect.view(store) as view:
        return state_of(view, each, key or ALL, now.timestamp())


def revoke(store: StoreName, name: str, key: str | None, *, now: datetime) -> list[Grant]:
    """Takes back what the budget's window of now was granted, and gives it. Raises `ClaudetraceError` for a budget that
    is not there."""
    with _connect.view(store) as view:
        each = _find(view, store, name, key)
    return take_back(store, each, key or ALL, each.budget.window(now.timestamp()), now, _who())


def give(name: StoreName, each: Stored, window: Window, given: Grant) -> None:
    """Raises the limit of one window, at once in every process. Raises as `view` does."""
    said = {
        "do": "grant",
        "usd": given.picousd,
        "calls": given.calls,
        "made_at": int(given.made_at.timestamp()),
        "made_by": given.made_by,
        "why": given.why,
        "until": None if given.until is None else int(given.until.timestamp()),
    }
    with _connect.changing(name) as store:
        store.do({**said, "claims": [_claim(each, given.key, window)]})


def take_back(name: StoreName, each: Stored, key: str, window: Window, at: datetime, by: str) -> list[Grant]:
    """Takes back what was granted to the window, and gives it. Raises as `view` does."""
    with _connect.changing(name) as store:
        found = grants_of(store.look("grants", id=each.id, key=key, since=window.since, until=window.until))
        said = {"do": "revoke", "at": int(at.timestamp()), "by": by}
        store.do({**said, "claims": [_claim(each, key, window)]})
    return found[::-1]


def _claim(each: Stored, key: str, window: Window) -> dict[str, Any]:
    return {"b": each.id, "k": key, "s": window.slot, "e": window.end, "since": window.since, "until": window.until}


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
        raise ClaudetraceError(f"--until {moment(given.until)} is over: give a time to come, or leave it out")
    if given.until is not None and before.window_end is not None and given.until > before.window_end:
        raise ClaudetraceError(
            f"a grant is for one window, and this one ends at {moment(before.window_end)}: leave out --until"
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


def _who() -> str:
    user = "somebody"
    with suppress(Exception):  # of a container without users
        user = getpass.getuser()
    return f"{user}@{platform.node()}"


def release(name: StoreName, budget: str, key: str | None = None) -> list[int]:
    """Lets go of all that the budget holds for cut streams, or of what it holds for one value of its tag, and gives
    the picodollars of each stream. Raises as `view` does."""
    with _connect.view(name) as seen:
        if budget not in seen.unusable():
            seen.find(budget, name)
    with _connect.changing(name) as store:
        return store.do({"do": "release", "name": budget, "key": key})  # type: ignore[no-any-return]  # amounts


def forget(
    name: StoreName, user: str, sessions: set[str], rows: Mapping[str, str], of: str = "user"
) -> tuple[int, list[str]]:
    """How many entries of the store were of `user`, a value of the tag `of`, or of one of `sessions`, and are of nobody
    now; and the budgets that name them in their own definition, which stay. Rows that are counted get the names that
    `rows` has. Raises as `view` does, and where a file cannot be rid of them."""
    with _connect.changing(name, wholly=True) as store:
        anew, defined = _anew(store.look("told"), user, sessions, of)
        results = [(row_id, *item.split("/", 1)) for item, row_id in rows.items()]
        return store.do({"do": "forget_who", **anew, "answered": ANSWERED, "results": results}), defined


def _anew(
    told: Mapping[str, Any], value: str, sessions: set[str], of: str
) -> tuple[dict[str, list[tuple[Any, ...]]], list[str]]:
    """What takes the place of what is of `value`, a value of the tag `of`, or of one of `sessions`, among what a store
    has `told`: of keys in each budget, of marks, of alerts with the key that each names. And the budgets that name them
    in their own definition."""
    # One name for each: two together would have spent more than the limit of one.
    anew = {key: f"(forgotten {secrets.token_hex(4)})" for key in (value, *sessions)}
    by_name = {("", key): anew[key] for key in sessions}
    keys, defined = list[tuple[Any, ...]](), set[str]()
    for budget_id, name, definition in told["budgets"] or ():
        # Also those of a budget that this version cannot use.
        for tag, said in (orjson.loads(definition).get("tags") or {}).items():
            theirs = _keys(tag, value, sessions, of)
            if said == EACH:
                keys += [(anew[key], budget_id, key) for key in theirs]
                by_name |= {(name, key): anew[key] for key in theirs}
            elif said in theirs:
                defined.add(name)
    marks = [(_mark(by_name, *each), *each) for each in told["fired"] or ()]
    alerts = [(*_alert(by_name, text), alert_id) for alert_id, text in told["alerts"] or ()]
    found = {"marks": marks, "alerts": alerts}
    return {"keys": keys, **{what: [each for each in some if each[0]] for what, some in found.items()}}, sorted(defined)


def _mark(by_name: Mapping[tuple[str, str], str], budget: str, mark: str) -> str | None:
    found = MARK.fullmatch(mark)
    neutral = by_name.get((budget, found[2])) if found else None
    return f"{found[1]}{neutral}" if found and neutral else None


def _alert(by_name: Mapping[tuple[str, str], str], text: str) -> tuple[str | None, str]:
    said: dict[str, Any] = orjson.loads(text)
    key = said.get("key") or ""
    neutral = by_name.get((said.get("budget") or "", key))
    if neutral is None:
        return None, key
    message = str(said.get("message")).replace(named(key), named(neutral))
    message = message.replace(f"--key {quote(key)}", f"--key {quote(neutral)}")
    # What leads to the calls names whose they are.
    said |= {"key": neutral, "message": message, "command": None, "link": None}
    return orjson.dumps(said).decode(), key


def _keys(tag: str, value: str, sessions: set[str], of: str) -> set[str]:
    """Which values of a tag are forgotten: those that the ledger forgets too."""
    if tag == "session":
        return sessions
    # A user's name may be in any tag of the application's own.
    return {value} if tag == of or (of == "user" and tag not in RESERVED_TAGS) else set()
