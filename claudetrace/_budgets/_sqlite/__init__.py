"""The budgets' store in a SQLite file, for the processes of one host."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from claudetrace._budgets._sqlite._look import changing, view
from claudetrace._budgets._sqlite._store import SqliteStore

if TYPE_CHECKING:
    from claudetrace._budgets._records import Opening

__all__ = ["changing", "exists", "open_store", "view"]


def open_store(name: str | Path, opening: Opening) -> SqliteStore:
    """As `_connect.open_store`."""
    return SqliteStore(Path(name), opening)


def exists(name: str | Path) -> bool:
    """As `_connect.exists`."""
    return Path(name).exists()
