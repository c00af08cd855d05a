"""What is done in the budgets' store: reserve, settle, tell. Each inside a transaction of the desk's."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from claudetrace._alerts import _outbox
from claudetrace._alerts._rules import threshold_alert
from claudetrace._budgets import _sql
from claudetrace._budgets._definition import budget_from, definition_of, shape_of
from claudetrace._budgets._known import Known
from claudetrace._budgets._windows import Window, bucket_s, period_of, rolling_s, window_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence

    from claudetrace._alerts._alert import Alert
    from claudetrace._budgets._budget import Budget
    from claudetrace._guard import Guard

SAID, ESTIMATED, ROWS = 0, 1, 2
"""On what a charge rests: what its owner said, its estimate, or the ledger's rows."""
MOST_TOLD = 100_000


class Claim(NamedTuple):
    """A budget that a call is under, in one window."""

    budget: Budget
    key: str
    window: Window


@dataclass(frozen=True, slots=True)
class Totals:
    """What a budget has spent, reserved and held in its window."""

    picousd: int
    calls: int
    reserved_picousd: int
    reserved_calls: int
    oldest_slot: int | None
    held_picousd: int = 0


class Terms(NamedTuple):
    """A budget with its row in the store, and its limit as statements take it."""

    budget: Budget
    id: int
    limit: int | None
    whole: int | None
    rest: int
    first: float
    """The lowest threshold: below it there is nothing to tell."""

    @classmethod
    def of(cls, budget: Budget, budget_id: int) -> Terms:
        limit = budget.limit_picousd
        whole, rest = (None, 0) if limit is None else _sql.split(limit)
        return cls(budget, budget_id, limit, whole, rest, min(budget.thresholds, default=math.inf))

    def part(self, picousd: int, calls: int) -> float:
        """How much of the limit is used, of dollars or calls whichever is more."""
        most = self.budget.max_calls
        return max(picousd / self.limit if self.limit else 0.0, calls / most if most else 0.0)


class Denied(NamedTuple):
    """Which claim did not hold, and why."""

    claim: Claim
    totals: Totals


class Ledgers:
    """Which row of the store each budget is, in both directions, and what was spent before there was a store."""

    def __init__(
        self,
        budgets: tuple[Budget, ...],
        guard: Guard,
        clock: Callable[[], float],
        spent_before: Callable[[Budget, Window], Mapping[str, tuple[int, int]]] | None,
    ) -> None:
        self.budgets = budgets
        self._guard = guard
        self.clock = clock
        self._spent_before = spent_before
        self.terms: dict[str, Terms] = {}
        self.by_id: dict[int, Terms] = {}
        self.told: set[tuple[int, str, int, float]] = set()
        """Thresholds that are known to be passed, so that the store is not asked again."""
        self.known = Known()
        self.telling: list[tuple[tuple[int, str, int, float], Alert, str | None]] = []
        """What the transaction that runs says of thresholds: true once it is committed."""
        self.alerts: deque[tuple[Alert, str]] = deque()
        """What was committed and is to be handed on, each with its id in the outbox."""
        self.offer_number = self.seeded_in = 0
        """Which offer of rows runs, and during which the store was begun from the ledger."""

    def register(self, connection: sqlite3.Connection) -> None:
        """Makes sure that the store knows these budgets; new ones begin with what the ledger says was spent."""
        self.terms.clear()
        self.by_id.clear()
        self.told.clear()
        now = int(self.clock())
        for budget in self.budgets:
            shape, definition = shape_of(budget), definition_of(budget)
            named = (budget.name, shape)
            known = connection.execute("SELECT id FROM budgets WHERE name = ? AND shape = ?", named).fetchone()
            if known is None:
                sql = (
                    "INSERT INTO budgets (name, shape, definition, since, used_at) VALUES (?, ?, ?, ?, ?) RETURNING id"
                )
                known = connection.execute(sql, (*named, definition, now, now)).fetchone()
                self._begin(connection, known[0], budget, now)
            else:
                sql = "UPDATE budgets SET definition = ?, used_at = ? WHERE id = ?"
                connection.execute(sql, (definition, now, known[0]))
            terms = Terms.of(budget, known[0])
            self.terms[str(budget.name)] = self.by_id[terms.id] = terms
            self.known.read(connection, terms.id, now)

    def _begin(self, connection: sqlite3.Connection, budget_id: int, budget: Budget, now: int) -> None:
        if self._spent_before is None:
            return
        self.seeded_in = self.offer_number
        for slot, span in _slots(budget, now):
            for key, (picousd, calls) in self._spent_before(budget, span).items():
                charged = (budget_id, key, slot.slot, slot.end, *_sql.split(picousd), calls)
                connection.execute(_sql.CHARGE, charged).fetchone()

    def committed(self) -> None:
        """The transaction is: what it told is known from now on."""
        if len(self.told) > MOST_TOLD:
            self.told.clear()
        for known, alert, alert_id in self.telling:
            self.told.add(known)
            if alert_id is not None:
                self.alerts.append((alert, alert_id))
        self.telling.clear()

    def rolled_back(self) -> None:
        """The transaction never was."""
        self.telling.clear()

    def find(self, connection: sqlite3.Connection, budget_id: int) -> Terms | None:
        """The terms of a row, also of one that another process has set; `None` where it cannot be used here, which is
        told."""
        if budget_id not in self.by_id:
            sql = "SELECT name, definition FROM budgets WHERE id = ?"
            name, definition = connection.execute(sql, (budget_id,)).fetchone()
            with self._guard(f"count calls in the budget {name!r} of another program"):
                self.by_id[budget_id] = Terms.of(budget_from(definition), budget_id)
        return self.by_id.get(budget_id)


