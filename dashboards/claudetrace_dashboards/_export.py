"""The rows behind a panel as CSV and JSON, money as exact dollars beside its picodollars."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from typing import TYPE_CHECKING, Any

from datasette.utils.asgi import Response

from claudetrace_dashboards._access import reason
from claudetrace_dashboards._format import exact_usd
from claudetrace_dashboards._panel import DeniedError, UnheardError, answer

if TYPE_CHECKING:
    from claudetrace_dashboards._panel import Panel, Row, Scope

FORMULA = ("=", "+", "-", "@", "\t", "\r")
HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-store"}


async def exported(scope: Scope, panel: Panel, kind: str) -> Response:
    """The rows of the panel's first question; an error that says why where there are none to give."""
    if scope.filters.problems:
        # A page shows what it can and says so; a program would take the figures for what it asked for.
        return _refused(kind, 400, f"no figures for a filter that cannot be read: {' '.join(scope.filters.problems)}")
    ask = panel.exported or next(iter(panel.asks.values()))
    try:
        found = await answer(scope, ask)
    except UnheardError as error:
        return _refused(kind, 400, f"{panel.name} is not kept for the filter {', '.join(sorted(error.args[0]))}")
    except DeniedError as error:
        return _refused(kind, 403, f"you may not see the table {error}")
    except (sqlite3.Error, OSError) as error:
        return _refused(kind, 503, reason(error))
    rows = [with_usd(row) for row in found.rows]
    if kind == "csv":
        return as_csv(panel.name, rows, found.statement.query.columns)
    told = {
        "panel": panel.name,
        "since": found.statement.since,
        "until": found.statement.until,
        "filters": {name: value for name, value in scope.filters.parameters().items() if value is not None},
        "rows": rows,
    }
    return Response(json.dumps(told, indent=1), content_type="application/json; charset=utf-8", headers=HEADERS)


def with_usd(row: Row) -> Row:
    """`row` with each amount also in dollars, exact, as text."""
    found: Row = {}
    for name, value in row.items():
        found[name] = value
        if name.endswith("_picousd"):
            found[name.replace("_picousd", "_usd")] = None if value is None else exact_usd(value)
    return found


def as_csv(name: str, rows: list[Row], columns: tuple[str, ...] = ()) -> Response:
    """`rows` as a file to download. Text that a spreadsheet would run gets a quote before it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    heads = list(rows[0]) if rows else list(with_usd(dict.fromkeys(columns)))
    writer.writerow(heads)
    writer.writerows([[_inert(value) for value in row.values()] for row in rows])
    headers = {**HEADERS, "Content-Disposition": f'attachment; filename="{name}.csv"'}
    return Response(text.getvalue(), content_type="text/csv; charset=utf-8", headers=headers)


def _inert(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) and not _is_number(value) else value


def _is_number(value: str) -> bool:
    return value[1:].replace(".", "", 1).isdecimal()


def _refused(kind: str, status: int, why: str) -> Response:
    if kind == "json":
        return Response(json.dumps({"error": why}), status=status, content_type="application/json", headers=HEADERS)
    return Response(f"{why}\n", status=status, content_type="text/plain; charset=utf-8", headers=HEADERS)
