"""What keeps the budgets' store in order: dead owners' reservations, windows that closed, and what may be forgotten."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from claudetrace._budgets import _rows
from claudetrace._budgets import _store as store
from claudetrace._clock import monotonic

if TYPE_CHECKING:
    import sqlite3

    from claudetrace._alerts._outbox import Outbox
    from claudetrace._budgets._desk import Desk
    from claudetrace._budgets._owners import Owner
    from claudetrace._budgets._store import Ledgers
    from claudetrace._clock import WallClock

GRACE_S = 5.0
"""How long the journal of a process that died may take to say what its calls cost, before they are estimated."""
SOME = 200
KEEP_OFFERED_S = 7 * 86_400
KEEP_S = 35 * 86_400
"""Rows are offered within moments; one of a machine that was off comes late. What is forgotten too early is charged
twice at worst, never not at all."""
KEEP_STEPS_S, KEEP_COUNTERS_S = 86_400, 400 * 86_400
"""Steps of a rolling window say nothing once they are out of it; windows that are over are history to look at."""
HOUSEKEEPING_S = 60.0
OWNERS = "SELECT DISTINCT owner FROM open WHERE owner <> '' AND owner <> ?"
OF_OWNER = "SELECT DISTINCT call_id FROM open WHERE owner = ? LIMIT ?"
CLOSED_BATCHES = """
    SELECT DISTINCT o.call_id
    FROM open AS o
    JOIN counters AS c ON c.budget_id = o.budget_id AND c.key = o.key AND c.slot = o.slot
    WHERE o.batch_id IS NOT NULL AND c.ends < ?
    LIMIT ?
"""
RESULTS_S = 29 * 86_400
"""How long the API keeps the results of a batch."""
UNREAD_BATCHES = """
    SELECT DISTINCT batch_id
    FROM open
    WHERE batch_id IS NOT NULL AND call_id < ?
    LIMIT ?
"""
FORGET_SETTLED = """
    DELETE FROM settled
    WHERE (call_id, budget_id) IN (
        SELECT call_id, budget_id FROM settled WHERE call_id < ? AND (offered OR call_id < ?) LIMIT ?
    )
"""
"""By the moment that a call's id begins with: an index by age would be one more page to write for each call."""
FORGET_COUNTED = """
    DELETE FROM counted
    WHERE (row_key, budget_id) IN (SELECT row_key, budget_id FROM counted WHERE at < ? LIMIT ?)
"""
FORGET_COUNTERS = """
    DELETE FROM counters
    WHERE (budget_id, key, slot) IN (
        SELECT c.budget_id, c.key, c.slot
        FROM counters AS c
        JOIN budgets AS b ON b.id = c.budget_id
        WHERE c.reserved_picousd + c.reserved_calls = 0
            AND c.ends < CASE WHEN b.shape LIKE '%"per":"rolling:%' THEN ?1 WHEN c.key <> '' THEN ?2 ELSE ?3 END
            AND c.ends < ?1
        LIMIT ?4
    )
"""
FORGET_FIRED = """
    DELETE FROM fired
    WHERE (budget, mark) IN (SELECT budget, mark FROM fired WHERE forget_at < ? LIMIT ?)
"""
LET_GO = """
    DELETE FROM held
    WHERE (row_id, budget_id) IN (SELECT row_id, budget_id FROM held WHERE until <= ? LIMIT ?)
"""
FORGET = (
    (LET_GO, (0,)),
    (FORGET_COUNTED, (KEEP_OFFERED_S,)),
    (FORGET_COUNTERS, (KEEP_STEPS_S, KEEP_S, KEEP_COUNTERS_S)),
    (FORGET_FIRED, (0,)),
)
FORGET_ALERTS = "DELETE FROM alerts WHERE id IN (SELECT id FROM alerts WHERE created_at < ? LIMIT ?)"
FORGET_DELIVERIES = """
    DELETE FROM deliveries
    WHERE alert_id NOT IN (SELECT id FROM alerts)
"""