def reserve(
    connection: sqlite3.Connection,
    ledgers: Ledgers,
    claims: list[Claim],
    call_id: str,
    owner: str,
    needed: tuple[int, int],
) -> Denied | None:
    """Sets `needed` dollars and calls aside in every budget, or in none and says which had no room."""
    picousd = needed[0]
    for done, (budget, key, window) in enumerate(claims):
        terms = ledgers.terms[str(budget.name)]
        if picousd <= (_sql.MOST_PICOUSD if terms.limit is None else min(terms.limit, _sql.MOST_PICOUSD)):
            _, end, slot, since, until = window
            where = (terms.id, key, slot, end, *needed, since, until)
            after = connection.execute(_sql.RESERVE, (*where, terms.whole, terms.rest, budget.max_calls)).fetchall()
            if after:
                ledgers.known.saw((terms.id, key, slot), after[0])
                connection.execute(_sql.OPEN, (call_id, terms.id, key, slot, owner, *needed))
                continue
        denied = Denied(claims[done], totals(connection, terms.id, key, window))
        for undone in claims[:done]:
            where_undone = (ledgers.terms[str(undone.budget.name)].id, undone.key, undone.window.slot)
            connection.execute(_sql.UNRESERVE, (*where_undone, *needed))
        if done:
            connection.execute("DELETE FROM open WHERE call_id = ?", (call_id,))
        return denied
    return None


def settle(
    connection: sqlite3.Connection, ledgers: Ledgers, call_id: str, picousd: int | None, calls: int | None
) -> None:
    """Charges what the call cost in place of what it reserved; with `None` what its rows say, else the estimate."""
    reserved = connection.execute(_sql.CLOSE, (call_id,)).fetchall()
    for _, budget_id, key, slot, needed, needed_calls, seen_rows, seen_picousd in reserved:
        if picousd is not None:
            charged, basis = picousd, SAID
        else:
            charged, basis = (seen_picousd, ROWS) if seen_rows else (needed, ESTIMATED)
        charged_calls = needed_calls if calls is None else calls
        _exchange(
            connection,
            ledgers,
            call_id,
            (budget_id, key, slot),
            (needed, needed_calls),
            (charged, charged_calls),
            basis,
        )
    if not reserved and picousd is not None:
        _correct(connection, ledgers, call_id, picousd, calls)


def settle_claims(
    connection: sqlite3.Connection,
    ledgers: Ledgers,
    call_id: str,
    claims: list[Claim],
    needed: tuple[int, int],
    charged: tuple[int, int],
) -> None:
    """As `settle`, where how much is reserved is at hand. The key is the store's: its user may be forgotten."""
    for budget, _, _ in claims:
        budget_id = ledgers.terms[str(budget.name)].id
        if found := connection.execute(_sql.CLOSE_ONE, (call_id, budget_id)).fetchall():
            _exchange(connection, ledgers, call_id, (budget_id, *found[0]), needed, charged, SAID)
        else:
            _correct(connection, ledgers, call_id, *charged)


