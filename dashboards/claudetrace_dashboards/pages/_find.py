"""The page of what the search box found, where that is none or more than one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from claudetrace_dashboards import _search
from claudetrace_dashboards._panel import Drawn, Panel
from claudetrace_dashboards._pieces import Column, link, table
from claudetrace_dashboards._reading import LateError
from claudetrace_dashboards.pages._page import Page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claudetrace_dashboards._panel import Scope
    from claudetrace_dashboards._search import Hit

LIKE_AN_ID = 8
"""From how many characters on the ids without an index are looked for."""


def asked(scope: Scope) -> str:
    """What is looked for."""
    return scope.arguments.get("id", "").strip()


def _table(caption: str, hits: Sequence[Hit]) -> Markup:
    columns = (
        Column("What", lambda row: Markup('<span class="kind">{}</span>').format(row["hit"].kind)),
        Column("Name", lambda row: link(row["hit"].url, row["hit"].value), css="wrap"),
        Column("", lambda row: row["hit"].told, css="wrap"),
    )
    return table(caption, columns, [{"hit": hit} for hit in hits], "log")


async def _found(scope: Scope) -> Drawn:
    hits = await _search.hits(scope, asked(scope)) if asked(scope) else []
    many = f"The first {_search.MOST} of each kind." if len(hits) >= _search.MOST else ""
    return Drawn(_table("Found", hits) if hits else None, (many,) if many else ())


async def _scanned(scope: Scope) -> Drawn:
    if not scope.patient:
        raise LateError
    text = asked(scope)
    if len(text) < LIKE_AN_ID or " " in text or await _search.hits(scope, text):
        return Drawn(None)
    hits = await _search.scanned(scope, text)
    return Drawn(_table("Found", hits) if hits else None)


FIND = Page(
    name="find",
    title="Search",
    about="Ids of requests, messages, traces, sessions, users, batches and calls; values of tags",
    linked=False,
    ranged=False,
    panels=(
        Panel(
            name="found",
            title="Found",
            about="In all of the ledger, by its indexes",
            width="full",
            own=_found,
            empty="No session, user, tag, batch, trace, message or call has this very name. Values are compared whole, "
            "as they are written.",
        ),
        Panel(
            name="scanned",
            title="Requests and spans",
            about="Their ids have no index: the calls are read one by one, the newest first, where nothing else has "
            "the id",
            width="full",
            own=_scanned,
            empty="No call has this as the id of its request or span, or something else was found by it.",
        ),
    ),
)
