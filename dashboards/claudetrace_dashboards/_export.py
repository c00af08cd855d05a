"""The rows behind a panel as CSV and JSON, whole and as they come, money as exact dollars beside its picodollars."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from datasette.utils.asgi import AsgiStream, Response

from claudetrace._ledger._export import inert
from claudetrace_dashboards._access import reason
from claudetrace_dashboards._format import exact_usd
from claudetrace_dashboards._panel import Answer, answer, plain_rows
from claudetrace_dashboards._reading import DeniedError
from claudetrace_dashboards._rows import EXPORT_ROWS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from claudetrace_dashboards._panel import Panel, Row, Scope

HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-store"}
ROWS_A_WRITE = 500
MOST_DIGITS = 12


async def exported(scope: Scope, panel: Panel, kind: str) -> Response | AsgiStream:
    """All rows of the panel's first question; an error that says why where there are none to give."""
    if scope.filters.problems:
        # A page shows what it can and says so; a program would take the figures for what it asked for.
        return _refused(kind, 400, f"no figures for a filter that cannot be read: {' '.join(scope.filters.problems)}")
    limit = scope.arguments.get("limit")
    if limit is not None and not (limit.isascii() and limit.isdigit() and len(limit) <= MOST_DIGITS):
        return _refused(kind, 400, f"limit={limit[:40]} is no number of rows; without it the file has all")
    pieces = _pieces(scope, panel)
    try:
        first = await anext(pieces)
        told = None if limit is None else await _told(scope, panel, int(limit), first)
    except DeniedError as error:
        return _refused(kind, 403, f"you may not see the table {error}")
    except (sqlite3.Error, OSError) as error:
        return _refused(kind, 503, reason(error))
    begin, text_of, end = _csv(first, told) if kind == "csv" else _json(scope, panel, first, told)
    left = sys.maxsize if limit is None else int(limit)

    async def stream(writer: Any) -> None:
        # A failure from here on breaks the answer off, which every client takes for one that is not whole.
        nonlocal left
        await writer.write(begin)
        piece: Answer | None = first
        while piece is not None and left > 0:
            for text in text_of(piece.rows[:left]):
                await writer.write(text)
            left -= len(piece.rows)
            piece = await anext(pieces, None) if left > 0 else None
        await writer.write(end)

    how = "attachment" if kind == "csv" else "inline"
    headers = {**HEADERS, "Content-Disposition": f'{how}; filename="{file_name(panel, first, kind)}"'}
    content_type = "text/csv" if kind == "csv" else "application/json"
    return AsgiStream(stream, headers=headers, content_type=f"{content_type}; charset=utf-8")


def file_name(panel: Panel, first: Answer, kind: str) -> str:
    """What the file holds, in its name: the panel, and the first and the last of its hours or days."""
    since, until = first.statement.since, first.statement.until
    if not since:
        return f"claudetrace-{panel.name}.{kind}"
    if since.endswith("T00") and until.endswith("T00"):
        last = datetime.strptime(until, "%Y-%m-%dT%H").replace(tzinfo=UTC) - timedelta(days=1)
        since, until = since[:10], f"{last:%Y-%m-%d}"
    return f"claudetrace-{panel.name}-{since}-to-{until}.{kind}"


async def _told(scope: Scope, panel: Panel, limit: int, first: Answer) -> str:
    """How many of how many rows the file has."""
    every = len(first.rows) if panel.counted is None else await panel.counted(scope)
    return f"The first {min(limit, every):,} of {every:,} rows; without limit= the file has all."


async def _pieces(scope: Scope, panel: Panel) -> AsyncIterator[Answer]:
    """The panel's answer, whole: sums at once, calls so many at a time."""
    if panel.exported is None:
        yield await answer(scope, next(iter(panel.asks.values())), whole=True)
        return
    rows: list[Row] = []
    while True:
        statement = panel.exported(scope, rows[-1] if rows else None)
        rows = await plain_rows(scope, statement, whole=True)
        yield Answer(rows, statement)
        if len(rows) < EXPORT_ROWS:
            return


def with_usd(row: Row) -> Row:
    """`row` with each amount also in dollars, exact, as text."""
    found: Row = {}
    for name, value in row.items():
        found[name] = value
        if name.endswith("_picousd"):
            found[name.replace("_picousd", "_usd")] = None if value is None else exact_usd(value)
    return found


def _csv(first: Answer, told: str | None) -> tuple[str, Any, str]:
    """The head, what makes text of rows, and the end. What a spreadsheet would run gets a quote before it."""
    heads = list(with_usd(dict.fromkeys(first.rows[0] if first.rows else first.statement.query.columns)))

    def text_of(rows: list[Row]) -> Iterator[str]:
        for start in range(0, len(rows), ROWS_A_WRITE):
            yield _lines(
                [inert(value) for value in with_usd(row).values()] for row in rows[start : start + ROWS_A_WRITE]
            )

    return _lines([[f"# {told}"], heads] if told else [heads]), text_of, ""


def _lines(rows: Any) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue()


def _json(scope: Scope, panel: Panel, first: Answer, limited: str | None) -> tuple[str, Any, str]:
    told = {
        **({"limited": limited} if limited else {}),
        "panel": panel.name,
        "since": first.statement.since,
        "until": first.statement.until,
        "filters": {name: value for name, value in scope.filters.parameters().items() if value is not None},
        "notes": first.notes,
    }
    between = ""

    def text_of(rows: list[Row]) -> Iterator[str]:
        nonlocal between
        for start in range(0, len(rows), ROWS_A_WRITE):
            texts = [json.dumps(with_usd(row)) for row in rows[start : start + ROWS_A_WRITE]]
            yield between + ",\n ".join(texts)
            between = ",\n "

    return f'{json.dumps(told, indent=1)[:-2]},\n "rows": [\n ', text_of, "\n]}\n"


def _refused(kind: str, status: int, why: str) -> Response:
    if kind == "json":
        return Response(json.dumps({"error": why}), status=status, content_type="application/json", headers=HEADERS)
    return Response(f"{why}\n", status=status, content_type="text/plain; charset=utf-8", headers=HEADERS)
