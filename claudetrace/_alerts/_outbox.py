"""The store's outbox: an alert is in it as soon as what it tells of is, and until each channel has had it."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from claudetrace._budgets._budget import Alert
from claudetrace._budgets._windows import period_of
from claudetrace._call import Dollars
from claudetrace._ids import uuid7

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._desk import Desk

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
    LIMIT ?4
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
ALERT_FIELDS = frozenset(each.name for each in fields(Alert))
_TIMES = ("window_start", "window_end", "at")
_MONEY = ("spent_usd", "limit_usd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """An alert on its way to one channel."""

    id: str
    """The same over all tries, channels and processes: a receiver knows doubles by it."""
    alert: Alert
    tries: int = 0
    """How many failed so far."""


class Outbox:
    """The alerts that wait for their channels, each with how often it was tried. Times are in milliseconds."""

    def __init__(self, desk: Desk, clock: Callable[[], float]) -> None:
        self._desk = desk
        self._clock = clock
        self._channels: dict[str, None] = {}
        """Those that this process has."""

    def _ms(self) -> int:
        return int(self._clock() * 1000)

    def raise_alert(self, alert: Alert, *, mark: str) -> str | None:
        """The new alert's id, or `None` where its budget has fired `mark` already, in this or another process."""
        return self._desk.do(lambda connection: raise_in(connection, alert, mark, int(self._clock())))  # type: ignore[no-any-return]  # what raise_in gives

    def open_channel(self, channel: str) -> None:
        """Remembers since when there is this channel, the first time: it gets what is raised from then on."""
        self._desk.do(lambda connection: connection.execute(SEEN, (channel, self._ms())))
        self._channels[channel] = None

    def see_channels(self, connection: sqlite3.Connection) -> None:
        """Says that there still are this process's channels, also to a store that was made anew. Inside a
        transaction."""
        connection.executemany(SEEN, [(channel, self._ms()) for channel in tuple(self._channels)])

    def forget_channels(self, connection: sqlite3.Connection) -> None:
        """Forgets channels that no program has had for long, so that nothing waits for them. Inside a transaction."""
        connection.execute("DELETE FROM channels WHERE seen_at < ?", (self._ms() - UNSEEN_S * 1000,))

    def claim(self, channel: str, *, lease_s: float, max_age_s: float) -> Outgoing | None:
        """The oldest alert that `channel` has not had and that is due, this process's for `lease_s`."""

        def act(connection: sqlite3.Connection) -> Outgoing | None:
            now = self._ms()
            found = connection.execute(PENDING, (channel, now - int(max_age_s * 1000), now, 1)).fetchall()
            for alert_id, text, tries in found:
                connection.execute(LEASE, (alert_id, channel, now + int(lease_s * 1000)))
                return Outgoing(id=alert_id, alert=alert_from(text), tries=tries)
            return None

        return self._desk.do(act)  # type: ignore[no-any-return]  # what act gives

    def pending_alerts(self, channel: str, limit: int = 100) -> list[Outgoing]:
        """What `channel` has not had and is due, the oldest first."""
        found = self._desk.do(
            lambda connection: connection.execute(PENDING, (channel, 0, self._ms(), limit)).fetchall()
        )
        return [Outgoing(id=alert_id, alert=alert_from(text), tries=tries) for alert_id, text, tries in found]

    def mark_delivered(self, alert_id: str, channel: str) -> None:
        """Never again through this channel."""
        self._desk.do(lambda connection: connection.execute(DELIVERED, (alert_id, channel, self._ms())))

    def mark_failed(self, alert_id: str, channel: str, *, again_at: datetime, reason: str) -> None:
        """Due again from `again_at`, counted as a try; `reason` is for `claudetrace budgets`."""
        values = (alert_id, channel, int(again_at.timestamp() * 1000), reason)
        self._desk.do(lambda connection: connection.execute(FAILED, values))


def mark_of(budget: Budget, kind: str, slot: int, key: str = "", *, of_limit: bool = False) -> str:
    """What says that a thing was told of the budget: once in its window, and once of each limit where it is
    `of_limit`, so that a limit that is raised is told of again."""
    limit = f" of {budget.limit_picousd}/{budget.max_calls}" if of_limit else ""
    return f"{kind}{limit} {period_of(budget.per, slot)} {key}"


def raise_in(connection: sqlite3.Connection, alert: Alert, mark: str, now: int) -> str | None:
    """The id of the alert, now in the outbox, or `None` where the mark was fired before. Inside a transaction."""
    ends = alert.window_end
    forget_at = None if ends is None and alert.kind == "threshold" else _forget_at(ends, now)
    if connection.execute(FIRED, (alert.budget or "", mark, forget_at)).rowcount != 1:
        return None
    alert_id = uuid7(time.time_ns())
    sql = "INSERT INTO alerts (id, alert, created_at) VALUES (?, ?, ?)"
    connection.execute(sql, (alert_id, alert_text(alert), int(alert.at.timestamp() * 1000)))
    return alert_id


def _forget_at(ends: datetime | None, now: int) -> int:
    return max(now, int(ends.timestamp()) if ends else now) + FORGET_AFTER_S


def at(alert: Alert, now: float) -> Alert:
    """The alert with the moment of its raising."""
    return replace(alert, at=datetime.fromtimestamp(now, UTC))


def alert_text(alert: Alert) -> str:
    """The alert as JSON: money as exact text, moments as ISO 8601."""
    return orjson.dumps(asdict(alert), default=str).decode()


def alert_from(text: str) -> Alert:
    """The alert of `alert_text`."""
    said: dict[str, Any] = orjson.loads(text)
    for name in _TIMES:
        said[name] = None if said[name] is None else datetime.fromisoformat(said[name])
    for name in _MONEY:
        said[name] = None if said[name] is None else Dollars(said[name])
    # A later version may say more in it.
    return Alert(**{name: value for name, value in said.items() if name in ALERT_FIELDS})
