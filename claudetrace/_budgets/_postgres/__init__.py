"""The budgets' store in a PostgreSQL database, for the processes of many hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claudetrace._budgets._postgres._store import PostgresStore
from claudetrace._budgets._postgres._upkeep import forget, grant, release, revoke
from claudetrace._budgets._postgres._view import view

if TYPE_CHECKING:
    from claudetrace._budgets._postgres._url import ServerUrl
    from claudetrace._budgets._store import Opening, Store

__all__ = ["exists", "forget", "grant", "open_store", "release", "revoke", "view"]


def open_store(url: ServerUrl, opening: Opening) -> Store:
    """The store in the database at that URL."""
    return PostgresStore(url, opening)


def exists(url: ServerUrl) -> bool:  # noqa: ARG001 - as of a file
    """Whether it may be asked."""
    return True
