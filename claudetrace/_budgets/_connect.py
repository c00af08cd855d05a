"""Stores by their names: opened, looked at, and changed by commands."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

from claudetrace._budgets._forgetting import Forgetting
from claudetrace._budgets._view import grants_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime
    from pathlib import Path

    from claudetrace._budgets._postgres._url import ServerUrl
    from claudetrace._budgets._records import Grant, Opening, Stored
    from claudetrace._budgets._store import Store
    from claudetrace._budgets._view import View
    from claudetrace._budgets._windows import Window

    StoreName: TypeAlias = str | Path | ServerUrl

KINDS: Mapping[str, str] = {"": "_sqlite", "postgresql": "_postgres"}
"""The implementations, by what a name has before `://`. Each has `open_store`, `view` and `exists` as they are here,
and `changing`."""


def open_store(name: StoreName, opening: Opening) -> Store:
    """The store of that name, which its first group makes or opens."""
    return _kind(name).open_store(name, opening)  # type: ignore[no-any-return]  # as each of them does


def view(name: StoreName) -> AbstractContextManager[View]:
    """What the store holds now; nothing is changed. Raises `ClaudetraceError` where there is none, and `sqlite3.Error`
    where its file is broken."""
    return _kind(name).view(name)  # type: ignore[no-any-return]  # as each of them does


def exists(name: StoreName) -> bool:
    """Whether there is such a store."""
    return bool(_kind(name).exists(name))


def release(name: StoreName, budget: str, key: str | None = None) -> list[int]:
    """Lets go of all that the budget holds for cut streams, or of what it holds for one value of its tag, and gives
    the picodollars of each stream. Raises as `view` does."""
    with view(name) as seen:
        if budget not in seen.unusable():
            seen.find(budget, name)
    with _kind(name).changing(name) as store:
        return store.do({"do": "release", "name": budget, "key": key})  # type: ignore[no-any-return]  # amounts


def grant(name: StoreName, each: Stored, window: Window, given: Grant) -> None:
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
    with _kind(name).changing(name) as store:
        store.do({**said, "claims": [_claim(each, given.key, window)]})


def revoke(name: StoreName, each: Stored, key: str, window: Window, at: datetime, by: str) -> list[Grant]:
    """Takes back what was granted to the window, and gives it. Raises as `view` does."""
    with _kind(name).changing(name) as store:
        found = grants_of(store.look("grants", id=each.id, key=key, since=window.since, until=window.until))
        said = {"do": "revoke", "at": int(at.timestamp()), "by": by}
        store.do({**said, "claims": [_claim(each, key, window)]})
    return found[::-1]


def forget(
    name: StoreName, user: str, sessions: set[str], rows: Mapping[str, str], of: str = "user"
) -> tuple[int, list[str]]:
    """How many entries of the store were of `user`, a value of the tag `of`, or of one of `sessions`, and are of nobody
    now; and the budgets that name them in their own definition, which stay. Rows that are counted get the names that
    `rows` has. Raises as `view` does, and where a file cannot be rid of them."""
    with _kind(name).changing(name, wholly=True) as store:
        forgetting = Forgetting(store.look("told"), user, sessions, of)
        results = [(row_id, *item.split("/", 1)) for item, row_id in rows.items()]
        return store.do({"do": "forget_who", **forgetting.said, "results": results}), forgetting.defined


def _claim(each: Stored, key: str, window: Window) -> dict[str, Any]:
    return {"b": each.id, "k": key, "s": window.slot, "e": window.end, "since": window.since, "until": window.until}


def _kind(name: StoreName) -> Any:
    scheme, found, _ = str(name).partition("://")
    return import_module(f"claudetrace._budgets.{KINDS[scheme if found else '']}")
