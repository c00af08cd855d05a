"""The steps in a file, and beside charges what they do: the alerts' outbox, commands, keeping the store in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claudetrace._budgets._sqlite import _charges
from claudetrace._budgets._sqlite._charges import end_batch, settle
from claudetrace._budgets._sqlite._counters import Said, Work, split
from claudetrace._budgets._store import KEEP_COUNTERS_S, KEEP_S, KEEP_STEPS_S, RESULTS_S, SOME, UNSEEN_S
from claudetrace._clock import WallClock, monotonic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from claudetrace._budgets._sqlite._owners import Owner
    from claudetrace._guard import Guard

FIRED = """
    INSERT INTO fired (budget, mark, forget_at)
    VALUES (?, ?, ?)
    ON CONFLICT DO NOTHING
"""
PENDING = """
    SELECT a.id, a.alert, COALESCE(d.tries, 0)
    FROM alerts AS a
    JOIN channels AS c ON c.channel = ?1
    LEFT JOIN deliveries AS d ON d.alert_id = a.id AND d.channel = ?1
    WHERE a.created_at >= c.since AND a.created_at >= ?2
        AND d.delivered_at IS NULL AND COALESCE(d.due_at, 0) <= ?3
    ORDER BY a.created_at, a.rowid
    LIMIT 1
"""
LEASE = """
    INSERT INTO deliveries (alert_id, channel, due_at)
    VALUES (?, ?, ?)
    ON CONFLICT (alert_id, channel) DO UPDATE SET due_at = excluded.due_at
"""
DELIVERED = """
    INSERT INTO deliveries (alert_id, channel, delivered_at)
    VALUES (?, ?, ?)
    ON CONFLICT (alert_id, channel) DO UPDATE SET delivered_at = COALESCE(delivered_at, excluded.delivered_at)
"""
FAILED = """
    INSERT INTO deliveries (alert_id, channel, tries, due_at, reason)
    VALUES (?, ?, 1, ?, ?)
    ON CONFLICT (alert_id, channel) DO UPDATE SET
        tries = tries + 1, due_at = excluded.due_at, reason = excluded.reason
"""
SEEN = """
    INSERT INTO channels (channel, since, seen_at)
    VALUES (?1, ?2, ?2)
    ON CONFLICT (channel) DO UPDATE SET seen_at = excluded.seen_at
"""
BLOCK = """
    INSERT INTO counters (budget_id, key, slot, ends, blocked_calls)
    VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (budget_id, key, slot) DO UPDATE SET blocked_calls = blocked_calls + excluded.blocked_calls
"""
COUNTER = "INSERT INTO counters (budget_id, key, slot, ends) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
GRANT = """
    INSERT INTO grants (budget_id, key, slot, usd, picousd, calls, made_at, made_by, why, until)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
REVOKE = """
    UPDATE grants
    SET ended_at = ?, ended_by = ?
    WHERE budget_id = ? AND key = ? AND slot BETWEEN ? AND ? AND ended_at IS NULL
"""
OF_BUDGET = """
    picousd > 0
    AND budget_id IN (SELECT id FROM budgets WHERE name = ?1)
    AND (?2 IS NULL OR key = ?2)
"""
HELD = f"SELECT picousd FROM held WHERE {OF_BUDGET}"  # noqa: S608 - SQL of ours
RELEASE = f"UPDATE held SET picousd = 0 WHERE {OF_BUDGET}"  # noqa: S608 - SQL of ours
"""The rows stay, so that a stream whose row comes later is not held again."""
KEYED = ("counters", "charges", "held", "grants")
"""The tables that have a key."""


# The alerts' outbox.


def raise_alert(work: Work, said: Said) -> str | None:
    """The id of the alert, now in the outbox; `None` where the mark was fired before, or only fires."""
    if not work.count(FIRED, said["budget"], said["mark"], said["forget_at"]) or "silent" in said:
        return None
    sql = "INSERT INTO alerts (id, alert, created_at) VALUES (?, ?, ?)"
    work.run(sql, said["id"], said["alert"], said["at_ms"])
    return str(said["id"])


def see(work: Work, said: Said) -> None:
    """There are these channels, also in a store that was made anew."""
    for channel in said["channels"]:
        work.run(SEEN, channel, _ms(work))


def claim(work: Work, said: Said) -> Any:
    """The next alert for the channel, nobody else's until its lease ends."""
    for alert_id, text, tries in work.run(PENDING, said["channel"], _ms(work) - said["max_age_ms"], _ms(work)):
        work.run(LEASE, alert_id, said["channel"], _ms(work) + said["lease_ms"])
        return alert_id, text, tries
    return None


def delivered(work: Work, said: Said) -> None:
    work.run(DELIVERED, said["id"], said["channel"], _ms(work))


def failed(work: Work, said: Said) -> None:
    work.run(FAILED, said["id"], said["channel"], int(work.now * 1000 + said["wait_ms"]), said["reason"])


# What budgets and commands change.


