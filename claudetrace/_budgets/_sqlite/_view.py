"""The budgets' store read from outside: by another process, without the budgets in code, and never written to."""

from __future__ import annotations

from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from claudetrace._alerts._alert import alert_from
from claudetrace._alerts._outbox import GIVE_UP_S
from claudetrace._budgets._definition import budget_from
from claudetrace._budgets._sqlite import _grants
from claudetrace._budgets._sqlite._counters import PICO, split, totals
from claudetrace._budgets._sqlite._file import OPENING_S, VERSION, check_version
from claudetrace._budgets._sqlite._owners import Owner
from claudetrace._budgets._store import ChannelState, Fact, Open, Raised, Spread, Stored
from claudetrace._errors import ClaudetraceError
from claudetrace._sqlite import check_unchanged, connect_to_read, limit_time

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._store import Grant, Totals
    from claudetrace._budgets._windows import Window

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
                WHEN usd + rest / {PICO} > ?5 THEN 1
                ELSE usd + rest / {PICO} = ?5 AND rest % {PICO} >= ?6
            END
            OR (?4 IS NOT NULL AND calls >= ?4)
        ), 0),
        COALESCE(SUM(blocked), 0)
    FROM (
        SELECT
            SUM(spent_usd - granted_usd) - 200 AS usd,
            SUM(spent_picousd - granted_picousd) + 200 * {PICO} AS rest,
            SUM(spent_calls - granted_calls) AS calls,
            SUM(blocked_calls) AS blocked
        FROM counters
        WHERE budget_id = ?1 AND slot BETWEEN ?2 AND ?3
        GROUP BY key
    )
"""  # noqa: S608 - numbers of ours
"""Beyond the dollars some are carried, so that no rest of one is below 0."""
KEYS = """
    SELECT key
    FROM counters
    WHERE budget_id = ?1 AND slot BETWEEN ?2 AND ?3
    GROUP BY key
    ORDER BY SUM(spent_usd + spent_picousd / 1e12 + reserved_picousd / 1e12) DESC, SUM(spent_calls) DESC
    LIMIT ?4
"""
KEYS_OF_END = KEYS.replace("FROM counters\n", "FROM counters INDEXED BY counters_by_end\n").replace(
    "slot BETWEEN", "ends = ?5 AND slot BETWEEN"
)
"""The same of the window that ends at ?5, by its index: what is slower for a counter and never reads another's."""
SHORT_S = 2 * 86_400
"""Hours and days are kept for weeks: there the many counters of earlier windows are not read."""
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
OPEN = """
    SELECT call_id, owner, SUM(picousd) / COUNT(*)
    FROM charges
    WHERE owner IS NOT NULL
    GROUP BY owner, call_id
"""


@contextmanager
def view(store: str | Path) -> Iterator[SqliteView]:
    """As `_connect.view`; raises `sqlite3.Error` where the file is broken."""
    with reading(Path(store)) as connection:
        yield SqliteView(Path(store), connection)


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


class SqliteView:
    """The store in a file as it is at one moment."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path, self._connection = path, connection

    @cached_property
    def _read(self) -> tuple[list[Stored], dict[str, str]]:
        read, left_out = list[Stored](), dict[str, str]()
        for budget_id, name, definition, used_at in self._connection.execute(BUDGETS).fetchall():
            try:
                used = datetime.fromtimestamp(used_at, UTC)
                read.append(Stored(id=budget_id, budget=budget_from(definition), used_at=used))
            except ClaudetraceError as error:
                left_out[name] = str(error)
        return read, left_out

    def budgets(self) -> list[Stored]:
        return self._read[0]

    def applied(self) -> list[Budget]:
        """As in `View`: nobody sets budgets in a file."""
        return []

    def unusable(self) -> dict[str, str]:
        return self._read[1]

    def keys(self, each: Stored, window: Window, top: int) -> list[str]:
        values = (each.id, window.since, window.until, top)
        if window.since == window.until and window.end is not None and window.end - window.start < SHORT_S:
            found = self._connection.execute(KEYS_OF_END, (*values, window.end))
        else:
            found = self._connection.execute(KEYS, values)
        return [key for (key,) in found.fetchall()]

    def totals(self, each: Stored, key: str, window: Window) -> Totals:
        return totals(self._connection, each.id, key, window)

    def grants(self, limit: int) -> list[Grant]:
        return _grants.last(self._connection, limit)

    def spread(self, each: Stored, window: Window) -> Spread:
        limit = (None, 0) if each.budget.limit_picousd is None else split(each.budget.limit_picousd)
        values = (each.id, window.since, window.until, each.budget.max_calls, *limit)
        keys, reached, blocked = self._connection.execute(SPREAD, values).fetchone()
        return Spread(keys=keys, reached=reached, blocked_calls=blocked)

    def alerts(self, limit: int) -> list[Raised]:
        found = self._connection.execute(ALERTS, (limit,)).fetchall()
        return [Raised(alert=alert_from(text), delivered=had, channels=are) for text, had, are in found]

    def channels(self, now: float) -> list[ChannelState]:
        after = int((now - GIVE_UP_S) * 1000)
        made = []
        for name, delivered, waiting, oldest in self._connection.execute(CHANNELS, (after,)).fetchall():
            reason, tries, due = self._connection.execute(FAILING, (name, after)).fetchone() or (None, 0, None)
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

    def open(self) -> list[Open]:
        """As in `View`. Of another user's process only they can tell whether it is gone."""
        owners = Owner(self._path.with_name(f"{self._path.name}.owners"))
        found = self._connection.execute(OPEN).fetchall()
        gone = {owner: bool(owner) and owners.seems_gone(owner) for _, owner, _ in found}
        return [Open(call_id, picousd, owner, gone[owner]) for call_id, owner, picousd in found]

    def facts(self) -> Iterator[Fact]:
        yield Fact("size", f"{self._path.stat().st_size / 2**20:,.1f} MB")
        (found,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        way_out = f"{found}; move it away: the next program begins anew from the ledger"
        yield Fact("SQLite's own check", "ok") if found == "ok" else Fact("SQLite's own check", "failed", way_out)


def _at_ms(ms: int | None) -> datetime | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC)
