"""Stores by their names: opened, looked at, and changed by commands."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from claudetrace._budgets._postgres._url import ServerUrl
    from claudetrace._budgets._records import Opening
    from claudetrace._budgets._store import Store
    from claudetrace._budgets._view import View

    StoreName: TypeAlias = str | Path | ServerUrl

KINDS: Mapping[str, str] = {"": "_sqlite", "postgresql": "_postgres"}
"""The implementations, by what a name has before `://`. Each has the functions of this module."""


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


def changing(name: StoreName, *, wholly: bool = False) -> AbstractContextManager[Any]:
    """What a command changes the store by, all or nothing: `look`, as a `View` has it, and `do`, which takes a step.
    `wholly`: nothing stays of what was there before. Raises as `view` does, and where a file cannot be rid of it."""
    return _kind(name).changing(name, wholly=wholly)  # type: ignore[no-any-return]  # as each of them does


def _kind(name: StoreName) -> Any:
    scheme, found, _ = str(name).partition("://")
    return import_module(f"claudetrace._budgets.{KINDS[scheme if found else '']}")
