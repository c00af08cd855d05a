"""The budgets' store read from outside: by another process, without the budgets in code, and never written to."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from claudetrace._alerts._alert import alert_from
from claudetrace._alerts._outbox import GIVE_UP_S
from claudetrace._budgets import _sql
from claudetrace._budgets._definition import budget_from
from claudetrace._budgets._file import OPENING_S, VERSION, check_version
from claudetrace._budgets._states import BudgetState, states
from claudetrace._budgets._windows import window_of
from claudetrace._errors import ClaudetraceError
from claudetrace._sqlite import check_unchanged, connect_to_read, limit_time

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from claudetrace._alerts._alert import Alert
    from claudetrace._budgets._budget import Budget

# Of one name the shape that was set last.
BUDGETS = """
    SELECT id, name, definition, used_at
    FROM budgets AS b
    WHERE id = (SELECT id FROM budgets WHERE name = b.name ORDER BY used_at DESC, id DESC LIMIT 1)
    ORDER BY id
"""
SPREAD = f"""
    SELECT
        COUNT(*),
        COALESCE(SUM(
            CASE
                WHEN ?5 IS NULL THEN 0
                WHEN usd + rest / {_sql.PICO} > ?5 THEN 1
                ELSE usd + rest / {_sql.PICO} = ?5 AND rest % {_sql.PICO} >= ?6
            END
            OR (?4 IS NOT NULL AND calls >= ?4)
        ), 0)
    FROM (
        SELECT SUM(spent_usd) AS usd, SUM(spent_picousd) AS rest, SUM(spent_calls) AS calls
        FROM counters
        WHERE budget_id = ?1 AND slot BETWEEN ?2 AND ?3
        GROUP BY key
    )
"""  # noqa: S608 - numbers of ours
ALERTS = """
    SELECT
        a.alert,
        (SELECT COUNT(*) FROM deliveries AS d WHERE d.alert_id = a.id AND d.delivered_at IS NOT NULL),
        (SELECT COUNT(*) FROM channels AS c WHERE c.since <= a.created_at)
    FROM alerts AS a
    ORDER BY a.created_at DESC, a.id DESC
    LIMIT ?
"""
CHANNELS = """
    SELECT
        c.channel,
        MAX(d.delivered_at),
        COUNT(a.id) FILTER (WHERE d.delivered_at IS NULL),
        MIN(a.created_at) FILTER (WHERE d.delivered_at IS NULL)
    FROM channels AS c
    LEFT JOIN alerts AS a ON a.created_at >= c.since AND a.created_at >= ?
    LEFT JOIN deliveries AS d ON d.alert_id = a.id AND d.channel = c.channel
    GROUP BY c.channel
    ORDER BY c.channel
"""
FAILING = """
    SELECT d.reason, d.tries, d.due_at
    FROM deliveries AS d
    JOIN alerts AS a ON a.id = d.alert_id
    WHERE d.channel = ? AND d.delivered_at IS NULL AND d.reason IS NOT NULL AND a.created_at >= ?
    ORDER BY d.tries DESC, a.created_at DESC
    LIMIT 1
"""


class Stored(NamedTuple):
    """A budget as the store holds it."""

    id: int
    budget: Budget
    used_at: datetime
    """When a program with this budget was last started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How many values of a tag have spent something of theirs, and how many of them all."""

    keys: int
    reached: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """An alert with how many of the channels that it is for have had it."""

    alert: Alert
    delivered: int
    channels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelState:
    """A channel on the wire that some program has: what waits for it, and why its last try failed."""

    name: str
    delivered_at: datetime | None
    waiting: int
    oldest_at: datetime | None
    error: str | None
    tries: int
    again_at: datetime | None


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that cannot write, and what it reads is of one moment. Raises `ClaudetraceError` where there is
    no store of ours, `sqlite3.Error` where it is broken."""
    if not path.is_file():
        raise ClaudetraceError(
            f"there is no budgets' store at {path}; it is made by the first program that calls "
            "claudetrace.instrument(budgets=[…]); name another with --store or --db"
        )
    with closing(connect_to_read(path, OPENING_S)) as connection:
        limit_time(connection, path)
        if check_version(connection, path) != VERSION:
            raise ClaudetraceError(f"{path} is not a budgets' store yet; name another with --store")
        connection.execute("BEGIN")
        yield connection
        check_unchanged(connection)


def stored(connection: sqlite3.Connection) -> list[Stored]:
    """Each budget by its name, as it was set last, in the order in which they came."""
    return _read(connection)[0]


def unusable(connection: sqlite3.Connection) -> dict[str, str]:
    """The budgets that cannot be used here and are left out of `stored`, each with the reason."""
    return _read(connection)[1]


def _read(connection: sqlite3.Connection) -> tuple[list[Stored], dict[str, str]]:
    read, left_out = list[Stored](), dict[str, str]()
    for budget_id, name, definition, used_at in connection.execute(BUDGETS).fetchall():
        try:
            read.append(Stored(budget_id, budget_from(definition), datetime.fromtimestamp(used_at, UTC)))
        except ClaudetraceError as error:
            left_out[name] = str(error)
    return read, left_out


def spread(connection: sqlite3.Connection, each: Stored, now: float) -> Spread:
    """How the values of a budget's tag stand in the window of now."""
    budget, window = each.budget, window_of(each.budget.per, each.budget.timezone, now)
    limit = (None, 0) if budget.limit_picousd is None else _sql.split(budget.limit_picousd)
    values = (each.id, window.since, window.until, budget.max_calls, *limit)
    keys, reached = connection.execute(SPREAD, values).fetchone()
    return Spread(keys=keys, reached=reached)


def raised(connection: sqlite3.Connection, limit: int) -> list[Raised]:
    """The last alerts, the newest first."""
    found = connection.execute(ALERTS, (limit,)).fetchall()
    return [Raised(alert=alert_from(text), delivered=had, channels=are) for text, had, are in found]


def channels(connection: sqlite3.Connection, now: float) -> list[ChannelState]:
    """Each channel that programs on this store have, or had. Alerts too old to be sent any more do not wait."""
    after = int((now - GIVE_UP_S) * 1000)
    made = []
    for name, delivered, waiting, oldest in connection.execute(CHANNELS, (after,)).fetchall():
        reason, tries, due = connection.execute(FAILING, (name, after)).fetchone() or (None, 0, None)
        made.append(
            ChannelState(
                name=name,
                delivered_at=_at_ms(delivered),
                waiting=waiting,
                oldest_at=_at_ms(oldest),
                error=reason,
                tries=tries,
                again_at=_at_ms(due),
            )
        )
    return made


def _at_ms(ms: int | None) -> datetime | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC)


def states_at(path: Path, names: Iterable[str | None], top: int) -> list[BudgetState]:
    """The budgets of these names now, on a connection of its own, so that no caller waits for it. Raises as
    `reading` does."""
    wanted, now = set(names), time.time()
    with reading(path) as connection:
        return [
            state
            for each in stored(connection)
            if each.budget.name in wanted
            for state in states(connection, each.budget, each.id, now, top)
        ]
