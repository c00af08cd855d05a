"""Goes through the rows of a ledger: to price them again, or to count them again in budgets."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from claudetrace._call import spend_of
from claudetrace._guard import Guard
from claudetrace._ledger._calls import COLUMNS, STORED, rows_of, told
from claudetrace._ledger._load import load_orphans
from claudetrace._ledger._replays import NOTE
from claudetrace._ledger._schema import CHUNK_ROWS, NAP_S, opened_ledger, transaction
from claudetrace._ledger._sums import TagValues, exchange
from claudetrace._ledger._times import stamp
from claudetrace._operations import BATCHES_CREATE, BATCHES_RESULT, FREE_SQL
from claudetrace._pricing._bill import PRICE_COLUMNS
from claudetrace._pricing._row import price_row

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from claudetrace._call import Row

EARLIEST = "0001"
PRICED_BY_USAGE = f"""
    c.usage IS NOT NULL
    AND c.operation NOT IN ({FREE_SQL})
    AND c.started_at >= :since
    AND (
        :everything
        OR c.cost_picousd IS NULL
        OR INSTR(c.cost_flags, '"unknown_model"') > 0
        OR INSTR(c.cost_flags, '"assumed_rates"') > 0
    )
"""
BATCH_CREATED_AT = f"""
    CASE WHEN c.operation = '{BATCHES_RESULT.name}' THEN (
        SELECT b.started_at
        FROM calls AS b
        WHERE b.operation = '{BATCHES_CREATE.name}' AND b.batch_id = c.batch_id
        ORDER BY b.rowid
        LIMIT 1
    ) END AS batch_created_at
"""  # noqa: S608 - names of ours
SELECT = f"SELECT {', '.join(f'c.{name}' for name in COLUMNS)}, {BATCH_CREATED_AT} FROM calls AS c"  # noqa: S608 - SQL of ours
SINCE = f"{STORED} WHERE id > ? AND started_at >= ? ORDER BY id LIMIT {CHUNK_ROWS}"
CHUNK = f"{SELECT} WHERE c.id > :after AND {PRICED_BY_USAGE} ORDER BY c.id LIMIT :rows"
AGAIN = f"{SELECT} WHERE c.id IN (SELECT value FROM json_each(?))"  # noqa: S608 - SQL of ours
UPDATE = f"UPDATE calls SET {', '.join(f'{name} = :{name}' for name in PRICE_COLUMNS)} WHERE id = :id"  # noqa: S608 - names of ours
UNTOLD = f"""
    SELECT r.number, r.picousd, {", ".join(f"c.{name}" for name in COLUMNS)}
    FROM respent AS r
    JOIN calls AS c ON c.id = r.id
    ORDER BY r.number
    LIMIT {CHUNK_ROWS}
