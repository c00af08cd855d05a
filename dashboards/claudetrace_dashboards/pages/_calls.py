"""The calls themselves, newest first: where every bar of every chart leads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from claudetrace._call import is_lower_bound, prompt_tokens
from claudetrace_dashboards import _format as show
from claudetrace_dashboards import _rows
from claudetrace_dashboards._panel import Ask, Panel
from claudetrace_dashboards._pieces import Column, link, table
from claudetrace_dashboards._times import local_time
from claudetrace_dashboards.pages._page import Page

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claudetrace_dashboards._panel import Answer, Row, Scope

KEPT = ("only", "outcome", "reason")
"""What the URL can say of calls beside the filters that all pages have."""


def ending(row: Row) -> Markup:
    """How the call ended, in a word that stands out where it should."""
    if row["outcome"] == "ok":
        css = "worse" if row["stop_reason"] in ("max_tokens", "refusal") else ""
        return Markup('<span class="{}">{}</span>').format(css, row["stop_reason"] or "ok")
    css = "worse" if row["outcome"] == "error" else ""
    return Markup('<span class="{}">{}</span>').format(css, row["error_type"] or row["outcome"])


def at_least(row: Row) -> bool:
    """Whether the call's cost is a lower bound."""
    return is_lower_bound(row["usage_is_final"], row["cost_flags"] or "")


def cost(row: Row) -> Markup:
    return show.usd(row["cost_picousd"], 6 if (row["cost_picousd"] or 0) < 10**9 else 4,
                    at_least=at_least(row))  # fmt: skip


def columns(scope: Scope) -> tuple[Column, ...]:
    """What a list of calls shows of each."""

    def tagged(name: str, row: Row) -> Markup | str:
        value = row[f"{name}_id" if name in ("user", "session") else name]
        return link(scope.url("calls", scope.filters.but(**{name: value})), value) if value else ""

    return (
        Column("Time", lambda row: link(scope.row_url(row["id"]), local_time(row["started_at"])), css="time"),
        Column("Model", lambda row: row["model"] or row["model_requested"] or ""),
        Column("Feature", lambda row: tagged("feature", row), minor=True),
        Column("User", lambda row: tagged("user", row), minor=True),
        Column("Session", lambda row: _session(scope, row), minor=True),
        Column("Ended", ending, minor=True),
        Column("Tokens in", lambda row: show.count(prompt_tokens(row)), number=True, minor=True),
        Column("out", lambda row: show.count(row["output_tokens"]), number=True, minor=True),
        Column("Took", lambda row: show.duration(row["duration_ms"]), number=True, minor=True),
        Column("Cost", cost, number=True),
    )


def _session(scope: Scope, row: Row) -> Markup | str:
    if not row["session_id"]:
        return ""
    return link(scope.url("session", scope.filters.but(session=row["session_id"])), row["session_id"])


def _draw(scope: Scope, answers: Mapping[str, Answer]) -> Markup | None:
    rows = answers["calls"].rows
    if not rows:
        return None
    shown = rows[: _rows.PAGE_ROWS]
    kept = {name: scope.arguments[name] for name in KEPT if scope.arguments.get(name)}
    pages = Markup("")
    if scope.arguments.get("before"):
        pages += link(scope.url("calls", **kept), "Newest")
    if len(rows) > len(shown):
        pages += link(scope.url("calls", before=_rows.mark_of(shown[-1]), **kept), "Older")
    return table("Calls, newest first", columns(scope), shown, "calls") + Markup('<p class="pages">{}</p>').format(
        pages
    )


CALLS = Page(
    name="calls",
    title="Calls",
    about="Each call, newest first",
    panels=(
        Panel(
            name="calls",
            title="Calls",
            about="A line for each response, of a batch for each result. Times are your browser's, the range is UTC",
            width="full",
            asks={"calls": Ask(_rows.calls)},
            exported=_rows.calls_after,
            draw=_draw,
            empty="No such call in this range.",
        ),
    ),
)
