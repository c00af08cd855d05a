"""The cost page: where the money goes."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from claudetrace_dashboards import _format as show
from claudetrace_dashboards._panel import Ask, Panel
from claudetrace_dashboards._pieces import NONE, Column, axis_usd, link, shortened, stacked
from claudetrace_dashboards._ranking import WHOLE, ranking
from claudetrace_dashboards.pages._burn_down import BURN_DOWN
from claudetrace_dashboards.pages._kpi import KPI
from claudetrace_dashboards.pages._page import Page
from claudetrace_dashboards.pages._sessions import DEAREST
from claudetrace_dashboards.queries._filters import NAMES
from claudetrace_dashboards.queries._readers import tag_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claudetrace_dashboards._charts import Chart
    from claudetrace_dashboards._panel import Answer, Row, Scope


MOST_TAGS = 16
OWN_PANELS = ("user", "customer", "prompt")


def by_time(scope: Scope, answers: Mapping[str, Answer]) -> Chart | None:
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
        page="changed",
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
            f"{scope.url(scope.page, by=tag)}#cost_by_tag", Markup(' aria-current="true"') if tag == chosen else "", tag
        )
        for tag in scope.tags[:MOST_TAGS]
    )
    ranked = by_value(chosen)(scope, answers)
    shown = ranked or Markup('<p class="message">No call in this range has the tag {}.</p>').format(chosen)
    return Markup('<div class="pills" role="group" aria-label="Tag">{}</div>{}').format(pills, shown)


def by_tag(scope: Scope) -> dict[str, str]:
    """Which tag the panel of any tag is about: the URL's, else the first that has no panel of its own."""
    asked = scope.arguments.get("by")
    return {"by": asked or next((tag for tag in scope.tags if tag not in OWN_PANELS), "customer")}


Draw = Callable[["Scope", "Mapping[str, Answer]"], "Markup | None"]
BEFORE = "before"


def ranked(key: str, head: str, *, color: bool = False, shown: tuple[str, ...] = WHOLE, most: int = 8) -> Draw:
    """A ranking by a column of every sum; a value leads to the same page of it alone."""

    def draw(scope: Scope, answers: Mapping[str, Answer]) -> Markup | None:
        return ranking(
            scope, answers["cost"], key, head, lambda value: scope.url(scope.page, scope.filters.but(**{key: value})),
            before=answers.get(BEFORE), color=color, split=answers.get("split"), shown=shown, most=most,
        )  # fmt: skip

    return draw


def by_value(tag: str, shown: tuple[str, ...] = WHOLE, most: int = 8) -> Draw:
    """A ranking by the values of a tag."""

    def draw(scope: Scope, answers: Mapping[str, Answer]) -> Markup | None:
        def narrowed(value: str) -> str:
            filters = scope.filters.but(user=value) if tag == "user" else scope.filters.but(tag=(tag, value))
            return scope.url(scope.page, filters)

        return ranking(
            scope, answers["cost"], "value", tag.capitalize(), narrowed, before=answers.get(BEFORE), shown=shown,
            most=most,
        )  # fmt: skip

    return draw


def with_before(
    query: str, before: str = "", also: Callable[[Scope], Mapping[str, Any]] | None = None
) -> dict[str, Ask]:
    """The question of the range and of the same part of the period before."""
    return {"cost": Ask(query, also=also), BEFORE: Ask(before or query, lambda filters: filters.before(), also)}


def _tag_panel(tag: str, title: str, about: str) -> Panel:
    return Panel(
        name=f"cost_by_{tag}",
        title=title,
        about=about,
        width="half",
        asks=with_before("cost_by_tag", "before_by_tag", lambda _: {"by": tag}),
        draw=by_value(tag),
        empty=f"No call in this range has the tag {tag}.",
    )


def _what_if(scope: Scope, _: Mapping[str, Answer]) -> Markup:
    """The commands that price each call again; what they answer takes as long as the calls are many."""
    filters = scope.filters
    asked = [f"--since {filters.first_day()}", f"--until {filters.until:%Y-%m-%d}"]
    named = [(name, getattr(filters, name)) for name in NAMES]
    if filters.tag:
        named.append((tag_name(filters.tag[0]), filters.tag[1]))
    asked += [f"--where {shlex.quote(f'{name}={value}')}" for name, value in named if value is not None]
    rows = Markup("").join(
        Markup("<dt>{}</dt><dd><code>claudetrace report --by feature {} {}</code></dd>").format(
            words, option, " ".join(asked)
        )
        for words, option in WHAT_IF
    )
    return Markup('<dl class="commands">{}</dl>').format(rows)


WHAT_IF = (
    ("In batches", "--batch"),
    ("Without caching", "--no-cache"),
    ("By another model", "--at-model claude-haiku-4-5"),
)
COST_BY_TIME = Panel(
    name="cost_by_time",
    title="Cost over time",
    about="Stacked by model, UTC; a bar leads to what changed",
    width="wide",
    asks={"cost": Ask("cost_by_time")},
    draw=by_time,
)


COST = Page(
    name="cost",
    title="Cost",
    about="What Claude calls cost, and who caused it",
    panels=(
        KPI,
        COST_BY_TIME,
        BURN_DOWN,
        Panel(
            name="cost_by_feature",
            title="Cost by feature",
            about="The tag feature",
            width="half",
            asks={**with_before("cost_by_feature"), "split": Ask("cost_by_feature_and_model")},
            draw=ranked("feature", "Feature"),
        ),
        Panel(
            name="cost_by_model",
            title="Cost by model",
            about="The model that answered",
            width="half",
            asks=with_before("cost_by_model"),
            draw=ranked("model", "Model", color=True),
        ),
        _tag_panel("customer", "Cost by customer", "The tag customer"),
        _tag_panel("user", "Cost by user", "The tag user"),
        _tag_panel("prompt", "Cost by prompt", "The tag prompt; a call of each version"),
        Panel(
            name="cost_by_tag",
            title="Cost by any tag",
            about="Each tag that calls have",
            width="half",
            asks=with_before("cost_by_tag", "before_by_tag", by_tag),
            draw=_any_tag,
            empty="No call in this range has a tag.",
        ),
        Panel(
            name="cost_by_service",
            title="Cost by service",
            about="The programs that made the calls",
            width="half",
            asks=with_before("cost_by_service"),
            draw=ranked("service", "Service"),
        ),
        DEAREST,
        Panel(
            name="unpriced",
            title="Unpriced and lower bounds",
            about="Why a sum says ≥; the model leads to the calls, and each of those says what to do",
            asks={"unpriced": Ask("unpriced")},
            draw=_unpriced,
            empty="Every call of the range has an exact price.",
        ),
        Panel(
            name="what_if",
            title="What another way would cost",
            about="Each call is priced again, so the command line answers",
            width="full",
            draw=_what_if,
        ),
    ),
)
