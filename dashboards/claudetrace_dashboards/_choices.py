"""What the filters of a page can be set to, and those that are set."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from claudetrace_dashboards import _format as words
from claudetrace_dashboards._filters import DAY
from claudetrace_dashboards._panel import Ask, answer
from claudetrace_dashboards._reading import DeniedError
from claudetrace_dashboards.queries._filters import NAMES

if TYPE_CHECKING:
    from claudetrace_dashboards._filters import Filters
    from claudetrace_dashboards._panel import Scope

OF_LATE = timedelta(days=90)
OPTIONS = ("model", "feature", "platform")
OF_LIST = {"outcome": "outcome", "error": "error_type", "stop": "stop_reason"}
"""What a list of calls can be filtered by, and the dimensions of these."""
LABELS = {"stop": "Stop reason"}


async def choices_of(scope: Scope) -> dict[str, list[str]]:
    """What the filters can be set to: what there was of late or in the range, and what is set."""
    span = _of_late(scope)
    found = await asyncio.gather(*(_values(scope, f"cost_by_{name}", name, span) for name in OPTIONS))
    choices = {
        name: sorted({each for each in (*values, getattr(scope.filters, name)) if each})
        for name, values in zip(OPTIONS, found, strict=True)
    }
    scope.models, scope.features = choices["model"], choices["feature"]
    scope.tags = await _values(scope, "tags", "tag", span)
    return choices


def _of_late(scope: Scope) -> Filters:
    """All calls of the range and of the time before it."""
    until = scope.filters.until.replace(hour=0) + DAY
    # Whole days, which the smallest sums have.
    since = min(scope.filters.since.replace(hour=0), until - OF_LATE)
    return scope.filters.within(since, until).but(**dict.fromkeys((*NAMES, "tag")))


async def kinds_of(scope: Scope) -> dict[str, list[str]]:
    """The outcomes, types of errors and stop reasons of late or in the range, and those that are set."""
    span = _of_late(scope)
    chosen = dict(scope.filters.extra)
    found: dict[str, set[str]] = {name: {chosen.get(name, "")} for name in OF_LIST}
    try:
        rows = (await answer(scope, Ask("kinds", lambda _: span))).rows
    except (sqlite3.Error, OSError, DeniedError):
        rows = []
    for name, column in OF_LIST.items():
        found[name] |= {row[column] for row in rows}
    return {name: sorted(values - {""}) for name, values in found.items()}


async def _values(scope: Scope, query: str, column: str, span: Filters) -> list[str]:
    """What the query finds in its column; nothing where it cannot be asked, which the panels will say."""
    try:
        return [row[column] for row in (await answer(scope, Ask(query, lambda _: span))).rows]
    except (sqlite3.Error, OSError, DeniedError):
        return []


def chips(scope: Scope) -> list[tuple[str, str, str]]:
    """The filters that are set: name, value, and the URL without it."""
    found = []
    for name in NAMES:
        value = getattr(scope.filters, name)
        if value is not None:
            found.append((name, value or "(none)", scope.url(scope.page, scope.filters.but(**{name: None}))))
    if scope.filters.tag:
        key, value = scope.filters.tag
        found.append((key, value, scope.url(scope.page, scope.filters.but(tag=None))))
    for name, value in scope.filters.extra:
        if name not in ("sort", "columns"):
            rest = tuple(each for each in scope.filters.extra if each[0] != name)
            label = LABELS.get(name, name).lower()
            found.append((label, words.words(value), scope.url(scope.page, replace(scope.filters, extra=rest))))
    return found
