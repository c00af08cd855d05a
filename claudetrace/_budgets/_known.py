"""`Known`: the store's counters as this process saw them last, for when it may not open the store any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from claudetrace._budgets import _sql

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

MOST = 100_000
AT_ONCE = 10_000


class Sums(NamedTuple):
    """Picodollars and calls, spent and reserved."""

    picousd: int = 0
    calls: int = 0
    reserved_picousd: int = 0
    reserved_calls: int = 0

    def plus(self, *more: int) -> Sums:
        return Sums(*map(sum, zip(self, more, strict=True)))


class Known(dict[tuple[int, str, int], Sums]):
    """By a budget's row, key and slot."""

    def saw(self, where: tuple[int, str, int], after: Sequence[int]) -> None:
        """Remembers a counter, as statements return it."""
        usd, rest, *others = after
        if len(self) >= MOST and where not in self:
            del self[next(iter(self))]
        self[where] = Sums(usd * _sql.PICO + rest, *others)

    def read(self, connection: sqlite3.Connection, budget_id: int, now: int) -> None:
        """Remembers a budget's counters of windows that are not over, as far as there is room."""
        for key, slot, *after in connection.execute(_sql.KNOWN, (budget_id, now, AT_ONCE)).fetchall():
            self.saw((budget_id, key, slot), after)
