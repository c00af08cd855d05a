"""How answers ended and what failed, as shares: all on top of each other, and what matters most by itself."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from claudetrace_dashboards import _format as show
from claudetrace_dashboards._charts import Series
from claudetrace_dashboards._panel import Ask, Panel
from claudetrace_dashboards._pieces import NONE, Column, lines, link, shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from markupsafe import Markup

    from claudetrace_dashboards._charts import Chart
    from claudetrace_dashboards._panel import Answer, Row, Scope

HEIGHT = 110


def shares(answer: Answer, wholes: Answer | None = None) -> Answer:
    """The same rows with the share of their period's responses, or of those of `wholes` that were sent."""
    sums: dict[str, int] = defaultdict(int)
    for row in (wholes or answer).rows:
        sums[row["period"]] += row["responses"] - row["blocked_calls"]
    rows = [
        {**row, "share": row["responses"] / sums[row["period"]] if sums[row["period"]] else 0} for row in answer.rows
    ]
    return answer._replace(rows=rows)


def _of(reason: str) -> Callable[[Scope, Mapping[str, Answer]], Chart | None]:
    def draw(scope: Scope, answers: Mapping[str, Answer]) -> Chart | None:
        found = shares(answers["stops"])
        periods = dict.fromkeys((row["period"] for row in found.rows), 0.0)
        for row in found.rows:
            periods[row["period"]] += row["share"] if row["reason"] == reason else 0
        rows = [{"period": period, "share": share} for period, share in periods.items()]
        chart = lines(
            scope,
            found._replace(rows=rows),
            [(Series(name=reason, color="bad", area=True), lambda row: row["share"])],
            summary=f"Share of answers that ended with {reason}",
            text=show.share_text,
            axis=axis_percent,
            rows={"stop": reason},
        )
        return chart and replace(chart, height=HEIGHT)

    return draw


def axis_percent(value: float) -> str:
    return f"{100 * value:g} %"


def _failures(scope: Scope, answers: Mapping[str, Answer]) -> Markup | None:
    rows = answers["failures"].rows
    if not rows:
        return None

    def calls(row: Row) -> Markup:
        filters = scope.filters.but(model=row["model"], feature=row["feature"])
        return link(scope.url("calls", filters, outcome="error", error=row["reason"]), row["reason"] or "unknown")

    columns = (
        Column("Error", calls, wide=True),
        Column("Model", lambda row: show.model_text(row["model"])),
        Column("Feature", lambda row: row["feature"] or NONE),
        Column("Failed", lambda row: show.count(row["errors"]), number=True),
        Column("Retries", lambda row: show.count(row["retries"]), number=True, minor=True),
    )
    return shortened("Failures by error, model and feature", columns, rows, "failures", 8)


def _panel(reason: str, about: str) -> Panel:
    return Panel(
        name=f"share_of_{reason}",
        title=reason,
        about=about,
        asks={"stops": Ask("stop_reasons")},
        draw=_of(reason),
    )


SMALL = (
    _panel("max_tokens", "Share of answers that were cut at their limit"),
    _panel("refusal", "Share of answers that the model refused"),
)
FAILURES = Panel(
    name="failures",
    title="What fails, of whom",
    about="By error, model and feature; an error leads to its calls",
    width="full",
    asks={"failures": Ask("failures")},
    draw=_failures,
    empty="No call failed in this range.",
)
