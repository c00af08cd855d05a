"""Cells of Datasette's own tables as a person reads them. What is in them is escaped, whatever it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from markupsafe import Markup, escape

from claudetrace._call import JSON_COLUMNS
from claudetrace_dashboards import _format as show
from claudetrace_dashboards._panel import BASE

if TYPE_CHECKING:
    from collections.abc import Callable

    from datasette.app import Datasette

OURS = frozenset(
    (
        "calls",
        "rollup_hours",
        "rollup_tag_days",
        "rollup_sessions",
        "measured_calls",
        "measured_call_tags",
        "cost_parts",
    )
)
LONGEST_JSON = 20_000


def cell(datasette: Datasette, database: str | None, table: str | None, column: str, value: Any) -> Markup | None:
    """What to show for `value`, or `None` where it is shown as it is. Only in tables of a ledger."""
    if table not in OURS or value is None:
        return None
    if column == "call_id" and table == "calls" and isinstance(value, str):
        url = f"{datasette.urls.path(BASE)}/call/{quote(value, safe='')}?db={quote(database or '', safe='')}"
        return Markup('<a href="{}">{}</a>').format(url, value)
    for matches, shown in KINDS:
        if matches(column):
            return shown(value)
    return None


def _money(value: Any) -> Markup | None:
    return show.usd(value) if isinstance(value, int) else None


def _dollars(value: Any) -> Markup | None:
    if not isinstance(value, float):
        return None
    return Markup('<span title="{0}">{1}</span>').format(value, show.usd_text(round(value * show.PICOUSD)))


def _duration(value: Any) -> Markup | None:
    return show.duration(value) if isinstance(value, (int, float)) else None


def _tokens(value: Any) -> Markup | None:
    return Markup('<span title="{0}">{0:,}</span>').format(value) if isinstance(value, int) else None


def _model(value: Any) -> Markup | None:
    return Markup("<code>{}</code>").format(value) if isinstance(value, str) and value else None


def _json(value: Any) -> Markup | None:
    if not isinstance(value, str) or len(value) > LONGEST_JSON:
        return None
    try:
        read = json.loads(value)
    except ValueError:
        return None
    if read in ({}, []):
        return escape(value)
    return Markup("<details><summary>{}</summary><pre>{}</pre></details>").format(
        _summary(read), json.dumps(read, indent=1, ensure_ascii=False)
    )


def _summary(read: Any) -> str:
    if isinstance(read, dict):
        told = ", ".join(f"{key}: {item}" for key, item in read.items() if isinstance(item, (str, int, float)))
        return told[:60] or "{…}"
    if isinstance(read, list) and all(isinstance(each, str) for each in read):
        return ", ".join(read)[:60]
    return f"{len(read)} parts" if isinstance(read, list) else str(read)[:60]


KINDS: tuple[tuple[Callable[[str], bool], Callable[[Any], Markup | None]], ...] = (
    (lambda column: column in JSON_COLUMNS, _json),
    (lambda column: column.endswith("_picousd") and "rest" not in column and column != "rate_picousd", _money),
    (lambda column: column == "cost_usd", _dollars),
    (lambda column: column.endswith("_ms"), _duration),
    (lambda column: column.endswith("_tokens"), _tokens),
    (lambda column: column in ("model", "model_requested"), _model),
)
"""Which columns are what, and how that is shown."""
