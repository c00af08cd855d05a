"""The store in a file as commands ask it: what it says at one moment, and changes that are all done or none."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claudetrace._budgets._connect import View
from claudetrace._budgets._records import Fact
from claudetrace._budgets._sqlite._counters import PICO, Said, Work, split
from claudetrace._budgets._sqlite._file import OPENING_S, VERSION, begin, check_version, connect
from claudetrace._budgets._sqlite._owners import Owner, owners_of
from claudetrace._budgets._sqlite._upkeep import STEPS
from claudetrace._errors import ClaudetraceError
from claudetrace._sqlite import check_unchanged, connect_to_read, limit_time

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping


PATIENCE_S = 10.0
"""How long a command waits for others."""
BUDGETS = "SELECT id, name, definition, used_at, 0 FROM budgets WHERE used_at > ? ORDER BY id"
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
GRANTS = """
    SELECT g.usd, g.picousd, b.name, g.key, g.calls, g.made_at, g.made_by, g.why, g.until, g.ended_at, g.ended_by
    FROM grants AS g
    JOIN budgets AS b ON b.id = g.budget_id
    WHERE ?1 IS NULL OR (g.ended_at IS NULL AND g.budget_id = ?1 AND g.key = ?2 AND g.slot BETWEEN ?3 AND ?4)
    ORDER BY g.id DESC
    LIMIT ?5
"""
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
TOLD = {
    "budgets": "SELECT id, name, definition FROM budgets",
    "fired": "SELECT budget, mark FROM fired",
    "alerts": "SELECT id, alert FROM alerts",
}
OPEN = """
    SELECT call_id, SUM(picousd) / COUNT(*), owner
    FROM charges
    WHERE owner IS NOT NULL
    GROUP BY owner, call_id
"""


def _keys(work: Work, said: Said) -> Any:
    values = (said["id"], said["since"], said["until"], said["limit"])
    start, end = said["start"], said["end"]
    by_end = said["since"] == said["until"] and end is not None and end - start < SHORT_S
    found = work.run(KEYS_OF_END, *values, end) if by_end else work.run(KEYS, *values)
    return [key for (key,) in found]


def _spread(work: Work, said: Said) -> Any:
    limit = (None, 0) if said["usd"] is None else split(said["usd"])
    (found,) = work.run(SPREAD, said["id"], said["since"], said["until"], said["calls"], *limit)
    return found


def _grants(work: Work, said: Said) -> Any:
    asked = (said.get(name) for name in ("id", "key", "since", "until"))
    names = ("budget", "key", "calls", "made_at", "made_by", "why", "until", "ended_at", "ended_by")
    found = work.run(GRANTS, *asked, said.get("limit", -1))
    return [{"picousd": usd * PICO + rest, **dict(zip(names, each, strict=True))} for usd, rest, *each in found]


def _channels(work: Work, said: Said) -> Any:
    names, after = ("name", "delivered_ms", "waiting", "oldest_ms"), said["after_ms"]
    return [
        {**dict(zip(names, each, strict=True)), "failing": work.run(FAILING, each[0], after)}
        for each in work.run(CHANNELS, after)
    ]


def _open(work: Work, said: Said) -> Any:
    """Of another user's process only they can tell whether it is gone."""
    owners, found = Owner(said["owners"]), work.run(OPEN)
    gone = {owner: bool(owner) and owners.is_gone(owner) for _, _, owner in found}
    return [(*each, gone[each[2]]) for each in found]


LOOKS: Mapping[str, Callable[[Work, Said], Any]] = {
    "budgets": lambda work, said: work.run(BUDGETS, said["used_after"]),
    "totals": lambda work, said: work.totals(said["id"], said["key"], said["since"], said["until"]),
    "keys": _keys,
    "spread": _spread,
    "grants": _grants,
    "alerts": lambda work, said: work.run(ALERTS, said["limit"]),
    "channels": _channels,
    "open": _open,
    "told": lambda work, _: {name: work.run(sql) for name, sql in TOLD.items()},
}


class Asking:
    """What is asked of a file on one connection, of one moment."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path, self._work = path, Work(connection, time.time(), str)

    def look(self, what: str, **said: Any) -> Any:
        """What the store says."""
        return LOOKS[what](self._work, {**said, "owners": owners_of(self._path)})

    def do(self, said: Mapping[str, Any]) -> Any:
        """What the step is answered."""
        return STEPS[said["do"]](self._work, said)

    def facts(self) -> Iterator[Fact]:
        """How the file is."""
        yield Fact("size", f"{self._path.stat().st_size / 2**20:,.1f} MB")
        ((found,),) = self._work.run("PRAGMA quick_check(1)")
        way_out = f"{found}; move it away: the next program begins anew from the ledger"
        yield Fact("SQLite's own check", "ok") if found == "ok" else Fact("SQLite's own check", "failed", way_out)


@contextmanager
def view(name: str | Path) -> Iterator[View]:
    """As `_connect.view`, by a connection that cannot write. What it reads is of one moment."""
    path = Path(name)
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
        asking = Asking(path, connection)
        yield View(asking.look, asking.facts)
        check_unchanged(connection)


@contextmanager
def changing(name: str | Path, *, wholly: bool = False) -> Iterator[Asking]:
    """Lets a command change the store, all or nothing; `wholly`: nothing stays of what was there before. Raises
    `ClaudetraceError` for what is no store, or cannot be rid of it, and `sqlite3.Error` for a broken one."""
    path = Path(name)
    with closing(connect(path, "rw")) as connection:
        if check_version(connection, path) != VERSION:
            raise ClaudetraceError(f"{path} is no budgets' store")
        if wholly:
            connection.execute("PRAGMA secure_delete = ON")
        begin(connection, PATIENCE_S)
        yield Asking(path, connection)
        connection.execute("COMMIT")
        if not wholly:
            return
        # What was removed before is in free pages still.
        connection.execute("VACUUM")
        ((busy, _, _),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    if busy:
        raise ClaudetraceError(f"{path}-wal may still name them: a program reads an older state; run this again")
