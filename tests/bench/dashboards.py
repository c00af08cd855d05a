"""`make bench-dashboards`: every query of every page with each filter that it honours, on a large ledger.

    python tests/bench/dashboards.py [ROWS] [--db FILE] [--prove] [--all]

CPU of this thread, the best of three; what no sum has is read from the calls, as far as a panel reads them. The ledger
is generated where FILE is not there; `--prove` checks in SQL that each rollup equals the calls, which takes minutes;
`--all` shows each filter, not only the slowest.
"""

from __future__ import annotations

import argparse
import itertools
import sqlite3
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "dashboards")]

# ruff: noqa: E402 - found by the line above
from _table import Row, show
from claudetrace_dashboards import _rows
from claudetrace_dashboards._filters import Filters as PageFilters
from claudetrace_dashboards.queries import QUERIES, QUESTIONS, Filters, statement
from claudetrace_dashboards.queries._readers import Reader, is_late, is_too_much
from generate import DAYS, LAST_DAY, generate

from claudetrace._ledger._rollups import rollup_differences
from claudetrace._reconcile._ours import Ours

LIMIT_MS = 60
LIST_LIMIT_MS = 1000
"""Of a list of calls, which reads rows and not sums: Datasette's own limit. Most take less than 50 ms; a kind of call
of one value of a tag is looked for in every hour that has both."""
BILL_LIMIT_MS = 5000
SUMS_LIMIT_MS, LATE_LIMIT_MS = 600, 5000
"""Of an answer from sums or an index, several of which make a page; and of one that comes after the page."""
BY = ("change", "statement")
BASE = {"model": "claude-sonnet-4-5", "feature": "support-chat", "platform": "anthropic"}
RARE = {"model": "claude-opus-4-1", "feature": "onboarding", "platform": "vertex"}
TAGS = ("user", "customer", "prompt", "team")


