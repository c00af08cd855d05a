"""`write_lines`: each row as one line of JSON on standard output."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, Any

import orjson

from claudetrace._call import CALL_FIELDS, JSON_COLUMNS, PICOUSD_PER_USD, spend_of
from claudetrace._telemetry._attributes import EVENT

if TYPE_CHECKING:
    from claudetrace._call import Row
    from claudetrace._guard import Guard


def write_lines(guard: Guard, rows: list[Row]) -> None:
    """Writes each of `rows` to `sys.stdout` with one write. Never raises."""
    for row in rows:
        with guard("write a record to stdout"):
            _write(b"%b\n" % orjson.dumps(_record(row)))


def _record(row: Row) -> dict[str, Any]:
    """`row` under the names of the ledger's columns, without those that are NULL."""
    row = {**row, "spend_picousd": spend_of(row)}
    if (picousd := row.get("cost_picousd")) is not None:
        row["cost_usd"] = picousd / PICOUSD_PER_USD
    known = {name: row[name] for name in CALL_FIELDS if row.get(name) is not None}
    # JSON is passed through: parsed, some of it, such as half a surrogate pair, could not be written again.
    return {"event": EVENT} | {
        name: orjson.Fragment(value) if name in JSON_COLUMNS else value for name, value in known.items()
    }


def _write(line: bytes) -> None:
    stdout = sys.stdout
    if stdout is None:
        raise OSError("there is no stdout")
    try:
        number = stdout.fileno()
    except io.UnsupportedOperation:
        # The program replaced it.
        stdout.write(line.decode())
        stdout.flush()
        return
    # Bypasses the buffer: if the reader is gone, nothing stays in it that makes the application's exit fail.
    os.write(number, line)
