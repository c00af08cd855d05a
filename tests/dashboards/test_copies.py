"""A copy of the calls that no index finds is read for the ledger, and answers the same."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from claudetrace._guard import Guard
from claudetrace._ledger._store import Store

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "dashboards"), str(ROOT / "tests" / "bench")]

# ruff: noqa: E402 - found by the line above
from claudetrace_dashboards import _filters
from claudetrace_dashboards._copies import Copy, of_filters
from claudetrace_dashboards.queries import QUESTIONS
from generate import LAST_DAY, Source


def test_a_copy_answers_as_the_ledger_does(tmp_path: Path) -> None:
    """Every question has the same answer from a copy of the calls with a tag or of a program, also where the first
    response of a call is of another customer or of another day."""
    path = tmp_path / "ledger.db"
    store = Store(path, Guard())
    rows = [row for batch in Source(3000).batches() for row in batch]
    for number in range(0, len(rows) - 700, 7):
        # A call of three responses.
        call_id = rows[number]["call_id"] if number % 2 else f"call-{number}"
        rows[number + 1]["call_id"] = rows[number + 700]["call_id"] = call_id
        rows[number + 2]["service"] = "jobs"
    store.write(rows)
    store.close()
    filters = [
        _filters.Filters.read({"from": first, "to": "2026-11-20", **what}, now=LAST_DAY)
        for first in ("2026-09-01", "2026-10-30T07")
        for what in ({"tag": "customer:customer-03"}, {"tag": "team:support", "model": "claude-haiku-4-5"},
                     {"service": "jobs"})
    ]  # fmt: skip
    compared = set()
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as ledger:
        for name, reader in QUESTIONS.items():
            more = {"by": "prompt"} if name.endswith("_by_tag") or name in ("change", "statement") else {}
            for each in filters:
                question = reader.question(each, **more)
                if not (spans := reader.plan(ledger, question, **more).scanned):
                    continue
                copy = Copy(path, of_filters(question), spans).fill()
                answer = reader.read(copy.connection, question, whole=True, **more)
                ((copied,),) = copy.connection.execute("SELECT COUNT(*) FROM calls")

                assert answer == reader.read(ledger, question, whole=True, **more), (name, each)
                assert copied < len(rows)
                compared.add(name)
    assert compared > {"change", "statement", "outcomes", "cost_by_tag", "latency_by_time", "headroom"}
