"""`Offers`: rows of the ledger on their way into the budgets' store, where each is counted once."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from claudetrace._budgets._records import StoreError
from claudetrace._budgets._writer import Job, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._store import Store
    from claudetrace._budgets._windows import Window
    from claudetrace._call import Row
    from claudetrace._guard import Guard

AT_ONCE = 50
MOST = 100_000
"""So many rows wait for a store that is away."""
COUNT_S = 0.05
"""How long the ledger waits for new rows to be counted. A store that takes longer counts them while it goes on."""
REPLACED_S = 12.0
"""How long a meter that is replaced waits with its last rows for a store that is just made: counted later, they would
be in what the store begins with and beside it."""


class Offers:
    """Offers the rows of one loader. A store that is begun from the ledger has the rows of the offers before."""

    def __init__(
        self, guard: Guard, spent_before: Callable[[Budget, Window], Mapping[str, tuple[int, int]]] | None
    ) -> None:
        self._guard, self._spent_before = guard, spent_before
        self.writer: Writer | None = None
        self._number = self._seeded_in = 0
        """Which offer of rows runs, and during which the store was begun from the ledger."""
        self._offered = self._counted = 0

    def seed(self, budget: Budget, window: Window) -> Mapping[str, tuple[int, int]]:
        """What a new budget begins with."""
        self._seeded_in = self._number
        return {} if self._spent_before is None else self._spent_before(budget, window)

    def count(self, rows: Sequence[Row]) -> None:
        """Offers new rows, before they are committed to the ledger: each is offered until it is. Whatever the store
        does, this takes moments."""
        # Numbered once before they are in the ledger, and once when they are, so that a store that is begun from the
        # ledger between the two counts them, and one begun later does not.
        self._number += 1
        behind = self._offered > self._counted
        if (job := self.offer(rows, self._number)) is not None:
            job.wait(0.0 if behind else COUNT_S)
        self._number += 1

    def count_aside(self, rows: Sequence[Row]) -> None:
        """Offers rows of the meter that this one replaces, on that one's thread."""
        if (job := self.offer(rows, sys.maxsize)) is not None:
            job.wait(REPLACED_S)

    def offer(self, rows: Sequence[Row], number: int) -> Job | None:
        """Has rows taken into account; they wait out a fault of the store. Gives the last of what does it."""
        job, writer = None, self.writer
        if writer is None:
            return None
        if writer.store.is_lost or self._offered - self._counted + len(rows) > MOST:
            self._guard.caught("keep every row for the budgets' store", StoreError(f"{len(rows)} are not in it"))
            return None
        for first in range(0, len(rows), AT_ONCE):
            some = rows[first : first + AT_ONCE]
            self._offered += len(some)
            job = Job(partial(self._take, some, number), keep=True, then=partial(self._taken, len(some)))
            writer.post(job, hurry=True)
        return job

    def _take(self, rows: Sequence[Row], number: int, store: Store) -> None:
        # Those that had to wait are in the ledger from which the store was begun since.
        if number >= self._seeded_in:
            store.offer(rows)

    def _taken(self, count: int, _job: Job) -> None:
        self._counted += count
