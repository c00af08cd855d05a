"""The first page: spend, calls, cache, errors and times on one screen, budgets beside it, each leading on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from markupsafe import Markup

from claudetrace_dashboards import _format as show
from claudetrace_dashboards._budget import report_of
from claudetrace_dashboards._burn import burn
from claudetrace_dashboards._charts import Series
from claudetrace_dashboards._panel import Ask, Drawn, Panel
from claudetrace_dashboards._pieces import Column, axis_share, lines, link, table
from claudetrace_dashboards._ranking import COMPACT
from claudetrace_dashboards.pages._budgets import share
from claudetrace_dashboards.pages._cost import COST_BY_TIME, by_value, ranked, with_before
from claudetrace_dashboards.pages._kpi import KPI, hit_rate
from claudetrace_dashboards.pages._page import Page

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claudetrace._budgets._status import BudgetState
    from claudetrace_dashboards._charts import Chart
    from claudetrace_dashboards._panel import Answer, Row, Scope

MOST_BUDGETS = 7
HEIGHT = 128


async def _budgets(scope: Scope) -> Drawn:
    """Those of which most is spent."""
    report = await report_of(scope)
    shown = [each for each in report.budgets if not each.idle(report.now)] if report else []
    rows: list[Row] = [
        {"state": state, "of_calls": of_calls, "share": share(state, of_calls=of_calls)}
        for each in shown
        for state in each.states
        for of_calls, limit in ((False, state.limit_usd), (True, state.max_calls))
        if limit is not None
    ]
    if not rows:
        return Drawn(None)
    rows.sort(key=lambda row: row["share"], reverse=True)
    columns = (
        Column("Budget", lambda row: _name(scope, row["state"]), css="name"),
        Column("Burn", lambda row: burn(row["state"], of_calls=row["of_calls"]), css="burn"),
        Column("Spent", _share, number=True),
    )
    rest = len(rows) - MOST_BUDGETS
    notes = (f"{rest:,} more on the page of budgets.",) if rest > 0 else ()
    return Drawn(table("Budgets, the most spent first", columns, rows[:MOST_BUDGETS], "few"), notes)


def _name(scope: Scope, state: BudgetState) -> Markup:
    return link(scope.url("budgets"), state.key if state.key is not None else str(state.budget.name))


def _share(row: Row) -> Markup:
    part = row["share"]
    text = "<1 %" if 0 < part < 0.01 else f"{int(part * 100):,} %"
    return Markup('<span class="{}">{}</span>').format("worse" if part >= 1 else "", text)


def _rate(scope: Scope, answers: Mapping[str, Answer]) -> Chart | None:
    found = lines(
        scope, answers["cache"], [(Series(name="Hit rate", color="good", area=True), hit_rate)],
        summary="Share of prompt tokens read from the cache", text=show.share_text, axis=axis_share, top=1.0,
        page="cache",
    )  # fmt: skip
    return found and replace(found, height=HEIGHT)


def _took(scope: Scope, answers: Mapping[str, Answer]) -> Chart | None:
    found = lines(
        scope, answers["took"], [(Series(name="p95", color=0), lambda row: row["p95"]),
                                 (Series(name="p50", color="plain"), lambda row: row["p50"])],
        summary="How long answers took", text=show.ms_text, axis=lambda ms: f"{ms / 1000:g} s", page="latency",
    )  # fmt: skip
    return found and replace(found, height=HEIGHT)


def _failed(scope: Scope, answers: Mapping[str, Answer]) -> Chart | None:
    sent: dict[str, list[int]] = {}
    for row in answers["outcomes"].rows:
        of_period = sent.setdefault(row["period"], [0, 0])
        of_period[0] += row["errors"]
        of_period[1] += row["responses"] - row["blocked_calls"]
    rows = [{"period": period, "rate": one / two if two else None} for period, (one, two) in sent.items()]
    found = lines(
        scope, answers["outcomes"]._replace(rows=rows), [(Series(name="Failed", color="bad", area=True),
                                                          lambda row: row["rate"])],
        summary="Share of responses that failed", text=show.share_text, axis=_axis, page="reliability",
    )  # fmt: skip
    return found and replace(found, height=HEIGHT)


def _axis(value: float) -> str:
    return f"{100 * value:g} %"


OVERVIEW = Page(
    name="",
    title="Overview",
    about="What Claude calls cost, and how they go",
    panels=(
        KPI,
        COST_BY_TIME,
        Panel(
            name="budgets_now",
            title="Budgets",
            about="In their windows of now",
            own=_budgets,
            leads="budgets",
            empty="No budget is set: Budget(“all”, usd=100) in instrument(budgets=[…]) makes one.",
        ),
        Panel(
            name="top_features",
            title="Features",
            about="",
            asks={**with_before("top_by_feature", "cost_by_feature"), "split": Ask("cost_by_feature_and_model")},
            draw=ranked("feature", "Feature", shown=COMPACT, most=5),
            leads="cost",
        ),
        Panel(
            name="top_customers",
            title="Customers",
            about="The statement splits them by feature and model",
            asks=with_before("top_by_tag", "before_by_tag", lambda _: {"by": "customer"}),
            draw=by_value("customer", COMPACT, 5),
            leads="statement",
            leads_with={"by": "customer", "split": "feature,model"},
            empty="No call in this range has the tag customer.",
        ),
        Panel(
            name="top_users",
            title="Users",
            about="",
            asks=with_before("top_by_tag", "before_by_tag", lambda _: {"by": "user"}),
            draw=by_value("user", COMPACT, 5),
            leads="cost",
            empty="No call in this range has the tag user.",
        ),
        Panel(
            name="hit_rate",
            title="Cache hit rate",
            about="Of prompt tokens",
            asks={"cache": Ask("cache_by_time")},
            draw=_rate,
            leads="cache",
        ),
        Panel(
            name="took",
            title="Duration",
            about="Of answers",
            asks={"took": Ask("latency_by_time", also=lambda _: {"kind": "duration_ms"})},
            draw=_took,
            leads="latency",
        ),
        Panel(
            name="failed",
            title="Failed",
            about="Of responses",
            asks={"outcomes": Ask("outcomes")},
            draw=_failed,
            leads="reliability",
        ),
    ),
)