def _exchange(
    connection: sqlite3.Connection,
    ledgers: Ledgers,
    call_id: str,
    where: tuple[int, str, int],
    needed: tuple[int, int],
    charged: tuple[int, int],
    basis: int,
) -> None:
    values = (*where, *needed, *_sql.split(charged[0]), charged[1])
    # To its end: a statement that is not may hold up the commit.
    after = connection.execute(_sql.EXCHANGE, values).fetchall()
    connection.execute(_sql.SETTLED, (call_id, *where, *charged, basis, int(ledgers.clock())))
    if after:
        tell(connection, ledgers, where, after[0])


def _correct(connection: sqlite3.Connection, ledgers: Ledgers, call_id: str, picousd: int, calls: int | None) -> None:
    """Puts the truth in the place of an estimate, where somebody has taken the owner for dead."""
    for budget_id, key, slot, charged, charged_calls, basis in connection.execute(
        _sql.SETTLED_OF, (call_id,)
    ).fetchall():
        if basis == ESTIMATED:
            now_calls = charged_calls if calls is None else calls
            charge(connection, ledgers, (budget_id, key, slot), picousd - charged, now_calls - charged_calls)
            at = int(ledgers.clock())
            connection.execute(_sql.SETTLED, (call_id, budget_id, key, slot, picousd, now_calls, SAID, at))


def charge(
    connection: sqlite3.Connection,
    ledgers: Ledgers,
    where: tuple[int, str, int],
    picousd: int,
    calls: int,
    ends: int | None = None,
) -> None:
    """Adds to what is spent, or takes away from it."""
    values = (*where, ends, *_sql.split(picousd), calls)
    after = connection.execute(_sql.CHARGE, values).fetchall()
    tell(connection, ledgers, where, after[0])


def tell(
    connection: sqlite3.Connection,
    ledgers: Ledgers,
    where: tuple[int, str, int],
    after: Sequence[int],
) -> None:
    """Puts an alert into the outbox for each threshold that is passed, once in its window across all processes."""
    budget_id, key, slot = where
    terms = ledgers.by_id.get(budget_id)
    usd, rest, calls, *_ = after
    ledgers.known.saw(where, after)
    picousd, window = usd * _sql.PICO + rest, None
    if terms is None or terms.budget not in ledgers.budgets:
        # A process whose budget it is tells it, and nobody where it was removed.
        return
    if terms.part(picousd, calls) < terms.first and not terms.budget.per.startswith("rolling"):
        return
    budget = terms.budget
    if budget.per.startswith("rolling"):
        window = window_of(budget.per, budget.timezone, ledgers.clock())
        found = totals(connection, budget_id, key, window)
        picousd, calls = found.picousd, found.calls
    part = terms.part(picousd, calls)
    for threshold in budget.thresholds:
        if part < threshold:
            return
        known = (budget_id, key, period_of(budget.per, slot), threshold)
        if known in ledgers.told:
            continue
        window = window or window_of(budget.per, budget.timezone, slot)
        mark = _outbox.mark_of(budget, f"threshold {threshold:g}", slot, key, of_limit=True)
        alert = threshold_alert(budget, key, window, threshold, (picousd, calls), ledgers.clock())
        alert_id = _outbox.raise_in(connection, alert, mark, int(ledgers.clock()))
        ledgers.telling.append((known, alert, alert_id))


def totals(connection: sqlite3.Connection, budget_id: int, key: str, window: Window) -> Totals:
    """What is spent, reserved and held in the window."""
    values = (budget_id, key, window.since, window.until)
    usd, rest, *sums = connection.execute(_sql.TOTALS, values).fetchone()
    return Totals(usd * _sql.PICO + rest, *sums)


def _slots(budget: Budget, now: int) -> list[tuple[Window, Window]]:
    """The counters that a new store begins with, each with the span of what goes into it: the window of now, or the
    steps of a rolling one."""
    window = window_of(budget.per, budget.timezone, now)
    if window.since == window.until:
        return [(window, window)]
    step = bucket_s(rolling_s(budget.per))
    steps = [window_of(budget.per, budget.timezone, at) for at in range(window.since, window.slot + 1, step)]
    return [(each, each._replace(start=each.slot, end=each.slot + step)) for each in steps]