class Tending:
    """Steps that are taken every second or so, each so short that no caller notices."""

    def __init__(self, desk: Desk, ledgers: Ledgers, owner: Owner, outbox: Outbox, wall_clock: WallClock) -> None:
        self._desk = desk
        self._ledgers = ledgers
        self._owner = owner
        self._outbox = outbox
        self._wall_clock = wall_clock
        self._gone: dict[str, float] = {}
        self._next_housekeeping = 0.0

    def step(self) -> None:
        """Raises what the store raises."""
        self._settle_for_the_dead()
        now = monotonic()
        if now >= self._next_housekeeping:
            self._next_housekeeping = now + HOUSEKEEPING_S
            self._desk.do(self._note)
            if self._wall_clock.may_delete() and self._desk.do(self._forget):
                self._next_housekeeping = 0.0
        self._desk.checkpoint()

    def has_nothing_open(self, connection: sqlite3.Connection) -> bool:
        """Whether no call of this process has a reservation."""
        return connection.execute(OF_OWNER, (self._owner.name, 1)).fetchone() is None

    def _settle_for_the_dead(self) -> None:
        now, mine = monotonic(), self._owner.name
        owners = [owner for (owner,) in self._desk.do(lambda c: c.execute(OWNERS, (mine,)).fetchall())]
        gone = {owner: self._gone.get(owner, now) for owner in owners if self._owner.is_gone(owner)}
        self._gone = gone
        for owner, since in gone.items():
            if now - since >= GRACE_S:
                while self._desk.do(partial(self._settle_some, owner=owner)):
                    pass
                self._owner.forget(owner)
        for name in self._owner.names():
            # Left by those that had nothing reserved when they died.
            if name not in owners and self._owner.is_gone(name):
                self._owner.forget(name)

    def _settle_some(self, connection: sqlite3.Connection, *, owner: str) -> bool:
        """Settles some calls of one that is gone: by their rows, else at their estimates. Whether there are more."""
        found = connection.execute(OF_OWNER, (owner, SOME)).fetchall()
        for (call_id,) in found:
            store.settle(connection, self._ledgers, call_id, None, None)
        return len(found) == SOME

    def _close_batches(self, connection: sqlite3.Connection) -> None:
        """Frees what batches hold in windows that are over: what is read of them later is charged when it is read.
        Charges at the estimate what nobody can read any more."""
        now = int(self._ledgers.clock())
        for (call_id,) in connection.execute(CLOSED_BATCHES, (now, SOME)).fetchall():
            store.settle(connection, self._ledgers, call_id, 0, 0)
        for (batch_id,) in connection.execute(UNREAD_BATCHES, (_id_of(now - RESULTS_S), SOME)).fetchall():
            _rows.end_batch(connection, self._ledgers, batch_id)

    def _note(self, connection: sqlite3.Connection) -> None:
        """Notes which budgets and channels there are."""
        now = int(self._ledgers.clock())
        in_use = [(now, terms.id) for terms in self._ledgers.terms.values()]
        connection.executemany("UPDATE budgets SET used_at = ? WHERE id = ?", in_use)
        self._outbox.see_channels(connection)

    def _forget(self, connection: sqlite3.Connection) -> bool:
        """Whether there is more to forget."""
        now, more = int(self._ledgers.clock()), False
        self._close_batches(connection)
        settled = connection.execute(FORGET_SETTLED, (_id_of(now - KEEP_OFFERED_S), _id_of(now - KEEP_S), SOME))
        more |= settled.rowcount == SOME
        for sql, ages in FORGET:
            more |= connection.execute(sql, (*(now - age for age in ages), SOME)).rowcount == SOME
        connection.execute(FORGET_ALERTS, ((now - KEEP_S) * 1000, SOME))
        self._outbox.forget_channels(connection)
        connection.execute(FORGET_DELIVERIES)
        return more


def _id_of(at: int) -> str:
    """Where the ids of calls of that moment begin."""
    digits = f"{max(0, at) * 1000:012x}"
    return f"{digits[:8]}-{digits[8:]}"
