"""The budgets' store in a SQLite file, for the processes of one host."""

from __future__ import annotations

from claudetrace._budgets._sqlite._look import changing, view
from claudetrace._budgets._sqlite._store import SqliteStore as OwnStore

__all__ = ["OwnStore", "changing", "view"]
