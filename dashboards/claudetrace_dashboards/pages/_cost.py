"""The cost page: where the money goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from claudetrace_dashboards import _format as show
from claudetrace_dashboards._panel import Ask, Panel
from claudetrace_dashboards._pieces import NONE, Column, axis_usd, link, ranking, shortened, stacked
from claudetrace_dashboards.pages._burn_down import BURN_DOWN
from claudetrace_dashboards.pages._kpi import KPI
from claudetrace_dashboards.pages._page import Page
from claudetrace_dashboards.pages._sessions import DEAREST

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from claudetrace_dashboards._charts import Chart
    from claudetrace_dashboards._panel import Answer, Row, Scope


MOST_TAGS = 16
OWN_PANELS = ("user", "customer", "prompt")


def _by_time(scope: Scope, answers: Mapping[str, Answer]) -> Chart | None:
    return stacked(
        scope,
        answers["cost"],
        "model",
        "spend_picousd",
        summary="Cost and model",
        text=show.usd_text,
        axis=axis_usd,
        colors=scope.color,
        none="no model",
        scale=show.PICOUSD,
    )


def _unpriced(scope: Scope, answers: Mapping[str, Answer]) -> Markup | None:
    rows = answers["unpriced"].rows
    if not rows:
        return None

    def calls(row: Row) -> Markup:
        filters = scope.filters.but(model=row["model"], feature=row["feature"], platform=row["platform"])
        return link(scope.url("calls", filters, only="inexact"), show.model_text(row["model"]))

    columns = (
        Column("Model", calls, wide=True),
        Column("Feature", lambda row: row["feature"] or NONE, wide=True),
        Column("Unpriced", lambda row: show.count(row["unpriced_calls"]), number=True),
        Column("Lower bounds", lambda row: show.count(row["lower_bound_calls"]), number=True),
    )
    return shortened("Unpriced and lower-bound calls", columns, rows, "reasons", 9)


def _any_tag(scope: Scope, answers: Mapping[str, Answer]) -> Markup | None:
    chosen = by_tag(scope)["by"]
    pills = Markup("").join(
        Markup('<a href="{}"{}>{}</a>').format(
            f"{scope.url('', by=tag)}#cost_by_tag", Markup(' aria-current="true"') if tag == chosen else "", tag
        )
        for tag in scope.tags[:MOST_TAGS]
    )
    ranked = _by_tag(chosen)(scope, answers)
    shown = ranked or Markup('<p class="message">No call in this range has the tag {}.</p>').format(chosen)
    return Markup('<div class="pills" role="group" aria-label="Tag">{}</div>{}').format(pills, shown)


def by_tag(scope: Scope) -> dict[str, str]:
    """Which tag the panel of any tag is about: the URL's, else the first that has no panel of its own."""
    asked = scope.arguments.get("by")
    return {"by": asked or next((tag for tag in scope.tags if tag not in OWN_PANELS), "customer")}


def _ranked(key: str, head: str, *, color: bool = False) -> Callable[[Scope, Mapping[str, Answer]], Markup | None]:
    def draw(scope: Scope, answers: Mapping[str, Answer]) -> Markup | None:
        return ranking(
            scope,
            answers["cost"],
            key,
            head,
            lambda value: scope.url("", scope.filters.but(**{key: value})),
            color=color,
            split=answers.get("split"),
        )

    return draw


def _by_tag(tag: str) -> Callable[[Scope, Mapping[str, Answer]], Markup | None]:
    def draw(scope: Scope, answers: Mapping[str, Answer]) -> Markup | None:
        def narrowed(value: str) -> str:
            filters = scope.filters.but(user=value) if tag == "user" else scope.filters.but(tag=(tag, value))
            return scope.url("", filters)

        return ranking(scope, answers["cost"], "value", tag.capitalize(), narrowed)

    return draw


def _tag_panel(tag: str, title: str, about: str) -> Panel:
    return Panel(
        name=f"cost_by_{tag}",
        title=title,
        about=about,
        asks={"cost": Ask("cost_by_tag", also=lambda _: {"by": tag})},
        draw=_by_tag(tag),
        empty=f"No call in this range has the tag {tag}.",
    )


COST = Page(
    name="",
    title="Cost",
    about="What Claude calls cost, and who caused it",
    panels=(
        KPI,
        Panel(
            name="cost_by_time",
            title="Cost over time",
            about="Stacked by model, UTC",
            width="wide",
            asks={"cost": Ask("cost_by_time")},
            draw=_by_time,
        ),
        BURN_DOWN,
        Panel(
            name="cost_by_feature",
            title="Cost by feature",
            about="The tag feature",
            asks={"cost": Ask("cost_by_feature"), "split": Ask("cost_by_feature_and_model")},
            draw=_ranked("feature", "Feature"),
        ),
        Panel(
            name="cost_by_model",
            title="Cost by model",
            about="The model that answered",
            asks={"cost": Ask("cost_by_model")},
            draw=_ranked("model", "Model", color=True),
        ),
        _tag_panel("customer", "Cost by customer", "The tag customer"),
        _tag_panel("user", "Cost by user", "The tag user"),
        _tag_panel("prompt", "Cost by prompt", "The tag prompt"),
        Panel(
            name="cost_by_tag",
            title="Cost by any tag",
            about="Whole UTC days",
            asks={"cost": Ask("cost_by_tag", also=by_tag)},
            draw=_any_tag,
            empty="No call in this range has a tag.",
        ),
        DEAREST,
        Panel(
            name="unpriced",
            title="Unpriced and lower bounds",
            about="Why a sum says ≥",
            asks={"unpriced": Ask("unpriced")},
            draw=_unpriced,
            empty="Every call of the range has an exact price.",
        ),
    ),
)
