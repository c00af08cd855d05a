"""What keeps the budgets' store in order: dead owners' reservations, windows that closed, and what may be forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claudetrace._budgets._sqlite._charges import end_batch, settle
from claudetrace._clock import WallClock, monotonic

if TYPE_CHECKING:
    from claudetrace._budgets._sqlite._counters import Work
    from claudetrace._budgets._sqlite._owners import Owner
    from claudetrace._guard import Guard

GRACE_S = 5.0
"""How long the journal of a process that died may take to say what its calls cost, before they are estimated."""
SOME = 200
KEEP_OFFERED_S = 7 * 86_400
KEEP_S = 35 * 86_400
"""Rows are offered within moments; one of a machine that was off comes late. What is forgotten too early is charged
twice at worst, never not at all."""
KEEP_STEPS_S, KEEP_COUNTERS_S = 86_400, 400 * 86_400
"""Steps of a rolling window say nothing once they are out of it; windows that are over are history to look at."""
UNSEEN_S = 7 * 86_400
"""Longer than an alert waits to be sent: who has a channel again by then misses nothing."""
OWNERS = "SELECT DISTINCT owner FROM charges WHERE owner <> '' AND owner <> ?"
OF_OWNER = "SELECT DISTINCT call_id FROM charges WHERE owner = ? LIMIT ?"
CLOSED_BATCHES = """
    SELECT DISTINCT o.call_id
    FROM charges AS o
    JOIN counters AS c ON c.budget_id = o.budget_id AND c.key = o.key AND c.slot = o.slot
    WHERE o.batch_id IS NOT NULL AND c.ends < ?
    LIMIT ?
"""
RESULTS_S = 29 * 86_400
"""How long the API keeps the results of a batch."""
UNREAD_BATCHES = """
    SELECT DISTINCT batch_id
    FROM charges
    WHERE batch_id IS NOT NULL AND call_id < ?
    LIMIT ?
"""
FORGET_CHARGES = """
    DELETE FROM charges
    WHERE (call_id, item, budget_id) IN (
        SELECT call_id, item, budget_id
        FROM charges
        WHERE call_id < ?1 AND item = '' AND owner IS NULL AND (offered OR call_id < ?2)
        LIMIT ?3
    )
"""
"""By the moment that a call's id begins with: an index by age would be one more page to write for each call."""
FORGET_ROWS = """
    DELETE FROM charges
    WHERE (call_id, item, budget_id) IN (
        SELECT call_id, item, budget_id FROM charges WHERE at < ? AND item <> '' LIMIT ?
    )
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
END_GRANTS = """
    UPDATE grants
    SET ended_at = until
    WHERE id IN (SELECT id FROM grants WHERE ended_at IS NULL AND until <= ? LIMIT ?)
"""
FORGET = (
    (END_GRANTS, (0,)),
    (LET_GO, (0,)),
    (FORGET_ROWS, (KEEP_OFFERED_S,)),
    (FORGET_COUNTERS, (KEEP_STEPS_S, KEEP_S, KEEP_COUNTERS_S)),
    (FORGET_FIRED, (0,)),
)
FORGET_ALERTS = "DELETE FROM alerts WHERE id IN (SELECT id FROM alerts WHERE created_at < ? LIMIT ?)"
FORGET_DELIVERIES = "DELETE FROM deliveries WHERE alert_id NOT IN (SELECT id FROM alerts)"


class Housekeeping:
    """Steps that are taken every second or so, each so short that no caller notices."""

    def __init__(self, guard: Guard, owner: Owner) -> None:
        self._owner, self._wall_clock = owner, WallClock(guard)
        self._gone: dict[str, float] = {}

    def settle_for_the_dead(self, work: Work) -> bool:
        """Settles some calls of those who are gone: by their rows, else at their estimates. Whether there are more."""
        now = monotonic()
        owners = [owner for (owner,) in work.run(OWNERS, self._owner.name)]
        self._gone = {owner: self._gone.get(owner, now) for owner in owners if self._owner.is_gone(owner)}
        for owner in [owner for owner, since in self._gone.items() if now - since >= GRACE_S]:
            found = work.run(OF_OWNER, owner, SOME)
            for (call_id,) in found:
                settle(work, {"call": call_id, "usd": None, "calls": None})
            if len(found) == SOME:
                return True
        for name in self._owner.names():
            # Left by those that had nothing reserved when they died, or whose reservations are settled.
            if name not in owners and self._owner.is_gone(name):
                self._owner.forget(name)
        return False

    def forget(self, work: Work) -> bool:
        """Forgets some of what is old, while the clock can be trusted. Whether there is more."""
        if not self._wall_clock.may_delete():
            return False
        now, more = int(work.now), False
        _close_batches(work, now)
        more |= work.count(FORGET_CHARGES, _id_of(now - KEEP_OFFERED_S), _id_of(now - KEEP_S), SOME) == SOME
        for sql, ages in FORGET:
            more |= work.count(sql, *(now - age for age in ages), SOME) == SOME
        work.run(FORGET_ALERTS, (now - KEEP_S) * 1000, SOME)
        work.run("DELETE FROM channels WHERE seen_at < ?", (now - UNSEEN_S) * 1000)
        work.run(FORGET_DELIVERIES)
        return more


def _close_batches(work: Work, now: int) -> None:
    """Frees what batches hold in windows that are over: what is read of them later is charged when it is read.
    Charges at the estimate what nobody can read any more."""
    for (call_id,) in work.run(CLOSED_BATCHES, now, SOME):
        settle(work, {"call": call_id, "usd": 0, "calls": 0})
    for (batch_id,) in work.run(UNREAD_BATCHES, _id_of(now - RESULTS_S), SOME):
        end_batch(work, batch_id)


def _id_of(at: int) -> str:
    """Where the ids of calls of that moment begin."""
    digits = f"{max(0, at) * 1000:012x}"
    return f"{digits[:8]}-{digits[8:]}"
