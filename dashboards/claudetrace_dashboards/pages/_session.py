"""One conversation: its calls in their order, with what had been spent by then."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from markupsafe import Markup

from claudetrace._call import prompt_tokens
from claudetrace_dashboards import _format as show
from claudetrace_dashboards._charts import Chart, Part, Point, Series, row_bar
from claudetrace_dashboards._panel import Ask, Panel
from claudetrace_dashboards._pieces import Column, axis_usd, card, link, table
from claudetrace_dashboards._times import local_time
from claudetrace_dashboards.pages._calls import at_least, cost, digits, ending
from claudetrace_dashboards.pages._page import Page
from claudetrace_dashboards.pages._sessions import SESSION_LIST
from claudetrace_dashboards.queries._filters import NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from claudetrace_dashboards._filters import Filters
    from claudetrace_dashboards._panel import Answer, Row, Scope


def _whole(filters: Filters) -> Filters:
    """The session alone: of a part of it the running cost would be another."""
    return filters.but(**{**dict.fromkeys((*NAMES, "tag")), "session": filters.session or ""})


OF_SESSION = Ask("session_calls", _whole, whole_range=True)


def _ms(row: Row) -> float:
    return datetime.fromisoformat(row["started_at"]).timestamp() * 1000


def _running(rows: Sequence[Row]) -> list[int]:
    return [row["running_picousd"] or 0 for row in rows]


def _figures(_: Scope, answers: Mapping[str, Answer]) -> Markup | None:
    rows = answers["calls"].rows
    if not rows:
        return None
    begin, end = _ms(rows[0]), max(_ms(row) + (row["duration_ms"] or 0) for row in rows)
    inexact = [row for row in rows if row["cost_picousd"] is None or at_least(row)]
    calls = len({row["call_id"] for row in rows})
    failed = sum(row["outcome"] == "error" for row in rows)
    most, spent = answers["calls"].cut, _running(rows)[-1]
    models = sorted({row["model"] for row in rows if row["model"]})
    return Markup('<div class="cards">{}</div>').format(
        Markup("").join(
            (
                card("Cost", show.usd(spent, min(4, digits(spent)), at_least=bool(inexact or most)),
                     f"{len(inexact):,} unpriced or a lower bound" if inexact else ""),
                card("Calls", show.count(calls, at_least=most),
                     f"{len(rows):,} responses" if calls != len(rows) else "",
                     f"{failed:,} failed" if failed else ""),
                card("From first to last", show.duration(end - begin), local_time(rows[0]["started_at"])),
                card("Tokens in", show.count(sum(prompt_tokens(row) or 0 for row in rows)),
                     f"largest prompt {max(prompt_tokens(row) or 0 for row in rows):,}"),
                card("Tokens out", show.count(sum(row["output_tokens"] or 0 for row in rows))),
                card("Tool calls", show.count(sum(row["tool_calls"] or 0 for row in rows)), ", ".join(models)[:80]),
            )
        )
    )  # fmt: skip


def _curve(scope: Scope, answers: Mapping[str, Answer]) -> Chart | None:
    rows = answers["calls"].rows
    if not rows:
        return None
    points = tuple(
        Point(
            label=str(number),
            title=f"Call {number}: {row['model'] or 'no model'}",
            values=(total / show.PICOUSD,),
            texts=(show.usd_text(total, 4),),
            total=show.usd_text(row["cost_picousd"], 6),
            href=scope.row_url(row["id"]),
        )
        for number, (row, total) in enumerate(zip(rows, _running(rows), strict=True), 1)
    )
    return Chart(
        kind="lines",
        summary="Running cost of the session, call by call",
        first_head="Call",
        series=(Series(name="Spent so far", color=0, area=True),),
        points=points,
        axis=axis_usd,
        total_head="This call",
        height=150,
    )


def _timeline(scope: Scope, answers: Mapping[str, Answer]) -> Markup | None:
    rows = answers["calls"].rows
    if not rows:
        return None
    begin = _ms(rows[0])
    span = max(1.0, max(_ms(row) + (row["duration_ms"] or 0) for row in rows) - begin)
    totals = dict(zip((row["id"] for row in rows), _running(rows), strict=True))
    numbers = {row["id"]: number for number, row in enumerate(rows, 1)}

    def bar(row: Row) -> Markup:
        color = "bad" if row["outcome"] == "error" else scope.color(row["model"])
        took = Part(name="took", color=color, value=row["duration_ms"] or 0, text=show.ms_text(row["duration_ms"]))
        return row_bar([took], span, start=_ms(row) - begin)

    shown = (
        Column("#", lambda row: link(scope.row_url(row["id"]), numbers[row["id"]]), number=True),
        Column("Time", lambda row: local_time(row["started_at"]), css="time", minor=True),
        Column("After", lambda row: f"+{show.ms_text(_ms(row) - begin)}", number=True, minor=True),
        Column("Timeline", bar, css="gantt"),
        Column("Took", lambda row: show.duration(row["duration_ms"]), number=True, minor=True),
        Column("Model", lambda row: row["model"] or "", minor=True),
        Column("Ended", ending, minor=True),
        Column("Tokens in", lambda row: show.count(prompt_tokens(row)), number=True, minor=True),
        Column("out", lambda row: show.count(row["output_tokens"]), number=True, minor=True),
        Column("Cost", cost, number=True),
        Column("So far", lambda row: show.usd(totals[row["id"]], min(4, digits(totals[row["id"]]))), number=True),
    )
    return table("The calls of the session in their order", shown, rows, "calls")


SESSIONS = Page(
    name="sessions",
    title="Sessions",
    about="Conversations, the dearest first",
    panels=(SESSION_LIST,),
)
SESSION = Page(
    name="session",
    title="Session",
    about="One conversation from its first call to its last, in any range",
    linked=False,
    ranged=False,
    panels=(
        Panel(
            name="session_figures",
            title="Key figures",
            about="",
            width="full",
            bare=True,
            asks={"calls": OF_SESSION},
            draw=_figures,
            empty="The ledger has no call of this session.",
        ),
        Panel(
            name="session_cost",
            title="Running cost",
            about="Call by call",
            width="full",
            asks={"calls": OF_SESSION},
            draw=_curve,
            empty="The ledger has no call of this session.",
        ),
        Panel(
            name="session_timeline",
            title="Timeline",
            about="Times are your browser's; a bar's length is how long the call took",
            width="full",
            asks={"calls": OF_SESSION},
            draw=_timeline,
            empty="The ledger has no call of this session.",
        ),
    ),
)
