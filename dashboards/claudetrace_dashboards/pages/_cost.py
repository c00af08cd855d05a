"""The cost page: where the money goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claudetrace_dashboards import _format as show
from claudetrace_dashboards._panel import Ask, Panel
from claudetrace_dashboards._pieces import axis_usd, ranking, stacked
from claudetrace_dashboards.pages._kpi import KPI
from claudetrace_dashboards.pages._page import Page

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from markupsafe import Markup

    from claudetrace_dashboards._charts import Chart
    from claudetrace_dashboards._panel import Answer, Scope


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


def _ranked(key: str, head: str, *, color: bool = False) -> Callable[[Scope, Mapping[str, Answer]], Markup | None]:
    def draw(scope: Scope, answers: Mapping[str, Answer]) -> Markup | None:
        return ranking(
            scope,
            answers["cost"],
            key,
            head,
            lambda value: scope.url("", scope.filters.but(**{key: value})),
            color=color,
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
        Panel(
            name="cost_by_feature",
            title="Cost by feature",
            about="The tag feature",
            asks={"cost": Ask("cost_by_feature")},
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
    ),
)
