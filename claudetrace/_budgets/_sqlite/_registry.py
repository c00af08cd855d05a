"""`Registry`: which row of the store each budget is, and which of its thresholds were told."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from claudetrace._alerts._outbox import mark_of
from claudetrace._alerts._rules import threshold_alert
from claudetrace._budgets._definition import budget_from, definition_of, shape_of
from claudetrace._budgets._sqlite import _outbox
from claudetrace._budgets._sqlite._counters import EXCHANGE, KNOWN, split, sums, totals
from claudetrace._budgets._windows import ROLLING, Window, bucket_s, rolling_s, window_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from claudetrace._alerts._alert import Alert
    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._store import Opening, Sums, Totals

MOST_TOLD = 100_000
MOST_KNOWN = 10_000
OTHERS = "SELECT id FROM budgets WHERE used_at > ? ORDER BY id"
OTHERS_S = 35 * 86_400
"""How long after its last process a budget still counts what others spend."""


class Registered(NamedTuple):
    """A budget with its row in the store, and its limit as statements take it."""

    budget: Budget
    id: int
    whole: int | None
    rest: int
    first: float
    """The lowest threshold: below it there is nothing to tell."""

    @classmethod
    def of(cls, budget: Budget, budget_id: int) -> Registered:
        limit = budget.limit_picousd
        whole, rest = (None, 0) if limit is None else split(limit)
        return cls(budget, budget_id, whole, rest, min(budget.thresholds, default=math.inf))


class Registry:
    """The budgets of this process and of others in the store, by name and by row."""

    def __init__(self, opening: Opening) -> None:
        self.budgets, self.guard, self.clock = opening.budgets, opening.guard, opening.clock
        self._opening = opening
        self.mine: dict[str, Registered] = {}
        self._by_id: dict[int, Registered] = {}
        self._told: set[tuple[int, str]] = set()
        """Thresholds that are known to be passed, so that the store is not asked again."""
        self._telling: list[tuple[tuple[int, str], Alert, str | None]] = []
        """What the transaction that runs says of thresholds: true once it is committed."""

    @property
    def now(self) -> int:
        return int(self.clock())

    def register(self, connection: sqlite3.Connection) -> None:
        """Makes sure that the store knows these budgets; new ones begin with what the ledger says was spent."""
        self.mine.clear()
        self._by_id.clear()
        self._told.clear()
        for budget in self.budgets:
            named, definition = (budget.name, shape_of(budget)), definition_of(budget)
            known = connection.execute("SELECT id FROM budgets WHERE name = ? AND shape = ?", named).fetchone()
            if known is None:
                sql = """
                    INSERT INTO budgets (name, shape, definition, since, used_at)
                    VALUES (?, ?, ?, ?, ?)
                    RETURNING id
                """
                known = connection.execute(sql, (*named, definition, self.now, self.now)).fetchone()
                self._seed(connection, known[0], budget)
            else:
                sql = "UPDATE budgets SET definition = ?, used_at = ? WHERE id = ?"
                connection.execute(sql, (definition, self.now, known[0]))
            each = Registered.of(budget, known[0])
            self.mine[str(budget.name)] = self._by_id[each.id] = each
            for key, slot, *after in connection.execute(KNOWN, (each.id, self.now, MOST_KNOWN)).fetchall():
                self._opening.saw(str(budget.name), key, slot, sums(after))

    def _seed(self, connection: sqlite3.Connection, budget_id: int, budget: Budget) -> None:
        for slot, span in _slots(budget, self.now):
            for key, (picousd, calls) in self._opening.spent_before(budget, span).items():
                charged = (budget_id, key, slot.slot, slot.end, 0, 0, *split(picousd), calls)
                connection.execute(EXCHANGE, charged).fetchall()

    def in_use(self, connection: sqlite3.Connection) -> None:
        """Notes that there still are these budgets."""
        in_use = [(self.now, each.id) for each in self.mine.values()]
        connection.executemany("UPDATE budgets SET used_at = ? WHERE id = ?", in_use)

    def all(self, connection: sqlite3.Connection) -> list[Registered]:
        """The budgets of this process, and those of others on this store, as of a release that is being rolled out:
        what this process spends counts in them as well."""
        ids = [budget_id for (budget_id,) in connection.execute(OTHERS, (self.now - OTHERS_S,)).fetchall()]
        mine = list(self.mine.values())
        others = (self.find(connection, each) for each in ids if all(each != own.id for own in mine))
        return [*mine, *(each for each in others if each is not None)]

    def find(self, connection: sqlite3.Connection, budget_id: int) -> Registered | None:
        """The budget of a row, also of one that another process has set; `None` where it cannot be used here, which is
        told."""
        if budget_id not in self._by_id:
            sql = "SELECT name, definition FROM budgets WHERE id = ?"
            name, definition = connection.execute(sql, (budget_id,)).fetchone()
            with self.guard(f"count calls in the budget {name!r} of another program"):
                self._by_id[budget_id] = Registered.of(budget_from(definition), budget_id)
        return self._by_id.get(budget_id)

    def changed(self, connection: sqlite3.Connection, where: tuple[int, str, int], after: Sequence[int]) -> None:
        """Puts an alert into the outbox for each threshold that a counter has passed, once in its window across all
        processes."""
        budget_id, key, slot = where
        each = self._by_id.get(budget_id)
        # A process whose budget it is tells it, and nobody where it was removed.
        if each is None or self.mine.get(str(each.budget.name)) is not each:
            return
        found: Sums | Totals = sums(after)
        budget, window = each.budget, None
        self._opening.saw(str(budget.name), key, slot, sums(after))
        if budget.per.startswith(ROLLING):
            window = window_of(budget.per, budget.timezone, self.clock())
            found = totals(connection, budget_id, key, window)
        if part_of(budget, found.picousd, found.calls) >= each.first:
            limited = budget.raised(found.granted_picousd, found.granted_calls)
            self._tell_thresholds(connection, limited, where, found, window)

    def _tell_thresholds(
        self,
        connection: sqlite3.Connection,
        budget: Budget,
        where: tuple[int, str, int],
        found: Sums | Totals,
        window: Window | None,
    ) -> None:
        """Of several thresholds that were passed at once, the highest alone is an alert."""
        budget_id, key, slot = where
        part = part_of(budget, found.picousd, found.calls)
        passed = [threshold for threshold in budget.thresholds if threshold <= part]
        for threshold in passed:
            mark = mark_of(budget, f"threshold {threshold:g}", slot, key, of_limit=True)
            if (budget_id, mark) in self._told:
                continue
            window = window or window_of(budget.per, budget.timezone, slot)
            alert = threshold_alert(budget, key, window, threshold, (found.picousd, found.calls), self.clock())
            alert_id = _outbox.raise_alert(connection, alert, mark, self.now, silent=threshold != passed[-1])
            self._telling.append(((budget_id, mark), alert, alert_id))

    def committed(self) -> None:
        """The transaction is: what it told is known from now on, and handed on."""
        if len(self._told) > MOST_TOLD:
            self._told.clear()
        telling, self._telling = self._telling, []
        for known, alert, alert_id in telling:
            self._told.add(known)
            if alert_id is not None:
                with self.guard("hand on an alert of a budget"):
                    self._opening.on_alert(alert, alert_id)

    def rolled_back(self) -> None:
        """The transaction never was."""
        self._telling.clear()


def part_of(budget: Budget, picousd: int, calls: int) -> float:
    """How much of the limit is used, of dollars or calls whichever is more."""
    limit, most = budget.limit_picousd, budget.max_calls
    return max(picousd / limit if limit else 0.0, calls / most if most else 0.0)


def _slots(budget: Budget, now: int) -> list[tuple[Window, Window]]:
    """The counters that a new store begins with, each with the span of what goes into it: the window of now, or the
    steps of a rolling one."""
    window = window_of(budget.per, budget.timezone, now)
    if window.since == window.until:
        return [(window, window)]
    step = bucket_s(rolling_s(budget.per))
    steps = [window_of(budget.per, budget.timezone, at) for at in range(window.since, window.slot + 1, step)]
    return [(each, each._replace(start=each.slot, end=each.slot + step)) for each in steps]
