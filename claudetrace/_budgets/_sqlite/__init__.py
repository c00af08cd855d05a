"""The budgets' store in a SQLite file, for the processes of one host."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from claudetrace._budgets._sqlite._forget import forget
from claudetrace._budgets._sqlite._grants import grant, revoke
from claudetrace._budgets._sqlite._release import release
from claudetrace._budgets._sqlite._store import SqliteStore
from claudetrace._budgets._sqlite._view import view

if TYPE_CHECKING:
    from claudetrace._budgets._store import Opening

__all__ = ["exists", "forget", "grant", "open_store", "release", "revoke", "view"]


def open_store(name: str | Path, opening: Opening) -> SqliteStore:
    """The store in the file of that name."""
    return SqliteStore(Path(name), opening)


def exists(name: str | Path) -> bool:
    """Whether there is a file of that name."""
    return Path(name).exists()