"""  # noqa: S608 - names of ours


class Correction(NamedTuple):
    """By how much the spend of `row` has changed. `mark` identifies the change, so that it is made once."""

    mark: str
    picousd: int
    row: Row


@dataclass(slots=True, kw_only=True)
class Repriced:
    """What pricing again does to the rows of one `model`. Money is spend, which is what totals add up."""

    model: str | None
    rows: int = 0
    """Those that were looked at."""
    changed_rows: int = 0
    unpriced_before: int = 0
    unpriced_after: int = 0
    before_picousd: int = 0
    after_picousd: int = 0

    def add(self, old: Row, new: Row) -> None:
        """Counts a row that was `old` and is `new`, which may be the same object."""
        self.rows += 1
        self.changed_rows += int(new is not old)
        before, after = spend_of(old), spend_of(new)
        self.unpriced_before += int(before is None)
        self.unpriced_after += int(after is None)
        self.before_picousd += before or 0
        self.after_picousd += after or 0


def reprice(
    db: Path,
    *,
    everything: bool = False,
    since: datetime | None = None,
    apply: bool = False,
    progress: Callable[[int], None] | None = None,
    correct: Callable[[list[Correction]], None] | None = None,
) -> list[Repriced]:
    """What pricing the unpriced rows again changes for each model, or all rows with `everything`.

    Nothing is written without `apply`. With it, short transactions write rows and rollups together, so that
    a process that is killed leaves a right ledger, and running again finishes. Others go on writing meanwhile.
    `progress` hears how many rows were looked at. `correct` hears of each change of spend at least once, also of those
    of an earlier run that was killed.
    """
    load_orphans(db, Guard())
    asked = {"everything": int(everything), "since": EARLIEST if since is None else stamp(since)}
    models: dict[str | None, Repriced] = {}
    tag_values, done, after = TagValues(), 0, ""
    with opened_ledger(db) as connection:
        while rows := [*rows_of(connection, CHUNK, {**asked, "after": after, "rows": CHUNK_ROWS})]:
            after = rows[-1]["id"]
            pairs = [(row, repriced(row)) for row in rows]
            changed = [old["id"] for old, new in pairs if new is not old]
            if apply and changed:
                pairs = [pair for pair in pairs if pair[1] is pair[0]] + _write(
                    connection, changed, tag_values, notes=correct is not None
                )
            if apply and correct is not None:
                _tell(connection, correct)
            for old, new in pairs:
                models.setdefault(old.get("model"), Repriced(model=old.get("model"))).add(old, new)
            done += len(rows)
            if progress is not None:
                progress(done)
            if apply and changed:
                time.sleep(NAP_S)
    return sorted(models.values(), key=lambda each: (-each.changed_rows, each.model or ""))


def repriced(row: Row) -> Row:
    """`row`, priced again; the same object where nothing but the version of the rates would differ."""
    price = price_row(row, row.get("batch_created_at"))
    if price is None or all(_same(name, row.get(name), price[name]) for name in PRICE_COLUMNS):
        return row
    return {**row, **price}


def _same(name: str, old: Any, new: Any) -> bool:
    if name == "rates_version" or (name == "pricing_terms" and old is None):
        return True
    if name in ("cost_parts", "cost_flags", "pricing_terms") and old is not None and new is not None:
        return bool(orjson.loads(old) == orjson.loads(new))
    return bool(old == new)


def tell_untold(db: Path, correct: Callable[[list[Correction]], None]) -> None:
    """Passes to `correct` what a killed run has changed."""
    with opened_ledger(db) as connection:
        _tell(connection, correct)


def _tell(connection: sqlite3.Connection, correct: Callable[[list[Correction]], None]) -> None:
    while rows := [*rows_of(connection, UNTOLD)]:
        last = rows[-1]["number"]
        correct([Correction(f"respent/{row['id']}/{row.pop('number')}", row.pop("picousd"), row) for row in rows])
        with transaction(connection):
            connection.execute("DELETE FROM respent WHERE number <= ?", (last,))


def _write(
    connection: sqlite3.Connection, ids: list[str], tag_values: TagValues, *, notes: bool
) -> list[tuple[Row, Row]]:
    """Prices the rows of `ids` again as they are now, rows and rollups in one transaction. With `notes` it stores each
    change of spend, for the budgets."""
    with transaction(connection):
        pairs = [(row, repriced(row)) for row in rows_of(connection, AGAIN, (orjson.dumps(ids).decode(),))]
        changed = [(old, new) for old, new in pairs if new is not old]
        connection.executemany(UPDATE, [{name: new[name] for name in ("id", *PRICE_COLUMNS)} for _, new in changed])
        if notes:
            moved = [(old["id"], (spend_of(new) or 0) - (spend_of(old) or 0)) for old, new in changed]
            connection.executemany(NOTE, [each for each in moved if each[1]])
        exchange(connection, [old for old, _ in changed], [new for _, new in changed], tag_values)
    return pairs


def offer_again(
    db: Path, since: datetime, offer: Callable[[list[Row]], None], progress: Callable[[int], None] | None = None
) -> int:
    """Offers the rows since then to a budgets' store, oldest first, and returns how many. Raises `ClaudetraceError` and
    what `offer` raises."""
    load_orphans(db, Guard())
    done, after = 0, ""
    with opened_ledger(db) as connection:
        while rows := [*map(told, rows_of(connection, SINCE, (after, stamp(since))))]:
            after, done = rows[-1]["id"], done + len(rows)
            offer(rows)
            if progress is not None:
                progress(done)
    return done
