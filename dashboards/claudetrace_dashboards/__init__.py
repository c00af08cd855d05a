"""Datasette pages for a ledger of claudetrace."""

from claudetrace_dashboards.plugin import database_actions, menu_links, register_routes, render_cell

__all__ = ["database_actions", "menu_links", "register_routes", "render_cell"]
