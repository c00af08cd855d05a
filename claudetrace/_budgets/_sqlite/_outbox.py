"""The alerts in the store that wait for the channels on the wire, whichever process raised them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from claudetrace._alerts._alert import Outgoing, alert_from, alert_text
from claudetrace._ids import uuid7

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable
    from datetime import datetime

    from claudetrace._alerts._alert import Alert

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
UNSEEN_S = 7 * 86_400
"""Longer than an alert waits to be sent: who has a channel again by then misses nothing."""
FORGET_AFTER_S = 35 * 86_400


def raise_alert(
    connection: sqlite3.Connection, alert: Alert, mark: str, now: int, *, silent: bool = False
) -> str | None:
    """The id of the alert, now in the outbox, or `None` where the mark was fired before. `silent`: it only fires."""
    ends = alert.window_end
    forget_at = None if ends is None and alert.kind == "threshold" else _forget_at(ends, now)
    if connection.execute(FIRED, (alert.budget or "", mark, forget_at)).rowcount != 1 or silent:
        return None
    alert_id = uuid7(time.time_ns())
    sql = "INSERT INTO alerts (id, alert, created_at) VALUES (?, ?, ?)"
    connection.execute(sql, (alert_id, alert_text(alert), int(alert.at.timestamp() * 1000)))
    return alert_id


def _forget_at(ends: datetime | None, now: int) -> int:
    return max(now, int(ends.timestamp()) if ends else now) + FORGET_AFTER_S


def claim(
    connection: sqlite3.Connection, channel: str, now: float, lease_s: float, max_age_s: float
) -> Outgoing | None:
    """The next alert for `channel`, nobody else's for `lease_s`."""
    found = connection.execute(PENDING, (channel, _ms(now - max_age_s), _ms(now))).fetchone()
    if found is None:
        return None
    alert_id, text, tries = found
    connection.execute(LEASE, (alert_id, channel, _ms(now + lease_s)))
    return Outgoing(alert_id, alert_from(text), tries)


def mark_delivered(connection: sqlite3.Connection, alert_id: str, channel: str, now: float) -> None:
    connection.execute(DELIVERED, (alert_id, channel, _ms(now)))


def mark_failed(connection: sqlite3.Connection, alert_id: str, channel: str, due: float, reason: str) -> None:
    connection.execute(FAILED, (alert_id, channel, _ms(due), reason))


def see_channels(connection: sqlite3.Connection, channels: Iterable[str], now: float) -> None:
    """Says that there are these channels, also to a store that was made anew."""
    connection.executemany(SEEN, [(channel, _ms(now)) for channel in channels])


def forget_channels(connection: sqlite3.Connection, now: float) -> None:
    """Forgets channels that no program has had for long, so that nothing waits for them."""
    connection.execute("DELETE FROM channels WHERE seen_at < ?", (_ms(now - UNSEEN_S),))


def _ms(at: float) -> int:
    return int(at * 1000)
