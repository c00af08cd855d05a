"""The alerts that wait in the store for the channels on the wire, and what commands change in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claudetrace._budgets._sqlite._counters import split

if TYPE_CHECKING:
    from claudetrace._budgets._sqlite._counters import Said, Work

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
