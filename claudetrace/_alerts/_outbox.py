"""Where alerts wait for their channels: in the budgets' store, in the transaction that raises them, or in memory."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from claudetrace._alerts._alert import alert_from, alert_text
from claudetrace._alerts._channels import DeliveryFailed
from claudetrace._budgets._windows import period_of
from claudetrace._clock import monotonic
from claudetrace._ids import uuid7

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from datetime import datetime

    from claudetrace._alerts._alert import Alert
    from claudetrace._alerts._channels import Channel
    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._desk import Desk
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
MOST_WAITING = 1000
"""Alerts that a channel keeps in memory, the newest ones."""
MOST_TRIES_OF_PROCESS = 8
"""A callable that raises may have done half of its work: it is not called for days."""
LEASE_S = 120.0
"""Longer than any try takes, so that no two processes send at once."""
GIVE_UP_S = 3 * 86_400.0
"""How long an alert is tried."""
UNSEEN_S = 7 * 86_400
"""Longer than an alert waits to be sent: who has a channel again by then misses nothing."""
FORGET_AFTER_S = 35 * 86_400


class Outgoing(NamedTuple):
    """An alert on its way to one channel."""

    id: str
    """The same over all tries, channels and processes: a receiver deduplicates by it."""
    alert: Alert
    tries: int = 0
    """How many failed so far."""
    since: float = 0.0
    due: float = 0.0
    """In memory, by the monotonic clock: when it was raised, and when it may be tried."""


class MemoryOutbox:
    """The alerts that wait in this process for one channel: all that a callable or the log gets, and what no store has.

    `add` may be called on any thread and takes no lock; the rest is called on the channel's thread.
    """

    def __init__(self, guard: Guard, channel: Channel, give_up_s: float) -> None:
        self._guard, self._channel, self._give_up_s = guard, channel, give_up_s
        self._waiting: deque[Outgoing] = deque()
        self._claimed: Outgoing | None = None

    @property
    def is_empty(self) -> bool:
        return not self._waiting

    def add(self, outgoing: Outgoing) -> None:
        """Due at once; where too many wait, the oldest is given up."""
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft()
            self._guard.caught(f"keep an alert for {self._channel.name}", DeliveryFailed("too many wait"))
        now = monotonic()
        self._waiting.append(outgoing._replace(since=now, due=now))

    def claim(self, channel: str, *, max_age_s: float) -> Outgoing | None:  # noqa: ARG002 - as of a store
        """The next alert that is due, which no longer waits."""
        waiting = self._waiting
        for _ in range(len(waiting)):
            each = waiting.popleft()
            if each.due <= monotonic():
                self._claimed = each
                return each
            waiting.append(each)
        return None

    def mark_delivered(self, *_alert: str) -> None:
        """Gone."""
        self._claimed = None

    def mark_failed(self, *_alert: str, wait_s: float, reason: str) -> None:  # noqa: ARG002 - of interest to a store alone
        """Due again after `wait_s`, unless there were enough tries."""
        each, self._claimed = self._claimed, None
        if each is None:
            return
        tries, now = each.tries + 1, monotonic()
        if now - each.since > self._give_up_s or (self._channel.of_process and tries >= MOST_TRIES_OF_PROCESS):
            error = DeliveryFailed(f"given up after {tries} tries: {each.alert.message}")
            self._guard.caught(f"deliver an alert to {self._channel.name}", error)
        else:
            self._waiting.append(each._replace(tries=tries, due=now + wait_s))

    def take_all(self) -> list[Alert]:
        """The alerts that no try has delivered, which no longer wait. On any thread."""
        waiting, self._waiting = self._waiting, deque()
        claimed, self._claimed = self._claimed, None
        return [each.alert for each in ([] if claimed is None else [claimed]) + list(waiting)]


class Outbox:
    """The alerts in the store that wait for the channels on the wire, whichever process raised them.

    A channel is known to the store by its public name, which holds no secret and is the same in all processes. Every
    process sends through the channels that it has: so an alert outlives the process that raised it.
    """

    def __init__(self, desk: Desk, clock: Callable[[], float]) -> None:
        self._desk = desk
        self._clock = clock
        self._channels: dict[str, None] = {}
        """Those that this process has."""

    def _ms(self, after_s: float = 0.0) -> int:
        return int((self._clock() + after_s) * 1000)

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
        connection.execute("DELETE FROM channels WHERE seen_at < ?", (self._ms(-UNSEEN_S),))

    def claim(self, channel: str, *, lease_s: float = LEASE_S, max_age_s: float = GIVE_UP_S) -> Outgoing | None:
        """The oldest alert that `channel` has not had, that is due and not too old; nobody else's for `lease_s`."""
        if channel not in self._channels:
            self.open_channel(channel)

        def act(connection: sqlite3.Connection) -> Outgoing | None:
            found = connection.execute(PENDING, (channel, self._ms(-max_age_s), self._ms())).fetchone()
            if found is None:
                return None
            alert_id, text, tries = found
            connection.execute(LEASE, (alert_id, channel, self._ms(lease_s)))
            return Outgoing(alert_id, alert_from(text), tries)

        return self._desk.do(act)  # type: ignore[no-any-return]  # what act gives

    def mark_delivered(self, alert_id: str, channel: str) -> None:
        """Never again through this channel."""
        self._desk.do(lambda connection: connection.execute(DELIVERED, (alert_id, channel, self._ms())))

    def mark_failed(self, alert_id: str, channel: str, *, wait_s: float, reason: str) -> None:
        """Due again after `wait_s`, counted as a try; `reason` holds no secret and is for `claudetrace budgets`."""
        values = (alert_id, channel, self._ms(wait_s), reason)
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
