"""Whether a row that came from elsewhere is one that the ledger can hold and everything can read."""

from __future__ import annotations

import sqlite3
from importlib.resources import files
from typing import TYPE_CHECKING

from claudetrace._call import Call
from claudetrace._ledger._calls import COLUMNS
from claudetrace._ledger._store import FAULTS_OF_A_ROW, insert_of, storable

if TYPE_CHECKING:
    from claudetrace._call import Row

LONGEST_ID = 64
INSERT = insert_of(COLUMNS)
MAY_BE_NEGATIVE = "cache_saved_picousd"


class RowCheck:
    """Says what is wrong with a row, by the ledger's own table in memory. For one thread at a time."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        schema = files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
        self._connection.execute(schema[: schema.index(";") + 1])

    def fault(self, row: Row) -> str | None:
        """Why `row` is none of a call, or `None` where it is one."""
        try:
            return self._fault(row)
        except FAULTS_OF_A_ROW as error:
            return f"{type(error).__name__}: {error}"[:200]

    def _fault(self, row: Row) -> str | None:
        columns = storable({name: (row.get(name),) for name in COLUMNS})
        stored = self._connection.execute(INSERT, [value for (value,) in columns.values()]).rowcount
        self._connection.execute("DELETE FROM calls")
        if not stored:
            return "its values cannot be stored"
        if max(len(row["id"]), len(row["call_id"])) > LONGEST_ID:
            return "its id is none of claudetrace's"
        if negative := [name for name, value in row.items() if name != MAY_BE_NEGATIVE and _is_negative(value)]:
            return f"{negative[0]} is below zero"
        call = Call.from_row(row)
        for name, found, kind in (("tags", call.tags, dict), ("usage", call.usage, dict | None)):
            if not isinstance(found, kind):
                return f"{name} has no names"
        texts = [*call.tags.values(), *call.cost_flags]
        return None if all(isinstance(text, str) for text in texts) else "a tag or a flag is no text"


def _is_negative(value: object) -> bool:
    return isinstance(value, int | float) and value < 0