def main() -> int:
    """Prints the table; 1 where a query is over its limit or a sum is not that of its calls."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("rows", nargs="?", type=int, default=1_000_000)
    asked.add_argument("--db", type=Path)
    asked.add_argument("--prove", action="store_true")
    asked.add_argument("--all", action="store_true")
    told = asked.parse_args()
    db = told.db or ROOT / ".bench" / f"ledger-{told.rows}.db"
    if not db.exists():
        db.parent.mkdir(exist_ok=True)
        part = db.with_suffix(".part")
        for old in db.parent.glob(f"{part.name}*"):
            old.unlink()
        generate(part, told.rows)
        part.rename(db)
    connection = sqlite3.connect(f"{db.absolute().as_uri()}?mode=ro", uri=True)
    ((rows,),) = connection.execute("SELECT COUNT(*) FROM calls").fetchall()
    print(f"{rows:,} calls of {DAYS} days, {db.stat().st_size / 1e9:.2f} GB; SQLite {sqlite3.sqlite_version}\n")
    figures = measure(connection) | measure_questions(connection)
    figures |= measure_lists(connection) | measure_bill(connection)
    slowest = [max(each, key=lambda row: row.measured) for each in figures.values()]
    show([row for each in figures.values() for row in each] if told.all else slowest)
    over = [row for each in figures.values() for row in each if not row.kept]
    print(f"\n{sum(map(len, figures.values()))} figures, {len(over)} over their limit")
    differences = prove(connection) if told.prove else 0
    return int(bool(over or differences))


def measure(connection: sqlite3.Connection) -> dict[str, list[Row]]:
    """The figures of each query."""
    figures: dict[str, list[Row]] = {}
    for query in QUERIES.values():
        for said, filters in all_filters(connection):
            for more in asked_with(query.defaults, connection):
                took_ms, found = best_of_three(connection, query.name, filters, more)
                what = " ".join((query.name, *(str(value)[:24] for value in more.values())))
                row = Row(what=what, measured=took_ms, unit="ms", limit=LIMIT_MS, beside=f"{said}: {found} rows")
                figures.setdefault(what, []).append(row)
    return figures


def measure_questions(connection: sqlite3.Connection) -> dict[str, list[Row]]:
    """The figures of each question of the query layer; what a panel would not read is left out."""
    figures: dict[str, list[Row]] = {}
    for name, reader in QUESTIONS.items():
        for said, plain in all_filters(connection):
            filters = page_filters(plain)
            for more in [{"by": tag} for tag in TAGS] if name.endswith("_by_tag") or name in BY else [{}]:
                question = reader.question(filters, **more)
                plan = reader.plan(connection, question, **more)
                if is_too_much(plan):
                    continue
                what = " ".join((name, *more.values()))
                took_ms, found = _best(connection, reader, question, more)
                limit = LATE_LIMIT_MS if is_late(plan) else SUMS_LIMIT_MS
                row = Row(what=what, measured=took_ms, unit="ms", limit=limit, beside=f"{said}: {found} rows")
                figures.setdefault(f"{what}{' from calls' if is_late(plan) else ''}", []).append(row)
    return figures


def _best(connection: sqlite3.Connection, reader: Reader, question: Any, more: dict[str, str]) -> tuple[float, int]:
    """CPU in milliseconds, the best of three or of one that takes long, and how many rows were found."""
    taken: list[float] = []
    while len(taken) < 3 and sum(taken) < LATE_LIMIT_MS / 5:
        began = time.thread_time()
        found = len(reader.read(connection, question, whole=False, **more).rows)
        taken.append((time.thread_time() - began) * 1e3)
    return min(taken), found


def page_filters(filters: Filters) -> PageFilters:
    """The same as a page has them."""
    arguments = {name: value for name in (*BASE, "user", "session") if (value := getattr(filters, name)) is not None}
    if filters.tag_key:
        arguments["tag"] = f"{filters.tag_key}:{filters.tag_value}"
    since, until = (
        datetime.strptime(hour, "%Y-%m-%dT%H").replace(tzinfo=UTC) for hour in (filters.since, filters.until)
    )
    return PageFilters.read(arguments, now=LAST_DAY).within(since, until)


def measure_lists(connection: sqlite3.Connection) -> dict[str, list[Row]]:
    """The figures of the list of calls, of each kind and of what is rare among them."""
    whose = {
        "all": {},
        "rare model": {"model": "claude-opus-4-1"},
        "rare feature": {"feature": "onboarding"},
        "nothing": {"feature": "no-such"},
        "user": {"user": "user-0000@example.com"},
        "customer": {"tag": "customer:customer-00"},
        "rare prompt": {"tag": "prompt:onboarding@v1"},
        "free tag": {"tag": "env:staging"},
    }
    figures: dict[str, list[Row]] = {}
    for kind in ({}, *({"only": only} for only in _rows.ONLY), {"outcome": "error"}, {"stop": "max_tokens"}):
        what = " ".join(("list of calls", *kind.values()))
        for said, filters in whose.items():
            arguments = {"range": "custom", "from": "2026-08-23", "to": "2026-11-20", **filters, **kind}
            scope: Any = SimpleNamespace(filters=PageFilters.read(arguments), arguments=arguments)
            statement = _rows.calls(scope)
            taken = []
            for _ in range(3):
                began = time.thread_time()
                found = len(connection.execute(statement.sql, statement.parameters).fetchall())
                taken.append((time.thread_time() - began) * 1e3)
            row = Row(what=what, measured=min(taken), unit="ms", limit=LIST_LIMIT_MS, beside=f"{said}: {found} rows")
            figures.setdefault(what, []).append(row)
    return figures


def measure_bill(connection: sqlite3.Connection) -> dict[str, list[Row]]:
    """The figure of what `claudetrace reconcile` reads of a month and of all days."""
    what, rows = "reconcile", []
    for said, days in (("a month", 31), ("all days", DAYS)):
        began = time.thread_time()
        ours = Ours(LAST_DAY.date() - timedelta(days=days), LAST_DAY.date())
        ours.read(connection)
        ours.attribute({}, {}, ())
        took_ms = (time.thread_time() - began) * 1e3
        rows.append(
            Row(what=what, measured=took_ms, unit="ms", limit=BILL_LIMIT_MS, beside=f"{said}: {len(ours.cells)} cells")
        )
    return {what: rows}


def all_filters(connection: sqlite3.Connection) -> list[tuple[str, Filters]]:
    """The filters with what they are called, over the whole ledger, a month and a day."""
    sql = "SELECT session_id, MAX(calls) FROM rollup_sessions WHERE day > ?"
    ((session, _),) = connection.execute(sql, ("2026-11-01",)).fetchall()
    sets: dict[str, dict[str, str]] = {"all": {}}
    for count in (1, 2, 3):
        for names in itertools.combinations(BASE, count):
            sets["+".join(names)] = {name: BASE[name] for name in names}
    for name, value in RARE.items():
        sets[f"rare {name}"] = {name: value}
    user = {"user": "user-0000@example.com"}
    tag = {"tag_key": "customer", "tag_value": "customer-00"}
    sets |= {
        "nothing": {"feature": "no-such"},
        "user": user,
        "user+model+feature": {**user, "model": BASE["model"], "feature": BASE["feature"]},
        "rare user": {"user": "user-1999@example.com"},
        "tag": tag,
        "free tag": {"tag_key": "team", "tag_value": "support"},
        "tag+model+platform": {**tag, "model": BASE["model"], "platform": BASE["platform"]},
        "session": {"session": session},
        "session+all": {"session": session, **user, **tag, "model": BASE["model"]},
    }
    until = LAST_DAY.isoformat()[:13]
    ranges = {"90 d": f"{LAST_DAY.replace(day=23, month=8).isoformat()[:13]}", "24 h": "2026-11-20T00"}
    return [
        (f"{span}, {said}", Filters(since=since, until=until, **what))
        for said, what in sets.items()
        for span, since in ranges.items()
    ]


def asked_with(defaults: Any, connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """What a query is asked beside the filters."""
    if "id" in defaults:
        return [{"id": connection.execute("SELECT id FROM calls WHERE rowid = 1000").fetchone()[0]}]
    return [{}]


def best_of_three(
    connection: sqlite3.Connection, name: str, filters: Filters, more: dict[str, Any]
) -> tuple[float, int]:
    """CPU in milliseconds, and how many rows were found."""
    taken = []
    for _ in range(3):
        began = time.thread_time()
        asked = statement(name, filters, **more)
        found = asked.rows(connection.execute(asked.sql, asked.parameters).fetchall())
        taken.append((time.thread_time() - began) * 1e3)
    return min(taken), len(found)


def prove(connection: sqlite3.Connection) -> int:
    """How many rows of rollups are not the sums of their calls."""
    print("checking each rollup against the calls, in SQL …", flush=True)
    began = time.monotonic()
    differences = rollup_differences(connection)
    print(f"{len(differences)} rows of rollups differ from the calls ({time.monotonic() - began:,.0f} s)")
    return len(differences)


if __name__ == "__main__":
    raise SystemExit(main())
