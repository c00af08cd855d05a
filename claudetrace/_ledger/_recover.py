"""Takes in what killed processes left in the journal, before somebody reads the ledger."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from claudetrace._files import is_writable
from claudetrace._ledger import _refuge, _segments
from claudetrace._ledger._intake import Intake
from claudetrace._ledger._store import Store
from claudetrace._places import spool_of
from claudetrace._pricing._row import at_day_of_batch

if TYPE_CHECKING:
    from pathlib import Path

    from claudetrace._guard import Guard


def load_orphans(db: Path, guard: Guard) -> int:
    """How many rows of processes that are gone were taken into the ledger. Never raises; does nothing where
    the folder cannot be written."""
    spool = spool_of(db)
    if not (_segments.paths(spool) or _refuge.left(spool)) or not is_writable(db):
        return 0
    if spool.exists() and not os.access(spool, os.W_OK):
        return 0
    store = Store(db, guard, at_day_of_batch)
    try:
        with guard(f"load what is left in {spool}"):
            return Intake(spool, guard=guard, gate=threading.Lock(), store=store).load_orphans()
        return 0
    finally:
        store.close()
