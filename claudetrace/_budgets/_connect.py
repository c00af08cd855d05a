"""Finds the implementation of a budgets' store by the store's name."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime
    from pathlib import Path

    from claudetrace._budgets._postgres._url import ServerUrl
    from claudetrace._budgets._store import Grant, Opening, Store, Stored, View
    from claudetrace._budgets._windows import Window

    StoreName: TypeAlias = str | Path | ServerUrl

KINDS: Mapping[str, str] = {"": "_sqlite", "postgresql": "_postgres"}
"""The implementations, by what a name has before `://`. Each has the functions of this module."""


def open_store(name: StoreName, opening: Opening) -> Store:
    """The store of that name, which its first group makes or opens."""
    return _kind(name).open_store(name, opening)  # type: ignore[no-any-return]  # as each of them does


def view(name: StoreName) -> AbstractContextManager[View]:
    """What the store holds now; nothing is changed. Raises `ClaudetraceError` where there is none."""
    return _kind(name).view(name)  # type: ignore[no-any-return]  # as each of them does


def exists(name: StoreName) -> bool:
    """Whether there is such a store."""
    return bool(_kind(name).exists(name))


def release(name: StoreName, budget: str, key: str | None = None) -> list[int]:
    """Lets go of all that the budget holds for cut streams, or of what it holds for one value of its tag, and gives
    the picodollars of each stream. Raises as `view` does."""
    return _kind(name).release(name, budget, key)  # type: ignore[no-any-return]  # as each of them does


def grant(name: StoreName, each: Stored, window: Window, given: Grant) -> None:
    """Raises the limit of one window, at once in every process. Raises as `view` does."""
    _kind(name).grant(name, each, window, given)


def revoke(name: StoreName, each: Stored, key: str, window: Window, at: datetime, by: str) -> list[Grant]:
    """Takes back what was granted to the window, and gives it. Raises as `view` does."""
    return _kind(name).revoke(name, each, key, window, at, by)  # type: ignore[no-any-return]  # as each of them does


def forget(
    name: StoreName, user: str, sessions: set[str], rows: Mapping[str, str], of: str = "user"
) -> tuple[int, list[str]]:
    """How many entries of the store were of `user`, a value of the tag `of`, or of one of `sessions`, and are of nobody
    now; and the budgets that name them in their own definition, which stay. Rows that are counted get the names that
    `rows` has."""
    return _kind(name).forget(name, user, sessions, rows, of)  # type: ignore[no-any-return]  # as each of them does


def _kind(name: StoreName) -> Any:
    scheme, found, _ = str(name).partition("://")
    return import_module(f"claudetrace._budgets.{KINDS[scheme if found else '']}")
