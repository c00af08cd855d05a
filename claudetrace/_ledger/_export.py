"""The calls as a file, row by row as they are read: money as exact decimals, whatever the size of the ledger."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import orjson

from claudetrace._call import CALL_FIELDS, exact_usd, spend_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

FORMULA = ("=", "+", "-", "@", "\t", "\r")
JSON_COLUMNS = frozenset(("usage", "cost_parts", "cost_flags", "pricing_terms", "tags"))
MONEY = {"cost_picousd": "cost_usd", "spend_picousd": "spend_usd", "cache_saved_picousd": "cache_saved_usd"}
"""Each amount, and what it is called in dollars."""
COLUMNS = tuple(MONEY.get(name, name) for name in CALL_FIELDS if name != "cost_usd")
ROWS_A_WRITE = 500


def as_csv(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The calls as CSV, in pieces of many rows. JSON columns are their text."""
    yield csv_lines([COLUMNS])
    batch: list[list[Any]] = []
    for row in rows:
        batch.append([_cell(row, name) for name in COLUMNS])
        if len(batch) == ROWS_A_WRITE:
            yield csv_lines(batch)
            batch = []
    yield csv_lines(batch)


def as_json_lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The calls as a JSON object a line, without the columns that are empty. Money is text: a number would be read as
    one that is not exact."""
    for row in rows:
        told: dict[str, Any] = {}
        for name in COLUMNS:
            value = _value(row, name)
            if value is not None:
                told[name] = orjson.loads(value) if name in JSON_COLUMNS else value
        yield json.dumps(told, ensure_ascii=False) + "\n"


def csv_lines(rows: Iterable[Iterable[Any]]) -> str:
    """The rows as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def csv_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """Few rows as CSV, under their names, without the `key` that repeats one of them."""
    lines: list[list[Any]] = []
    for row in rows:
        kept = {name: value for name, value in row.items() if name != "key"}
        lines += [] if lines else [[*kept]]
        lines.append([inert(value) for value in kept.values()])
    return csv_lines(lines)


def inert(value: Any) -> Any:
    """`value` as a spreadsheet takes it for text: what it would run has a quote before it."""
    if not isinstance(value, str) or not value.startswith(FORMULA) or _is_number(value):
        return value
    return f"'{value}"


def _is_number(value: str) -> bool:
    return value[1:].replace(".", "", 1).isdecimal()


def _value(row: Mapping[str, Any], name: str) -> Any:
    if name == "spend_usd":
        spend = spend_of(row)
        return None if spend is None else f"{exact_usd(spend):f}"
    if name.endswith("_usd"):
        picousd = row[name.replace("_usd", "_picousd")]
        return None if picousd is None else f"{exact_usd(picousd):f}"
    return row[name]


def _cell(row: Mapping[str, Any], name: str) -> Any:
    return inert(_value(row, name))