def block(work: Work, said: Said) -> int:
    """Counts calls that a budget has stopped, and gives how many it has in the window."""
    (each,) = said["claims"]
    work.run(BLOCK, each["b"], each["k"], each["s"], each["e"], said["calls"])
    return work.totals(each["b"], each["k"], each["since"], each["until"]).blocked_calls


def grant(work: Work, said: Said) -> None:
    (each,) = said["claims"]
    where = each["b"], each["k"], each["s"]
    work.run(COUNTER, *where, each["e"])
    made = said["made_at"], said["made_by"], said["why"], said["until"]
    work.run(GRANT, *where, *split(said["usd"]), said["calls"], *made)


def revoke(work: Work, said: Said) -> None:
    (each,) = said["claims"]
    work.run(REVOKE, said["at"], said["by"], each["b"], each["k"], each["since"], each["until"])


def release(work: Work, said: Said) -> list[int]:
    """Lets go of what a budget holds for cut streams, and gives the picodollars of each."""
    found = [picousd for (picousd,) in work.run(HELD, said["name"], said["key"])]
    work.run(RELEASE, said["name"], said["key"])
    return found


def forget_who(work: Work, said: Said) -> int:
    """Gives what tells who somebody was other names, and says how many entries there were."""
    changed = 0
    for anew, *of in said["keys"]:
        for table in KEYED:
            changed += work.count(f"UPDATE {table} SET key = ? WHERE budget_id = ? AND key = ?", anew, *of)  # noqa: S608 - names of ours
    for anew, *mark in said["marks"]:
        work.run("UPDATE fired SET mark = ? WHERE budget = ? AND mark = ?", anew, *mark)
    for anew, key, alert_id in said["alerts"]:
        changed += work.count("UPDATE alerts SET alert = ? WHERE id = ?", anew, alert_id)
        sql = "UPDATE deliveries SET reason = ? WHERE alert_id = ? AND INSTR(reason, ?) > 0"
        work.run(sql, said["answered"], alert_id, key)
    for result in said["results"]:
        # A batch's result is known by its custom id.
        work.run("UPDATE OR REPLACE charges SET item = ? WHERE call_id = ? AND item = ?", *result)
    return changed


def _ms(work: Work) -> int:
    return int(work.now * 1000)


# What keeps the store in order.

GRACE_S = 5.0
"""How long the journal of a process that died may take to say what its calls cost, before they are estimated."""
KEEP_OFFERED_S = 7 * 86_400
OWNERS = "SELECT DISTINCT owner FROM charges WHERE owner <> '' AND owner <> ?"
OF_OWNER = "SELECT DISTINCT call_id FROM charges WHERE owner = ? LIMIT ?"
CLOSED_BATCHES = """
    SELECT DISTINCT o.call_id
    FROM charges AS o
    JOIN counters AS c ON c.budget_id = o.budget_id AND c.key = o.key AND c.slot = o.slot
    WHERE o.batch_id IS NOT NULL AND c.ends < ?
    LIMIT ?
"""
UNREAD_BATCHES = """
    SELECT DISTINCT batch_id
    FROM charges
    WHERE batch_id IS NOT NULL AND call_id < ?
    LIMIT ?
"""


def _some(table: str, key: str, old: str) -> str:
    """Deletes some rows of what is old."""
    return f"DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE {old} LIMIT ?)"  # noqa: S608 - SQL of ours


OF_CHARGE = "call_id, item, budget_id"
FORGET_CHARGES = _some("charges", OF_CHARGE, "call_id < ? AND item = '' AND owner IS NULL AND (offered OR call_id < ?)")
"""By the moment that a call's id begins with: an index by age would be one more page to write for each call."""
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
END_GRANTS = """
    UPDATE grants
    SET ended_at = until
    WHERE id IN (SELECT id FROM grants WHERE ended_at IS NULL AND until <= ? LIMIT ?)
"""
FORGET = (
    (END_GRANTS, (0,)),
    (_some("held", "row_id, budget_id", "until <= ?"), (0,)),
    (_some("charges", OF_CHARGE, "at < ? AND item <> ''"), (KEEP_OFFERED_S,)),
    (FORGET_COUNTERS, (KEEP_STEPS_S, KEEP_S, KEEP_COUNTERS_S)),
    (_some("fired", "budget, mark", "forget_at < ?"), (0,)),
)
FORGET_ALERTS = _some("alerts", "id", "created_at < ?")
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


STEPS: Mapping[str, Callable[[Work, Said], Any]] = {
    "reserve": _charges.reserve,
    "withdraw": _charges.withdraw,
    "settle": _charges.settle,
    "hold_batch": _charges.hold_batch,
    "take": _charges.take,
    "correct": _charges.correct,
    "raise": raise_alert,
    "see": see,
    "claim": claim,
    "delivered": delivered,
    "failed": failed,
    "block": block,
    "grant": grant,
    "revoke": revoke,
    "release": release,
    "forget_who": forget_who,
}
