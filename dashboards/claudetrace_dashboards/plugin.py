"""The hooks of Datasette: our routes, links to them, and cells that can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datasette import hookimpl

from claudetrace_dashboards import _views
from claudetrace_dashboards._access import is_ledger
from claudetrace_dashboards._cells import cell
from claudetrace_dashboards._panel import BASE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from datasette.app import Datasette


@hookimpl
def register_routes() -> list[tuple[str, Callable[..., Any]]]:
    """Our pages, all under one path."""
    return [
        (rf"^{BASE}/?$", _views.page),
        (rf"^{BASE}/static/(?P<name>[\w.-]+)$", _views.static),
        (rf"^{BASE}/suggest$", _views.suggest),
        (rf"^{BASE}/panel/(?P<panel>\w+)$", _views.panel),
        (rf"^{BASE}/data/(?P<panel>\w+)\.(?P<kind>csv|json)$", _views.data),
        (rf"^{BASE}/call/(?P<id>[^/]+)$", _views.call),
        (rf"^{BASE}/(?P<page>\w+)$", _views.page),
    ]


@hookimpl
def menu_links(datasette: Datasette, actor: dict[str, Any] | None) -> Callable[[], Awaitable[list[dict[str, str]]]]:
    """A link to the pages, for who may see a ledger."""

    async def links() -> list[dict[str, str]]:
        ledgers, _ = await _views.ledgers_of(datasette, actor)
        return [{"href": datasette.urls.path(BASE), "label": "Claude usage"}] if ledgers else []

    return links


@hookimpl
def database_actions(
    datasette: Datasette, actor: dict[str, Any] | None, database: str
) -> Callable[[], Awaitable[list[dict[str, str]]]]:
    """A link to the pages of that ledger."""

    async def links() -> list[dict[str, str]]:
        ledgers, _ = await _views.ledgers_of(datasette, actor)
        if database not in [each.name for each in ledgers]:
            return []
        return [{"href": f"{datasette.urls.path(BASE)}?db={database}", "label": "Claude usage: cost, cache, latency"}]

    return links


@hookimpl
def render_cell(value: Any, column: str, table: str | None, database: str | None, datasette: Datasette) -> Any:
    """Money, durations, models and JSON of a ledger's tables as a person reads them."""
    shown = cell(datasette, database, table, column, value)
    if shown is None or database is None:
        return None

    async def of_ledger() -> Any:
        # A database of something else may have a table of that name too.
        return shown if await is_ledger(datasette.databases[database]) else None

    return of_ledger
